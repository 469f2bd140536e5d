"""Ferret's spelling of places: `a cup [100, 200, 300, 400]`, in bins of the whole image, with a region token in questions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from foveal.geometry import Box, Frame, Mask, Point, Region, bounding_box
from foveal.grounding.text import GroundedText, tie_words

__all__ = ["BracketFormat", "bins_to_pixels"]


@dataclass(frozen=True, slots=True)
class BracketFormat:
    """`name [x0, y0, x1, y1]` for a box (a mask or trace by its enclosing box), `name [x, y]` for a point; integers from 0 to `bins`.

    In a question a `region_token` follows each place, into which the model puts the region's features (arXiv 2310.07704, 3.1).
    `coordinates` and `features` switch off the one or the other. `arithmetic` says how a place falls into its bin: "pixel" as
    Ferret's training code, int(pixel * (1000 / size)) with boxes that end at the last pixel; "fraction" as its evaluation code,
    int(fraction * 1000), which reads back what it wrote.

    >>> said = GroundedText.join("What is ", Box(0.25, 0.25, 0.5, 0.75), "?")
    >>> BracketFormat().encode(said, Frame.stretch((640, 480)), feature_slots=True)
    'What is [250, 250, 500, 750] <region_fea>?'
    >>> BracketFormat().decode("A red cup [250, 250, 500, 750].", Frame.stretch((640, 480))).spans
    (Span(start=0, end=9, regions=(Box(x0=0.25, y0=0.25, x1=0.5, y1=0.75, image=0),), scores=()),)
    """

    bins: int = 1000
    region_token: str = "<region_fea>"
    coordinates: bool = True
    features: bool = True
    arithmetic: Literal["pixel", "fraction"] = "pixel"

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False, frames: Sequence[Frame] = ()) -> str:
        """The string for `said`: the places of a span after its words and a blank, those of an empty span just where it stands.

        A place in image i is measured in `frames[i]`, where there are that many; else in `frame`.
        """
        pieces, written = [], 0
        for span in sorted(said.spans, key=lambda span: span.end):
            places = " ".join(
                self._spell(region, frames[region.image] if region.image < len(frames) else frame, feature_slots) for region in span.regions
            )
            pieces += [said.text[written : span.end], " " if span.regions and span.end > span.start else "", places]
            written = span.end
        return "".join(pieces) + said.text[written:]

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in linear time; never raises: what is not a place of 2 or 4 ordered numbers stays text.

        A place belongs to the words behind the last of . , ; : ! ? or the last place; the scores, where `score` is given, are those
        of the brackets.

        >>> BracketFormat().decode("[1, 2, 3]", Frame.stretch((640, 480)))
        GroundedText(text='[1, 2, 3]', spans=())
        """
        unit, cut = frame.unit(), 0
        places: list[tuple[str, Region, float | None]] = []
        for start, end, numbers in self._places(raw):
            region = unit.back([number / self.bins for number in numbers])
            places.append((raw[cut:start], region, score(start, end) if score else None))
            cut = self._behind_token(raw, end)
        return tie_words(places, raw[cut:])

    def _spell(self, region: Region, frame: Frame, feature_slots: bool) -> str:
        place = f"[{', '.join(map(str, self._numbers(region, frame)))}]" if self.coordinates else ""
        token = self.region_token if feature_slots and self.features else ""
        return f"{place} {token}" if place and token else place + token

    def _numbers(self, region: Region, frame: Frame) -> Iterator[int]:
        unit = frame.unit()
        for axis, fraction in enumerate(unit.to(_inclusive(region))):
            extent = frame.image_size[axis % 2] / (unit.sx, unit.sy)[axis % 2]  # the canvas measured in pixels of the image
            # Rounded, because a number that was divided and multiplied again can come back one unit in the last place short, and int() cuts.
            if self.arithmetic == "fraction":
                number = int(round(fraction * self.bins, 9))
            else:
                pixel = round(fraction * extent, 6)
                pixel = pixel if isinstance(region, Point) else min(max(pixel, 0.0), extent - 1)
                number = int(pixel * (self.bins / extent))
            yield min(max(number, 0), self.bins)

    def _places(self, raw: str) -> Iterator[tuple[int, int, list[int]]]:
        longest = 4 * (len(str(self.bins)) + 8)  # so that a row of open brackets costs no more than its length
        start = raw.find("[")
        while start >= 0:
            close = raw.find("]", start, start + longest)
            numbers = self._read(raw[start + 1 : close]) if close >= 0 else None
            if numbers is not None:
                yield start, close + 1, numbers
            start = raw.find("[", start + 1 if numbers is None else close + 1)

    def _read(self, inner: str) -> list[int] | None:
        parts = [part.strip() for part in inner.split(",")]
        if len(parts) not in (2, 4) or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        numbers = [int(part) for part in parts]
        ordered = len(numbers) == 2 or (numbers[0] <= numbers[2] and numbers[1] <= numbers[3])
        return numbers if ordered and max(numbers) <= self.bins else None

    def _behind_token(self, raw: str, end: int) -> int:
        token = f" {self.region_token}"
        return end + len(token) if self.features and raw.startswith(token, end) else end


def bins_to_pixels(numbers: list[int], size: tuple[int, int], bins: int = 1000) -> list[int]:
    """Bins x, y (, x, y) as pixels of a (width, height) image the way Ferret's evaluation does: int(number * (size / bins)).

    >>> bins_to_pixels([53, 922, 160, 115], (77, 1999))
    [4, 1843, 12, 229]
    """
    return [int(number * (size[place % 2] / bins)) for place, number in enumerate(numbers)]


def _inclusive(region: Region) -> Region:
    """The box around a mask from its first to its last pixel, as annotated boxes are; any other region as it is."""
    if not isinstance(region, Mask):
        return region
    box = bounding_box(region)
    return Box(box.x0, box.y0, box.x1 - 1 / region.width, box.y1 - 1 / region.height, box.image)

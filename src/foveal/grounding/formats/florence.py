"""Florence-2's spelling of places: `cup<loc_52><loc_332><loc_932><loc_774>`, in thousandths; polygons as rows of such tokens."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from foveal.geometry import Box, Frame, Region, Trace, bounding_box, mask_from_polygons
from foveal.grounding.text import GroundedText, Span

__all__ = ["FlorenceFormat"]

_BINS = 1000
_RUN = re.compile(r"(?:<loc_\d{1,3}>)+")
_DRAWN = re.compile(r"(?:<loc_\d{1,3}>|<sep>|</?poly>)+")
_ONE = re.compile(r"<poly>((?:(?!</?poly>).)*)</poly>")
_STRIP = " \t\n,;"


@dataclass(frozen=True, slots=True)
class FlorenceFormat:
    """Words, then their places as tokens `<loc_0>` to `<loc_999>`, x before y; a number means the middle of its bin (arXiv 2311.06242, 3.1).

    `shape` says what a row of tokens is: of the task asked for, not of the answer. "box": four tokens each, several boxes for several places.
    "quad": the eight of a text's corners, read as a trace. "polygon": outlines, apart by `<sep>`, several things each in `<poly>…</poly>`, read as
    masks of the image's size. Things that follow straight upon another get a comma between them.

    >>> said = FlorenceFormat().decode("cup<loc_0><loc_0><loc_499><loc_499>hat<loc_1><loc_2><loc_3><loc_4>", Frame.stretch((640, 480)))
    >>> said.text, said.regions[0]
    ('cup, hat', Box(x0=0.0005, y0=0.0005, x1=0.4995, y1=0.4995, image=0))
    """

    shape: Literal["box", "quad", "polygon"] = "box"

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`: boxes, whatever a region is, but four-cornered traces where `shape` is "quad"."""
        pieces, written = [], 0
        for span in sorted(said.spans, key=lambda span: (span.end, span.start)):
            pieces += [said.text[written : span.end], "".join(self._spell(region, frame) for region in span.regions)]
            written = span.end
        return "".join(pieces) + said.text[written:]

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: tokens that make no whole place stay text."""
        parts: list[str | GroundedText] = []
        cut, follows = 0, False
        for found in (_DRAWN if self.shape == "polygon" else _RUN).finditer(raw):
            places, odd = self._places(found[0], found.start(), frame)
            if not places:
                continue
            before = raw[cut : found.start()]
            words = before.strip(_STRIP)
            start = before.find(words)
            if follows and before[:1].isalnum():
                parts.append(", ")
            scores = tuple(score(*where) for _, where in places) if score else ()
            span = Span(0, len(words), tuple(region for region, _ in places), scores)
            parts += [before[:start], GroundedText(words, (span,)), before[start + len(words) :].strip(" "), odd]
            cut, follows = found.end(), not odd
        return GroundedText.join(*parts, raw[cut:])

    def _places(self, row: str, start: int, frame: Frame) -> tuple[list[tuple[Region, tuple[int, int]]], str]:
        """The places of a row of tokens, each with where it is spelled, and the tokens that are none."""
        if self.shape == "polygon":
            return self._masks(row, start, frame), ""
        size, places, odd = 8 if self.shape == "quad" else 4, [], ""
        tokens = list(re.finditer(r"<loc_(\d+)>", row))
        for first in range(0, len(tokens), size):
            some = tokens[first : first + size]
            numbers = [int(token[1]) for token in some]
            if len(some) == size and (region := self._read(numbers, frame)) is not None:
                places.append((region, (start + some[0].start(), start + some[-1].end())))
            else:
                odd += "".join(token[0] for token in some)
        return places, odd

    def _read(self, numbers: list[int], frame: Frame) -> Region | None:
        points = _points(numbers, frame)
        if len(points) == 4:
            return Trace(points)
        (x0, y0), (x1, y1) = points
        return Box(x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 else None

    def _masks(self, row: str, start: int, frame: Frame) -> list[tuple[Region, tuple[int, int]]]:
        found: list[tuple[Region, tuple[int, int]]] = []
        for one in re.finditer(_ONE if _ONE.search(row) else r"([\s\S]+)", row):
            outlines = [_points([int(number) for number in re.findall(r"\d+", outline)], frame) for outline in one[1].split("<sep>")]
            outlines = [outline for outline in outlines if len(outline) >= 3]
            if outlines:
                found.append((mask_from_polygons(outlines, frame.image_size), (start + one.start(), start + one.end())))
        return found

    def _spell(self, region: Region, frame: Frame) -> str:
        box = bounding_box(region)
        corners: tuple[tuple[float, float], ...] = ((box.x0, box.y0), (box.x1, box.y1))
        if self.shape == "quad" and isinstance(region, Trace) and len(region.points) == 4:
            corners = region.points
        unit = frame.unit()
        values = (value for x, y in corners for value in (x * unit.sx + unit.dx, y * unit.sy + unit.dy))
        return "".join(f"<loc_{min(max(int(round(value * _BINS, 9)), 0), _BINS - 1)}>" for value in values)


def _points(numbers: list[int], frame: Frame) -> tuple[tuple[float, float], ...]:
    """Fractions of the image of pairs x, y; a number without a partner is left out."""
    unit = frame.unit()
    fractions = [(number + 0.5) / _BINS for number in numbers]
    return tuple(((x - unit.dx) / unit.sx, (y - unit.dy) / unit.sy) for x, y in zip(fractions[0::2], fractions[1::2], strict=False))

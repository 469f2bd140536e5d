"""Molmo's spelling of places: `<point x="10.5" y="20.1" alt="cup">cup</point>`, in percent, and `<points x1=… y1=… …>` for several."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from foveal.geometry import Frame, Point, Region
from foveal.grounding.text import GroundedText, Span

__all__ = ["MolmoFormat"]

_PLACE = re.compile(r'<(points?)((?:\s\w{1,8}="[^"<>]*")+)\s?>([^<]*)</\1>')
_NUMBER = re.compile(r'\s([xy])(\d{0,4})="\s?(\d{1,3}(?:\.\d{1,9})?)\s?"')
_WHOLE = 100


@dataclass(frozen=True, slots=True)
class MolmoFormat:
    """Points alone, x and y in percent with one decimal (arXiv 2409.17146, data of PixMo-Points); other regions are spelled by their middle.

    transformers has no Molmo class of its own, so this dialect comes without a model.

    >>> said = MolmoFormat().decode('Two <points x1="10.0" y1="20.0" x2="50.0" y2="60.5" alt="cups">cups</points>.', Frame.stretch((640, 480)))
    >>> said.text, said.regions
    ('Two cups.', (Point(x=0.1, y=0.2, image=0), Point(x=0.5, y=0.605, image=0)))
    """

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; spans do not overlap."""
        pieces, written = [], 0
        for span in sorted(said.spans, key=lambda span: (span.start, span.end)):
            words = said.text[span.start : span.end]
            pieces += [said.text[written : span.start], self._spell(words, span.regions, frame) if span.regions else words]
            written = span.end
        return "".join(pieces) + said.text[written:]

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: a tag without a pair of numbers within the image stays text."""
        parts: list[str | GroundedText] = []
        cut = 0
        for found in _PLACE.finditer(raw):
            points = self._points(found[2], frame)
            if not points:
                continue
            scores = (score(*found.span(2)),) * len(points) if score else ()
            parts += [raw[cut : found.start()], GroundedText(found[3], (Span(0, len(found[3]), points, scores),))]
            cut = found.end()
        return GroundedText.join(*parts, raw[cut:])

    def _points(self, attributes: str, frame: Frame) -> tuple[Region, ...]:
        """The points of all numbers that have a partner; none where one of them lies outside the image."""
        found = {axis + number: float(value) for axis, number, value in _NUMBER.findall(attributes)}
        numbers = [name[1:] for name in found if name[0] == "x" and f"y{name[1:]}" in found]
        if len(found) != 2 * len(numbers) or any(value > _WHOLE for value in found.values()):
            return ()
        return tuple(frame.unit().back((found[f"x{number}"] / _WHOLE, found[f"y{number}"] / _WHOLE)) for number in numbers)

    def _spell(self, words: str, regions: tuple[Region, ...], frame: Frame) -> str:
        several = len(regions) > 1
        pieces = []
        for number, region in enumerate(regions, 1):
            values = frame.unit().to(region)
            x, y = values if isinstance(region, Point) else ((values[0] + values[2]) / 2, (values[1] + values[3]) / 2)
            mark = str(number) if several else ""
            pieces.append(f'x{mark}="{_percent(x)}" y{mark}="{_percent(y)}"')
        name, alt = "points" if several else "point", re.sub(r'["<>]', "", words)
        return f'<{name} {" ".join(pieces)} alt="{alt}">{words}</{name}>'


def _percent(value: float) -> float:
    return round(min(max(value, 0.0), 1.0) * _WHOLE, 1)

"""Qwen-VL's and Monkey's spelling of places: `<ref>a cup</ref><box>(100,200),(300,400)</box>`, in thousandths of the whole image."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from foveal.geometry import Frame, Point, Region, Trace, bounding_box
from foveal.grounding.formats.tagged import read_tagged
from foveal.grounding.text import GroundedText

__all__ = ["TagFormat"]

_CORNER = r"\(\s?\d{1,9}\s?,\s?\d{1,9}\s?\)"
_PLACE = re.compile(rf"<box>{_CORNER}\s?,\s?{_CORNER}</box>|<quad>{_CORNER}(?:\s?,\s?{_CORNER}){{3}}</quad>")
_SAID = re.compile(rf"<ref>((?:(?!</?ref>|<box>|<quad>)[\s\S])*)</ref>((?:{_PLACE.pattern})*)|((?:{_PLACE.pattern})+)")


@dataclass(frozen=True, slots=True)
class TagFormat:
    """`<ref>words</ref><box>(x0,y0),(x1,y1)</box>`, a box after the other where several are meant; four corners stand in `<quad>`.

    Integers from 0 to `bins` - 1; drawing divides by `bins`. Words without a place are written as they are. A point, a mask and a trace
    are spelled by the box around them: this dialect knows no other places.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding.text import Span
    >>> frame = Frame.stretch((640, 480))
    >>> said = GroundedText("a cup", (Span(2, 5, (Box(0.25, 0.25, 0.5, 0.75),)),))
    >>> TagFormat().encode(said, frame)
    'a <ref>cup</ref><box>(250,250),(500,750)</box>'
    >>> TagFormat().decode("a <ref>cup</ref><box>(250,250),(500,750)</box>", frame) == said
    True
    """

    bins: int = 1000

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; spans do not overlap. There are no slots: this dialect points with numbers alone."""
        return "".join(text for text, _ in self.parts(said, frame))

    def parts(self, said: GroundedText, frame: Frame) -> list[tuple[str, bool]]:
        """The string in pieces, each with whether it is of the dialect (tags and numbers) or of the words, which may spell tags of their own."""
        pieces, written = [], 0
        for span in sorted(said.spans, key=lambda span: (span.start, span.end)):
            words, places = said.text[span.start : span.end], "".join(self._spell(region, frame) for region in span.regions)
            named = bool(words and places)
            pieces += [(said.text[written : span.start], False), ("<ref>" * named, True), (words, False), ("</ref>" * named + places, True)]
            written = span.end
        return [(text, own) for text, own in [*pieces, (said.text[written:], False)] if text]

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in linear time; never raises: a tag that does not close, or holds no place, stays text.

        Places right behind `</ref>` belong to the words inside it; others stand where they are said.

        >>> TagFormat().decode("<box>(1,2)</box>", Frame.stretch((640, 480))).text
        '<box>(1,2)</box>'
        """
        return read_tagged(raw, _SAID, _PLACE, lambda place: self._read(place, frame), score)

    def _spell(self, region: Region, frame: Frame) -> str:
        if isinstance(region, Trace) and len(region.points) == 4:
            return f"<quad>{','.join(self._corners(region.points, frame))}</quad>"
        box = bounding_box(region)
        return f"<box>{','.join(self._corners(((box.x0, box.y0), (box.x1, box.y1)), frame))}</box>"

    def _corners(self, points: tuple[tuple[float, float], ...], frame: Frame) -> Iterator[str]:
        unit = frame.unit()
        for x, y in points:
            numbers = (min(max(int(round(value * self.bins, 9)), 0), self.bins - 1) for value in unit.to(Point(x, y)))
            yield "({},{})".format(*numbers)

    def _read(self, place: str, frame: Frame) -> Region | None:
        """The region of a box or a quad; None for numbers beyond the bins, and for a box whose corners are the wrong way round."""
        numbers = [int(number) for number in re.findall(r"\d+", place)]
        if max(numbers) > self.bins:
            return None
        back = frame.unit().back
        points = [back((x / self.bins, y / self.bins)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        if len(points) == 4:
            return Trace(tuple((point.x, point.y) for point in points if isinstance(point, Point)))
        ordered = numbers[0] <= numbers[2] and numbers[1] <= numbers[3]
        return frame.unit().back([number / self.bins for number in numbers]) if ordered else None

"""InternVL's spelling of places: `<ref>a cup</ref><box>[[100, 200, 300, 400]]</box>`, in thousandths of the whole image."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foveal.geometry import Frame, Region, bounding_box
from foveal.grounding.formats.tagged import ordered_box, read_tagged, tagged_pattern, write_tagged
from foveal.grounding.text import GroundedText

__all__ = ["InternFormat"]

_BINS = 1000
_PLACE = re.compile(r"\[\s?\d{1,9}\s?,\s?\d{1,9}\s?,\s?\d{1,9}\s?,\s?\d{1,9}\s?\]")
_SAID = tagged_pattern("<ref>", "</ref>", "<box>", rf"<box>\s?\[\s?{_PLACE.pattern}(?:\s?,\s?{_PLACE.pattern})*\s?\]\s?</box>")


@dataclass(frozen=True, slots=True)
class InternFormat:
    """`<ref>words</ref><box>[[x0, y0, x1, y1], …]</box>`, whole numbers from 0 to 1000; all other regions by the box around them.

    As InternVL's documentation of chat data writes boxes, normalised to 0..1000 of width and height.

    >>> InternFormat().decode("<ref>a cup</ref><box>[[0, 0, 500, 500]]</box>", Frame.stretch((640, 480))).spans
    (Span(start=0, end=5, regions=(Box(x0=0.0, y0=0.0, x1=0.5, y1=0.5, image=0),), scores=()),)
    """

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; spans do not overlap."""

        def spell(regions: Sequence[Region]) -> str:
            rows = [[min(max(int(round(one * _BINS, 9)), 0), _BINS) for one in frame.unit().to(bounding_box(region))] for region in regions]
            return f"<box>{rows}</box>"

        return write_tagged(said, "<ref>", "</ref>", spell)

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: a tag that does not close, or holds no place, stays text."""
        return read_tagged(raw, _SAID, _PLACE, lambda place: ordered_box([int(one) for one in re.findall(r"\d+", place)], _BINS, frame), score)

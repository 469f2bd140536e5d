"""Kosmos-2's spelling of places: `<phrase>a cup</phrase><object><patch_index_0044><patch_index_0863></object>`, cells of a grid."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foveal.geometry import Frame, Region, bounding_box
from foveal.grounding.formats.tagged import ordered_box, read_tagged, tagged_pattern, write_tagged
from foveal.grounding.text import GroundedText

__all__ = ["KosmosFormat"]

_AND = "</delimiter_of_multi_objects/>"
_PLACE = re.compile(r"<patch_index_\d{4}>\s?<patch_index_\d{4}>")
_SAID = tagged_pattern("<phrase>", "</phrase>", "<object>", rf"\s?<object>\s?{_PLACE.pattern}(?:\s?{_AND}\s?{_PLACE.pattern})*\s?</object>")


@dataclass(frozen=True, slots=True)
class KosmosFormat:
    """A box is the cells of its top left and its bottom right corner, row by row in a grid of `side` x `side` (arXiv 2306.14824, 2.1).

    A box is read as from the middle of the first cell to the middle of the last, or, where both lie in one row or column, as these cells whole,
    as the release reads it. `<grounding>`, which asks for places, is no word. All other regions are spelled by the box around them.

    >>> said = KosmosFormat(side=4).decode(
    ...     "<grounding> <phrase>a cup</phrase><object><patch_index_0000><patch_index_0015></object>.", Frame.stretch((8, 8))
    ... )
    >>> said.text, said.regions
    ('a cup.', (Box(x0=0.125, y0=0.125, x1=0.875, y1=0.875, image=0),))
    """

    side: int = 32

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; spans do not overlap."""

        def spell(regions: Sequence[Region]) -> str:
            return f"<object>{_AND.join(self._spell(region, frame) for region in regions)}</object>"

        return write_tagged(said, "<phrase>", "</phrase>", spell)

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: a tag that does not close, or holds no place, stays text."""
        opening = re.match(r"\s{0,8}<grounding>\s{0,8}", raw)
        start = opening.end() if opening else 0
        ranged = (lambda first, last: score(first + start, last + start)) if score else None
        return read_tagged(raw[start:], _SAID, _PLACE, lambda place: self._read(place, frame), ranged)

    def _spell(self, region: Region, frame: Frame) -> str:
        x0, y0, x1, y1 = (round(value * self.side, 9) for value in frame.unit().to(bounding_box(region)))
        first = [min(max(math.floor(value), 0), self.side - 1) for value in (x0, y0)]
        last = [min(max(math.ceil(value) - 1, least), self.side - 1) for value, least in zip((x1, y1), first, strict=True)]
        return "".join(f"<patch_index_{row * self.side + column:04d}>" for column, row in (first, last))

    def _read(self, place: str, frame: Frame) -> Region | None:
        first, last = (int(number) for number in re.findall(r"\d{4}", place))
        if max(first, last) >= self.side**2:
            return None
        (y0, x0), (y1, x1) = divmod(first, self.side), divmod(last, self.side)
        if x0 > x1 or y0 > y1:
            return None
        low, high = (0.0, 1.0) if x0 == x1 or y0 == y1 else (0.5, 0.5)
        return ordered_box((x0 + low, y0 + low, x1 + high, y1 + high), self.side, frame)

"""Qwen2-VL's spelling of places: `<|object_ref_start|>a cup<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foveal.geometry import Frame, Region, bounding_box
from foveal.grounding.formats.tagged import ordered_box, read_tagged, tagged_pattern, write_tagged
from foveal.grounding.text import GroundedText

__all__ = ["Qwen2Format"]

_OPEN, _CLOSE, _BINS = "<|object_ref_start|>", "<|object_ref_end|>", 1000
_CORNER = r"\(\s?\d{1,9}\s?,\s?\d{1,9}\s?\)"
_PLACE = re.compile(rf"<\|box_start\|>{_CORNER}\s?,\s?{_CORNER}<\|box_end\|>")
_SAID = tagged_pattern(_OPEN, _CLOSE, r"<\|box_start\|>", _PLACE.pattern)


@dataclass(frozen=True, slots=True)
class Qwen2Format:
    """Boxes in thousandths of the image between tokens of their own (arXiv 2409.12191, 2.2.1); the tags of Qwen-VL, spelled as tokens.

    All other regions are spelled by the box around them.

    >>> frame = Frame.stretch((640, 480))
    >>> Qwen2Format().decode("<|object_ref_start|>a cup<|object_ref_end|><|box_start|>(0,0),(500,500)<|box_end|>", frame).spans
    (Span(start=0, end=5, regions=(Box(x0=0.0, y0=0.0, x1=0.5, y1=0.5, image=0),), scores=()),)
    """

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; spans do not overlap."""

        def spell(regions: Sequence[Region]) -> str:
            return "".join(self._spell(region, frame) for region in regions)

        return write_tagged(said, _OPEN, _CLOSE, spell)

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: a tag that does not close, or holds no place, stays text."""
        return read_tagged(raw, _SAID, _PLACE, lambda place: ordered_box([int(one) for one in re.findall(r"\d+", place)], _BINS, frame), score)

    def _spell(self, region: Region, frame: Frame) -> str:
        x0, y0, x1, y1 = (min(max(int(round(value * _BINS, 9)), 0), _BINS - 1) for value in frame.unit().to(bounding_box(region)))
        return f"<|box_start|>({x0},{y0}),({x1},{y1})<|box_end|>"

"""Lists in which a model names one thing twice: what language models do in place of a detector's overlapping boxes."""

import re
from dataclasses import replace

import numpy as np

from foveal.geometry import Box, bounding_box, iou
from foveal.grounding import GroundedText, Span

__all__ = ["SAME_PLACE", "without_repeats"]

SAME_PLACE = 0.5
"""From this IoU on, two boxes of one name in a list are one thing: the usual threshold of non-maximum suppression."""

_NUMBERED = re.compile(r"\d+:\s*$")


def without_repeats(said: GroundedText) -> GroundedText:
    """The answer without the places of list items that say again, by the same words and at the same place, what an earlier item said.

    Only items of a numbered list count ("1: a cat …, 2: …", Ferret-v2's dense detection, 3.3); a thing spoken of twice in running text
    keeps its place. The words stay as they were said.

    >>> cats = [Box(0.1, 0.1, 0.5, 0.5), Box(0.1, 0.1, 0.5, 0.45), Box(0.6, 0.6, 0.9, 0.9)]
    >>> listed = [(f"{n}: ", GroundedText("cat", (Span(0, 3, (box,)),))) for n, box in enumerate(cats, 1)]
    >>> len(without_repeats(GroundedText.join(*(part for item in listed for part in item))).spans)
    2
    """
    kept: list[Span] = []
    known: dict[str, list[Box]] = {}
    for span in said.spans:
        words = said.text[span.start : span.end].strip()
        if span.regions and _NUMBERED.search(said.text[: span.start]):
            boxes = [bounding_box(region) for region in span.regions]
            before = known.setdefault(words, [])
            if before and float(iou(_rows(boxes), _rows(before)).max(axis=1).min()) >= SAME_PLACE:
                continue
            before += boxes
        kept.append(span)
    return said if len(kept) == len(said.spans) else replace(said, spans=tuple(kept))


def _rows(boxes: list[Box]) -> np.ndarray:
    return np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes])

"""Stages that check what is known: sureness, and regions that say the same of the same place twice."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np

from foveal.geometry import bounding_box
from foveal.geometry.boxes import box_array, first_overlaps
from foveal.grounding import Example, Note
from foveal.synth.notes import is_dropped, marked
from foveal.synth.stage import Stage

__all__ = ["PUBLISHED", "deduped", "same_words", "scored_above"]

PUBLISHED: Mapping[str, float] = MappingProxyType({"region": 0.4, "text": 0.85, "segment": 0.5})
"""Scores below which Monkey's pipeline drops a note (arXiv 2311.06607 and its code): of dense captions and of segments' captions the chance that
words and crop match, of text the reader's own."""

_APART = 4.0
"""Widths of a picture."""


def scored_above(least: Mapping[str, float] = PUBLISHED) -> Stage:
    """A check: a note that has a score stands where it is above that of its source. Notes without a score, and the data's own sources that are not
    named, stand."""
    return partial(_scored, least=dict(least))


def _scored(examples: Iterable[Example], *, least: Mapping[str, float]) -> Iterator[Example]:
    for example in examples:
        why = {
            place: f"its score {note.score:.2f} is not above {least[note.source]:.2f}"
            for place, note in enumerate(example.notes)
            if note.score is not None and note.source in least and not note.score > least[note.source]
        }
        yield marked(example, why)


def deduped(overlap: float = 0.6, sources: Collection[str] = ("object", "region", "segment")) -> Stage:
    """A check: of notes with the same words whose places overlap by an IoU of `overlap` or more, the surest stands; among equals the first.

    Words are the same but for case and an article before them. The IoU is of boxes in fractions; the original adds a pixel to them, by which two
    things side by side are one. A note with several regions, or none, is let be.
    """
    if not 0 < overlap <= 1:
        raise ValueError(f"an overlap of {overlap}; more than 0 and at most 1 is wanted")
    return partial(_deduped, overlap=overlap, sources=tuple(sources))


def _deduped(examples: Iterable[Example], *, overlap: float, sources: Collection[str]) -> Iterator[Example]:
    for example in examples:
        yield marked(example, _doubles(example.notes, overlap, sources))


def _doubles(notes: Collection[Note], overlap: float, sources: Collection[str]) -> dict[int, str]:
    """Why each note that is a double is one, by its place. Kinds of words, and pictures, lie apart as on a long strip, so that all are compared at
    once."""
    some = [(place, note, note.said.regions) for place, note in enumerate(notes) if note.source in sources and not is_dropped(note)]
    known = [(place, note, regions[0]) for place, note, regions in some if len(regions) == 1]
    if len(known) < 2:
        return {}
    known.sort(key=lambda one: -(one[1].score if one[1].score is not None else 1.0))  # what the data knows is sure
    kinds: dict[tuple[str, int], int] = {}
    kind = np.array([kinds.setdefault((same_words(note.said.text), region.image), len(kinds)) for _, note, region in known])
    boxes = box_array([bounding_box(region) for _, _, region in known])
    boxes[:, ::2] += _APART * kind[:, None]
    return {
        known[row][0]: f"it is note {known[first][0] + 1} again, with the same words at an IoU of {shared:.2f}"
        for row, (first, shared) in enumerate(zip(*(found.tolist() for found in first_overlaps(boxes, overlap)), strict=True))
        if first >= 0
    }


@lru_cache(maxsize=4096)
def same_words(words: str) -> str:
    """Words as they are compared: without case, blanks beyond one, and an article before them.

    >>> same_words("The red  Cup ")
    'red cup'
    """
    plain = " ".join(words.casefold().split()).rstrip(".")
    first, _, rest = plain.partition(" ")
    return rest if rest and first in ("a", "an", "the", "some") else plain

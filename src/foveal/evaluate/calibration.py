"""Whether scores mean what they say: the table behind a reliability diagram."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.evaluate.metrics import whole_words
from foveal.geometry import bounding_box, box_array, iou
from foveal.grounding import Example, GroundedText

__all__ = ["ReliabilityBin", "reliability_table", "scored_boxes", "scored_words"]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The `count` answers with scores from `low` up to `high`: their mean score is `confidence`, and the share `accuracy` of them is right."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def reliability_table(scores: Sequence[float], hits: Sequence[bool], *, bins: int = 10) -> list[ReliabilityBin]:
    """The equal bins of [0, 1] that hold any scores, from low to high (DeGroot and Fienberg 1983).

    The mean of |confidence - accuracy|, weighed by `count`, is `calibration_error` with as many bins. ValueError when there are not as many
    scores as hits, or a score is outside [0, 1].

    >>> reliability_table([0.9, 0.9, 0.95, 0.95], [True, True, True, False], bins=2)
    [ReliabilityBin(low=0.5, high=1.0, confidence=0.925, accuracy=0.75, count=4)]
    """
    if len(scores) != len(hits):
        raise ValueError(f"{len(scores)} scores for {len(hits)} hits: wanted as many")
    said, right = np.asarray(scores, dtype=np.float64), np.asarray(hits, dtype=np.float64)
    if not ((said >= 0) & (said <= 1)).all():
        raise ValueError(f"scores from {said.min()} to {said.max()}: wanted shares from 0 to 1")
    place = np.minimum((said * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    confidence, accuracy = (np.bincount(place, weights=of, minlength=bins) / np.maximum(count, 1) for of in (said, right))
    return [
        ReliabilityBin(number / bins, (number + 1) / bins, float(confidence[number]), float(accuracy[number]), int(count[number]))
        for number in np.flatnonzero(count).tolist()
    ]


def scored_boxes(answered: Sequence[tuple[Example, GroundedText]], *, threshold: float = 0.5) -> tuple[list[float], list[bool]]:
    """Of answers to where things are: the score of the first box, where it has one, and whether it is right.

    The truth is the first note of each question; right is an IoU of `threshold` or more with any of its regions, so that no box is right where
    there is nothing.
    """
    scores, hits = list[float](), list[bool]()
    for asked, said in answered:
        span = next((span for span in said.spans if span.regions), None)
        score = span.scores[0] if span is not None and span.scores else None
        if span is None or score is None:
            continue
        found, true = box_array([bounding_box(span.regions[0])]), box_array([bounding_box(region) for region in asked.notes[0].said.regions])
        scores.append(float(score))
        hits.append(bool(iou(found, true).max(initial=0.0) >= threshold))
    return scores, hits


def scored_words(
    said: GroundedText, truth: GroundedText, forms: Mapping[str, str], size: tuple[float, float], *, within: float = 0.05
) -> tuple[list[float], list[bool]]:
    """Of an answer whose words have places: the score of each word that names the one thing so called, once for each corner of its place, and
    whether that corner lies within this share of the picture's longer side of the thing's, across and down.

    That is the event whose chance `scores_of_places` gives. `forms` are spellings of names, in lower case, each with the name meant; `truth` has the
    box of each thing, tied to its name; `size` is the picture's (width, height). Words without a score are passed over.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import Span, tied
    >>> said = GroundedText("A cat", (Span(2, 5, (Box(0.12, 0.1, 0.3, 0.4),), (0.8,)),))
    >>> scored_words(said, tied("cat", Box(0.1, 0.1, 0.3, 0.3)), {"cat": "cat"}, (100, 100))
    ([0.8, 0.8], [True, False])
    """
    boxes: dict[str, list[np.ndarray]] = {}
    for span in truth.spans:
        boxes.setdefault(truth.text[span.start : span.end], []).extend(box_array([bounding_box(region)])[0] for region in span.regions)
    scores, hits = list[float](), list[bool]()
    for word in re.finditer(whole_words(forms), said.text.lower()):
        true = boxes.get(forms[word[0]], [])
        places = [span for span in said.spans if span.regions and span.scores and span.start < word.end() and word.start() < span.end]
        score = places[-1].scores[0] if places else None
        if len(true) != 1 or score is None:
            continue
        off = np.abs(box_array([bounding_box(places[-1].regions[0])])[0] - true[0]).reshape(2, 2) * size / max(size)
        scores += [float(score)] * 2
        hits += (off <= within).all(1).tolist()
    return scores, hits

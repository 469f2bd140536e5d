"""Whether scores mean what they say: the table behind a reliability diagram."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.geometry import bounding_box, box_array, iou
from foveal.grounding import Example, GroundedText

__all__ = ["ReliabilityBin", "reliability_table", "scored_boxes"]


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

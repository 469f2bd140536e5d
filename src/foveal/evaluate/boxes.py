"""Judging boxes that words were tied to: expressions that mean one thing, several or none, phrases of a sentence, and places of single words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from foveal.evaluate.metrics import first_box, phrases_found
from foveal.geometry import Box, bounding_box, box_array, iou
from foveal.grounding import GroundedText

__all__ = ["Phrase", "chosen_box", "generalised_figures", "pair_overlaps", "phrase_recall", "place_error", "referring_figures"]

_BLOCK = 64
"""Pairs are compared in blocks: the diagonal of a small square costs less than a loop over pairs."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase of a sentence with the boxes of all that it means; `kinds` are what it is counted under ("people", "scene")."""

    words: str
    boxes: tuple[Box, ...]
    kinds: tuple[str, ...] = ()


def chosen_box(said: GroundedText, by: Literal["first", "score"] = "first") -> Box | None:
    """Which box of an answer is judged, chosen without a look at the truth: the first said, or the one with the highest score.

    A box without a score stands behind all that have one; of equal ones the first is taken. None where nothing was placed.

    >>> from foveal.grounding import Span
    >>> low, high = Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0)
    >>> chosen_box(GroundedText("cup", (Span(0, 3, (low, high), (0.2, 0.9)),)), "score") == high
    True
    """
    if by == "first":
        return first_box(said)
    scored = _scored(said)
    return max(scored, key=lambda one: -np.inf if one[1] is None else one[1])[0] if scored else None


def pair_overlaps(predicted: Sequence[Box | None], truth: Sequence[Box]) -> Float[np.ndarray, " pairs"]:
    """IoU of each predicted box with its own true one; 0 where there is none. ValueError when they are not as many.

    >>> pair_overlaps([Box(0.0, 0.0, 0.5, 0.5), None], [Box(0.0, 0.0, 0.5, 1.0), Box(0.0, 0.0, 1.0, 1.0)]).tolist()
    [0.5, 0.0]
    """
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} predicted boxes for {len(truth)} true ones: wanted as many")
    a, b = box_array([box or Box(0.0, 0.0, 0.0, 0.0) for box in predicted]), box_array(truth)
    blocks = [iou(a[at : at + _BLOCK], b[at : at + _BLOCK]).diagonal() for at in range(0, len(a), _BLOCK)]
    return np.concatenate([np.zeros(0), *blocks])


def referring_figures(
    answered: Sequence[tuple[GroundedText, Box]],
    *,
    thresholds: Sequence[float] = (0.5, 0.75, 0.9),
    choice: Literal["first", "score"] = "first",
    strict: bool = False,
    as_published: Literal["mean", "best"] | None = None,
) -> dict[str, float]:
    """Of expressions that mean one thing: `precision@t`, the share whose box has an IoU of at least t with the true one, and `mean_iou`.

    `choice` says which of several boxes is judged (`chosen_box`); no box is wrong. With `strict` the IoU has to be above the threshold, as in
    PixelLLM's evaluation. `as_published` are two rows of the public harness for Ferret, for comparison with its tables only: "mean" judges the
    mean of all boxes, and "best" the one that fits the truth best, which is an upper bound and no result. ValueError for an empty set.

    >>> said = GroundedText.join("a cup", Box(0.0, 0.0, 0.5, 0.5))
    >>> referring_figures([(said, Box(0.0, 0.0, 0.5, 0.4)), (GroundedText("none"), Box(0.0, 0.0, 1.0, 1.0))], thresholds=[0.5])
    {'precision@0.5': 0.5, 'mean_iou': 0.4}
    """
    if not answered:
        raise ValueError("no expressions were given; give at least one with its true box")
    truth = [true for _, true in answered]
    if as_published == "best":
        overlaps = np.array([iou(box_array(_boxes(said)), box_array([true])).max(initial=0.0) for said, true in answered])
    else:
        overlaps = pair_overlaps([_mean_box(said) if as_published else chosen_box(said, choice) for said, _ in answered], truth)
    shares = {f"precision@{level:g}": float(np.mean(overlaps > level if strict else overlaps >= level)) for level in thresholds}
    return {**shares, "mean_iou": float(overlaps.mean())}


def generalised_figures(
    answered: Sequence[tuple[GroundedText, Sequence[Box]]], *, threshold: float = 0.5, above: float | None = None
) -> dict[str, float]:
    """Of expressions that mean any number of things, none too (gRefCOCO; He et al. 2023, GREC, arXiv 2308.16182).

    `precision`: the share answered without fault, F1 = 1: as many boxes as things, each with one of its own at an IoU of `threshold` or more,
    pairs taken from the best down; where there is nothing, no box. `n_acc`: of those that mean nothing, the share without a box; `t_acc`: of
    those that mean something, the share with one. A figure that nothing was asked for is left out. With `above`, boxes with a score below it
    are not said. The public script compares by generalised IoU, which is never larger; the paper says IoU, and so does this.

    >>> cup = Box(0.0, 0.0, 0.5, 0.5)
    >>> generalised_figures([(GroundedText.join("cup", cup), [cup]), (GroundedText("no cup"), []), (GroundedText.join("cup", cup), [])])
    {'precision': 0.6666666666666666, 'n_acc': 0.5, 't_acc': 1.0}
    """
    said_boxes = [[box for box, score in _scored(said) if above is None or score is None or score >= above] for said, _ in answered]
    faultless = [_all_paired(boxes, truth, threshold) for boxes, (_, truth) in zip(said_boxes, answered, strict=True)]
    empty = [not boxes for boxes, (_, truth) in zip(said_boxes, answered, strict=True) if not truth]
    placed = [bool(boxes) for boxes, (_, truth) in zip(said_boxes, answered, strict=True) if truth]
    return {name: float(np.mean(held)) for name, held in (("precision", faultless), ("n_acc", empty), ("t_acc", placed)) if held}


def phrase_recall(
    answered: Sequence[tuple[GroundedText, Sequence[Phrase]]],
    *,
    firsts: Sequence[int] = (1, 5, 10),
    threshold: float = 0.5,
    protocol: Literal["merged", "any"] = "merged",
) -> dict[str, float]:
    """Phrase grounding (Flickr30k Entities; Plummer et al. 2015): `recall@k`, the share of phrases one of whose first k boxes is right.

    A box is a phrase's when the words of its span are (`phrases_found`). A phrase of several boxes is judged by the box around them all
    ("merged", the protocol of most captioning models) or by any one of them ("any"; Kamath et al. 2021). `upper_bound` counts all boxes. Each
    figure is of all phrases together, and with "/people" of that kind's. Phrases without a box (not visual, a scene) are left out.

    >>> man = Box(0.0, 0.0, 0.5, 1.0)
    >>> said = GroundedText.join("A man", man, " walks")
    >>> phrase_recall([(said, [Phrase("a dog", (man,), ("animals",))])], firsts=[1])
    {'recall@1': 0.0, 'recall@1/animals': 0.0, 'upper_bound': 0.0, 'upper_bound/animals': 0.0}
    """
    placed = [(said, [phrase for phrase in phrases if phrase.boxes]) for said, phrases in answered]
    kinds = [phrase.kinds for _, phrases in placed for phrase in phrases]
    if not kinds:
        raise ValueError("no phrases with boxes were given; give at least one")
    each = sorted({kind for of in kinds for kind in of})
    member = {kind: np.array([kind in of for of in kinds]) for kind in each}
    figures: dict[str, float] = {}
    for name, first in [*((f"recall@{count}", count) for count in firsts), ("upper_bound", None)]:
        found = np.array([held for said, phrases in placed for held in _found(said, phrases, first, threshold, protocol == "merged")])
        figures[name] = float(found.mean())
        figures |= {f"{name}/{kind}": float(found[member[kind]].mean()) for kind in each}
    return figures


def place_error(
    predicted: Float[np.ndarray, "words points 2"], truth: Float[np.ndarray, "words others 2"], counts: Bool[np.ndarray, " words"]
) -> float:
    """How far the places of one picture's words are off, in fractions of the picture: PixelLLM's `point_l1` (arXiv 2312.09237).

    For each predicted point the nearest true point of its word by the mean of |Δx| and |Δy|; mean over points, then over words that count
    (those that are said and have a place); 0 where none does. The figure of a set is the mean over pictures.

    >>> place_error(np.array([[[0.1, 0.2]], [[0.0, 0.0]]]), np.array([[[0.1, 0.4]], [[1.0, 1.0]]]), np.array([True, False]))
    0.1
    """
    if not counts.any():
        return 0.0
    apart = np.abs(predicted[counts][:, :, None] - truth[counts][:, None]).mean(-1)
    return float(apart.min(-1).mean())


def _scored(said: GroundedText) -> list[tuple[Box, float | None]]:
    return [(bounding_box(region), score) for span in said.spans for region, score in zip(span.regions, span.scores or repeat(None), strict=False)]


def _boxes(said: GroundedText) -> list[Box]:
    return [box for box, _ in _scored(said)]


def _mean_box(said: GroundedText) -> Box | None:
    boxes = box_array(_boxes(said))
    return Box(*boxes.mean(0).tolist()) if len(boxes) else None


def _all_paired(boxes: Sequence[Box], truth: Sequence[Box], threshold: float) -> bool:
    if len(boxes) != len(truth):
        return False
    overlaps = iou(box_array(boxes), box_array(truth))
    for _ in range(len(boxes)):
        row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        if overlaps[row, column] < threshold:
            return False
        overlaps[row, :], overlaps[:, column] = -1.0, -1.0
    return True


def _found(said: GroundedText, phrases: Sequence[Phrase], first: int | None, threshold: float, merged: bool) -> list[bool]:
    most = max(1, len(said.regions))
    return phrases_found(
        said, [(phrase.words, phrase.boxes) for phrase in phrases], threshold=threshold, first=min(first or most, most), merged=merged
    )

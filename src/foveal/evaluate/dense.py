"""Judging captions of regions: mean average precision over overlap and caption quality (DenseCap), with true regions merged first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from jaxtyping import Bool, Float

from foveal.evaluate.detection import first_claims
from foveal.evaluate.metrics import ranked_precision
from foveal.geometry import bounding_box, box_array, iou
from foveal.grounding import GroundedText

__all__ = ["DenseMatches", "dense_figures", "dense_matches", "merge_regions"]

_RECALLS = np.arange(100) / 100


@dataclass(frozen=True, slots=True)
class DenseMatches:
    """The detections of all pictures in the order given, each beside the true region it overlaps most.

    `claims` holds where a detection is the best scored of those that overlap this region most; only there can it be right. `candidates` are the
    captions said, `references` those of the region (none where nothing is overlapped), `there` counts true regions.
    """

    scores: Float[np.ndarray, " found"]
    overlaps: Float[np.ndarray, " found"]
    claims: Bool[np.ndarray, " found"]
    candidates: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    there: int


def merge_regions(boxes: Float[np.ndarray, "n 4"], threshold: float = 0.7) -> list[list[int]]:
    """Which boxes mean one thing: again and again, the box with the most neighbours still there at an IoU of `threshold`, and these.

    Rows of each group, in the order in which groups are taken; of equals the first row leads. A group's own box is the mean of its boxes.

    >>> merge_regions(np.array([[5.0, 5, 6, 6], [0, 0, 2, 2], [0, 0, 2, 2.1]]))
    [[1, 2], [0]]
    """
    near = iou(boxes, boxes) >= threshold
    np.fill_diagonal(near, True)  # a box without area is near to none, not to itself either
    groups = []
    while near.any():
        group = np.flatnonzero(near[near.sum(1).argmax()])
        groups.append(group.tolist())
        near[group], near[:, group] = False, False
    return groups


def dense_matches(answered: Sequence[tuple[GroundedText, GroundedText]], *, merge: float | None = 0.7) -> DenseMatches:
    """Each region said, beside the true one that it overlaps most: what `dense_figures` needs, and what a judge of captions is to be asked.

    In the (said, true) texts of a picture the words of a span are the caption of each of its regions; regions without a score get 0. True
    regions that overlap by `merge` become one with all their captions (`merge_regions`); None leaves each as it is. Detections claim their best
    region by rank, at whatever overlap: one that claims it at an IoU of 0.1 leaves nothing to a better one with a lower score.
    """
    overlaps, best, scores = [np.zeros(0)], [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    candidates: list[str] = []
    golds: list[tuple[str, ...]] = []
    for said, true in answered:
        found, captions, sure = _captioned(said)
        wanted, told, _ = _captioned(true)
        groups = merge_regions(wanted, merge) if merge is not None else [[row] for row in range(len(wanted))]
        regions = np.array([wanted[group].mean(0) for group in groups]).reshape(-1, 4)
        over = np.concatenate([iou(found, regions), np.zeros((len(found), 1))], 1)  # the last column is nothing at all
        place = over.argmax(1)
        overlaps.append(over.max(1))
        best.append(np.where(over.max(1) > 0, place + len(golds), -1))
        scores.append(sure)
        candidates += captions
        golds += [tuple(told[row] for row in group) for group in groups]
    overlap, nearest, score = (np.concatenate(parts) for parts in (overlaps, best, scores))
    order = np.argsort(-score, kind="stable")
    claims = np.zeros(len(score), dtype=bool)
    claims[order] = first_claims(nearest[order], overlap[order] > 0)
    references = tuple(golds[row] if row >= 0 else () for row in nearest.tolist())
    return DenseMatches(score, overlap, claims, tuple(candidates), references, len(golds))


def dense_figures(
    matches: DenseMatches,
    captions: Float[np.ndarray, " found"] | Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]],
    *,
    overlaps: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7),
    qualities: Sequence[float] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25),
) -> dict[str, float]:
    """DenseCap's `map` (Johnson et al. 2016, arXiv 1511.07571), the mean of all `map@iou/quality`; and `detection`, the mean of `detection@iou`.

    `captions` are the scores of `matches.candidates` against their `references` (METEOR, in the paper), or a function that gives them: it is
    asked once, for each different pair that can matter. A detection is right that claims its region, with an IoU of `overlaps` or more and a
    caption score above `qualities`; words do not count for `detection`, nor for regions without a caption. Each figure is the mean over recalls
    0, 0.01, ..., 0.99 of the best precision from there on. ValueError for no true regions, or scores that are not as many.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import tied
    >>> cat = tied("a cat", Box(0.0, 0.0, 0.5, 0.5))
    >>> figures = dense_figures(dense_matches([(cat, cat)]), np.array([0.12]))
    >>> figures["detection"], figures["map@0.5/0.1"], figures["map@0.5/0.15"], figures["map"]
    (1.0, 1.0, 0.0, 0.5)
    """
    if not matches.there:
        raise ValueError("no true regions were given; give at least one")
    quality = _qualities(matches, captions, min(overlaps)) if callable(captions) else captions
    if len(quality) != len(matches.scores):
        raise ValueError(f"{len(quality)} caption scores for {len(matches.scores)} detections: wanted as many")
    wordless = np.array([not any(text.strip() for text in texts) for texts in matches.references], dtype=bool)
    quality = np.where(wordless, np.inf, quality)
    order = np.argsort(-matches.scores, kind="stable")
    overlap, quality, claims = (of[order] for of in (matches.overlaps, quality, matches.claims))
    figures: dict[str, float] = {}
    for level in overlaps:
        near = claims & (overlap >= level)
        figures[f"detection@{level:g}"] = ranked_precision(near, matches.there, _RECALLS)
        figures |= {f"map@{level:g}/{least:g}": ranked_precision(near & (quality > least), matches.there, _RECALLS) for least in qualities}
    for name in ("map", "detection"):
        figures[name] = float(np.mean([value for key, value in figures.items() if key.startswith(f"{name}@")]))
    return figures


def _captioned(said: GroundedText) -> tuple[Float[np.ndarray, "n 4"], list[str], Float[np.ndarray, " n"]]:
    rows = [
        (bounding_box(region), said.text[span.start : span.end].strip(), float(score or 0.0))
        for span in said.spans
        for region, score in zip(span.regions, span.scores or repeat(None), strict=False)
    ]
    return box_array([box for box, _, _ in rows]), [words for _, words, _ in rows], np.array([score for _, _, score in rows], dtype=np.float64)


def _qualities(
    matches: DenseMatches, scorer: Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]], least: float
) -> Float[np.ndarray, " found"]:
    rows = np.flatnonzero(matches.claims & (matches.overlaps >= least)).tolist()
    pairs = {(matches.candidates[row], matches.references[row]): 0.0 for row in rows if any(map(str.strip, matches.references[row]))}
    if pairs:
        told, against = zip(*pairs, strict=True)
        pairs = dict(zip(pairs, map(float, scorer(told, against)), strict=True))
    quality = np.zeros(len(matches.scores))
    quality[rows] = [pairs.get((matches.candidates[row], matches.references[row]), 0.0) for row in rows]
    return quality

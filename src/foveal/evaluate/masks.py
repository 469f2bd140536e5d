"""Judging masks of expressions: mean and cumulative IoU, with expressions that mean nothing, and precision by overlap."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from foveal.geometry import Box, Mask, bounding_box, mask_iou

__all__ = ["mask_boxes", "mask_figures", "shared_pixels"]


def shared_pixels(pairs: Sequence[tuple[Mask | None, Mask | None]]) -> Int[np.ndarray, "pairs 2"]:
    """Pixels that both masks of each pair set, and pixels that either sets; None sets none.

    Raises ValueError when the masks of a pair differ in size.

    >>> shared_pixels([(Mask(2, 2, (2, 2)), Mask(2, 2, (3, 1))), (None, Mask(2, 2, (0, 4)))]).tolist()
    [[1, 2], [0, 4]]
    """
    overlaps = np.array([mask_iou(a, b) if a is not None and b is not None else 0.0 for a, b in pairs], dtype=np.float64)
    areas = np.array([[_area(a), _area(b)] for a, b in pairs], dtype=np.int64).reshape(-1, 2).sum(1)
    # I = r (A + B) / (1 + r), a whole number: run lengths are walked once, for the ratio.
    both = np.rint(overlaps * areas / (1 + overlaps)).astype(np.int64)
    return np.stack([both, areas - both], 1)


def mask_figures(pairs: Sequence[tuple[Mask | None, Mask | None]], *, thresholds: Sequence[float] = (0.5, 0.7, 0.9)) -> dict[str, float]:
    """Of (predicted, true) masks of expressions: `giou`, the mean of each pair's IoU, and `ciou`, all shared pixels over all pixels of either.

    Then `precision@t`, the share of pairs with an IoU above t. An expression may mean nothing (true mask None or empty; Liu et al. 2023, GRES,
    arXiv 2306.00968): an empty answer to it has IoU 1 and any other IoU 0, in `ciou` with all its pixels; such pairs are left out of
    `precision@t`, and `n_acc` is the share of them that was answered with nothing, `t_acc` the share of the others that was answered with
    something. Without such pairs these two are left out. ValueError for no pairs, or for masks of a pair that differ in size.

    >>> figures = mask_figures([(Mask(2, 2, (2, 2)), Mask(2, 2, (3, 1))), (Mask(2, 2, (0, 4)), Mask(2, 2, (0, 4)))], thresholds=[0.5])
    >>> figures["giou"], round(figures["ciou"], 3), figures["precision@0.5"]
    (0.75, 0.833, 0.5)
    """
    if not pairs:
        raise ValueError("no masks were given; give at least one pair")
    both, either = shared_pixels(pairs).T
    said, there = (np.array([_area(mask) > 0 for mask in side], dtype=bool) for side in zip(*pairs, strict=True))
    overlaps = np.where(there | said, both / np.maximum(either, 1), 1.0)
    figures = {"giou": float(overlaps.mean()), "ciou": float(both.sum() / either.sum()) if either.any() else 1.0}
    if there.any():
        figures |= {f"precision@{level:g}": float(np.mean(overlaps[there] > level)) for level in thresholds}
    if not there.all():
        figures["n_acc"] = float(np.mean(~said[~there]))
        figures |= {"t_acc": float(np.mean(said[there]))} if there.any() else {}
    return figures


def mask_boxes(masks: Sequence[Mask | None]) -> list[Box | None]:
    """The box around each mask, None around nothing: what the P@0.5 of a segmentation model is judged by.

    >>> mask_boxes([Mask(2, 2, (2, 2)), Mask(2, 2, (4,)), None])
    [Box(x0=0.5, y0=0.0, x1=1.0, y1=1.0, image=0), None, None]
    """
    return [bounding_box(mask) if mask is not None and _area(mask) else None for mask in masks]


def _area(mask: Mask | None) -> int:
    return sum(mask.counts[1::2]) if mask is not None else 0

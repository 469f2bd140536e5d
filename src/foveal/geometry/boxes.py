"""Boxes as arrays of rows (x0, y0, x1, y1), in any unit: overlap, suppression and matching. The only box overlap in the house."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from foveal.geometry.regions import Box

__all__ = ["box_array", "enclosing_box", "iou", "match", "nms"]


def box_array(boxes: Sequence[Box]) -> Float[np.ndarray, "n 4"]:
    """One row (x0, y0, x1, y1) for each box, in fractions.

    >>> box_array([Box(0.0, 0.25, 0.5, 1.0)]).tolist()
    [[0.0, 0.25, 0.5, 1.0]]
    """
    return np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes], dtype=np.float64).reshape(-1, 4)


def enclosing_box(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of `boxes`, which lie in one image; ValueError when there are none.

    >>> enclosing_box([Box(0.0, 0.2, 0.1, 0.3), Box(0.5, 0.1, 0.6, 0.2)])
    Box(x0=0.0, y0=0.1, x1=0.6, y1=0.3, image=0)
    """
    if not boxes:
        raise ValueError("no boxes were given to enclose; give at least one")
    return Box(
        min(box.x0 for box in boxes),
        min(box.y0 for box in boxes),
        max(box.x1 for box in boxes),
        max(box.y1 for box in boxes),
        boxes[0].image,
    )


def iou(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Area of the intersection over area of the union, for every pair. A box without area, or turned inside out, overlaps nothing.

    >>> iou(np.array([[0.0, 0.0, 2.0, 1.0]]), np.array([[1.0, 0.0, 3.0, 1.0]])).round(3).tolist()
    [[0.333]]
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = _areas(a)[:, None] + _areas(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=(union > 0) & (shared > 0))


def nms(boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], threshold: float) -> Int[np.ndarray, " kept"]:
    """Rows that stay, best score first, when each drops all worse ones that overlap it by more than `threshold`; ties keep their order.

    >>> nms(np.array([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]]), np.array([0.5, 0.9, 0.1]), 0.7).tolist()
    [1, 2]
    """
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        waiting = waiting[iou(boxes[best][None], boxes[waiting])[0] <= threshold]
    return np.array(kept, dtype=np.int64)


def match(overlaps: Float[np.ndarray, "n m"], threshold: float) -> Int[np.ndarray, " n"]:
    """For each row, in order (best first), the column it takes: the free one it overlaps most, by `threshold` or more; -1 if none.

    The rule of the COCO and LVIS evaluations: what is taken is not given twice.

    >>> match(np.array([[0.9, 0.6], [0.8, 0.1]]), 0.5).tolist()
    [0, -1]
    """
    free = np.ones(overlaps.shape[1], dtype=bool)
    taken = np.full(overlaps.shape[0], -1, dtype=np.int64)
    for row, overlap in enumerate(overlaps):
        candidates = np.where(free, overlap, -np.inf)
        if candidates.size and candidates.max() >= threshold:
            taken[row] = candidates.argmax()
            free[taken[row]] = False
    return taken


def _areas(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)

"""Boxes as arrays of rows (x0, y0, x1, y1), in any unit: overlap, suppression and matching. The only box overlap in the house."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from foveal.geometry.regions import Box

__all__ = ["box_array", "enclosing_box", "first_overlaps", "iou", "match", "nms"]

_BLOCK, _ROUNDING = 256, 1e-9


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
    shared = _overlap(a, b, 0)
    shared *= _overlap(a, b, 1)
    union = _areas(a)[:, None] + _areas(b)[None, :]
    union -= shared
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


def first_overlaps(boxes: Float[np.ndarray, "n 4"], threshold: float) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """For each row, best first, the one before it that stays and that it overlaps most, by `threshold` or more, and by how much; -1 and 0 for those
    that stay.

    As `nms` chooses, but it says what each row is a double of, and compares only boxes that begin near each other.

    >>> first_overlaps(np.array([[0.0, 0, 2, 2], [5, 5, 6, 6], [0, 0, 2, 2.1]]), 0.7)[0].tolist()
    [-1, -1, 0]
    """
    later, earlier, overlaps = _pairs(boxes, threshold)
    found, shared = np.full(len(boxes), -1, dtype=np.int64), np.zeros(len(boxes))
    if not len(later):
        return found, shared
    order = np.argsort(later, kind="stable")
    later, earlier, overlaps = later[order], earlier[order], overlaps[order]
    rows, starts = np.unique(later, return_index=True)
    for row, start, end in zip(rows, starts, np.append(starts, len(later))[1:], strict=True):
        others = np.where(found[earlier[start:end]] < 0, overlaps[start:end], -1.0)
        best = others.argmax()
        if others[best] >= 0:
            found[row], shared[row] = earlier[start + best], others[best]
    return found, shared


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


def _pairs(boxes: Float[np.ndarray, "n 4"], threshold: float) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Rows that overlap by `threshold` or more: the later and the earlier of each pair, and by how much.

    Boxes are gone through from left to right, a block at a time beside those that begin near enough: of what they share in width, IoU >= t wants
    t times the width of either.
    """
    if len(boxes) <= _BLOCK:
        overlaps = np.tril(iou(boxes, boxes), -1)
        later, earlier = np.nonzero((overlaps >= threshold) & (overlaps > 0))
        return later, earlier, overlaps[later, earlier]
    order = np.argsort(boxes[:, 0], kind="stable")
    swept = boxes[order]
    reach = swept[:, 0] + (1 - threshold) * (swept[:, 2] - swept[:, 0]) + _ROUNDING
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for start in range(0, len(boxes), _BLOCK):
        block = swept[start : start + _BLOCK]
        end = int(np.searchsorted(swept[:, 0], reach[start : start + _BLOCK].max(), side="right"))
        overlaps = np.triu(iou(block, swept[start:end]), 1)
        first, second = np.nonzero((overlaps >= threshold) & (overlaps > 0))
        one, other = order[start + first], order[start + second]
        found.append((np.maximum(one, other), np.minimum(one, other), overlaps[first, second]))
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    return columns[0], columns[1], columns[2]


def _overlap(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"], axis: int) -> Float[np.ndarray, "n m"]:
    """How far two boxes run side by side, along one axis: column by column, since numpy is slow on short rows."""
    shared = np.minimum(a[:, None, axis + 2], b[:, axis + 2]) - np.maximum(a[:, None, axis], b[:, axis])
    return np.maximum(shared, 0, out=shared)


def _areas(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)

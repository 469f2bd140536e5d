"""Greedy suppression of boxes that overlap a better one, over a batch of images at once and without a loop over boxes."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foveal.vision.box_tensors import pair_overlaps

__all__ = ["Kept", "nms"]

_BLOCK = 128
"""So many of the best boxes left are decided together."""
_PAIRS_AT_ONCE = 32 * 1024 - 1
"""So many overlaps are computed at a time on a CPU: they stay in its cache, and PyTorch does not wait for a second thread over so few."""


class Kept(NamedTuple):
    """The boxes of each image that stay, best first, and filler behind them."""

    boxes: Float[Tensor, "images keep 4"]
    """Zeros where filler stands."""
    scores: Float[Tensor, "images keep"]
    """Zero where filler stands."""
    row: Int[Tensor, "images keep"]
    """Each box's row among those given; -1 where filler stands."""


def nms(boxes: Float[Tensor, "images n 4"], scores: Float[Tensor, "images n"], threshold: float, keep: int) -> Kept:
    """The first `keep` boxes that the plain greedy rule keeps: best score first, each drops all worse ones it overlaps by `threshold` or more.

    Exactly that rule's choice: of equal scores the earlier row is the better, an overlap equal to the threshold drops. A score of 0 or less
    says that a row is no box. Computed in float32. ValueError for a threshold outside (0, 1] and for less than one box to keep.

    >>> boxes = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]]])
    >>> nms(boxes, torch.tensor([[0.5, 0.9, 0.1]]), 0.7, keep=3).row
    tensor([[ 1,  2, -1]])
    """
    if not 0 < threshold <= 1 or keep < 1:
        raise ValueError(f"a threshold of {threshold} and {keep} boxes to keep were given; one above 0 and up to 1, and at least one, are wanted")
    ranked, order = scores.sort(dim=1, descending=True, stable=True)
    rows = functional.pad(_rows(boxes.float(), order), (0, 0, 0, 1))  # the last row has no extent: it is what filler points to
    best = _greedy(rows, ranked > 0, threshold, keep)
    best = functional.pad(best, (0, keep - best.shape[1]), value=boxes.shape[1])
    scores, order = functional.pad(ranked, (0, 1)), functional.pad(order, (0, 1), value=-1)
    return Kept(_rows(rows, best).to(boxes.dtype), scores.gather(1, best), order.gather(1, best))


def _greedy(rows: Float[Tensor, "images rows 4"], real: Bool[Tensor, "images n"], threshold: float, keep: int) -> Int[Tensor, "images best"]:
    """Ranks that stay, of boxes sorted by score; the rank n is filler.

    Twice as many as are to be kept are taken up at a time, less those that an earlier choice drops; of these, block by block is decided, and
    drops what waits behind it.
    """
    filler = real.shape[1]
    ranks = torch.where(real, torch.arange(filler, device=rows.device), filler)
    best = ranks[:, :0]
    for waiting in ranks.split(max(_BLOCK, 2 * keep), dim=1):
        waiting = _left(rows, best, waiting, threshold)
        while waiting.shape[1] and int((best < filler).sum(dim=1).min()) < keep:
            first = _decided(rows, waiting[:, :_BLOCK], threshold)
            best = _packed(torch.cat([best, first], dim=1), filler)[:, :keep]
            waiting = _left(rows, first, waiting[:, _BLOCK:], threshold)
        if waiting.shape[1]:
            break
    return best


def _left(
    rows: Float[Tensor, "images rows 4"], chosen: Int[Tensor, "images chosen"], waiting: Int[Tensor, "images waiting"], threshold: float
) -> Int[Tensor, "images left"]:
    """Those of `waiting` that none of the chosen drops."""
    most = _most_overlap(_rows(rows, chosen), _rows(rows, waiting))
    filler = rows.shape[1] - 1
    return _packed(waiting.masked_fill(most >= threshold, filler), filler)


def _most_overlap(chosen: Float[Tensor, "images chosen 4"], waiting: Float[Tensor, "images waiting 4"]) -> Float[Tensor, "images waiting"]:
    """How much of each box that waits the chosen ones overlap at most."""
    most = waiting.new_zeros(waiting.shape[:2])
    waiting = waiting.mT.contiguous().mT  # as overlaps are read, so that it is done once
    pairs = _PAIRS_AT_ONCE if waiting.device.type == "cpu" else 128 * _PAIRS_AT_ONCE
    for some in chosen.split(max(1, pairs // max(1, most.numel())), dim=1):
        if some.shape[1]:
            most = torch.maximum(most, pair_overlaps(some, waiting).amax(dim=1))
    return most


def _decided(rows: Float[Tensor, "images rows 4"], block: Int[Tensor, "images block"], threshold: float) -> Int[Tensor, "images left"]:
    """Those of a block that stay among themselves.

    "A box stays if none that stays drops it" has one solution, since only better boxes drop: after k rounds of putting it into itself the
    first k boxes are right, and where a round changes nothing all are.
    """
    filler = rows.shape[1] - 1
    boxes = _rows(rows, block)
    drops = ((pair_overlaps(boxes, boxes) >= threshold) & (block[..., None] < block[:, None])).float()
    stay = real = block < filler
    while True:
        better = real & ((drops * stay[..., None]).amax(dim=1) == 0)
        if torch.equal(better, stay):
            return _packed(block.masked_fill(~stay, filler), filler)
        stay = better


def _packed(ranks: Int[Tensor, "images n"], filler: int) -> Int[Tensor, "images left"]:
    """The ranks without filler between them, as many columns as the fullest image has."""
    real = ranks < filler
    column = torch.where(real, real.cumsum(dim=1) - 1, ranks.shape[1])
    packed = torch.full_like(functional.pad(ranks, (0, 1)), filler).scatter_(1, column, ranks)
    return packed[:, : int(real.sum(dim=1).max()) if real.numel() else 0]


def _rows(table: Float[Tensor, "images rows 4"], index: Int[Tensor, "images n"]) -> Float[Tensor, "images n 4"]:
    first = torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
    return table.flatten(0, 1).index_select(0, (index + first).flatten()).view(*index.shape, 4)

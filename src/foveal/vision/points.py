"""Point clouds: which points coincide, which lie far apart, which near each other."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Distinct", "distinct_points", "farthest_points", "nearest_points"]


class Distinct(NamedTuple):
    """The points of several clouds without repeats: `rows` are flat indices of one point for each place, `slots` is each point's row."""

    rows: Int[Tensor, " distinct"]
    slots: Int[Tensor, "clouds points"]


def distinct_points(points: Float[Tensor, "clouds points 2"]) -> Distinct:
    """Finds the points of each cloud that coincide exactly. Float32 only: a point's 64 bits are its key.

    >>> distinct_points(torch.tensor([[[0.5, 0.0], [0.25, 1.0], [0.5, 0.0]]]))
    Distinct(rows=tensor([1, 0]), slots=tensor([[1, 0, 1]]))
    """
    bits = points.contiguous().view(torch.int32).long()
    ordered, order = ((bits[..., 0] << 32) | (bits[..., 1] & 0xFFFFFFFF)).sort(dim=1, stable=True)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    slots = torch.empty_like(order).scatter_(1, order, (fresh.flatten().cumsum(0) - 1).view_as(order))
    flat = order + torch.arange(len(points), device=points.device)[:, None] * points.shape[1]
    return Distinct(flat[fresh], slots)


def farthest_points(points: Float[Tensor, "clouds points 2"], start: Int[Tensor, " clouds"], count: int) -> Int[Tensor, "clouds {count}"]:
    """Farthest point sampling: from `start`, ever the point farthest from those chosen; the first of several as far.

    When no place is left that was not chosen, index 0 is repeated.

    >>> farthest_points(torch.tensor([[[0.0, 0.0], [0.1, 0.0], [1.0, 0.0]]]), torch.tensor([0]), 3)
    tensor([[0, 2, 1]])
    """
    x, y = points[..., 0].contiguous(), points[..., 1].contiguous()
    nearest = torch.full_like(x, 1e10)
    chosen = [start.long()[:, None]]
    for _ in range(count - 1):
        across, down = x - x.gather(1, chosen[-1]), y - y.gather(1, chosen[-1])
        torch.minimum(nearest, across.square_().add_(down.square_()), out=nearest)
        chosen.append(nearest.argmax(1, keepdim=True))
    return torch.cat(chosen, dim=1)


def nearest_points(
    points: Float[Tensor, "clouds points 2"], anchors: Float[Tensor, "clouds anchors 2"], count: int
) -> Int[Tensor, "clouds anchors {count}"]:
    """The indices of the `count` points nearest to each anchor, itself included, in no order. Distances are exact differences, squared.

    >>> nearest_points(torch.tensor([[[0.0, 0.0], [0.1, 0.0], [1.0, 0.0]]]), torch.tensor([[[0.9, 0.0]]]), 1)
    tensor([[[2]]])
    """
    across = anchors[:, :, None, 0] - points[:, None, :, 0]
    down = anchors[:, :, None, 1] - points[:, None, :, 1]
    return across.square_().add_(down.square_()).topk(count, dim=2, largest=False, sorted=False).indices

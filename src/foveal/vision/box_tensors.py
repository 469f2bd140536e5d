"""Boxes as tensors, for what a model computes inside itself, in batches and with gradients; answers are measured by `foveal.geometry.boxes`.

Every box is a row (x0, y0, x1, y1) in any unit, pixels where nothing else is said. A row without extent stands for no box.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["box_areas", "clip_boxes", "decode_boxes", "encode_boxes", "generalized_iou", "have_extent", "pair_overlaps"]

_EPS = 1e-8
"""What the original adds below every fraction of areas."""
_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""What differences of centres and of the logarithms of sides are multiplied by before a model learns them (Fast R-CNN)."""
_LARGEST_LOG = math.log(1000 / 16)
"""A side grows at most by this factor, so that a wild difference does not overflow."""


def box_areas(boxes: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows"]:
    """Width by height; 0 for boxes turned inside out."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)


def have_extent(boxes: Float[Tensor, "*rows 4"]) -> Bool[Tensor, "*rows"]:
    """Which rows are boxes and not filler."""
    return box_areas(boxes) > 0


def pair_overlaps(a: Float[Tensor, "*images n 4"], b: Float[Tensor, "*images m 4"]) -> Float[Tensor, "*images n m"]:
    """Intersection over (union + 1e-8) of every pair, as the original divides; a box without extent overlaps nothing.

    >>> pair_overlaps(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0, 1.0], [5.0, 0.0, 6.0, 1.0]]))
    tensor([[0.3333, 0.0000]])
    """
    left, top, right, bottom = (one[..., None] for one in a.unbind(-1))
    x0, y0, x1, y1 = (one[..., None, :] for one in b.mT.contiguous().unbind(-2))  # side by side in memory, which halves the time
    wide = (torch.minimum(right, x1) - torch.maximum(left, x0)).clamp(min=0)
    high = (torch.minimum(bottom, y1) - torch.maximum(top, y0)).clamp(min=0)
    shared = wide * high
    return shared / ((box_areas(a) + _EPS)[..., None] + box_areas(b)[..., None, :] - shared)


def generalized_iou(a: Float[Tensor, "*rows 4"], b: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows"]:
    """Overlap of the boxes of each row, less the share of their common hull that neither covers: -1 to 1 (Rezatofighi et al. 2019).

    >>> generalized_iou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 1.0]]))
    tensor([0.])
    """
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = box_areas(torch.cat([low, high], dim=-1))
    union = box_areas(a) + box_areas(b) - shared
    hull = box_areas(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1))
    return shared / (union + _EPS) - (hull - union) / (hull + _EPS)


def encode_boxes(boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
    """What `decode_boxes` makes `boxes` of, given the anchors: shifts of the centre in sides, logarithms of the growth, times 10, 10, 5, 5.

    Boxes and anchors without extent give no numbers.
    """
    (centre, size), (start, side) = _centres(boxes), _centres(anchors)
    return torch.cat([(centre - start) / side, (size / side).log()], dim=-1) * boxes.new_tensor(_WEIGHTS)


def decode_boxes(deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
    """Anchors moved and grown by what a model learned; a side grows 62.5 times at most.

    >>> decode_boxes(torch.tensor([[10.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 4.0, 2.0]]))
    tensor([[4., 0., 8., 2.]])
    """
    start, side = _centres(anchors)
    shift, growth = (deltas / deltas.new_tensor(_WEIGHTS)).split(2, dim=-1)
    centre, half = start + shift * side, 0.5 * side * growth.clamp(max=_LARGEST_LOG).exp()
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_boxes(boxes: Float[Tensor, "images n 4"], sides: Float[Tensor, "#images 2"]) -> Float[Tensor, "images n 4"]:
    """The part of each box that lies within its picture, `sides` pixels wide and high.

    >>> clip_boxes(torch.tensor([[[-3.0, 2.0, 5.0, 90.0]]]), torch.tensor([[8.0, 6.0]]))
    tensor([[[0., 2., 5., 6.]]])
    """
    return torch.minimum(boxes.clamp(min=0), sides.repeat(1, 2)[:, None])


def _centres(boxes: Float[Tensor, "*rows 4"]) -> tuple[Float[Tensor, "*rows 2"], Float[Tensor, "*rows 2"]]:
    low, high = boxes.split(2, dim=-1)
    return (low + high) / 2, high - low

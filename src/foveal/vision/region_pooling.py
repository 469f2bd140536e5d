"""A grid of features of each box, read bilinearly from the one level of a pyramid that fits its size (RoIAlign, He et al. 2017)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveal.vision.box_tensors import box_areas
from foveal.vision.reading import read_cells

__all__ = ["level_of", "pool_regions"]

_WHOLE = 224
"""Side in pixels of a box that belongs to the second level: that of ImageNet's pictures (Lin et al. 2017, equation 1)."""


def level_of(boxes: Float[Tensor, "*rows 4"], levels: int) -> Int[Tensor, "*rows"]:
    """The number of the level, 0 the finest, that each box in pixels is read from: one further for every doubling of its side, from 224 on.

    clip(floor(4 + log2(sqrt(area) / 224 + 1e-8)), 3, 2 + levels) - 3.

    >>> level_of(torch.tensor([[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 224.0, 224.0], [0.0, 0.0, 500.0, 500.0]]), 5)
    tensor([0, 1, 2])
    """
    level = 4 + torch.log2(box_areas(boxes.float()).sqrt() / _WHOLE + 1e-8)
    return level.floor().long().clamp(3, 2 + levels) - 3


def pool_regions(
    levels: Sequence[Float[Tensor, "images dim _ _"]],
    boxes: Float[Tensor, "images n 4"],
    strides: Float[Tensor, "levels 2"],
    size: int = 7,
    samples: int = 2,
) -> Float[Tensor, "images n {size} {size} dim"]:
    """Each box's `size` x `size` bins, row by row, each the mean of `samples` x `samples` bilinear readings spread evenly within it.

    `boxes` are in pixels, `strides` the pixels from cell to cell of each level, across and down. Half a stride is a cell's centre; outside a
    map lie zeros. No gradient goes into the boxes.

    >>> ramp = torch.arange(0.5, 8)[None, None, None].expand(1, 1, 8, 8)  # as wide as it says
    >>> pool_regions([ramp], torch.tensor([[[4.0, 4.0, 12.0, 12.0]]]), torch.tensor([[2.0, 2.0]]), size=2)[0, 0, :, :, 0]
    tensor([[3., 5.],
            [3., 5.]])
    """
    if len(levels) != len(strides):
        raise ValueError(f"strides of {len(strides)} levels were given for {len(levels)} levels")
    boxes = boxes.detach().float()
    shapes = torch.tensor([level.shape[2:] for level in levels], device=boxes.device)
    level = level_of(boxes, len(levels))
    cells = torch.cat([level.flatten(2) for level in levels], dim=2).mT  # images cells dim
    start = (shapes.prod(1).cumsum(0) - shapes.prod(1))[level] + cells.shape[1] * torch.arange(len(boxes), device=boxes.device)[:, None]
    scaled = boxes / strides.to(boxes)[level].repeat(1, 1, 2) - 0.5
    columns, across = _readings(scaled[..., 0], scaled[..., 2], shapes[level][..., 1], size, samples)
    rows, down = _readings(scaled[..., 1], scaled[..., 3], shapes[level][..., 0], size, samples)
    entries = start[..., None, None, None, None] + rows[:, :, :, None, :, None] * shapes[level][..., 1, None, None, None, None]
    entries = entries + columns[:, :, None, :, None, :]
    shares = down[:, :, :, None, :, None] * across[:, :, None, :, None, :]
    found = read_cells(cells.flatten(0, 1), entries.flatten(4).flatten(0, 3), shares.flatten(4).flatten(0, 3))
    return found.view(*boxes.shape[:2], size, size, cells.shape[2])


def _readings(
    low: Float[Tensor, "images n"], high: Float[Tensor, "images n"], length: Int[Tensor, "images n"], size: int, samples: int
) -> tuple[Int[Tensor, "images n size entries"], Float[Tensor, "images n size entries"]]:
    """Along one axis: the cells that each bin's readings lie between, two for each reading, and the share of each; none outside the map."""
    places = (torch.arange(size * samples, device=low.device, dtype=low.dtype) + 0.5) / (size * samples)
    at = low[..., None] + (high - low)[..., None] * places
    before = at.floor()
    cell = torch.stack([before, before + 1], dim=-1)
    share = (1 - (at[..., None] - cell).abs()) / samples
    last = length[..., None, None] - 1
    inside = (cell >= 0) & (cell <= last)
    cell = torch.minimum(cell.clamp(min=0), last.to(cell.dtype)).long()
    return cell.unflatten(2, (size, samples)).flatten(3), (share * inside).unflatten(2, (size, samples)).flatten(3)

"""Reading feature maps of any sizes at any points, as one gather from one table of cells."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["corner_cells", "read_cells", "read_points", "touched_cells", "wide"]


def read_points(
    maps: Sequence[Float[Tensor, "dim _ _"]],
    points: Float[Tensor, "regions points 2"],
    image: Int[Tensor, " regions"],
    read: Literal["upright", "transposed"] = "upright",
) -> Float[Tensor, "regions points dim"]:
    """The maps' features at the points, bilinear, computed in float32; `image` says which map a region reads. See `corner_cells`.

    >>> read_points([torch.arange(4.0).view(1, 2, 2)], torch.tensor([[[0.5, 0.0], [1.0, 1.0]]]), torch.tensor([0])).tolist()
    [[[0.5], [3.0]]]
    """
    corners, shares = corner_cells(points, image, [(grid.shape[1], grid.shape[2]) for grid in maps], read)
    cells, corners = touched_cells(maps, corners, maps[0].dtype)
    return read_cells(cells, corners.flatten(0, 1), shares.flatten(0, 1)).view(*points.shape[:2], -1)


def corner_cells(
    points: Float[Tensor, "regions points 2"],
    image: Int[Tensor, " regions"],
    shapes: Sequence[tuple[int, int]],
    read: Literal["upright", "transposed"] = "upright",
) -> tuple[Int[Tensor, "regions points 4"], Float[Tensor, "regions points 4"]]:
    """The four cells around every point and the share of each in a bilinear reading (corners aligned: fraction 1 is the last cell's centre).

    `shapes` are each map's (rows, columns); cells are counted row by row through all maps, one after the other. A point's fractions are
    held within the map. `read="transposed"` takes x for the row and y for the column.

    >>> cells, shares = corner_cells(torch.tensor([[[0.5, 0.0]]]), torch.tensor([0]), [(2, 2)])
    >>> cells.tolist(), shares.tolist()
    ([[[0, 1, 2, 3]]], [[[0.5, 0.5, 0.0, 0.0]]])
    """
    sizes = torch.tensor(shapes, device=points.device).view(-1, 2)
    offsets = sizes.prod(1).cumsum(0) - sizes.prod(1)
    last = (sizes - 1)[image][:, None]
    places = (points if read == "transposed" else points.flip(-1)).clamp(0, 1) * last
    low = places.floor().long()
    high = (low + 1).minimum(last)
    down, right = (places - low).unbind(-1)
    start, stride = offsets[image][:, None], sizes[image][:, 1:]
    upper, lower = start + low[..., 0] * stride, start + high[..., 0] * stride
    cells = torch.stack([upper + low[..., 1], upper + high[..., 1], lower + low[..., 1], lower + high[..., 1]], dim=-1)
    shares = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], dim=-1)
    return cells, shares


def touched_cells(
    maps: Sequence[Float[Tensor, "dim _ _"]], corners: Int[Tensor, "regions points 4"], dtype: torch.dtype
) -> tuple[Float[Tensor, "cells dim"], Int[Tensor, "regions points 4"]]:
    """The cells that some point reads, of all maps in one table of the given dtype, and `corners` as rows of that table."""
    sizes = [grid.shape[1] * grid.shape[2] for grid in maps]
    used = torch.zeros(sum(sizes), dtype=torch.bool, device=corners.device)
    used[corners.flatten()] = True
    cells = torch.cat([grid.flatten(1).T[some].to(dtype) for grid, some in zip(maps, used.split(sizes), strict=True)])
    return cells, (used.cumsum(0) - 1)[corners]


def read_cells(
    cells: Float[Tensor, "cells dim"], corners: Int[Tensor, "bags entries"], shares: Float[Tensor, "bags entries"]
) -> Float[Tensor, "bags dim"]:
    """Weighted sums of cells, computed in float32 at least and handed back in the cells' dtype."""
    table = wide(cells)
    return F.embedding_bag(corners, table, per_sample_weights=shares.to(table.dtype), mode="sum").to(cells.dtype)


def wide(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The same values in float32, or as they are if that is wider.

    >>> wide(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))

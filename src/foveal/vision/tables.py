"""Position tables of a square grid: made once for each size, and kept."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization

from foveal.vision.resizing import KeptSizes

__all__ = ["PositionTable", "resize_table", "sine_table"]


def sine_table(dim: int, grid: int) -> Float[Tensor, "{grid}*{grid} {dim}"]:
    """The fixed 2-D table of a grid, row by row: columns in the first half of the channels, rows in the second; sines, then cosines.

    Raises ValueError for a `dim` that four does not divide.

    >>> sine_table(8, 2)[1, :4]
    tensor([0.8415, 0.0100, 0.5403, 0.9999])
    """
    if dim % 4:
        raise ValueError(f"a sine table of {dim} channels was asked for; a multiple of four is wanted")
    omega = 1.0 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * omega
    line = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    return torch.cat([line.repeat(grid, 1), line.repeat_interleave(grid, 0)], dim=1)


def resize_table(table: Float[Tensor, "cells dim"], rows: int, cols: int) -> Float[Tensor, "{rows}*{cols} dim"]:
    """A square table for another grid: bicubic in float32 with corners not aligned and no antialiasing; the same one where nothing changes.

    >>> resize_table(sine_table(8, 2), 4, 2).shape
    torch.Size([8, 8])
    """
    side = round(len(table) ** 0.5)
    if (rows, cols) == (side, side):
        return table
    square = table.float().unflatten(0, (side, side)).permute(2, 0, 1)[None]
    return functional.interpolate(square, (rows, cols), mode="bicubic")[0].flatten(1).T.to(table.dtype)


class PositionTable(nn.Module):
    """A table of a square grid, learned or given, and what it becomes for other grids.

    In inference each size is computed once and kept until the table changes; while it learns, each call computes its own.
    """

    def __init__(self, dim: int, grid: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(grid * grid, dim))
        self._kept = KeptSizes()
        self.reset()

    def reset(self) -> None:
        """Near zero, for a table that is to be learned."""
        initialization.trunc_normal_(self.weight, std=0.02)

    def forward(self, rows: int, cols: int) -> Float[Tensor, "cells dim"]:
        """The table for `rows` x `cols` cells, row by row."""
        return self._kept(self.weight, (rows, cols), resize_table)

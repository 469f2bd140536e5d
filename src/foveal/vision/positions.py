"""Where a cell of a feature map lies, as a learned vector: for towers and projectors that would not know it otherwise."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["RowColumnEmbedding"]


class RowColumnEmbedding(nn.Module):
    """Learned rows and columns, added. The tables have `cells` entries and are read at the fraction of the image where a cell's centre lies.

    So a position means the same place of the image whatever the grid: a map of 48 x 72 cells and one of 24 x 24 share their tables.

    >>> RowColumnEmbedding(width=8, cells=24)(3, 5).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, width: int, cells: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(cells, width) * 0.02)
        self.columns = nn.Parameter(torch.randn(cells, width) * 0.02)

    def forward(self, rows: int, columns: int) -> Float[Tensor, "rows columns width"]:
        """The positions of a grid of `rows` x `columns` cells."""
        return _read_line(self.rows, rows)[:, None] + _read_line(self.columns, columns)[None]


def _read_line(table: Float[Tensor, "cells width"], count: int) -> Float[Tensor, "{count} width"]:
    """The table at the centres of `count` equal cells, by linear interpolation between the centres of its own."""
    places = ((torch.arange(count, device=table.device) + 0.5) / count * len(table) - 0.5).clamp(0, len(table) - 1)
    low = places.floor().long()
    return torch.lerp(table[low], table[(low + 1).clamp(max=len(table) - 1)], (places - low).to(table.dtype)[:, None])

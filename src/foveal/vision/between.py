"""Attention between the windows of an image, over the one map that they make together (TextMonkey's shifted-window attention)."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization

from foveal.vision.tables import PositionTable

__all__ = ["TEXTMONKEY_BETWEEN", "BetweenWindows"]

TEXTMONKEY_BETWEEN = ((2, 128, 4), (6, 256, 8), (24, 512, 16), (46, 1024, 32))
"""The encoder blocks before which TextMonkey has it, counted from 0, each with its channels and heads."""


class BetweenWindows(nn.Module):
    """The windows of each image are laid side by side, cells attend within fields of `window` x `window` cells, and the windows are cut again.

    z = down(x + positions); z = z + attention(norm(z)); y = x + scale · mlp(norm(z)). The last layer of the MLP starts at zero, so that a new
    module changes nothing. `cells` is the side of the learned table, which is resized to the map. ValueError for heads that do not divide
    `dim`, and for a shift that is no part of a field.

    >>> between = BetweenWindows(width=8, dim=4, heads=2, window=3, shift=1, cells=2)
    >>> between(torch.rand(7, 2, 2, 8), [(2, 2), (1, 2)]).shape
    torch.Size([7, 2, 2, 8])
    """

    def __init__(self, width: int, dim: int, heads: int, window: int = 12, shift: int = 6, cells: int = 16, eps: float = 1e-6) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"attention of {dim} channels was asked for {heads} heads, which do not divide it")
        if not 0 <= shift < window:
            raise ValueError(f"fields of {window} cells were shifted by {shift}; 0 to {window - 1} are wanted")
        self.heads, self.window, self.shift = heads, window, shift
        self.positions = PositionTable(width, cells)
        self.down = nn.Linear(width, dim)
        self.ln_1, self.ln_2 = nn.LayerNorm(dim, eps=eps), nn.LayerNorm(dim, eps=eps)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.offsets = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.fc, self.proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, width)
        self.scale = nn.Parameter(torch.empty(1))
        self.reset()

    def reset(self) -> None:
        """Biases of relative positions near zero, the last layer at zero, its scale at one."""
        initialization.trunc_normal_(self.offsets, std=0.02)
        initialization.zeros_(self.proj.weight)
        initialization.zeros_(self.proj.bias)
        initialization.ones_(self.scale)

    def forward(self, views: Float[Tensor, "views rows cols width"], grids: Sequence[tuple[int, int]]) -> Float[Tensor, "views rows cols width"]:
        """`grids` are rows and columns of each image's windows, which stand first and image by image; views behind them stay as they are.

        Images of one grid are worked on at once. ValueError for grids of more windows than there are views.
        """
        firsts = list(accumulate((rows * cols for rows, cols in grids), initial=0))
        if firsts[-1] > len(views):
            raise ValueError(f"grids {list(grids)} want {firsts[-1]} windows, got {len(views)} views.")
        height, width = views.shape[1:3]
        found = views
        for grid in dict.fromkeys(grid for grid in grids if min(grid)):
            starts = torch.tensor([first for first, other in zip(firsts, grids, strict=False) if other == grid], device=views.device)
            own = (starts[:, None] + torch.arange(grid[0] * grid[1], device=views.device)).flatten()
            added = self._added(_joined(views[own].unflatten(0, (-1, *grid))))
            found = found.index_add(0, own, _parted(added, height, width).flatten(0, 2))
        return found

    def _added(self, maps: Float[Tensor, "images rows cols width"]) -> Float[Tensor, "images rows cols width"]:
        rows, cols = maps.shape[1:3]
        hidden = self.down(maps + self.positions(rows, cols).to(maps.dtype).unflatten(0, (rows, cols)))
        hidden = hidden + self._attended(self.ln_1(hidden))
        return self.proj(functional.gelu(self.fc(self.ln_2(hidden)))) * self.scale

    def _attended(self, maps: Float[Tensor, "images rows cols dim"]) -> Float[Tensor, "images rows cols dim"]:
        """Padding in front shifts the fields: what the edge cuts off is filled up with cells that nobody sees, so that opposite edges never meet."""
        (rows, cols), side = maps.shape[1:3], self.window
        top, left = (0 if length <= side else -self.shift % side for length in (rows, cols))
        pads = (0, 0, left, -(left + cols) % side, top, -(top + rows) % side)
        parts = _parted(functional.pad(self.qkv(maps), pads), side, side)
        seen = _parted(functional.pad(maps.new_ones(1, rows, cols, 1), pads), side, side).flatten(0, 2).flatten(1) > 0
        q, k, v = parts.flatten(3, 4).flatten(1, 2).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        bias = self._bias()[None].masked_fill(~seen[:, None, None], float("-inf")).flatten(0, 1)[None]  # fields and heads on one axis
        found = functional.scaled_dot_product_attention(q, k, v, bias.to(q.dtype))
        found = found.unflatten(1, (-1, self.heads)).transpose(2, 3).flatten(3)
        whole = _joined(found.unflatten(2, (side, side)).unflatten(1, parts.shape[1:3]))
        return self.out(whole[:, top : top + rows, left : left + cols])

    def _bias(self) -> Float[Tensor, "heads cells cells"]:
        """What is added to the scores of a field: one learned number for each head and each way from a cell to another."""
        line = torch.arange(self.window, device=self.offsets.device)
        apart = line[:, None] - line + self.window - 1
        ways = apart[:, None, :, None] * (2 * self.window - 1) + apart[None, :, None, :]
        return self.offsets[ways.flatten(2).flatten(0, 1)].permute(2, 0, 1)


def _joined(parts: Float[Tensor, "images down across rows cols dim"]) -> Float[Tensor, "images height width dim"]:
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _parted(maps: Float[Tensor, "images height width dim"], rows: int, cols: int) -> Float[Tensor, "images down across {rows} {cols} dim"]:
    return maps.unflatten(2, (-1, cols)).unflatten(1, (-1, rows)).transpose(2, 3)

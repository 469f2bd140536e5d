"""A fixed number of tokens from any number of patches, by one attention of learned queries (Qwen-VL's, shared by all views in Monkey)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization

from foveal.vision.adapters import whole_weight
from foveal.vision.tables import PositionTable, sine_table

__all__ = ["Resampler"]


class Resampler(nn.Module):
    """`grid` x `grid` learned queries look once at all patches of a view; keys know their places, values do not. No residual, no MLP.

    q = ln_q(query) + positions; k = ln_kv(kv_proj(x)) + resized positions; v = ln_kv(kv_proj(x)).

    >>> Resampler(dim=6, width=16, grid=2, heads=2)(torch.rand(3, 4, 5, 6)).shape
    torch.Size([3, 4, 16])
    """

    def __init__(self, dim: int, width: int, grid: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a resampler of width {width} was asked for {heads} heads, which do not divide it")
        self.heads = heads
        self.query = nn.Parameter(torch.empty(grid * grid, width))
        self.positions = PositionTable(width, grid)
        self.kv_proj = nn.Linear(dim, width, bias=False) if dim != width else nn.Identity()
        self.ln_q, self.ln_kv = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.reset()

    def reset(self) -> None:
        """Queries near zero, positions as sines, projections as PyTorch's attention starts them."""
        initialization.trunc_normal_(self.query, std=0.02)
        initialization.copy_(self.positions.weight, sine_table(self.query.shape[1], round(len(self.query) ** 0.5)))
        initialization.xavier_uniform_(self.in_proj.weight)
        initialization.zeros_(self.in_proj.bias)
        initialization.zeros_(self.out_proj.bias)

    def forward(self, maps: Float[Tensor, "views rows cols dim"]) -> Float[Tensor, "views queries width"]:
        """Tokens of each view, in the order of the queries' own grid."""
        rows, cols = maps.shape[1:3]
        values = self.ln_kv(self.kv_proj(maps.flatten(1, 2)))
        queries = self.ln_q(self.query) + self.positions.weight.to(values.dtype)
        (wq, wk, wv), (bq, bk, bv) = whole_weight(self.in_proj).chunk(3), self.in_proj.bias.chunk(3)
        k = functional.linear(values + self.positions(rows, cols).to(values.dtype), wk, bk)
        q, v = functional.linear(queries, wq, bq)[None], functional.linear(values, wv, bv)
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (q.expand(len(maps), -1, -1), k, v))
        found = functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(found.transpose(1, 2).flatten(2))

"""Fewer tokens from the windows of an image: the least redundant are kept, and look once at all (TextMonkey's token resampler)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization

__all__ = ["TokenResampler", "least_redundant"]

_ROWS_AT_ONCE = 1024
"""Tokens that are compared with all others at a time."""


def least_redundant(tokens: Float[Tensor, "images count width"], keep: int) -> Int[Tensor, "images kept"]:
    """The numbers, in order, of the `keep` tokens that resemble a later token least: by the highest cosine similarity to one behind them.

    The last token has none behind it and stays, so of copies it is the last that stays; where two resemble a later one alike, the earlier
    stays. All are kept where there are no more than `keep`.

    >>> tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]])
    >>> least_redundant(tokens, 2)
    tensor([[1, 2]])
    """
    count = tokens.shape[1]
    with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
        unit = functional.normalize(tokens.float(), dim=-1)
        highest = [_like_a_later(unit, start) for start in range(0, count, _ROWS_AT_ONCE)]
        order = torch.cat(highest, 1).argsort(dim=1, stable=True) if highest else tokens.new_zeros(len(tokens), 0, dtype=torch.long)
        return order[:, :keep].sort(dim=1).values


class TokenResampler(nn.Module):
    """The `keep` least redundant of an image's tokens, each with what it finds in one layer of attention to all of them.

    The layer works at `dim` channels: z = down(x); z = z + attention of the kept to all; z = z + mlp(norm(z)); y = x + up(z). `up` starts at
    zero, so that a new layer gives the kept tokens as they are. ValueError for heads that do not divide `dim`.

    >>> TokenResampler(width=8, keep=3, dim=4, heads=2)(torch.rand(2, 5, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, width: int, keep: int, dim: int = 1024, heads: int = 8, eps: float = 1e-6) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"a token resampler of {dim} channels was asked for {heads} heads, which do not divide it")
        self.keep, self.heads = keep, heads
        self.down, self.up = nn.Linear(width, dim), nn.Parameter(torch.empty(width, dim))
        self.ln_q, self.ln_kv, self.ln_mlp = (nn.LayerNorm(dim, eps=eps) for _ in range(3))
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.fc, self.proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.reset()

    def reset(self) -> None:
        """The way back to the tokens' width starts at zero."""
        initialization.zeros_(self.up)

    def forward(self, tokens: Float[Tensor, "images count width"]) -> Float[Tensor, "images kept width"]:
        """The kept tokens of each image in their order: `keep` of them, or all where there are fewer."""
        kept = least_redundant(tokens, self.keep)
        everything = self.down(tokens)
        hidden = _taken(everything, kept)
        q, (k, v) = self.q(self.ln_q(hidden)), self.kv(self.ln_kv(everything)).chunk(2, dim=-1)
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (q, k, v))
        hidden = hidden + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        hidden = hidden + self.proj(functional.gelu(self.fc(self.ln_mlp(hidden))))
        return _taken(tokens, kept) + functional.linear(hidden, self.up)


def _like_a_later(unit: Float[Tensor, "images count width"], start: int) -> Float[Tensor, "images rows"]:
    """The highest similarity of each token from `start` on, as many as are compared at once, to one behind it."""
    alike = unit[:, start : start + _ROWS_AT_ONCE] @ unit.mT
    not_behind = torch.ones(alike.shape[1:], dtype=torch.bool, device=unit.device).tril(start)
    return alike.masked_fill_(not_behind, float("-inf")).amax(2)


def _taken(tokens: Float[Tensor, "images count width"], which: Int[Tensor, "images kept"]) -> Float[Tensor, "images kept width"]:
    return tokens.gather(1, which[..., None].expand(-1, -1, tokens.shape[2]))

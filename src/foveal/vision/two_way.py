"""SAM's transformer of few tokens and many places, which look at each other in turn (arXiv 2304.02643), for any number of prompts of an image."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from foveal.vision.starting import start_layers

__all__ = ["TwoWayTransformer"]


class TwoWayTransformer(nn.Module):
    """Layers in which a prompt's tokens look at themselves, then at the image's places, and the places look at the tokens; a last look ends it.

    In each layer, with tokens q as they came in t, and places k with their codes p: q = LN(q + SA(q + t, q + t, q)), in the first LN(SA(q, q, q));
    q = LN(q + CA(q + t, k + p, k)); q = LN(q + MLP(q)); k = LN(k + CA(k + p, q + t, q)); behind the last, q = LN(q + CA(q + t, k + p, k)).
    Attention between tokens and places is `downsample` times narrower than `width`.

    What the first layer makes of an image's places alone is made once, whatever the number of its prompts; only behind it are there places of
    each prompt. (transformers' `SamTwoWayTransformer` computes the same, from a copy of the image for each prompt.)

    >>> import torch
    >>> tokens, keys = torch.rand(5, 3, 16), torch.rand(2, 12, 16)
    >>> found, seen = TwoWayTransformer(width=16, depth=2, heads=2, mlp=32)(tokens, keys, image=torch.tensor([0, 0, 1, 0, 1]))
    >>> found.shape, seen.shape
    (torch.Size([5, 3, 16]), torch.Size([5, 12, 16]))
    """

    def __init__(self, width: int, depth: int, heads: int = 8, mlp: int = 2048, downsample: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        if width % (heads * downsample):
            raise ValueError(f"{heads} heads {downsample} times narrower were asked of a transformer of width {width}, which they do not divide")
        self.layers = nn.ModuleList(_Layer(width, heads, mlp, downsample, eps, first=number == 0) for number in range(depth))
        self.last = _Attention(width, width // downsample, heads)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.gradient_checkpointing = False
        self.reset()

    def reset(self) -> None:
        """Linear maps as flax starts them, their biases at zero."""
        start_layers(self)

    def forward(
        self,
        tokens: Float[Tensor, "prompts tokens width"],
        keys: Float[Tensor, "images keys width"],
        codes: Float[Tensor, "#images #keys width"] | None = None,
        image: Int[Tensor, " prompts"] | None = None,
        seen: Bool[Tensor, "prompts keys"] | None = None,
    ) -> tuple[Float[Tensor, "prompts tokens width"], Float[Tensor, "prompts keys width"]]:
        """The tokens, and the image's places as each prompt leaves them. `codes` say where the places lie, in each image or in all.

        Tokens do not look at places that are not `seen`. `image` is the number of each prompt's image; without it, prompt i belongs to
        image i. Raises ValueError where their numbers then differ.
        """
        if image is None and len(tokens) != len(keys):
            raise ValueError(f"{len(tokens)} prompts were given for {len(keys)} images without their numbers; one for each is wanted")
        codes = keys.new_zeros(1, 1, keys.shape[2]) if codes is None else codes
        asked = tokens
        for layer in self.layers:
            saving = self.gradient_checkpointing and self.training
            given = (tokens, keys, asked, codes, image, seen)
            tokens, keys = checkpoint(layer, *given, use_reentrant=False) if saving else layer(*given)
            codes, image = _taken(codes, image), None
        tokens = self.norm(tokens + self.last(tokens + asked, keys + codes, keys, key_rows=image, seen=seen))
        return tokens, _taken(keys, image)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, mlp: int, downsample: int, eps: float, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.among_tokens = _Attention(width, width, heads)
        self.to_image = _Attention(width, width // downsample, heads)
        self.to_tokens = _Attention(width, width // downsample, heads)
        self.fc, self.proj = nn.Linear(width, mlp), nn.Linear(mlp, width)
        self.norm_1, self.norm_2, self.norm_3, self.norm_4 = (nn.LayerNorm(width, eps=eps) for _ in range(4))

    def forward(self, tokens: Tensor, keys: Tensor, asked: Tensor, codes: Tensor, image: Tensor | None, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.norm_1(self.among_tokens(tokens, tokens, tokens))
        else:
            tokens = self.norm_1(tokens + self.among_tokens(tokens + asked, tokens + asked, tokens))
        placed = keys + codes
        tokens = self.norm_2(tokens + self.to_image(tokens + asked, placed, keys, key_rows=image, seen=seen))
        tokens = self.norm_3(tokens + self.proj(functional.relu(self.fc(tokens))))
        keys = _taken(keys, image) + self.to_tokens(placed, tokens + asked, tokens, query_rows=image)
        return tokens, self.norm_4(keys)


class _Attention(nn.Module):
    """Attention in `inner` channels. Rows of queries or of keys and values may be shared: they are projected first, then taken."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, width)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        query_rows: Tensor | None = None,
        key_rows: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Float[Tensor, "prompts queries width"]:
        q, k, v = _taken(self.q_proj(queries), query_rows), _taken(self.k_proj(keys), key_rows), _taken(self.v_proj(values), key_rows)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return self.out_proj(
            functional.scaled_dot_product_attention(q, k, v, None if seen is None else seen[:, None, None]).transpose(1, 2).flatten(2)
        )


def _taken(rows: Tensor, numbers: Tensor | None) -> Tensor:
    """The rows of these numbers, without a copy where there is only one row; all of them without numbers."""
    if numbers is None:
        return rows
    return rows.expand(len(numbers), -1, -1) if len(rows) == 1 else rows[numbers]

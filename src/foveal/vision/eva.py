"""EVA-02's image encoder (arXiv 2303.11331): rotary positions in rows and columns, and a gated MLP with a norm inside."""

from typing import Any, no_type_check

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel, initialization

from foveal.vision.resizing import KeptSizes, resize_maps, whole_patches

__all__ = ["EvaVisionConfig", "EvaVisionModel"]


@strict
@no_type_check  # transformers checks the fields itself, and its __init__ takes keywords that its signature does not name
class EvaVisionConfig(PreTrainedConfig):
    """Configuration of `EvaVisionModel`; defaults are those of EVA02-CLIP-L/14 as PixelLLM uses it.

    >>> EvaVisionConfig(num_hidden_layers=2).intermediate_size
    2730
    """

    model_type = "eva02_vision"

    hidden_size: int = 1024
    intermediate_size: int = 2730
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    patch_size: int = 14
    position_cells: int = 16
    """Side of the grid that the learned positions stand on; they are resized to the patches of a view."""
    rotary_side: int | None = None
    """Length on which a view's rows and columns are counted for the rotation: 16 in EVA-02's own weights; None: each is one step, as in PixelLLM."""
    rotary_base: float = 10000.0
    drop_path: float = 0.1
    """How often the last block is left out of a sample in training; earlier blocks in proportion to their depth, the first never."""
    final_norm: bool = True
    attention_norm: bool = False
    """Whether a norm stands between what attention finds and its output, as in EVA02-CLIP; PixelLLM's release has none."""
    layer_norm_eps: float = 1e-6
    inner_norm_eps: float = 1e-5
    """For the norm inside the MLP."""
    initializer_range: float = 0.02

    def validate_heads(self) -> None:
        """Half of a head turns with the row and half with the column, in pairs."""
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(f"{self.num_attention_heads} heads were asked of {self.hidden_size} channels; heads of a multiple of four are wanted.")


class EvaVisionModel(PreTrainedModel):
    """Patch features of views of any size; pixels at the right and at the bottom that make no whole patch are not seen.

    >>> config = EvaVisionConfig(hidden_size=8, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2, patch_size=4, position_cells=2)
    >>> EvaVisionModel(config)(torch.rand(3, 3, 9, 12)).shape
    torch.Size([3, 2, 3, 8])
    """

    config: EvaVisionConfig
    config_class = EvaVisionConfig
    base_model_prefix = "vision"
    main_input_name = "views"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: EvaVisionConfig) -> None:
        super().__init__(config)
        width, depth = config.hidden_size, config.num_hidden_layers
        self.patches = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.class_token = nn.Parameter(torch.empty(width))
        self.positions = nn.Parameter(torch.empty(1 + config.position_cells**2, width))
        self.blocks = nn.ModuleList(_Block(config, config.drop_path * number / max(1, depth - 1)) for number in range(depth))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps) if config.final_norm else nn.Identity()
        self.gradient_checkpointing = False
        self._kept = KeptSizes()
        self.post_init()

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.config.hidden_size

    def forward(self, views: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views rows cols dim"]:
        """Features of normalised pixels, without the class token. Raises ValueError for a view smaller than a patch."""
        rows, cols = whole_patches(views, self.config.patch_size)
        return self.tokens(views)[:, 1:].unflatten(1, (rows, cols))

    def tokens(self, views: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views tokens dim"]:
        """Features of the class token, then of the patches row by row. Raises ValueError for a view smaller than a patch."""
        rows, cols = whole_patches(views, self.config.patch_size)
        patches = self.patches(views.to(self.dtype)).flatten(2).transpose(1, 2)
        hidden = torch.cat([self.class_token.expand(len(views), 1, -1), patches], dim=1)
        hidden = hidden + self._kept(self.positions, (rows, cols), _resized)
        turns = _turns(rows, cols, self.config).to(hidden.device, hidden.dtype)
        for block in self.blocks:
            saving = self.gradient_checkpointing and self.training
            hidden = checkpoint(block, hidden, turns, use_reentrant=False) if saving else block(hidden, turns)
        return self.norm(hidden)

    def _init_weights(self, module: nn.Module) -> None:
        """The class token and the positions start near zero, the rest as transformers starts it."""
        super()._init_weights(module)
        if isinstance(module, EvaVisionModel):
            initialization.trunc_normal_(module.class_token, std=self.config.initializer_range)
            initialization.trunc_normal_(module.positions, std=self.config.initializer_range)


class _Block(nn.Module):
    """Pre-norm attention and MLP, either left out of a sample at random in training. Keys have no bias."""

    def __init__(self, config: EvaVisionConfig, drop: float) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads, self.drop = config.num_attention_heads, drop
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps) if config.attention_norm else nn.Identity()
        self.out_proj = nn.Linear(width, width)
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)
        self.inner_norm = nn.LayerNorm(inner, eps=config.inner_norm_eps)

    def forward(self, hidden: Float[Tensor, "views tokens dim"], turns: Float[Tensor, "2 tokens head"]) -> Float[Tensor, "views tokens dim"]:
        hidden = hidden + self._sometimes(self._attended(self.norm_1(hidden), turns))
        return hidden + self._sometimes(self._mlp(self.norm_2(hidden)))

    def _attended(self, normed: Tensor, turns: Tensor) -> Tensor:
        q, k, v = (part(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj))
        found = functional.scaled_dot_product_attention(_turned(q, turns), _turned(k, turns), v)
        return self.out_proj(self.attention_norm(found.transpose(1, 2).flatten(2)))

    def _mlp(self, normed: Tensor) -> Tensor:
        return self.down_proj(self.inner_norm(functional.silu(self.gate_proj(normed)) * self.up_proj(normed)))

    def _sometimes(self, found: Tensor) -> Tensor:
        """Stochastic depth: what is found for a sample, or nothing; scaled so that its mean stays."""
        if not self.drop or not self.training:
            return found
        kept = found.new_empty(len(found), 1, 1).bernoulli_(1 - self.drop)
        return found * (kept / (1 - self.drop))


def _resized(positions: Tensor, rows: int, cols: int) -> Tensor:
    """Positions of the class token and of a grid: the first as it is, the others resized."""
    side = round((len(positions) - 1) ** 0.5)
    grid = resize_maps(positions[None, 1:].unflatten(1, (side, side)), rows, cols)
    return torch.cat([positions[:1], grid[0].flatten(0, 1)])


def _turns(rows: int, cols: int, config: Any) -> Float[Tensor, "2 1+{rows}*{cols} head"]:
    """Cosines and sines of the angles of each token: a head's first half by a patch's row, its second by its column, the same for two neighbours.

    The class token's angle is 0.
    """
    half = config.hidden_size // config.num_attention_heads // 2
    speeds = config.rotary_base ** (-torch.arange(0, half, 2, dtype=torch.float32) / half)
    down, across = (_steps(count, config.rotary_side)[:, None] * speeds for count in (rows, cols))
    angles = torch.cat([down[:, None].expand(-1, cols, -1), across.expand(rows, -1, -1)], dim=-1).flatten(0, 1)
    angles = functional.pad(angles, (0, 0, 1, 0)).repeat_interleave(2, -1)
    return torch.stack([angles.cos(), angles.sin()])


def _steps(count: int, side: int | None) -> Float[Tensor, " {count}"]:
    steps = torch.arange(count, dtype=torch.float32)
    return steps if side is None else steps * (side / count)


def _turned(heads: Float[Tensor, "views heads tokens head"], turns: Float[Tensor, "2 tokens head"]) -> Float[Tensor, "views heads tokens head"]:
    """Each pair of channels (a, b) turned: to (a cos - b sin, b cos + a sin)."""
    across = torch.stack([-heads[..., 1::2], heads[..., ::2]], dim=-1).flatten(-2)
    return heads * turns[0] + across * turns[1]

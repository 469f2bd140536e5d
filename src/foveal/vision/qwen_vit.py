"""Qwen-VL's image encoder (OpenCLIP's ViT-bigG without class token and final norm), with Monkey's adapters for windows."""

from collections.abc import Sequence
from typing import Any, Literal, no_type_check

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from foveal.vision.adapters import AdapterHost, GroupedLora
from foveal.vision.between import BetweenWindows
from foveal.vision.tables import PositionTable

__all__ = ["QwenVisionConfig", "QwenVisionModel"]

_TOKENS_AT_ONCE = 2048
"""In inference an MLP works on as many patches at a time, so that its inside, the widest of all, does not grow with the views of a batch."""


@strict
@no_type_check  # transformers checks the fields itself, and its __init__ takes keywords that its signature does not name
class QwenVisionConfig(PreTrainedConfig):
    """Configuration of `QwenVisionModel`; defaults are those of Qwen-VL and Monkey.

    >>> QwenVisionConfig(num_hidden_layers=2).intermediate_size
    8192
    """

    model_type = "qwen_vision"

    hidden_size: int = 1664
    intermediate_size: int = 8192
    num_hidden_layers: int = 48
    num_attention_heads: int = 16
    patch_size: int = 14
    position_cells: int = 16
    """Side of the grid that the learned positions stand on; they are resized to the patches of a view."""
    adapters: int = 4
    """How many adapters there are; 0: none."""
    adapter_sharing: Literal["window", "shared"] = "window"
    """Whether window k has adapter k, or all windows have the one there is."""
    attention_rank: int = 16
    mlp_rank: int = 32
    adapter_dropout: float = 0.05
    between: list | tuple = ()
    """Before which blocks, counted from 0, the windows of an image attend to each other: a list of (block, channels, heads)."""
    between_window: int = 12
    """Side in patches of the fields within which they do."""
    between_shift: int = 6
    """By how many patches the fields are shifted from the map's corner."""
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: object) -> None:
        super().__post_init__(**kwargs)
        self.between = [list(row) for row in self.between]

    def validate_between(self) -> None:
        """Windows attend to each other at most once before a block, and only before blocks there are."""
        if odd := [row for row in self.between if len(row) != 3]:
            raise ValueError(f"between holds {odd[0]}; a block, its channels and its heads are wanted.")
        blocks = [row[0] for row in self.between]
        if len(set(blocks)) < len(blocks) or not set(blocks) <= set(range(self.num_hidden_layers)):
            raise ValueError(f"windows were to meet before the blocks {blocks}; each once, of 0 to {self.num_hidden_layers - 1}, is wanted.")


class QwenVisionModel(PreTrainedModel):
    """Patch features of views of any size that the patch divides; the first `len(adapter)` views go through their adapters, the rest through none.

    >>> import torch
    >>> config = QwenVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=4, position_cells=2)
    >>> QwenVisionModel(config)(torch.rand(3, 3, 8, 12), torch.tensor([0, 1])).shape
    torch.Size([3, 2, 3, 8])
    """

    config: QwenVisionConfig
    config_class = QwenVisionConfig
    base_model_prefix = "vision"
    main_input_name = "views"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.patches = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.positions = PositionTable(width, config.position_cells)
        self.ln_pre = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))
        field = (config.between_window, config.between_shift, config.position_cells)
        self.between = nn.ModuleDict({str(block): BetweenWindows(width, dim, heads, *field) for block, dim, heads in config.between})
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        views: Float[Tensor, "views 3 height width"],
        adapter: Int[Tensor, " windows"] | None = None,
        grids: Sequence[tuple[int, int]] = (),
    ) -> Tensor:
        """Features "views rows cols dim". `grids` are rows and columns of each image's windows, the first of the views: where the configuration
        says so, windows of one image attend to each other. ValueError for sides that the patch does not divide, for a window without an
        adapter, and for grids of more windows than there are views.
        """
        adapter = self._numbers(views, adapter)
        hidden = self.patches(views.to(self.dtype)).permute(0, 2, 3, 1)
        rows, cols = hidden.shape[1:3]
        hidden = self.ln_pre(hidden.flatten(1, 2) + self.positions(rows, cols).to(hidden.dtype))
        for number, block in enumerate(self.blocks):
            if grids and str(number) in self.between:
                hidden = self._run(self.between[str(number)], hidden.unflatten(1, (rows, cols)), grids).flatten(1, 2)
            hidden = self._run(block, hidden, adapter)
        return hidden.unflatten(1, (rows, cols))

    def _run(self, part: nn.Module, *given: Any) -> Tensor:
        """A part of the encoder; with checkpointing, a backward pass runs it again rather than keep what it computed."""
        return checkpoint(part, *given, use_reentrant=False) if self.gradient_checkpointing and self.training else part(*given)

    def _numbers(self, views: Tensor, adapter: Tensor | None) -> Tensor | None:
        """The adapters' numbers, or None where no view has one."""
        height, width = views.shape[2:]
        patch, count = self.config.patch_size, self.config.adapters
        if height % patch or width % patch:
            raise ValueError(f"a view of {width} x {height} pixels was given to an encoder whose patches of {patch} pixels do not divide it")
        if adapter is None or not len(adapter) or not count:
            return None
        if self.config.adapter_sharing == "shared":
            return adapter.new_zeros(len(adapter))
        if int(adapter.max()) >= count:
            raise ValueError(f"window {int(adapter.max()) + 1} of an image has no adapter: this checkpoint has {count}, for as many windows at most")
        return adapter

    def _init_weights(self, module: nn.Module) -> None:
        """Adapters and tables start as their own classes say, the rest as transformers starts it."""
        if isinstance(module, BetweenWindows | GroupedLora | PositionTable):
            module.reset()
        else:
            super()._init_weights(module)


class _Block(nn.Module):
    """Pre-norm attention and MLP. The third adapter lies beside the whole MLP, and reads the residual stream before its norm.

    Without adapters of its own, a block has a host there, for those of PEFT.
    """

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, config.intermediate_size), nn.Linear(config.intermediate_size, width)
        self.qkv_lora = self.out_lora = self.mlp_lora = None
        self.beside = None if config.adapters else AdapterHost(width)
        if config.adapters:
            rank, dropout, count = config.attention_rank, config.adapter_dropout, config.adapters
            self.qkv_lora = GroupedLora(width, 3 * width, count, rank, dropout)
            self.out_lora = GroupedLora(width, width, count, rank, dropout)
            self.mlp_lora = GroupedLora(width, width, count, config.mlp_rank, dropout)

    def forward(self, hidden: Float[Tensor, "views tokens dim"], adapter: Int[Tensor, " windows"] | None) -> Float[Tensor, "views tokens dim"]:
        hidden = hidden + self._attended(self.ln_1(hidden), adapter)
        found = _added(self._mlp(self.ln_2(hidden)), self.mlp_lora, hidden, adapter)
        if self.beside is None or type(self.beside) is AdapterHost:  # one of PEFT's stands in its place where there is one
            return hidden + found
        return hidden + found + self.beside(hidden)

    def _attended(self, normed: Tensor, adapter: Tensor | None) -> Tensor:
        fused = _added(self.qkv(normed), self.qkv_lora, normed, adapter)
        q, k, v = fused.unflatten(-1, (self.heads, -1)).transpose(1, 2).chunk(3, dim=-1)  # laid out per head
        found = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return _added(self.out(found), self.out_lora, found, adapter)

    def _mlp(self, normed: Tensor) -> Tensor:
        size = len(normed) if torch.is_grad_enabled() else _TOKENS_AT_ONCE // normed.shape[1]
        pieces = [self.proj(functional.gelu(self.fc(some))) for some in normed.split(max(1, size))]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _added(host: Tensor, lora: GroupedLora | None, given: Tensor, adapter: Tensor | None) -> Tensor:
    """The output of a frozen part with that of its adapter added, in place, for the first `len(adapter)` views."""
    if lora is not None and adapter is not None:
        host[: len(adapter)] += lora(given[: len(adapter)], adapter)
    return host

"""Qwen-VL's image encoder (OpenCLIP's ViT-bigG without class token and final norm), with Monkey's adapters for windows."""

from typing import Literal, no_type_check

from huggingface_hub.dataclasses import strict
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from foveal.vision.adapters import GroupedLora
from foveal.vision.tables import PositionTable

__all__ = ["QwenVisionConfig", "QwenVisionModel"]


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
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02


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
        self.gradient_checkpointing = False
        self.post_init()

    def forward(self, views: Float[Tensor, "views 3 height width"], adapter: Int[Tensor, " windows"] | None = None) -> Tensor:
        """Features "views rows cols dim". ValueError for sides that the patch does not divide, and for a window without an adapter."""
        adapter = self._numbers(views, adapter)
        hidden = self.patches(views.to(self.dtype)).permute(0, 2, 3, 1)
        rows, cols = hidden.shape[1:3]
        hidden = self.ln_pre(hidden.flatten(1, 2) + self.positions(rows, cols).to(hidden.dtype))
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                hidden = checkpoint(block, hidden, adapter, use_reentrant=False)
            else:
                hidden = block(hidden, adapter)
        return hidden.unflatten(1, (rows, cols))

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
        if isinstance(module, GroupedLora | PositionTable):
            module.reset()
        else:
            super()._init_weights(module)


class _Block(nn.Module):
    """Pre-norm attention and MLP. The third adapter lies beside the whole MLP, and reads the residual stream before its norm."""

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, config.intermediate_size), nn.Linear(config.intermediate_size, width)
        self.qkv_lora = self.out_lora = self.mlp_lora = None
        if config.adapters:
            rank, dropout, count = config.attention_rank, config.adapter_dropout, config.adapters
            self.qkv_lora = GroupedLora(width, 3 * width, count, rank, dropout)
            self.out_lora = GroupedLora(width, width, count, rank, dropout)
            self.mlp_lora = GroupedLora(width, width, count, config.mlp_rank, dropout)

    def forward(self, hidden: Float[Tensor, "views tokens dim"], adapter: Int[Tensor, " windows"] | None) -> Float[Tensor, "views tokens dim"]:
        normed = self.ln_1(hidden)
        fused = _added(self.qkv(normed), self.qkv_lora, normed, adapter)
        q, k, v = fused.unflatten(-1, (self.heads, -1)).transpose(1, 2).chunk(3, dim=-1)  # laid out per head
        found = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        hidden = hidden + _added(self.out(found), self.out_lora, found, adapter)
        return hidden + _added(self.proj(functional.gelu(self.fc(self.ln_2(hidden)))), self.mlp_lora, hidden, adapter)


def _added(host: Tensor, lora: GroupedLora | None, given: Tensor, adapter: Tensor | None) -> Tensor:
    """The output of a frozen part with that of its adapter added, in place, for the first `len(adapter)` views."""
    if lora is not None and adapter is not None:
        host[: len(adapter)] += lora(given[: len(adapter)], adapter)
    return host

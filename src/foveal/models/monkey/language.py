"""Qwen-7B, the language model of Qwen-VL and Monkey (transformers has none): dynamic NTK, log-n queries, biases on q, k and v."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, no_type_check

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRMSNorm, eager_attention_forward

from foveal.models.losses import token_cross_entropy

__all__ = ["Qwen7BConfig", "Qwen7BForCausalLM", "Qwen7BModel", "ntk_alpha"]


@strict
@no_type_check  # transformers checks the fields itself, and its __init__ takes keywords that its signature does not name
class Qwen7BConfig(PreTrainedConfig):
    """Configuration of `Qwen7BForCausalLM`; defaults are Qwen-7B's.

    >>> Qwen7BConfig(num_hidden_layers=2).head_dim
    128
    """

    model_type = "qwen_7b"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 11008
    """Width of each of the MLP's two branches (Qwen's own `intermediate_size` is that of both)."""
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    head_dim: int = 128
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    seq_length: int = 2048
    """Length of the training texts; beyond it rotary angles are stretched and queries scaled."""
    max_position_embeddings: int = 8192
    dynamic_ntk: bool = True
    log_n: bool = True
    initializer_range: float = 0.02
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 151643
    pad_token_id: int | None = 151643
    tie_word_embeddings: bool = False


def ntk_alpha(length: int, trained: int) -> float:
    """By how much rotary's base grows for a prompt of `length` tokens: 1 up to the trained length, then 3, 7, 15 …

    >>> ntk_alpha(2048, 2048), ntk_alpha(2049, 2048), ntk_alpha(4097, 2048)
    (1.0, 3.0, 7.0)
    """
    return max(2.0 ** math.ceil(math.log2(length / trained) + 1) - 1, 1.0) if length else 1.0


class _Attention(nn.Module):
    def __init__(self, config: Qwen7BConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.head_dim, self.is_causal = config, layer, config.head_dim, True
        self.scaling, self.num_key_value_groups, self.attention_dropout = config.head_dim**-0.5, 1, 0.0
        inner = config.num_attention_heads * config.head_dim
        self.c_attn = nn.Linear(config.hidden_size, 3 * inner)
        self.c_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(
        self, hidden: Tensor, turn: tuple[Tensor, Tensor], stretch: Tensor | None, mask: Tensor | None, cache: Cache | None, **kwargs: Any
    ) -> Tensor:
        q, k, v = (one.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for one in self.c_attn(hidden).chunk(3, dim=-1))
        q, k = _turned(q, *turn), _turned(k, *turn)
        if stretch is not None:
            q = q * stretch[:, None, :, None].to(q.dtype)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        found, _ = attend(self, q, k, v, mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.c_proj(found.flatten(2))


class _MLP(nn.Module):
    def __init__(self, config: Qwen7BConfig) -> None:
        super().__init__()
        self.w1, self.w2 = (nn.Linear(config.hidden_size, config.intermediate_size, bias=False) for _ in range(2))
        self.c_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.c_proj(self.w1(hidden) * functional.silu(self.w2(hidden)))  # the gate is the second


class _Layer(GradientCheckpointingLayer):
    def __init__(self, config: Qwen7BConfig, layer: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps), LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn, self.mlp = _Attention(config, layer), _MLP(config)

    def forward(self, hidden: Tensor, **kwargs: Any) -> Tensor:
        hidden = hidden + self.attn(self.ln_1(hidden), **kwargs)
        return hidden + self.mlp(self.ln_2(hidden))


class _Qwen7B(PreTrainedModel):
    config: Qwen7BConfig
    config_class = Qwen7BConfig
    base_model_prefix = "transformer"
    _input_embed_layer = "wte"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)
    _no_split_modules: ClassVar[list[str]] = ["_Layer"]
    counts_columns = True
    """Positions are columns of the batch, whatever `position_ids` says."""


class Qwen7BModel(_Qwen7B):
    """The layers of Qwen-7B. Positions are columns of the batch, padding included, as in the original: `position_ids` change nothing."""

    def __init__(self, config: Qwen7BConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList(_Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.ln_f = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of all tokens; new tokens, one or several, continue what the cache holds."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds.")
        hidden = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        wanted = self.config.use_cache if use_cache is None else use_cache
        if wanted and past_key_values is None and not (self.gradient_checkpointing and self.training):
            past_key_values = DynamicCache(config=self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        places = torch.arange(past, past + hidden.shape[1], device=hidden.device)[None]
        turn, stretch = self._turn(places, past_key_values, hidden), self._stretch(places)
        mask = create_causal_mask(self.config, hidden, attention_mask, past_key_values=past_key_values, position_ids=places)
        for layer in self.h:
            hidden = layer(hidden, turn=turn, stretch=stretch, mask=mask, cache=past_key_values, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(hidden), past_key_values=past_key_values if wanted else None)

    def _turn(self, places: Int[Tensor, "1 length"], cache: Cache | None, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines in float32. What a prompt's length made of the base stays while its cache is continued."""
        past, dim = int(places[0, 0]), self.config.head_dim
        alpha = getattr(cache, "ntk_alpha", 1.0) if past else 1.0
        if not past and self.config.dynamic_ntk and not self.training:
            alpha = ntk_alpha(places.shape[1], self.config.seq_length)
        if cache is not None and not past:
            cache.ntk_alpha = alpha
        base = self.config.rope_theta * alpha ** (dim / (dim - 2))
        steps = 1.0 / base ** (torch.arange(0, dim, 2, device=hidden.device, dtype=torch.float32) / dim)
        angles = (places[..., None].float() * steps).repeat(1, 1, 2)
        return angles.cos()[:, None], angles.sin()[:, None]

    def _stretch(self, places: Int[Tensor, "1 length"]) -> Float[Tensor, "1 length"] | None:
        """log-n: a query beyond the trained length counts for more; None where none is."""
        if not self.config.log_n or self.training or int(places[0, -1]) < self.config.seq_length:
            return None
        return (torch.log((places + 1).float()) / math.log(self.config.seq_length)).clamp(min=1.0)


class Qwen7BForCausalLM(_Qwen7B, GenerationMixin):
    """Qwen-7B with its head, as any causal language model of transformers."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "transformer.wte.weight"}

    def __init__(self, config: Qwen7BConfig) -> None:
        super().__init__(config)
        self.transformer = Qwen7BModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and with `labels` (-100: not to be predicted) the mean cross-entropy of the shifted labels."""
        found = self.transformer(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(found.last_hidden_state[:, kept])
        loss = None if labels is None else token_cross_entropy(logits, labels)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=found.past_key_values)


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide = heads.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat([-second, first], dim=-1) * sin).to(heads.dtype)

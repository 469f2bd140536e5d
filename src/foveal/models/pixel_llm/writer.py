"""What every language model of PixelLLM does: it reads visual tokens and a context, and writes text, giving the state of each token."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, EncoderDecoderCache, PreTrainedConfig, initialization

from foveal.models.caches import change_cache, is_joinable, join_caches, left_padding, padded
from foveal.models.lora import reset_lora

__all__ = ["Draft", "Writer", "seen_places", "special_tokens", "start"]


@dataclass
class Draft:
    """What a writer keeps of the texts that it is writing, one row each: it grows with every step."""

    cache: Cache
    seen: Bool[Tensor, "rows prefix"]
    """Which of the visual tokens and the context may be looked at: padding may not."""
    text: Bool[Tensor, "rows read"]
    """Which of the columns of text are the row's own: rows that joined later have padding before theirs."""
    memory: Float[Tensor, "rows prefix width"] | None = None
    """What the encoder made of them, where there is an encoder."""

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many tokens of text each row has read."""
        return self.text.sum(1)

    def read(self, new: int) -> Bool[Tensor, "rows {new} keys"]:
        """Notes that `new` more tokens of each row are read, and says at which columns of text, theirs among them, each of them looks."""
        rows = len(self.text)
        looks = torch.cat([self.text[:, None].expand(-1, new, -1), self.text.new_ones(new, new).tril().expand(rows, -1, -1)], dim=2)
        self.text = torch.cat([self.text, self.text.new_ones(rows, new)], dim=1)
        return looks

    def select(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows, in this order; a row may be left out, and may be taken more than once."""
        self.cache.reorder_cache(rows)
        self.seen, self.text = self.seen[rows], self.text[rows]
        if self.memory is not None:
            self.memory = self.memory[rows]

    def trim(self) -> None:
        """Forget the columns that are padding in every row, which rows leave behind that were longer than all others."""
        if not len(self.text) or not is_joinable(self.cache):
            return
        prefix, before, after = self.seen.shape[1], left_padding(self.seen), left_padding(self.text)
        if not before and not after:
            return
        if isinstance(self.cache, EncoderDecoderCache):
            change_cache(self.cache.self_attention_cache, lambda values: values[:, :, after:])
            change_cache(self.cache.cross_attention_cache, lambda values: values[:, :, before:])
        else:
            change_cache(self.cache, lambda values: torch.cat([values[:, :, before:prefix], values[:, :, prefix + after :]], dim=2))
        self.seen, self.text = self.seen[:, before:], self.text[:, after:]
        self.memory = None if self.memory is None else self.memory[:, before:]

    def join(self, other: "Draft") -> bool:
        """Go on with the rows of another draft below one's own; False, and nothing is done, where caches keep no columns. Both have read a token."""
        if not (is_joinable(self.cache) and is_joinable(other.cache)):
            return False
        before = [(draft.seen.shape[1], max(self.seen.shape[1], other.seen.shape[1])) for draft in (self, other)]
        after = [(draft.text.shape[1], max(self.text.shape[1], other.text.shape[1])) for draft in (self, other)]
        if isinstance(self.cache, EncoderDecoderCache):
            join_caches(self.cache.self_attention_cache, other.cache.self_attention_cache, [after[0]], [after[1]])
            join_caches(self.cache.cross_attention_cache, other.cache.cross_attention_cache, [before[0]], [before[1]])
        else:
            join_caches(self.cache, other.cache, [before[0], after[0]], [before[1], after[1]])
        self.seen = torch.cat([padded(self.seen, 1, [before[0]]), padded(other.seen, 1, [before[1]])])
        self.text = torch.cat([padded(self.text, 1, [after[0]]), padded(other.text, 1, [after[1]])])
        if self.memory is not None and other.memory is not None:
            self.memory = torch.cat([padded(self.memory, 1, [before[0]]), padded(other.memory, 1, [before[1]])])
        return True


class Writer(nn.Module, ABC):
    """A language model over visual tokens "rows slots dim"; a row is one prompt of one image, with its text.

    Text begins with `bos_token_id`. The feature of a token is the last state of the place that has *read* it, which is also the state that
    predicts the next one. A context is padded with `pad_token_id`, which nobody looks at. `dim` is the width of visual tokens, which
    `visual_projection` brings to that of the language model; None: they have it already, and nothing is done.
    """

    lora_targets: ClassVar[tuple[str, ...]]
    """The layers that `add_lora` is given where nothing else is said: queries and values."""

    def __init__(self, config: PreTrainedConfig, dim: int | None) -> None:
        super().__init__()
        self.width, self.vocabulary = config.hidden_size, config.vocab_size
        self.bos_token_id, self.eos_token_id, self.pad_token_id = special_tokens(config)
        project = nn.Identity() if dim is None else nn.Sequential(nn.Linear(dim, self.width), nn.LayerNorm(self.width, eps=1e-5))
        self.visual_projection = project
        # In classes not its own, transformers hands `_init_weights` only modules that hold something themselves; `reset` is to be called there.
        self.register_buffer("_held", torch.empty(0), persistent=False)

    @abstractmethod
    def read(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> Float[Tensor, "rows length {self.width}"]:
        """The features of given texts, without a word about the next token."""

    @abstractmethod
    def forward(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> tuple[Float[Tensor, "rows length {self.vocabulary}"], Float[Tensor, "rows length {self.width}"]]:
        """Logits of the token after each, and the features, of given texts."""

    @abstractmethod
    def begin(self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None = None) -> Draft:
        """Read what comes before the text, once."""

    @abstractmethod
    def step(
        self, draft: Draft, ids: Int[Tensor, "rows new"]
    ) -> tuple[Float[Tensor, "rows {self.vocabulary}"], Float[Tensor, "rows new {self.width}"]]:
        """Read the next tokens of each text: logits of the token after the last of them, and their features. The draft grows."""

    def reset(self) -> None:
        """Begin anew what is no pretrained language model's: N(0, 0.02) for linear maps, and adapters that change nothing."""
        start(self.visual_projection)
        reset_lora(self)


def start(part: nn.Module) -> None:
    """N(0, 0.02) for linear maps and tables, zero for biases; a norm does nothing."""
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            initialization.normal_(module.weight, std=0.02)
        if isinstance(module, nn.LayerNorm):
            initialization.ones_(module.weight)
        if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
            initialization.zeros_(module.bias)


def seen_places(visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None, pad: int) -> Bool[Tensor, "rows prefix"]:
    """Which of the visual tokens and of the context may be looked at: all but padding."""
    slots = torch.ones(visual.shape[:2], dtype=torch.bool, device=visual.device)
    return slots if context is None else torch.cat([slots, context != pad], dim=1)


def special_tokens(config: PreTrainedConfig) -> tuple[int, int, int]:
    """What begins a text, ends it and pads it. Where nothing pads, the end does; where nothing begins, in T5 padding does, elsewhere the end."""
    end = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    if end is None:
        raise ValueError(f"the configuration of {config.model_type} has no eos_token_id; the token that ends a text is wanted.")
    pad = end if config.pad_token_id is None else config.pad_token_id
    begin = getattr(config, "decoder_start_token_id" if config.is_encoder_decoder else "bos_token_id", None)
    return (pad if config.is_encoder_decoder else end) if begin is None else begin, end, pad

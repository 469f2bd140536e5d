"""T5 as PixelLLM's language model: the encoder reads visual tokens and context, the decoder writes."""

from copy import deepcopy
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, EncoderDecoderCache, T5Config, initialization
from transformers.models.t5.modeling_t5 import T5Stack

from foveal.models.pixel_llm.writer import Draft, Writer, seen_places

__all__ = ["EncoderDecoderWriter"]


class EncoderDecoderWriter(Writer):
    """T5 1.1 (Flan-T5): one table of words for context and text, an untied head, no scaling of what the head reads.

    Features are what the decoder gives after its last norm, before dropout. A text begins with padding, and padding after its end is not
    masked for itself: what stands there is meaningless and nobody reads it.

    `uniform_rows` is a fault of the release on which its mask branch depends: a token whose successor is padding (the end, and padding
    itself) attends to everything alike, in the decoder to all places of the text, later ones too, and to all of the encoder's, padding
    too. It changes the features of those tokens alone, and only where texts are given: a text that is being written has no successor yet.

    The stacks are transformers' own; their own tables of words are left out. transformers' whole T5 ties head and table, which are two here.

    >>> config = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu")
    >>> logits, features = EncoderDecoderWriter(config, dim=6)(torch.rand(2, 3, 6), torch.tensor([[0, 5, 1], [0, 1, 0]]))
    >>> logits.shape, features.shape
    (torch.Size([2, 3, 9]), torch.Size([2, 3, 8]))
    """

    lora_targets: ClassVar[tuple[str, ...]] = ("q", "v")

    def __init__(self, config: T5Config, dim: int | None, uniform_rows: bool = False) -> None:
        super().__init__(config, dim)
        self.uniform_rows = uniform_rows
        self.words = nn.Embedding(self.vocabulary, self.width)
        self.encoder = _stack(config, config.num_layers, is_decoder=False, eager=uniform_rows)
        self.decoder = _stack(config, config.num_decoder_layers, is_decoder=True, eager=uniform_rows)
        # The stack drops out what it reads and what it gives; features are taken between its last norm and dropout.
        self.dropout, self.decoder.dropout = self.decoder.dropout, nn.Identity()
        self.head = nn.Linear(self.width, self.vocabulary, bias=False)
        self.reset()

    def read(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> Float[Tensor, "rows length {self.width}"]:
        """The features of given texts."""
        memory, seen = self._memory(visual, context)
        length = ids.shape[1]
        text, cross = seen.new_ones(length, length).tril()[None], seen[:, None]
        if self.uniform_rows:
            goes_on = functional.pad(ids[:, 1:] != self.pad_token_id, (0, 1))
            text = text & goes_on[:, :, None] & goes_on[:, None]
            cross = cross & goes_on[:, :, None]
        return self._decoded(ids, memory, text, cross, None)

    def forward(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> tuple[Float[Tensor, "rows length {self.vocabulary}"], Float[Tensor, "rows length {self.width}"]]:
        """Logits of the token after each, and the features, of given texts."""
        features = self.read(visual, ids, context)
        return self.head(self.dropout(features)), features

    def begin(self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None = None) -> Draft:
        """Run the encoder."""
        memory, seen = self._memory(visual, context)
        return Draft(EncoderDecoderCache(DynamicCache(), DynamicCache()), seen, seen[:, :0], memory)

    def step(
        self, draft: Draft, ids: Int[Tensor, "rows new"]
    ) -> tuple[Float[Tensor, "rows {self.vocabulary}"], Float[Tensor, "rows new {self.width}"]]:
        """Read the next tokens of each text, against what is kept of the text before them and of the encoder's keys and values."""
        features = self._decoded(ids, draft.memory, draft.read(ids.shape[1]), draft.seen[:, None], draft.cache)
        return self.head(self.dropout(features[:, -1])), features

    def reset(self) -> None:
        """The projection, the adapters, and table and head as T5 starts them: N(0, 1), and N(0, 1 / width) so that logits begin near 1."""
        super().reset()
        initialization.normal_(self.words.weight, std=1.0)
        initialization.normal_(self.head.weight, std=self.width**-0.5)

    def _memory(
        self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None
    ) -> tuple[Float[Tensor, "rows prefix width"], Bool[Tensor, "rows prefix"]]:
        """What the encoder makes of visual tokens and context, and which of it may be looked at."""
        tokens = self.visual_projection(visual)
        embeds = tokens if context is None else torch.cat([tokens, self.words(context)], dim=1)
        seen = seen_places(visual, context, self.pad_token_id)
        mask = seen[:, None]
        if self.uniform_rows:  # padding looks at everything alike, and is looked at by rows that do
            mask = mask & seen[:, :, None]
        return self.encoder(inputs_embeds=embeds, attention_mask=self._masked(mask, embeds)).last_hidden_state, seen

    def _decoded(
        self,
        ids: Int[Tensor, "rows new"],
        memory: Float[Tensor, "rows prefix width"] | None,
        text: Bool[Tensor, "_ new keys"],
        cross: Bool[Tensor, "rows _ prefix"],
        cache: EncoderDecoderCache | None,
    ) -> Float[Tensor, "rows new width"]:
        embeds = self.words(ids)
        found = self.decoder(
            inputs_embeds=self.dropout(embeds),
            attention_mask=self._masked(text, embeds),
            encoder_hidden_states=memory,
            encoder_attention_mask=self._masked(cross, embeds),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return found.last_hidden_state

    def _masked(self, allowed: Bool[Tensor, "_ _ keys"], embeds: Tensor) -> Tensor:
        """The mask in the form that the stacks' attention takes. A row that may look at nothing looks at everything alike in either form."""
        if self.decoder.config._attn_implementation != "eager":
            return allowed[:, None]
        return torch.zeros_like(allowed, dtype=embeds.dtype).masked_fill(~allowed, torch.finfo(embeds.dtype).min)[:, None]


def _stack(config: T5Config, layers: int, *, is_decoder: bool, eager: bool) -> T5Stack:
    """A stack without a table of words, which is given embeddings only.

    `eager`: where rows look at everything alike because all is masked. PyTorch's fused attention on a CPU (2.13) gives such rows a gradient that is
    as many times too large as there are keys.
    """
    own = deepcopy(config)
    if eager:
        own._attn_implementation = "eager"
    own.vocab_size, own.num_layers, own.is_decoder, own.use_cache = 1, layers, is_decoder, False
    stack = T5Stack(own)
    stack.set_input_embeddings(None)
    return stack

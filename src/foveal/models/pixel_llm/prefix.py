"""PixelLLM's own language model: BERT's blocks over a prefix that is read both ways, and a text that is read forward."""

from copy import deepcopy
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import BertConfig, Cache, DynamicCache
from transformers.models.bert.modeling_bert import BertLayer

from foveal.models.pixel_llm.writer import Draft, Writer, seen_places, start

__all__ = ["PrefixWriter"]


class PrefixWriter(Writer):
    """Visual tokens and context look at each other; text looks at both and at the text before it. Untied head with a bias.

    Context and text have the same table of words and of positions, each counted from 0. Blocks are BERT's (a norm after each part) with
    the release's eps: 1e-8 after the embedding, 1e-5 after attention, 1e-12 after the MLP. Features are what the last block gives.

    >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, eos_token_id=3)
    >>> logits, features = PrefixWriter(config, dim=6)(torch.rand(2, 3, 6), torch.tensor([[2, 5, 3], [2, 3, 0]]))
    >>> logits.shape, features.shape
    (torch.Size([2, 3, 9]), torch.Size([2, 3, 8]))
    """

    lora_targets: ClassVar[tuple[str, ...]] = ("query", "value")

    def __init__(self, config: BertConfig, dim: int | None) -> None:
        super().__init__(config, dim)
        config = deepcopy(config)
        config._attn_implementation = "sdpa"
        self.words = nn.Embedding(self.vocabulary, self.width)
        self.positions = nn.Embedding(config.max_position_embeddings, self.width)
        self.norm = nn.LayerNorm(self.width, eps=1e-8)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList(BertLayer(config, layer_idx=number) for number in range(config.num_hidden_layers))
        for layer in self.layers:
            layer.attention.output.LayerNorm.eps, layer.output.LayerNorm.eps = 1e-5, 1e-12
        self.head = nn.Linear(self.width, self.vocabulary)
        self.reset()

    def read(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> Float[Tensor, "rows length {self.width}"]:
        """The features of given texts. ValueError for a text or a context that is longer than the table of positions."""
        prefix, seen = self._prefix(visual, context)
        before, length = prefix.shape[1], ids.shape[1]
        text = seen.new_ones(length, length).tril()
        ahead = torch.cat([seen.new_zeros(before, length), text])  # the prefix does not look at the text
        mask = torch.cat([seen[:, None].expand(-1, before + length, -1), ahead.expand(len(seen), -1, -1)], dim=2)
        return self._blocks(torch.cat([prefix, self._embedded(ids)], dim=1), mask)[:, before:]

    def forward(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> tuple[Float[Tensor, "rows length {self.vocabulary}"], Float[Tensor, "rows length {self.width}"]]:
        """Logits of the token after each, and the features, of given texts."""
        features = self.read(visual, ids, context)
        return self.head(features), features

    def begin(self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None = None) -> Draft:
        """Read the prefix: its keys and values do not depend on the text."""
        prefix, seen = self._prefix(visual, context)
        draft = Draft(DynamicCache(), seen, seen[:, :0])
        self._blocks(prefix, seen[:, None], draft.cache)
        return draft

    def step(
        self, draft: Draft, ids: Int[Tensor, "rows new"]
    ) -> tuple[Float[Tensor, "rows {self.vocabulary}"], Float[Tensor, "rows new {self.width}"]]:
        """Read the next tokens of each text, against what is kept of the prefix and of the text before them."""
        embeds = self._embedded(ids, draft.lengths)
        mask = torch.cat([draft.seen[:, None].expand(-1, ids.shape[1], -1), draft.read(ids.shape[1])], dim=2)
        features = self._blocks(embeds, mask, draft.cache)
        return self.head(features[:, -1]), features

    def reset(self) -> None:
        """N(0, 0.02) everywhere, and adapters that change nothing."""
        start(self)
        super().reset()

    def _prefix(
        self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None
    ) -> tuple[Float[Tensor, "rows prefix width"], Bool[Tensor, "rows prefix"]]:
        tokens = self.visual_projection(visual)
        prefix = tokens if context is None else torch.cat([tokens, self._embedded(context)], dim=1)
        return prefix, seen_places(visual, context, self.pad_token_id)

    def _blocks(
        self, hidden: Float[Tensor, "rows new width"], mask: Bool[Tensor, "rows _ keys"], cache: Cache | None = None
    ) -> Float[Tensor, "rows new width"]:
        for layer in self.layers:
            hidden = layer(hidden, mask[:, None], past_key_values=cache)
        return hidden

    def _embedded(self, ids: Int[Tensor, "rows new"], first: Int[Tensor, " rows"] | None = None) -> Float[Tensor, "rows new width"]:
        """Words and their positions, of which each row's first is `first`, or else 0."""
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        places = places if first is None else places + first[:, None]
        last = ids.shape[1] + (0 if first is None or not len(first) else int(first.max()))
        if last > self.positions.num_embeddings:
            raise ValueError(f"a text of {last} tokens was given to a language model that has {self.positions.num_embeddings} positions.")
        return self.dropout(self.norm(self.words(ids) + self.positions(places)))

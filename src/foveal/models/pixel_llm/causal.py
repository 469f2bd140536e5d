"""Any causal language model of transformers as PixelLLM's: it reads visual tokens, context and text in one row."""

from contextvars import ContextVar
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Cache, DynamicCache, PreTrainedConfig

from foveal.models.base import positions_of
from foveal.models.pixel_llm.writer import Draft, Writer, seen_places

__all__ = ["CausalWriter"]

_STATES: ContextVar[list[Tensor] | None] = ContextVar("states", default=None)
"""Where the pass that runs wants its states: each thread has its own, for several may ask one model."""


class CausalWriter(Writer):
    """Visual tokens, brought to the model's width, then the context, then the text; each looks at what comes before it.

    Padding of the context, on either side, takes no position and is not looked at. Features are the states that the model hands to its head.

    >>> from transformers import LlamaConfig
    >>> config = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    >>> logits, features = CausalWriter(config, dim=6)(torch.rand(2, 3, 6), torch.tensor([[1, 5, 2], [1, 2, 0]]))
    >>> logits.shape, features.shape
    (torch.Size([2, 3, 9]), torch.Size([2, 3, 8]))
    """

    lora_targets: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")

    def __init__(self, config: PreTrainedConfig, dim: int | None) -> None:
        super().__init__(config, dim)
        self.model = AutoModelForCausalLM.from_config(config)
        self.model.base_model.register_forward_hook(_hand_over)
        self.reset()

    def read(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> Float[Tensor, "rows length {self.width}"]:
        """The features of given texts."""
        return self._all(visual, ids, context, 1)[1]

    def forward(
        self, visual: Float[Tensor, "rows slots dim"], ids: Int[Tensor, "rows length"], context: Int[Tensor, "rows context"] | None = None
    ) -> tuple[Float[Tensor, "rows length {self.vocabulary}"], Float[Tensor, "rows length {self.width}"]]:
        """Logits of the token after each, and the features, of given texts."""
        return self._all(visual, ids, context, ids.shape[1])

    def begin(self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None = None) -> Draft:
        """Read visual tokens and context."""
        prefix, seen = self._prefix(visual, context)
        draft = Draft(DynamicCache(config=self.model.config), seen, seen[:, :0])
        self._run(prefix, seen, 1, draft.cache)
        return draft

    def step(
        self, draft: Draft, ids: Int[Tensor, "rows new"]
    ) -> tuple[Float[Tensor, "rows {self.vocabulary}"], Float[Tensor, "rows new {self.width}"]]:
        """Read the next tokens of each text, after what is kept of all before them."""
        draft.read(ids.shape[1])
        seen = torch.cat([draft.seen, draft.text], dim=1)
        logits, features = self._run(self.words(ids), seen, 1, draft.cache)
        return logits[:, -1], features

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """Weights that are one, as transformers asks the parts of a model for them: the head and the words, in many models."""
        return {f"model.{name}": f"model.{other}" for name, other in self.model.all_tied_weights_keys.items()}

    @property
    def words(self) -> nn.Module:
        """The model's own table of words."""
        return self.model.get_input_embeddings()

    def _prefix(
        self, visual: Float[Tensor, "rows slots dim"], context: Int[Tensor, "rows context"] | None
    ) -> tuple[Float[Tensor, "rows prefix width"], Bool[Tensor, "rows prefix"]]:
        tokens = self.visual_projection(visual)
        prefix = tokens if context is None else torch.cat([tokens, self.words(context)], dim=1)
        return prefix, seen_places(visual, context, self.pad_token_id)

    def _all(self, visual: Tensor, ids: Tensor, context: Tensor | None, keep: int) -> tuple[Tensor, Tensor]:
        prefix, seen = self._prefix(visual, context)
        embeds = torch.cat([prefix, self.words(ids)], dim=1)
        logits, features = self._run(embeds, torch.cat([seen, torch.ones_like(ids, dtype=torch.bool)], dim=1), keep)
        return logits, features[:, prefix.shape[1] :]

    def _run(
        self, embeds: Float[Tensor, "rows new width"], seen: Bool[Tensor, "rows keys"], keep: int, cache: Cache | None = None
    ) -> tuple[Float[Tensor, "rows _ vocabulary"], Float[Tensor, "rows new width"]]:
        """Logits of the last `keep` places, and the states of all, taken where the model hands them to its head: some heads do more than multiply."""
        states: list[Tensor] = []
        wanted = _STATES.set(states)
        try:
            found = self.model(
                inputs_embeds=embeds,
                attention_mask=seen.long(),
                position_ids=positions_of(seen, embeds.shape[1]),
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=keep,
            )
        finally:
            _STATES.reset(wanted)
        return found.logits, states[-1]


def _hand_over(_: nn.Module, __: Any, found: Any) -> None:
    """Notes the states that a model is about to hand to its head, where the pass asks for them."""
    if (states := _STATES.get()) is not None:
        states.append(found[0])

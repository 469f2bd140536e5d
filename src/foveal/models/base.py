"""What every model of the house shares: the sight of images, the output of a step, and how features fill their placeholders."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from foveal.grounding.wordings.verbs import Verbs
from foveal.models.lora import add_lora, linear_layers, merge_lora, reset_lora
from foveal.models.losses import token_cross_entropy

__all__ = ["ConversationModel", "GroundedModel", "GroundedOutput", "Sight", "padding_to_left", "positions_of", "scatter_features"]


@dataclass(frozen=True)
class Sight:
    """What is kept of seen images: a value, safe to share between questions.

    `tokens[i]` "slots width" stands in the language model's input for image i; `maps[i]` "dim rows cols" is what regions of image i are read from.

    >>> sight = Sight(tokens=(torch.zeros(4, 8),), maps=(torch.zeros(6, 2, 2),))
    >>> len(sight), sight.slots
    (1, (4,))
    """

    tokens: tuple[Float[Tensor, "_ width"], ...]
    maps: tuple[Float[Tensor, "dim _ _"], ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def slots(self) -> tuple[int, ...]:
        """How many placeholders each image takes."""
        return tuple(len(tokens) for tokens in self.tokens)

    def of(self, *images: int) -> "Sight":
        """The sight of some of the images, in the order given; an image may be given again.

        >>> sight = Sight(tokens=(torch.zeros(4, 8), torch.zeros(2, 8)), maps=(torch.zeros(6, 2, 2), torch.zeros(6, 1, 2)))
        >>> sight.of(1, 1).slots
        (2, 2)
        """
        return Sight(tuple(self.tokens[image] for image in images), tuple(self.maps[image] for image in images))


@dataclass
class GroundedOutput(ModelOutput):
    """One step of a grounded model: `loss` with labels, `logits` "batch length vocabulary", the cache, and the `sight` it used."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    sight: Sight | None = None


class GroundedModel(PreTrainedModel):
    """What every model of the house is: it looks at images once, and is asked about what it has seen."""

    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    @abstractmethod
    def encode_images(self, pixel_values: Tensor, *inputs: Any, **named: Any) -> Sight:
        """The sight of a batch of images."""

    def able(self, verbs: Verbs) -> Verbs:
        """What this model can be asked of all that its family can: a part that it was made without is not asked for."""
        return verbs

    def save_pretrained(self, save_directory: str | PathLike[str], *, max_shard_size: str | int = "5GB", **kwargs: object) -> None:
        """As transformers' own, in safetensors shards of at most `max_shard_size`."""
        super().save_pretrained(save_directory, max_shard_size=max_shard_size, **kwargs)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        """As transformers' own, which passes over modules without a weight of their own in models that are not its own."""
        super()._initialize_weights(module)


class ConversationModel(GroundedModel, GenerationMixin):
    """A causal language model whose input holds placeholders for images and for regions, filled from a `Sight`.

    A model has a `language_model`, looks in `_sight`, and, where it can be pointed at regions, reads them in `encode_regions`; its
    configuration has an `image_token_id` and a `region_token_id` (-1: none).
    """

    visual_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "sight")
    """What `forward`, `generate` and `embed` take beside text."""

    _skip_keys_device_placement = ("past_key_values",)

    def finish_init(self) -> None:
        """The end of a model's making: adapters where its configuration has some, and weights as they start."""
        if self.config.lora_rank:
            self._add_adapters(self.config.lora_rank, self.config.lora_alpha, self.config.lora_targets)
        self.post_init()
        reset_lora(self.language_model)

    def adapt(self, rank: int, alpha: float = 32.0, targets: Sequence[str] = (), dropout: float = 0.0) -> None:
        """Puts adapters of this rank beside linear layers of the language model (Hu et al. 2021): those whose names end with one of `targets`, or all
        but its output. They change nothing as they begin; the configuration says so, and a saved model has them, but not their `dropout`, which
        is for the training at hand. ValueError for a model that has some.

        Wants PEFT; ImportError, saying so, without.
        """
        if self.config.lora_rank:
            raise ValueError(f"the language model has adapters of rank {self.config.lora_rank}; merge them first.")
        self._add_adapters(rank, alpha, targets, dropout)
        self.config.lora_rank, self.config.lora_alpha, self.config.lora_targets = rank, alpha, list(targets)

    def _add_adapters(self, rank: int, alpha: float, targets: Sequence[str], dropout: float = 0.0) -> None:
        add_lora(self.language_model, rank, alpha, targets or linear_layers(self.language_model), dropout)

    def merge(self) -> None:
        """Folds the language model's adapters, if it has some, into the layers beside which they stand."""
        merge_lora(self.language_model)
        self.config.lora_rank = 0

    @abstractmethod
    def _sight(self, *looks: Any, **named: Any) -> Sight:
        """The sight of whatever of the `visual_inputs` of images was given."""

    def encode_regions(self, sight: Sight, points: Tensor, image: Tensor | None = None, starts: Tensor | None = None) -> Tensor:
        """One feature of the language model's width for each region. ValueError where a model cannot be pointed at regions by features."""
        raise ValueError(f"{type(self).__name__} has no features of regions: point with words.")

    def embed(
        self, input_ids: Int[Tensor, "batch length"], *, cached: bool = False, **visual: Any
    ) -> tuple[Float[Tensor, "batch length width"], Sight | None]:
        """Input embeddings with images and regions in their placeholders, and the sight they came from.

        `visual` are values of `visual_inputs`. ValueError when placeholders and features are not as many; with `cached`, placeholders may
        stay without any feature.
        """
        image_slots, region_slots = input_ids == self.config.image_token_id, input_ids == self.config.region_token_id
        embeds = self.get_input_embeddings()(input_ids.masked_fill(image_slots, 0))
        looks = {name: visual.get(name) for name in self.visual_inputs if not name.startswith("region_")}
        seen = any(value is not None for value in looks.values())
        wants_image = bool(image_slots.any()) and (seen or not cached)
        wants_region = bool(region_slots.any()) and (visual.get("region_points") is not None or not cached)
        if not (wants_image or wants_region):
            return embeds, visual.get("sight")
        sight = visual.get("sight")
        if sight is None and seen:
            sight = self._sight(**{name: value for name, value in looks.items() if name != "sight"})
        if wants_image:
            tokens = embeds[0, :0] if sight is None else torch.cat(sight.tokens)
            embeds = scatter_features(embeds, image_slots, tokens, "image")
        if wants_region:
            points, found = visual.get("region_points"), embeds[0, :0]
            if points is not None and sight is not None:
                found = self.encode_regions(sight, points, visual.get("region_image"), visual.get("region_starts"))
            embeds = scatter_features(embeds, region_slots, found, "region")
        return embeds, sight

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | dict | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: int | Tensor | None = None,
        **kwargs: Any,
    ) -> GroundedOutput:
        """Logits, and with `labels` (-100: not to be predicted) the mean cross-entropy of the shifted labels.

        Beside text come the values of `visual_inputs`. Positions follow a 2-D `attention_mask`, so padding on either side changes nothing. A
        4-D mask goes to the language model as it is; then give `position_ids` too. Images and regions are looked at only where `input_ids`
        has placeholders for them.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds.")
        visual = {name: kwargs.pop(name) for name in self.visual_inputs if name in kwargs}
        past, sight = past_key_values.get_seq_length() if past_key_values is not None else 0, visual.get("sight")
        if inputs_embeds is None and input_ids is not None:
            inputs_embeds, sight = self.embed(input_ids, cached=past > 0, **visual)
        if position_ids is None and isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
            position_ids = positions_of(attention_mask, inputs_embeds.shape[1])
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=0 if labels is not None else logits_to_keep,
            **kwargs,
        )
        return GroundedOutput(
            loss=None if labels is None else token_cross_entropy(outputs.logits, labels, num_items_in_batch),
            logits=outputs.logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            sight=sight,
        )

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """As transformers' `generate`, with the images and regions of `forward`; both are encoded once, whatever the number of beams.

        Rows may be padded on either side: padding is moved to the left first, so that the returned rows are padded there.
        `past_key_values` may hold a prefix of all rows; `input_ids` is still the whole text.
        """
        input_ids = inputs if inputs is not None else kwargs.pop("input_ids", None)
        if input_ids is None or kwargs.get("inputs_embeds") is not None:
            return super().generate(inputs=input_ids, **kwargs)
        if kwargs.get("use_cache") is False:
            raise ValueError("use_cache=False: this model generates from its cache only, since images are looked at once.")
        visual = {name: kwargs.pop(name) for name in self.visual_inputs if name in kwargs}
        past = kwargs.get("past_key_values")
        start = past.get_seq_length() if past is not None else 0
        attention_mask = kwargs.pop("attention_mask", None)
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if (order := padding_to_left(attention_mask, start)) is not None:
            input_ids, attention_mask = input_ids.gather(1, order), attention_mask.gather(1, order)
        embeds, _ = self.embed(input_ids[:, start:], cached=start > 0, **visual)
        if start:  # transformers wants the whole text here, and leaves out what the cache holds
            embeds = torch.cat([embeds.new_zeros(len(embeds), start, embeds.shape[-1]), embeds], dim=1)
        return super().generate(inputs=input_ids, inputs_embeds=embeds, attention_mask=attention_mask, use_cache=True, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)


def scatter_features(
    embeds: Float[Tensor, "batch length width"], slots: Bool[Tensor, "batch length"], features: Float[Tensor, "count width"], kind: str = "image"
) -> Float[Tensor, "batch length width"]:
    """The embeddings with `features` in the places `slots` marks, row by row. ValueError when there are not as many of both.

    >>> scatter_features(torch.zeros(1, 3, 1), torch.tensor([[False, True, True]]), torch.tensor([[5.0], [6.0]]))[..., 0]
    tensor([[0., 5., 6.]])
    """
    if (count := int(slots.sum())) != len(features):
        raise ValueError(f"{count} {kind} placeholders in the text for {len(features)} {kind} features: the processor writes one for each.")
    return embeds.masked_scatter(slots[..., None], features.to(embeds.dtype))


def positions_of(attention_mask: Int[Tensor, "batch total"] | Bool[Tensor, "batch total"], length: int) -> Int[Tensor, "batch length"]:
    """Positions that count only attended tokens, of the last `length` columns: padding on either side changes nothing."""
    positions = attention_mask.long().cumsum(-1) - 1
    return positions.clamp(min=0)[:, -length:]


def padding_to_left(attention_mask: Int[Tensor, "batch total"] | Bool[Tensor, "batch total"], start: int) -> Int[Tensor, "batch total"] | None:
    """For each row the order of columns that moves padding on the right, from column `start` on, to the left; None if there is none."""
    mask = attention_mask.bool()
    if bool(mask[:, -1].all()):
        return None
    total = mask.shape[1]
    columns = torch.arange(total, device=mask.device)
    last = (mask * (columns + 1)).amax(dim=1).clamp(min=start)
    shifted = (columns[None] - start - (total - last)[:, None]) % (total - start) + start
    return torch.where(columns[None] < start, columns[None], shifted)

"""What every model of the house shares: the sight of images, the output of a step, and how features fill their placeholders."""

from dataclasses import dataclass
from os import PathLike

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

__all__ = ["GroundedModel", "GroundedOutput", "Sight", "padding_to_left", "positions_of", "scatter_features"]


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


class GroundedModel(PreTrainedModel, GenerationMixin):
    """A causal language model whose input holds placeholders for images and for regions, filled from a `Sight`."""

    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)

    def save_pretrained(self, save_directory: str | PathLike[str], *, max_shard_size: str | int = "5GB", **kwargs: object) -> None:
        """As transformers' own, in safetensors shards of at most `max_shard_size`."""
        super().save_pretrained(save_directory, max_shard_size=max_shard_size, **kwargs)


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

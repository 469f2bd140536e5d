"""The small model while it learns: it looks at the patches of things and few of the ground, and says early what it will say in digits.

Halfway through its layers, a head that is thrown away afterwards reads the box which the words are about to spell, number by number. What
is right and what is near is told to the layers that look, long before digits are right.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foveal.models.base import Sight
from foveal.models.ferret import FerretConfig, FerretForConditionalGeneration
from foveal.models.losses import IGNORED

__all__ = ["PLACES", "THIRD_DIGIT", "Pupil", "through_layers"]

THIRD_DIGIT = 0.3
"""Weight of the third digit of a number: a thousandth of the picture, finer than the patches show."""
PLACES = 3.0
"""Weight of the boxes read halfway, in fractions of the picture."""


class Pupil(FerretForConditionalGeneration):
    """The model with another forward: the loss of packed questions, and what share of each kind of token is right."""

    digits: Tensor
    """Ids of the ten digits, set before training."""

    def __init__(self, config: FerretConfig) -> None:
        super().__init__(config)
        self.places = nn.Linear(config.text_config.hidden_size, 4)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        places: Float[Tensor, "batch length 4"],
        kept: Tensor | None = None,
        region_points: Tensor | None = None,
        region_starts: Tensor | None = None,
        region_image: Tensor | None = None,
        **images: Tensor,
    ) -> dict[str, Tensor]:
        """Loss of a batch. `kept` marks the image tokens, of all images one after the other, that `input_ids` has placeholders for;
        `places` is the box that each token helps to spell, NaN where none."""
        sight = self._sight(**images)
        if kept is not None:
            sight = Sight((torch.cat(sight.tokens)[kept],), sight.maps)
        embeds, _ = self.embed(input_ids, sight=sight, region_points=region_points, region_starts=region_starts, region_image=region_image)
        halfway, hidden = self.layers(embeds, attention_mask, position_ids)
        learnt = labels[:, 1:] != IGNORED
        targets, digit = labels[:, 1:][learnt], self._digit_places(input_ids)[:, 1:][learnt]
        logits = self.language_model.lm_head(hidden[:, :-1][learnt]).float()
        weights = torch.where(digit == 3, THIRD_DIGIT, 1.0)
        loss = (functional.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
        found: dict[str, Any] = {}
        if (spelt := ~places[..., 0].isnan()).any():
            read = self.places(functional.rms_norm(halfway[spelt], halfway.shape[-1:]))
            loss = loss + PLACES * functional.smooth_l1_loss(read, places[spelt], beta=0.05)
            found["places"] = (read - places[spelt]).abs().mean()
        right = (logits.argmax(-1) == targets).float()
        return {"loss": loss} | found | {name: right[digit == number].mean() for number, name in enumerate(("words", "digit_1", "digit_2"))}

    def layers(self, hidden: Tensor, attention_mask: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """What the language model's layers make of its input: halfway, and normed at the end."""
        return through_layers(self.language_model.model, hidden, attention_mask, position_ids)

    def _digit_places(self, ids: Tensor) -> Tensor:
        """0 for a token that is no digit, else which digit of its number it is: 1, 2 or 3."""
        is_digit = torch.isin(ids, self.digits.to(ids.device)).long()
        before = functional.pad(is_digit, (1, 0))[:, :-1]
        before_that = functional.pad(before, (1, 0))[:, :-1]
        return is_digit * (1 + before * (1 + before_that))


def through_layers(tongue: nn.Module, hidden: Tensor, attention_mask: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """What the layers of a Llama make of their input: halfway, and normed at the end."""
    turn = tongue.rotary_emb(hidden, position_ids=position_ids)
    middle = len(tongue.layers) // 2
    halfway = hidden
    for number, layer in enumerate(tongue.layers, 1):
        hidden = layer(hidden, attention_mask=attention_mask, position_ids=position_ids, position_embeddings=turn)
        halfway = hidden if number == middle else halfway
    return halfway, tongue.norm(hidden)

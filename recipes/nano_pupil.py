"""The small model while it learns: it may look at the patches of things and few of the ground, and minds the last digit of a place less."""

import torch
from torch import Tensor
from torch.nn import functional

from foveal.models.base import Sight
from foveal.models.ferret import FerretForConditionalGeneration
from foveal.models.losses import IGNORED

__all__ = ["THIRD_DIGIT", "Pupil"]

THIRD_DIGIT = 0.3
"""Weight of the third digit of a number: a thousandth of the picture, finer than the patches show."""


class Pupil(FerretForConditionalGeneration):
    """The model with another forward: the loss of packed questions, and what share of each kind of token is right."""

    digits: Tensor
    """Ids of the ten digits, set before training."""

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        kept: Tensor | None = None,
        region_points: Tensor | None = None,
        region_starts: Tensor | None = None,
        region_image: Tensor | None = None,
        **images: Tensor,
    ) -> dict[str, Tensor]:
        """Loss of a batch; `kept` marks the image tokens, of all images one after the other, that `input_ids` has placeholders for."""
        sight = None
        if images:
            given = dict.fromkeys(("pixel_values", "tile_values", "grids", "image_sizes", "overview_features", "tile_features")) | images
            sight = self._sight(None, **given)
            if kept is not None:
                sight = Sight((torch.cat(sight.tokens)[kept],), sight.maps)
        embeds, _ = self.embed(input_ids, sight=sight, region_points=region_points, region_starts=region_starts, region_image=region_image)
        hidden = self.language_model.model(inputs_embeds=embeds, attention_mask=attention_mask, position_ids=position_ids).last_hidden_state
        learnt = labels[:, 1:] != IGNORED
        targets, place = labels[:, 1:][learnt], self._digit_places(input_ids)[:, 1:][learnt]
        logits = self.language_model.lm_head(hidden[:, :-1][learnt]).float()
        weights = torch.where(place == 3, THIRD_DIGIT, 1.0)
        loss = (functional.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
        right = (logits.argmax(-1) == targets).float()
        return {"loss": loss} | {name: right[place == number].mean() for number, name in enumerate(("words", "digit_1", "digit_2"))}

    def _digit_places(self, ids: Tensor) -> Tensor:
        """0 for a token that is no digit, else which digit of its number it is: 1, 2 or 3."""
        is_digit = torch.isin(ids, self.digits.to(ids.device)).long()
        before = functional.pad(is_digit, (1, 0))[:, :-1]
        before_that = functional.pad(before, (1, 0))[:, :-1]
        return is_digit * (1 + before * (1 + before_that))

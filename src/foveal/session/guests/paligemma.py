"""PaliGemma as a guest: one square view, encoded once, a task prefix, and places in 1024ths, y before x."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from foveal.geometry import Frame
from foveal.grounding import Example
from foveal.grounding.formats import LocationFormat, PaliGemmaFormat
from foveal.grounding.wordings.paligemma import PALIGEMMA, task_of
from foveal.models.processing import IMAGE_MARK, Piece
from foveal.session.guests.guest import question_of
from foveal.session.guests.speaking import Seen, SpeakingFamily

__all__ = ["PaliGemma"]


class PaliGemma(SpeakingFamily):
    """PaliGemma and PaliGemma 2 (arXiv 2407.07726). It holds no conversation: of several turns the last question is asked."""

    verbs = PALIGEMMA
    model_class = "PaliGemmaForConditionalGeneration"
    spoken = re.compile(r"<(?:loc\d{4}|seg\d{3})>")

    def look(self, model: Any, image: Image.Image) -> Seen:
        """The features of the image's patches."""
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
        features = model.get_image_features(pixels, return_dict=True).pooler_output
        return Seen(Frame.stretch(image.size), features.shape[1], features)

    def dialect(self, question: str) -> LocationFormat:
        """The same for all questions."""
        return PaliGemmaFormat()

    def prompt(self, model: Any, seen: Seen, example: Example) -> list[int]:
        """The image, the task, and the line break that ends a prompt."""
        question = self.spell(question_of(example, self.verbs), seen)
        opening = [Piece(IMAGE_MARK), Piece(self.tokenizer.bos_token or "")]
        return self.write([*opening, Piece(task_of(question), trusted=False), Piece("\n")], seen.slots, model.config.image_token_id)

    def visual(self, model: Any, seen: Sequence[Seen], ids: Int[Tensor, "rows length"]) -> dict[str, Any]:
        """The features of each row's image; all of a prompt is seen from everywhere in it."""
        features = BaseModelOutputWithPooling(pooler_output=torch.cat([one.features for one in seen]))
        return {"mm_encoder_outputs": {"image": features}, "token_type_ids": torch.zeros_like(ids)}

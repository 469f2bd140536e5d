"""Florence-2 as a guest: one square view, encoded once, tasks instead of questions, and places in thousandths after their words."""

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
from foveal.grounding.formats import FlorenceFormat, LocationFormat
from foveal.grounding.wordings.florence import FLORENCE, prompt_of, shape_of
from foveal.models.processing import IMAGE_MARK, Piece
from foveal.session.guests.guest import question_of
from foveal.session.guests.speaking import Seen, SpeakingFamily

__all__ = ["Florence"]


class Florence(SpeakingFamily):
    """Florence-2 (arXiv 2311.06242), in transformers' own form ("florence-community/…"): an encoder reads image and task, a decoder answers.

    Of several turns the last question is asked. Outlines are masks of the image's size.
    """

    verbs = FLORENCE
    model_class = "Florence2ForConditionalGeneration"
    fills = "right"
    spoken = re.compile(r"<loc_\d+>|</?poly>|<sep>")

    def look(self, model: Any, image: Image.Image) -> Seen:
        """The features of the image's places."""
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
        features = model.get_image_features(pixels, return_dict=True).pooler_output
        return Seen(Frame.stretch(image.size), features.shape[1], features)

    def dialect(self, question: str) -> LocationFormat:
        """What tokens of places mean, of the task that is asked."""
        return FlorenceFormat(shape_of(question))

    def prompt(self, model: Any, seen: Seen, example: Example) -> list[int]:
        """The image and the sentence of the task, between the marks of a text."""
        question = prompt_of(self.spell(question_of(example, self.verbs), seen))
        pieces = [Piece(f"{IMAGE_MARK}{self.tokenizer.bos_token}"), Piece(question, trusted=False), Piece(self.tokenizer.eos_token)]
        return self.write(pieces, seen.slots, model.config.image_token_id)

    def visual(self, model: Any, seen: Sequence[Seen], ids: Int[Tensor, "rows length"]) -> dict[str, Any]:
        """The features of each row's image."""
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=torch.cat([one.features for one in seen]))}}

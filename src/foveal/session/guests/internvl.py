"""InternVL as a guest: tiles of the image and a thumbnail, encoded once, and places between tags in thousandths of the image."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from foveal.geometry import Frame
from foveal.grounding.formats import InternFormat, LocationFormat
from foveal.grounding.wordings.internvl import INTERNVL
from foveal.grounding.wordings.qwen_vl import QWEN_CHAT_PLAIN
from foveal.models.processing import IMAGE_MARK
from foveal.session.guests.speaking import Seen, SpeakingFamily

__all__ = ["InternVL"]


class InternVL(SpeakingFamily):
    """InternVL 2.5 to 3.5 in transformers' form (arXiv 2504.10479), with a language model that speaks ChatML."""

    verbs = INTERNVL
    model_class = "InternVLForConditionalGeneration"
    template = QWEN_CHAT_PLAIN
    image_opening = f"<img>{IMAGE_MARK}</img>\n"
    spoken = re.compile(r"</?(?:ref|box)>")

    def look(self, model: Any, image: Image.Image) -> Seen:
        """The features of all tiles, one after the other."""
        pixels = self.image_processor(images=[image], crop_to_patches=True, return_tensors="pt")["pixel_values"].to(model.device)
        features = model.get_image_features(pixels, return_dict=True).pooler_output
        return Seen(Frame.stretch(image.size), features.shape[0] * features.shape[1], features)

    def dialect(self, question: str) -> LocationFormat:
        """The same for all questions."""
        return InternFormat()

    def visual(self, model: Any, seen: Sequence[Seen], ids: Int[Tensor, "rows length"]) -> dict[str, Any]:
        """The tiles of each row's image."""
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=torch.cat([one.features for one in seen]))}}

"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL as guests: images of any size, resized to a multiple of the patch, and places in its pixels or in thousandths."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from foveal.geometry import Frame
from foveal.grounding.formats import LocationFormat, Qwen2Format, QwenJsonFormat
from foveal.grounding.wordings.qwen_vl import QWEN2, QWEN2_5, QWEN3, QWEN_CHAT, QWEN_CHAT_PLAIN
from foveal.models.processing import IMAGE_MARK
from foveal.session.guests.speaking import Seen, SpeakingFamily

__all__ = ["Qwen2VL", "Qwen2_5VL", "Qwen3VL"]


class Qwen2_5VL(SpeakingFamily):
    """Qwen2.5-VL (arXiv 2502.13923): JSON with pixels of the resized image. The image goes through the vision tower once for all questions."""

    verbs = QWEN2_5
    model_class = "Qwen2_5_VLForConditionalGeneration"
    template = QWEN_CHAT
    image_opening = f"<|vision_start|>{IMAGE_MARK}<|vision_end|>"
    places: ClassVar[LocationFormat] = QwenJsonFormat()

    def look(self, model: Any, image: Image.Image) -> Seen:
        """The features of an image's merged patches; ValueError for one that is over 200 times as long as wide."""
        pixels = self.image_processor(images=[image], return_tensors="pt").to(model.device)
        grid = pixels["image_grid_thw"]
        features = model.get_image_features(pixels["pixel_values"], grid, return_dict=True)
        _, rows, cols = (int(count) for count in grid[0])
        patch = self.image_processor.patch_size
        return Seen(Frame.stretch(image.size, (cols * patch, rows * patch)), len(features.pooler_output[0]), features, grid)

    def dialect(self, question: str) -> LocationFormat:
        """The same for all questions."""
        return self.places

    def visual(self, model: Any, seen: Sequence[Seen], ids: Int[Tensor, "rows length"]) -> dict[str, Any]:
        """The features of each row's image, and where its patches lie."""
        features = BaseModelOutputWithPooling(pooler_output=tuple(part for one in seen for part in one.features.pooler_output))
        if getattr(seen[0].features, "deepstack_features", None) is not None:
            levels = zip(*(one.features.deepstack_features for one in seen), strict=True)
            features.deepstack_features = [tuple(part for some in level for part in some) for level in levels]
        return {
            "mm_encoder_outputs": {"image": features},
            "image_grid_thw": torch.cat([one.grid for one in seen]),
            "mm_token_type_ids": (ids == model.config.image_token_id).int(),
        }


class Qwen2VL(Qwen2_5VL):
    """Qwen2-VL (arXiv 2409.12191): boxes in thousandths, between tokens of their own."""

    verbs = QWEN2
    model_class = "Qwen2VLForConditionalGeneration"
    places = Qwen2Format()
    spoken = re.compile(r"<\|(?:object_ref|box|quad)_(?:start|end)\|>")


class Qwen3VL(Qwen2_5VL):
    """Qwen3-VL (arXiv 2511.21631): JSON in thousandths, and no words beforehand."""

    verbs = QWEN3
    model_class = "Qwen3VLForConditionalGeneration"
    template = QWEN_CHAT_PLAIN
    places = QwenJsonFormat(1000)

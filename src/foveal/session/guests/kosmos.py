"""Kosmos-2 as a guest: an image as a few dozen latent queries, encoded once, and places as cells of a grid."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from foveal.geometry import Frame
from foveal.grounding import Example
from foveal.grounding.formats import KosmosFormat, LocationFormat
from foveal.grounding.wordings.kosmos import KOSMOS, beginning_of, phrase_of
from foveal.models.processing import IMAGE_MARK, Piece
from foveal.session.guests.guest import question_of
from foveal.session.guests.speaking import Seen, SpeakingFamily

__all__ = ["Kosmos"]


class Kosmos(SpeakingFamily):
    """Kosmos-2 (arXiv 2306.14824): it goes on with what it is told; of several turns the last question is asked.

    The answer to where something is begins with the phrase that was asked for.
    """

    verbs = KOSMOS
    model_class = "Kosmos2ForConditionalGeneration"
    fills = "never"  # transformers counts the positions of what is generated from the filled-up length on
    spoken = re.compile(r"</?(?:phrase|object)>|<grounding>|</delimiter_of_multi_objects/>|<patch_index_\d{4}>")

    def look(self, model: Any, image: Image.Image) -> Seen:
        """The latent queries' features: what `generate` calls image_embeds."""
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
        seen = model.vision_model.model.post_layernorm(model.vision_model(pixel_values=pixels).last_hidden_state)
        features, _ = model.image_to_text_projection(torch.nn.functional.normalize(seen, dim=-1))
        return Seen(Frame.stretch(image.size), features.shape[1], features)

    def dialect(self, question: str) -> LocationFormat:
        """The same for all questions."""
        return KosmosFormat()

    def prompt(self, model: Any, seen: Seen, example: Example) -> list[int]:
        """The image between its tags, and the beginning that is to be gone on with."""
        question = self.spell(question_of(example, self.verbs), seen)
        opening = Piece(f"{self.tokenizer.bos_token or ''}<image>{IMAGE_MARK}</image>")
        return self.write([opening, Piece(f" {beginning_of(question)}", trusted=False)], seen.slots, self._place)

    def beginning(self, question: str) -> str:
        """The phrase whose place is asked for."""
        return phrase_of(question)

    @property
    def _place(self) -> int:
        """The token in whose place a latent query stands: its own embedding is not looked at."""
        return (self.tokenizer.unk_token_id or 0) + 1

    def visual(self, model: Any, seen: Sequence[Seen], ids: Int[Tensor, "rows length"]) -> dict[str, Any]:
        """The queries of each row's image, and where they stand: behind the tag that opens the image."""
        first = ids == self.tokenizer.convert_tokens_to_ids("<image>")
        count = first.int().cumsum(1)
        behind = torch.arange(ids.shape[1], device=ids.device) - first.int().argmax(1, keepdim=True)
        place = (count > 0) & (behind > 0) & (behind <= seen[0].slots)
        return {"image_embeds": torch.cat([one.features for one in seen]), "image_embeds_position_mask": place}

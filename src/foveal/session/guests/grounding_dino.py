"""Grounding DINO as a guest: an open detector, given names, that answers with boxes and how sure it is of each."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Span
from foveal.grounding.wordings.grounding_dino import GROUNDING_DINO, names_of
from foveal.session.answers import Answer, Options
from foveal.session.guests.guest import Family, question_of

__all__ = ["GroundingDino"]

_LEAST = 0.25
"""From this score on a box is said, as in the authors' demonstration (`box_threshold`)."""


class GroundingDino(Family):
    """Grounding DINO (arXiv 2303.05499). Each box belongs to the name one of whose tokens it fits best; the best boxes come first.

    Image and words meet already in the encoder, and transformers' class takes pixels alone: an image goes through it anew with each batch of
    questions. Options of generation do nothing here.
    """

    verbs = GROUNDING_DINO
    model_class = "GroundingDinoForObjectDetection"

    def look(self, model: Any, image: Image.Image) -> dict[str, Tensor]:
        """The image as the model takes it."""
        return dict(self.image_processor(images=[image], return_tensors="pt").to(model.device))

    def reply(self, model: Any, seen: Sequence[Any], examples: Sequence[Example], options: Options) -> list[Answer]:
        """The boxes of all names of each question, image by image, whose sizes differ; a name without any is said to be nowhere."""
        found: dict[int, Answer] = {}
        for image in {id(one): one for one in seen}.values():
            rows = [row for row, one in enumerate(seen) if one is image]
            found.update(zip(rows, self._found(model, image, [examples[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(examples))]

    def _found(self, model: Any, seen: Mapping[str, Tensor], examples: Sequence[Example]) -> list[Answer]:
        asked = [names_of(question_of(example, self.verbs).text) for example in examples]
        rows = [self._written(names) for names in asked]
        if (longest := max(len(ids) for ids, _ in rows)) > model.config.max_text_len:
            raise ValueError(f"names of {longest} tokens; at most {model.config.max_text_len} are read.")
        ids, mask = _padded([ids for ids, _ in rows], self.tokenizer.pad_token_id or 0)
        pixels = {name: value.expand(len(rows), *value.shape[1:]).to(model.dtype) for name, value in seen.items() if name == "pixel_values"}
        found = model(
            **pixels, input_ids=ids.to(model.device), attention_mask=mask.to(model.device), token_type_ids=torch.zeros_like(ids).to(model.device)
        )
        chances, corners = found.logits.float().sigmoid().cpu(), _corners(found.pred_boxes.float().cpu())
        return [_answer(names, owners, *one) for names, (_, owners), one in zip(asked, rows, zip(chances, corners, strict=True), strict=True)]

    def _written(self, names: Sequence[str]) -> tuple[list[int], list[int]]:
        """The tokens of names, each closed by a full stop, and of which name each token is; -1 for marks."""
        backend, tokenizer = self.tokenizer.backend_tokenizer, self.tokenizer
        dot = backend.encode(".", add_special_tokens=False).ids
        ids, owners = [tokenizer.cls_token_id], [-1]
        for number, name in enumerate(names):
            words = [token for part in re.split(r"[\[\]]", name) for token in backend.encode(part, add_special_tokens=False).ids]
            ids, owners = [*ids, *words, *dot], [*owners, *[number] * len(words), *[-1] * len(dot)]
        return [*ids, tokenizer.sep_token_id], [*owners, -1]


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Int[Tensor, "rows length"], Int[Tensor, "rows length"]]:
    length = max(len(row) for row in rows)
    return (
        torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows]),
        torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
    )


def _corners(boxes: Float[Tensor, "rows queries 4"]) -> Float[Tensor, "rows queries 4"]:
    """Middles and sizes as corners, cut at the edges of the image."""
    middle, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([middle - size / 2, middle + size / 2], dim=-1).clamp(0, 1)


def _answer(names: Sequence[str], owners: Sequence[int], chances: Float[Tensor, "queries tokens"], corners: Float[Tensor, "queries 4"]) -> Answer:
    """Names with their boxes in the order of the question, each name's surest box first."""
    boxes: list[list[tuple[float, Box]]] = [[] for _ in names]
    words = [place for place, owner in enumerate(owners) if owner >= 0]
    best, which = chances[:, words].max(dim=1)
    for score, token, corner in sorted(zip(best.tolist(), which.tolist(), corners.tolist(), strict=True), key=lambda one: -one[0]):
        if score > _LEAST and corner[0] < corner[2] and corner[1] < corner[3]:
            boxes[owners[words[token]]].append((score, Box(*corner)))
    said: list[GroundedText | str] = []
    for name, some in zip(names, boxes, strict=True):
        if some or len(names) == 1:
            span = Span(0, len(name), tuple(box for _, box in some), tuple(score for score, _ in some))
            said += [", "] * bool(said) + [GroundedText(name, (span,))]
    whole = GroundedText.join(*said)
    return Answer(whole, "stop", whole.text)

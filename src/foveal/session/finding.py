"""What a model with places for words answers without writing: expressions found and outlined, and what a detector sees."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from foveal.geometry import Box, Frame, Point, Region, encode_mask
from foveal.grounding import Example, GroundedText, Span
from foveal.grounding.wordings.pixel_llm import OUTLINE, phrase_of
from foveal.models.pixel_llm import PixelLLMForConditionalGeneration, PixelLLMProcessor, PixelSight, boxes_of_points, scores_of_places
from foveal.session.answers import Answer

__all__ = ["asked_of", "batch_of", "detected", "placed", "prompt_of", "read", "tied_answer"]

_Model = PixelLLMForConditionalGeneration
_Processor = PixelLLMProcessor


def asked_of(question: Example) -> str:
    """The words of the last question."""
    return next(turn.said.text for turn in reversed(question.turns) if turn.role == "user")


def batch_of(questions: Sequence[Example], model: _Model, processor: _Processor) -> Any:
    """Questions about the one image of a sight as tensors; ValueError when one of them does not fit the model."""
    batch = processor.encode(questions, look=False).to(model.device)
    batch["image"] = torch.zeros_like(batch["image"])
    return batch


def prompt_of(batch: Any) -> dict[str, Any]:
    """Where is asked about, of such a batch."""
    return {name: batch[name] for name in ("boxes_px", "image", "points_px", "point_labels") if name in batch}


def read(questions: Sequence[Example], model: _Model, processor: _Processor, sight: PixelSight) -> Iterator[Answer]:
    """The expressions themselves, each with its box; or with its mask where that is asked for, whose score is the IoU that the model expects."""
    batch = batch_of(questions, model, processor)
    if model.config.masks_read_padding:
        room = processor.text_length - batch["input_ids"].shape[1]
        batch["input_ids"] = functional.pad(batch["input_ids"], (0, room), value=processor.pad_id)
        batch["placed"] = functional.pad(batch["placed"], (0, room))
    visual = model.encode_prompts(sight, **prompt_of(batch))
    features = model.writer.read(visual, batch["input_ids"], batch["context"])
    points, sure = placed(model, features)
    if points is None:
        raise ValueError("this model was made without places of words, and finds nothing; one with location_points=2 is wanted.")
    boxes = boxes_of_points(points, batch["placed"]).float().clamp(0, 1)
    scores = [None] * len(boxes) if sure is None else sure[batch["placed"]].tolist()
    regions: list[Region | None] = [_region(*box) for box in boxes.tolist()]
    frame = processor.plan((questions[0].images[0].width, questions[0].images[0].height))
    boxes_px = boxes * boxes.new_tensor([frame.sx, frame.sy]).repeat(2)
    rows = [number for number, question in enumerate(questions) if asked_of(question).startswith(OUTLINE)]
    if rows:
        logits, ious = model.draw_masks(sight, batch["image"][rows], boxes_px[rows], visual[rows], features[rows], batch["input_ids"][rows])
        for number, bits, iou in zip(rows, _cut(logits[:, 0].float(), frame), ious[:, 0].float().clamp(0, 1).tolist(), strict=True):
            regions[number], scores[number] = encode_mask(bits) if bits.any() else None, iou
    for question, region, score in zip(questions, regions, scores, strict=True):
        yield tied_answer(phrase_of(asked_of(question)) or "", region, score)


def placed(model: _Model, features: Float[Tensor, "rows length width"]) -> tuple[Tensor | None, Tensor | None]:
    """Points of words, of a model that gives places, and how sure they are, of one that was taught to say so."""
    if model.location_head is None:
        return None, None
    points, spread = model.location_head(features)
    return points, scores_of_places(spread) if model.config.scored_places else None


def _region(x0: float, y0: float, x1: float, y1: float) -> Region:
    """A box; the middle of what has no extent."""
    return Box(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else Point((x0 + x1) / 2, (y0 + y1) / 2)


def _cut(logits: Float[Tensor, "rows height width"], frame: Frame) -> Iterator[Bool[np.ndarray, "height width"]]:
    """Masks of a picture's own size, of their logits over the padded input."""
    rows, cols = (
        max(1, int(side * count / whole)) for side, count, whole in zip((frame.sy, frame.sx), logits.shape[1:], frame.canvas_size, strict=True)
    )
    width, height = frame.image_size
    for mask in logits[:, :rows, :cols]:
        yield (functional.interpolate(mask[None, None], (height, width), mode="bilinear")[0, 0] > 0).cpu().numpy()


def detected(question: Example, model: _Model, processor: _Processor, sight: PixelSight) -> tuple[list[Region], list[float]]:
    """Everything that is detected, and the detector's scores, the surest first."""
    frame = processor.plan((question.images[0].width, question.images[0].height))
    boxes, scores = model.detect(sight, [(frame.sx, frame.sy)])
    there = (scores[0] > 0) & (boxes[0, :, 2:] > boxes[0, :, :2]).all(1)  # what lies in the padding has no extent in the picture
    fractions = (boxes[0][there].float() / boxes.new_tensor([frame.sx, frame.sy], dtype=torch.float32).repeat(2)).clamp(0, 1)
    return [_region(*box) for box in fractions.tolist()], scores[0][there].tolist()


def tied_answer(words: str, region: Region | None, score: float | None) -> Answer:
    """Words that mean one region, or nothing in the picture."""
    span = Span(0, len(words)) if region is None else Span(0, len(words), (region,), () if score is None else (score,))
    return Answer(GroundedText(words, (span,)), "stop", words)

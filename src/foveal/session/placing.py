"""Answers of a model whose every word has a place: captions and answers written, expressions found and outlined, everything told at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from foveal.geometry import Box, Frame, Point, Region, encode_mask
from foveal.grounding import Example, GroundedText, Span, Turn
from foveal.grounding.wordings.pixel_llm import EVERYTHING, OUTLINE, ask_object, phrase_of, say_everything
from foveal.models.pixel_llm import PixelLLMForConditionalGeneration, PixelLLMProcessor, PixelSight, boxes_of_points, scores_of_places
from foveal.session.answers import Answer, Options

__all__ = ["placed_answers"]

_Model = PixelLLMForConditionalGeneration
_Processor = PixelLLMProcessor


class _LeftError(Exception):
    """Nobody listens any more."""


@torch.no_grad()
def placed_answers(
    questions: Sequence[Example],
    model: _Model,
    processor: _Processor,
    sight: PixelSight,
    options: Options,
    on_token: Callable[[list[int]], bool] | None = None,
) -> list[Answer]:
    """An answer to the last turn of each question about one image, all of a kind as one batch.

    Words are written, each with its place. An expression whose place or outline is asked for (`Verbs.location`, `Verbs.segmentation`) is not: it
    is read, and answered by its own words with a box, or a mask. For everything (`Verbs.dense_captions`) things are detected, and words written
    of each. ValueError when one of the questions does not fit the model, before any word is written.
    """
    parts = model, processor, sight
    asked = [_asked(question) for question in questions]
    read = [number for number, text in enumerate(asked) if phrase_of(text) is not None]
    told = [number for number, text in enumerate(asked) if text == EVERYTHING]
    written = [number for number in range(len(asked)) if number not in {*read, *told}]
    batch = _batch([questions[number] for number in written], model, processor) if written else None
    found: dict[int, Answer] = {}
    if read:
        found |= zip(read, _read([questions[number] for number in read], *parts), strict=True)
    for number in told:
        found[number] = _everything(questions[number], *parts, options)
    if written:
        found |= zip(written, _write(batch, *parts, options, on_token), strict=True)
    return [found[number] for number in range(len(questions))]


def _asked(question: Example) -> str:
    return next(turn.said.text for turn in reversed(question.turns) if turn.role == "user")


def _batch(questions: Sequence[Example], model: _Model, processor: _Processor) -> Any:
    batch = processor.encode(questions, look=False).to(model.device)
    batch["image"] = torch.zeros_like(batch["image"])  # every row asks about the one image of the sight
    return batch


def _prompt(batch: Any) -> dict[str, Any]:
    return {name: batch[name] for name in ("boxes_px", "image", "points_px", "point_labels") if name in batch}


def _write(
    batch: Any,
    model: _Model,
    processor: _Processor,
    sight: PixelSight,
    options: Options,
    on_token: Callable[[list[int]], bool] | None = None,
) -> Iterator[Answer]:
    said: list[int] = []

    def hear(ids: Tensor, features: Tensor) -> None:
        del features
        said.append(int(ids[0]))
        if on_token is not None and not on_token(said):
            raise _LeftError

    try:
        found: Any = model.generate(
            **_prompt(batch),
            context=batch["context"],
            sight=sight,
            max_new_tokens=min(options.max_new_tokens, processor.text_length - 1),
            return_dict_in_generate=True,
            temperature=options.temperature,
            seed=options.seed,
            on_token=hear if on_token is not None else None,
        )
    except _LeftError:
        yield Answer(GroundedText(""), "length")
        return
    points, scores = _placed(model, found.features)
    for words, ended in zip(processor.decode(found.ids, points=points, scores=scores), found.ended.tolist(), strict=True):
        yield Answer(words, "stop" if ended else "length", words.text)


def _read(questions: Sequence[Example], model: _Model, processor: _Processor, sight: PixelSight) -> Iterator[Answer]:
    """The expressions themselves, each with its box; or with its mask where that is asked for, whose score is the IoU that the model expects."""
    batch = _batch(questions, model, processor)
    if model.config.masks_read_padding:
        room = processor.text_length - batch["input_ids"].shape[1]
        batch["input_ids"] = functional.pad(batch["input_ids"], (0, room), value=processor.pad_id)
        batch["placed"] = functional.pad(batch["placed"], (0, room))
    visual = model.encode_prompts(sight, **_prompt(batch))
    features = model.writer.read(visual, batch["input_ids"], batch["context"])
    points, sure = _placed(model, features)
    if points is None:
        raise ValueError("this model was made without places of words, and finds nothing; one with location_points=2 is wanted.")
    boxes = boxes_of_points(points, batch["placed"]).float().clamp(0, 1)
    scores = [None] * len(boxes) if sure is None else sure[batch["placed"]].tolist()
    regions: list[Region | None] = [_region(*box) for box in boxes.tolist()]
    frame = processor.plan((questions[0].images[0].width, questions[0].images[0].height))
    boxes_px = boxes * boxes.new_tensor([frame.sx, frame.sy]).repeat(2)
    rows = [number for number, question in enumerate(questions) if _asked(question).startswith(OUTLINE)]
    if rows:
        logits, ious = model.draw_masks(sight, batch["image"][rows], boxes_px[rows], visual[rows], features[rows], batch["input_ids"][rows])
        for number, bits, iou in zip(rows, _cut(logits[:, 0].float(), frame), ious[:, 0].float().clamp(0, 1).tolist(), strict=True):
            regions[number], scores[number] = encode_mask(bits) if bits.any() else None, iou
    for question, region, score in zip(questions, regions, scores, strict=True):
        yield _tied(phrase_of(_asked(question)) or "", region, score)


def _placed(model: _Model, features: Float[Tensor, "rows length width"]) -> tuple[Tensor | None, Tensor | None]:
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


def _everything(question: Example, model: _Model, processor: _Processor, sight: PixelSight, options: Options) -> Answer:
    """Everything that is detected, one after the other, each in words of its own with its box and the detector's score, the surest first."""
    frame = processor.plan((question.images[0].width, question.images[0].height))
    boxes, scores = model.detect(sight, [(frame.sx, frame.sy)])
    there = scores[0] > 0
    fractions = (boxes[0][there].float() / boxes.new_tensor([frame.sx, frame.sy], dtype=torch.float32).repeat(2)).clamp(0, 1)
    regions = [_region(*box) for box in fractions.tolist()]
    asks = [replace(question, turns=(Turn("user", ask_object(region)),)) for region in regions]
    chunks = [asks[start : start + options.batch] for start in range(0, len(asks), options.batch)]
    told = [answer for chunk in chunks for answer in _write(_batch(chunk, model, processor), model, processor, sight, options)]
    said = [_tied(answer.text, region, score).said for answer, region, score in zip(told, regions, scores[0][there].tolist(), strict=True)]
    whole = say_everything(said)
    return Answer(whole, "stop", whole.text)


def _tied(words: str, region: Region | None, score: float | None) -> Answer:
    """Words that mean one region, or nothing in the picture."""
    span = Span(0, len(words)) if region is None else Span(0, len(words), (region,), () if score is None else (score,))
    return Answer(GroundedText(words, (span,)), "stop", words)

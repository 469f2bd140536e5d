"""Examples to PixelLLM's rows (a prompt, what is asked, what is said and where), and what it says back to words with their places."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, PreTrainedTokenizerBase

from foveal.geometry import Box, Frame, Mask, Point, Region, Trace, bounding_box, decode_mask
from foveal.grounding import Example, GroundedText, Span, Turn
from foveal.grounding.wordings.pixel_llm import EVERYTHING, TEMPLATES, VERBS, context_of, phrase_of
from foveal.models.losses import IGNORED
from foveal.models.pixel_llm.config import PixelLLMConfig
from foveal.models.pixel_llm.writer import special_tokens
from foveal.models.processing import Processor, pixels_of
from foveal.vision import choose_points

__all__ = ["PixelLLMProcessor"]

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_POINTS = 5
"""Tokens of every prompt."""


@dataclass(slots=True)
class _Row:
    """A prompt of image `image`, what is asked, and the text with the places of its tokens."""

    image: int
    region: Region | None
    context: list[int]
    text: list[int]
    learnt: bool = False
    places: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    mask: Mask | None = None


class PixelLLMProcessor(Processor):
    """Turns examples into what `PixelLLMForConditionalGeneration` takes, and what it says into `GroundedText`.

    A row is one question and its answer: what was said before is not read (the release has no dialogue). The one region in a question is
    its prompt, a mask by the box around it; without one it is the whole picture. `begin_id`, `end_id` and `pad_id` are the language model's;
    the other values are fields of `PixelLLMConfig`. `antialias` False resizes as the release did, for its weights.
    """

    templates, verbs = TEMPLATES, VERBS

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        side: int = 384,
        text_length: int = 128,
        context_length: int = 32,
        begin_id: int = 101,
        end_id: int = 102,
        pad_id: int = 0,
        antialias: bool = True,
        template: str = "pixel_llm",
    ) -> None:
        super().__init__(tokenizer)
        self.side, self.text_length, self.context_length = side, text_length, context_length
        self.begin_id, self.end_id, self.pad_id = begin_id, end_id, pad_id
        self.antialias, self.template = antialias, template
        self.prepare()

    @classmethod
    def from_config(cls, config: PixelLLMConfig, tokenizer: PreTrainedTokenizerBase, **changes: Any) -> "PixelLLMProcessor":
        """The processor of a model with this configuration."""
        begin, end, pad = special_tokens(config.text_config)
        ends = {"begin_id": begin, "end_id": end, "pad_id": pad}
        named = {name: getattr(config, name) for name in ("side", "text_length", "context_length", "template")}
        return cls(tokenizer, **(named | ends | changes))

    @property
    def stop_id(self) -> int:
        """The token that ends a text."""
        return self.end_id

    def plan(self, size: tuple[int, int]) -> Frame:
        """Where an image of `size` (width, height) lies on the input: its longer side is the input's, its top left corner too."""
        longest = max(size)
        width, height = (max(1, round(self.side * side / longest)) for side in size)
        return Frame(size, (self.side, self.side), float(width), float(height))

    def see(self, images: Sequence[Image.Image]) -> BatchFeature:
        """`pixel_values` "images 3 side side" from 0 to 1, and `real` "images side side": false where there is padding."""
        pixels = torch.zeros(len(images), 3, self.side, self.side)
        real = torch.zeros(len(images), self.side, self.side, dtype=torch.bool)
        for number, image in enumerate(images):
            frame = self.plan(image.size)
            width, height = int(frame.sx), int(frame.sy)
            pixels[number, :, :height, :width] = self._resized(image.convert("RGB"), width, height)
            real[number, :height, :width] = True
        return BatchFeature({"pixel_values": pixels, "real": real})

    def _resized(self, image: Image.Image, width: int, height: int) -> Float[Tensor, "3 {height} {width}"]:
        if self.antialias:
            image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return pixels if self.antialias else functional.interpolate(pixels[None], (height, width), mode="bilinear")[0]

    def encode(
        self,
        examples: Sequence[Example],
        *,
        train: bool = False,
        look: bool = True,
        rng: np.random.Generator | None = None,
        padding_side: str | None = None,
    ) -> BatchFeature:
        """Rows of examples as tensors: `boxes_px`, `points_px`, `point_labels`, `image`, `context`, `sizes`; with `train`, a row for each question
        with its answer, and `input_ids`, `labels`, `places`, `placed`, and masks where answers have some; without, the last question of each,
        and, where it asks for a place, the expression as `input_ids`. What `Verbs.dense_captions` asks for is no row in training: the regions of
        its answer are what the detector is to find, `objects` of the images `searched`.

        Rows are padded on the right, whatever `padding_side`; `rng` is not used, since nothing is drawn. ValueError for a question of more than
        one region, or one that is too long, and where nothing is asked that makes a row.
        """
        rows: list[_Row] = []
        frames: list[Frame] = []
        things: list[tuple[int, Sequence[Region]]] = []
        pictures = [picture for example in examples for picture in example.images]
        for example in examples:
            if not example.images:
                raise ValueError(f"example {example.id!r} has no image; one is wanted.")
            for asked, answer in _pairs(example, train):
                if train and answer and asked.said.text == EVERYTHING:
                    things.append((len(frames), answer.said.regions))
                else:
                    rows.append(self._row((asked, answer), len(frames), example, train))
            frames += [self.plan((picture.width, picture.height)) for picture in example.images]
        if not rows:
            raise ValueError(
                f"nothing is asked that is answered in words of {len(examples)} examples, the first {examples[0].id!r}; a row is wanted."
            )
        batch = self._prompts(rows, frames) | self._texts(rows, frames, train) | _objects(things, frames)
        batch["sizes"] = torch.tensor([[frame.sy, frame.sx] for frame in frames])
        return BatchFeature({**batch, **(self.see([pixels_of(picture) for picture in pictures]) if look else {})})

    def decode(
        self,
        ids: Tensor | Sequence[Sequence[int]],
        about: Sequence[Any] | None = None,
        points: Float[Tensor, "rows length points 2"] | None = None,
        scores: Float[Tensor, "rows length"] | None = None,
    ) -> list[GroundedText]:
        """What was said in `ids` up to the end, each word with its place: the box around the corners of its pieces, or the middle of their points.

        `points` are fractions of the picture, `scores` those of each token's place; without points, words alone. `about` is not needed.
        """
        return [
            self._grounded(row, None if points is None else points[number].float().cpu().numpy(), None if scores is None else scores[number].tolist())
            for number, row in enumerate(ids)
        ]

    def _grounded(self, row: Tensor | Sequence[int], points: np.ndarray | None, scores: list[float] | None) -> GroundedText:
        kept = [(place, int(token)) for place, token in enumerate(row) if place or int(token) != self.begin_id]
        end = next((number for number, (_, token) in enumerate(kept) if token in (self.end_id, self.pad_id)), len(kept))
        kept = kept[:end]
        texts = [self._said([token for _, token in kept[: number + 1]]) for number in range(len(kept))]
        text = texts[-1] if texts else ""
        if points is None:
            return GroundedText(text)
        ends = np.array([len(said) for said in texts])
        ends = np.minimum.accumulate(ends[::-1])[::-1]  # half a character is spelt longer than the whole
        starts = np.append(0, ends[:-1]) if len(ends) else ends
        spans = []
        for word in _WORD.finditer(text):
            pieces = [kept[number][0] for number in np.flatnonzero((starts < word.end()) & (ends > word.start()))]
            score = None if scores is None or not pieces else float(np.mean([scores[piece] for piece in pieces]))
            if pieces:
                spans.append(Span(word.start(), word.end(), (_place(points[pieces]),), () if score is None else (score,)))
        return GroundedText(text, tuple(spans))

    def _said(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)).lstrip()

    def _row(self, turns: tuple[Turn, Turn | None], first: int, example: Example, train: bool) -> _Row:
        asked, answer = turns
        regions = asked.said.regions
        if len(regions) > 1:
            raise ValueError(f"a question with {len(regions)} regions was given; PixelLLM looks at one place at a time.")
        region = regions[0] if regions else None
        phrase = phrase_of(asked.said.text)
        context = [*self._ids(context_of(asked.said.text))[0], self.end_id]
        if phrase is not None:  # an expression is read as a text too, so that of a long one less is said here
            context = [*context[:-1][: self.context_length - 1], self.end_id]
        if len(context) > self.context_length:
            raise ValueError(f"a question of {len(context)} tokens was given; at most {self.context_length} are read.")
        row = _Row(first + (region.image if region else 0), region, context, [self.begin_id])
        if phrase is not None:
            ids, _ = self._ids(phrase)
            row.text += [*ids[: self.text_length - 2], self.end_id]  # the last word has the place, so the end is kept
            row.places = _whole(answer, len(row.text) - 2)
            row.mask = next((found for found in answer.said.regions if isinstance(found, Mask)), None) if answer else None
        elif answer is not None and train:
            ids, offsets = self._ids(answer.said.text)
            row.text += [*ids, self.end_id][: self.text_length - 1]
            row.places = {place: box for place, box in _placed(answer.said, offsets) if place < len(row.text)}
            row.learnt = True
        return row

    def _ids(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of what a user wrote, control tokens spelt out, and where in it each stands."""
        special = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special} - {self.tokenizer.unk_token_id}
        ids, offsets = [], []
        for token, (start, end) in self._pieces(text):
            found = [(token, (start, end))]
            if token in special:  # of some vocabularies they are words like any other: no letter alone is one
                found = [(piece, (place, place + 1)) for place in range(start, end) for piece, _ in self._pieces(text[place])]
            ids += [piece for piece, _ in found if piece not in special]
            offsets += [place for piece, place in found if piece not in special]
        return ids, offsets

    def _pieces(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        return list(zip(found["input_ids"], found["offset_mapping"], strict=True))

    def _prompts(self, rows: Sequence[_Row], frames: Sequence[Frame]) -> dict[str, Tensor]:
        boxes = torch.zeros(len(rows), 4)
        traces = [torch.zeros(0, 2)] * len(rows)
        for number, row in enumerate(rows):
            frame = frames[row.image]
            match row.region:
                case Point(x, y):
                    traces[number] = torch.tensor([[x * frame.sx, y * frame.sy]])
                case Trace(way):
                    traces[number] = torch.tensor(way, dtype=torch.float32) * torch.tensor([frame.sx, frame.sy])
                case region:
                    boxes[number] = torch.tensor(frame.to(region or Box(0, 0, 1, 1)))
        batch = {"boxes_px": boxes, "image": torch.tensor([row.image for row in rows])}
        if any(len(trace) for trace in traces):
            labels = pad_sequence([torch.ones(len(trace), dtype=torch.long) for trace in traces], True, -1)
            points, kinds = choose_points(pad_sequence(traces, True), labels, _POINTS - 1)
            batch |= {"points_px": points, "point_labels": kinds}
        contexts = [torch.tensor(row.context) for row in rows]
        return batch | {"context": pad_sequence(contexts, True, self.pad_id)}

    def _texts(self, rows: Sequence[_Row], frames: Sequence[Frame], train: bool) -> dict[str, Tensor]:
        if not all(len(row.text) > 1 for row in rows):
            return {}
        ids = pad_sequence([torch.tensor(row.text) for row in rows], True, self.pad_id)
        batch = {"input_ids": ids, "placed": torch.zeros(ids.shape, dtype=torch.bool)}
        places, labels = torch.zeros(*ids.shape, 2, 2), torch.full_like(ids, IGNORED)
        for number, row in enumerate(rows):
            frame = frames[row.image]
            scale = torch.tensor([frame.sx, frame.sy])
            for place, box in row.places.items():
                places[number, place], batch["placed"][number, place] = torch.tensor(box).view(2, 2) * scale, True
            if row.learnt:
                labels[number, 1 : len(row.text)] = ids[number, 1 : len(row.text)]
            elif not train:
                batch["placed"][number, len(row.text) - 2] = True
        if train:
            batch |= {"places": places, "labels": labels}
            if any(row.mask for row in rows):
                batch |= self._masks(rows, frames)
        return batch

    def _masks(self, rows: Sequence[_Row], frames: Sequence[Frame]) -> dict[str, Tensor]:
        masks = torch.zeros(len(rows), self.side, self.side, dtype=torch.bool)
        for number, row in enumerate(rows):
            if row.mask is not None:
                width, height = int(frames[row.image].sx), int(frames[row.image].sy)
                bits = torch.from_numpy(decode_mask(row.mask)).float()[None, None]
                masks[number, :height, :width] = functional.interpolate(bits, (height, width), mode="nearest-exact")[0, 0] > 0
        return {"masks": masks, "masked": torch.tensor([row.mask is not None for row in rows])}


def _pairs(example: Example, train: bool) -> Iterator[tuple[Turn, Turn | None]]:
    """Each question with its answer; without `train` the last question alone."""
    turns = example.turns
    asked = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if not asked:
        raise ValueError(f"example {example.id!r} asks nothing; a turn of the user's is wanted.")
    if not train:
        yield turns[asked[-1]], None
        return
    for number in asked:
        if number + 1 < len(turns):
            yield turns[number], turns[number + 1]


def _objects(things: Sequence[tuple[int, Sequence[Region]]], frames: Sequence[Frame]) -> dict[str, Tensor]:
    """`objects`, boxes "searched most 4" in pixels of the input of everything in a picture, and `searched`, which picture each row is of."""
    if not things:
        return {}
    boxes = []
    for first, regions in things:
        image = first + (regions[0].image if regions else 0)
        boxes.append((image, torch.tensor([frames[image].to(bounding_box(region)) for region in regions]).view(-1, 4)))
    objects = pad_sequence([some for _, some in boxes], True)
    return {"objects": objects, "searched": torch.tensor([image for image, _ in boxes])}


def _placed(said: GroundedText, offsets: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """The box of each token, counted with the one that begins the text, whose words have a place."""
    for place, (start, end) in enumerate(offsets, 1):
        span = next((span for span in said.spans if span.regions and span.start < end and start < span.end), None)
        if span is not None:
            yield place, _corners(span.regions)


def _whole(answer: Turn | None, place: int) -> dict[int, tuple[float, float, float, float]]:
    """The one place of an expression, at its last token."""
    return {place: _corners(answer.said.regions)} if answer is not None and answer.said.regions else {}


def _corners(regions: Sequence[Region]) -> tuple[float, float, float, float]:
    boxes = [bounding_box(region) for region in regions]
    return min(box.x0 for box in boxes), min(box.y0 for box in boxes), max(box.x1 for box in boxes), max(box.y1 for box in boxes)


def _place(points: np.ndarray) -> Region:
    """The box around points [pieces points 2], within the picture; their middle where they make none."""
    flat = points.reshape(-1, 2).clip(0, 1)
    (x0, y0), (x1, y1) = flat.min(0).tolist(), flat.max(0).tolist()
    return Box(x0, y0, x1, y1) if x1 > x0 and y1 > y0 and points.shape[1] > 1 else Point((x0 + x1) / 2, (y0 + y1) / 2)

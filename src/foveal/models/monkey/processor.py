"""Examples to Monkey's tensors and its words back to places: canvas, windows, placeholders, boxes in words, labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase

from foveal.geometry import Box, Frame
from foveal.grounding import Example, GroundedText
from foveal.grounding.formats import TagFormat
from foveal.grounding.wordings.monkey import TEMPLATES, VERBS, cue_for, image_opening
from foveal.models.monkey.config import MonkeyConfig
from foveal.models.processing import IMAGE_MARK, ConversationProcessor, Piece, Row, turns_of, without_marks
from foveal.vision import CLIP_COLOURS, TilePlan, cut_windows, normalise, shrink, windows

__all__ = ["MonkeyProcessor"]


class MonkeyProcessor(ConversationProcessor):
    """Turns examples into what `MonkeyForConditionalGeneration` takes, and what it says into `GroundedText`.

    `tokens` are those of a window and of the whole picture. `colours` are (mean, deviation) of red, green and blue. Every other value is
    the field of `MonkeyConfig` of that name.
    """

    templates, verbs = TEMPLATES, VERBS
    region_token_id = -1
    answers_apart = True
    said_tokens = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>")

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        canvas: Sequence[int] = (896, 896),
        window: int = 448,
        stride: int | None = None,
        windows: bool = True,
        overview: bool = True,
        tokens: Sequence[int] = (256, 256),
        kept_tokens: int = 0,
        colours: Sequence[Sequence[float]] = CLIP_COLOURS,
        bins: int = 1000,
        template: str = "monkey",
        image_token_id: int | None = None,
        context_length: int = 2048,
    ) -> None:
        super().__init__(tokenizer)
        self.canvas, self.window, self.stride = list(canvas), window, stride
        self.windows, self.overview, self.tokens, self.kept_tokens = windows, overview, list(tokens), kept_tokens
        self.colours = [list(row) for row in colours]
        self.bins, self.template, self.context_length = bins, template, context_length
        self.image_token_id = tokenizer.convert_tokens_to_ids("<imgpad>") if image_token_id is None else image_token_id
        self.prepare()

    @classmethod
    def from_config(cls, config: MonkeyConfig, tokenizer: PreTrainedTokenizerBase, **other: Any) -> "MonkeyProcessor":
        """The processor of a model: everything that its configuration fixes is taken from there, `other` values go before."""
        names = ["canvas", "window", "stride", "windows", "overview", "kept_tokens", "bins", "template", "image_token_id", "context_length"]
        tokens = (config.tokens(config.window, config.window), config.tokens(*config.view_size))
        return cls(tokenizer, **({name: getattr(config, name) for name in names} | {"tokens": tokens} | other))

    def plan(self, size: tuple[int, int]) -> TilePlan:
        """The windows of an image of `size` (width, height), and the whole; every image is stretched over the one canvas."""
        canvas = (self.canvas[0], self.canvas[1])
        return windows(size, canvas, self.window, self.stride) if self.windows else TilePlan(Frame.stretch(size, canvas), (), 0, 0)

    def slots(self, plan: TilePlan) -> int:
        """Image placeholders: those of every window, or as many of them as are kept, and those of the whole."""
        near = len(plan.tiles) * self.tokens[0]
        return min(near, self.kept_tokens or near) + (self.tokens[1] if self.overview or not self.windows else 0)

    def see(self, images: Sequence[Image.Image]) -> BatchFeature:
        """Upright RGB images as `tile_values` (the windows of all images), `pixel_values` (the whole of each) and `grids`."""
        width, height = self.canvas
        pixels = [np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) for image in images]
        canvas = normalise(np.stack(pixels) if pixels else np.zeros((0, height, width, 3), np.uint8), *self.colours)
        if not self.windows:
            return BatchFeature({"pixel_values": canvas})
        plan = self.plan((width, height))
        whole = shrink(canvas, self.window) if self.overview and pixels else canvas[:0, :, : self.window, : self.window]
        cut = cut_windows(canvas, self.window, self.stride)
        return BatchFeature({"pixel_values": whole, "tile_values": cut, "grids": torch.tensor([[plan.rows, plan.cols]] * len(pixels)).view(-1, 2)})

    @property
    def places(self) -> TagFormat:
        """How this model spells places."""
        return TagFormat(self.bins)

    def write_example(self, example: Example, *, train: bool = False) -> Row:
        """One example as a row of `batch`. Without `train` it ends with the last question, and the cue of an answer.

        ValueError for turns that do not alternate, and for a region that is no box: Monkey is pointed at with a box in words.
        """
        turns = turns_of(example, train=train)
        sizes = [(picture.width, picture.height) for picture in example.images]
        template, frame = TEMPLATES[self.template], Frame.stretch(sizes[0] if sizes else (1000, 1000))
        openings = "".join(image_opening(self.template, number, IMAGE_MARK) for number in range(1, len(sizes) + 1))
        pieces = [Piece(template.opening)]
        for turn in turns:
            said = replace(turn.said, text=without_marks(turn.said.text))
            if turn.role == "user":
                pieces += [Piece(template.user_opening + openings), *self._words(said, frame)]
                pieces += [Piece(cue_for(said.text.rstrip(), self.template) + template.user_closing + template.cue)]
                openings = ""
            else:
                pieces += [Piece(text, True, trusted=own) for text, own in self.places.parts(said, frame)]
                pieces += [Piece(template.answer_closing, True)]
        return self.write(pieces, [self.slots(self.plan(size)) for size in sizes]), [], sizes

    def _words(self, said: GroundedText, frame: Frame) -> list[Piece]:
        for region in said.regions:
            if not isinstance(region, Box):
                kind = type(region).__name__.lower()
                raise ValueError(
                    f"Monkey can be pointed at with a box only, and a {kind} was given; ferret-v2-nano and other Ferrets take any region."
                )
        parts = self.places.parts(said, frame)
        if parts and not parts[-1][1]:
            parts[-1] = (parts[-1][0].rstrip(), False)  # the blank before the answer is the cue's
        return [Piece(text, trusted=own) for text, own in parts]

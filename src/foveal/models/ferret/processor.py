"""Examples to Ferret's tensors and its words back to places: tiles, placeholders, coordinates, points of regions, labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, PreTrainedTokenizerBase

from foveal.geometry import Frame, Region, points_within, region_seed
from foveal.grounding import Example, GroundedText, Picture, region_limits
from foveal.grounding.formats import BracketFormat
from foveal.grounding.wordings.ferret import TEMPLATES
from foveal.models.ferret.config import FerretConfig
from foveal.models.ferret.fusion import kept_cells
from foveal.models.losses import IGNORED
from foveal.models.processing import IMAGE_MARK, REGION_MARK, Piece, Processor, Written, conversation, without_marks
from foveal.vision import TilePlan, any_resolution, cut, normalise

__all__ = ["CLIP_COLOURS", "EVEN_COLOURS", "IMAGENET_COLOURS", "FerretProcessor", "Row"]

CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
EVEN_COLOURS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Row = tuple[Written, list[Region], list[tuple[int, int]]]
"""One conversation: its tokens and labels, the regions that stand in it, and the (width, height) of its images."""


class FerretProcessor(Processor):
    """Turns examples into what `FerretForConditionalGeneration` takes, and what it says into `GroundedText`.

    `colours` and `tile_colours` are (mean, deviation) of red, green and blue. `image_token_id` and `region_token_id` default to those of
    `<image>` and `<region_fea>` in the tokenizer. Every other value is the field of `FerretConfig` of that name.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        overview_side: int = 336,
        tile_side: int = 336,
        overview_cells: int = 24,
        tile_cells: int = 24,
        grids: Sequence[Sequence[int]] = (),
        merge: str = "spatial",
        colours: Sequence[Sequence[float]] = CLIP_COLOURS,
        tile_colours: Sequence[Sequence[float]] = CLIP_COLOURS,
        sampler_points: int = 512,
        sampler_anchors: Sequence[int] = (128, 32),
        bins: int = 1000,
        coordinates: bool = True,
        features: bool = True,
        template: str = "ferret_v1",
        image_token_id: int | None = None,
        region_token_id: int | None = None,
        context_length: int = 2048,
    ) -> None:
        super().__init__(tokenizer)
        if template not in TEMPLATES:
            raise ValueError(f"template {template!r}; there are {', '.join(sorted(TEMPLATES))}.")
        self.overview_side, self.tile_side = overview_side, tile_side
        self.overview_cells, self.tile_cells = overview_cells, tile_cells
        self.grids = [list(grid) for grid in grids]
        self.merge = merge
        self.colours = [list(row) for row in colours]
        self.tile_colours = [list(row) for row in tile_colours]
        self.sampler_points, self.sampler_anchors = sampler_points, list(sampler_anchors)
        self.bins, self.coordinates, self.features = bins, coordinates, features
        self.template = template
        self.image_token_id = _id_of("<image>", tokenizer) if image_token_id is None else image_token_id
        self.region_token_id = _id_of("<region_fea>", tokenizer) if region_token_id is None else region_token_id
        self.context_length = context_length
        self.prepare()

    @classmethod
    def from_config(cls, config: FerretConfig, tokenizer: PreTrainedTokenizerBase, **other: Any) -> "FerretProcessor":
        """The processor of a model: everything that its configuration fixes is taken from there, `other` values go before."""
        names = ["overview_side", "tile_side", "overview_cells", "tile_cells", "grids", "merge", "sampler_points", "sampler_anchors"]
        names += ["bins", "coordinates", "features", "template", "image_token_id", "region_token_id", "context_length"]
        colours = _colours(config.vision_config.model_type)
        tile_colours = _colours((config.local_vision_config or config.vision_config).model_type)
        values = {name: getattr(config, name) for name in names} | {"colours": colours, "tile_colours": tile_colours}
        return cls(tokenizer, **(values | other))

    # -- seeing ---------------------------------------------------------------------------------------------------------------

    def plan(self, size: tuple[int, int]) -> TilePlan:
        """The overview and the tiles of an image of `size` (width, height)."""
        plan = any_resolution(size, self.tile_side, [(cols, rows) for cols, rows in self.grids])
        return replace(plan, overview=Frame.stretch(size, (self.overview_side, self.overview_side)))

    def slots(self, plan: TilePlan) -> int:
        """Image placeholders: one for each cell of the overview and of the tiles; `spatial_unpad` crops, and adds one for each row."""
        overview = self.overview_cells**2
        if self.merge == "spatial":
            return overview + plan.rows * plan.cols * self.tile_cells**2
        if not plan.rows:
            return overview + 1
        rows, cols = plan.rows * self.tile_cells, plan.cols * self.tile_cells
        across, down = kept_cells(plan.overview.image_size, rows, cols)
        return overview + (across.stop - across.start) * (down.stop - down.start + 1)

    def see(self, images: Sequence[Image.Image]) -> BatchFeature:
        """Upright RGB images as `pixel_values`, `tile_values` (the tiles of all images), `grids` (rows, columns) and `image_sizes`."""
        overviews, tiles, grids = [], [np.zeros((0, self.tile_side, self.tile_side, 3), np.uint8)], []
        for image in images:
            plan = self.plan(image.size)
            overview, parts = self._cut(image, plan)
            overviews.append(overview)
            tiles.append(parts)
            grids.append((plan.rows, plan.cols))
        return BatchFeature(
            {
                "pixel_values": normalise(np.stack(overviews), *self.colours),
                "tile_values": normalise(np.concatenate(tiles), *self.tile_colours),
                "grids": torch.tensor(grids),
                "image_sizes": torch.tensor([image.size for image in images]),
            }
        )

    def _cut(self, image: Image.Image, plan: TilePlan) -> tuple[np.ndarray, np.ndarray]:
        if self.overview_side == self.tile_side:
            return cut(image, plan)
        overview, _ = cut(image, TilePlan(plan.overview, (), 0, 0))
        return overview, cut(image, replace(plan, overview=Frame.stretch(image.size, (self.tile_side, self.tile_side))))[1]

    # -- asking ---------------------------------------------------------------------------------------------------------------

    @property
    def places(self) -> BracketFormat:
        """How this model spells places."""
        return BracketFormat(self.bins, REGION_MARK, self.coordinates, self.features)

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] = "",
        regions: Sequence[Region] | Sequence[Sequence[Region]] | None = None,
        *,
        look: bool = True,
        padding_side: str = "left",
        sizes: Sequence[tuple[int, int]] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Whole prompts as tensors: `<image>` and `<region_fea>` in `text` are placeholders, in the order of `images` and `regions`.

        With several texts, `regions` holds a list for each. A region's `image` counts among the images of its own text. Without `look`
        the images' pixels are left out; then `sizes`, (width, height) of each, may be given in their place. ValueError when placeholders
        and images or regions are not as many, or for tensors of another kind than PyTorch's.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r}; this processor makes PyTorch tensors ('pt') only.")
        texts = [text] if isinstance(text, str) else list(text)
        images = [images] if isinstance(images, Image.Image) else list(images or [])
        sizes = [image.size for image in images] if sizes is None else list(sizes)
        each = [regions or []] if isinstance(text, str) else regions or [[]] * len(texts)
        counts = [one.count("<image>") for one in texts]
        if sum(counts) != len(sizes) or len(each) != len(texts):
            raise ValueError(f"{sum(counts)} <image> in {len(texts)} texts for {len(sizes)} images, and regions for {len(each)} texts.")
        rows, first = [], 0
        for one, count, some in zip(texts, counts, cast(Sequence[Sequence[Region]], each), strict=True):
            marked = without_marks(one).replace("<image>", IMAGE_MARK).replace("<region_fea>", REGION_MARK)
            rows.append(self._row([Piece(marked)], list(some), sizes[first : first + count]))
            first += count
        batch = self.batch(rows, np.random.default_rng(), train=False, padding_side=padding_side)
        return BatchFeature({**batch, **(self.see(images) if look and images else {})})

    def encode(
        self,
        examples: Sequence[Example],
        *,
        train: bool = False,
        look: bool = True,
        rng: np.random.Generator | None = None,
        padding_side: str | None = None,
    ) -> BatchFeature:
        """Conversations as tensors. Pictures must hold PIL images in their `pixels`, unless `look` is False and pixels are not wanted.

        With `train`: whole conversations with `labels`, points of regions drawn anew by `rng`, texts cut at `context_length`, padded on
        the right. Without: up to the last question, left open for an answer, the same points for the same region, padded on the left.
        ValueError for a question longer than `context_length`.
        """
        rows = [self.write_example(example, train=train) for example in examples]
        rng = rng if rng is not None else np.random.default_rng()
        limits = [_limits(example) for example in examples] if train else ()
        batch = self.batch(rows, rng, train=train, padding_side=padding_side or ("right" if train else "left"), limits=limits)
        pictures = [picture for example in examples for picture in example.images]
        return BatchFeature({**batch, **(self.see([_pixels(picture) for picture in pictures]) if look and pictures else {})})

    def write_example(self, example: Example, *, train: bool = False) -> Row:
        """One example as a row of `batch`. Without `train` it ends with the last question."""
        turns = list(example.turns)
        while not train and turns and turns[-1].role == "assistant":
            turns.pop()
        if [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2) or not turns:
            raise ValueError(f"example {example.id!r} wants turns that alternate and begin with the user's.")
        sizes = [(picture.width, picture.height) for picture in example.images]
        messages: list[str] = []
        regions: list[Region] = []
        for turn in turns:
            said = replace(turn.said, text=without_marks(turn.said.text))
            frame = Frame.stretch(_size_for(said, sizes))
            messages.append(self.places.encode(said, frame, feature_slots=turn.role == "user"))
            if turn.role == "user" and self.features:
                regions += [region for span in sorted(said.spans, key=lambda span: span.end) for region in span.regions]
        messages[0] = f"{IMAGE_MARK}\n" * len(sizes) + messages[0]
        pieces = conversation(TEMPLATES[self.template], messages if train or len(messages) % 2 == 0 else [*messages, None])
        return self._row(pieces, regions, sizes)

    def _row(self, pieces: Sequence[Piece], regions: list[Region], sizes: list[tuple[int, int]]) -> Row:
        written = self.write(pieces, [self.slots(self.plan(size)) for size in sizes])
        if (count := written.ids.count(self.region_token_id)) != len(regions):
            raise ValueError(f"{count} <region_fea> in the text for {len(regions)} regions.")
        return written, regions, sizes

    def batch(
        self,
        rows: Sequence[Row],
        rng: np.random.Generator,
        *,
        train: bool,
        padding_side: str,
        limits: Sequence[Mapping[Region, Region | None]] = (),
    ) -> dict[str, Tensor]:
        """Rows as tensors of one batch, pixels apart: `input_ids`, `attention_mask`, `labels` with `train`, and the regions' inputs.

        `limits` say for each row what its regions are cut to before their points are drawn.
        """
        ids, labels, points, starts, image, first = [], [], [], [], [], 0
        for (written, regions, sizes), inside in zip(rows, limits or [{}] * len(rows), strict=True):
            kept = regions[: self._fit(written, train)]
            ids.append(torch.tensor(written.ids))
            labels.append(torch.tensor(written.labels))
            for region in kept:
                size = sizes[region.image] if region.image < len(sizes) else sizes[0]
                found = self.draw(region, size, rng if train else None, inside=inside.get(region))
                points.append(found[0])
                starts.append(found[1])
                image.append(first + region.image)
            first += len(sizes)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id or 0
        batch = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad, padding_side=padding_side),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=padding_side),
        }
        if train:
            batch["labels"] = pad_sequence(labels, batch_first=True, padding_value=IGNORED, padding_side=padding_side)
        if points:
            batch["region_points"] = torch.from_numpy(np.stack(points)).float()
            batch["region_starts"], batch["region_image"] = torch.tensor(starts), torch.tensor(image)
        return batch

    def _fit(self, written: Written, train: bool) -> int:
        """Cuts what is too long, and says how many regions are left in it."""
        if len(written.ids) > self.context_length:
            if not train:
                raise ValueError(f"a question of {len(written.ids)} tokens, images included; at most {self.context_length} are read.")
            if self.image_token_id in written.ids[self.context_length :]:
                raise ValueError(f"an image does not fit into {self.context_length} tokens.")
            del written.ids[self.context_length :], written.labels[self.context_length :]
        return written.ids.count(self.region_token_id)

    def draw(
        self, region: Region, size: tuple[int, int], rng: np.random.Generator | None = None, *, inside: Region | None = None
    ) -> tuple[np.ndarray, list[int]]:
        """Points of a region ("points 2", fractions) and the sampler's starts; without `rng`, the region itself is the seed."""
        rng = np.random.default_rng(region_seed(region, size)) if rng is None else rng
        points = points_within(region, size, self.sampler_points, rng, inside=inside)
        return points, [int(rng.integers(count)) for count in (self.sampler_points, *self.sampler_anchors[:-1])]

    # -- hearing --------------------------------------------------------------------------------------------------------------

    def decode(
        self,
        ids: Tensor | Sequence[Sequence[int]],
        about: Sequence[Example | Frame | tuple[int, int]] | None = None,
        logprobs: Tensor | Sequence[Sequence[float]] | None = None,
    ) -> list[GroundedText]:
        """What was said in newly generated `ids` (up to the stop), with its places.

        `about` are the examples, frames or image sizes of the answers. With the tokens' natural `logprobs` each place gets a score: the
        geometric mean of the probabilities of the tokens that spell its numbers.
        """
        frames = [None] * len(ids) if about is None else list(about)
        chances = [None] * len(ids) if logprobs is None else list(logprobs)
        return [self._decode(*one) for one in zip(ids, frames, chances, strict=True)]

    def _decode(self, ids: Tensor | Sequence[int], about: Example | Frame | tuple[int, int] | None, logprobs: Any) -> GroundedText:
        ids = [int(token) for token in ids]
        stops = [place for place, token in enumerate(ids) if token in (self.tokenizer.eos_token_id, self.stop_id)]
        ids = [token for token in ids[: stops[0] if stops else None] if token < len(self.tokenizer) and token >= 0]
        raw, ends = self._spelt(ids)

        def score(start: int, end: int) -> float | None:
            begins = [0, *ends[:-1]]
            said = [place for place in range(len(ids)) if ends[place] > start and begins[place] < end and ends[place] > begins[place]]
            numbers = [place for place in said if any(letter.isdigit() for letter in raw[begins[place] : ends[place]])]
            return float(np.exp(np.mean([float(logprobs[place]) for place in numbers]))) if numbers else None

        return self.places.decode(raw, _frame(about), None if logprobs is None else score)

    @property
    def stop_id(self) -> int | None:
        """The token that ends an answer."""
        stop = self.tokenizer.convert_tokens_to_ids(TEMPLATES[self.template].stop)
        return None if stop == self.tokenizer.unk_token_id else stop

    def _spelt(self, ids: list[int]) -> tuple[str, list[int]]:
        """The text of tokens, and where in it each ends."""
        said = self.tokenizer.backend_tokenizer.decode
        raw = said(ids, skip_special_tokens=True)
        pieces = [said([token], skip_special_tokens=True) for token in ids]
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        if "".join(pieces) != raw:  # a blank before a word is written only between words
            ends = [min(len(said(ids[: place + 1], skip_special_tokens=True)), len(raw)) for place in range(len(ids))]
        blank = len(raw) - len(raw.lstrip())  # between the cue and the answer; it belongs to neither
        return raw[blank:], [max(end - blank, 0) for end in ends]


def _id_of(token: str, tokenizer: PreTrainedTokenizerBase) -> int:
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(f"the tokenizer has no {token}: add it, or give its id.")
    return found


def _colours(model_type: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if "clip" in model_type:
        return CLIP_COLOURS
    return EVEN_COLOURS if "siglip" in model_type else IMAGENET_COLOURS


def _pixels(picture: Picture) -> Image.Image:
    if not isinstance(picture.pixels, Image.Image):
        raise ValueError("a picture without pixels was given: open it first (foveal.data.images), models read no files.")
    return picture.pixels


def _limits(example: Example) -> dict[Region, Region | None]:
    regions = [region for turn in example.turns if turn.role == "user" for region in turn.said.regions]
    return dict(zip(regions, region_limits(example), strict=True))


def _size_for(said: GroundedText, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The image that a message's places are measured on; sizes matter only in the last digit, so one for all of a message's will do."""
    if not sizes:
        return 1000, 1000
    named = {region.image for region in said.regions if region.image < len(sizes)}
    return sizes[min(named)] if named else sizes[0]


def _frame(about: Example | Frame | tuple[int, int] | None) -> Frame:
    if isinstance(about, Frame):
        return about
    if isinstance(about, Example):
        about = (about.images[0].width, about.images[0].height) if about.images else None
    return Frame.stretch(about or (1000, 1000))

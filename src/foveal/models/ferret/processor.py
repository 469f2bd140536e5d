"""Examples to Ferret's tensors and its words back to places: tiles, placeholders, coordinates, points of regions, labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase

from foveal.geometry import Frame, Region, points_within, region_seed
from foveal.grounding import Example
from foveal.grounding.formats import BracketFormat
from foveal.grounding.wordings.ferret import TEMPLATES, VERBS
from foveal.models.ferret.config import FerretConfig
from foveal.models.ferret.fusion import kept_cells
from foveal.models.processing import IMAGE_MARK, REGION_MARK, ConversationProcessor, Piece, Row, conversation, turns_of, without_marks
from foveal.vision import CLIP_COLOURS, EVEN_COLOURS, IMAGENET_COLOURS, TilePlan, any_resolution, cut, normalise

__all__ = ["FerretProcessor"]


class FerretProcessor(ConversationProcessor):
    """Turns examples into what `FerretForConditionalGeneration` takes, and what it says into `GroundedText`.

    `colours` and `tile_colours` are (mean, deviation) of red, green and blue. `image_token_id` and `region_token_id` default to those of
    `<image>` and `<region_fea>` in the tokenizer. Every other value is the field of `FerretConfig` of that name.
    """

    templates, verbs = TEMPLATES, VERBS

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

    def write_example(self, example: Example, *, train: bool = False) -> Row:
        """One example as a row of `batch`. Without `train` it ends with the last question."""
        turns = turns_of(example, train=train)
        sizes = [(picture.width, picture.height) for picture in example.images]
        frames = [Frame.stretch(size) for size in sizes] or [Frame.stretch((1000, 1000))]
        messages: list[str] = []
        regions: list[Region] = []
        for turn in turns:
            said = replace(turn.said, text=without_marks(turn.said.text))
            messages.append(self.places.encode(said, frames[0], feature_slots=turn.role == "user", frames=frames))
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

    def draw(
        self, region: Region, size: tuple[int, int], rng: np.random.Generator | None = None, *, inside: Region | None = None
    ) -> tuple[np.ndarray, list[int]]:
        """Points of a region ("points 2", fractions) and the sampler's starts; without `rng`, the region itself is the seed."""
        rng = np.random.default_rng(region_seed(region, size)) if rng is None else rng
        points = points_within(region, size, self.sampler_points, rng, inside=inside)
        return points, [int(rng.integers(count)) for count in (self.sampler_points, *self.sampler_anchors[:-1])]


def _id_of(token: str, tokenizer: PreTrainedTokenizerBase) -> int:
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(f"the tokenizer has no {token}: add it, or give its id.")
    return found


def _colours(model_type: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if "clip" in model_type:
        return CLIP_COLOURS
    return EVEN_COLOURS if "siglip" in model_type else IMAGENET_COLOURS

"""Ferret and Ferret-v2: a language model that sees an overview and tiles of an image, and is pointed at regions by sampled features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, initialization

from foveal.models.base import ConversationModel, Sight
from foveal.models.ferret.config import FerretConfig
from foveal.models.ferret.fusion import fuse_maps, kept_cells
from foveal.vision import (
    AveragePooling,
    Projector,
    RowColumnEmbedding,
    VisionTower,
    VisualSampler,
    build_backbone,
    merge_tiles,
)

__all__ = ["FerretFeatures", "FerretForConditionalGeneration"]


@dataclass(frozen=True)
class FerretFeatures:
    """What the encoders make of a batch of images, before any projector: one overview each, and all tiles one after the other."""

    overview: Float[Tensor, "images rows cols dim"]
    tiles: Float[Tensor, "tiles tile_rows tile_cols tile_dim"] | None = None


class FerretForConditionalGeneration(ConversationModel):
    """Ferret (arXiv 2310.07704), Ferret-v2 (arXiv 2404.07973) and Ferret-UI, over transformers' encoders and causal language models.

    Images are `pixel_values` (overviews), `tile_values` (the tiles of all images, row by row) and `grids` (tile rows and columns of
    each image, 0 and 0 without tiles); or `overview_features` and `tile_features` that `see` made of them earlier; or a `sight`.
    Each region is a row of `region_points` (fractions), of `region_starts` and of `region_image` (index into the batch's images).
    They fill the `<image>` and `<region_fea>` placeholders of `input_ids` in the order in which these stand there.
    """

    config: FerretConfig
    config_class = FerretConfig
    visual_inputs: ClassVar[tuple[str, ...]] = (
        "pixel_values",
        "tile_values",
        "grids",
        "image_sizes",
        "overview_features",
        "tile_features",
        "region_points",
        "region_starts",
        "region_image",
        "sight",
    )

    def __init__(self, config: FerretConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.overview_tower = VisionTower(build_backbone(config.vision_config), config.select_layer)
        self.local_tower = None
        if config.local_vision_config is not None:
            self.local_tower = VisionTower(build_backbone(config.local_vision_config), config.local_select_layer, normed=config.local_normed)
        self.projector = Projector(config.projector, config.vision_dim, width)
        self.local_projector = Projector(config.projector, config.local_dim, width) if self.local_tower is not None else None
        self.positions = RowColumnEmbedding(width, config.position_cells) if config.position_cells else None
        self.image_newline = nn.Parameter(torch.empty(width)) if config.merge == "spatial_unpad" else None
        self.map_adapters = None
        if config.map_adapters:
            dims = (config.vision_dim, config.local_dim) if self.local_tower is not None else (config.vision_dim,)
            self.map_adapters = nn.ModuleList(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, config.vision_dim)) for dim in dims)
        self.sampler = _sampler(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.finish_init()

    # -- seeing ---------------------------------------------------------------------------------------------------------------

    def see(
        self, pixel_values: Float[Tensor, "images 3 side side"], tile_values: Float[Tensor, "tiles 3 tile_side tile_side"] | None = None
    ) -> FerretFeatures:
        """Encoder features: one forward per encoder for all images and tiles. What frozen stages may keep."""
        pixel_values = pixel_values.to(self.dtype)
        if tile_values is None or not len(tile_values):
            return FerretFeatures(self.overview_tower(pixel_values))
        tile_values = tile_values.to(self.dtype)
        if self.local_tower is not None:
            return FerretFeatures(self.overview_tower(pixel_values), self.local_tower(tile_values))
        if pixel_values.shape[-1] != tile_values.shape[-1]:
            return FerretFeatures(self.overview_tower(pixel_values), self.overview_tower(tile_values))
        return FerretFeatures(*self.overview_tower(torch.cat([pixel_values, tile_values])).split([len(pixel_values), len(tile_values)]))

    def project(
        self, features: FerretFeatures, grids: Int[Tensor, "images 2"] | None = None, image_sizes: Int[Tensor, "images 2"] | None = None
    ) -> Sight:
        """Tokens and region maps from encoder features. `image_sizes` (width, height) is needed for `spatial_unpad` only.

        Tokens of an image are its overview's in raster order, then the merged tiles' in raster order of the whole grid.
        """
        overview, tiles = features.overview.to(self.dtype), features.tiles
        shapes = [(0, 0)] * len(overview) if grids is None else [(int(rows), int(cols)) for rows, cols in grids.tolist()]
        _check_grids(shapes, len(overview), 0 if tiles is None else len(tiles))
        near = self.projector(overview)
        far: list[Tensor | None] = [None] * len(overview)
        merged = far
        if tiles is not None and len(tiles):
            tiles = tiles.to(self.dtype)
            far = _merged((self.local_projector or self.projector)(tiles), shapes)
            merged = far if self.config.region_source == "projected" else _merged(self._adapted(tiles, -1), shapes)
        wide = near if self.config.region_source == "projected" else self._adapted(overview, 0)
        sizes = [None] * len(overview) if image_sizes is None else [(int(w), int(h)) for w, h in image_sizes.tolist()]
        tokens = tuple(self._tokens(*views) for views in zip(near, far, sizes, strict=True))
        maps = () if self.sampler is None else tuple(self._map(*views) for views in zip(wide, merged, strict=True))
        return Sight(tokens, maps)

    def encode_images(
        self,
        pixel_values: Float[Tensor, "images 3 side side"],
        tile_values: Float[Tensor, "tiles 3 tile_side tile_side"] | None = None,
        grids: Int[Tensor, "images 2"] | None = None,
        image_sizes: Int[Tensor, "images 2"] | None = None,
    ) -> Sight:
        """The sight of a batch of images: `project` of what `see` returns."""
        return self.project(self.see(pixel_values, tile_values), grids, image_sizes)

    def encode_regions(
        self,
        sight: Sight,
        points: Float[Tensor, "regions points 2"],
        image: Int[Tensor, " regions"] | None = None,
        starts: Int[Tensor, "regions blocks"] | None = None,
        *,
        neighbours: Sequence[Int[Tensor, "regions _ _"]] | None = None,
    ) -> Float[Tensor, "regions width"]:
        """One feature of the language model's width for each region; `image` defaults to the first, `starts` to 0."""
        if self.sampler is None:
            raise ValueError("this model has no region adapter (region_adapter='none'): point with coordinates only.")
        image = image if image is not None else torch.zeros(len(points), dtype=torch.long, device=points.device)
        if len(image) and int(image.max()) >= len(sight.maps):
            raise ValueError(f"a region points at image {int(image.max())} of {len(sight.maps)} images.")
        if isinstance(self.sampler, AveragePooling):
            return self.sampler(sight.maps, points, image, starts)
        if starts is None:
            starts = torch.zeros(len(points), len(self.config.sampler_anchors), dtype=torch.long, device=points.device)
        return self.sampler(sight.maps, points, image, starts, neighbours=neighbours)

    # -- transformers' doors ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Own parts start as PyTorch starts them (the reference does so too), which for the sampler's wide layers matters."""
        if isinstance(module, nn.Linear | nn.Conv1d):
            bound = module.weight[0].numel() ** -0.5
            initialization.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                initialization.uniform_(module.bias, -bound, bound)
        elif isinstance(module, RowColumnEmbedding):
            initialization.normal_(module.rows, std=0.02)
            initialization.normal_(module.columns, std=0.02)
        elif isinstance(module, FerretForConditionalGeneration):
            if module.image_newline is not None:
                initialization.normal_(module.image_newline, std=module.image_newline.numel() ** -0.5)
        else:
            super()._init_weights(module)

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _sight(
        self,
        pixel_values: Tensor | None = None,
        tile_values: Tensor | None = None,
        grids: Tensor | None = None,
        image_sizes: Tensor | None = None,
        overview_features: Tensor | None = None,
        tile_features: Tensor | None = None,
    ) -> Sight:
        if overview_features is not None:
            return self.project(FerretFeatures(overview_features, tile_features), grids, image_sizes)
        assert pixel_values is not None
        return self.encode_images(pixel_values, tile_values, grids, image_sizes)

    def _adapted(self, features: Tensor, which: int) -> Tensor:
        return features if self.map_adapters is None else self.map_adapters[which](features)

    def _tokens(
        self, near: Float[Tensor, "rows cols width"], far: Float[Tensor, "all_rows all_cols width"] | None, size: tuple[int, int] | None
    ) -> Float[Tensor, "slots width"]:
        if self.positions is not None:
            near = near + self.positions(*near.shape[:2])
            far = None if far is None else far + self.positions(*far.shape[:2])
        if self.image_newline is None:
            return near.flatten(0, 1) if far is None else torch.cat([near.flatten(0, 1), far.flatten(0, 1)])
        if far is None:
            return torch.cat([near.flatten(0, 1), self.image_newline[None]])
        if size is None:
            raise ValueError("merge='spatial_unpad' wants image_sizes: the (width, height) of each image.")
        far = far[kept_cells(size, *far.shape[:2])]
        ends = self.image_newline.expand(len(far), 1, -1)
        return torch.cat([near.flatten(0, 1), torch.cat([far, ends], dim=1).flatten(0, 1)])

    def _map(self, overview: Tensor, merged: Tensor | None) -> Tensor:
        if self.config.region_map == "overview" or (self.config.region_map == "tiles" and merged is None):
            return overview.permute(2, 0, 1)
        if self.config.region_map == "tiles":
            return merged.permute(2, 0, 1)
        return fuse_maps(overview, merged, self.config.map_fusion, self.config.map_dim - overview.shape[-1])


def _sampler(config: FerretConfig) -> nn.Module | None:
    width = config.text_config.hidden_size
    if config.region_adapter == "none":
        return None
    if config.region_adapter == "average":
        return AveragePooling(config.map_dim, width, read=config.sampler_read)
    return VisualSampler(
        config.map_dim,
        width,
        points=config.sampler_points,
        anchors=tuple(config.sampler_anchors),
        neighbours=config.sampler_neighbours,
        pooling=config.sampler_pooling,
        read=config.sampler_read,
    )


def _check_grids(shapes: Sequence[tuple[int, int]], num_images: int, num_tiles: int) -> None:
    wanted = sum(rows * cols for rows, cols in shapes)
    if len(shapes) != num_images or wanted != num_tiles:
        raise ValueError(f"grids {list(shapes)} want {len(shapes)} images and {wanted} tiles, got {num_images} and {num_tiles}.")


def _merged(tiles: Float[Tensor, "tiles rows cols dim"], shapes: Sequence[tuple[int, int]]) -> list[Tensor | None]:
    pieces = tiles.split([rows * cols for rows, cols in shapes])
    return [merge_tiles(piece, *shape) if shape[0] else None for piece, shape in zip(pieces, shapes, strict=True)]

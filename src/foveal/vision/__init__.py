"""Pixels to features: tiles, image encoders, connectors to a language model's width, features of regions. Knows no words."""

from foveal.vision.adapters import GroupedLora
from foveal.vision.connectors import Projector
from foveal.vision.positions import RowColumnEmbedding
from foveal.vision.qwen_vit import QwenVisionConfig, QwenVisionModel
from foveal.vision.resampler import Resampler
from foveal.vision.sampler import AveragePooling, VisualSampler
from foveal.vision.tables import PositionTable, resize_table, sine_table
from foveal.vision.tiling import (
    CLIP_COLOURS,
    EVEN_COLOURS,
    GRIDS_FERRET_UI,
    GRIDS_V2,
    IMAGENET_COLOURS,
    TilePlan,
    any_resolution,
    choose_grid,
    cut,
    merge_tiles,
    normalise,
    pad_square,
)
from foveal.vision.towers import VisionTower, build_backbone
from foveal.vision.windows import cut_windows, shrink, windows

__all__ = [
    "CLIP_COLOURS",
    "EVEN_COLOURS",
    "GRIDS_FERRET_UI",
    "GRIDS_V2",
    "IMAGENET_COLOURS",
    "AveragePooling",
    "GroupedLora",
    "PositionTable",
    "Projector",
    "QwenVisionConfig",
    "QwenVisionModel",
    "Resampler",
    "RowColumnEmbedding",
    "TilePlan",
    "VisionTower",
    "VisualSampler",
    "any_resolution",
    "build_backbone",
    "choose_grid",
    "cut",
    "cut_windows",
    "merge_tiles",
    "normalise",
    "pad_square",
    "resize_table",
    "shrink",
    "sine_table",
    "windows",
]

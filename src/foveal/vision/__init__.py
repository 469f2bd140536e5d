"""Pixels to features: tiles, image encoders, connectors to a language model's width, features of regions. Knows no words."""

from foveal.vision.adapters import AdapterHost, GroupedLora
from foveal.vision.between import TEXTMONKEY_BETWEEN, BetweenWindows
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
from foveal.vision.token_resampler import TokenResampler, least_redundant
from foveal.vision.towers import VisionTower, build_backbone
from foveal.vision.windows import cut_windows, shrink, windows

__all__ = [
    "CLIP_COLOURS",
    "EVEN_COLOURS",
    "GRIDS_FERRET_UI",
    "GRIDS_V2",
    "IMAGENET_COLOURS",
    "TEXTMONKEY_BETWEEN",
    "AdapterHost",
    "AveragePooling",
    "BetweenWindows",
    "GroupedLora",
    "PositionTable",
    "Projector",
    "QwenVisionConfig",
    "QwenVisionModel",
    "Resampler",
    "RowColumnEmbedding",
    "TilePlan",
    "TokenResampler",
    "VisionTower",
    "VisualSampler",
    "any_resolution",
    "build_backbone",
    "choose_grid",
    "cut",
    "cut_windows",
    "least_redundant",
    "merge_tiles",
    "normalise",
    "pad_square",
    "resize_table",
    "shrink",
    "sine_table",
    "windows",
]

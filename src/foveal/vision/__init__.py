"""Pixels to features: tiles, image encoders, connectors to a language model's width, features of regions. Knows no words."""

from foveal.vision.connectors import Projector
from foveal.vision.positions import RowColumnEmbedding
from foveal.vision.sampler import AveragePooling, VisualSampler
from foveal.vision.tiling import (
    GRIDS_FERRET_UI,
    GRIDS_V2,
    TilePlan,
    any_resolution,
    choose_grid,
    cut,
    merge_tiles,
    normalise,
    pad_square,
)
from foveal.vision.towers import VisionTower, build_backbone

__all__ = [
    "GRIDS_FERRET_UI",
    "GRIDS_V2",
    "AveragePooling",
    "Projector",
    "RowColumnEmbedding",
    "TilePlan",
    "VisionTower",
    "VisualSampler",
    "any_resolution",
    "build_backbone",
    "choose_grid",
    "cut",
    "merge_tiles",
    "normalise",
    "pad_square",
]

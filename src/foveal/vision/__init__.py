"""Pixels to features: tiles, image encoders, connectors to a language model's width, features of regions. Knows no words."""

from foveal.vision.adapters import AdapterHost, GroupedLora
from foveal.vision.between import TEXTMONKEY_BETWEEN, BetweenWindows
from foveal.vision.box_tensors import box_areas, clip_boxes, decode_boxes, encode_boxes, generalized_iou, have_extent, pair_overlaps
from foveal.vision.connectors import Projector
from foveal.vision.eva import EvaVisionConfig, EvaVisionModel
from foveal.vision.location_prompts import LocationPrompts, PromptExtractor, box_corners, choose_points
from foveal.vision.nms import Kept, nms
from foveal.vision.positions import RowColumnEmbedding
from foveal.vision.proposals import NOMINAL_STRIDES, BoxDecoder, Cells, ProposalHead, RegionHead, choose_regions, find_peaks, propose
from foveal.vision.pyramid import LEVEL_SCALES, SimplePyramid
from foveal.vision.qwen_vit import QwenVisionConfig, QwenVisionModel
from foveal.vision.region_pooling import level_of, pool_regions
from foveal.vision.resampler import Resampler
from foveal.vision.resizing import KeptSizes, resize_line, resize_maps, whole_patches
from foveal.vision.sam import SamEncoder
from foveal.vision.sampler import AveragePooling, VisualSampler
from foveal.vision.starting import lecun_normal_, start_layers
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
from foveal.vision.tower_pair import TowerMaps, TowerPair, coloured
from foveal.vision.towers import VisionTower, build_backbone, build_tower
from foveal.vision.two_way import TwoWayTransformer
from foveal.vision.windows import cut_windows, shrink, windows

__all__ = [
    "CLIP_COLOURS",
    "EVEN_COLOURS",
    "GRIDS_FERRET_UI",
    "GRIDS_V2",
    "IMAGENET_COLOURS",
    "LEVEL_SCALES",
    "NOMINAL_STRIDES",
    "TEXTMONKEY_BETWEEN",
    "AdapterHost",
    "AveragePooling",
    "BetweenWindows",
    "BoxDecoder",
    "Cells",
    "EvaVisionConfig",
    "EvaVisionModel",
    "GroupedLora",
    "Kept",
    "KeptSizes",
    "LocationPrompts",
    "PositionTable",
    "Projector",
    "PromptExtractor",
    "ProposalHead",
    "QwenVisionConfig",
    "QwenVisionModel",
    "RegionHead",
    "Resampler",
    "RowColumnEmbedding",
    "SamEncoder",
    "SimplePyramid",
    "TilePlan",
    "TokenResampler",
    "TowerMaps",
    "TowerPair",
    "TwoWayTransformer",
    "VisionTower",
    "VisualSampler",
    "any_resolution",
    "box_areas",
    "box_corners",
    "build_backbone",
    "build_tower",
    "choose_grid",
    "choose_points",
    "choose_regions",
    "clip_boxes",
    "coloured",
    "cut",
    "cut_windows",
    "decode_boxes",
    "encode_boxes",
    "find_peaks",
    "generalized_iou",
    "have_extent",
    "least_redundant",
    "lecun_normal_",
    "level_of",
    "merge_tiles",
    "nms",
    "normalise",
    "pad_square",
    "pair_overlaps",
    "pool_regions",
    "propose",
    "resize_line",
    "resize_maps",
    "resize_table",
    "shrink",
    "sine_table",
    "start_layers",
    "whole_patches",
    "windows",
]

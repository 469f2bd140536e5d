"""Scenes drawn by program: named cut-outs, coloured shapes and words on grounds, each exactly annotated, without end."""

from foveal.data.sources.scenes.atlas import COLOURS, CUTOUT_NAMES, SHAPE_NAMES, cutout, vocabulary
from foveal.data.sources.scenes.drawing import HELD_OUT, Drawing, SceneStyle, Thing, draw_scene, thing_mask

__all__ = [
    "COLOURS",
    "CUTOUT_NAMES",
    "HELD_OUT",
    "SHAPE_NAMES",
    "Drawing",
    "SceneStyle",
    "Thing",
    "cutout",
    "draw_scene",
    "thing_mask",
    "vocabulary",
]

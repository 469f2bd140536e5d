"""foveal: words tied to places. Point at anything in an image and ask; name it and get its box.

Names are loaded when they are first used, so that importing this package, and its command line's help, costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.data.images import ImageError, load_image
    from foveal.geometry import Box, Mask, Point, Region, Trace
    from foveal.grounding import Example, GroundedText, Note, Picture, Span, Turn
    from foveal.session import Answer, Options, Scene, Session
    from foveal.zoo import list_models

__all__ = [
    "Answer",
    "Box",
    "Example",
    "GroundedText",
    "ImageError",
    "Mask",
    "Note",
    "Options",
    "Picture",
    "Point",
    "Region",
    "Scene",
    "Session",
    "Span",
    "Trace",
    "Turn",
    "__version__",
    "list_models",
    "load_image",
]

__version__ = "0.1.0"

_HOMES = {
    "data.images": ("ImageError", "load_image"),
    "geometry": ("Box", "Mask", "Point", "Region", "Trace"),
    "grounding": ("Example", "GroundedText", "Note", "Picture", "Span", "Turn"),
    "session": ("Answer", "Options", "Scene", "Session"),
    "zoo": ("list_models",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"foveal.{module}"), name)
    raise AttributeError(f"module 'foveal' has no attribute {name!r}")

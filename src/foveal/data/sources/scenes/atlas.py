"""What scenes are made of: the names of the things, their pictures, and the colours that have a name."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

__all__ = ["ASSETS", "COLOURS", "CUTOUT_NAMES", "SHAPE_NAMES", "cutout", "vocabulary"]

ASSETS = Path(__file__).parent / "assets"
_PLACES: dict[str, tuple[int, int, int, int]] = {
    name: (left, top, width, height) for name, (left, top, width, height) in json.loads((ASSETS / "cutouts.json").read_text()).items()
}

CUTOUT_NAMES: tuple[str, ...] = tuple(_PLACES)
SHAPE_NAMES: tuple[str, ...] = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 38),
    "orange": (255, 138, 12),
    "yellow": (252, 220, 36),
    "green": (34, 150, 62),
    "blue": (36, 84, 214),
    "purple": (128, 44, 168),
    "pink": (252, 132, 190),
    "brown": (120, 72, 32),
    "black": (18, 18, 20),
    "white": (250, 250, 250),
}


@cache
def vocabulary(seed: int = 0, count: int = 112) -> tuple[str, ...]:
    """The names of one model's world, sorted: every shape, and `count` - 8 cut-outs drawn by `seed`.

    Raises `ValueError` where `count` asks for fewer names than there are shapes, or for more cut-outs than there are.

    >>> len(vocabulary()), "star" in vocabulary(), vocabulary() == vocabulary(1)
    (112, True, False)
    """
    most = len(SHAPE_NAMES) + len(CUTOUT_NAMES)
    if not len(SHAPE_NAMES) <= count <= most:
        raise ValueError(f"a vocabulary of {count} names was asked for; wanted is between {len(SHAPE_NAMES)} and {most}")
    chosen = np.random.default_rng(seed).permutation(len(CUTOUT_NAMES))[: count - len(SHAPE_NAMES)]
    return tuple(sorted((*SHAPE_NAMES, *(CUTOUT_NAMES[index] for index in chosen))))


@cache
def cutout(name: str) -> UInt8[np.ndarray, "height width 4"]:
    """The picture called `name` as red, green, blue and alpha, cut tight, its longer side about 108 px. Shared: not to be written to.

    Raises `ValueError` where no cut-out has this name.

    >>> cutout("cat").shape[2]
    4
    """
    if name not in _PLACES:
        raise ValueError(f"there is no cut-out called {name!r}; wanted is one of CUTOUT_NAMES, for instance {CUTOUT_NAMES[0]!r}")
    left, top, width, height = _PLACES[name]
    picture = _sheet()[top : top + height, left : left + width].copy()
    picture.setflags(write=False)
    return picture


@cache
def _sheet() -> UInt8[np.ndarray, "height width 4"]:
    with Image.open(ASSETS / "cutouts.webp") as image:
        return np.asarray(image.convert("RGBA"))

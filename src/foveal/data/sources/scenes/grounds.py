"""What lies under the things of a scene: a plain, graded or textured ground in one named colour, of low contrast."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from foveal.data.sources.scenes.atlas import COLOURS

__all__ = ["Colour", "Ground", "draw_ground", "mix"]

Colour = tuple[int, int, int]

_GREYED = {**COLOURS, "grey": (132, 132, 132)}


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A ground: its `said` ("plain blue", "gradient pink", "texture grey"), its RGB `image`, and the `colours` met in it."""

    said: str
    image: Image.Image
    colours: tuple[Colour, ...]


def draw_ground(rng: np.random.Generator, size: tuple[int, int]) -> Ground:
    """A ground of `size` (width, height) px. Every pixel is made by enlarging or tiling a small field, so large grounds stay cheap.

    >>> draw_ground(np.random.default_rng(0), (320, 240)).image.size
    (320, 240)
    """
    word = str(rng.choice(list(_GREYED)))
    first = _tinted(rng, word)
    match kind := str(rng.choice(["plain", "gradient", "texture"], p=[0.25, 0.25, 0.5])):
        case "plain":
            return Ground(f"plain {word}", Image.new("RGB", size, first), (first,))
        case "gradient":
            # The second end keeps part of the first, so that the ground as a whole still has its colour word.
            second = mix(first, _tinted(rng, str(rng.choice(list(_GREYED)))), rng.uniform(0.35, 0.65))
            field = _gradient(rng, size)
        case _:
            second = mix(first, (255, 255, 255) if sum(first) < 380 else (0, 0, 0), rng.uniform(0.08, 0.28))
            field = [_noise, _stripes, _checks, _dots][rng.choice(4, p=[0.55, 0.15, 0.15, 0.15])](rng, size)
    return Ground(f"{kind} {word}", ImageOps.colorize(field, first, second), (first, mix(first, second, 0.5), second))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour `share` of the way from `first` to `second`.

    >>> mix((0, 0, 0), (200, 100, 50), 0.5)
    (100, 50, 25)
    """
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _tinted(rng: np.random.Generator, word: str) -> Colour:
    """A quieter tone of a named colour: the things on it carry the loud ones."""
    base = _GREYED[word]
    match word:
        case "black":
            return mix(base, (255, 255, 255), rng.uniform(0.0, 0.12))
        case "white":
            return mix(base, (0, 0, 0), rng.uniform(0.0, 0.08))
        case "grey":
            return mix(base, (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0), rng.uniform(0.0, 0.35))
        case _:
            return mix(mix(base, (128, 128, 128), rng.uniform(0.0, 0.35)), (255, 255, 255), rng.uniform(0.05, 0.5))


def _gradient(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A grey image that rises evenly in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    across, down = np.cos(angle), np.sin(angle)
    corners = np.array([[-across - down, across - down], [down - across, across + down]])
    corners = (corners - corners.min()) / np.ptp(corners)
    field = Image.fromarray((255 * corners).astype(np.uint8))
    # From the middle of one pixel to the middle of the next: beyond them the resampling is flat.
    return field.resize(size, Image.Resampling.BILINEAR, box=(0.5, 0.5, 1.5, 1.5))


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Value _noise: random fields of three sizes, each finer one weaker, enlarged and added."""
    cell = rng.uniform(24, 120)
    middle = (max(4, size[0] // 4), max(4, size[1] // 4))
    total = np.zeros((middle[1], middle[0]), np.float32)
    for octave in range(3):
        rows, cols = (max(2, round(side * 2**octave / cell)) for side in (size[1], size[0]))
        field = Image.fromarray(rng.random((rows, cols), dtype=np.float32))
        total += np.asarray(field.resize(middle, Image.Resampling.BICUBIC)) * 0.55**octave
    total = (total - total.min()) / max(1e-6, float(np.ptp(total)))
    return Image.fromarray((255 * total).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _stripes(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Straight bands, level, upright or leaning by a whole step a line."""
    period = int(rng.integers(10, 64))
    slope = int(rng.integers(-1, 2))
    line = np.arange(2 * size[0] + 2 * size[1]) % period < period * rng.uniform(0.3, 0.7)
    pixels = np.where(line, np.uint8(255), np.uint8(0))
    if slope == 0:
        row = Image.fromarray(pixels[None, : max(size)])
        upright = row.crop((0, 0, size[0], 1)).resize(size, Image.Resampling.NEAREST)
        level = Image.fromarray(pixels[: size[1], None]).resize(size, Image.Resampling.NEAREST)
        return upright if rng.random() < 0.5 else level
    # A view whose next row starts one pixel later: slanted bands without computing a pixel.
    slanted = np.lib.stride_tricks.as_strided(pixels, (size[1], size[0]), (1, 1))
    return Image.fromarray(np.ascontiguousarray(slanted if slope > 0 else slanted[::-1]))


def _checks(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A chequered board."""
    cell = int(rng.integers(8, 56))
    tile = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((cell, cell), np.uint8))
    return _tiled(tile, size)


def _dots(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Round spots in rows."""
    cell = int(rng.integers(12, 56))
    ys, xs = np.mgrid[:cell, :cell] - (cell - 1) / 2
    tile = (255 * np.clip(cell * rng.uniform(0.2, 0.4) - np.hypot(xs, ys) + 0.5, 0, 1)).astype(np.uint8)
    return _tiled(tile, size)


def _tiled(tile: np.ndarray, size: tuple[int, int]) -> Image.Image:
    repeats = (-(-size[1] // tile.shape[0]), -(-size[0] // tile.shape[1]))
    return Image.fromarray(np.ascontiguousarray(np.tile(tile, repeats)[: size[1], : size[0]]))

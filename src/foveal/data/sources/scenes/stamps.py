"""Pictures of single things with alpha, ready to be laid on a ground: a turned cut-out, a coloured shape, a written word."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foveal.data.sources.scenes.atlas import ASSETS, COLOURS, SHAPE_NAMES, cutout
from foveal.data.sources.scenes.grounds import Colour, mix

__all__ = ["COMMON_WORDS", "FONTS", "SHORTEST_SIDE", "WORDS", "contrast", "cutout_stamp", "letter_edges", "shape_stamp", "text_stamp"]

SHORTEST_SIDE = 10
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
WORDS: tuple[str, ...] = tuple((ASSETS / "words.txt").read_text().split())
COMMON_WORDS: tuple[str, ...] = tuple((ASSETS / "common_words.txt").read_text().split())
"""A thousand words of three to nine letters, for models that learn to read."""
_LUMA = np.array([0.299, 0.587, 0.114])
_FINER = 3  # shapes are drawn this many times larger, then averaged down, for smooth edges


def cutout_stamp(rng: np.random.Generator, name: str, longer: float) -> Image.Image:
    """The cut-out `name` as RGBA, its visible part `longer` px on the longer side, a little turned, mirrored and tinted."""
    picture = Image.fromarray(cutout(name))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    saturation, brightness = rng.uniform(0.85, 1.15, 2)
    matrix = np.zeros((3, 4))
    matrix[:, :3] = brightness * (saturation * np.eye(3) + (1 - saturation) * _LUMA)
    tinted = picture.convert("RGB").convert("RGB", tuple(matrix.ravel()))
    tinted.putalpha(picture.getchannel("A"))
    turned = tinted.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, expand=True)
    return _fitted(turned.crop(_visible_box(turned)), longer)


def shape_stamp(rng: np.random.Generator, name: str, colour: str, longer: float) -> Image.Image:
    """The shape `name` filled with a named `colour` and outlined darker, as RGBA, about `longer` px on its longer side."""
    fill = _jittered(rng, COLOURS[colour])
    edge = mix(fill, (0, 0, 0), 0.4)
    loops = _turned_outline(name, rng.uniform(-15, 15))
    low, high = loops[0].min(axis=0), loops[0].max(axis=0)
    scale = _FINER * max(longer / float((high - low).max()), SHORTEST_SIDE / float((high - low).min()))
    thin = _FINER * max(1, round(0.025 * longer))
    # Half of the outline lies outside the loop: draw the loop smaller by that much.
    scale *= 1 - thin / float(((high - low) * scale).max())
    sides = (((high - low) * scale + thin) / _FINER + 2).astype(int)
    canvas = Image.new("RGBA", (int(sides[0]) * _FINER, int(sides[1]) * _FINER), (*edge, 0))
    draw = ImageDraw.Draw(canvas)
    for loop, paint in zip(loops, ((*fill, 255), (0, 0, 0, 0)), strict=False):
        points = [(float(x), float(y)) for x, y in (loop - low) * scale + (thin / 2 + _FINER / 2)]
        draw.polygon(points, fill=paint)
        draw.line([*points, points[0], points[1]], fill=(*edge, 255), width=thin, joint="curve")
    small = canvas.reduce(_FINER)
    return small.crop(_visible_box(small))


def text_stamp(said: str, font: str, colour: Colour, height: float) -> Image.Image:
    """The text `said` as RGBA, its ink about `height` px high, and never under `SHORTEST_SIDE` px wide."""
    _, top, _, bottom = _typeface(font, 64).getbbox(said)
    size = max(8, round(64 * height / (bottom - top)))
    while True:
        left, top, right, bottom = _typeface(font, size).getbbox(said)
        ink = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
        ImageDraw.Draw(ink).text((1 - left, 1 - top), said, fill=255, font=_typeface(font, size))
        box = _opaque(ink).getbbox()
        if box is not None and min(box[2] - box[0], box[3] - box[1]) >= SHORTEST_SIDE:
            break
        size += 2
    stamp = Image.new("RGBA", ink.size, (*colour, 0))
    stamp.putalpha(ink)
    return stamp.crop(box)


def letter_edges(said: str, font: str) -> np.ndarray:
    """Where each letter of a written text begins, and the last one ends: [len(said) + 1] fractions of the text's width.

    >>> letter_edges("ill", "DejaVuSansMono.ttf").round(2).tolist()
    [0.0, 0.33, 0.67, 1.0]
    """
    reached = np.array([_typeface(font, 64).getlength(said[:end]) for end in range(len(said) + 1)])
    return reached / reached[-1]


def contrast(first: Colour, second: Colour) -> float:
    """How far apart two colours look, 0 to about 765: the "redmean" weighting of the differences in red, green and blue."""
    mean_red = (first[0] + second[0]) / 2
    red, green, blue = (a - b for a, b in zip(first, second, strict=True))
    return float(np.sqrt((2 + mean_red / 256) * red**2 + 4 * green**2 + (2 + (255 - mean_red) / 256) * blue**2))


def _jittered(rng: np.random.Generator, colour: Colour) -> Colour:
    red, green, blue = (int(value) for value in np.clip(np.array(colour) + rng.integers(-12, 13, 3), 0, 255))
    return red, green, blue


def _opaque(alpha: Image.Image) -> Image.Image:
    """Which pixels count as the thing: those more than half covered."""
    return alpha.point([0] * 128 + [255] * 128)


def _visible_box(stamp: Image.Image) -> tuple[int, int, int, int]:
    return _opaque(stamp.getchannel("A")).getbbox() or (0, 0, *stamp.size)


def _fitted(stamp: Image.Image, longer: float) -> Image.Image:
    """`stamp` scaled to `longer` px, or so far that its visible part is still `SHORTEST_SIDE` px on its shorter side."""
    scale = max(longer / max(stamp.size), SHORTEST_SIDE / min(stamp.size))
    while True:
        size = (max(SHORTEST_SIDE, round(stamp.width * scale)), max(SHORTEST_SIDE, round(stamp.height * scale)))
        # Pillow multiplies colours by alpha before it resamples and divides after, so no dark rim appears; a kernel that is
        # nowhere negative draws no light one either.
        small = stamp.resize(size, Image.Resampling.BILINEAR)
        small = small.crop(_visible_box(small))
        if min(small.size) >= SHORTEST_SIDE:
            return small
        scale *= 1.05


@cache
def _typeface(font: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(ASSETS / font), size)


def _turned_outline(name: str, degrees: float) -> list[np.ndarray]:
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return [loop @ rotation.T for loop in _outline(name)]


@cache
def _outline(name: str) -> tuple[np.ndarray, ...]:
    """The closed loops of a shape around the origin, y downwards: the outer one first, then a hole if there is one."""
    full = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    round_loop = np.stack([np.sin(full), -np.cos(full)], axis=1)
    match name:
        case "circle":
            return (round_loop,)
        case "ring":
            return (round_loop, 0.55 * round_loop)
        case "square":
            return (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float),)
        case "triangle":
            return (np.array([(0, -1), (1.08, 0.85), (-1.08, 0.85)], float),)
        case "diamond":
            return (np.array([(0, -1.3), (0.85, 0), (0, 1.3), (-0.85, 0)], float),)
        case "star":
            radius = np.where(np.arange(10) % 2, 0.45, 1.0)[:, None]
            return (radius * round_loop[np.round(np.arange(10) * 7.2).astype(int)],)
        case "cross":
            a = 0.36
            return (np.array([(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)], float),)
        case "heart":
            xs = 16 * np.sin(full) ** 3
            ys = 13 * np.cos(full) - 5 * np.cos(2 * full) - 2 * np.cos(3 * full) - np.cos(4 * full)
            return (np.stack([xs, -ys], axis=1) / 16,)
        case _:
            raise ValueError(f"there is no shape called {name!r}; wanted is one of {', '.join(SHAPE_NAMES)}")

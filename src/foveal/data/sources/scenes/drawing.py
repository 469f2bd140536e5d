"""Draws one scene from one number: things of known name, colour, place and outline on a ground."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Int16, UInt8
from PIL import Image

from foveal.data.sources.scenes.atlas import COLOURS, CUTOUT_NAMES, SHAPE_NAMES, vocabulary
from foveal.data.sources.scenes.canvas import Canvas
from foveal.data.sources.scenes.grounds import Ground, draw_ground
from foveal.data.sources.scenes.stamps import FONTS, WORDS, contrast, cutout_stamp, shape_stamp, text_stamp
from foveal.geometry import Mask, encode_mask

__all__ = ["HELD_OUT", "Drawing", "SceneStyle", "Split", "Thing", "draw_scene", "split_named", "thing_mask"]

Split = Literal["train", "validation", "test"]
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "diamond"),
        ("orange", "cross"),
        ("yellow", "triangle"),
        ("green", "heart"),
        ("blue", "star"),
        ("purple", "circle"),
        ("pink", "ring"),
        ("brown", "square"),
    }
)
_LEAST_CONTRAST = 170.0  # on the scale of `contrast`, where black and white are about 765 apart
_LEAST_TEXT_CONTRAST = 250.0
_ROUNDS, _TRIES = 6, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStyle:
    """How scenes are made up: what is in them, how large they are, how often what happens.

    >>> SceneStyle(things=(3, 5)).things
    (3, 5)
    """

    names: tuple[str, ...] = field(default_factory=vocabulary)
    """The names of shapes and cut-outs that may appear."""
    sides: tuple[tuple[int, int, float], ...] = ((224, 448, 0.55), (448, 896, 0.25), (896, 1344, 0.20))
    """Ranges of the picture's two sides in px, each with its share of the pictures."""
    size: tuple[int, int] | None = None
    """(width, height) in px of all pictures, instead of `sides`."""
    longest_aspect: float = 2.0
    """The longer side of a picture is at most this many times the shorter."""
    things: tuple[int, int] = (3, 9)
    """Fewest and most things in a picture, texts included; fewer where `names` is shorter."""
    relative_sizes: tuple[float, float] = (0.08, 0.42)
    """Range of a thing's longer side as a share of the picture's shorter side."""
    sizes_px: tuple[int, int] = (12, 200)
    """Shortest and longest longer side of a thing, in px."""
    small_share: float = 0.20
    """Share of the things whose longer side is drawn from `small_px` instead."""
    small_px: tuple[int, int] = (12, 32)
    """Range of a small thing's longer side, in px."""
    shape_share: float = 0.22
    """Share of the things that are coloured shapes, where `names` has both shapes and cut-outs."""
    repeat_share: float = 0.25
    """Share of the pictures in which one name appears several times."""
    repeats: tuple[int, int] = (2, 4)
    """Fewest and most times that such a name appears."""
    text_share: float = 0.35
    """Share of the pictures with written texts."""
    texts: tuple[int, int] = (1, 2)
    """Fewest and most texts in such a picture."""
    text_px: tuple[int, int] = (12, 60)
    """Range of a text's height, in px."""
    words: tuple[str, ...] = WORDS
    """What texts say, as it stands or in capitals."""
    number_share: float = 0.35
    """Share of the texts that are a number below a thousand instead."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names if name not in CUTOUT_NAMES and name not in SHAPE_NAMES]:
            raise ValueError(f"scenes cannot draw {unknown[0]!r}; wanted are names of CUTOUT_NAMES or SHAPE_NAMES")
        if not self.names:
            raise ValueError("a scene style without names was given; wanted is at least one")


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a drawing. `box_px` holds its visible pixels tightly (x0, y0, x1, y1, right and bottom edges outside them).

    `colour` is a word of COLOURS for shapes and texts; `said` is what a text says, `font` the file of its typeface, and its `name` is "text".
    """

    name: str
    kind: Literal["cutout", "shape", "text"]
    box_px: tuple[float, float, float, float]
    colour: str | None
    said: str | None
    font: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A scene. `labels` is 0 on the ground and i + 1 where `things[i]` is seen; `ground` is a kind and a colour, "texture blue"."""

    id: str
    pixels: UInt8[np.ndarray, "height width 3"]
    labels: Int16[np.ndarray, "height width"]
    things: tuple[Thing, ...]
    ground: str


def split_named(name: str) -> Split:
    """The split of that name. ValueError where there is none."""
    if name not in _SPLITS:
        raise ValueError(f"no split {name!r} of scenes; the splits are {', '.join(_SPLITS)}")
    return _SPLITS[_SPLITS.index(name)]


def draw_scene(seed: int, split: Split = "train", style: SceneStyle = SceneStyle()) -> Drawing:
    """The scene with number `seed` of a split: the same numbers give the same scene, and no two splits share one.

    The (colour, shape) pairs of `HELD_OUT` are met in the test split alone. Raises `ValueError` for an unknown split or a seed below 0.

    >>> drawing = draw_scene(7)
    >>> drawing.pixels.shape[:2] == drawing.labels.shape, len(drawing.things) == int(drawing.labels.max())
    (True, True)
    """
    if split not in _SPLITS or seed < 0:
        raise ValueError(f"scene {seed} of split {split!r} was asked for; wanted are a seed of 0 or more and one of {', '.join(_SPLITS)}")
    rng = np.random.default_rng([_SPLITS.index(split), seed])
    ground = draw_ground(rng, _picture_size(rng, style))
    canvas = Canvas(ground.image)
    wishes = [*_text_wishes(rng, ground, style), *_name_wishes(rng, ground, split, style)]
    laid = [placed for wish in wishes[: style.things[1]] if (placed := _place(rng, canvas, wish, style))]
    things = tuple(Thing(wish.name, wish.kind, canvas.box(label), wish.colour, wish.said, wish.font) for label, wish in enumerate(laid, start=1))
    return Drawing(f"{split}-{seed}", np.array(canvas.image), canvas.labels, things, ground.said)


def thing_mask(drawing: Drawing, index: int) -> Mask:
    """The visible pixels of `drawing.things[index]` as a region.

    >>> drawing = draw_scene(7)
    >>> thing_mask(drawing, 0).width == drawing.pixels.shape[1]
    True
    """
    return encode_mask(drawing.labels == index + 1)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A thing before it has a place."""

    name: str
    kind: Literal["cutout", "shape", "text"]
    colour: str | None = None
    said: str | None = None
    font: str | None = None


def _picture_size(rng: np.random.Generator, style: SceneStyle) -> tuple[int, int]:
    if style.size:
        return style.size
    shares = np.array([share for _, _, share in style.sides])
    low, high, _ = style.sides[rng.choice(len(style.sides), p=shares / shares.sum())]
    while True:
        width, height = (int(side) for side in rng.integers(low, high + 1, 2))
        if max(width, height) <= style.longest_aspect * min(width, height):
            return width, height


def _text_wishes(rng: np.random.Generator, ground: Ground, style: SceneStyle) -> list[_Wish]:
    if rng.random() >= style.text_share:
        return []
    count = int(rng.integers(style.texts[0], style.texts[1] + 1))
    words = [style.words[index] for index in rng.choice(len(style.words), count, replace=False)]
    numbers = [str(number) for number in rng.choice(1000, count, replace=False)]
    colours = _colours_on(ground, _LEAST_TEXT_CONTRAST)
    wishes = []
    for word, number in zip(words, numbers, strict=True):
        said = number if rng.random() < style.number_share else word.upper() if rng.random() < 0.5 else word
        wishes.append(_Wish("text", "text", str(rng.choice(colours)), said))
    return wishes


def _name_wishes(rng: np.random.Generator, ground: Ground, split: Split, style: SceneStyle) -> list[_Wish]:
    """Cut-outs and shapes of different names, save for one name that comes several times in some pictures; in random order."""
    count = min(int(rng.integers(style.things[0], style.things[1] + 1)), len(style.names))
    shapes = [name for name in style.names if name in SHAPE_NAMES]
    cutouts = [name for name in style.names if name not in SHAPE_NAMES]
    num_shapes = int(np.clip(rng.binomial(count, style.shape_share), count - len(cutouts), len(shapes)))
    names = [*rng.permutation(shapes)[:num_shapes], *rng.permutation(cutouts)[: count - num_shapes]]
    if rng.random() < style.repeat_share:
        repeats = int(rng.integers(style.repeats[0], style.repeats[1] + 1))
        once = [str(name) for name in rng.permutation(names)]
        names = [*[once[0]] * repeats, *once[1 : max(1, count - repeats + 1)]]
    return [_name_wish(rng, str(name), ground, split) for name in rng.permutation(names)]


def _name_wish(rng: np.random.Generator, name: str, ground: Ground, split: Split) -> _Wish:
    if name not in SHAPE_NAMES:
        return _Wish(name, "cutout")
    colours = [colour for colour in _colours_on(ground, _LEAST_CONTRAST) if split == "test" or (colour, name) not in HELD_OUT]
    return _Wish(name, "shape", str(rng.choice(colours)))


def _colours_on(ground: Ground, least: float) -> list[str]:
    """The named colours that stand out from all of a ground; never fewer than the two that stand out most."""
    worst = {word: min(contrast(rgb, other) for other in ground.colours) for word, rgb in COLOURS.items()}
    ranked = sorted(worst, key=lambda word: -worst[word])
    return [word for rank, word in enumerate(ranked) if rank < 2 or worst[word] >= least]


def _place(rng: np.random.Generator, canvas: Canvas, wish: _Wish, style: SceneStyle) -> _Wish | None:
    """Draw a wished thing and look for a free place, ever smaller as tries fail; gives back what was laid, or None."""
    width, height = canvas.image.size
    size = _wished_size(rng, wish, min(width, height), style)
    least = style.text_px[0] if wish.kind == "text" else style.sizes_px[0]
    for _ in range(_ROUNDS):
        wish = replace(wish, font=str(rng.choice(FONTS))) if wish.kind == "text" else wish
        stamp = _stamped(rng, wish, size)
        room = (width - stamp.width, height - stamp.height)
        for left, top in rng.random((_TRIES, 2)) * np.array([room[0] + 1, room[1] + 1]) if min(room) >= 0 else ():
            if canvas.lay(stamp, int(left), int(top), apart=wish.kind == "text"):
                return wish
        size = max(float(least), 0.7 * size)
    return None


def _wished_size(rng: np.random.Generator, wish: _Wish, shorter: int, style: SceneStyle) -> float:
    """The longer side of a thing, or the height of a text, in px; even on a logarithmic scale."""
    low, high = map(float, style.text_px if wish.kind == "text" else style.small_px)
    if wish.kind != "text" and rng.random() >= style.small_share:
        low, high = (share * shorter for share in style.relative_sizes)
    size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return size if wish.kind == "text" else float(np.clip(size, *style.sizes_px))


def _stamped(rng: np.random.Generator, wish: _Wish, size: float) -> Image.Image:
    match wish:
        case _Wish(name, "cutout"):
            return cutout_stamp(rng, name, size)
        case _Wish(name, "shape", str(colour)):
            return shape_stamp(rng, name, colour, size)
        case _Wish(_, _, str(colour), str(said), str(font)):
            return text_stamp(said, font, COLOURS[colour], size)
    raise AssertionError(f"{wish} lacks what its kind needs")

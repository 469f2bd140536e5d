"""Which windows of an image a model looks through. A plan is frames only: pixels are cut, and maps put together, in the order of its tiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from foveal.geometry.frames import Frame

__all__ = [
    "CLIP_COLOURS",
    "EVEN_COLOURS",
    "GRIDS_FERRET_UI",
    "GRIDS_V2",
    "IMAGENET_COLOURS",
    "TilePlan",
    "any_resolution",
    "choose_grid",
    "cut",
    "merge_tiles",
    "normalise",
    "pad_square",
]

CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and deviation of red, green and blue that CLIP's encoders expect; the next are SigLIP's and DINOv2's."""
EVEN_COLOURS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

GRIDS_FERRET_UI = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""Ferret-UI's grids as (columns, rows), in the order in which they are tried."""

GRIDS_V2 = (*((1, n) for n in range(1, 7)), (2, 2), (2, 3), *((n, 1) for n in range(2, 7)), (3, 2))
"""Ferret-v2's grids of at most six tiles as (columns, rows): the paper's list, then its transposes."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """What a model sees of one image: all of it on the overview, and its tiles row by row from the left (none: 0 rows of 0 columns).

    Every frame leads from fractions of the whole image to pixels of its own view.
    """

    overview: Frame
    tiles: tuple[Frame, ...]
    rows: int
    cols: int


def choose_grid(size: tuple[int, int], tile: int, grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The (columns, rows) that lose least of an image of `size` (width, height) pixels when it is fitted in without change of shape.

    Most pixels of the image kept, then least canvas wasted, then first in the list (Ferret-v2, section 3.1; the rule is LLaVA-NeXT's).
    Raises ValueError when there is no grid to choose from.

    >>> choose_grid((600, 300), 336, GRIDS_V2)
    (2, 1)
    """
    if not grids:
        raise ValueError("no grids were given to choose from; at least one (columns, rows) is wanted")
    return max(grids, key=lambda grid: _kept_and_not_wasted(size, (grid[0] * tile, grid[1] * tile)))


def any_resolution(size: tuple[int, int], tile: int, grids: Sequence[tuple[int, int]], *, keep_shape: bool = False) -> TilePlan:
    """The overview, stretched, and the tiles of the grid that suits the image best. No grids: no tiles.

    The image is stretched over the tiles' canvas too, as in the published models; with `keep_shape` it keeps its shape and lies in the
    middle, the rest black, as in LLaVA-NeXT.

    >>> plan = any_resolution((600, 300), 336, GRIDS_V2)
    >>> plan.rows, plan.cols, plan.tiles[1].back((0.0, 0.0))
    (1, 2, Point(x=0.5, y=0.0, image=0))
    """
    overview = Frame.stretch(size, (tile, tile))
    if not grids:
        return TilePlan(overview, (), 0, 0)
    cols, rows = choose_grid(size, tile, grids)
    width, height = cols * tile, rows * tile
    canvas = Frame.stretch(size, (width, height))
    if keep_shape:
        sx, sy = _fitted(size, (width, height))
        canvas = Frame(size, (width, height), float(sx), float(sy), float((width - sx) // 2), float((height - sy) // 2))
    corners = [(col * tile, row * tile) for row in range(rows) for col in range(cols)]
    return TilePlan(overview, tuple(canvas.crop((x, y, x + tile, y + tile)) for x, y in corners), rows, cols)


def cut(image: Image.Image, plan: TilePlan) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "tiles side side 3"]]:
    """The pixels of the overview and of the tiles: the image is resized once for each (Pillow's bicubic), and tiles are parts of the second.

    Raises ValueError for a plan of another size, or an image that is not RGB.

    >>> picture = Image.new("RGB", (50, 25), "red")
    >>> overview, tiles = cut(picture, any_resolution(picture.size, 28, GRIDS_V2))
    >>> overview.shape, tiles.shape
    ((28, 28, 3), (2, 28, 28, 3))
    """
    if image.mode != "RGB" or image.size != plan.overview.image_size:
        raise ValueError(f"an image of mode {image.mode} and size {image.size} was given to a plan for RGB of {plan.overview.image_size}")
    side = plan.overview.canvas_size[0]
    overview = np.array(image.resize((side, side), Image.Resampling.BICUBIC))
    if not plan.tiles:
        return overview, np.empty((0, side, side, 3), np.uint8)
    first = plan.tiles[0]
    if first == plan.overview:
        return overview, overview[None]
    canvas = image.resize((round(first.sx), round(first.sy)), Image.Resampling.BICUBIC)
    if canvas.size != (plan.cols * side, plan.rows * side):
        inner, canvas = canvas, Image.new("RGB", (plan.cols * side, plan.rows * side))
        canvas.paste(inner, (round(first.dx), round(first.dy)))
    return overview, np.array(canvas).reshape(plan.rows, side, plan.cols, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)


def normalise(views: UInt8[np.ndarray, "views height width 3"], mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "views 3 height width"]:
    """Bytes to float32, channels first: (byte / 255 - mean) / std, as one multiplication and one addition in place.

    >>> normalise(np.full((1, 2, 2, 3), 255, np.uint8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))[0, 0, 0].tolist()
    [1.0, 1.0]
    """
    scale = 1 / (255 * np.array(std))
    shift = -np.array(mean) / std
    count, height, width, _ = views.shape
    pixels = np.empty((count, 3, height, width), np.float32)
    pixels[...] = views.transpose(0, 3, 1, 2)
    pixels *= scale.astype(np.float32)[:, None, None]
    pixels += shift.astype(np.float32)[:, None, None]
    return torch.from_numpy(pixels)


def pad_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """The image in the middle of a square of the mean colour: LLaVA's `pad`. Places on it are `Frame.letterbox`'s, up to half a pixel.

    >>> pad_square(Image.new("RGB", (4, 2)), (0.5, 0.5, 0.5)).getpixel((0, 0))
    (127, 127, 127)
    """
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(255 * channel) for channel in mean))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def merge_tiles(tiles: Float[Tensor, "tiles rows cols dim"], grid_rows: int, grid_cols: int) -> Float[Tensor, "all_rows all_cols dim"]:
    """The maps of one image's tiles as one map, each where its tile lies in the image.

    >>> merge_tiles(torch.arange(4.0).view(4, 1, 1, 1), 2, 2)[..., 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    if len(tiles) != grid_rows * grid_cols:
        raise ValueError(f"{len(tiles)} tiles were given for a grid of {grid_rows} rows of {grid_cols}")
    return tiles.unflatten(0, (grid_rows, grid_cols)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _kept_and_not_wasted(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """How many of the image's pixels the canvas holds, and minus how many pixels of the canvas they leave empty."""
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
    return kept, kept - canvas[0] * canvas[1]


def _fitted(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """The size of an image that fills one side of the canvas and keeps its shape, the other side rounded up."""
    across, down = canvas[0] / size[0], canvas[1] / size[1]
    if across < down:
        return canvas[0], min(ceil(size[1] * across), canvas[1])
    return min(ceil(size[0] * down), canvas[0]), canvas[1]

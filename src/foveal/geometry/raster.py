"""Regions as pixels: their raster, and points drawn from it, by the pixel rules of Ferret's training and evaluation code."""

from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Float, Int

from foveal.geometry.masks import decode_mask, encode_mask, set_runs
from foveal.geometry.regions import Box, Mask, Point, Region, Trace

__all__ = ["points_within", "rasterise", "region_seed"]

_PIXELS = 2**24
"""The largest raster that a trace is drawn on when points are wanted of it: of sixteen million pixels."""
_WAY = 2**17
"""How many pixels of a trace's way are computed at once."""


def rasterise(region: Region, size: tuple[int, int], *, radius_px: int = 5, inside: Region | None = None) -> Bool[np.ndarray, "height width"]:
    """The pixels of a (width, height) image that a region covers, and `inside` covers too where it is given.

    A point is a square window of `radius_px` pixels to each side, cut at the borders; a trace is the union of the windows of its
    way; a box covers the pixels of its edges as well; a mask of another size is read at the nearest pixel. In training a region is
    cut to what is `inside` the annotated mask, or a point's window to the box. Where they share nothing, the region alone counts.

    >>> int(rasterise(Point(0.5, 0.5), (100, 100)).sum()), int(rasterise(Box(0.25, 0.0, 0.5, 0.0), (8, 8)).sum())
    (121, 3)
    """
    width, height = _checked(size)
    if isinstance(region, Mask):
        bits = _resized(decode_mask(region), width, height)
    elif isinstance(region, Trace):
        bits = _stroke(region, width, height, radius_px)
    else:
        x0, x1, y0, y1 = _window(region, width, height, radius_px)
        bits = np.zeros((height, width), dtype=bool)
        bits[y0:y1, x0:x1] = True
    if inside is None:
        return bits
    shared = bits & rasterise(inside, size, radius_px=radius_px)
    return shared if shared.any() else bits


def points_within(
    region: Region, size: tuple[int, int], count: int, rng: np.random.Generator, *, radius_px: int = 5, inside: Region | None = None
) -> Float[np.ndarray, "count 2"]:
    """`count` pixels of a region as fractions (column / width, row / height), as Ferret's sampler wants them (arXiv 2310.07704, 3.2).

    Pixels are counted column by column. Fewer than `count`: all of them, then repeats at random; more: a random choice. No raster
    is made of a point, a box or a mask; a trace in an image of more than 2 ** 24 pixels is drawn on one of so many, as thick as in the image.
    ValueError for a region without pixels.

    >>> points_within(Box(0.0, 0.0, 0.125, 0.125), (8, 8), 4, np.random.default_rng(0)).tolist()
    [[0.0, 0.0], [0.0, 0.125], [0.125, 0.0], [0.125, 0.125]]
    """
    width, height = _checked(size)
    if isinstance(region, Point | Box) and inside is None:
        x0, x1, y0, y1 = _window(region, width, height, radius_px)
        chosen = _choose((x1 - x0) * (y1 - y0), count, rng)
        columns, rows = x0 + chosen // (y1 - y0), y0 + chosen % (y1 - y0)
    else:
        if inside is not None:
            region = encode_mask(rasterise(region, size, radius_px=radius_px, inside=inside))
        elif isinstance(region, Trace):
            scale = min(1.0, (_PIXELS / (width * height)) ** 0.5)
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
            region = encode_mask(_stroke(region, width, height, max(round(radius_px * scale), min(radius_px, 1))))
        assert isinstance(region, Mask)
        columns, rows = _mask_pixels(region, (width, height), count, rng)
    return np.stack([columns.astype(np.float32) / np.float32(width), rows.astype(np.float32) / np.float32(height)], axis=1)


def region_seed(region: Region, size: tuple[int, int]) -> int:
    """A number that depends on the region's shape and the image's (width, height) only, so that a region always draws the same points.

    `region.image` is left out: an example answers alike alone and in a batch.

    >>> region_seed(Point(0.1, 0.2), (640, 480)) == region_seed(Point(0.1, 0.2, image=3), (640, 480))
    True
    """
    match region:
        case Point(x, y):
            values: tuple[float, ...] = (x, y)
        case Box(x0, y0, x1, y1):
            values = (x0, y0, x1, y1)
        case Mask(width, height, counts):
            values = (width, height, *counts)
        case Trace(points):
            values = tuple(value for point in points for value in point)
    content = type(region).__name__.encode() + np.array([*size, *values], dtype="<f8").tobytes()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little") >> 1  # 63 bits: fits every generator's signed seed


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    if min(size) < 1:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels; width and height must be positive")
    return size


def _pixel(fraction: float, extent: int) -> float:
    # A fraction made from a whole pixel may come back one unit in the last place short of it, and the rules below cut off.
    return round(fraction * extent, 6)


def _window(region: Point | Box, width: int, height: int, radius_px: int) -> tuple[int, int, int, int]:
    """Columns x0 to x1 and rows y0 to y1, ends exclusive, never empty."""
    if isinstance(region, Point):
        x, y = _pixel(region.x, width), _pixel(region.y, height)
        x0, x1 = int(max(0, x - radius_px)), int(min(width, x + radius_px + 1))
        y0, y1 = int(max(0, y - radius_px)), int(min(height, y + radius_px + 1))
    else:
        x0, x1 = int(_pixel(region.x0, width)), int(_pixel(region.x1, width)) + 1
        y0, y1 = int(_pixel(region.y0, height)), int(_pixel(region.y1, height)) + 1
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return x0, min(max(x1, x0 + 1), width), y0, min(max(y1, y0 + 1), height)


def _stroke(trace: Trace, width: int, height: int, radius_px: int) -> Bool[np.ndarray, "height width"]:
    bits = np.zeros((height, width), dtype=bool)
    points = np.array(trace.points, dtype=np.float64).reshape(-1, 2) * (width, height)
    if not len(points):
        return bits
    ends = _pixels(points, width, height)
    low, high = np.maximum(ends.min(0) - radius_px, 0), ends.max(0) + radius_px + 1
    drawn = bits[low[1] : high[1], low[0] : high[0]]  # the rest stays as it is
    drawn[tuple((ends - low).T[::-1])] = True
    steps = np.ceil(np.abs(np.diff(points, axis=0)).max(axis=1, initial=0)).astype(np.int64)
    for some in np.array_split(np.arange(len(steps)), -(-int(steps.sum()) // _WAY) or 1):
        segment = np.repeat(some, steps[some])
        along = (np.arange(len(segment)) - np.repeat(np.cumsum(steps[some]) - steps[some], steps[some])) / steps[segment]
        way = _pixels(points[segment] + along[:, None] * (points[segment + 1] - points[segment]), width, height)
        drawn[tuple((way - low).T[::-1])] = True
    for along_axis in (drawn, drawn.T):  # a window is a stretch of columns of a stretch of rows
        reached = 0
        while reached < radius_px:
            shift = min(2 * reached + 1, radius_px - reached)
            before = along_axis.copy(order="K")
            along_axis[shift:] |= before[:-shift]
            along_axis[:-shift] |= before[shift:]
            reached += shift
    return bits


def _pixels(points: Float[np.ndarray, "n 2"], width: int, height: int) -> Int[np.ndarray, "n 2"]:
    return np.clip(np.floor(np.round(points, 6)).astype(np.int64), 0, (width - 1, height - 1))


def _mask_pixels(
    mask: Mask, size: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " count"], Int[np.ndarray, " count"]]:
    """Columns and rows of `count` pixels of a (width, height) raster that a mask covers, read at the nearest pixel; ValueError where it covers none.

    They are found on the run lengths, cut where a column ends, so that the raster itself is never made.
    """
    column, top, bottom = _stretches(mask)
    across, down = (_nearest(*extents) for extents in zip((mask.width, mask.height), size, strict=True))
    row_of, column_of = (np.searchsorted(read, np.arange(extent + 1)) for read, extent in ((down, mask.height), (across, mask.width)))
    sums = np.concatenate([[0], np.cumsum(row_of[bottom] - row_of[top])])  # pixels of the raster's rows in the stretches before
    first = np.searchsorted(column, np.arange(mask.width + 1))
    in_column = np.repeat(np.diff(sums[first]), np.diff(column_of))
    ends = np.cumsum(in_column)
    if not len(ends) or not ends[-1]:
        raise ValueError(f"a region without a pixel in an image of {size[0]} x {size[1]}; it must cover at least one")
    chosen = _choose(int(ends[-1]), count, rng)
    columns = np.searchsorted(ends, chosen, side="right")
    place = sums[first[across[columns]]] + chosen - (ends[columns] - in_column[columns])
    stretch = np.searchsorted(sums[1:], place, side="right")
    return columns, row_of[top[stretch]] + place - sums[stretch]


def _stretches(mask: Mask) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The column, first row and row after the last of each stretch of set pixels within a column."""
    start, end = set_runs(mask).T
    first, last = start // mask.height, (end - 1) // mask.height
    run = np.repeat(np.arange(len(start)), last - first + 1)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(last - first + 1) - (last - first + 1), last - first + 1)
    top = np.where(column == first[run], start[run] - column * mask.height, 0)
    return column, top, np.where(column == last[run], end[run] - column * mask.height, mask.height)


def _nearest(source: int, extent: int) -> Int[np.ndarray, " n"]:
    """Which of `source` pixels is read at each of `extent`."""
    return ((np.arange(extent) + 0.5) * source / extent).astype(np.int64)


def _resized(bits: Bool[np.ndarray, "h w"], width: int, height: int) -> Bool[np.ndarray, "height width"]:
    if bits.shape == (height, width):
        return bits
    return bits[_nearest(bits.shape[0], height)][:, _nearest(bits.shape[1], width)]


def _choose(available: int, count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    if available > count:
        return rng.choice(available, count, replace=False)
    return np.concatenate([np.arange(available), rng.integers(0, available, count - available)])

"""Regions a person would give for a thing of a drawing: its box, a point on it, a line drawn over it, its visible pixels."""

import numpy as np
from jaxtyping import Bool, Int

from foveal.data.sources.scenes.drawing import Drawing
from foveal.geometry import Box, Mask, Point, Region, Trace

__all__ = ["box_of", "mask_on", "point_at", "region_of", "stroke_over"]

_STEPS = np.linspace(0.0, 1.0, 17)  # where along a line it is checked to stay on the thing


def region_of(drawing: Drawing, thing: int, form: str, rng: np.random.Generator) -> Region | None:
    """The thing as `form` "box", "point" or "mask" (a line over it or its visible pixels, half and half); None when nothing of it is seen."""
    if form == "box":
        return box_of(drawing, thing)
    if form == "point":
        return point_at(drawing, thing, rng)
    return stroke_over(drawing, thing, rng) if rng.random() < 0.5 else mask_on(drawing, thing)


def box_of(drawing: Drawing, thing: int) -> Box:
    """The box of the visible part of the thing."""
    x0, y0, x1, y1 = drawing.things[thing].box_px
    height, width = drawing.labels.shape
    return Box(float(x0) / width, float(y0) / height, float(x1) / width, float(y1) / height)


def point_at(drawing: Drawing, thing: int, rng: np.random.Generator) -> Point | None:
    """A visible pixel of the thing: any, or (half the time) the one nearest to the middle of its box; None when none is visible.

    Ferret trains on the nearest one (its `segment_mask|center` rule); people also point elsewhere.
    """
    bits, left, top = _visible(drawing, thing)
    ys, xs = np.nonzero(bits)
    if not len(xs):
        return None
    pick = int(rng.integers(len(xs)))
    if rng.random() < 0.5:
        rows, columns = bits.shape
        pick = int(np.argmin((xs - (columns - 1) / 2) ** 2 + (ys - (rows - 1) / 2) ** 2))
    height, width = drawing.labels.shape
    return Point((left + int(xs[pick]) + 0.5) / width, (top + int(ys[pick]) + 0.5) / height)


def stroke_over(drawing: Drawing, thing: int, rng: np.random.Generator) -> Trace | None:
    """Three to six points joined by straight lines that stay on the visible part of the thing; None when none of it is visible."""
    bits, left, top = _visible(drawing, thing)
    places = np.argwhere(bits)
    if not len(places):
        return None
    way = [places[rng.integers(len(places))]]
    for _ in range(int(rng.integers(2, 6))):
        ends = places[rng.integers(len(places), size=12)]
        inside = ends[_stays(bits, way[-1], ends)]
        if len(inside):
            way.append(inside[0])
    height, width = drawing.labels.shape
    return Trace(tuple(((left + int(x) + 0.5) / width, (top + int(y) + 0.5) / height) for y, x in way))


def mask_on(drawing: Drawing, thing: int) -> Mask | None:
    """The visible pixels of the thing, read from the columns of its box alone; None when there are none."""
    height, width = drawing.labels.shape
    x0, _, x1, _ = drawing.things[thing].box_px
    left = max(int(x0), 0)
    band = (drawing.labels[:, left : int(np.ceil(x1))] == thing + 1).T.ravel()
    if not band.any():
        return None
    edges = left * height + np.flatnonzero(np.diff(band, prepend=False, append=False))
    counts = np.diff(edges, prepend=0, append=width * height).tolist()
    return Mask(width, height, tuple(counts if counts[-1] else counts[:-1]))


def _visible(drawing: Drawing, thing: int) -> tuple[Bool[np.ndarray, "rows columns"], int, int]:
    """Where in its box the thing is seen, and the box's left and top pixel."""
    x0, y0, x1, y1 = drawing.things[thing].box_px
    left, top = max(int(x0), 0), max(int(y0), 0)
    return drawing.labels[top : int(np.ceil(y1)), left : int(np.ceil(x1))] == thing + 1, left, top


def _stays(bits: Bool[np.ndarray, "rows columns"], start: Int[np.ndarray, "2"], ends: Int[np.ndarray, "ends 2"]) -> Bool[np.ndarray, " ends"]:
    way = np.rint(start + _STEPS[:, None, None] * (ends - start)).astype(int)
    return bits[way[..., 0], way[..., 1]].all(axis=0)

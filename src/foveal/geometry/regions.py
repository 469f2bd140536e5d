"""Where something is: four kinds of region, each in fractions of the whole upright image, x before y, origin top left."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Box", "Mask", "Point", "Region", "Trace", "bounding_box"]


@dataclass(frozen=True, slots=True)
class Point:
    """One place. `x` and `y` are fractions of the image's width and height; `image` says which image of the example.

    >>> Point(0.25, 0.5)
    Point(x=0.25, y=0.5, image=0)
    """

    x: float
    y: float
    image: int = 0


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle from (`x0`, `y0`) top left to (`x1`, `y1`) bottom right, in fractions of the image.

    >>> Box(0.1, 0.2, 0.3, 0.4).x1
    0.3
    """

    x0: float
    y0: float
    x1: float
    y1: float
    image: int = 0


@dataclass(frozen=True, slots=True)
class Mask:
    """Any set of pixels of a `width` x `height` raster that covers the whole image, as run lengths.

    `counts` are COCO's: columns one after the other from the left, each from top to bottom, lengths of alternating runs that
    begin with the unset pixels. So a mask is small, hashable and comparable. `masks.py` makes and opens them.
    """

    width: int
    height: int
    counts: tuple[int, ...]
    image: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A line drawn by hand: (x, y) fractions in the order they were drawn. A scribble, or a mouse's way.

    >>> bounding_box(Trace(((0.1, 0.5), (0.3, 0.2))))
    Box(x0=0.1, y0=0.2, x1=0.3, y1=0.5, image=0)
    """

    points: tuple[tuple[float, float], ...]
    image: int = 0


Region = Point | Box | Mask | Trace


def bounding_box(region: Region) -> Box:
    """The smallest box that holds `region`. The far edges of a mask lie behind its last pixels, so that a full mask gives the full image.

    Raises ValueError for a mask without set pixels and a trace without points: nothing has no place.

    >>> bounding_box(Mask(width=4, height=2, counts=(3, 2, 3)))
    Box(x0=0.25, y0=0.0, x1=0.75, y1=1.0, image=0)
    """
    match region:
        case Point(x, y, image):
            return Box(x, y, x, y, image)
        case Box():
            return region
        case Mask():
            return _mask_box(region)
        case Trace(points, image):
            if not points:
                raise ValueError("a trace without points has no bounding box; give it at least one point")
            across, down = zip(*points, strict=True)
            return Box(min(across), min(down), max(across), max(down), image)


def _mask_box(mask: Mask) -> Box:
    edges = np.cumsum(mask.counts)
    starts, ends = edges[:-1:2], edges[1::2]
    filled = ends > starts
    starts, ends = starts[filled], ends[filled]
    if not len(starts):
        raise ValueError("a mask without set pixels has no bounding box; give it at least one pixel")
    first, last = starts // mask.height, (ends - 1) // mask.height
    tall = last > first  # a run that reaches the next column covers a bottom and a top edge
    top = np.where(tall, 0, starts % mask.height).min()
    bottom = np.where(tall, mask.height, (ends - 1) % mask.height + 1).max()
    return Box(
        float(first.min() / mask.width),
        float(top / mask.height),
        float((last.max() + 1) / mask.width),
        float(bottom / mask.height),
        mask.image,
    )

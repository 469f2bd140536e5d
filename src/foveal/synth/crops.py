"""Pieces of a picture: what lies in a region, alone or with white around its outline."""

import math

import numpy as np
from PIL import Image

from foveal.geometry import Mask, Region, bounding_box
from foveal.geometry.masks import decode_mask

__all__ = ["crop", "share_of"]


def crop(image: Image.Image, region: Region | None, *, cut_out: bool = False) -> Image.Image:
    """The pixels that a region's box touches, at least one each way; without a region the whole picture. With `cut_out`, what lies outside a mask is
    white, as Monkey's pipeline shows a segment to its captioner.

    >>> from foveal.geometry import Box
    >>> crop(Image.new("RGB", (10, 8)), Box(0.25, 0.5, 0.5, 0.75)).size
    (3, 2)
    """
    if region is None:
        return image
    width, height = image.size
    if cut_out and isinstance(region, Mask):
        shown = Image.fromarray(decode_mask(region).astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
        image = Image.composite(image, Image.new("RGB", image.size, "white"), shown)
    box = bounding_box(region)
    left, top = (min(side - 1, max(0, math.floor(low * side + 1e-9))) for low, side in ((box.x0, width), (box.y0, height)))
    right, bottom = (max(first + 1, min(side, math.ceil(high * side - 1e-9))) for first, high, side in ((left, box.x1, width), (top, box.y1, height)))
    return image.crop((left, top, right, bottom))


def share_of(region: Region) -> float:
    """How much of the picture a region covers, from 0 to 1: a mask by its set pixels, anything else by its box.

    >>> share_of(Mask(2, 2, (3, 1)))
    0.25
    """
    if isinstance(region, Mask):
        return sum(region.counts[1::2]) / (region.width * region.height)
    box = bounding_box(region)
    return (box.x1 - box.x0) * (box.y1 - box.y0)

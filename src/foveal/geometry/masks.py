"""Masks made, opened and compared: rasters, polygons, COCO's run lengths."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from foveal.geometry.regions import Mask

__all__ = ["decode_mask", "encode_mask", "mask_from_coco", "mask_from_polygons", "mask_iou", "mask_to_coco", "set_runs"]

_CROSSINGS = 2**17
"""How many crossings of edges and rows are computed at once."""


def encode_mask(bits: Bool[np.ndarray, "height width"], image: int = 0) -> Mask:
    """The mask of the set pixels of a raster that covers the whole image.

    >>> encode_mask(np.array([[False, True], [False, True]]))
    Mask(width=2, height=2, counts=(2, 2), image=0)
    """
    height, width = bits.shape
    flat = bits.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    first_is_set = bool(flat.size and flat[0])
    return Mask(width, height, ((0,) if first_is_set else ()) + tuple(counts.tolist()), image)


def decode_mask(mask: Mask) -> Bool[np.ndarray, "height width"]:
    """The raster of a mask; ValueError when its run lengths do not fill its size.

    >>> decode_mask(Mask(2, 2, (2, 1, 1))).tolist()
    [[False, True], [False, False]]
    """
    counts = _checked(mask)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(mask.width, mask.height).T


def set_runs(mask: Mask) -> Int[np.ndarray, "runs 2"]:
    """Where each run of set pixels starts and ends (exclusive), counted column by column; ValueError when the run lengths do not fill the size.

    >>> set_runs(Mask(2, 2, (1, 2, 1))).tolist()
    [[1, 3]]
    """
    edges = np.concatenate([[0], np.cumsum(_checked(mask))])
    runs = np.stack([edges[1:-1:2], edges[2::2]], axis=1)
    return runs[runs[:, 1] > runs[:, 0]]


def mask_from_polygons(polygons: Sequence[Sequence[tuple[float, float]]], size: tuple[int, int], image: int = 0) -> Mask:
    """The pixels of a (width, height) raster whose centres lie in any of `polygons`, each a row of (x, y) fractions.

    A polygon that crosses itself is filled by the even-odd rule. Polygons so thin that they hold no centre set the pixels of their
    corners, so that no object vanishes.

    >>> mask_from_polygons([[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]], (4, 2)).counts
    (0, 4, 4)
    """
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"a raster of {width} x {height} pixels; width and height must be positive")
    corners = [np.array(polygon, dtype=np.float64).reshape(-1, 2) * (width, height) for polygon in polygons]
    bits = np.zeros((height, width), dtype=bool)
    for polygon in corners:
        bits |= _fill(polygon, width, height)
    if corners and not bits.any():
        pixels = np.clip(np.concatenate(corners).astype(np.int64), 0, (width - 1, height - 1))
        bits[pixels[:, 1], pixels[:, 0]] = True
    return encode_mask(bits, image)


def mask_from_coco(rle: Mapping[str, Any], image: int = 0) -> Mask:
    """The mask of a COCO run-length record: `size` is [height, width], `counts` a list of runs or COCO's compressed string.

    >>> mask_from_coco({"size": [2, 2], "counts": [2, 2]}).counts
    (2, 2)
    """
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, Sequence) or len(size) != 2 or counts is None:
        raise ValueError(f"a record with {sorted(rle)} is no COCO run-length mask; it wants size [height, width] and counts")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    runs = _unpack(counts) if isinstance(counts, str) else [int(run) for run in counts]
    mask = Mask(int(size[1]), int(size[0]), tuple(runs), image)
    _checked(mask)
    return mask


def mask_to_coco(mask: Mask) -> dict[str, object]:
    """COCO's run-length record of a mask, `counts` as its compressed string.

    >>> mask_to_coco(Mask(2, 2, (2, 2)))
    {'size': [2, 2], 'counts': '22'}
    """
    return {"size": [mask.height, mask.width], "counts": _pack(mask.counts)}


def mask_iou(a: Mask, b: Mask) -> float:
    """Shared pixels over the pixels of either, counted on run lengths; 0 when both are empty, ValueError when their sizes differ.

    >>> mask_iou(Mask(2, 2, (2, 2)), Mask(2, 2, (3, 1)))
    0.5
    """
    if (a.width, a.height) != (b.width, b.height):
        raise ValueError(f"masks of {a.width} x {a.height} and {b.width} x {b.height} pixels; both must have one size")
    edges_a, edges_b = np.cumsum(_checked(a)), np.cumsum(_checked(b))
    bounds = np.union1d(np.union1d(edges_a, edges_b), [0])
    lengths, starts = np.diff(bounds), bounds[:-1]
    in_a = np.searchsorted(edges_a, starts, side="right") % 2 == 1
    in_b = np.searchsorted(edges_b, starts, side="right") % 2 == 1
    union = int(lengths[in_a | in_b].sum())
    return int(lengths[in_a & in_b].sum()) / union if union else 0.0


def _checked(mask: Mask) -> Int[np.ndarray, " runs"]:
    total = sum(mask.counts)  # whole numbers of any size: a sum in 64 bits could come round
    if mask.width < 1 or mask.height < 1 or min(mask.counts, default=0) < 0 or total != mask.width * mask.height:
        counted = total if total.bit_length() < 64 else "far more than 64 bits hold"
        raise ValueError(f"run lengths that sum to {counted} for a mask of {mask.width} x {mask.height} pixels; they must fill it")
    return np.array(mask.counts, dtype=np.int64)


def _fill(polygon: Float[np.ndarray, "corners 2"], width: int, height: int) -> Bool[np.ndarray, "height width"]:
    # Every edge flips, on each row whose centre it crosses, all pixels to the right of the crossing. A few edges at a time: of many long ones
    # the crossings are far more than the pixels. Flips are counted in bytes, for only whether they are even matters.
    start, end = polygon, np.roll(polygon, -1, axis=0)
    start, end = np.where(start[:, 1:] <= end[:, 1:], start, end), np.where(start[:, 1:] <= end[:, 1:], end, start)
    first = np.clip(np.ceil(start[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(end[:, 1] - 0.5), 0, height).astype(np.int64)
    flips = np.zeros((height, width + 1), dtype=np.uint8)
    for some in np.array_split(np.arange(len(polygon)), -(-int((last - first).sum()) // _CROSSINGS) or 1):
        crossed = last[some] - first[some]
        edge = np.repeat(some, crossed)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
        along = (row + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
        crossing = start[edge, 0] + along * (end[edge, 0] - start[edge, 0])
        column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        np.add.at(flips.reshape(-1), row * (width + 1) + column, 1)
    return np.bitwise_xor.accumulate(flips[:, :width] & 1, axis=1).astype(bool)


def _unpack(text: str) -> list[int]:
    # Five bits to a character from 48 on, the sixth says that more follow; from the third run on, the difference to the run before the last.
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r} is not part of COCO's compressed run lengths")
        if shift > 60:
            raise ValueError("a run of COCO's compressed run lengths goes on for more than 13 characters; no image is so large")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value, shift = 0, 0
    return runs


def _pack(runs: Sequence[int]) -> str:
    characters = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            characters.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(characters)

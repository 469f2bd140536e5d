"""A picture in the making: what has been laid on it, which pixels each thing still shows, and whether one more may be laid."""

import numpy as np
from jaxtyping import Bool, Int16
from PIL import Image

from foveal.data.sources.scenes.stamps import SHORTEST_SIDE

__all__ = ["LEAST_VISIBLE", "Canvas", "tight_box"]

LEAST_VISIBLE = 0.6
_PixelBox = tuple[int, int, int, int]


class Canvas:
    """Holds an RGB `image`, its `labels` (0, or 1 + the number of the thing seen), and each thing's first and visible extent.

    >>> canvas = Canvas(Image.new("RGB", (100, 80)))
    >>> canvas.lay(Image.new("RGBA", (20, 10), "red"), 5, 5, apart=False), canvas.box(1)
    (True, (5, 5, 25, 15))
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.labels: Int16[np.ndarray, "height width"] = np.zeros((image.height, image.width), np.int16)
        self.extents: list[_PixelBox] = []
        self.areas: list[int] = []
        self.visible: list[int] = []
        self.reserved: list[_PixelBox] = []

    def lay(self, stamp: Image.Image, left: int, top: int, *, apart: bool) -> bool:
        """Lay an RGBA `stamp`, unless it would hide too much of another thing; says whether it was laid.

        `apart` keeps the stamp's box for itself for good: nothing may lie under it or come over it.
        """
        extent = (left, top, left + stamp.width, top + stamp.height)
        bits: Bool[np.ndarray, "rows cols"] = np.asarray(stamp.getchannel("A")) > 127
        if any(_meet(extent, other) for other in self.reserved):
            return False
        covered = np.bincount(self.window(extent)[bits], minlength=len(self.areas) + 1)[1:]
        if apart and self.window(_grown(extent, 2)).any():
            return False
        if not all(self.bears(number, loss, extent, bits) for number, loss in enumerate(covered.tolist()) if loss):
            return False
        self.image.paste(stamp, (left, top), stamp)
        self.window(extent)[bits] = len(self.areas) + 1
        self.visible = [seen - loss for seen, loss in zip(self.visible, covered.tolist(), strict=True)] + [int(bits.sum())]
        self.areas.append(int(bits.sum()))
        self.extents.append(extent)
        if apart:
            self.reserved.append(_grown(extent, 2))
        return True

    def box(self, label: int) -> _PixelBox:
        """The tight box of the pixels that show `label`, in px."""
        extent = self.extents[label - 1]
        return tight_box(self.window(extent) == label, extent[0], extent[1])

    def window(self, extent: _PixelBox) -> Int16[np.ndarray, "rows cols"]:
        """The labels within `extent`, as a view: writing to it writes to the canvas."""
        return self.labels[max(0, extent[1]) : extent[3], max(0, extent[0]) : extent[2]]

    def bears(self, number: int, loss: int, extent: _PixelBox, bits: Bool[np.ndarray, "rows cols"]) -> bool:
        """Whether thing `number` still shows enough once `bits` at `extent` have come over it."""
        if self.visible[number] - loss < LEAST_VISIBLE * self.areas[number]:
            return False
        trial = self.window(extent)
        before = trial.copy()
        trial[bits] = 0
        x0, y0, x1, y1 = self.box(number + 1)
        trial[...] = before
        return min(x1 - x0, y1 - y0) >= SHORTEST_SIDE


def tight_box(bits: Bool[np.ndarray, "rows cols"], left: int = 0, top: int = 0) -> _PixelBox:
    """The smallest box around the set pixels, right and bottom edges outside them, moved by `left` and `top`; all 0 when none is set.

    >>> tight_box(np.eye(5, dtype=bool)[:3], left=10)
    (10, 0, 13, 3)
    """
    cols, rows = np.flatnonzero(bits.any(axis=0)), np.flatnonzero(bits.any(axis=1))
    if not len(cols):
        return (0, 0, 0, 0)
    return (left + int(cols[0]), top + int(rows[0]), left + int(cols[-1]) + 1, top + int(rows[-1]) + 1)


def _meet(first: _PixelBox, second: _PixelBox) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _grown(extent: _PixelBox, by: int) -> _PixelBox:
    return (extent[0] - by, extent[1] - by, extent[2] + by, extent[3] + by)

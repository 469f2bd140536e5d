"""Where a place of the image lies on a canvas that a model looks at, and back. The only file in which coordinates change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from foveal.geometry.regions import Box, Point, Region, bounding_box

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True)
class Frame:
    """An axis-aligned affine map: canvas pixel = fraction of the image * (`sx`, `sy`) + (`dx`, `dy`). Sizes are (width, height).

    >>> overview = Frame.stretch((640, 480), (336, 336))
    >>> overview.to(Point(0.5, 0.25))
    (168.0, 84.0)
    >>> overview.back((168.0, 84.0))
    Point(x=0.5, y=0.25, image=0)
    """

    image_size: tuple[int, int]
    canvas_size: tuple[int, int]
    sx: float
    sy: float
    dx: float = 0.0
    dy: float = 0.0

    def __post_init__(self) -> None:
        if min(*self.image_size, *self.canvas_size) < 1 or self.sx == 0 or self.sy == 0:
            raise ValueError(f"a frame from {self.image_size} to {self.canvas_size} scaled by ({self.sx}, {self.sy}); all must be positive")

    @staticmethod
    def stretch(image_size: tuple[int, int], canvas_size: tuple[int, int] | None = None) -> "Frame":
        """The whole image on the whole canvas, whatever becomes of its shape; without `canvas_size`, the image's own pixels."""
        width, height = canvas_size or image_size
        return Frame(image_size, (width, height), float(width), float(height))

    @staticmethod
    def letterbox(image_size: tuple[int, int], canvas_size: tuple[int, int]) -> "Frame":
        """The image as large as the canvas holds without change of shape, in its middle.

        >>> Frame.letterbox((200, 100), (100, 100)).to(Box(0.0, 0.0, 1.0, 1.0))
        (0.0, 25.0, 100.0, 75.0)
        """
        scale = min(canvas_size[0] / image_size[0], canvas_size[1] / image_size[1])
        sx, sy = image_size[0] * scale, image_size[1] * scale
        return Frame(image_size, canvas_size, sx, sy, (canvas_size[0] - sx) / 2, (canvas_size[1] - sy) / 2)

    def crop(self, box_px: tuple[int, int, int, int]) -> "Frame":
        """The part (x0, y0, x1, y1) of the canvas as a canvas of its own: a tile. What lies outside gets coordinates outside.

        >>> Frame.stretch((8, 8), (672, 336)).crop((336, 0, 672, 336)).to(Point(0.75, 0.5))
        (168.0, 168.0)
        """
        x0, y0, x1, y1 = box_px
        return replace(self, canvas_size=(x1 - x0, y1 - y0), dx=self.dx - x0, dy=self.dy - y0)

    def then(self, other: "Frame") -> "Frame":
        """This frame, then `other`, whose image is this frame's canvas.

        >>> Frame.stretch((10, 10), (20, 20)).then(Frame.stretch((20, 20), (5, 5))).to(Point(1.0, 0.5))
        (5.0, 2.5)
        """
        if other.image_size != self.canvas_size:
            raise ValueError(f"a frame of an image of {other.image_size} cannot follow a canvas of {self.canvas_size}")
        x, y = other.sx / self.canvas_size[0], other.sy / self.canvas_size[1]
        return Frame(self.image_size, other.canvas_size, self.sx * x, self.sy * y, self.dx * x + other.dx, self.dy * y + other.dy)

    def unit(self) -> "Frame":
        """This frame with a canvas of 1 x 1, so that places come out as fractions of the canvas; exact where the image fills it.

        >>> Frame.letterbox((200, 100), (100, 100)).unit().to(Point(0.5, 0.0))
        (0.5, 0.25)
        """
        width, height = self.canvas_size
        return Frame(self.image_size, (1, 1), self.sx / width, self.sy / height, self.dx / width, self.dy / height)

    def to(self, region: Region) -> tuple[float, ...]:
        """Canvas pixels: (x, y) of a point; (x0, y0, x1, y1) of a box, or of the box around a mask or a trace."""
        if isinstance(region, Point):
            return (region.x * self.sx + self.dx, region.y * self.sy + self.dy)
        box = bounding_box(region)
        return (box.x0 * self.sx + self.dx, box.y0 * self.sy + self.dy, box.x1 * self.sx + self.dx, box.y1 * self.sy + self.dy)

    def back(self, pixels: Sequence[float], image: int = 0) -> Box | Point:
        """The box of four canvas pixels, or the point of two, in fractions of the image; ValueError for any other number of them."""
        if len(pixels) not in (2, 4):
            raise ValueError(f"{len(pixels)} coordinates were given; a point has 2 and a box has 4")
        across = [(float(x) - self.dx) / self.sx for x in pixels[0::2]]
        down = [(float(y) - self.dy) / self.sy for y in pixels[1::2]]
        if len(pixels) == 2:
            return Point(across[0], down[0], image)
        return Box(across[0], down[0], across[1], down[1], image)

    def to_array(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Canvas pixels of rows (x, y) of fractions."""
        return points * np.array([self.sx, self.sy]) + np.array([self.dx, self.dy])

    def back_array(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Fractions of rows (x, y) of canvas pixels."""
        return (pixels - np.array([self.dx, self.dy])) / np.array([self.sx, self.sy])

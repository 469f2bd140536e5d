"""Windows of a large input: the canvas is cut into views of the size the encoder was trained on, and shrunk once to that size (Monkey, 3.1)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from foveal.geometry.frames import Frame
from foveal.vision.tiling import TilePlan

__all__ = ["cut_windows", "shrink", "windows"]


def windows(size: tuple[int, int], canvas: tuple[int, int], side: int, stride: int | None = None) -> TilePlan:
    """The plan of an image of `size` (width, height), stretched over a `canvas` (width, height): windows of `side` every `stride` pixels.

    What is left over on the right and below is dropped, as in the original. Raises ValueError for a canvas smaller than one window.

    >>> plan = windows((640, 480), (896, 672), 448, 224)
    >>> plan.rows, plan.cols, len(plan.tiles)
    (2, 3, 6)
    """
    width, height = canvas
    step = stride or side
    if min(width, height) < side:
        raise ValueError(f"a canvas of {width} x {height} pixels was given for windows of {side}; at least one window is wanted in it")
    whole = Frame.stretch(size, canvas)
    rows, cols = (height - side) // step + 1, (width - side) // step + 1
    corners = [(col * step, row * step) for row in range(rows) for col in range(cols)]
    return TilePlan(Frame.stretch(size, (side, side)), tuple(whole.crop((x, y, x + side, y + side)) for x, y in corners), rows, cols)


def cut_windows(canvas: Float[Tensor, "images 3 height width"], side: int, stride: int | None = None) -> Float[Tensor, "views 3 {side} {side}"]:
    """All windows of all images, image by image, row by row from the left.

    >>> import torch
    >>> cut_windows(torch.rand(2, 3, 8, 12), 4).shape
    torch.Size([12, 3, 4, 4])
    """
    step = stride or side
    views = canvas.unfold(2, side, step).unfold(3, side, step)  # images 3 rows cols side side
    return views.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def shrink(canvas: Float[Tensor, "images 3 height width"], side: int) -> Float[Tensor, "images 3 {side} {side}"]:
    """The whole picture at the size of a window: the normalised canvas itself, bicubic, corners not aligned, no antialiasing."""
    return functional.interpolate(canvas, (side, side), mode="bicubic")

"""Sizes of views, maps and tables: whole patches; another size by one kernel, which widens where it shrinks; what is kept for each size."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["KeptSizes", "resize_line", "resize_maps", "whole_patches"]

_Kernel = Literal["bicubic", "bilinear"]


def whole_patches(views: Float[Tensor, "views channels height width"], patch: int) -> tuple[int, int]:
    """Rows and columns of the patches of `patch` pixels that have room in a view. Raises ValueError where not one has.

    >>> whole_patches(torch.zeros(1, 3, 384, 100), 14)
    (27, 7)
    """
    height, width = views.shape[2:]
    if min(height, width) < patch:
        raise ValueError(f"views of {width} x {height} pixels were given to an encoder with patches of {patch}; one at least has to fit in")
    return height // patch, width // patch


def resize_maps(
    maps: Float[Tensor, "maps rows cols dim"], rows: int, cols: int, kernel: _Kernel = "bicubic"
) -> Float[Tensor, "maps {rows} {cols} dim"]:
    """Maps of another size, computed in float32; the same ones where nothing changes.

    Pixels' centres lie at a half; a cell is a weighted mean of the cells around its centre, by a cubic of a = -0.5 or a triangle, widened by
    the factor by which an axis shrinks. Cells that would lie outside have no part, and the weights of the rest sum to one. So resize JAX,
    Pillow and, with `antialias`, torch; PyTorch's plain bicubic does not.

    >>> resize_maps(torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 4, 1), 1, 2, "bilinear").flatten()
    tensor([0.7143, 2.2857])
    """
    if maps.shape[1:3] == (rows, cols):
        return maps
    if cols == 1 < rows:  # torch 2.13 miscounts what is to lie in one column; what is to lie in one row it counts right
        return resize_maps(maps.transpose(1, 2), cols, rows, kernel).transpose(1, 2)
    resized = functional.interpolate(maps.float().permute(0, 3, 1, 2), (rows, cols), mode=kernel, antialias=True)
    return resized.permute(0, 2, 3, 1).to(maps.dtype)


def resize_line(table: Float[Tensor, "cells dim"], cells: int) -> Float[Tensor, "{cells} dim"]:
    """A table along one axis, such as one of relative positions, at another length: by the triangle, as `resize_maps` does.

    >>> resize_line(torch.tensor([[0.0], [1.0]]), 4).flatten()
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    return resize_maps(table[None, None], 1, cells, "bilinear")[0, 0]


class KeptSizes:
    """What one table becomes at the sizes asked for: computed once for each, and kept until the table changes.

    While the table learns, each call computes its own.

    >>> kept, table = KeptSizes(), torch.rand(3, 2)
    >>> kept(table, (5,), resize_line) is kept(table, (5,), resize_line)
    True
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], tuple[object, Tensor]] = {}

    def __call__(self, table: Tensor, size: tuple[int, ...], resize: Callable[..., Tensor]) -> Tensor:
        """`resize(table, *size)`, or what it was."""
        if torch.is_grad_enabled() and table.requires_grad:
            return resize(table, *size)
        version = 0 if table.is_inference() else table._version
        state = (table.data_ptr(), version, table.dtype, table.device)
        kept = self._kept.get(size)
        if kept is None or kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # what is kept may have a part in a backward pass later
                kept = (state, resize(table.detach(), *size))
            self._kept[size] = kept
        return kept[1]

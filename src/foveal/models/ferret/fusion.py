"""How the features of the overview and of the tiles are cropped, and become the one map that regions are read from."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["fuse_maps", "kept_cells"]


def kept_cells(size: tuple[int, int], rows: int, cols: int) -> tuple[slice, slice]:
    """The rows and columns of a map that an image of `size` (width, height) would fill had it been letter-boxed (`spatial_unpad`).

    >>> kept_cells((337, 336), 24, 48)
    (slice(0, 24, None), slice(12, 36, None))
    """
    width, height = size
    if width / height > cols / rows:
        spare = (rows - int(height * (cols / width))) // 2
        return slice(spare, rows - spare), slice(0, cols)
    spare = (cols - int(width * (rows / height))) // 2
    return slice(0, rows), slice(spare, cols - spare)


def fuse_maps(
    overview: Float[Tensor, "rows cols dim"], merged: Float[Tensor, "all_rows all_cols local_dim"] | None, how: str, local_dim: int
) -> Float[Tensor, "fused map_rows map_cols"]:
    """The map of regions, channels first: the merged tiles and the overview repeated to their size, summed or stacked (arXiv 2404.07973, 3.2).

    Without tiles it is the overview alone; zeros stand for the tiles' channels when they would be stacked.

    >>> fuse_maps(torch.ones(1, 1, 2), torch.ones(2, 2, 2), "add", 2).tolist()[0]
    [[2.0, 2.0], [2.0, 2.0]]
    """
    overview = overview.permute(2, 0, 1)
    if merged is None:
        return overview if how == "add" else torch.cat([overview.new_zeros(local_dim, *overview.shape[1:]), overview])
    merged = merged.permute(2, 0, 1)
    grown = functional.interpolate(overview[None], size=merged.shape[1:])[0]
    return merged + grown if how == "add" else torch.cat([merged, grown])

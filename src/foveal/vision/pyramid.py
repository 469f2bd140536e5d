"""Five levels of resolution out of one feature map: the simple pyramid of plain transformers (Li et al. 2022, ViTDet), and two coarser levels."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foveal.vision.starting import start_layers

__all__ = ["LEVEL_SCALES", "SimplePyramid"]

LEVEL_SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How far apart the cells of each level lie, in cells of the map that the pyramid is made of."""


class SimplePyramid(nn.Module):
    """Maps of one width at 2, 1, 1/2, 1/4 and 1/8 of a map's resolution; the three finer ones come from the map itself.

    `up` is the width of the doubled map. Halving drops an odd last row or column in the third level, and rounds up in the two coarsest.

    >>> import torch
    >>> [tuple(level.shape[2:]) for level in SimplePyramid(dim=6, width=8, up=4)(torch.rand(1, 6, 27, 27))]
    [(54, 54), (27, 27), (13, 13), (7, 7), (4, 4)]
    """

    def __init__(self, dim: int, width: int = 256, up: int = 384, eps: float = 1e-6) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(dim, up, 2, stride=2)
        self.finer, self.equal, self.coarser = (_Smoothing(given, width, eps) for given in (up, dim, dim))
        self.fourth, self.fifth = (nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(2))
        self.reset()

    def reset(self) -> None:
        """Kernels as flax starts them, biases at zero."""
        start_layers(self)

    def forward(self, maps: Float[Tensor, "images dim rows cols"]) -> list[Float[Tensor, "images width _ _"]]:
        """The five levels, the finest first. ValueError for a map of less than two rows or columns."""
        if min(maps.shape[2:]) < 2:
            raise ValueError(f"a map of {maps.shape[2]} x {maps.shape[3]} cells was given to a pyramid; at least 2 x 2 are wanted")
        third = self.coarser(functional.max_pool2d(maps, 2))
        fourth = self.fourth(third)
        return [self.finer(self.up(maps)), self.equal(maps), third, fourth, self.fifth(functional.relu(fourth))]


class _Smoothing(nn.Module):
    """To the pyramid's width, and a look at the neighbours; a norm over the channels after each."""

    def __init__(self, dim: int, width: int, eps: float) -> None:
        super().__init__()
        self.narrow, self.smooth = nn.Conv2d(dim, width, 1, bias=False), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.narrow_norm, self.smooth_norm = (nn.LayerNorm(width, eps=eps) for _ in range(2))

    def forward(self, maps: Float[Tensor, "images dim rows cols"]) -> Float[Tensor, "images width rows cols"]:
        maps = self.narrow_norm(self.narrow(maps).movedim(1, -1)).movedim(-1, 1)
        return self.smooth_norm(self.smooth(maps).movedim(1, -1)).movedim(-1, 1)

"""What PixelLLM keeps of seen images: one map of both towers that prompts are asked of, and the finer one that masks are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foveal.models.base import Sight

__all__ = ["PixelSight"]


@dataclass(frozen=True)
class PixelSight(Sight):
    """`maps[i]` "dim rows cols" is what prompts about image i look at. Nothing stands in a text: every image has 0 `slots`.

    `fine[i]` is the map of the tower for places, where there is one; `size` is the (width, height) in pixels of the input, padding included.

    >>> sight = PixelSight((torch.zeros(0, 8),), (torch.zeros(6, 2, 2),), (torch.zeros(4, 3, 3),), (32, 32))
    >>> len(sight), sight.slots, sight.of(0, 0).fine[1].shape
    (1, (0,), torch.Size([4, 3, 3]))
    """

    fine: tuple[Float[Tensor, "place_dim _ _"], ...]
    size: tuple[int, int]

    def of(self, *images: int) -> "PixelSight":
        """The sight of some of the images, in the order given; an image may be given again."""
        tokens, maps, fine = (tuple(kept[image] for image in images) if kept else () for kept in (self.tokens, self.maps, self.fine))
        return PixelSight(tokens, maps, fine, self.size)

    @staticmethod
    def together(sights: Sequence["PixelSight"]) -> "PixelSight":
        """The sight of all images of several, in their order."""
        tokens, maps, fine = (tuple(part for sight in sights for part in getattr(sight, name)) for name in ("tokens", "maps", "fine"))
        return PixelSight(tokens, maps, fine, sights[0].size)

    def grids(self) -> Float[Tensor, "images rows cols dim"]:
        """The maps of all images as one tensor."""
        return torch.stack(self.maps).permute(0, 2, 3, 1)

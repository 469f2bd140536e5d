"""Two image encoders on the same pixels, each with the colours it knows, their maps as one: PixelLLM's EVA-02 and SAM, or any others."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from foveal.vision.resizing import resize_maps, whole_patches
from foveal.vision.towers import VisionTower

__all__ = ["TowerMaps", "TowerPair", "coloured"]

_Colours = tuple[tuple[float, float, float], tuple[float, float, float]]


class TowerMaps(NamedTuple):
    """What towers make of images: the maps of all as one, and each one's own."""

    fused: Float[Tensor, "images rows cols dim"]
    maps: tuple[Tensor, ...]


def coloured(
    pixels: Float[Tensor, "images 3 height width"],
    colours: _Colours,
    real: Bool[Tensor, "images height width"] | None = None,
    size: tuple[int, int] | None = None,
) -> Float[Tensor, "images 3 rows cols"]:
    """Pixels from 0 to 1 as an encoder wants them: less a mean and over a deviation, then 0 where they are not `real`, then resized.

    `colours` are the mean and the deviation of red, green and blue, `size` is (width, height); it is reached by the triangle, with antialiasing.

    >>> from foveal.vision.tiling import EVEN_COLOURS
    >>> coloured(torch.ones(1, 3, 1, 2), EVEN_COLOURS, torch.tensor([[[True, False]]]))[0, 0].tolist()
    [[1.0, 0.0]]
    """
    mean, deviation = (pixels.new_tensor(row).view(3, 1, 1) for row in colours)
    pixels = (pixels - mean) / deviation
    if real is not None:
        pixels = pixels * real[:, None]
    if size is None:
        return pixels
    return resize_maps(pixels.permute(0, 2, 3, 1), size[1], size[0], "bilinear").permute(0, 3, 1, 2)


class TowerPair(nn.Module):
    """One map of what two towers see, or one: the maps are resized to one grid and put side by side in the order given.

    A tower is a module with `dim` that makes a map "images rows cols dim" of normalised pixels: `EvaVisionModel`, `SamEncoder` or a
    `VisionTower`. Pixels at the right and at the bottom that make no whole patch are not seen. A tower in which nothing learns works as in use,
    without dropout or stochastic depth, and keeps nothing for a backward pass. `sizes` are the (width, height) at which each sees an image;
    None: as it is. `grid` says whose the one grid is: the largest's, or the first's. (With patches of 14 and 16 pixels on 384, the first tower
    does not see the last six; its map is laid over the other's all the same, as in the release. 378 and 384 pixels show both the same.)

    >>> from foveal.vision import CLIP_COLOURS, IMAGENET_COLOURS, EvaVisionConfig, build_tower
    >>> from transformers import SamVisionConfig
    >>> small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> eva, sam = build_tower(EvaVisionConfig(**small)), build_tower(SamVisionConfig(image_size=64, output_channels=6, **small))
    >>> pair = TowerPair([eva, sam.requires_grad_(False)], [CLIP_COLOURS, IMAGENET_COLOURS])
    >>> seen = pair(torch.rand(2, 3, 64, 64))
    >>> seen.fused.shape, seen.maps[1].shape, pair.dim
    (torch.Size([2, 4, 4, 14]), torch.Size([2, 4, 4, 6]), 14)
    """

    def __init__(
        self,
        towers: Sequence[nn.Module],
        colours: Sequence[_Colours],
        sizes: Sequence[tuple[int, int] | None] | None = None,
        grid: Literal["largest", "first"] = "largest",
    ) -> None:
        super().__init__()
        sizes = sizes or [None] * len(towers)
        if len(towers) not in (1, 2) or not len(towers) == len(colours) == len(sizes):
            raise ValueError(f"{len(towers)} towers, {len(colours)} colours and {len(sizes)} sizes were given; one or two of each are wanted")
        self.towers = nn.ModuleList(towers)
        self.colours, self.sizes, self.grid = tuple(colours), tuple(sizes), grid

    @property
    def dim(self) -> int:
        """Width of the one map."""
        towers: list[Any] = list(self.towers)
        return sum(tower.dim for tower in towers)

    def forward(self, pixels: Float[Tensor, "images 3 height width"], real: Bool[Tensor, "images height width"] | None = None) -> TowerMaps:
        """The maps of images with pixels from 0 to 1. Those that are not `real` are padding; without, all are."""
        maps = tuple(self._seen(*given, pixels, real) for given in zip(self.towers, self.colours, self.sizes, strict=True))
        rows, cols = max((one.shape[1:3] for one in maps), key=lambda grid: grid[0] * grid[1]) if self.grid == "largest" else maps[0].shape[1:3]
        return TowerMaps(torch.cat([resize_maps(one, rows, cols) for one in maps], dim=-1), maps)

    def _seen(self, tower: nn.Module, colours: _Colours, size: tuple[int, int] | None, pixels: Tensor, real: Tensor | None) -> Tensor:
        learns = any(weight.requires_grad for weight in tower.parameters())
        if not learns and tower.training:
            tower.eval()
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            seen = coloured(pixels, colours, real, size)
            if isinstance(tower, VisionTower):  # which refuses what its patches do not divide
                rows, cols = whole_patches(seen, tower.patch)
                seen = seen[..., : rows * tower.patch, : cols * tower.patch]
            return tower(seen)

"""SAM's image encoder (arXiv 2304.02643) for views of any size: transformers' own, with its tables of positions resized as the release does."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder, SamVisionSdpaAttention

from foveal.vision.resizing import KeptSizes, resize_line, resize_maps, whole_patches

__all__ = ["SamEncoder"]


class SamEncoder(SamVisionEncoder):
    """transformers' `SamVisionEncoder`, its parameters and names included, but for the size of a view, which may be any.

    `image_size` of the configuration is the side that the tables were trained for. Both kinds are resized with antialiasing: the positions
    bicubically, the relative ones of blocks without windows linearly along their length. There is no stochastic depth: PixelLLM's release
    runs it in this encoder though it is frozen, so that its features in training are not those of use.

    >>> config = SamVisionConfig(hidden_size=8, output_channels=6, num_hidden_layers=2, num_attention_heads=2, image_size=64, window_size=2)
    >>> SamEncoder(config)(torch.rand(3, 3, 40, 48)).shape
    torch.Size([3, 2, 3, 6])
    """

    def __init__(self, config: SamVisionConfig) -> None:
        super().__init__(config)
        self._kept = KeptSizes()
        for layer in self.layers:
            layer.attn.__class__ = _Attention  # the same parameters, made and started by transformers
            layer.attn.kept_rows, layer.attn.kept_cols = KeptSizes(), KeptSizes()

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.config.output_channels

    def forward(self, views: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views rows cols dim"]:
        """Features of normalised pixels, behind the neck. Pixels at the right and at the bottom that make no whole patch are not seen.

        Raises ValueError for a view smaller than a patch.
        """
        grid = whole_patches(views, self.config.patch_size)
        hidden = self.patch_embed.projection(views.to(self.dtype)).permute(0, 2, 3, 1)
        if self.pos_embed is not None:
            hidden = hidden + self._kept(self.pos_embed, grid, resize_maps)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.neck(hidden).permute(0, 2, 3, 1)


class _Attention(SamVisionSdpaAttention):
    """transformers' attention, but for how a table of relative positions becomes one of another length; each is kept, laid out for its size."""

    kept_rows: KeptSizes
    kept_cols: KeptSizes

    def get_rel_pos(self, q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
        """What lies between each query and each key of a line: "queries keys head"."""
        assert q_size == k_size, "queries and keys are the same cells"
        kept = self.kept_rows if rel_pos is self.rel_pos_h else self.kept_cols
        return kept(rel_pos, (q_size,), _between)


def _between(table: Float[Tensor, "cells head"], size: int) -> Float[Tensor, "{size} {size} head"]:
    """The entry of each distance, rows for queries and columns for keys."""
    line = torch.arange(size, device=table.device)
    return resize_line(table, 2 * size - 1)[line[:, None] - line + size - 1]

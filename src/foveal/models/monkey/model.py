"""Monkey: a language model that reads windows of a large input, each through its own adapters, and the whole picture, shrunk."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, initialization

from foveal.models.base import ConversationModel, Sight
from foveal.models.monkey.config import MonkeyConfig
from foveal.models.monkey.language import Qwen7BConfig, Qwen7BForCausalLM
from foveal.vision import Projector, QwenVisionModel, Resampler, TokenResampler, VisionTower, build_backbone

__all__ = ["MonkeyForConditionalGeneration"]

AutoModelForCausalLM.register(Qwen7BConfig, Qwen7BForCausalLM, exist_ok=True)


class MonkeyForConditionalGeneration(ConversationModel):
    """Monkey (arXiv 2311.06607) over Qwen-VL's or any other encoder, and over Qwen-7B or any causal language model.

    Images are `tile_values` (the windows of all images, row by row), `pixel_values` (each whole picture at the size of a window) and
    `grids` (rows and columns of each image's windows); or a `sight`. All views of a batch go through the encoder in one pass. An image's
    tokens are those of its windows in order, or the least redundant of them, then those of the whole; they fill the image placeholders of
    `input_ids`.
    """

    config: MonkeyConfig
    config_class = MonkeyConfig
    visual_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "tile_values", "grids", "sight")

    def __init__(self, config: MonkeyConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        vision: Any = config.vision_config
        self.has_adapters = vision.model_type == "qwen_vision"
        backbone = QwenVisionModel(vision) if self.has_adapters else build_backbone(vision)
        self.vision_tower = backbone if self.has_adapters else VisionTower(backbone, config.select_layer)
        dim = vision.hidden_size
        self.connector = _Resampled(dim, width, config) if config.connector == "resampler" else Projector(config.connector, dim, width)
        self.token_resampler = TokenResampler(width, config.kept_tokens, config.kept_dim, config.kept_heads) if config.kept_tokens else None
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.finish_init()

    def encode_images(
        self,
        pixel_values: Float[Tensor, "wholes 3 height width"] | None = None,
        tile_values: Float[Tensor, "windows 3 side side"] | None = None,
        grids: Int[Tensor, "images 2"] | None = None,
    ) -> Sight:
        """The tokens of a batch of images, whatever the number of windows of each.

        ValueError when windows and grids are not as many, or a window has no adapter.
        """
        shapes = [] if grids is None else [(rows, cols) for rows, cols in grids.tolist()]
        counts = [rows * cols for rows, cols in shapes]
        num_windows = 0 if tile_values is None else len(tile_values)
        if sum(counts) != num_windows:
            raise ValueError(f"grids {shapes} want {sum(counts)} windows, got {num_windows}.")
        whole = None if pixel_values is None or not len(pixel_values) else pixel_values.to(self.dtype)
        numbers = torch.cat([torch.arange(count) for count in counts] or [torch.empty(0, dtype=torch.long)])
        if whole is not None and not self.config.windows:
            numbers = torch.zeros(len(whole), dtype=torch.long)  # a canvas that is not cut is its only window, and goes through the first adapter
        if whole is None or not num_windows or whole.shape[-2:] == tile_values.shape[-2:]:
            views = torch.cat([part.to(self.dtype) for part in (tile_values, whole) if part is not None])
            found = self._look(views, numbers, shapes)
            near, far = found[:num_windows], found[num_windows:]
        else:
            near, far = self._look(tile_values.to(self.dtype), numbers, shapes), self._look(whole, numbers[:0])
        images = max(len(counts), len(far))
        pieces = [piece.flatten(0, 1) for piece in (near.split(counts) if counts else [near[:0]] * images)]
        return Sight(tuple(torch.cat([piece, *far[n : n + 1]]) for n, piece in enumerate(self._kept(pieces))), ())

    def _look(self, views: Tensor, adapter: Int[Tensor, " windows"], grids: Sequence[tuple[int, int]] = ()) -> Float[Tensor, "views tokens width"]:
        maps = self.vision_tower(views, adapter.to(views.device), grids) if self.has_adapters else self.vision_tower(views)
        return self.connector(maps) if isinstance(self.connector, _Resampled) else self.connector(maps).flatten(1, 2)

    def _kept(self, pieces: list[Float[Tensor, "_ width"]]) -> list[Float[Tensor, "_ width"]]:
        """What is kept of the tokens of each image's windows; images with as many are worked on at once."""
        if self.token_resampler is None:
            return pieces
        found = list(pieces)
        for count in {len(piece) for piece in pieces if len(piece)}:
            same = [image for image, piece in enumerate(pieces) if len(piece) == count]
            for image, kept in zip(same, self.token_resampler(torch.stack([pieces[image] for image in same])), strict=True):
                found[image] = kept
        return found

    def _sight(self, *looks: Any, **named: Any) -> Sight:
        return self.encode_images(*looks, **named)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, _Resampled):
            initialization.normal_(module.proj, std=len(module.proj) ** -0.5)
        elif isinstance(module, Resampler | TokenResampler):
            module.reset()
        else:
            super()._init_weights(module)


class _Resampled(nn.Module):
    """Qwen-VL's connector: the resampler, a norm, and a square matrix that multiplies from the right."""

    def __init__(self, dim: int, width: int, config: MonkeyConfig) -> None:
        super().__init__()
        self.resampler = Resampler(dim, width, config.queries, config.connector_heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Parameter(torch.empty(width, width))

    def forward(self, maps: Float[Tensor, "views rows cols dim"]) -> Float[Tensor, "views queries width"]:
        return self.norm(self.resampler(maps)) @ self.proj

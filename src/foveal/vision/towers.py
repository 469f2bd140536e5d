"""Image encoders behind one forward: transformers' own classes, run only as deep as their features are taken, laid out as a map."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    CLIPVisionModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionModel,
)

from foveal.vision.eva import EvaVisionModel
from foveal.vision.sam import SamEncoder

__all__ = ["VisionTower", "build_backbone", "build_tower"]

_BACKBONES: dict[str, type[PreTrainedModel]] = {
    "clip_vision_model": CLIPVisionModel,
    "dinov2": Dinov2Model,
    "dinov2_with_registers": Dinov2WithRegistersModel,
    "siglip_vision_model": SiglipVisionModel,
}
_MAPPING: dict[str, type[PreTrainedModel]] = {"eva02_vision": EvaVisionModel, "sam_vision_model": SamEncoder}
"""Encoders that make a map by themselves."""


def build_tower(config: PreTrainedConfig, select_layer: int = -1, *, normed: bool = True) -> nn.Module:
    """An encoder with random weights that makes a map "views rows cols dim" of normalised pixels, and knows its `dim`.

    EVA-02 and SAM do so by themselves; around others stands a `VisionTower`, to which the options belong. Raises ValueError for a kind that
    is none of these.

    >>> from transformers import SamVisionConfig
    >>> type(build_tower(SamVisionConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2))).__name__
    'SamEncoder'
    """
    kind = _MAPPING.get(config.model_type)
    return VisionTower(build_backbone(config), select_layer, normed=normed) if kind is None else kind(config)


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder with random weights, of the kind its configuration names. Raises ValueError for a kind that no tower wraps.

    >>> from transformers import CLIPVisionConfig
    >>> config = CLIPVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    >>> type(build_backbone(config)).__name__
    'CLIPVisionModel'
    """
    if config.model_type not in _BACKBONES:
        raise ValueError(f"no vision tower wraps a {config.model_type!r}; there are {', '.join(sorted(_BACKBONES))}")
    return _BACKBONES[config.model_type](config)


class VisionTower(nn.Module):
    """A map of patch features of every view. `select_layer` is an index into the hidden states: 0 before the first block, -1 after the last.

        -2, before the last block and without a final norm, is CLIP's layer in Ferret; `normed` puts the encoder's final norm behind the layer
        taken, which with -1 is DINOv2's usual output. Blocks behind that layer keep their weights, so that checkpoints load one to one, and are
        not run. With `gradient_checkpointing` a backward pass runs the others again rather than keep what they computed. A view may have any sides
    that the patch divides: the position embeddings are interpolated when the side is not the trained one.

        >>> from transformers import CLIPVisionConfig
        >>> config = CLIPVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
        >>> import torch
        >>> VisionTower(build_backbone(config))(torch.rand(1, 3, 28, 56)).shape
        torch.Size([1, 2, 4, 8])
    """

    def __init__(self, backbone: PreTrainedModel, select_layer: int = -2, *, normed: bool = False, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.normed = normed
        self.gradient_checkpointing = gradient_checkpointing
        depth = len(self._blocks())
        self.num_blocks = select_layer if select_layer >= 0 else depth + 1 + select_layer
        if not 0 <= self.num_blocks <= depth:
            raise ValueError(f"hidden state {select_layer} was asked of an encoder of {depth} blocks")

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.backbone.config.hidden_size

    @property
    def patch(self) -> int:
        """Side of a patch in pixels: a view of h x w pixels becomes h / patch rows of w / patch columns."""
        return self.backbone.config.patch_size

    def forward(self, views: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views rows columns dim"]:
        """Features of normalised pixels. Class and register tokens are left out. Raises ValueError for sides that the patch does not divide."""
        height, width = views.shape[2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"a view of {width} x {height} pixels was given to a tower whose patches of {self.patch} pixels do not divide it")
        rows, columns = height // self.patch, width // self.patch
        hidden = self._embed(views)
        saving = self.gradient_checkpointing and self.training
        for block in self._blocks()[: self.num_blocks]:
            hidden = checkpoint(block, hidden, None, use_reentrant=False) if saving else block(hidden, None)
        hidden = hidden[:, hidden.shape[1] - rows * columns :]
        if self.normed:
            hidden = self._norm()(hidden)
        return hidden.unflatten(1, (rows, columns))

    def _embed(self, views: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views tokens dim"]:
        views = views.to(self.backbone.dtype)
        if isinstance(self.backbone, CLIPVisionModel):
            return self.backbone.pre_layrnorm(self.backbone.embeddings(views, interpolate_pos_encoding=True))
        if isinstance(self.backbone, SiglipVisionModel):
            return self.backbone.embeddings(views, interpolate_pos_encoding=True)
        return self.backbone.embeddings(views)

    def _blocks(self) -> nn.ModuleList:
        encoder = self.backbone.encoder
        return encoder.layers if hasattr(encoder, "layers") else encoder.layer

    def _norm(self) -> nn.Module:
        return self.backbone.layernorm if hasattr(self.backbone, "layernorm") else self.backbone.post_layernorm

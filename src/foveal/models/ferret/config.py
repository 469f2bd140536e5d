"""Everything that fixes a Ferret: encoders, tiling, projectors, region sampler, language model, and how places are spelled."""

from typing import ClassVar, Literal, no_type_check

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

__all__ = ["FerretConfig"]


@strict
@no_type_check  # transformers checks the fields itself, and its __init__ takes keywords that its signature does not name
class FerretConfig(PreTrainedConfig):
    """Configuration of `FerretForConditionalGeneration`; defaults are Ferret-v2's with one CLIP encoder.

    v1: `grids=[]`, `projector="linear"`. Ferret-UI: `grids` of its five, one encoder. v2: `local_vision_config` of a DINOv2.

    >>> FerretConfig(grids=[(1, 2), (2, 1)]).grids
    [[1, 2], [2, 1]]
    """

    model_type = "ferret"
    keys_to_ignore_at_inference = ("past_key_values", "sight")
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "vision_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="clip_vision_model",
            init_kwargs={
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 336,
                "patch_size": 14,
                "projection_dim": 768,
            },
        ),
        "local_vision_config": SubConfigSpec(config_class=AutoConfig, model_type="dinov2", optional=True),
    }

    vision_config: dict | PreTrainedConfig | None = None
    """Encoder of the overview."""
    local_vision_config: dict | PreTrainedConfig | None = None
    """Encoder of the tiles; None shares the overview's, weights included."""
    text_config: dict | PreTrainedConfig | None = None
    """Any causal language model."""

    overview_side: int = 336
    """Side in pixels of the whole image as the overview encoder sees it."""
    tile_side: int = 336
    """Side in pixels of a tile."""
    grids: list | tuple = (
        (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 2), (2, 3), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (3, 2)
    )  # fmt: skip
    """Candidate (columns, rows) of tiles, first wins a tie; empty: no tiles, as in v1."""
    select_layer: int = -2
    """Hidden state taken from the overview encoder."""
    local_select_layer: int = -1
    """Hidden state taken from the tile encoder when it is another one."""
    local_normed: bool = True
    """Whether that encoder's final norm follows."""
    merge: Literal["spatial", "spatial_unpad"] = "spatial"
    """Order of the tile tokens; `spatial_unpad` also crops as if the image had been padded and ends each row with a learned vector."""
    projector: Literal["linear", "mlp2x_gelu"] = "mlp2x_gelu"
    position_cells: int = 0
    """Cells along each axis of a learned row + column embedding added to the projected tokens; 0: none, as in the papers."""

    region_adapter: Literal["sampler", "average", "none"] = "sampler"
    region_map: Literal["overview", "tiles", "fused"] = "fused"
    """What regions are read from; an image without tiles is read from its overview."""
    region_source: Literal["encoder", "projected"] = "encoder"
    """Whether regions are read before or after the projectors."""
    map_fusion: Literal["add", "concat"] = "add"
    map_adapters: bool = False
    """A LayerNorm and a linear map for each encoder before its features are fused."""
    sampler_points: int = 512
    sampler_anchors: list | tuple = (128, 32)
    sampler_neighbours: int = 24
    sampler_pooling: Literal["max", "mean"] = "max"
    sampler_read: Literal["upright", "transposed"] = "upright"
    """`transposed` reads the map with its axes swapped, which the published v1 and Ferret-UI weights were trained with."""

    image_token_id: int = 32000
    region_token_id: int = 32001
    context_length: int = 2048
    """Longest text, image tokens included, the processor lets through."""
    bins: int = 1000
    """Coordinates are written as whole numbers from 0 to `bins` - 1."""
    coordinates: bool = True
    """Whether questions write coordinates (an ablation)."""
    features: bool = True
    """Whether questions write region features (an ablation); never without an adapter that reads them."""
    template: str = "ferret_v1"
    """Name of the conversation template."""
    lora_rank: int = 0
    """Of adapters beside linear layers of the language model; 0: none."""
    lora_alpha: float = 32.0
    """W' = W + lora_alpha / lora_rank · B A."""
    lora_targets: list | tuple = ()
    """What the names of these layers end with; empty: all but the output."""
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        super().__post_init__(**kwargs)
        self.grids = [list(grid) for grid in self.grids]
        self.sampler_anchors = list(self.sampler_anchors)
        self.features = self.features and self.region_adapter != "none"
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))

    def validate_grids(self) -> None:
        """Each grid is two positive numbers, and the region map asked for exists."""
        if any(len(grid) != 2 or min(grid) < 1 for grid in self.grids):
            raise ValueError(f"grids are (columns, rows) of at least 1, got {self.grids}.")
        if self.region_map == "tiles" and not self.grids:
            raise ValueError("region_map='tiles' wants at least one grid.")
        same = self.vision_dim == self.local_dim or self.map_adapters or self.region_source == "projected"
        if self.region_map == "fused" and self.map_fusion == "add" and self.grids and not same:
            raise ValueError(f"encoders of widths {self.vision_dim} and {self.local_dim} cannot be added: set map_adapters=True.")

    @property
    def vision_dim(self) -> int:
        """Width of the overview encoder's features."""
        return self.vision_config.hidden_size

    @property
    def local_dim(self) -> int:
        """Width of the tile encoder's features."""
        return (self.local_vision_config or self.vision_config).hidden_size

    @property
    def overview_cells(self) -> int:
        """Feature cells along a side of the overview."""
        return self.overview_side // self.vision_config.patch_size

    @property
    def tile_cells(self) -> int:
        """Feature cells along a side of a tile."""
        return self.tile_side // (self.local_vision_config or self.vision_config).patch_size

    @property
    def map_dim(self) -> int:
        """Width of the map that regions are read from."""
        width = self.text_config.hidden_size
        parts = {"overview": [self.vision_dim], "tiles": [self.local_dim], "fused": [self.vision_dim, self.local_dim]}[self.region_map]
        if self.region_source == "projected":
            parts = [width] * len(parts)
        elif self.map_adapters:
            parts = [self.vision_dim] * len(parts)
        return sum(parts) if self.map_fusion == "concat" else parts[0]

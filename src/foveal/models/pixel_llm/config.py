"""Everything that fixes a PixelLLM: its two towers, how places prompt them, the language model, and the heads that say where."""

from typing import Any, ClassVar, Literal, no_type_check

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from foveal.vision import EvaVisionConfig

__all__ = ["PixelLLMConfig"]

AutoConfig.register(EvaVisionConfig.model_type, EvaVisionConfig, exist_ok=True)


@strict
@no_type_check  # transformers checks the fields itself, and its __init__ takes keywords that its signature does not name
class PixelLLMConfig(PreTrainedConfig):
    """Configuration of `PixelLLMForConditionalGeneration`; defaults are those of the release: EVA-02-L and SAM ViT at 384 px, 32 tokens a prompt.

    >>> config = PixelLLMConfig(text_config={"model_type": "t5"}, lora_rank=32)
    >>> config.side, config.queries, config.projects_first
    (384, 32, True)
    """

    model_type = "pixel_llm"
    keys_to_ignore_at_inference = ("sight",)
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="eva02_vision"),
        "place_config": SubConfigSpec(config_class=AutoConfig, model_type="sam_vision_model"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    """The tower that knows things: EVA-02, or any that a tower wraps."""
    place_config: dict | PreTrainedConfig | None = None
    """The tower that knows places: SAM's, or any that a tower wraps."""
    text_config: dict | PreTrainedConfig | None = None
    """BERT: the prefix language model. T5: encoder and decoder. Any other: a causal language model."""

    side: int = 384
    """Side in pixels of the square input: the longer side of a picture; the rest is padding at the bottom or on the right."""
    two_towers: bool = True
    """Whether there is a tower for places; without, nothing can be segmented."""
    grid: Literal["largest", "first"] = "largest"
    """Whose grid the maps are brought to."""
    frozen_places: bool = True
    """Whether the tower for places, the codes of prompts and the mask decoder are frozen, as in every recipe of the release."""
    vision_colours: Literal["clip", "imagenet", "even"] = "clip"
    place_colours: Literal["clip", "imagenet", "even"] = "imagenet"

    prompt_dim: int = 256
    extractor_width: int = 512
    extractor_depth: int = 6
    extractor_heads: int = 8
    extractor_mlp: int = 2048
    queries: int = 32
    """Visual tokens of each prompt."""
    visual_dim: int = 1024
    dense_out: bool = False
    """Whether the extractor has the output for every cell that the released weights hold and no recipe uses."""

    lora_rank: int = 0
    """Rank of the adapters on the language model's queries and values; 0: no adapters, and the language model learns itself."""
    lora_alpha: float = 64.0
    uniform_rows: bool = False
    """T5 alone: whether a token before padding looks at everything alike, a fault of the release on which its masks depend."""

    location_hidden: int = 512
    location_depth: int = 4
    location_points: int = 2
    """Points of each word: 2, the corners of its box; 1, the middle of it; 0: words have no place, as in the release's dense captioning."""
    scored_places: bool = False
    """Whether the head has been taught how far off its points are; without, places have no score."""

    segments: bool = False
    """Whether there are a mask decoder and the adapter that words ask it with."""
    masks_read_padding: bool = False
    """A fault of the release on which its masks depend: texts that are outlined are padded to `text_length`, and the padding is looked at."""
    mask_mlp: int = 2048
    mask_hidden: int = 256
    detector: dict | None = None
    """Options of the `BoxDecoder` (none given: those of the release); None: nothing is detected."""

    fuses_scores: bool = True
    """Whether the score of a thing that is detected and described is that of its box and its words together (`fused_scores`), not of its box
    alone, as in the release's recipe for dense captions.
    """

    text_length: int = 128
    """Longest text that the processor lets through, what begins and ends it included."""
    context_length: int = 32
    """Longest context, its end included."""
    forbid_repeats: bool = False
    """The release's rule that no token follows itself: for released weights alone, since it breaks numbers such as "11"."""
    label_smoothing: float = 0.1
    place_weight: float = 0.1
    """Of the loss of places, in pixels of the input or as a likelihood, beside that of words."""
    template: str = "pixel_llm"
    """Name of the family of wordings."""
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        given = {"model_type": "bert", "num_hidden_layers": 6, "max_position_embeddings": 1024} if self.text_config is None else self.text_config
        if isinstance(given, dict) and given.get("model_type") == "bert":
            self.text_config = {"bos_token_id": 101, "eos_token_id": 102} | given
        super().__post_init__(**kwargs)
        self.detector = None if self.detector is None else dict(self.detector)

    def validate_heads(self) -> None:
        """Masks need the tower for places, as wide as a prompt, and boxes; a word has the corners of its box, its middle, or no place."""
        if self.segments and not (self.two_towers and self.location_points == 2):
            raise ValueError("segmentation was asked for without a tower for places, or without two points a word; both are wanted.")
        if self.segments and (width := _width(self.place_config)) != self.prompt_dim:
            raise ValueError(f"segmentation was asked for with a tower for places of width {width}; that of prompts, {self.prompt_dim}, is wanted.")
        if self.side < 1 or self.queries < 1:
            raise ValueError(f"side {self.side} and {self.queries} queries were given; at least 1 of each is wanted.")
        if self.location_points not in (0, 1, 2):
            raise ValueError(
                f"{self.location_points} points a word were given; 2 (the corners of its box), 1 (its middle) or 0 (words have no place) is wanted."
            )

    @property
    def projects_first(self) -> bool:
        """Whether visual tokens are brought to the language model's width before anything reads them: with T5, as in the release."""
        return bool(self.text_config.is_encoder_decoder)


def _width(tower: Any) -> int:
    """Channels of a tower's map: SAM's has them behind its neck."""
    return int(getattr(tower, "output_channels", tower.hidden_size))

"""Everything that fixes a Monkey: canvas and windows, encoder with its adapters, connector, language model."""

from typing import ClassVar, Literal, no_type_check

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from foveal.models.monkey.language import Qwen7BConfig
from foveal.vision import QwenVisionConfig

__all__ = ["MonkeyConfig"]

AutoConfig.register(Qwen7BConfig.model_type, Qwen7BConfig, exist_ok=True)
AutoConfig.register(QwenVisionConfig.model_type, QwenVisionConfig, exist_ok=True)


@strict
@no_type_check  # transformers checks the fields itself, and its __init__ takes keywords that its signature does not name
class MonkeyConfig(PreTrainedConfig):
    """Configuration of `MonkeyForConditionalGeneration`; defaults are those of the released Monkey: 896 x 896 in four windows.

    >>> config = MonkeyConfig(canvas=(1344, 896), vision_config={"model_type": "qwen_vision", "adapters": 6})
    >>> config.grid, config.views
    ((2, 3), 7)
    """

    model_type = "monkey"
    keys_to_ignore_at_inference = ("past_key_values", "sight")
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen_7b"),
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen_vision"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    """Encoder of all views: Qwen-VL's with adapters, or any that a vision tower wraps, without."""
    text_config: dict | PreTrainedConfig | None = None
    """Any causal language model."""

    canvas: list | tuple = (896, 896)
    """(width, height) in pixels over which every image is stretched."""
    window: int = 448
    """Side of a window in pixels."""
    stride: int | None = None
    """Pixels from one window to the next; None: the window's side, so that windows do not overlap."""
    windows: bool = True
    """Whether the canvas is cut; without, it is seen whole, with interpolated positions, through the first adapter where there are some."""
    overview: bool = True
    """Whether the whole picture, shrunk to a window, follows the windows."""
    connector: Literal["resampler", "linear", "mlp2x_gelu"] = "resampler"
    """From patches to the language model: queries shared by all views, or a projector of every patch."""
    queries: int = 16
    """Side of the resampler's grid of queries."""
    connector_heads: int = 32
    kept_tokens: int = 0
    """How many of an image's tokens from windows are kept, the least redundant (TextMonkey: 512); 0: all."""
    kept_dim: int = 1024
    """Channels at which the kept look at all."""
    kept_heads: int = 8
    select_layer: int = -1
    """Hidden state taken from an encoder other than Qwen-VL's."""

    image_token_id: int = 151859
    region_token_id: int = -1
    context_length: int = 2048
    """Longest text, image tokens included, the processor lets through."""
    bins: int = 1000
    """Coordinates are written as whole numbers from 0 to `bins` - 1."""
    template: str = "monkey"
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
        self.canvas = list(self.canvas)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))

    def validate_windows(self) -> None:
        """The canvas holds a window, something is seen, and there is an adapter for each window where windows have their own."""
        width, height = self.canvas
        if self.stride is not None and self.stride < 1:
            raise ValueError(f"a window every {self.stride} pixels was asked for; 1 or more, or None for windows side by side, is wanted.")
        patch = self.vision_config.patch_size
        sides = (self.window,) if self.windows else (width, height)
        if any(side < patch or side % patch for side in sides):
            raise ValueError(f"views of {' x '.join(map(str, sides))} pixels were asked for; sides that patches of {patch} pixels divide are wanted.")
        if self.windows and min(width, height) < self.window:
            raise ValueError(f"a canvas of {width} x {height} pixels has no room for a window of {self.window}; at least one is wanted in it.")
        rows, cols = self.grid
        count = getattr(self.vision_config, "adapters", 0)
        if count and getattr(self.vision_config, "adapter_sharing", "window") == "window" and rows * cols > count:
            raise ValueError(
                f"a canvas of {width} x {height} pixels has {rows * cols} windows, and there are adapters for {count}; as many are wanted."
            )
        if getattr(self.vision_config, "between", ()) and self.stride not in (None, self.window):
            raise ValueError(
                f"windows of {self.window} pixels every {self.stride} make no one map for attention between them; {self.window} is wanted."
            )
        if not self.windows and (self.kept_tokens > 0 or bool(getattr(self.vision_config, "between", None))):
            raise ValueError("windows were to meet, or some of their tokens to be kept (TextMonkey), and windows=False makes none; True is wanted.")
        if self.kept_tokens < 0:
            raise ValueError(f"{self.kept_tokens} tokens were to be kept of an image's windows; 0, for all of them, or more is wanted.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        if not self.windows:
            return 0, 0
        width, height = self.canvas
        step = self.stride or self.window
        return (height - self.window) // step + 1, (width - self.window) // step + 1

    @property
    def views(self) -> int:
        """How many views an image makes."""
        rows, cols = self.grid
        return rows * cols + int(self.overview or not self.windows)

    @property
    def view_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the view of the whole picture."""
        return (self.window, self.window) if self.windows else (self.canvas[0], self.canvas[1])

    def tokens(self, width: int, height: int) -> int:
        """Image tokens that a view of so many pixels makes."""
        if self.connector == "resampler":
            return self.queries**2
        patch = self.vision_config.patch_size
        return (width // patch) * (height // patch)

"""Names of models to their classes: one dict, known to transformers' Auto classes once this module is imported."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig

from foveal.models.base import GroundedModel
from foveal.models.ferret import FerretConfig, FerretForConditionalGeneration, FerretProcessor
from foveal.models.monkey import MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.models.pixel_llm import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.models.processing import Processor

__all__ = ["MODELS"]

MODELS: dict[str, tuple[type[PreTrainedConfig], type[GroundedModel], type[Processor]]] = {
    "ferret": (FerretConfig, FerretForConditionalGeneration, FerretProcessor),
    "monkey": (MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor),
    "pixel_llm": (PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor),
}
"""Each model's `model_type`: its configuration, model and processor."""

for _name, (_config, _model, _processor) in MODELS.items():
    AutoConfig.register(_name, _config, exist_ok=True)
    AutoModelForImageTextToText.register(_config, _model, exist_ok=True)
    AutoProcessor.register(_config, _processor, exist_ok=True)

"""Names of models to their classes: one dict, known to transformers' Auto classes once this module is imported; and how a model is opened."""

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig

from foveal.models.base import GroundedModel
from foveal.models.ferret import FerretConfig, FerretForConditionalGeneration, FerretProcessor
from foveal.models.monkey import MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.models.pixel_llm import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.models.processing import Processor

__all__ = ["MODELS", "open_model", "open_processor"]

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


def open_model(place: str, dtype: torch.dtype, name: str = "") -> tuple[GroundedModel, Processor]:
    """The model and the processor of a folder or of a name on the hub, from safetensors only; none of its code is run.

    ValueError, which calls it `name`, for what cannot be opened.
    """
    processor = open_processor(place, name)
    try:
        model = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"The model {name or place!r} cannot be opened: {_first_line(error)}") from error
    if not isinstance(model, GroundedModel):
        raise ValueError(f"The model {name or place!r} is a {type(model).__name__}; a model of this library is wanted.")
    return model, processor


def open_processor(place: str, name: str = "") -> Processor:
    """A model's processor alone; ValueError as `open_model`'s."""
    try:
        processor = AutoProcessor.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"The model {name or place!r} cannot be opened: {_first_line(error)}") from error
    if not isinstance(processor, Processor):
        raise ValueError(f"The model {name or place!r} has a {type(processor).__name__}; a model of this library is wanted.")
    return processor


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

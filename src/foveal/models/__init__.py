"""Models that tie words to places, and their processors. Importing this package makes them known to transformers' Auto classes."""

from foveal.models.auto import MODELS, open_model, open_processor
from foveal.models.base import GroundedModel, GroundedOutput, Sight, scatter_features
from foveal.models.ferret import FerretConfig, FerretForConditionalGeneration, FerretProcessor
from foveal.models.monkey import MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.models.pixel_llm import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.models.processing import Processor

__all__ = [
    "MODELS",
    "FerretConfig",
    "FerretForConditionalGeneration",
    "FerretProcessor",
    "GroundedModel",
    "GroundedOutput",
    "MonkeyConfig",
    "MonkeyForConditionalGeneration",
    "MonkeyProcessor",
    "PixelLLMConfig",
    "PixelLLMForConditionalGeneration",
    "PixelLLMProcessor",
    "Processor",
    "Sight",
    "open_model",
    "open_processor",
    "scatter_features",
]

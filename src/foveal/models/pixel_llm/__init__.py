"""PixelLLM: a language model that is asked with places, and says of every word where it is."""

from foveal.models.pixel_llm.config import PixelLLMConfig
from foveal.models.pixel_llm.model import PixelLLMForConditionalGeneration, PixelLLMOutput
from foveal.models.pixel_llm.places import LocationHead, boxes_of_points, place_loss, scores_of_places
from foveal.models.pixel_llm.processor import PixelLLMProcessor
from foveal.models.pixel_llm.sight import PixelSight

__all__ = [
    "LocationHead",
    "PixelLLMConfig",
    "PixelLLMForConditionalGeneration",
    "PixelLLMOutput",
    "PixelLLMProcessor",
    "PixelSight",
    "boxes_of_points",
    "place_loss",
    "scores_of_places",
]

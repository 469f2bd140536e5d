"""How a dialect spells places in text. Each format is one file; every one reads whatever a model may say."""

from foveal.grounding.formats.bracket import BracketFormat, bins_to_pixels
from foveal.grounding.formats.florence import FlorenceFormat
from foveal.grounding.formats.internvl import InternFormat
from foveal.grounding.formats.kosmos import KosmosFormat
from foveal.grounding.formats.location import LocationFormat
from foveal.grounding.formats.molmo import MolmoFormat
from foveal.grounding.formats.paligemma import PaliGemmaFormat
from foveal.grounding.formats.qwen2 import Qwen2Format
from foveal.grounding.formats.qwen_json import QwenJsonFormat
from foveal.grounding.formats.tags import TagFormat

__all__ = [
    "BracketFormat",
    "FlorenceFormat",
    "InternFormat",
    "KosmosFormat",
    "LocationFormat",
    "MolmoFormat",
    "PaliGemmaFormat",
    "Qwen2Format",
    "QwenJsonFormat",
    "TagFormat",
    "bins_to_pixels",
]

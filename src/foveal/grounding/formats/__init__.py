"""How a dialect spells places in text. Each format is one file; every one reads whatever a model may say."""

from foveal.grounding.formats.bracket import BracketFormat, bins_to_pixels
from foveal.grounding.formats.location import LocationFormat

__all__ = ["BracketFormat", "LocationFormat", "bins_to_pixels"]

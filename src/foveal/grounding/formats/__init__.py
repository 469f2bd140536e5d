"""How a dialect spells places in text. Each format is one file; every one reads whatever a model may say."""

from foveal.grounding.formats.bracket import BracketFormat, bins_to_pixels
from foveal.grounding.formats.location import LocationFormat
from foveal.grounding.formats.tags import TagFormat

__all__ = ["BracketFormat", "LocationFormat", "TagFormat", "bins_to_pixels"]

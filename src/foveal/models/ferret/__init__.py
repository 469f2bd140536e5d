"""Ferret, Ferret-v2 and Ferret-UI: refer to any region and ground any phrase, at any resolution."""

from foveal.models.ferret.config import FerretConfig
from foveal.models.ferret.model import FerretFeatures, FerretForConditionalGeneration
from foveal.models.ferret.processor import FerretProcessor

__all__ = ["FerretConfig", "FerretFeatures", "FerretForConditionalGeneration", "FerretProcessor"]

"""How conversations and tasks are put into words, one file for each family of models."""

from foveal.grounding.wordings.ferret import VERBS as _FERRET
from foveal.grounding.wordings.monkey import VERBS as _MONKEY
from foveal.grounding.wordings.pixel_llm import VERBS as _PIXEL_LLM
from foveal.grounding.wordings.templates import Template, header_template, plain_template, render, two_separator_template
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["VERBS", "Template", "Verbs", "header_template", "plain_template", "render", "two_separator_template"]

VERBS: dict[str, Verbs] = {"ferret": _FERRET, "monkey": _MONKEY, "pixel_llm": _PIXEL_LLM}
"""What each family of models, by its `model_type`, is asked by the verbs of a scene."""

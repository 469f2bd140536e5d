"""How conversations and tasks are put into words, one file for each family of models."""

from foveal.grounding.wordings.ferret import VERBS as _FERRET
from foveal.grounding.wordings.florence import FLORENCE as _FLORENCE
from foveal.grounding.wordings.grounding_dino import GROUNDING_DINO as _GROUNDING_DINO
from foveal.grounding.wordings.internvl import INTERNVL as _INTERNVL
from foveal.grounding.wordings.kosmos import KOSMOS as _KOSMOS
from foveal.grounding.wordings.monkey import VERBS as _MONKEY
from foveal.grounding.wordings.paligemma import PALIGEMMA as _PALIGEMMA
from foveal.grounding.wordings.pixel_llm import VERBS as _PIXEL_LLM
from foveal.grounding.wordings.qwen_vl import QWEN2 as _QWEN2
from foveal.grounding.wordings.qwen_vl import QWEN2_5 as _QWEN2_5
from foveal.grounding.wordings.qwen_vl import QWEN3 as _QWEN3
from foveal.grounding.wordings.templates import Template, header_template, plain_template, render, two_separator_template
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["GUESTS", "VERBS", "Template", "Verbs", "header_template", "plain_template", "render", "two_separator_template"]

VERBS: dict[str, Verbs] = {"ferret": _FERRET, "monkey": _MONKEY, "pixel_llm": _PIXEL_LLM}
"""What each family of models, by its `model_type`, is asked by the verbs of a scene."""

GUESTS: dict[str, Verbs] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2_5,
    "qwen3_vl": _QWEN3,
    "internvl": _INTERNVL,
    "paligemma": _PALIGEMMA,
    "kosmos-2": _KOSMOS,
    "florence2": _FLORENCE,
    "grounding-dino": _GROUNDING_DINO,
}
"""The same of other people's models, by transformers' `model_type`."""

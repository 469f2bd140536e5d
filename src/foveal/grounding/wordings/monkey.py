"""How Monkey is asked: the forms of words it was trained on, and Qwen-VL-Chat's conversation."""

from collections.abc import Mapping
from types import MappingProxyType

from foveal.geometry import Region
from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.templates import Template
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["CAPTION", "DETAILED_CAPTION", "TEMPLATES", "VERBS", "VQA_HINT", "ask_name", "cue_for", "image_opening"]

CAPTION, DETAILED_CAPTION = "Generate the caption in English:", "Generate the detailed caption in English:"
VQA_HINT = 'When the provided information is insufficient, respond with "unanswerable".'
"""Follows a question that may have no answer, as Monkey was trained on VizWiz."""

_END, _SYSTEM = "<|endoftext|>", "You are a helpful assistant."

TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "monkey": Template("monkey", "", "", "", "", _END, _END),
        "chatml": Template(
            "chatml",
            f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n",
            "<|im_start|>user\n",
            "<|im_end|>\n",
            "<|im_start|>assistant\n",
            "<|im_end|>\n",
            "<|im_end|>",
        ),
    }
)
"""`monkey`: one question, its cue, and its answer. `chatml`: turns between marks, with the images numbered."""


def image_opening(template: str, number: int, mark: str) -> str:
    """What stands before a question for its image `number`, from 1 on.

    >>> image_opening("monkey", 1, "@"), image_opening("chatml", 2, "@")
    ('<img>@</img> ', 'Picture 2:<img>@</img>\\n')
    """
    return f"<img>{mark}</img> " if template == "monkey" else f"Picture {number}:<img>{mark}</img>\n"


def cue_for(question: str, template: str = "monkey") -> str:
    """What follows a question, down to the blank that the answer is cued with. A question that ends in a colon is its own cue.

    >>> cue_for("What is the name of the store?"), cue_for("Generate the caption in English:"), cue_for("And now?", "chatml")
    (' Answer: ', ' ', '')
    """
    if template != "monkey":
        return ""
    return " " if question.endswith(":") else " Answer: "


def ask_name(region: Region) -> GroundedText:
    """What a region shows: its box stands in the words."""
    return GroundedText.join("What is in ", region, "?")


VERBS = Verbs(family="Monkey", name=ask_name, forms=("box",), caption=GroundedText(CAPTION), detailed_caption=GroundedText(DETAILED_CAPTION))
"""What Monkey is asked by each verb; it answers in words, without places."""

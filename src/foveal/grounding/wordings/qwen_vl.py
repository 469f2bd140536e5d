"""How Qwen2-VL, Qwen2.5-VL and Qwen3-VL are asked: the words of their authors' examples, and their conversation."""

from foveal.geometry import Region
from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.templates import Template
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["QWEN2", "QWEN2_5", "QWEN3", "QWEN_CHAT", "QWEN_CHAT_PLAIN"]

_TURNS = ("<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>\n", "<|im_end|>")
QWEN_CHAT = Template("qwen_chat", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", *_TURNS)
"""The conversation of Qwen2-VL and Qwen2.5-VL."""
QWEN_CHAT_PLAIN = Template("qwen_chat_plain", "", *_TURNS)
"""That of Qwen3-VL and InternVL, who are told nothing beforehand."""

_CAPTION, _DETAILED = GroundedText("Describe this image in one sentence."), GroundedText("Describe this image in detail.")


def _ask_name(region: Region) -> GroundedText:
    return GroundedText.join("What is the object in the region ", region, "? Answer in a few words.")


def _ask_text(region: Region) -> GroundedText:
    return GroundedText.join("What is the text in the region ", region, "? Answer with the text alone.")


QWEN2 = Verbs(
    family="Qwen2-VL",
    name=_ask_name,
    forms=("box", "mask"),
    caption=_CAPTION,
    detailed_caption=_DETAILED,
    text=_ask_text,
    location=lambda phrase: GroundedText(f"Please provide the bounding box coordinate of the region this sentence describes: {phrase}"),
    detection=GroundedText("Detect all objects in this image and give the bounding box of each."),
)
"""Places come between tokens of their own."""
QWEN2_5 = Verbs(
    family="Qwen2.5-VL",
    name=_ask_name,
    caption=_CAPTION,
    detailed_caption=_DETAILED,
    text=_ask_text,
    location=lambda phrase: GroundedText(f"Locate {phrase}, output its bbox coordinates using JSON format."),
    locations=lambda *phrases: GroundedText(f"Locate {', '.join(phrases)}, output their bbox coordinates and labels using JSON format."),
    detection=GroundedText("Locate every object in the image, output its bbox coordinates and label using JSON format."),
)
"""Places come as JSON; the request says so, in the words of the cookbook on spatial understanding."""
QWEN3 = Verbs(
    family="Qwen3-VL",
    name=_ask_name,
    caption=_CAPTION,
    detailed_caption=_DETAILED,
    text=_ask_text,
    location=lambda phrase: GroundedText(
        f'Locate every object that matches the description "{phrase}" in the image. Report bbox coordinates in JSON format.'
    ),
    locations=lambda *phrases: GroundedText(
        f'Locate every instance that belongs to the following categories: "{", ".join(phrases)}". Report bbox coordinates in JSON format.'
    ),
    detection=GroundedText("Locate every object in the image. Report bbox coordinates and labels in JSON format."),
)
"""As Qwen2.5-VL, in the words of its report's evaluations."""

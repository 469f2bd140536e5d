"""How Florence-2 is asked: by task tokens, each of which stands for a sentence that the model reads (arXiv 2311.06242)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from foveal.geometry import Region
from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["FLORENCE", "TASKS", "prompt_of", "shape_of"]

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "<OCR>": "What is the text in the image?",
        "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
        "<CAPTION>": "What does the image describe?",
        "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
        "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
        "<OD>": "Locate the objects with category name in the image.",
        "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
        "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
        "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {}",
        "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {} in the image with mask",
        "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {}",
        "<OPEN_VOCABULARY_DETECTION>": "Locate {} in the image.",
        "<REGION_TO_CATEGORY>": "What is the region {}?",
        "<REGION_TO_DESCRIPTION>": "What does the region {} describe?",
        "<REGION_TO_OCR>": "What text is in the region {}?",
    }
)
"""Each task token and the sentence it stands for; `{}` is what follows the token."""


def prompt_of(question: str) -> str:
    """The sentence that the model reads; a question without a task token is read as it is.

    >>> prompt_of("<OPEN_VOCABULARY_DETECTION> a cup"), prompt_of("<CAPTION>"), prompt_of("Why?")
    ('Locate a cup in the image.', 'What does the image describe?', 'Why?')
    """
    task, rest = _split(question)
    return TASKS[task].replace("{}", rest) if task else question


def shape_of(question: str) -> Literal["box", "quad", "polygon"]:
    """What the tokens of a place mean in the answer to a question.

    >>> shape_of("<OD>"), shape_of("<OCR_WITH_REGION>"), shape_of("<REFERRING_EXPRESSION_SEGMENTATION>a cup")
    ('box', 'quad', 'polygon')
    """
    task, _ = _split(question)
    return "polygon" if task.endswith("SEGMENTATION>") else "quad" if task == "<OCR_WITH_REGION>" else "box"


def _split(question: str) -> tuple[str, str]:
    task = question[: question.find(">") + 1]
    return (task, question[len(task) :].strip()) if task in TASKS else ("", question)


def _region_task(task: str, region: Region) -> GroundedText:
    return GroundedText.join(task, region)


FLORENCE = Verbs(
    family="Florence-2",
    name=lambda region: _region_task("<REGION_TO_DESCRIPTION>", region),
    forms=("box", "mask"),
    caption=GroundedText("<CAPTION>"),
    detailed_caption=GroundedText("<MORE_DETAILED_CAPTION>"),
    text=lambda region: _region_task("<REGION_TO_OCR>", region),
    location=lambda phrase: GroundedText(f"<CAPTION_TO_PHRASE_GROUNDING>{phrase}"),
    locations=lambda *phrases: GroundedText(f"<CAPTION_TO_PHRASE_GROUNDING>{', '.join(phrases)}"),
    detection=GroundedText("<OD>"),
    segmentation=lambda phrase: GroundedText(f"<REFERRING_EXPRESSION_SEGMENTATION>{phrase}"),
    dense_captions=GroundedText("<DENSE_REGION_CAPTION>"),
    turns=False,
)
"""It was taught these tasks and no conversation."""

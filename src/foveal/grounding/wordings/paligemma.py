"""How PaliGemma is asked: by the task prefixes of its training (arXiv 2407.07726, 3.2.5)."""

from foveal.geometry import Region
from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["PALIGEMMA", "task_of"]

_TASKS = ("answer ", "cap ", "caption ", "describe ", "detect ", "ocr", "question ", "segment ")


def task_of(question: str) -> str:
    """The question with a task before it, where it has none: to be answered in English.

    >>> task_of("detect cat ; dog"), task_of("How many cats?")
    ('detect cat ; dog', 'answer en How many cats?')
    """
    return question if question.startswith(_TASKS) else f"answer en {question}"


def _ask_name(region: Region) -> GroundedText:
    return GroundedText.join("caption ", region)


PALIGEMMA = Verbs(
    family="PaliGemma",
    name=_ask_name,
    forms=("box", "mask"),
    caption=GroundedText("caption en"),
    detailed_caption=GroundedText("describe en"),
    location=lambda phrase: GroundedText(f"detect {phrase}"),
    locations=lambda *phrases: GroundedText(f"detect {' ; '.join(phrases)}"),
    turns=False,
)
"""It finds what is named, and does not name all it sees; the masks of `segment` want a decoder outside the model."""

"""How Kosmos-2 is asked: beginnings that it goes on with, with places where `<grounding>` stands first (arXiv 2306.14824, table 1 and 3)."""

from foveal.geometry import Region
from foveal.grounding.text import GroundedText, tied
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["KOSMOS", "beginning_of", "phrase_of"]

_GROUNDING, _CAPTION, _DETAILED = "<grounding>", "An image of", "Describe this image in detail:"


def beginning_of(question: str) -> str:
    """What the model goes on with: its own beginnings as they are, any other question between its marks.

    >>> beginning_of("An image of"), beginning_of("How many?")
    ('An image of', 'Question: How many? Answer:')
    """
    own = question.startswith(_GROUNDING) or question in (_CAPTION, _DETAILED) or question.endswith("Answer:")
    return question if own else f"Question: {question} Answer:"


def phrase_of(question: str) -> str:
    """The phrase whose place is to follow, between its tags; nothing where another thing is asked for.

    >>> phrase_of("<grounding><phrase>a cup</phrase>"), phrase_of("An image of")
    ('<phrase>a cup</phrase>', '')
    """
    rest = question.removeprefix(_GROUNDING).strip()
    return rest if rest.startswith("<phrase>") and rest.endswith("</phrase>") else ""


def _ask_name(region: Region) -> GroundedText:
    return GroundedText.join(f"{_GROUNDING} ", tied("It", region), " is")


KOSMOS = Verbs(
    family="Kosmos-2",
    name=_ask_name,
    forms=("box", "mask"),
    caption=GroundedText(_CAPTION),
    detailed_caption=GroundedText(_DETAILED),
    grounded_caption=GroundedText(f"{_GROUNDING} {_CAPTION}"),
    location=lambda phrase: GroundedText(f"{_GROUNDING}<phrase>{phrase}</phrase>"),
    turns=False,
)
"""The answer to a location is the phrase itself with its boxes."""

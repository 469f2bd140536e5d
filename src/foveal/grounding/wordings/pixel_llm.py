"""How PixelLLM is asked: requests for captions of both lengths, of a region, of a place, and questions; each is a context, not a turn."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from foveal.geometry import Region
from foveal.grounding.text import GroundedText, tied
from foveal.grounding.wordings.templates import Template
from foveal.grounding.wordings.verbs import Verbs

__all__ = [
    "CAPTION",
    "EVERYTHING",
    "NARRATIVE",
    "NARRATIVES",
    "OBJECT",
    "OUTLINE",
    "SHORT_CAPTIONS",
    "TEMPLATES",
    "VERBS",
    "WHERE",
    "ask_object",
    "context_of",
    "phrase_of",
    "say_everything",
]

CAPTION, NARRATIVE, OBJECT, WHERE = "A photo of ", "A long image caption: ", "an object of ", "where is "
"""What the release asks with in evaluation: a caption, a narrative, what a box holds, and, before an expression, where it is."""
OUTLINE, EVERYTHING = "outline of ", "everything in the picture"
"""What asks for a mask, before an expression, and for everything that is detected; the language model reads neither."""
SHORT_CAPTIONS = (
    CAPTION,
    "A picture of ",
    "An image of ",
    "In short: ",
    "The photo shows ",
    "A caption: ",
    "Say in one sentence what is seen: ",
    "Describe the picture briefly: ",
    "What is in the picture? ",
    "The scene in a sentence: ",
    "One line about the image: ",
    "Here we see ",
    "A short description: ",
)
"""Requests for a short caption, one drawn for each caption in training; no released weights depend on their words."""
NARRATIVES = (
    NARRATIVE,
    "Tell at length what the image shows: ",
    "A detailed description: ",
    "Walk through the picture: ",
    "Describe everything in the image: ",
    "Narrate the scene: ",
    "What can be seen, one thing after the other? ",
    "Point at each thing and name it: ",
    "The whole picture in words: ",
    "Speak about the image from one place to the next: ",
    "A long description of the photo: ",
)
"""Requests for a long caption."""
TEMPLATES: Mapping[str, Template] = MappingProxyType({"pixel_llm": Template("pixel_llm", "", "", "", "", "", "")})

_REQUESTS = (*SHORT_CAPTIONS, *NARRATIVES, OBJECT)


def context_of(question: str) -> str:
    """What the language model reads for a question: a request as it is, "where is ..." for an expression, any other question between its marks.

    >>> context_of("A photo of "), context_of("outline of the cup"), context_of("How many?")
    ('A photo of ', 'where is the cup', 'Question: How many?Answer: ')
    """
    if (phrase := phrase_of(question)) is not None:
        return WHERE + phrase
    return question if question in _REQUESTS else f"Question: {question}Answer: "


def phrase_of(question: str) -> str | None:
    """The expression that a "where is ..." or an "outline of ..." asks for; None for any other question.

    >>> phrase_of("where is the cup"), phrase_of("outline of the cup"), phrase_of("where is the cup?"), phrase_of("where is ")
    ('the cup', 'the cup', None, None)
    """
    opening = next((opening for opening in (WHERE, OUTLINE) if question.startswith(opening)), None)
    phrase = question.removeprefix(opening or "")
    return phrase if opening and phrase.strip() and not phrase.endswith("?") else None


def ask_object(region: Region) -> GroundedText:
    """What a region shows: it is the prompt, and not in the words."""
    return GroundedText.join(OBJECT, region)


def say_everything(things: Sequence[GroundedText]) -> GroundedText:
    """Everything in the picture, one after the other."""
    return GroundedText.join(*[part for one in things for part in ("; ", one)][1:])


VERBS = Verbs(
    family="PixelLLM",
    name=ask_object,
    forms=("box", "point"),
    caption=GroundedText(CAPTION),
    detailed_caption=GroundedText(NARRATIVE),
    grounded_caption=GroundedText(NARRATIVE),
    location=lambda phrase: GroundedText(WHERE + phrase.rstrip("? ")),
    segmentation=lambda phrase: GroundedText(OUTLINE + phrase.rstrip("? ")),
    dense_captions=GroundedText(EVERYTHING),
    say_detection=lambda things: say_everything([tied(*thing) for thing in things]),
    every_word=True,
    turns=False,
)
"""What PixelLLM is asked by each verb; every word of an answer has its place."""

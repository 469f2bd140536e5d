"""Words tied to places: texts, the record of what is said of an image, and how each model family spells places and asks questions."""

from foveal.grounding.example import (
    Example,
    Note,
    Picture,
    Turn,
    example_from_json,
    example_from_line,
    example_to_json,
    read_examples,
    region_from_json,
    region_limits,
    region_to_json,
    write_examples,
)
from foveal.grounding.text import GroundedText, Span, tie_words, tied, words_before

__all__ = [
    "Example",
    "GroundedText",
    "Note",
    "Picture",
    "Span",
    "Turn",
    "example_from_json",
    "example_from_line",
    "example_to_json",
    "read_examples",
    "region_from_json",
    "region_limits",
    "region_to_json",
    "tie_words",
    "tied",
    "words_before",
    "write_examples",
]

"""What the verbs of a scene say to a model: each family is asked in the words it was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from foveal.geometry import Box, Region
from foveal.grounding.text import GroundedText

__all__ = ["Verbs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbs:
    """The questions of a family of models; None for what it was never asked in training, and should not be asked now."""

    family: str
    """As it is called in a sentence."""
    name: Callable[[Region], GroundedText]
    """What a region shows."""
    forms: tuple[str, ...] = ("box", "point", "mask")
    """How a region may be given; none where the family cannot be pointed at one."""
    caption: GroundedText | None
    detailed_caption: GroundedText | None = None
    grounded_caption: GroundedText | None = None
    """A caption in which the things mentioned have their boxes."""
    text: Callable[[Region], GroundedText] | None = None
    """What is written in a region."""
    location: Callable[[str], GroundedText] | None = None
    """Where what a phrase names is."""
    locations: Callable[..., GroundedText] | None = None
    """Where the things are that several phrases name, all in one question."""
    detection: GroundedText | None = None
    """All things with their boxes."""
    segmentation: Callable[[str], GroundedText] | None = None
    """The outline of what a phrase names."""
    dense_captions: GroundedText | None = None
    """All things with their boxes, each in words of its own."""
    say_detection: Callable[[Sequence[tuple[str, Box]]], GroundedText] | None = None
    """The answer that names all things and gives their boxes."""
    say_absent: Callable[[str], GroundedText] | None = None
    """The answer to where something is that is not there."""
    every_word: bool = False
    """Whether every word of an answer has its place."""
    turns: bool = True
    """Whether what was said before is read; if not, of several turns the last question is asked alone."""

    def refuse(self, verb: str) -> str:
        """The sentence that says what this family cannot be asked, and what it can.

        >>> Verbs(family="Monkey", name=lambda region: GroundedText("?"), caption=GroundedText("?")).refuse("detection")
        'Monkey was not trained to be asked for detection; it can be asked for name, caption.'
        """
        asked = [
            field.name for field in fields(self) if field.name not in ("family", "forms", "every_word", "turns") and not field.name.startswith("say_")
        ]
        known = [name for name in asked if getattr(self, name) is not None and (self.forms or name not in ("name", "text"))]
        return f"{self.family} was not trained to be asked for {verb.replace('_', ' ')}; it can be asked for {', '.join(known).replace('_', ' ')}."

    def captioned(self, *, detailed: bool = False, grounded: bool = False) -> GroundedText:
        """The question for a caption. ValueError for both kinds at once, and for one that the family does not give."""
        if detailed and grounded:
            raise ValueError("A caption was wanted both detailed and grounded; one of the two is wanted.")
        return self.of("detailed_caption" if detailed else "grounded_caption" if grounded else "caption")

    def of(self, verb: str, *about: str | Region) -> GroundedText:
        """The question of a verb, of a phrase or a region where it takes one. ValueError where the family has none.

        >>> Verbs(family="Ferret", name=lambda region: GroundedText("?"), caption=GroundedText("Describe.")).of("caption").text
        'Describe.'
        """
        question = getattr(self, verb)
        if question is None:
            raise ValueError(self.refuse(verb))
        asked: GroundedText = question(*about) if callable(question) else question
        return asked

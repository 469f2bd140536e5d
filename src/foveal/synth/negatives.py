"""Hard negatives: what is absent, nearly so, or elsewhere, asked about and denied; proposed by a writer or by rule, and held against the notes."""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from foveal.geometry import bounding_box
from foveal.geometry.boxes import box_array, iou
from foveal.grounding import Example, GroundedText, Note, Turn, tied
from foveal.grounding.wordings.grounding_dino import COMMON_NAMES
from foveal.grounding.wordings.written import ask_where, ask_whether, ask_whether_there, say_elsewhere, say_nowhere, say_other
from foveal.synth.checks import same_words
from foveal.synth.notes import standing
from foveal.synth.phrases import called, the
from foveal.synth.stage import Stage

__all__ = ["absent", "confused", "denied", "misplaced", "read_negatives"]

_THINGS = ("object", "region", "segment")
_APART = 0.1
_ENDINGS = (
    *(("people", "person"), ("women", "woman"), ("men", "man"), ("children", "child"), ("feet", "foot"), ("knives", "knife"), ("shelves", "shelf")),
    *(("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("uses", "us"), ("toes", "to")),
    *(("ss", "ss"), ("us", "us"), ("is", "is"), ("s", "")),
)
"""What tells several from one, the longer before the shorter."""


def denied(names: Sequence[str] = COMMON_NAMES, *, count: int = 1) -> Stage:
    """A stage that wants no writer: `count` things of these names that no note names, asked for and denied, and one thing asked for where another is
    (GRIT's negatives of Objects365's classes, arXiv 2310.07704). Which, an example's id decides. What no note names is absent only where it was
    looked for: give the names of a data set that is complete for them, or those that `found_by_name` was given."""
    return partial(_denied, names=tuple(names), count=count)


def read_negatives(text: str, notes: Mapping[int, Note]) -> tuple[list[Turn], int]:
    """The questions and denials of a writer's proposals that hold against the notes, by number; and how many do not, or cannot be read.

    >>> read_negatives("absent | fork\\nabsent | cup\\nI hope this helps.", {1: Note(GroundedText("a red cup"), "caption")})[1]
    2
    """
    turns: list[Turn] = []
    left_out = 0
    for line in filter(str.strip, text.splitlines()):
        kind, *parts = [part.strip().strip(".`*\"'") for part in re.sub(r"^[\s\-*•\d.)]+(?=[a-z])", "", line, flags=re.IGNORECASE).split("|")]
        found = _proposed(kind.casefold(), parts, notes)
        turns += found or ()
        left_out += found is None
    return turns, left_out


def absent(phrase: str, notes: Iterable[Note]) -> tuple[Turn, Turn] | None:
    """A thing asked for that is not there; None for what is no word, and where a note's words hold its last one, in any
    number."""
    wanted = _stems(phrase)
    if not wanted or not wanted[-1].isalpha() or any(wanted[-1] in _stems(note.said.text) for note in notes):
        return None
    return _asked(ask_where(the(phrase)), say_nowhere(same_words(phrase)))


def confused(phrase: str, note: Note, notes: Iterable[Note]) -> tuple[Turn, Turn] | None:
    """A phrase asked for that is nearly what a note says; None where it says no other thing than a note does, or has no word in common with this."""
    words, own = set(_stems(phrase)), set(_stems(note.said.text))
    if not note.said.regions or not words & own or any(words <= set(_stems(other.said.text)) for other in notes):
        return None
    return _asked(ask_whether_there(called(phrase)), say_other(same_words(phrase), [tied(called(note.said.text.strip()), *note.said.regions)]))


def misplaced(thing: Note, other: Note) -> tuple[Turn, Turn] | None:
    """A thing asked for where another is; None where they share words, or places by an IoU of more than 0.1."""
    if not thing.said.regions or not other.said.regions or set(_stems(thing.said.text)) & set(_stems(other.said.text)):
        return None
    boxes = [box_array([bounding_box(region) for region in note.said.regions]) for note in (thing, other)]
    if iou(*boxes).max() > _APART or thing.said.regions[0].image != other.said.regions[0].image:
        return None
    answer = say_elsewhere(tied(called(other.said.text.strip()), *other.said.regions), tied(the(thing.said.text.strip()), *thing.said.regions))
    return _asked(ask_whether(called(thing.said.text.strip()), *other.said.spans), answer)


def _proposed(kind: str, parts: Sequence[str], notes: Mapping[int, Note]) -> tuple[Turn, Turn] | None:
    """What a line comes to; None where it does not hold, or is none."""
    numbered = [notes.get(int(part)) if part.isdecimal() and len(part) < 9 else None for part in parts]
    match kind, len(parts):
        case "absent", 1:
            return absent(parts[0], notes.values())
        case "confusable", 2 if numbered[1] is not None:
            return confused(parts[0], numbered[1], notes.values())
        case "misplaced", 2 if numbered[0] is not None and numbered[1] is not None:
            return misplaced(numbered[0], numbered[1])
    return None


def _denied(examples: Iterable[Example], *, names: Sequence[str], count: int) -> Iterator[Example]:
    for example in examples:
        chance = random.Random(example.id)
        notes = standing(example)
        gone = [found for name in chance.sample(names, len(names)) if (found := absent(name, notes)) is not None][:count]
        things = [note for note in notes if note.source in _THINGS]
        chance.shuffle(things)
        moved = next((found for one in things for other in things if (found := misplaced(one, other)) is not None), ())
        told = bool(notes)  # of a picture of which nothing is known, nothing is absent
        yield replace(example, turns=(*example.turns, *(turn for pair in gone for turn in pair if told), *moved))


def _asked(question: GroundedText, answer: GroundedText) -> tuple[Turn, Turn]:
    return Turn("user", question), Turn("assistant", answer)


def _stems(words: str) -> list[str]:
    """Words without what tells several from one, and without articles.

    >>> _stems("the buses, cherries, glasses and kettles of two people")
    ['bus', 'cherry', 'glass', 'and', 'kettle', 'of', 'two', 'person']
    """
    return [_one(word) for word in re.findall(r"[^\W_]+", same_words(words))]


def _one(word: str) -> str:
    for ending, single in _ENDINGS:
        if word.endswith(ending):
            return word[: -len(ending)] + single
    return word

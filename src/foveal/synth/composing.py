"""A composer that needs no model: a plain description that says what the notes say, each phrase tied to the regions of its notes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from foveal.data.sources.scenes.words import NUMBERS, listed
from foveal.geometry import Box, Region, bounding_box
from foveal.grounding import Example, GroundedText, Note, Span, Turn
from foveal.grounding.wordings import VERBS
from foveal.synth.checks import same_words
from foveal.synth.notes import added, is_own, standing
from foveal.synth.phrases import counted, many, sentence, side_of, the, there, where
from foveal.synth.stage import Stage

__all__ = ["composed_by_template", "describe"]

_THINGS = ("object", "region", "segment")
_CAPTIONS = ("caption", "description")
_ONE, _SEVERAL = "an?|the|some|one", "|".join(NUMBERS)


def composed_by_template(question: GroundedText | None = None, *, most_things: int = 8, most_lines: int = 12) -> Stage:
    """A stage: a description made of what stands, as a note with source "description" and as a turn, the answer to `question` (without one, to
    Monkey's request for a detailed caption).

    It says the data's own caption, or else a model's; up to `most_things` kinds of things, the largest first, how many and where; how the two
    largest lie to each other; up to `most_lines` lines of text. It says nothing that no note says. An example of which nothing is known is let be.
    """
    asked = question or VERBS["monkey"].of("detailed_caption")
    return partial(_composed, question=asked, most_things=most_things, most_lines=most_lines)


def _composed(examples: Iterable[Example], *, question: GroundedText, most_things: int, most_lines: int) -> Iterator[Example]:
    for example in examples:
        said = describe(standing(example), most_things=most_things, most_lines=most_lines)
        if not said.text:
            yield example
            continue
        told = added(example, Note(said, "description", made_by={"composer": "template", "prompt": question.text}))
        yield replace(told, turns=(*example.turns, Turn("user", question), Turn("assistant", said)))


def describe(notes: Sequence[Note], *, most_things: int = 8, most_lines: int = 12) -> GroundedText:
    """A description of what these notes say, of the first image; empty where they say nothing.

    >>> box = Box(0.1, 0.1, 0.3, 0.4)
    >>> said = describe([Note(GroundedText("a cup on a table"), "caption"), Note(GroundedText("cup", (Span(0, 3, (box,)),)), "object")])
    >>> said.text, [said.text[span.start : span.end] for span in said.spans]
    ('A cup on a table. There is a cup at the top left.', ['A cup', 'a cup'])
    """
    things = _kinds(notes)
    parts = [_caption(notes, things), _listed_things(things[:most_things], more=len(things) > most_things), _sides(things), _texts(notes, most_lines)]
    said = [part for part in parts if part is not None]
    return GroundedText.join(*(piece for place, part in enumerate(said) for piece in ((" ", part) if place else (part,))))


@dataclass(frozen=True, slots=True)
class _Kind:
    """Notes of the same words."""

    words: str
    regions: tuple[Region, ...]
    boxes: tuple[Box, ...]
    scores: tuple[float | None, ...]
    area: float

    def said(self, words: str) -> GroundedText:
        """Words that mean all of them."""
        return GroundedText(words, (Span(0, len(words), self.regions, self.scores),))


def _kinds(notes: Sequence[Note]) -> list[_Kind]:
    """What there is, by its words, the largest first."""
    alike: dict[str, list[tuple[Note, Region]]] = {}
    for note in notes:
        if note.source in _THINGS and len(regions := note.said.regions) == 1 and not regions[0].image and note.said.text.strip():
            alike.setdefault(same_words(note.said.text), []).append((note, regions[0]))
    kinds = []
    for some in alike.values():
        boxes = tuple([bounding_box(region) for _, region in some])
        scores = tuple([note.score for note, _ in some])
        area = sum([(box.x1 - box.x0) * (box.y1 - box.y0) for box in boxes])
        words = some[0][0].said.text.strip().rstrip(".")
        kinds.append(_Kind(words, tuple([region for _, region in some]), boxes, () if set(scores) == {None} else scores, area))
    return sorted(kinds, key=lambda kind: -kind.area)


def _caption(notes: Sequence[Note], things: Sequence[_Kind]) -> GroundedText | None:
    """The first of the data's own captions, else the last that a model gave, its phrases tied to what has their words."""
    captions = [note for note in notes if note.source in _CAPTIONS and note.said.text.strip()]
    chosen = next((note for note in captions if is_own(note)), captions[-1] if captions else None)
    return None if chosen is None else _tied(sentence(chosen.said.text), things)


def _tied(text: str, things: Sequence[_Kind]) -> GroundedText:
    """A text in which a phrase means the things of its words: the one that there is, or all, where it speaks of several and of no other number.
    Longer phrases go before."""
    spans: list[Span] = []
    plain = text.lower() if text.isascii() else None
    for kind in sorted(things, key=lambda kind: -len(kind.words)):
        count = len(kind.boxes)
        form, before = (same_words(kind.words), _ONE) if count == 1 else (many(kind.words), _SEVERAL)
        if plain is not None and form.isascii() and form.lower() not in plain:  # far cheaper than an expression of its own
            continue
        for found in re.finditer(rf"\b(?:({before}) )?{re.escape(form)}\b", text, re.IGNORECASE):
            odd = count > 1 and found[1] is not None and found[1].lower() != NUMBERS[min(count, len(NUMBERS) - 1)]
            if not odd and all(found.end() <= span.start or span.end <= found.start() for span in spans):
                spans.append(replace(kind.said(found[0]).spans[0], start=found.start(), end=found.end()))
                break
    return GroundedText(text, tuple(sorted(spans, key=lambda span: span.start)))


def _listed_things(things: Sequence[_Kind], *, more: bool) -> GroundedText | None:
    if not things:
        return None
    parts: list[str | GroundedText] = []
    for kind in things:
        places = {where(box) for box in kind.boxes}
        phrase = kind.said(counted(kind.words, len(kind.boxes)))
        parts.append(GroundedText.join(phrase, f" {places.pop()}") if len(places) == 1 else phrase)
    opening = there(counted(things[0].words, len(things[0].boxes)))
    return GroundedText.join(opening, listed([*parts, "more"] if more else parts, " and "), ".")


def _sides(things: Sequence[_Kind]) -> GroundedText | None:
    """How the two largest things lie to each other that there is one of."""
    single = [kind for kind in things if len(kind.boxes) == 1][:2]
    if len(single) < 2 or not (side := side_of(single[0].boxes[0], single[1].boxes[0])):
        return None
    first, second = (kind.said(the(kind.words)) for kind in single)
    capital = replace(first, text=first.text[:1].upper() + first.text[1:])
    return GroundedText.join(capital, f" is {side} ", second, ".")


def _texts(notes: Sequence[Note], most: int) -> GroundedText | None:
    """Lines as they are read; single letters say nothing."""
    lines = [note for note in notes if note.source == "text" and (regions := note.said.regions) and not regions[0].image]
    lines = [note for note in lines if sum(map(str.isalnum, note.said.text)) > 1]
    if not lines:
        return None
    quoted: list[str | GroundedText] = [GroundedText.join("“", _line(note), "”") for note in lines[:most]]
    return GroundedText.join("The text reads ", listed([*quoted, "more"] if len(lines) > most else quoted, " and "), ".")


def _line(note: Note) -> GroundedText:
    words = note.said.text.strip()
    return GroundedText(words, (Span(0, len(words), note.said.regions, () if note.score is None else (note.score,) * len(note.said.regions)),))

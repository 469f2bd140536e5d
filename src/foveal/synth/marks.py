"""What a writer is shown of notes, and what it says read back: phrases in brackets with the numbers of their notes. Any text can be read."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from foveal.geometry import bounding_box
from foveal.grounding import Example, GroundedText, Note, Span
from foveal.synth.crops import share_of
from foveal.synth.notes import is_dropped, is_own

__all__ = ["Read", "fault_of", "listed_notes", "numbered", "read_marks"]

_MARKED = re.compile(r"\[([^\[\]\n]+)\]\(([^()\n]*)\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)*]*\s+|\n+")
_PLACE = re.compile(r"[\[(]?\b[01]?\.\d+\s*,\s*[01]?\.\d+")
_REFUSAL = re.compile(
    r"\W*(i['’]?m sorry|i am sorry|sorry|i cannot|i can['’]?t|i['’]?m unable|i am unable|as an ai|unfortunately,? i)\b", re.IGNORECASE
)
_TOLD = ("caption", "description", "object", "region", "segment", "text")


@dataclass(frozen=True, slots=True)
class Read:
    """What a writer said, its phrases tied to the regions of their notes."""

    said: GroundedText
    unknown: int
    """Phrases that are tied to no note: no number, or none that there is."""
    claims: int
    """Sentences."""
    ungrounded: int
    """Sentences that name no note at all."""


def numbered(example: Example, most: int = 60) -> dict[int, Note]:
    """The notes that a writer is told of by their number, their place among all from 1 on: those that stand and have words, at most `most`: what is
    said of the whole first, then the largest. What a composer wrote is none of them: it says but what they say."""
    told = [(place, note) for place, note in enumerate(example.notes, 1) if _is_told(note)]
    chosen = sorted(told, key=lambda one: -share_of(one[1].said.regions[0]) if one[1].said.regions else -2.0)[:most]
    return dict(sorted(chosen))


def listed_notes(notes: Mapping[int, Note]) -> str:
    """The notes, one a line.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import tied
    >>> print(listed_notes({3: Note(tied("a cup", Box(0.1, 0.2, 0.3, 0.4)), "object", 0.5)}))
    3. object "a cup" at [0.10, 0.20, 0.30, 0.40], 50 % sure
    """
    lines = []
    for number, note in notes.items():
        kind = f"{note.source} that came with the picture" if note.source in ("caption", "description") and is_own(note) else note.source
        boxes = [bounding_box(region) for region in note.said.regions] if _is_tied(note) else []
        places = " and ".join(f"[{box.x0:.2f}, {box.y0:.2f}, {box.x1:.2f}, {box.y1:.2f}]" for box in boxes)
        sure = "" if note.score is None else f", {note.score:.0%} sure".replace("%", " %")
        lines.append(f"{number}. {kind} {json.dumps(' '.join(note.said.text.split()), ensure_ascii=False)}{f' at {places}' if places else ''}{sure}")
    return "\n".join(lines)


def read_marks(text: str, notes: Mapping[int, Note]) -> Read:
    """Text without its marks, each phrase tied to its notes' regions; never an error. A phrase of a note without a place is supported, and has none.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import tied
    >>> read = read_marks("[A cup](3) on [a table](9). It is warm.", {3: Note(tied("cup", Box(0, 0, 1, 1)), "object")})
    >>> read.said.text, len(read.said.spans), read.unknown, read.claims, read.ungrounded
    ('A cup on a table. It is warm.', 1, 1, 2, 1)
    """
    parts: list[str] = []
    spans: list[Span] = []
    supported: list[int] = []
    length = place = unknown = 0
    for found in _MARKED.finditer(text):
        parts += [text[place : found.start()], found[1]]
        start, length = length + len(parts[-2]), length + len(parts[-2]) + len(found[1])
        place, known = found.end(), [notes[number] for number in _numbers(found[2]) if number in notes]
        unknown += not known
        supported += [start] if known else []
        regions = tuple(dict.fromkeys(region for note in known if _is_tied(note) for region in note.said.regions))
        spans += [Span(start, length, regions)] if regions and found[1].strip() else []
    said = GroundedText("".join([*parts, text[place:]]), tuple(spans))
    claims = _sentences(said.text)
    bare = sum(not any(start <= one < end for one in supported) for start, end in claims)
    return Read(_stripped(said), unknown, len(claims), bare)


def fault_of(text: str, finish: str = "stop", *, words: int = 2) -> str | None:
    """Why a text cannot be used, of which so many words are wanted at least; None where nothing is wrong with it.

    >>> fault_of("I'm sorry, but I cannot."), fault_of("A cup at [0.1, 0.2, 0.3, 0.4]."), fault_of("A cup on a table.")
    ('it refuses', 'it spells coordinates', None)
    """
    if not text.strip():
        return "it is empty"
    if finish == "length":
        return "it was cut off at the most tokens that were allowed"
    if finish == "content_filter":
        return "the endpoint's filter stopped it"
    if _REFUSAL.match(text):
        return "it refuses"
    if len(re.findall(r"[^\W\d_]{2,}", text)) < words or "\ufffd" in text:
        return "it holds no sentence"
    return "it spells coordinates" if _PLACE.search(text) else None


def _is_told(note: Note) -> bool:
    return note.source in _TOLD and not is_dropped(note) and "composer" not in note.made_by and bool(note.said.text.strip())


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", text)]


def _is_tied(note: Note) -> bool:
    """Whether all its words mean its regions, as those of a thing do; a caption's regions belong to its phrases."""
    spans = note.said.spans
    return len(spans) == 1 and (spans[0].start, spans[0].end) == (0, len(note.said.text)) and bool(spans[0].regions)


def _sentences(text: str) -> Sequence[tuple[int, int]]:
    """Where each sentence with a letter starts and ends."""
    cuts = [0, *(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]
    return [(start, end) for start, end in pairwise(cuts) if any(letter.isalpha() for letter in text[start:end])]


def _stripped(said: GroundedText) -> GroundedText:
    """Without blanks around it."""
    text, first = said.text.strip(), len(said.text) - len(said.text.lstrip())

    def moved(place: int) -> int:
        return min(len(text), max(0, place - first))

    return GroundedText(text, tuple(Span(moved(span.start), moved(span.end), span.regions, span.scores) for span in said.spans))

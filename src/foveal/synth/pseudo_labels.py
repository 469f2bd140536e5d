"""Pseudo-labels (Ferret-v2's stage III, arXiv 2404.07973): the places of what conversations mention, put behind the words of their turns."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Note, Span, Turn
from foveal.grounding.wordings.ferret import COORDINATES_REQUEST, with_coordinates
from foveal.synth.named import LEAST_SURE, Seeker, Sought
from foveal.synth.notes import refused, standing
from foveal.synth.nouns import groundable
from foveal.synth.stage import Stage

if TYPE_CHECKING:
    from foveal.session import Session

__all__ = ["things_placed", "tie_texts", "tie_things", "writing_placed"]


def things_placed(session: "Session | str", *, least: float = LEAST_SURE, at_once: int = 20, request: bool = True) -> Stage:
    """A stage: things that the answers of an example's turns mention get the places that a grounding model gives them; the words stay.

    What may be a thing is told by its words (`foveal.synth.nouns.groundable`), what is one by the model: a phrase that it finds nowhere with a score
    of `least` stays without a place, and so does what has one. The question of an answer that gained places asks for them from then on (`request`).
    """
    return partial(_things, session=session, least=least, at_once=at_once, request=request)


def writing_placed(*, request: bool = True) -> Stage:
    """A stage for sets of questions about text: what answers quote gets the places of the lines that say it, notes with source "text" (`read_text`).

    A line stands in an answer whole, or holds the whole of it. `request` is as with `things_placed`.
    """
    return partial(_writing, request=request)


def tie_things(said: GroundedText, sought: Sought) -> GroundedText:
    """The text with the places of what it mentions, of those that were found.

    >>> from foveal.geometry import Box
    >>> found = tie_things(GroundedText("A dog on a sofa."), {"a sofa": [(Box(0, 0.5, 1, 1), 0.8)]})
    >>> found.text[slice(found.spans[0].start, found.spans[0].end)], found.spans[0].scores
    ('a sofa', (0.8,))
    """
    spans = []
    for start, end in groundable(said.text):
        if places := sought.get(said.text[start:end].casefold()):
            scores = tuple(score for _, score in places)
            spans.append(Span(start, end, tuple(region for region, _ in places), scores if any(score is not None for score in scores) else ()))
    return _with(said, spans)


def tie_texts(said: GroundedText, lines: Sequence[Note]) -> GroundedText:
    """The text with the places of the lines that it quotes, the longest first.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import tied
    >>> tie_texts(GroundedText("coca cola"), [Note(tied("Drink Coca Cola!", Box(0, 0, 1, 0.1)), "text")]).spans[0].end
    9
    """
    placed = [line for line in lines if line.said.regions]
    found: dict[tuple[int, int], list[Region]] = {}
    for line in sorted(placed, key=lambda line: -len(line.said.text)):
        for start, end in _quotes(said.text, _plain(line.said.text)):
            if (start, end) in found or all(end <= first or last <= start for first, last in found):
                found.setdefault((start, end), []).extend(line.said.regions)
    whole = _plain(said.text)
    if whole and not found and (holding := [line for line in placed if _holds(_plain(line.said.text), whole)]):
        bare = said.text.strip().rstrip(".")
        start = said.text.index(bare)
        found[start, start + len(bare)] = [region for line in holding for region in line.said.regions]
    return _with(said, [Span(*place, tuple(dict.fromkeys(regions))) for place, regions in found.items()])


def _things(examples: Iterable[Example], *, session: "Session | str", least: float, at_once: int, request: bool) -> Iterator[Example]:
    seeker = Seeker.of(session, least=least, at_once=at_once)
    for example, sought in seeker.seek((example, _mentioned(example)) for example in examples):
        if isinstance(sought, str):
            yield refused(example, sought)
        else:
            yield _placed(example, [tie_things(turn.said, sought) for turn in example.turns if turn.role == "assistant"], request)


def _writing(examples: Iterable[Example], *, request: bool) -> Iterator[Example]:
    for example in examples:
        lines = standing(example, "text")
        yield _placed(example, [tie_texts(turn.said, lines) for turn in example.turns if turn.role == "assistant"], request)


def _mentioned(example: Example) -> list[str]:
    return [turn.said.text[start:end].casefold() for turn in example.turns if turn.role == "assistant" for start, end in groundable(turn.said.text)]


def _placed(example: Example, said: Sequence[GroundedText], request: bool) -> Example:
    """The example with these answers; questions whose answer gained places ask for them."""
    turns: list[Turn] = []
    answers = iter(said)
    for turn in example.turns:
        if turn.role == "assistant":
            new = next(answers)
            if request and new != turn.said and turns and turns[-1].role == "user" and not turns[-1].said.text.endswith(COORDINATES_REQUEST):
                turns[-1] = replace(turns[-1], said=with_coordinates(turns[-1].said))
            turn = replace(turn, said=new)
        turns.append(turn)
    return replace(example, turns=tuple(turns))


def _with(said: GroundedText, spans: Iterable[Span]) -> GroundedText:
    """The text with further spans, where it had none."""
    new = [span for span in spans if all(span.end <= old.start or old.end <= span.start for old in said.spans)]
    return GroundedText(said.text, tuple(sorted([*said.spans, *new], key=lambda span: span.start)))


def _quotes(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where a text says these words, whatever stands between them that is no word."""
    if not words:
        return []
    pattern = r"(?<!\w)" + r"\W+".join(map(re.escape, words)) + r"(?!\w)"
    return [found.span() for found in re.finditer(pattern, text, re.IGNORECASE)]


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _holds(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[start : start + len(part)]) == list(part) for start in range(len(words) - len(part) + 1))

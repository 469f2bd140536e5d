"""Looking for things by their names, with an open detector or any session that can be asked where something is; and a stage that notes them."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from foveal.geometry import Region
from foveal.grounding import Example, Note, Turn, tied
from foveal.grounding.wordings.grounding_dino import COMMON_NAMES
from foveal.synth.asking import opened
from foveal.synth.checks import same_words
from foveal.synth.notes import added, refused
from foveal.synth.stage import Stage

if TYPE_CHECKING:
    from foveal.session import Answer, Session

__all__ = ["LEAST_SURE", "Seeker", "Sought", "found_by_name"]

LEAST_SURE = 0.35
"""From this score on a box counts: `box_threshold` of Grounding DINO's demonstration (arXiv 2303.05499)."""
Sought = Mapping[str, Sequence[tuple[Region, float | None]]]
"""The places of each name that was looked for, with how sure a model is of them; none, where it is nowhere."""


def found_by_name(session: "Session | str", names: Sequence[str] = COMMON_NAMES, *, least: float = LEAST_SURE, at_once: int = 20) -> Stage:
    """A stage: each thing of these names that a model finds, as a note with source "object". The default names are COCO's.

    `at_once` names go into one question of a family that takes several (Grounding DINO reads 256 tokens). Places with a score below `least` are no
    notes. ValueError, when it runs, for a family that cannot be asked where something is.
    """
    if not names or at_once < 1:
        raise ValueError(f"{len(names)} names, {at_once} at once; at least 1 is wanted of both")
    return partial(_found, session=session, names=tuple(names), least=least, at_once=at_once)


@dataclass(frozen=True, eq=False)
class Seeker:
    """A session that is asked for the places of names; `least` is the score from which on a place counts."""

    session: "Session"
    made_by: Mapping[str, str]
    least: float = LEAST_SURE
    at_once: int = 20

    @staticmethod
    def of(session: "Session | str", *, least: float, at_once: int) -> "Seeker":
        """Of an open session, or of the name or folder of a model. ValueError where its family cannot be asked."""
        from foveal.session.weights import weights_hash  # which wants torch

        asked, weights = opened(session) if isinstance(session, str) else (session, weights_hash(session.model))
        asked.verbs.of("location", "cup")  # or a sentence that says what it can be asked
        return Seeker(asked, {"model": asked.name or type(asked.model).__name__, "weights": weights[:16]}, least, at_once)

    def seek(self, wanted: Iterable[tuple[Example, Sequence[str]]]) -> Iterator[tuple[Example, Sought | str]]:
        """Each example with the places of its names, or with a sentence that says why it could not be asked."""
        waiting: deque[tuple[Example, list[list[str]]]] = deque()

        def questions() -> Iterator[Example]:
            for example, names in wanted:
                groups = self._groups(list(dict.fromkeys(names)))
                waiting.append((example, groups))
                for group in groups:
                    verb = "locations" if self.session.verbs.locations is not None else "location"
                    yield Example(example.id, example.images, (Turn("user", self.session.verbs.of(verb, *group)),))

        answers = self.session.answer(questions(), max_new_tokens=256)
        for first in answers:
            while not waiting[0][1]:
                yield waiting.popleft()[0], {}
            example, groups = waiting.popleft()
            yield example, _places(groups, [first, *(next(answers) for _ in groups[1:])], self.least)
        yield from ((example, {}) for example, _ in waiting)

    def _groups(self, names: list[str]) -> list[list[str]]:
        size = self.at_once if self.session.verbs.locations is not None else 1
        return [names[start : start + size] for start in range(0, len(names), size)]


def _places(groups: Sequence[Sequence[str]], answers: Sequence["Answer"], least: float) -> Sought | str:
    found: dict[str, list[tuple[Region, float | None]]] = {name: [] for group in groups for name in group}
    for group, answer in zip(groups, answers, strict=True):
        if answer.error is not None:
            return answer.error
        known = {same_words(name): name for name in group}
        for span in answer.spans:
            name = group[0] if len(group) == 1 else known.get(same_words(answer.text[span.start : span.end].strip(" ,.;")))
            for region, score in zip(span.regions, span.scores or (None,) * len(span.regions), strict=True):
                if name is not None and (score is None or score >= least):
                    found[name].append((region, score))
    return found


def _found(examples: Iterable[Example], *, session: "Session | str", names: Sequence[str], least: float, at_once: int) -> Iterator[Example]:
    seeker = Seeker.of(session, least=least, at_once=at_once)
    for example, sought in seeker.seek((example, names) for example in examples):
        if isinstance(sought, str):
            yield refused(example, sought)
            continue
        notes = [Note(tied(name, region), "object", score, seeker.made_by) for name, places in sought.items() for region, score in places]
        yield added(example, *notes)

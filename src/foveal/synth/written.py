"""Stages in which a language model at an endpoint writes from notes: a description, a conversation about regions, denials of what is not so."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import Any

from foveal.endpoint import Message, Reply, message
from foveal.grounding import Example, GroundedText, Note, Turn
from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.written import NOTES, WRITER_ROLE, conversation_request, description_request, negatives_request
from foveal.synth.marks import Read, fault_of, listed_notes, numbered, read_marks
from foveal.synth.negatives import read_negatives
from foveal.synth.notes import added, refused
from foveal.synth.stage import Stage
from foveal.synth.writers import Writer, replies_to

__all__ = ["denied_by", "described_by", "discussed_by", "read_rounds"]

_SETTINGS: Mapping[str, Any] = {"max_tokens": 800}
_MARK_NUMBERS = re.compile(r"\]\([\d\s,]*\)")
_ROUND = re.compile(r"^[\W\d_]*(q|question|user|person|a|answer|assistant)[\W_]*\d*[\W_]*:[*_ ]*", re.IGNORECASE)


def described_by(writer: Writer, question: GroundedText | None = None, *, sentences: int = 5, most: int = 60) -> Stage:
    """A stage: a description that the writer makes of up to `most` notes and their places, as a note with source "description" and as a turn, the
    answer to `question` (without one, to Monkey's request for a detailed caption).

    Its phrases have the regions of the notes that they rest on; how many sentences rest on none is in "ungrounded" of `made_by`, how many phrases
    named a note that there is not in "unknown". An example of which nothing is known is let be; one whose reply fails or cannot be used (`fault_of`)
    is refused with the reason. `Stopped` where the budget is spent.
    """
    asked = question or VERBS["monkey"].of("detailed_caption")
    return partial(_told, writer=writer, task=_Task(description_request(sentences), partial(_description, asked), asked.text), most=most)


def discussed_by(writer: Writer, *, rounds: int = 4, most: int = 60) -> Stage:
    """A stage: questions and answers about what is where (GRIT's dialogues, arXiv 2310.07704), as turns, and as a note with source "conversation".

    People point at things in questions, and answers name things with their regions. Rounds that cannot be read or used are left out, and counted in
    "left_out" of `made_by`; an example without any is refused. Else as `described_by`.
    """
    return partial(_told, writer=writer, task=_Task(conversation_request(rounds), _conversation), most=most)


def denied_by(writer: Writer, *, count: int = 1, most: int = 60) -> Stage:
    """A stage: hard negatives as turns, `count` of each kind: what is absent, what is nearly so, what is elsewhere.

    What the writer proposes is held against the notes: a thing that one of them names, a phrase that differs in nothing, a place that overlaps the
    true one are no negatives (`foveal.synth.negatives`); how many were so is in "left_out" of `made_by` of a note with source "negatives". Else as
    `described_by`, but an example for which nothing holds is let be.
    """
    return partial(_told, writer=writer, task=_Task(negatives_request(count), _negatives), most=most)


def read_rounds(text: str) -> list[tuple[str, str]]:
    """The questions of a text with their answers: lines that begin with Q: and A:, or with like words; what stands before, or alone, is passed over.

    >>> read_rounds("Sure!\\n**Q1:** What is it?\\nA: A cup\\nof tea.\\nQ: And?")
    [('What is it?', 'A cup of tea.')]
    """
    said: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if found := _ROUND.match(line):
            said.append(("q" if found[1].lower()[0] in "qup" else "a", [line[found.end() :]]))
        elif said:
            said[-1][1].append(line)
    whole = [(role, " ".join(" ".join(lines).replace("**", "").split())) for role, lines in said]
    return [(asked, answered) for (one, asked), (other, answered) in pairwise(whole) if (one, other) == ("q", "a") and asked and answered]


@dataclass(frozen=True, eq=False)
class _Task:
    """What is asked, and what is made of a reply: an example with more, or why it cannot be used."""

    request: str
    made: Callable[[Example, str, Mapping[int, Note], Mapping[str, str]], Example | str]
    answers: str = ""

    @property
    def name(self) -> str:
        """What tells it from another task."""
        return f"{self.request} {self.answers}".strip()

    @property
    def hash(self) -> str:
        """What a note has of all that was asked; the words stand once, in the run's manifest."""
        return sha256(f"{WRITER_ROLE}{NOTES}{self.request}".encode()).hexdigest()[:16]


def _told(examples: Iterable[Example], *, writer: Writer, task: _Task, most: int) -> Iterator[Example]:
    def asked(example: Example) -> list[Message]:
        notes = numbered(example, most)
        return [message("system", WRITER_ROLE), message("user", NOTES.format(notes=listed_notes(notes)) + task.request)] if notes else []

    for example, reply in replies_to(examples, writer, asked, _SETTINGS):
        yield example if reply is None else _made(example, reply, writer, task, most)


def _made(example: Example, reply: Reply, writer: Writer, task: _Task, most: int) -> Example:
    if reply.error is not None:
        return refused(example, reply.error)
    if fault := fault_of(_MARK_NUMBERS.sub("", reply.text), reply.finish):
        return refused(example, f"what {writer.model} wrote cannot be used: {fault}")
    made_by = {"composer": "endpoint", "model": reply.model or writer.model, "prompt": task.hash}
    found = task.made(example, reply.text, numbered(example, most), made_by)
    return refused(example, f"what {writer.model} wrote cannot be used: {found}") if isinstance(found, str) else found


def _description(question: GroundedText, example: Example, text: str, notes: Mapping[int, Note], made_by: Mapping[str, str]) -> Example | str:
    read = read_marks(text, notes)
    told = added(example, Note(read.said, "description", made_by={**made_by, **_counts([read])}))
    return replace(told, turns=(*example.turns, Turn("user", question), Turn("assistant", read.said)))


def _conversation(example: Example, text: str, notes: Mapping[int, Note], made_by: Mapping[str, str]) -> Example | str:
    rounds = [(read_marks(asked, notes), read_marks(answered, notes)) for asked, answered in read_rounds(text)]
    good = [one for one in rounds if not one[0].unknown and not fault_of(one[1].said.text, words=0) and _points_well(one[0])]
    if not good:
        return "it holds no question with an answer"
    turns = [turn for asked, answered in good for turn in (Turn("user", asked.said), Turn("assistant", answered.said))]
    whole = GroundedText.join(*(piece for asked, answered in good for piece in ("Q: ", asked.said, "\nA: ", answered.said, "\n")))
    counts = _counts([answered for _, answered in good]) | {"left_out": str(len(rounds) - len(good))}
    return replace(added(example, Note(whole, "conversation", made_by={**made_by, **counts})), turns=(*example.turns, *turns))


def _points_well(asked: Read) -> bool:
    """Whether what a person points at has a place."""
    return not re.search(r"\bthis\b(?! (picture|image|scene|photo))", asked.said.text, re.IGNORECASE) or bool(asked.said.spans)


def _negatives(example: Example, text: str, notes: Mapping[int, Note], made_by: Mapping[str, str]) -> Example | str:
    turns, left_out = read_negatives(text, notes)
    whole = GroundedText.join(*(piece for turn in turns for piece in (turn.said, "\n")))
    told = added(example, Note(whole, "negatives", made_by={**made_by, "left_out": str(left_out)}))
    return replace(told, turns=(*example.turns, *turns))


def _counts(read: list[Read]) -> dict[str, str]:
    return {"claims": str(sum(one.claims for one in read)), "ungrounded": str(sum(one.ungrounded for one in read))} | (
        {"unknown": str(unknown)} if (unknown := sum(one.unknown for one in read)) else {}
    )

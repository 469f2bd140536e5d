"""Answers that are written together, a few tokens at a time; between times rows leave and others join, and no answer changes for that."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveal.grounding import Example, GroundedText
from foveal.session.answers import Answer, Options, Reason

if TYPE_CHECKING:
    from foveal.session.scene import Scene

__all__ = ["AtOnce", "Row", "Writing", "choose", "cut_at", "first_stop"]


@dataclass(eq=False, kw_only=True)
class Row:
    """One question and what has been said to it so far."""

    scene: "Scene"
    example: Example
    options: Options
    prompt: int = 0
    """How many tokens the question has, the image's among them; 0 where they are not counted."""
    tokens: list[int] = field(default_factory=list)
    """What was said, without what ends it."""
    logprobs: list[float] = field(default_factory=list)
    """The log-probability of each token."""
    answer: Answer | None = None
    """The whole answer, once it is there."""
    random: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        self.random.manual_seed(self.options.seed)


class Writing(ABC):
    """Answers that are being written, one `Row` each; those that are done have their `answer`, and are kept until they are let go.

    Greedy answers, and drawn ones too, for every row has a seed of its own, are those of writing each row alone.
    """

    rows: list[Row]

    @property
    def open(self) -> list[Row]:
        """The rows that are not done."""
        return [row for row in self.rows if row.answer is None]

    @abstractmethod
    def write(self, tokens: int) -> None:
        """Writes at most so many more tokens of each open row."""

    @abstractmethod
    def keep(self, rows: Collection[Row]) -> None:
        """Lets all rows go but these."""

    @abstractmethod
    def join(self, other: "Writing") -> bool:
        """Goes on with the rows of another writing of the same model too, which is not to be used any more; False, and nothing is done, where it
        cannot.
        """

    @abstractmethod
    def so_far(self, row: Row) -> GroundedText:
        """The beginning of a row's answer that nothing said later can change: words, and the places that are certain."""

    def answers(self) -> list[Answer]:
        """Writes all to the end."""
        while self.open:
            self.write(_SLICE)
        return [row.answer for row in self.rows if row.answer is not None]

    def stopped(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the open rows in whose certain words a text stands that is to stop them."""
        return [row for row in rows if row.answer is None and row.options.stop and first_stop(self.so_far(row).text, row.options.stop) is not None]


_SLICE = 16


class AtOnce(Writing):
    """Answers of a session that gives them whole: all are there after the first `write`."""

    def __init__(self, scenes: Sequence["Scene"], examples: Sequence[Example], options: Sequence[Options]) -> None:
        self.rows = [Row(scene=scene, example=example, options=one) for scene, example, one in zip(scenes, examples, options, strict=True)]

    def write(self, tokens: int) -> None:
        """Answers all: those that are asked with the same options together."""
        del tokens
        alike: dict[Options, list[Row]] = {}
        for row in self.open:
            alike.setdefault(row.options, []).append(row)
        for options, rows in alike.items():
            found = rows[0].scene.session.reply_each([row.scene for row in rows], [row.example for row in rows], options)
            for row, answer in zip(rows, found, strict=True):
                row.answer = cut_at(answer, row.options.stop)

    def keep(self, rows: Collection[Row]) -> None:
        """Lets all rows go but these."""
        self.rows = [row for row in self.rows if row in rows]

    def join(self, other: Writing) -> bool:
        """Takes the rows in."""
        self.rows += other.rows
        return True

    def so_far(self, row: Row) -> GroundedText:
        """Nothing, until all is there."""
        return GroundedText("") if row.answer is None else row.answer.said


def choose(logits: Float[Tensor, "rows vocabulary"], rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """The next token of each row: the likeliest, or with a temperature one drawn (Gumbel's trick) from the row's own random numbers."""
    scores = logits.float()
    if any(row.options.temperature for row in rows):
        scores = scores.clone()
        for number, row in enumerate(rows):
            if row.options.temperature:
                noise = torch.empty(scores.shape[-1]).exponential_(generator=row.random).log_()
                scores[number] = scores[number] / row.options.temperature - noise.to(scores.device)
    return scores.argmax(-1)


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where in the text the first of `stops` stands that stands in it.

    >>> first_stop("a cat. A dog.", (". ", "dog"))
    5
    """
    found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return min(found, default=None)


def cut_at(answer: Answer, stops: Sequence[str]) -> Answer:
    """The answer up to the first of `stops`, and the places of what is left; the whole, where none stands in it.

    >>> cut_at(Answer(GroundedText("a cat and a dog")), (" and",)).text
    'a cat'
    """
    place = first_stop(answer.text, stops)
    if place is None:
        return answer
    reason: Reason = "stop"
    kept = tuple(span for span in answer.said.spans if span.end <= place)
    return Answer(GroundedText(answer.text[:place], kept), reason, answer.raw, answer.error)

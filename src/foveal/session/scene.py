"""An image that has been looked at, and everything that can be asked of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.grounding.wordings import Verbs
from foveal.session.answers import Answer, Options
from foveal.session.decoding import Prefix, prefill
from foveal.session.questions import check_question

if TYPE_CHECKING:
    from foveal.session.session import Session

__all__ = ["Question", "Scene"]

Question = str | GroundedText | Sequence[str | Region | GroundedText]
"""One question: words, a grounded text, or a list of words and regions."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What a session keeps of one image: a value that can be held, shared between threads and asked any number of times.

    The image has been encoded; the model's cache of the prompt up to and including the image is filled once, at the first question, and
    every question starts from it. Regions are fractions of the image. Every verb takes `Options`, whole or by name.
    """

    session: "Session"
    picture: Picture
    sight: Any
    """What the session's model keeps of the image: a `Sight`, or a guest's own."""
    others: tuple[Picture, ...] = ()
    """Further images that are asked about together with the first (`Session.together`)."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright image in pixels."""
        return self.picture.width, self.picture.height

    def __repr__(self) -> str:
        return f"Scene({self.session!r}, {self.size[0]}x{self.size[1]})"

    def ask(self, *parts: str | Region | GroundedText, options: Options | None = None, **changes: Any) -> Answer:
        """Ask with words and regions in any order: `scene.ask("What is ", Box(0.1, 0.2, 0.3, 0.4), " for?", max_new_tokens=40)`.

        ValueError for an empty question, or a region that is empty or outside the image.
        """
        return self.ask_many([GroundedText.join(*parts)], options, **changes)[0]

    def ask_many(self, questions: Sequence[Question], options: Options | None = None, **changes: Any) -> list[Answer]:
        """Ask many questions in batches of `options.batch`; the answers are those of asking each alone."""
        return self.reply_many([(Turn("user", _joined(question)),) for question in questions], options, **changes)

    def reply_many(self, conversations: Sequence[Sequence[Turn]], options: Options | None = None, **changes: Any) -> list[Answer]:
        """The model's next turn in each of many conversations about this image."""
        chosen = replace(options or Options(), **changes)
        examples = [self.example(turns) for turns in conversations]
        return [answer for start in range(0, len(examples), chosen.batch) for answer in self._answers(examples[start : start + chosen.batch], chosen)]

    @overload
    def describe(self, region: Region, options: Options | None = None, **changes: Any) -> Answer: ...
    @overload
    def describe(self, region: Sequence[Region], options: Options | None = None, **changes: Any) -> list[Answer]: ...
    def describe(self, region: Region | Sequence[Region], options: Options | None = None, **changes: Any) -> Answer | list[Answer]:
        """What a region shows; of many, a list in their order."""
        if isinstance(region, Sequence):
            return self.ask_many([self._verbs.name(one) for one in region], options, **changes)
        return self.ask(self._verbs.name(region), options=options, **changes)

    @overload
    def locate(self, phrase: str, options: Options | None = None, **changes: Any) -> Answer: ...
    @overload
    def locate(self, phrase: Sequence[str], options: Options | None = None, **changes: Any) -> list[Answer]: ...
    def locate(self, phrase: str | Sequence[str], options: Options | None = None, **changes: Any) -> Answer | list[Answer]:
        """Where what `phrase` names is: its boxes are the answer's regions, none when the model says it is not there.

        ValueError for an empty phrase, and for a model that was not trained to answer with places.
        """
        phrases = _phrases(phrase, "locate")
        answers = self.ask_many([self._verbs.of("location", one) for one in phrases], options, **changes)
        return answers[0] if isinstance(phrase, str) else answers

    def detect(self, options: Options | None = None, **changes: Any) -> Answer:
        """All objects the model sees, each with its name and box, in reading order; ValueError for a model that was not trained to."""
        return self.ask(self._verbs.of("detection"), options=options, **changes)

    @overload
    def segment(self, phrase: str, options: Options | None = None, **changes: Any) -> Answer: ...
    @overload
    def segment(self, phrase: Sequence[str], options: Options | None = None, **changes: Any) -> list[Answer]: ...
    def segment(self, phrase: str | Sequence[str], options: Options | None = None, **changes: Any) -> Answer | list[Answer]:
        """The outline of what `phrase` names: a mask is the answer's region, none when the model outlines nothing.

        ValueError for an empty phrase, and for a model that was not trained to, or was made without a mask decoder.
        """
        phrases = _phrases(phrase, "segment")
        answers = self.ask_many([self._verbs.of("segmentation", one) for one in phrases], options, **changes)
        return answers[0] if isinstance(phrase, str) else answers

    def dense_captions(self, options: Options | None = None, **changes: Any) -> Answer:
        """Everything the model sees, each thing in words of its own with its box, the surest boxes first.

        ValueError for a model that was not trained to, or was made without a detector.
        """
        return self.ask(self._verbs.of("dense_captions"), options=options, **changes)

    def caption(self, *, detailed: bool = False, grounded: bool = False, options: Options | None = None, **changes: Any) -> Answer:
        """What the image shows; `detailed` at length, `grounded` with boxes of the things mentioned.

        ValueError for a caption that the model was not trained to give.
        """
        return self.ask(self._verbs.captioned(detailed=detailed, grounded=grounded), options=options, **changes)

    def stream(self, *parts: str | Region | GroundedText, options: Options | None = None, **changes: Any) -> Iterator[str | Answer]:
        """As `ask`, but yields the words while they are said, and at the end the whole answer.

        The pieces together are the answer's text. A place appears with the answer only; its words do not wait for it. Leaving the loop
        early ends the generation.
        """
        chosen = replace(options or Options(), **changes)
        return self._pieces(self.example((Turn("user", GroundedText.join(*parts)),)), chosen)

    @property
    def _verbs(self) -> Verbs:
        return self.session.processor.verbs

    @cached_property
    def prefix(self) -> Prefix:
        """The cached beginning of every prompt about this image."""
        any_question = self.example((Turn("user", GroundedText("?")),))
        return prefill(self.session.model, self.session.processor, self.sight, any_question)

    def example(self, turns: Sequence[Turn]) -> Example:
        """A conversation about this image, to be answered; ValueError where it does not end with a question, or what is asked cannot be."""
        if not turns or turns[-1].role != "user":
            raise ValueError("A conversation ends with a question; its last turn is not the user's.")
        for turn in turns:
            if turn.role == "user":
                check_question(turn.said)
        return Example("", (self.picture, *self.others), tuple(turns))

    def _answers(self, examples: Sequence[Example], options: Options) -> list[Answer]:
        return self.session.reply(self, examples, options)

    def _pieces(self, example: Example, options: Options) -> Iterator[str | Answer]:
        writing, written = self.session.begin([self], [example], [options]), ""
        [row] = writing.rows
        while row.answer is None:
            text = writing.so_far(row).text
            if text.startswith(written) and len(text) > len(written):
                yield text[len(written) :]
                written = text
            writing.write(1)
        if rest := row.answer.text.removeprefix(written):
            yield rest
        yield row.answer


def _phrases(phrase: str | Sequence[str], verb: str) -> list[str]:
    phrases = [phrase] if isinstance(phrase, str) else list(phrase)
    if not all(one.strip() for one in phrases):
        raise ValueError(f"The phrase to {verb} is empty; words are wanted.")
    return [one.strip() for one in phrases]


def _joined(question: Question) -> GroundedText:
    if isinstance(question, GroundedText):
        return question
    return GroundedText(question) if isinstance(question, str) else GroundedText.join(*question)

"""Stages that ask a model of a session: a caption of the whole picture, and everything in it, each thing with its words and place."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from foveal.grounding import Example, Note, Turn, tied
from foveal.grounding.wordings import Verbs
from foveal.synth.notes import added, refused
from foveal.synth.stage import Stage

if TYPE_CHECKING:
    from foveal.session import Answer, Session

__all__ = ["captioned", "opened", "quiet", "regions_captioned"]

_Notes = Callable[["Answer", Mapping[str, str]], list[Note]]
_SOURCES = {"dense_captions": "region", "detection": "object"}


def captioned(session: "Session | str", *, detailed: bool = False, max_new_tokens: int = 96, batch: int = 32) -> Stage:
    """A stage: what a model says of the whole picture, as a note with source "caption", beside those that the data has.

    `session` is open, or the name or folder of a model, which is opened where the stage runs, and once. `detailed` asks for a long one. Words that
    have places in the answer keep them.
    """
    verb = "detailed_caption" if detailed else "caption"
    return partial(_asked, session=session, verbs=(verb,), max_new_tokens=max_new_tokens, batch=batch)


def regions_captioned(session: "Session | str", *, max_new_tokens: int = 512, batch: int = 32) -> Stage:
    """A stage: everything that a model sees, a note for each thing. A family that has words of its own for things (PixelLLM, Florence-2) is asked for
    dense captions, and gives notes with source "region"; one that names them (Ferret) for detection, with source "object".

    ValueError, when it runs, for a family that knows neither.
    """
    return partial(_asked, session=session, verbs=("dense_captions", "detection"), max_new_tokens=max_new_tokens, batch=batch)


@lru_cache(maxsize=1)
def opened(name: str) -> "tuple[Session, str]":
    """The model of a name or folder, and the hash of its weights; the last one that was asked for is kept open."""
    from foveal.session import Session

    with quiet():
        session = Session.open(name)
    return session, _hash_of(session)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the chatter of a model's loading, which would stand between the bars of a run."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


@lru_cache(maxsize=1)
def _hash_of(session: "Session") -> str:
    from foveal.session.weights import weights_hash  # which wants torch

    return weights_hash(session.model)


def _asked(examples: Iterable[Example], *, session: "Session | str", verbs: tuple[str, ...], max_new_tokens: int, batch: int) -> Iterator[Example]:
    """Each example with notes of a model's answer to the first of the verbs that its family knows."""
    asked, weights = opened(session) if isinstance(session, str) else (session, _hash_of(session))
    verb = _known(asked.verbs, verbs)
    question = asked.verbs.of(verb)
    notes_of: _Notes = partial(_things, _SOURCES[verb]) if verb in _SOURCES else _caption
    made_by = {"model": asked.name or type(asked.model).__name__, "weights": weights[:16], "prompt": question.text}
    waiting: deque[Example] = deque()

    def askable() -> Iterator[Example]:
        for example in examples:
            waiting.append(example)
            yield Example(example.id, example.images, (Turn("user", question),))

    for answer in asked.answer(askable(), max_new_tokens=max_new_tokens, batch=batch):
        example = waiting.popleft()
        if answer.error is not None:
            yield refused(example, answer.error)
            continue
        ended = {} if answer.finish_reason == "stop" else {"ended": answer.finish_reason}
        yield added(example, *notes_of(answer, made_by | ended))


def _known(family: Verbs, verbs: tuple[str, ...]) -> str:
    for verb in verbs:
        if getattr(family, verb) is not None:
            return verb
    raise ValueError(family.refuse(verbs[0]))


def _caption(answer: "Answer", made_by: Mapping[str, str]) -> list[Note]:
    return [Note(answer.said, "caption", made_by=made_by)] if answer.text.strip() else []


def _things(source: str, answer: "Answer", made_by: Mapping[str, str]) -> list[Note]:
    """A note for each place that words have; words without a place say nothing of one."""
    notes = []
    for span in answer.spans:
        words = answer.text[span.start : span.end].strip()
        for region, score in zip(span.regions, span.scores or (None,) * len(span.regions), strict=True):
            if words:
                notes.append(Note(tied(words, region), source, score, made_by))
    return notes

"""A captioner behind an endpoint: it is shown the picture itself, and says what that shows as a whole."""

import io
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from PIL import Image

from foveal.data.images import load_picture
from foveal.endpoint import Message, message
from foveal.grounding import Example, GroundedText, Note
from foveal.grounding.wordings.written import caption_request
from foveal.synth.marks import fault_of
from foveal.synth.notes import added, refused
from foveal.synth.stage import Stage
from foveal.synth.writers import Writer, replies_to

__all__ = ["captioned_by"]

_SETTINGS: Mapping[str, Any] = {"max_tokens": 200}


def captioned_by(writer: Writer, *, question: str | None = None, longest: int = 1024) -> Stage:
    """A stage: what a model at an endpoint says of the whole picture, as a note with source "caption". The first picture of an example goes with the
    question as a JPEG of at most `longest` pixels a side; without a `question`, for one sentence.

    A picture that cannot be read, and one whose reply fails or cannot be used (`foveal.synth.marks.fault_of`), is refused with the reason. `Stopped`
    where the budget is spent, or nothing is answered.
    """
    if longest < 1:
        raise ValueError(f"pictures of {longest} pixels a side; at least 1 is wanted")
    return partial(_captioned, writer=writer, question=question or caption_request(), longest=longest)


def _captioned(examples: Iterable[Example], *, writer: Writer, question: str, longest: int) -> Iterator[Example]:
    unseen: dict[int, str] = {}

    def asked(example: Example) -> list[Message]:
        try:
            return [message("user", question, _jpeg(example, longest))]
        except ValueError as error:
            unseen[id(example)] = str(error)
            return []

    prompt = sha256(question.encode()).hexdigest()[:16]
    for example, reply in replies_to(examples, writer, asked, _SETTINGS):
        if reply is None:
            yield refused(example, unseen.pop(id(example)))
        elif reply.error is not None:
            yield refused(example, reply.error)
        elif fault := fault_of(reply.text, reply.finish, words=1):
            yield refused(example, f"what {writer.model} said cannot be used: {fault}")
        else:
            made_by = {"model": reply.model or writer.model, "prompt": prompt}
            yield added(example, Note(GroundedText(" ".join(reply.text.split())), "caption", made_by=made_by))


def _jpeg(example: Example, longest: int) -> bytes:
    """The first picture, encoded. ValueError where there is none, or it cannot be read."""
    if not example.images:
        raise ValueError("it has no picture")
    image = load_picture(example.images[0])
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=90)
    return kept.getvalue()

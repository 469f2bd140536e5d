"""What stands between examples and tensors in every model: which text is control and which is the user's, and what is to be learnt."""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import BatchFeature, ProcessorMixin

from foveal.grounding import GroundedText
from foveal.grounding.wordings import Template
from foveal.models.losses import IGNORED

__all__ = ["IMAGE_MARK", "REGION_MARK", "Piece", "Processor", "Written", "conversation", "without_marks"]

IMAGE_MARK, REGION_MARK = "\ue000", "\ue001"
"""Where an image and a region stand in a text on its way to tokens: characters of no script, taken out of whatever users write."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a conversation. `learnt`: the model is to say it. `trusted`: it may hold control tokens; what users write may not."""

    text: str
    learnt: bool = False
    trusted: bool = True


@dataclass(slots=True)
class Written:
    """A conversation as tokens: `labels` are -100 but where the model is to learn."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], learnt: Sequence[bool]) -> None:
        """Appends tokens; those not learnt get no label."""
        self.ids += ids
        self.labels += [token if wanted else IGNORED for token, wanted in zip(ids, learnt, strict=True)]


def without_marks(text: str) -> str:
    """The text with marks of images and regions blotted out, each by one character so that places in the text stay.

    >>> without_marks("a\\ue000b")
    'a�b'
    """
    return text.translate({ord(IMAGE_MARK): "\ufffd", ord(REGION_MARK): "\ufffd"})


def conversation(template: Template, messages: Sequence[str | None]) -> list[Piece]:
    """The pieces of alternating messages, the person's first; None at the end leaves the conversation open for the model's answer.

    What is learnt of an answer begins right behind the open conversation's last character, so that training and asking see the same text.
    """
    pieces = [Piece(template.opening)]
    for place, message in enumerate(messages):
        if place % 2 == 0:
            pieces += [Piece(template.user_opening), Piece(message or "", trusted=False), Piece(template.user_closing)]
            continue
        pieces.append(Piece(template.cue))
        if message is not None:
            rest = template.answer_opening[len(template.cue) :]
            pieces += [Piece(rest, True), Piece(message, True, trusted=False), Piece(template.answer_closing, True)]
    return pieces


class Processor(ProcessorMixin, ABC):
    """All that differs between models in words and pixels. A subclass's `__init__` calls `prepare` when its tokenizer is set."""

    image_token_id: int
    region_token_id: int

    @abstractmethod
    def plan(self, size: tuple[int, int]) -> Any:
        """Which windows of an image of `size` (width, height) are looked through."""

    @abstractmethod
    def slots(self, plan: Any) -> int:
        """How many placeholders an image of this plan takes."""

    @abstractmethod
    def see(self, images: Sequence[Any]) -> BatchFeature:
        """Images as the tensors that the model's `see` and `encode_images` take."""

    @abstractmethod
    def encode(self, examples: Sequence[Any], *, train: bool = False, look: bool = True, padding_side: str | None = None) -> BatchFeature:
        """Examples as the tensors that the model's `forward` and `generate` take; without `look`, without the images' pixels."""

    @abstractmethod
    def decode(self, ids: Sequence[Sequence[int]], *given: Any, **options: Any) -> list[GroundedText]:
        """What a model said, as words tied to places."""

    def prepare(self) -> None:
        """Learns from the tokenizer which strings it takes for control tokens. ValueError for a tokenizer without a fast backend."""
        if not self.tokenizer.is_fast:
            raise ValueError(f"a {type(self.tokenizer).__name__} was given; a fast tokenizer is wanted.")
        control = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        control |= {"<image>", "<region_fea>"}
        alternatives = "|".join(re.escape(token) for token in sorted(control, key=len, reverse=True) if len(token) > 1)
        self._control = re.compile(f"(?={alternatives})" if not alternatives else f"(?=({alternatives}))")
        start = self.tokenizer("").input_ids
        self._opening = [token for token in start if token == self.tokenizer.bos_token_id]

    def write(self, pieces: Sequence[Piece], slots: Sequence[int]) -> Written:
        """Tokens of the pieces, with `slots[i]` image placeholders for the i-th image mark, and one region placeholder for each region mark.

        Neighbouring pieces are tokenised as one text, save where the user's words spell a control token: there they are broken inside it.
        """
        written = Written()
        run: list[tuple[str, bool]] = []
        written.add(self._opening, [False] * len(self._opening))
        images = iter(slots)
        for piece in pieces:
            for part in re.split(f"([{IMAGE_MARK}{REGION_MARK}])", piece.text):
                if part in (IMAGE_MARK, REGION_MARK):
                    run = self._flush(run, written)
                    ids = [self.region_token_id] if part == REGION_MARK else [self.image_token_id] * next(images)
                    written.add(ids, [False] * len(ids))
                    continue
                for index, some in enumerate([part] if piece.trusted else self._broken(part)):
                    run = self._flush(run, written) if index else run
                    run.append((some, piece.learnt))
        self._flush(run, written)
        return written

    def _broken(self, text: str) -> list[str]:
        cuts = [found.start() + 1 for found in self._control.finditer(text)]
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def _flush(self, run: list[tuple[str, bool]], written: Written) -> list[tuple[str, bool]]:
        """Tokens of a run of stretches; one that reaches into a stretch to be learnt is learnt."""
        text, flags = "".join(part for part, _ in run), [learnt for part, learnt in run for _ in part]
        if text:
            encoding = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
            written.add(encoding.ids, [any(flags[start:end]) for start, end in encoding.offsets])
        return []

    @classmethod
    def from_args_and_dict(cls, args: Sequence[Any], processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers' own, which overlooks the parameters of an `__init__` that is wrapped, as type checkers wrap it."""
        known = inspect.signature(cls.__init__).parameters
        return_unused = kwargs.pop("return_unused_kwargs", False)
        given = {**processor_dict, **kwargs}
        values = {name: value for name, value in given.items() if name in known and name not in cls.get_attributes()}
        processor = cls(*args, **values)
        return (processor, {name: value for name, value in given.items() if name not in known}) if return_unused else processor

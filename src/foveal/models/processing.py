"""What stands between examples and tensors in every model: which text is control and which is the user's, and what is to be learnt."""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, ProcessorMixin

from foveal.geometry import Frame, Region
from foveal.grounding import Example, GroundedText, Picture, Turn, region_limits
from foveal.grounding.formats import LocationFormat
from foveal.grounding.wordings import Template, Verbs
from foveal.models.losses import IGNORED

__all__ = [
    "IMAGE_MARK",
    "REGION_MARK",
    "ConversationProcessor",
    "Piece",
    "Processor",
    "Row",
    "Written",
    "certainty",
    "conversation",
    "pixels_of",
    "spelling",
    "turns_of",
    "without_marks",
]

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


Row = tuple[Written, list[Region], list[tuple[int, int]]]
"""One conversation: its tokens and labels, the regions that stand in it, and the (width, height) of its images."""


def turns_of(example: Example, *, train: bool) -> list[Turn]:
    """The turns to be written: all, or, without `train`, those up to the last question. ValueError when they do not alternate."""
    turns = list(example.turns)
    while not train and turns and turns[-1].role == "assistant":
        turns.pop()
    if [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2) or not turns:
        raise ValueError(f"example {example.id!r} wants turns that alternate and begin with the user's.")
    return turns


class Processor(ProcessorMixin, ABC):
    """All that differs between models in words and pixels. A subclass's `__init__` calls `prepare` when its tokenizer is set."""

    context_length: int
    template: str
    templates: ClassVar[Mapping[str, Template]]
    """The conversation templates that the model's family knows, by name."""
    verbs: ClassVar[Verbs]
    """What the model's family is asked by the verbs of a scene."""

    @abstractmethod
    def plan(self, size: tuple[int, int]) -> Any:
        """Which windows of an image of `size` (width, height) are looked through."""

    @abstractmethod
    def see(self, images: Sequence[Any]) -> BatchFeature:
        """Images as the tensors that the model's `see` and `encode_images` take."""

    @abstractmethod
    def encode(
        self,
        examples: Sequence[Example],
        *,
        train: bool = False,
        look: bool = True,
        rng: np.random.Generator | None = None,
        padding_side: str | None = None,
    ) -> BatchFeature:
        """Examples as the tensors that the model's `forward` and `generate` take; with `look`, those of their pictures too."""

    @abstractmethod
    def decode(self, ids: Tensor | Sequence[Sequence[int]], *about: Any, **known: Any) -> list[GroundedText]:
        """What was said in newly generated `ids`, with its places."""

    @property
    def stop_id(self) -> int | None:
        """The token that ends an answer."""
        stop = self.tokenizer.convert_tokens_to_ids(self.templates[self.template].stop)
        return None if stop == self.tokenizer.unk_token_id else stop

    def prepare(self) -> None:
        """ValueError for a tokenizer without a fast backend, and for a template that the model's family does not know."""
        if self.template not in self.templates:
            raise ValueError(f"template {self.template!r}; there are {', '.join(sorted(self.templates))}.")
        if not self.tokenizer.is_fast:
            raise ValueError(f"a {type(self.tokenizer).__name__} was given; a fast tokenizer is wanted.")

    @classmethod
    def from_args_and_dict(cls, args: Sequence[Any], processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers' own, which overlooks the parameters of an `__init__` that is wrapped, as type checkers wrap it."""
        known = inspect.signature(cls.__init__).parameters
        return_unused = kwargs.pop("return_unused_kwargs", False)
        given = {**processor_dict, **kwargs}
        values = {name: value for name, value in given.items() if name in known and name not in cls.get_attributes()}
        processor = cls(*args, **values)
        return (processor, {name: value for name, value in given.items() if name not in known}) if return_unused else processor


class ConversationProcessor(Processor):
    """What models have in common that are asked in turns of a conversation, with placeholders for images and regions in its text."""

    image_token_id: int
    region_token_id: int
    said_tokens: ClassVar[tuple[str, ...]] = ()
    """Control tokens that are part of what the model says; all others are left out of an answer's text."""
    answers_apart: ClassVar[bool] = False
    """Whether a question and its answer are tokenised apart, so that the blank between them is a token of its own."""

    @abstractmethod
    def slots(self, plan: Any) -> int:
        """How many placeholders an image of this plan takes."""

    @property
    @abstractmethod
    def places(self) -> LocationFormat:
        """How this model spells places."""

    @abstractmethod
    def write_example(self, example: Example, *, train: bool = False) -> Row:
        """One example as a row of `batch`. Without `train` it ends with the last question."""

    def length(self, example: Example) -> int:
        """Tokens of an example in training, images included. ValueError as in `encode`."""
        return len(self.write_example(example, train=True)[0].ids)

    def draw(self, region: Region, size: tuple[int, int], rng: np.random.Generator | None = None, *, inside: Region | None = None) -> Any:
        """Points of a region and the starts of what samples them. ValueError where a model cannot be pointed at regions by features."""
        raise ValueError(f"{type(self).__name__} has no features of regions: point with words.")

    def prepare(self) -> None:
        """Learns from the tokenizer which strings it takes for control tokens. ValueError as for any processor."""
        super().prepare()
        special = {number: token.content for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        control = {*special.values(), "<image>", "<region_fea>"}
        alternatives = "|".join(re.escape(token) for token in sorted(control, key=len, reverse=True) if len(token) > 1)
        self._control = re.compile(f"(?={alternatives})" if not alternatives else f"(?=({alternatives}))")
        self._silent = {number for number, token in special.items() if token not in self.said_tokens}
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
                if self.answers_apart and run and run[-1][1] != piece.learnt:
                    run = self._flush(run, written)
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

    def encode(
        self,
        examples: Sequence[Example],
        *,
        train: bool = False,
        look: bool = True,
        rng: np.random.Generator | None = None,
        padding_side: str | None = None,
    ) -> BatchFeature:
        """Conversations as tensors. Pictures must hold PIL images in their `pixels`, unless `look` is False and pixels are not wanted.

        With `train`: whole conversations with `labels`, points of regions drawn anew by `rng`, texts cut at `context_length`, padded on
        the right. Without: up to the last question, left open for an answer, the same points for the same region, padded on the left.
        ValueError for a question longer than `context_length`.
        """
        rows = [self.write_example(example, train=train) for example in examples]
        rng = rng if rng is not None else np.random.default_rng()
        limits = [_limits(example) for example in examples] if train else ()
        batch = self.batch(rows, rng, train=train, padding_side=padding_side or ("right" if train else "left"), limits=limits)
        pictures = [picture for example in examples for picture in example.images]
        return BatchFeature({**batch, **(self.see([pixels_of(picture) for picture in pictures]) if look and pictures else {})})

    def batch(
        self,
        rows: Sequence[Row],
        rng: np.random.Generator,
        *,
        train: bool,
        padding_side: str,
        limits: Sequence[Mapping[Region, Region | None]] = (),
    ) -> dict[str, Tensor]:
        """Rows as tensors of one batch, pixels apart: `input_ids`, `attention_mask`, `labels` with `train`, and the regions' inputs.

        `limits` say for each row what its regions are cut to before their points are drawn.
        """
        ids, labels, points, starts, image, first = [], [], [], [], [], 0
        for (written, regions, sizes), inside in zip(rows, limits or [{}] * len(rows), strict=True):
            kept = regions[: self._fit(written, train)]
            ids.append(torch.tensor(written.ids))
            labels.append(torch.tensor(written.labels))
            for region in kept:
                size = sizes[region.image] if region.image < len(sizes) else sizes[0]
                found = self.draw(region, size, rng if train else None, inside=inside.get(region))
                points.append(found[0])
                starts.append(found[1])
                image.append(first + region.image)
            first += len(sizes)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id or 0
        batch = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad, padding_side=padding_side),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=padding_side),
        }
        if train:
            batch["labels"] = pad_sequence(labels, batch_first=True, padding_value=IGNORED, padding_side=padding_side)
        if points:
            batch["region_points"] = torch.from_numpy(np.stack(points)).float()
            batch["region_starts"], batch["region_image"] = torch.tensor(starts), torch.tensor(image)
        return batch

    def _fit(self, written: Written, train: bool) -> int:
        """Cuts what is too long, and says how many regions are left in it."""
        if len(written.ids) > self.context_length:
            if not train:
                raise ValueError(f"a question of {len(written.ids)} tokens, images included; at most {self.context_length} are read.")
            if self.image_token_id in written.ids[self.context_length :]:
                raise ValueError(f"an image does not fit into {self.context_length} tokens.")
            del written.ids[self.context_length :], written.labels[self.context_length :]
        return written.ids.count(self.region_token_id)

    def decode(
        self,
        ids: Tensor | Sequence[Sequence[int]],
        about: Sequence[Example | Frame | tuple[int, int]] | None = None,
        logprobs: Tensor | Sequence[Sequence[float]] | None = None,
    ) -> list[GroundedText]:
        """What was said in newly generated `ids` (up to the stop), with its places.

        `about` are the examples, frames or image sizes of the answers. With the tokens' natural `logprobs` each place gets a score: the
        geometric mean of the probabilities of the tokens that spell its numbers.
        """
        frames = [None] * len(ids) if about is None else list(about)
        chances = [None] * len(ids) if logprobs is None else list(logprobs)
        return [self._decode(*one) for one in zip(ids, frames, chances, strict=True)]

    def spell(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """What tokens up to the end spell, tags of places and all, and where in it each ends: an answer as the model itself writes it."""
        stops = [place for place, token in enumerate(ids) if token in (self.tokenizer.eos_token_id, self.stop_id)]
        ids = [token for token in ids[: stops[0] if stops else None] if token < len(self.tokenizer) and token >= 0]
        return spelling(self.tokenizer, ids, self._silent)

    def _decode(self, ids: Tensor | Sequence[int], about: Example | Frame | tuple[int, int] | None, logprobs: Any) -> GroundedText:
        ids = [int(token) for token in ids]
        raw, ends = self.spell(ids)
        return self.places.decode(raw, _frame(about), None if logprobs is None else certainty(raw, ends, logprobs))


def spelling(tokenizer: Any, ids: Sequence[int], silent: Collection[int] = ()) -> tuple[str, list[int]]:
    """The text of tokens, and where in it each ends; those that are `silent` are left out."""

    def said(some: Sequence[int]) -> str:
        return tokenizer.backend_tokenizer.decode([token for token in some if token not in silent], skip_special_tokens=False)

    raw, pieces = said(ids), [said([token]) for token in ids]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    if "".join(pieces) != raw:  # a blank before a word is written only between words
        ends = [min(len(said(ids[: place + 1])), len(raw)) for place in range(len(ids))]
    blank = len(raw) - len(raw.lstrip())  # between the cue and the answer; it belongs to neither
    return raw[blank:], [max(end - blank, 0) for end in ends]


def certainty(raw: str, ends: Sequence[int], logprobs: Sequence[float]) -> Callable[[int, int], float | None]:
    """How sure a range of a text's characters is: the geometric mean of the probabilities of the tokens in it that spell numbers.

    `ends` says where in the text each token ends; None for a range without numbers.
    """

    def score(start: int, end: int) -> float | None:
        begins = [0, *ends[:-1]]
        said = [place for place in range(len(ends)) if ends[place] > start and begins[place] < end and ends[place] > begins[place]]
        numbers = [place for place in said if any(letter.isdigit() for letter in raw[begins[place] : ends[place]])]
        return float(np.exp(np.mean([float(logprobs[place]) for place in numbers]))) if numbers else None

    return score


def pixels_of(picture: Picture) -> Image.Image:
    """The PIL image of a picture; ValueError for one that has not been opened."""
    if not isinstance(picture.pixels, Image.Image):
        raise ValueError("a picture without pixels was given: open it first (foveal.data.images), models read no files.")
    return picture.pixels


def _limits(example: Example) -> dict[Region, Region | None]:
    regions = [region for turn in example.turns if turn.role == "user" for region in turn.said.regions]
    return dict(zip(regions, region_limits(example), strict=True))


def _frame(about: Example | Frame | tuple[int, int] | None) -> Frame:
    if isinstance(about, Frame):
        return about
    if isinstance(about, Example):
        about = (about.images[0].width, about.images[0].height) if about.images else None
    return Frame.stretch(about or (1000, 1000))

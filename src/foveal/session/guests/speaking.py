"""What guests have in common that answer in words: prompts as tokens, generation from images encoded once, words and places of what was said."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from foveal.geometry import Frame
from foveal.grounding import Example, GroundedText
from foveal.grounding.formats import LocationFormat
from foveal.grounding.wordings import Template
from foveal.models.processing import IMAGE_MARK, Piece, certainty, conversation, spelling, turns_of, without_marks
from foveal.session.answers import Answer, Options, Reason
from foveal.session.grammar import PlaceGrammar
from foveal.session.guests.guest import Family, question_of
from foveal.session.steering import Follow, Steer, Steering

__all__ = ["Seen", "SpeakingFamily"]

_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class Seen:
    """What is kept of an image: where its places lie on the canvas, how many tokens it takes, and what the model made of it."""

    frame: Frame
    slots: int
    features: Any
    grid: Any = None


class SpeakingFamily(Family):
    """A family whose model writes its answers with `generate`. Images are encoded when they are looked at, and never again.

    A family says how its image stands in a prompt (`prompt`), what `generate` is given beside the tokens (`visual`), and its `dialect`.
    """

    template: ClassVar[Template | None] = None
    """The conversation, of families that hold one."""
    image_opening: ClassVar[str] = ""
    """What stands before the first question: control tokens around `IMAGE_MARK`."""
    fills: ClassVar[Literal["left", "right", "never"]] = "left"
    """On which side shorter prompts are filled up, so that several are answered at once; "never": only those of one length are."""
    spoken: ClassVar[re.Pattern[str]] = _NOTHING
    """Control tokens that spell places: they are part of questions and answers; all others are of neither."""

    @abstractmethod
    def dialect(self, question: str) -> LocationFormat:
        """How the answer to a question, or the question itself, spells places."""

    @abstractmethod
    def visual(self, model: Any, seen: Sequence[Seen], ids: Int[Tensor, "rows length"]) -> dict[str, Any]:
        """What `generate` is given of the image of each of the prompts `ids`."""

    def prompt(self, model: Any, seen: Seen, example: Example) -> list[int]:
        """The tokens of the conversation up to the answer; ValueError for a question that cannot be asked."""
        assert self.template is not None
        question_of(example, self.verbs)
        messages: list[str | None] = [self.spell(turn.said, seen) for turn in turns_of(example, train=False)]
        pieces = conversation(self.template, [*messages, None])
        place = next(index for index, piece in enumerate(pieces) if not piece.trusted)
        pieces.insert(place, Piece(self.image_opening))
        return self.write(pieces, seen.slots, model.config.image_token_id)

    def beginning(self, question: str) -> str:
        """What of a question its answer goes on with, and so is part of it."""
        return ""

    def spell(self, said: GroundedText, seen: Seen) -> str:
        """Words and places in the family's dialect."""
        text = GroundedText(without_marks(said.text), said.spans)
        return self.dialect(text.text).encode(text, seen.frame)

    def write(self, pieces: Sequence[Piece], slots: int = 0, image_token: int = 0) -> list[int]:
        """The tokens of pieces, `slots` image tokens for an image mark. In what a user wrote, control tokens are taken apart, but those of places."""
        ids: list[int] = []
        run = ""
        for piece in pieces:
            for part in re.split(f"({IMAGE_MARK})", piece.text):
                for index, some in enumerate([part] if piece.trusted else self._taken_apart(part)):
                    if index or part == IMAGE_MARK:
                        ids, run = ids + self._tokens(run), ""
                    run += some if part != IMAGE_MARK else ""
                ids += [image_token] * slots if part == IMAGE_MARK else []
        return ids + self._tokens(run)

    def reply(self, model: Any, seen: Sequence[Seen], examples: Sequence[Example], options: Options) -> list[Answer]:
        """Answers generated at once; each place has the certainty of the tokens that spell its numbers."""
        rows = [self.prompt(model, one, example) for one, example in zip(seen, examples, strict=True)]
        groups: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(len(row) if self.fills == "never" else 0, []).append(index)
        found: dict[int, Answer] = {}
        for some in groups.values():
            said = self._generate(model, [seen[index] for index in some], [rows[index] for index in some], options)
            found |= {index: self._answer(examples[index], seen[index], *one) for index, one in zip(some, said, strict=True)}
        return [found[index] for index in range(len(rows))]

    def _generate(
        self, model: Any, seen: Sequence[Seen], rows: Sequence[Sequence[int]], options: Options
    ) -> Iterator[tuple[list[int], list[float], Reason | None]]:
        """The tokens said upon each prompt, how likely each was, and why they end. Drawn ones too are those of each prompt alone."""
        ids, mask = self._batch(rows, model.device)
        ends = self._ends(model)
        steering = Steering(len(rows), self._grammar, ends, constrain=False, stop_repetition=False)
        drawing = [_Draw(len(rows), options)] if options.temperature > 0 else []
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            **self.visual(model, seen, ids),
            max_new_tokens=options.max_new_tokens,
            eos_token_id=ends or None,
            pad_token_id=self.pad,
            num_beams=1,
            do_sample=False,
            logits_processor=LogitsProcessorList([Steer(steering), *drawing]),
            stopping_criteria=StoppingCriteriaList([Follow(steering)]),
        )
        return zip(steering.tokens, steering.logprobs, steering.reasons, strict=True)

    @cached_property
    def pad(self) -> int:
        """The token that fills rows up."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else self.tokenizer.eos_token_id or 0

    @cached_property
    def _grammar(self) -> PlaceGrammar:
        """None: other families' places are not led."""
        return PlaceGrammar([""] * len(self.tokenizer))

    @cached_property
    def _silent(self) -> frozenset[int]:
        """Control tokens that are no part of an answer."""
        added: Mapping[int, Any] = self.tokenizer.added_tokens_decoder
        return frozenset(index for index, token in added.items() if token.special and not self.spoken.fullmatch(token.content))

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """Where the text of a token begins that a user cannot say."""
        added = [token.content for token in self.tokenizer.added_tokens_decoder.values()]
        contents = sorted({one for one in added if len(one) > 1 and not self.spoken.fullmatch(one)}, key=len, reverse=True)
        return re.compile(f"(?=({'|'.join(map(re.escape, contents))}))") if contents else _NOTHING

    def _taken_apart(self, text: str) -> list[str]:
        cuts = [found.start() + 1 for found in self._control.finditer(text)]
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids) if text else []

    def _batch(self, rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Int[Tensor, "rows length"], Int[Tensor, "rows length"]]:
        """Rows of one length, and where they are not filled up."""
        ids = [torch.tensor(row) for row in rows]
        mask = [torch.ones_like(row) for row in ids]
        side = "right" if self.fills == "right" else "left"
        filled = pad_sequence(ids, batch_first=True, padding_value=self.pad, padding_side=side)
        return filled.to(device), pad_sequence(mask, batch_first=True, padding_side=side).to(device)

    def _ends(self, model: Any) -> list[int]:
        """The tokens that end an answer."""
        configured = model.generation_config.eos_token_id
        stop = self.tokenizer.convert_tokens_to_ids(self.template.stop) if self.template else None
        several = {*(configured if isinstance(configured, list) else [configured]), self.tokenizer.eos_token_id, stop}
        return sorted(token for token in several if token is not None and token != self.tokenizer.unk_token_id)

    def _answer(self, example: Example, seen: Seen, ids: list[int], logprobs: list[float], reason: Reason | None) -> Answer:
        question = question_of(example, self.verbs)
        begun = self.beginning(question.text)
        kept = [(token, logprob) for token, logprob in zip(ids, logprobs, strict=True) if token < len(self.tokenizer)]
        raw, ends = spelling(self.tokenizer, [token for token, _ in kept], self._silent)
        sure = certainty(raw, ends, [logprob for _, logprob in kept])

        def score(start: int, end: int) -> float | None:
            return sure(start - len(begun), end - len(begun))

        return Answer(self.dialect(question.text).decode(begun + raw, seen.frame, score), reason or "length", raw)


class _Draw(LogitsProcessor):
    """Makes the likeliest token a drawn one (Gumbel's trick), by random numbers of each row's own."""

    def __init__(self, rows: int, options: Options) -> None:
        self._temperature = options.temperature
        self._random = [torch.Generator().manual_seed(options.seed) for _ in range(rows)]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.stack([torch.empty(scores.shape[-1]).exponential_(generator=one).log_() for one in self._random])
        return scores / self._temperature - noise.to(scores.device)

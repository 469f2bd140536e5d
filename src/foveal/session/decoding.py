"""Answers of a conversation model, written together; all that are about one image start from the one cached beginning of their prompts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache

from foveal.grounding import Example, GroundedText
from foveal.grounding.formats import BracketFormat
from foveal.models.base import ConversationModel, Sight
from foveal.models.processing import ConversationProcessor
from foveal.session.answers import Answer, Options
from foveal.session.certain import certain
from foveal.session.grammar import PlaceGrammar, spelling_of
from foveal.session.lanes import Lanes, width_of
from foveal.session.repeats import without_repeats
from foveal.session.steering import Track, lead
from foveal.session.writing import Row, Writing, choose, cut_at

__all__ = ["Conversing", "Prefix", "ends_of", "grammar_of", "joint_sight", "prefill"]


@dataclass(frozen=True)
class Prefix:
    """The beginning that all prompts about one image share, system text and image: its tokens and what the model keeps of them."""

    ids: Int[Tensor, "1 length"]
    cache: Cache


def prefill(model: ConversationModel, processor: ConversationProcessor, sight: Sight, example: Example) -> Prefix:
    """Run the prompt of any question about an image up to its last image token."""
    ids = processor.encode([example], look=False)["input_ids"].to(model.device)
    last = int((ids[0] == processor.image_token_id).nonzero()[-1])
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    with torch.no_grad():
        model(input_ids=ids[:, : last + 1], sight=sight, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return Prefix(ids[:, : last + 1], cache)


class Conversing(Writing):
    """Answers to the last turn of each example, each about a scene; ValueError when one of them does not fit the model.

    transformers' `generate` makes a batch from beginning to end: hence this loop, whose rows come and go.
    """

    def __init__(self, scenes: Sequence[Any], examples: Sequence[Example], options: Sequence[Options]) -> None:
        session = scenes[0].session
        self._model, self._processor = session.model, session.processor
        self.rows = [Row(scene=scene, example=example, options=one) for scene, example, one in zip(scenes, examples, options, strict=True)]
        ends = ends_of(self._model, self._processor)
        self._tracks = {row: _track(row, session.grammar, ends) for row in self.rows}
        self._begin(_by_scene(self.rows))

    def _begin(self, groups: Mapping[Any, list[Row]]) -> None:
        """Reads all questions, each behind its scene's beginning."""
        rows = [row for group in groups.values() for row in group]
        batch = self._processor.encode([row.example for row in rows], look=False, padding_side="right").to(self._model.device)
        ids, lengths = batch.pop("input_ids"), batch.pop("attention_mask").sum(1).tolist()
        asked: dict[Row | None, Tensor] = {None: ids[0, :0]}
        for row, tokens, length in zip(rows, ids, lengths, strict=True):
            beginning = row.scene.prefix.ids[0]
            assert torch.equal(tokens[: len(beginning)], beginning), "a prompt begins otherwise than its scene's prefix"
            row.prompt, asked[row] = length, tokens[len(beginning) : length]
        longest = max(len(tokens) for tokens in asked.values())
        width = width_of(self._model, [scene.prefix.cache for scene in groups], [len(group) for group in groups.values()], longest)
        lanes = [(scene, some) for scene, group in groups.items() for some in _shared_out(group, width)]
        self._lanes = Lanes(self._model, [scene.prefix.cache for scene, _ in lanes], width, width * longest)
        self._slots: list[Row | None] = [row for _, some in lanes for row in some]
        if "region_image" in batch:
            batch["region_image"] = torch.tensor(_places([row.scene for row in rows]), device=ids.device)[batch["region_image"]]
        tokens = pad_sequence([asked[row] for row in self._slots], batch_first=True, padding_side="left", padding_value=0)
        real = pad_sequence([torch.ones_like(asked[row]) for row in self._slots], batch_first=True, padding_side="left")
        self._logits = self._lanes.read(tokens, real.bool(), sight=joint_sight([row.scene for row in rows]), **batch)

    @property
    def _live(self) -> list[Row]:
        return [row for row in self._slots if row is not None]

    @torch.no_grad()
    def write(self, tokens: int) -> None:
        """Writes at most so many more tokens of each open row."""
        for _ in range(tokens):
            self._say()
            if not self.open:
                break
            ids = [[0] if row is None else self._tracks[row].tokens[-1:] or [0] for row in self._slots]
            real = [[row is not None] for row in self._slots]
            self._logits = self._lanes.read(*(torch.tensor(some, device=self._model.device) for some in (ids, real)))
        for row in self.stopped(self._live):
            row.answer = self._answer(row)
        self._go_on_with([row for row in self._live if row.answer is None])

    def keep(self, rows: Collection[Row]) -> None:
        """Lets all rows go but these."""
        self.rows = [row for row in self.rows if row in rows]
        self._tracks = {row: self._tracks[row] for row in self.rows}
        self._go_on_with([row for row in self._live if row in rows])

    def join(self, other: Writing) -> bool:
        """Takes in the rows of another; False where a cache does not keep all that was read."""
        if not isinstance(other, Conversing) or other._model is not self._model or not (self._lanes.is_joinable and other._lanes.is_joinable):
            return False
        if not self._live:
            self._lanes, self._slots, self._logits = other._lanes, other._slots, other._logits
        elif other._live:
            if self._lanes.width != other._lanes.width:
                self._part()
                other._part()
            self._lanes.join(other._lanes)
            self._slots, self._logits = self._slots + other._slots, torch.cat([self._logits, other._logits])
        self.rows, self._tracks = self.rows + other.rows, self._tracks | other._tracks
        return True

    def so_far(self, row: Row) -> GroundedText:
        """The beginning of a row's answer that nothing said later can change."""
        if row.answer is not None:
            return row.answer.said
        return certain(self._processor, row.tokens, row.example, row.logprobs, merge_repeats=row.options.merge_repeats)

    def _say(self) -> None:
        """The next token of each open row."""
        live = self._live
        logits = self._logits if len(live) == len(self._slots) else self._logits[[row is not None for row in self._slots]]
        said = choose(lead([self._tracks[row] for row in live], logits), live)
        logprobs = logits.log_softmax(-1).gather(1, said[:, None])[:, 0].tolist()
        for row, token, logprob in zip(live, said.tolist(), logprobs, strict=True):
            if row.answer is None:
                track = self._tracks[row]
                track.take(token, logprob)
                if track.reason or len(track.tokens) >= row.options.max_new_tokens:
                    row.answer = self._answer(row)

    def _answer(self, row: Row) -> Answer:
        [said] = self._processor.decode([row.tokens], [row.example], logprobs=[row.logprobs])
        said = without_repeats(said) if row.options.merge_repeats else said
        raw, _ = self._processor.spell(row.tokens)
        return cut_at(Answer(said, self._tracks[row].reason or "length", raw), row.options.stop)

    def _go_on_with(self, rows: Collection[Row]) -> None:
        """Closes up around these rows."""
        if len(rows) == len(self._live):
            return
        kept = [(lane, [slot for slot, row in enumerate(some) if row in rows]) for lane, some in enumerate(self._by_lane())]
        self._arrange([(lane, slots) for lane, slots in kept if slots])

    def _part(self) -> None:
        """Gives each row a lane of its own."""
        if self._lanes.width == 1:
            return
        self._arrange([(lane, [slot]) for lane, some in enumerate(self._by_lane()) for slot, row in enumerate(some) if row is not None])

    def _by_lane(self) -> list[list[Row | None]]:
        width = self._lanes.width
        return [self._slots[start : start + width] for start in range(0, len(self._slots), width)]

    def _arrange(self, kept: list[tuple[int, list[int]]]) -> None:
        before = self._lanes.width
        self._lanes.arrange(kept)
        blanks = [slots + [None] * (self._lanes.width - len(slots)) for _, slots in kept]
        places = [None if slot is None else lane * before + slot for (lane, _), slots in zip(kept, blanks, strict=True) for slot in slots]
        self._slots = [None if place is None else self._slots[place] for place in places]
        self._logits = self._logits[[place or 0 for place in places]]


def _by_scene(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.scene, []).append(row)
    return groups


def _shared_out(rows: Sequence[Any], width: int) -> list[list[Any]]:
    """Rows in lanes of a width, as evenly as can be, filled up with None.

    >>> _shared_out("abcdefghi", 4)
    [['a', 'b', 'c', None], ['d', 'e', 'f', None], ['g', 'h', 'i', None]]
    """
    each = -(-len(rows) // -(-len(rows) // width))
    return [[*rows[start : start + each], *[None] * (width - len(rows[start : start + each]))] for start in range(0, len(rows), each)]


def joint_sight(scenes: Sequence[Any]) -> Sight:
    """What was seen of the images of some scenes, each once, in the order in which they come first."""
    sights = [scene.sight for scene in _once(scenes)]
    return (
        sights[0] if len(sights) == 1 else Sight(*(tuple(part for sight in sights for part in getattr(sight, name)) for name in ("tokens", "maps")))
    )


def _once(scenes: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(scenes))


def _places(scenes: Sequence[Any]) -> list[int]:
    """Where in their joint sight the images of each row's scene are, row by row."""
    first, count = {}, 0
    for scene in _once(scenes):
        first[scene] = count
        count += len(scene.sight)
    return [first[scene] + number for scene in scenes for number in range(len(scene.sight))]


def ends_of(model: ConversationModel, processor: ConversationProcessor) -> list[int]:
    """The tokens that end an answer."""
    configured: Any = model.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    stops = {*several, processor.tokenizer.eos_token_id, getattr(processor, "stop_id", None)}
    return sorted(token for token in stops if token is not None)


def grammar_of(processor: ConversationProcessor) -> PlaceGrammar:
    """How places are written, over the vocabulary of a processor; a dialect without brackets is not led, and answers as it likes."""
    tokenizer = processor.tokenizer
    if not isinstance(processor.places, BracketFormat):
        return PlaceGrammar([""] * len(tokenizer))
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    spellings = ["" if index in special else spelling_of(token) for index, token in enumerate(tokens)]
    return PlaceGrammar(spellings, digits=len(str(getattr(processor, "bins", 1000) - 1)))


def _track(row: Row, grammar: PlaceGrammar, ends: Sequence[int]) -> Track:
    """A track that writes down a row's tokens."""
    track = Track(grammar, ends, constrain=row.options.constrain, stop_repetition=row.options.stop_repetition)
    row.tokens, row.logprobs = track.tokens, track.logprobs
    return track

"""Answers of a conversation model, written together; all that are about one image start from the one cached beginning of their prompts."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache

from foveal.grounding import Example, GroundedText
from foveal.grounding.formats import BracketFormat
from foveal.models.base import ConversationModel, Sight
from foveal.models.caches import RoomyLayer, change_cache, is_joinable, join_caches, left_padding, padded
from foveal.models.processing import ConversationProcessor
from foveal.session.answers import Answer, Options
from foveal.session.certain import certain
from foveal.session.grammar import PlaceGrammar, spelling_of
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
        batch = self._processor.encode(examples, look=False, padding_side="right").to(self._model.device)
        ids, lengths = batch.pop("input_ids"), batch.pop("attention_mask").sum(1).tolist()
        self.rows = [
            Row(scene=scene, example=example, options=one, prompt=length)
            for scene, example, one, length in zip(scenes, examples, options, lengths, strict=True)
        ]
        ends = ends_of(self._model, self._processor)
        self._tracks = {row: _track(row, session.grammar, ends) for row in self.rows}
        self._live = list(self.rows)
        starts = [scene.prefix.ids.shape[1] for scene in scenes]
        for row, scene in enumerate(scenes):
            assert bool((ids[row, : starts[row]] == scene.prefix.ids[0]).all()), "a prompt begins otherwise than its scene's prefix"
        asked = [ids[row, start:length] for row, (start, length) in enumerate(zip(starts, lengths, strict=True))]
        self._cache = _prefixes(scenes, max(len(some) for some in asked) + RoomyLayer.room)
        self._mask = torch.cat([_filled(starts, ids.device), _filled([len(some) for some in asked], ids.device)], dim=1)
        if "region_image" in batch:
            batch["region_image"] = torch.tensor(_places(scenes), device=ids.device)[batch["region_image"]]
        sight = joint_sight(scenes)
        self._logits = self._read(pad_sequence(asked, batch_first=True, padding_side="left"), sight=sight, **batch)

    @torch.no_grad()
    def write(self, tokens: int) -> None:
        """Writes at most so many more tokens of each open row."""
        for _ in range(tokens):
            self._say()
            if not self.open:
                break
            ids = [self._tracks[row].tokens[-1:] or [0] for row in self._live]
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)
            self._logits = self._read(torch.tensor(ids, device=self._mask.device))
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
        if not isinstance(other, Conversing) or other._model is not self._model or not (is_joinable(self._cache) and is_joinable(other._cache)):
            return False
        if not self._live:
            self._cache, self._mask, self._logits = other._cache, other._mask, other._logits
        elif other._live:
            most = max(self._mask.shape[1], other._mask.shape[1])
            own, theirs = [(self._mask.shape[1], most)], [(other._mask.shape[1], most)]
            join_caches(self._cache, other._cache, own, theirs)
            self._mask = torch.cat([padded(self._mask, 1, own), padded(other._mask, 1, theirs)])
            self._logits = torch.cat([self._logits, other._logits])
        self.rows, self._live, self._tracks = self.rows + other.rows, self._live + other._live, self._tracks | other._tracks
        return True

    def so_far(self, row: Row) -> GroundedText:
        """The beginning of a row's answer that nothing said later can change."""
        if row.answer is not None:
            return row.answer.said
        return certain(self._processor, row.tokens, row.example, row.logprobs, merge_repeats=row.options.merge_repeats)

    def _read(self, ids: Int[Tensor, "rows new"], **visual: Any) -> Tensor:
        with torch.no_grad():
            found = self._model(
                input_ids=ids, attention_mask=self._mask.long(), past_key_values=self._cache, use_cache=True, logits_to_keep=1, **visual
            )
        return found.logits[:, -1].float()

    def _say(self) -> None:
        """The next token of each open row."""
        tracks = [self._tracks[row] for row in self._live]
        said = choose(lead(tracks, self._logits), self._live)
        logprobs = self._logits.log_softmax(-1).gather(1, said[:, None])[:, 0].tolist()
        for row, track, token, logprob in zip(self._live, tracks, said.tolist(), logprobs, strict=True):
            if row.answer is None:
                track.take(token, logprob)
                if track.reason or len(track.tokens) >= row.options.max_new_tokens:
                    row.answer = self._answer(row)

    def _answer(self, row: Row) -> Answer:
        [said] = self._processor.decode([row.tokens], [row.example], logprobs=[row.logprobs])
        said = without_repeats(said) if row.options.merge_repeats else said
        raw = self._processor.tokenizer.decode(row.tokens, skip_special_tokens=True)
        return cut_at(Answer(said, self._tracks[row].reason or "length", raw), row.options.stop)

    def _go_on_with(self, rows: list[Row]) -> None:
        if len(rows) == len(self._live):
            return
        kept = torch.tensor([number for number, row in enumerate(self._live) if row in rows], dtype=torch.long, device=self._mask.device)
        self._live = rows
        self._cache.batch_select_indices(kept)
        self._mask, self._logits = self._mask[kept], self._logits[kept]
        if (blank := left_padding(self._mask)) and is_joinable(self._cache):
            change_cache(self._cache, lambda values: values[:, :, blank:])
            self._mask = self._mask[:, blank:]


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


def _prefixes(scenes: Sequence[Any], more: int) -> Cache:
    """A cache that holds the beginning of each row's prompt, padded on the left, with room for so many more tokens."""
    caches = [scene.prefix.cache for scene in scenes]
    if not all(is_joinable(cache) for cache in caches):
        if len(_once(scenes)) > 1:
            raise ValueError("this model's cache does not keep columns; questions about one image at a time are wanted.")
        cache = copy.deepcopy(caches[0])
        cache.batch_repeat_interleave(len(scenes))
        return cache
    most = max(cache.get_seq_length() for cache in caches)
    whole = DynamicCache()
    for number in range(len(caches[0].layers)):
        keys, values = (_spread([getattr(cache.layers[number], name) for cache in caches], most, most + more) for name in ("keys", "values"))
        whole.layers.append(RoomyLayer(keys, values, most))
    return whole


def _spread(parts: Sequence[Float[Tensor, "1 heads _ dim"]], most: int, room: int) -> Float[Tensor, "rows heads {room} dim"]:
    """Rows that end at column `most`, with zeros before them and room behind."""
    made = parts[0].new_empty(len(parts), parts[0].shape[1], room, parts[0].shape[3])
    for row, part in enumerate(parts):
        made[row, :, : most - part.shape[2]] = 0
        made[row, :, most - part.shape[2] : most] = part[0]
    return made


def _filled(lengths: Sequence[int], device: torch.device) -> Bool[Tensor, "rows columns"]:
    """Rows of so many columns that count, padded on the left."""
    columns = torch.arange(max(lengths), device=device)
    return columns >= max(lengths) - torch.tensor(lengths, device=device)[:, None]


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

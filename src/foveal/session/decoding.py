"""Answers a batch of questions about one image by transformers' `generate`, all starting from the one cached beginning of their prompts."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache, LogitsProcessorList, StoppingCriteriaList

from foveal.grounding import Example
from foveal.grounding.formats import BracketFormat
from foveal.models.base import ConversationModel, Sight
from foveal.models.processing import ConversationProcessor
from foveal.session.answers import Answer, Options
from foveal.session.grammar import PlaceGrammar, spelling_of
from foveal.session.repeats import without_repeats
from foveal.session.steering import Follow, Steer, Steering

__all__ = ["Prefix", "answers_to", "ends_of", "grammar_of", "prefill"]


@dataclass(frozen=True)
class Prefix:
    """The beginning that all prompts about one image share, system text and image: its tokens and what the model keeps of them."""

    ids: Int[Tensor, "1 length"]
    cache: Cache

    def for_rows(self, rows: int) -> Cache:
        """A cache of its own for each of `rows` questions; `generate` writes into it."""
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(rows)
        return cache


def prefill(model: ConversationModel, processor: ConversationProcessor, sight: Sight, example: Example) -> Prefix:
    """Run the prompt of any question about an image up to its last image token."""
    ids = processor.encode([example], look=False)["input_ids"].to(model.device)
    last = int((ids[0] == processor.image_token_id).nonzero()[-1])
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    with torch.no_grad():
        model(input_ids=ids[:, : last + 1], sight=sight, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return Prefix(ids[:, : last + 1], cache)


def answers_to(
    questions: Sequence[Example],
    model: ConversationModel,
    processor: ConversationProcessor,
    sight: Sight,
    prefix: Prefix,
    grammar: PlaceGrammar,
    options: Options,
    on_token: Callable[[list[int]], bool] | None = None,
) -> list[Answer]:
    """An answer to the last turn of each question; ValueError when one of them does not fit the model."""
    batch = processor.encode(questions, look=False, padding_side="right").to(model.device)
    start = prefix.ids.shape[1]
    assert bool((batch["input_ids"][:, :start] == prefix.ids).all()), "a prompt begins otherwise than its scene's prefix"
    if "region_image" in batch:
        batch["region_image"] = torch.zeros_like(batch["region_image"])  # every row asks about the one image of the sight
    ends = ends_of(model, processor)
    steering = Steering(len(questions), grammar, ends, constrain=options.constrain, stop_repetition=options.stop_repetition, on_token=on_token)
    with _seeded(model.device, options):
        model.generate(
            **batch,
            sight=sight,
            past_key_values=prefix.for_rows(len(questions)),
            **_generation(processor, ends, options),
            logits_processor=LogitsProcessorList([Steer(steering)]),
            stopping_criteria=StoppingCriteriaList([Follow(steering)]),
        )
    said = processor.decode(steering.tokens, questions, logprobs=steering.logprobs)
    said = [without_repeats(words) for words in said] if options.merge_repeats else said
    raw = processor.tokenizer.batch_decode(steering.tokens, skip_special_tokens=True)
    return [Answer(words, reason or "length", spelt) for words, reason, spelt in zip(said, steering.reasons, raw, strict=True)]


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


@contextmanager
def _seeded(device: torch.device, options: Options) -> Iterator[None]:
    """Random draws start from the options' seed and leave the caller's as they were; nothing is touched where nothing is drawn."""
    if options.temperature == 0:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        yield


def _generation(processor: ConversationProcessor, ends: Sequence[int], options: Options) -> dict[str, Any]:
    pad = processor.tokenizer.pad_token_id
    drawing = {"do_sample": True, "temperature": options.temperature, "top_k": 0, "top_p": 1.0} if options.temperature > 0 else {"do_sample": False}
    return {
        "max_new_tokens": options.max_new_tokens,
        "eos_token_id": list(ends) or None,
        "pad_token_id": pad if pad is not None else (ends[0] if ends else 0),
        "num_beams": 1,
        **drawing,
    }

"""A check by a model that knows both pictures and words: whether what a note says is what its place shows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from PIL import Image

from foveal.grounding import Example, Note
from foveal.synth.checks import PUBLISHED
from foveal.synth.crops import crop
from foveal.synth.notes import dropped, is_dropped, refused
from foveal.synth.stage import Stage
from foveal.synth.teachers import Teacher, open_teacher, pictures_of

__all__ = ["LEAST", "matched", "matches"]

_CLASSES = ("Blip2ForImageTextRetrieval", "CLIPModel", "SiglipModel")
LEAST: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "blip-2": {source: PUBLISHED[source] for source in ("region", "segment")},
        "clip": {"region": 0.28, "segment": 0.28},
        "siglip": {},
    }
)
"""Scores that a note must be above, by transformers' `model_type`: BLIP-2's are those of Monkey's pipeline; CLIP's is the cosine by which LAION-5B
(arXiv 2210.08402) kept pairs of whole pictures and captions; for SigLIP none is published, and nothing is dropped."""
_LONGEST = 32
"""Tokens of words that BLIP-2 reads, as in its training."""


def matched(
    matcher: Teacher | str = "Salesforce/blip2-itm-vit-g",
    least: Mapping[str, float] | None = None,
    *,
    sources: Sequence[str] = ("region", "segment"),
    batch: int = 32,
) -> Stage:
    """A check: how well the words of notes with these sources match what their places show becomes their score; one that is not above `least` (of
    its source; None: `LEAST`) is dropped, and says so.

    BLIP-2 gives the chance that they match, CLIP a cosine, SigLIP the chance of its pairs. A score that a note had before stays in "score_before" of
    `made_by`. A note without a region is compared with the whole picture; of several regions the first counts.
    """
    return partial(_matched, matcher=matcher, least=None if least is None else dict(least), sources=tuple(sources), batch=batch)


def matches(matcher: Teacher, crops: Sequence[Image.Image], words: Sequence[str], *, batch: int = 32) -> list[float]:
    """A score of each pair of a picture and words, `batch` pairs at a time. ValueError for a model that gives none."""
    import torch

    kind = matcher.model.config.model_type
    if kind not in _SCORES:
        raise ValueError(f"a model of kind {kind!r} compares no pictures with words; {', '.join(_SCORES)} do")
    scores: list[float] = []
    for start in range(0, len(crops), batch):
        pixels = matcher.pixels(crops[start : start + batch])
        with torch.no_grad():
            scores += _SCORES[kind](matcher, pixels, list(words[start : start + batch])).float().tolist()
    return scores


def _by_blip(matcher: Teacher, pixels: Any, words: list[str]) -> Any:
    """The chance, by the matching head, that each pair matches."""
    import torch

    model = matcher.model
    read = matcher.tokenizer(words, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt").to(model.device)
    ids, mask = read["input_ids"], read["attention_mask"]
    if (image_token := model.config.image_token_index) is not None:  # weights that count the queries among the words
        queries = torch.full((len(ids), model.config.num_query_tokens), image_token, device=ids.device)
        ids, mask = torch.cat([queries, ids], dim=1), torch.cat([torch.ones_like(queries), mask], dim=1)
    found = model(pixel_values=pixels, input_ids=ids, attention_mask=mask, use_image_text_matching_head=True)
    return found.logits_per_image.float().softmax(dim=1)[:, 1]


def _by_clip(matcher: Teacher, pixels: Any, words: list[str]) -> Any:
    """The cosine of each pair."""
    length = matcher.model.config.text_config.max_position_embeddings
    read = matcher.tokenizer(words, padding=True, truncation=True, max_length=length, return_tensors="pt").to(matcher.model.device)
    found = matcher.model(pixel_values=pixels, input_ids=read["input_ids"], attention_mask=read["attention_mask"])
    return (found.image_embeds * found.text_embeds).sum(dim=-1)


def _by_siglip(matcher: Teacher, pixels: Any, words: list[str]) -> Any:
    """The chance of each pair; words are filled up, as in training."""
    length = matcher.model.config.text_config.max_position_embeddings
    read = matcher.tokenizer(words, padding="max_length", truncation=True, max_length=length, return_tensors="pt").to(matcher.model.device)
    return matcher.model(pixel_values=pixels, input_ids=read["input_ids"]).logits_per_image.float().diagonal().sigmoid()


_SCORES: Mapping[str, Callable[[Teacher, Any, list[str]], Any]] = MappingProxyType({"blip-2": _by_blip, "clip": _by_clip, "siglip": _by_siglip})


def _matched(
    examples: Iterable[Example], *, matcher: Teacher | str, least: Mapping[str, float] | None, sources: Sequence[str], batch: int
) -> Iterator[Example]:
    teacher = open_teacher(matcher, *_CLASSES)
    wanted = LEAST.get(teacher.model.config.model_type, {}) if least is None else least
    for ((example, image),) in pictures_of(examples, 1):
        if isinstance(image, ValueError):
            yield refused(example, str(image))
            continue
        places = [place for place, note in enumerate(example.notes) if note.source in sources and not is_dropped(note) and note.said.text.strip()]
        chosen = [example.notes[place] for place in places]
        crops = [crop(image, _shown(note)) for note in chosen]
        scores = matches(teacher, crops, [note.said.text for note in chosen], batch=batch)
        notes = list(example.notes)
        for place, note, score in zip(places, chosen, scores, strict=True):
            notes[place] = _marked(note, score, wanted.get(note.source), teacher)
        yield replace(example, notes=tuple(notes))


def _shown(note: Note) -> Any:
    return note.said.regions[0] if note.said.regions and note.said.regions[0].image == 0 else None


def _marked(note: Note, score: float, least: float | None, teacher: Teacher) -> Note:
    made_by = {**note.made_by, "matched_by": teacher.made_by["model"], "matcher_weights": teacher.made_by["weights"]}
    made_by |= {} if note.score is None else {"score_before": f"{note.score:.4g}"}
    found = replace(note, score=score, made_by=made_by)
    if least is None or score > least:
        return found
    return dropped(found, f"its words match its place by {score:.2f}, which is not above {least:.2f}")

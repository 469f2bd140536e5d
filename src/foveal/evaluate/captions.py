"""Captions judged by the words they share with references: BLEU, ROUGE-L, CIDEr and CIDEr-D, of a whole set and of each caption."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from foveal.evaluate.ngrams import NGrams, count_ngrams, longest_common, look_up, owners, spread_of
from foveal.evaluate.tokens import caption_tokens

__all__ = [
    "Candidates",
    "CaptionScore",
    "DocumentFrequencies",
    "References",
    "Tokens",
    "bleu",
    "caption_scores",
    "cider",
    "cider_d",
    "document_frequencies",
    "paired_captions",
    "rouge_l",
]

_Key = TypeVar("_Key", bound=Hashable)
Candidates = Mapping[_Key, str] | Sequence[str]
References = Mapping[_Key, Sequence[str]] | Sequence[Sequence[str]]
Tokens = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False)
class CaptionScore:
    """A measure of captions: `value` for all of them together, `each` for every one, in the order of the candidates."""

    value: float
    each: Float[np.ndarray, " captions"]


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """In how many of `count` sets of references each n-gram occurs; one that is not in `grams` counts as if it were in one."""

    grams: Mapping[tuple[str, ...], int]
    count: int


def caption_scores(candidates: Candidates, references: References, *, tokens: Tokens = caption_tokens) -> dict[str, CaptionScore]:
    """BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D (the "CIDEr" of the COCO caption evaluation) by their names.

    >>> scores = caption_scores(["a red cat"], [["a red cat", "the cat"]])
    >>> round(scores["BLEU-1"].value, 3), round(scores["ROUGE-L"].value, 3)
    (1.0, 1.0)
    """
    scores = {f"BLEU-{n}": score for n, score in enumerate(bleu(candidates, references, tokens=tokens), 1)}
    return {**scores, "ROUGE-L": rouge_l(candidates, references, tokens=tokens), "CIDEr-D": cider_d(candidates, references, tokens=tokens)}


def bleu(candidates: Candidates, references: References, *, order: int = 4, tokens: Tokens = caption_tokens) -> tuple[CaptionScore, ...]:
    """BLEU-1 to BLEU-`order` (Papineni et al. 2002): clipped n-gram precision, geometric mean, brevity penalty by the closest reference length.

    `value` is of the summed counts, as in the paper. Where nothing agrees the COCO evaluation smooths: (matches + 1e-15) / (n-grams + 1e-9).

    >>> [round(score.value, 3) for score in bleu(["the the the cat"], [["the cat sat down"]])][:2]
    [0.5, 0.408]
    """
    said, sets = paired_captions(candidates, references)
    owner, (lengths, tables) = owners(sets), count_ngrams([*said, *chain.from_iterable(sets)], order, tokens)
    mine, others = lengths[: len(said)], lengths[len(said) :]
    nearest = np.lexsort((others, abs(others - mine[owner]), owner))  # of two as near the shorter
    near = others[nearest[np.unique(owner[nearest], return_index=True)[1]]]
    product, whole = np.ones(len(said)), 1.0
    scores = []
    for n, table in enumerate(tables, 1):
        agreed, guessed = _agreed(table, len(said), owner), np.maximum(0, mine - n + 1)
        product = product * (agreed + _TINY) / (guessed + _SMALL)
        whole *= (agreed.sum() + _TINY) / (guessed.sum() + _SMALL)
        value = whole ** (1 / n) * _brevity(mine.sum(keepdims=True), near.sum(keepdims=True))[0]
        scores.append(CaptionScore(float(value), product ** (1 / n) * _brevity(mine, near)))
    return tuple(scores)


def rouge_l(candidates: Candidates, references: References, *, beta: float = 1.2, tokens: Tokens = caption_tokens) -> CaptionScore:
    """ROUGE-L (Lin 2004): F-measure of the longest common subsequence, precision and recall each by its best reference; `value` is the mean.

    >>> round(rouge_l(["a cat sat"], [["a black cat sat down"]]).value, 4)
    0.7176
    """
    said, sets = paired_captions(candidates, references)
    ids: dict[str, int] = {}
    words = [[ids.setdefault(word, len(ids)) for word in tokens(text) or ("",)] for text in [*said, *chain.from_iterable(sets)]]
    owner = owners(sets)
    shared = longest_common([words[place] for place in owner], words[len(said) :])
    lengths = np.array([len(row) for row in words], dtype=np.int64)
    precision, recall = np.zeros(len(said)), np.zeros(len(said))
    np.maximum.at(precision, owner, shared / lengths[owner])
    np.maximum.at(recall, owner, shared / lengths[len(said) :])
    each = (1 + beta**2) * precision * recall / np.maximum(recall + beta**2 * precision, _SMALL)
    return _averaged(each)


def cider_d(
    candidates: Candidates,
    references: References,
    *,
    frequencies: DocumentFrequencies | None = None,
    sigma: float = 6.0,
    order: int = 4,
    tokens: Tokens = caption_tokens,
) -> CaptionScore:
    """CIDEr-D (Vedantam et al. 2015, equation 6), from 0 to 10: clipped tf-idf cosine of 1- to 4-grams, damped by the difference of lengths.

    This is what the COCO caption evaluation prints as "CIDEr". Without `frequencies` they are those of `references`, and then
    the score of a caption depends on which others are judged with it: of a single image nothing is rare, and all is 0.

    >>> said, true = ["a red cat", "two dogs run"], [["a red cat"], ["a dog runs"]]
    >>> cider_d(said, true).each.round(2).tolist()
    [7.5, 0.0]
    """
    return _cosines(candidates, references, frequencies, order, tokens, sigma)


def cider(
    candidates: Candidates,
    references: References,
    *,
    frequencies: DocumentFrequencies | None = None,
    order: int = 4,
    tokens: Tokens = caption_tokens,
) -> CaptionScore:
    """CIDEr as it was before the -D (Vedantam et al. 2015, equation 4), times 10: tf-idf cosine of 1- to 4-grams, neither clipped nor damped.

    The paper counts stems: give `tokens` that makes them, to do so.

    >>> cider(["a red cat", "two dogs run"], [["a red cat cat"], ["a dog runs"]]).value > 0
    True
    """
    return _cosines(candidates, references, frequencies, order, tokens, None)


def document_frequencies(references: References, *, order: int = 4, tokens: Tokens = caption_tokens) -> DocumentFrequencies:
    """In how many sets of references each n-gram of up to `order` words occurs, to score captions of few images by what is rare among many.

    >>> document_frequencies([["a cat", "a cat"], ["a dog"]]).grams[("a",)]
    2
    """
    sets = list(references.values() if isinstance(references, Mapping) else references)
    _, tables = count_ngrams(list(chain.from_iterable(sets)), order, tokens)
    owner, counted = owners(sets), dict[tuple[str, ...], int]()
    for table in tables:
        spread = spread_of(owner[table.text] * table.size + table.gram, table.size)
        counted |= zip(table.spelled(), spread[: len(table.first)].tolist(), strict=True)
    return DocumentFrequencies(counted, len(sets))


def paired_captions(candidates: Candidates, references: References) -> tuple[list[str], list[list[str]]]:
    """Candidates and their references in the same order; ValueError where one has no partner, or no reference.

    >>> paired_captions({"x": "a cat"}, {"x": ["one cat", "the cat"]})
    (['a cat'], [['one cat', 'the cat']])
    """
    if isinstance(candidates, Mapping) != isinstance(references, Mapping):
        raise ValueError("one of candidates and references has keys and the other has none: wanted both alike")
    if isinstance(candidates, Mapping) and isinstance(references, Mapping):
        if odd := candidates.keys() ^ references.keys():
            raise ValueError(f"{len(odd)} keys are only on one side, such as {next(iter(odd))!r}: wanted the same keys")
        references, candidates = [references[key] for key in candidates], list(candidates.values())
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates for {len(references)} sets of references: wanted as many")
    if not all(several and not isinstance(several, str) for several in references):
        raise ValueError("a candidate has no list of references: wanted at least one sentence for each")
    return list(candidates), [list(several) for several in references]


_TINY, _SMALL = 1e-15, 1e-9


def _agreed(table: NGrams, count: int, owner: Int[np.ndarray, " references"]) -> Float[np.ndarray, " captions"]:
    """How many n-grams of each of the first `count` texts are in a reference, no gram more often than in the one that has it most often."""
    mine = table.text < count
    keys, place = np.unique(owner[table.text[~mine] - count] * table.size + table.gram[~mine], return_inverse=True)
    most = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(most, place, table.times[~mine])
    allowed = look_up(keys, most, table.text[mine] * table.size + table.gram[mine])
    return np.bincount(table.text[mine], np.minimum(table.times[mine], allowed), count).astype(float)


def _brevity(said: Int[np.ndarray, " captions"], near: Int[np.ndarray, " captions"]) -> Float[np.ndarray, " captions"]:
    return np.exp(np.minimum(0, 1 - (near + _SMALL) / (said + _TINY)))


def _cosines(
    candidates: Candidates, references: References, frequencies: DocumentFrequencies | None, order: int, tokens: Tokens, sigma: float | None
) -> CaptionScore:
    """CIDEr of each caption: clipped and damped by `sigma`, or neither without it."""
    if frequencies and max(frequencies.grams.values(), default=0) > frequencies.count:
        raise ValueError(f"an n-gram is in {max(frequencies.grams.values())} of {frequencies.count} sets of references: wanted at most as many")
    said, sets = paired_captions(candidates, references)
    owner, (lengths, tables) = owners(sets), count_ngrams([*said, *chain.from_iterable(sets)], order, tokens)
    cosines = np.zeros(len(owner))
    for table in tables:
        mine = table.text < len(said)
        key = np.where(mine, table.text, owner[np.maximum(0, table.text - len(said))]) * table.size + table.gram
        given = [frequencies.grams.get(gram, 1) for gram in table.spelled()] if frequencies else None
        spread = spread_of(key[~mine], table.size) if given is None else np.array(given)
        rare = np.log(max(1, frequencies.count if frequencies else len(said))) - np.log(np.maximum(1, spread))
        weight = table.times * rare[table.gram]
        norm = np.sqrt(np.bincount(table.text, weight**2, len(lengths)))
        own, other = look_up(key[mine], weight[mine], key[~mine]), weight[~mine]
        shared = np.bincount(table.text[~mine] - len(said), (np.minimum(own, other) if sigma else own) * other, len(owner))
        norms = norm[owner] * norm[len(said) :]
        cosines += shared / np.where(norms > 0, norms, 1)
    if sigma:  # the original takes the number of bigrams for the length
        gaps = np.maximum(0, lengths[owner] - 1) - np.maximum(0, lengths[len(said) :] - 1)
        cosines *= np.exp(-(gaps**2) / (2 * sigma**2))
    return _averaged(10 / order * np.bincount(owner, cosines, len(said)) / np.bincount(owner, minlength=len(said)))


def _averaged(each: Float[np.ndarray, " captions"]) -> CaptionScore:
    return CaptionScore(float(each.mean()) if len(each) else 0.0, each)

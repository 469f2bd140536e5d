"""Runs of words counted in many texts at once, by their numbers: what BLEU, ROUGE and CIDEr are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Int

__all__ = ["NGrams", "count_ngrams", "longest_common", "look_up", "owners", "spread_of"]

_BLOCK = 4096  # pairs at a time


@dataclass(frozen=True, slots=True, eq=False)
class NGrams:
    """How often texts have n-grams of one order: one entry for each text and gram in it, sorted by both."""

    text: Int[np.ndarray, " entries"]
    gram: Int[np.ndarray, " entries"]
    times: Int[np.ndarray, " entries"]
    first: Int[np.ndarray, " grams"]
    """Where each gram begins in `words`."""
    order: int
    words: Sequence[str]
    """All texts, one after the other."""

    @property
    def size(self) -> int:
        return max(1, len(self.first))

    def spelled(self) -> list[tuple[str, ...]]:
        return [tuple(self.words[start : start + self.order]) for start in self.first.tolist()]


def count_ngrams(texts: Sequence[str], order: int, tokens: Callable[[str], Sequence[str]]) -> tuple[Int[np.ndarray, " texts"], list[NGrams]]:
    """Lengths of texts, and their n-grams of 1 to `order` words. An n-gram's number is made of that of its first n - 1 words and its last."""
    split = [tokens(text) for text in texts]
    words = list(chain.from_iterable(split))
    lengths = np.array([len(row) for row in split], dtype=np.int64)
    numbers: dict[str, int] = {}
    word = np.array([numbers.setdefault(one, len(numbers)) for one in words], dtype=np.int64)
    text, start, gram = np.repeat(np.arange(len(texts)), lengths), np.arange(len(words)), np.zeros(len(words), dtype=np.int64)
    tables = []
    for n in range(1, order + 1):
        whole = start + n - 1 < len(words)
        whole[whole] = text[start[whole] + n - 1] == text[start[whole]]
        start, gram = start[whole], gram[whole]
        _, first, gram = np.unique(gram * len(numbers) + word[start + n - 1], return_index=True, return_inverse=True)
        entries, times = np.unique(text[start] * max(1, len(first)) + gram, return_counts=True)
        tables.append(NGrams(*np.divmod(entries, max(1, len(first))), times, start[first], n, words))
    return lengths, tables


def owners(sets: Sequence[Sequence[str]]) -> Int[np.ndarray, " references"]:
    """Whose reference each one is, all sets one after the other."""
    return np.repeat(np.arange(len(sets)), [len(several) for several in sets])


def spread_of(pairs: Int[np.ndarray, " entries"], size: int) -> Int[np.ndarray, " grams"]:
    """In how many sets each gram is, from `set * size + gram` of every entry."""
    ordered = np.sort(pairs)  # np.unique without counts hashes, which takes ten times as long for such keys
    return np.bincount(ordered[np.diff(ordered, prepend=-1) > 0] % size, minlength=size)


def look_up(keys: Int[np.ndarray, " known"], values: np.ndarray, wanted: Int[np.ndarray, " wanted"]) -> np.ndarray:
    """The value of each key that is wanted, 0 where it is not among the sorted `keys`."""
    if not len(keys):
        return np.zeros(len(wanted))
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def longest_common(first: Sequence[Sequence[int]], second: Sequence[Sequence[int]]) -> Int[np.ndarray, " pairs"]:
    """Length of the longest common subsequence of each pair, many pairs at a time: a row of the table is a running maximum."""
    found = np.zeros(len(first), dtype=np.int64)
    by_length = np.argsort([max(len(one), len(other)) for one, other in zip(first, second, strict=True)], kind="stable")
    for start in range(0, len(first), _BLOCK):
        block = by_length[start : start + _BLOCK].tolist()
        one, other = _padded([first[pair] for pair in block], -1), _padded([second[pair] for pair in block], -2)
        best = np.zeros((len(block), other.shape[1] + 1), dtype=np.int64)
        for word in one.T:
            best[:, 1:] = np.maximum.accumulate(np.maximum(best[:, 1:], best[:, :-1] + (other == word[:, None])), axis=1)
        found[block] = best[:, -1]
    return found


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Int[np.ndarray, "rows longest"]:
    filled = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = row
    return filled

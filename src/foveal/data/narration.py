"""A caption spoken while the mouse shows what is meant, and where its words lie: by their position among the words, or by words and time."""

import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from foveal.geometry import Box
from foveal.grounding import GroundedText, Span

__all__ = [
    "Alignment",
    "Narration",
    "Utterance",
    "by_position",
    "by_words",
    "caption_words",
    "corner_targets",
    "heard_words",
    "match_words",
    "place_windows",
    "positional_owners",
    "usable_utterances",
]

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_LEAST_CENTRE = 1e-5
_SHORTEST = 1e-5  # seconds; a window shorter than this is an instant
_LEAST_ALIKE = 0.5  # share of a word's characters that must be heard


@dataclass(frozen=True, slots=True)
class Utterance:
    """`text` was said from `start` to `end`, in seconds."""

    text: str
    start: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.end - self.start < float("inf"):
            raise ValueError(f"the utterance {self.text!r} lasts from {self.start} s to {self.end} s; its times must be numbers in this order")


@dataclass(frozen=True, slots=True, eq=False)
class Narration:
    """A written `caption`, what was `said` of it when, and the mouse's `trace`: rows (x, y, t) of fractions and seconds, in order of time.

    The mouse may leave the picture, so x and y may leave [0, 1]. ValueError for a trace of fewer than two points, one that holds no
    numbers, or one that runs backwards.
    """

    caption: str
    said: tuple[Utterance, ...]
    trace: Float[np.ndarray, "points 3"]

    def __post_init__(self) -> None:
        if len(self.trace) < 2:
            raise ValueError(f"the mouse trace has {len(self.trace)} points; at least 2 are wanted")
        if not np.isfinite(self.trace).all():
            raise ValueError("the mouse trace holds coordinates or times that are no numbers")
        if (np.diff(self.trace[:, 2]) < 0).any():
            raise ValueError("the mouse trace runs backwards in time; sort its points")


Alignment = Callable[[Narration], GroundedText]
"""How the words of a narration get their places: each word found becomes a span with the box around the mouse's way meanwhile."""


def by_words(narration: Narration) -> GroundedText:
    """The caption with each word where the mouse was while it was said: words are found in the utterances, see `match_words`.

    A word gets its share, by characters, of its utterance's time. One that was not heard between two that were, in order, gets its share of the
    time between them, for the mouse was on its way from the one place to the other. One before the first or after the last heard word, or
    between words heard in another order, gets no place: nothing bounds where the mouse was, and a missing place teaches nothing wrong.
    Outside the trace's own time the mouse rests where it was first or last seen. Boxes are clipped to the picture.

    >>> trace = np.array([[0.1, 0.1, 0.0], [0.1, 0.1, 1.0], [0.9, 0.5, 2.0], [0.9, 0.5, 3.0]])
    >>> said = by_words(Narration("A cat, a dog.", (Utterance("uh a cat", 0.0, 1.0), Utterance("a dog", 2.0, 3.0)), trace))
    >>> [(said.text[span.start : span.end], span.regions[0].x0) for span in said.spans]
    [('A', 0.1), ('cat', 0.1), ('a', 0.9), ('dog', 0.9)]
    """
    words = caption_words(narration.caption)
    windows = _word_windows(narration, words)
    known = ~np.isnan(windows[:, 0])
    _, boxes = place_windows(narration.trace, windows[known])
    return _placed(narration.caption, [word for word, one in zip(words, known.tolist(), strict=True) if one], boxes)


def by_position(narration: Narration) -> GroundedText:
    """The caption with each word where the mouse was during the utterance at the same share of the way: the release's rule, with words as tokens.

    Neither words nor time are compared. Outside the trace's own time its ends are drawn out straight. No usable utterance, no places.
    """
    words = caption_words(narration.caption)
    centres, boxes = place_windows(narration.trace, _windows(narration.said), extend=True)
    owners = positional_owners(np.ones(len(words), dtype=bool), usable_utterances(narration.said, centres))
    return _placed(narration.caption, words if (owners >= 0).all() else [], boxes[owners[owners >= 0]])


def caption_words(caption: str) -> list[tuple[int, int]]:
    """Where the words of a caption start and end; marks belong to none, hyphens and apostrophes to the word around them.

    >>> [("A dog's bed, T-shirt."[start:end]) for start, end in caption_words("A dog's bed, T-shirt.")]
    ['A', "dog's", 'bed', 'T-shirt']
    """
    return [found.span() for found in _WORD.finditer(caption)]


def place_windows(
    trace: Float[np.ndarray, "points 3"], windows: Float[np.ndarray, "windows 2"], *, samples: int = 16, extend: bool = False
) -> tuple[Float[np.ndarray, "windows 2"], Float[np.ndarray, "windows 4"]]:
    """Where the mouse was during each window (start, end) in seconds: the mean over time, and the box x0, y0, x1, y1 of `samples` moments.

    Both come from moments at equal distances, between which the mouse goes straight (the mean is the trapezoid rule's). Outside the trace's
    time the mouse rests, or with `extend` goes on as between the two nearest points, as in the release. Nothing is clipped.
    """
    times = np.linspace(windows[:, 0], windows[:, 1], samples, axis=1)
    moments = trace[:, 2]
    if not extend:
        times = times.clip(moments[0], moments[-1])
    before = (np.searchsorted(moments, times, side="right") - 1).clip(0, len(moments) - 2)
    step = moments[before + 1] - moments[before]
    share = np.divide(times - moments[before], step, out=np.zeros_like(times), where=step > 0)[..., None]
    places = trace[before, :2] + share * (trace[before + 1, :2] - trace[before, :2])
    instant = (windows[:, 1] - windows[:, 0] < _SHORTEST)[:, None]
    ends = (places[:, 0] + places[:, -1]) / 2
    centres = np.where(instant, places.mean(1), (places.sum(1) - ends) / (samples - 1))
    return centres, np.concatenate([places.min(1), places.max(1)], axis=1)


def usable_utterances(said: Sequence[Utterance], centres: Float[np.ndarray, "utterances 2"]) -> Bool[np.ndarray, " utterances"]:
    """Which utterances the release uses: those that say something, their centre inside the upper left edges of the picture."""
    spoken = np.array([bool(utterance.text.strip()) for utterance in said], dtype=bool)
    return spoken & (centres > _LEAST_CENTRE).all(axis=1)


def positional_owners(real: Bool[np.ndarray, " tokens"], usable: Bool[np.ndarray, " utterances"]) -> Int[np.ndarray, " tokens"]:
    """The index of the utterance that each token belongs to by the release's rule; -1 for tokens that are not `real`, and for all if none is usable.

    The share of real tokens up to a token, drawn to the range of the utterances' shares, is compared with the share of usable utterances up
    to each; the nearest is taken, of two the first.

    >>> positional_owners(np.array([False, True, True, True, True, False]), np.array([True, True])).tolist()
    [-1, 0, 0, 1, 1, -1]
    """
    if not usable.any() or not real.any():
        return np.full(len(real), -1)
    tokens, utterances = int(real.sum()), int(usable.sum())
    # Shares in units of 1 / (tokens * utterances), so that two utterances that are equally near are so exactly.
    shares = np.where(usable, np.cumsum(usable) * tokens, -tokens * utterances)
    way = tokens + np.cumsum(real) * (utterances - 1)
    nearest = np.abs(way[:, None] - shares).argmin(axis=1)
    return np.where(real, nearest, -1)


def corner_targets(
    boxes: Float[np.ndarray, "utterances 4"], owners: Int[np.ndarray, " tokens"], size: tuple[int, int]
) -> Float[np.ndarray, "tokens 2 2"]:
    """What the release teaches each token: the top left and bottom right corner of its utterance's box in whole pixels of `size` = (width, height).

    Clipped to the picture, halves rounded to the even pixel, zeros for tokens without an utterance.
    """
    corners = np.rint(boxes.clip(0, 1) * np.array([*size, *size])).reshape(-1, 2, 2)
    if not len(corners):
        return np.zeros((len(owners), 2, 2))
    return np.where((owners >= 0)[:, None, None], corners[owners], 0.0)


def heard_words(said: Sequence[Utterance]) -> tuple[list[str], Float[np.ndarray, "heard 2"]]:
    """The words of all utterances, without case and marks, and when each was said: its share, by characters, of its utterance's time.

    >>> words, windows = heard_words([Utterance("A cat.", 0.0, 1.0), Utterance("", 1.0, 2.0)])
    >>> words, windows.tolist()
    (['a', 'cat'], [[0.0, 0.2], [0.4, 1.0]])
    """
    words, windows = [], []
    for utterance in said:
        found = caption_words(utterance.text)
        for start, end in found:
            words.append(_key(utterance.text[start:end]))
            first, length = found[0][0], found[-1][1] - found[0][0]
            windows.append([utterance.start + (utterance.end - utterance.start) * (edge - first) / length for edge in (start, end)])
    return words, np.array(windows, dtype=np.float64).reshape(-1, 2)


def match_words(written: Sequence[str], heard: Sequence[str]) -> Int[np.ndarray, " written"]:
    """For each word that was written the index of the word that was heard, or -1.

    Runs of words that both have in the same order are matched first, the longest first; then what was said at another place: runs of two
    words or more, or a word that stands once in each; then, between two matches, words half of whose characters were heard there ("tshirt"
    in "tee", "shirt"; "grey" in "gray").

    >>> match_words(["a", "grey", "cat", "and", "two", "dogs"], ["two", "dogs", "um", "a", "gray", "cat"]).tolist()
    [3, 4, 5, -1, 0, 1]
    """
    matched, free = np.full(len(written), -1), np.ones(len(heard), dtype=bool)
    for a, b, size in SequenceMatcher(None, written, heard, autojunk=False).get_matching_blocks():
        matched[a : a + size], free[b : b + size] = np.arange(b, b + size), False
    _match_moved(written, heard, matched, free)
    for before, after in pairwise([-1, *np.flatnonzero(matched >= 0).tolist(), len(written)]):
        last = len(heard) if after == len(written) else int(matched[after])
        right = np.array([index for index in range(1 + (matched[before] if before >= 0 else -1), last) if free[index]], dtype=int)
        if after - before > 1 and len(right):
            found = _match_letters(written[before + 1 : after], [heard[index] for index in right])
            matched[before + 1 : after] = np.where(found >= 0, right[found], -1)
    return matched


def _match_moved(written: Sequence[str], heard: Sequence[str], matched: Int[np.ndarray, " written"], free: Bool[np.ndarray, " heard"]) -> None:
    """Enters into `matched` and `free` what was said in another order than it is written."""
    while (matched < 0).any() and free.any():
        # What is matched becomes a number that stands nowhere else, so that no run crosses it.
        left: list[Hashable] = [word if other < 0 else index for index, (word, other) in enumerate(zip(written, matched, strict=True))]
        right: list[Hashable] = [word if one else -1 - index for index, (word, one) in enumerate(zip(heard, free, strict=True))]
        a, b, size = SequenceMatcher(None, left, right, autojunk=False).find_longest_match()
        if size == 1:
            once = [word for word in left if isinstance(word, str) and word in right and written.count(word) == heard.count(word) == 1]
            a, b, size = (written.index(once[0]), heard.index(once[0]), 1) if once else (0, 0, 0)
        if not size:
            return
        matched[a : a + size], free[b : b + size] = np.arange(b, b + size), False


def _match_letters(written: Sequence[str], heard: Sequence[str]) -> Int[np.ndarray, " written"]:
    """For each of the `written` words the heard one with most of its characters, or -1 where too few of them were heard."""
    ends, starts = np.cumsum([len(word) for word in heard]), np.cumsum([0, *map(len, written)])
    letters = np.full(starts[-1], -1)
    for a, b, size in SequenceMatcher(None, "".join(written), "".join(heard), autojunk=False).get_matching_blocks():
        letters[a : a + size] = np.searchsorted(ends, np.arange(b, b + size), side="right")
    matched = np.full(len(written), -1)
    for index, (start, end) in enumerate(pairwise(starts.tolist())):
        found = letters[start:end][letters[start:end] >= 0]
        if len(found) >= max(1, _LEAST_ALIKE * (end - start)):
            matched[index] = np.bincount(found).argmax()
    return matched


def _word_windows(narration: Narration, words: list[tuple[int, int]]) -> Float[np.ndarray, "words 2"]:
    """When each word was said, in seconds; NaN where it is not known."""
    heard, spoken = heard_words(narration.said)
    matched = match_words([_key(narration.caption[start:end]) for start, end in words], heard)
    windows = np.full((len(words), 2), np.nan)
    known = np.flatnonzero(matched >= 0)
    windows[known] = spoken[matched[known]]
    for index in np.flatnonzero(matched < 0).tolist():
        place = bisect_left(known, index)
        if 0 < place < len(known):
            before, after = int(known[place - 1]), int(known[place])
            windows[index] = _between(windows[before, 1], windows[after, 0], words[before][1], words[after][0], words[index])
    return windows


def _between(before: float, after: float, first: int, last: int, word: tuple[int, int]) -> Float[np.ndarray, "2"]:
    """The window of a word that stands among the characters `first` to `last` said from `before` to `after`; NaN where time runs back."""
    if after < before:
        return np.full(2, np.nan)
    return before + (after - before) * (np.array(word) - first) / (last - first)


def _windows(said: Sequence[Utterance]) -> Float[np.ndarray, "utterances 2"]:
    return np.array([(utterance.start, utterance.end) for utterance in said], dtype=np.float64).reshape(-1, 2)


def _placed(caption: str, words: Sequence[tuple[int, int]], boxes: Float[np.ndarray, "words 4"]) -> GroundedText:
    edges = boxes.clip(0, 1).tolist()
    return GroundedText(caption, tuple(Span(start, end, (Box(*box),)) for (start, end), box in zip(words, edges, strict=True)))


def _key(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())

"""Judging short answers: alike in letters (ANLS), about as large (relaxed), the same, containing the right one, choosing the right option."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from foveal.evaluate.metrics import words_found

__all__ = [
    "anls",
    "best_choice",
    "choice_said",
    "contains_answer",
    "edit_distance",
    "exact_match",
    "gqa_answer",
    "gqa_match",
    "mean_by_kind",
    "questions_of_rank",
    "relaxed_match",
]


def exact_match(prediction: str, answers: str | Sequence[str]) -> bool:
    """Is the prediction one of `answers`, but for case and spacing? ValueError where there is no answer.

    >>> exact_match(" new  York ", ["New York", "NYC"]), exact_match("New York.", "New York")
    (True, False)
    """
    return _plain(prediction) in map(_plain, _listed(answers))


def edit_distance(one: str, other: str) -> int:
    """How many characters must be added, taken out or replaced to turn one text into the other (Levenshtein).

    A column of the table of distances is two integers, whose bits say where it rises and falls (Myers 1999, in the form of Hyyrö 2003).

    >>> edit_distance("kitten", "sitting")
    3
    """
    short, long = sorted((one, other), key=len)
    whole, last = (1 << len(long)) - 1, 1 << len(long) >> 1
    places: dict[str, int] = {}
    for place, letter in enumerate(long):
        places[letter] = places.get(letter, 0) | 1 << place
    distance, rises, falls = len(long), whole, 0
    for letter in short:
        same = places.get(letter, 0)
        level = ((((same & rises) + rises) ^ rises) | same | falls) & whole
        right, left = falls | (whole & ~(level | rises)), level & rises
        distance += bool(right & last) - bool(left & last)
        right, left = (right << 1 | 1) & whole, (left << 1) & whole
        rises, falls = left | (whole & ~(level | right)), right & level
    return distance


def anls(
    prediction: str, answers: str | Sequence[str], *, threshold: float = 0.5, as_published: Literal["monkey", "infographics"] | None = None
) -> float:
    """How alike the prediction and the nearest of `answers` are in letters, 0 where this is less than `threshold`; the mean over questions is ANLS.

    1 - edit distance / length of the longer one, case and spacing apart (Biten et al. 2019, ST-VQA; as DocVQA counts it, the threshold itself
    passes). ValueError where there is no answer.

    With `as_published`, the scripts behind published figures, whose lengths count outer blanks: "monkey" (an answer stripped, spacing within kept)
    and "infographics" (the official one of InfographicVQA).

    >>> anls("pizza", ["pizzeria", "pizza place"]), anls("ab", ["cd"]), anls("a  b", "a b"), anls("a  b", "a b", as_published="monkey")
    (0.625, 0.0, 1.0, 0.75)
    """
    golds = _listed(answers)
    said = prediction.strip() if as_published == "monkey" else prediction
    spelled = (lambda text: text.strip().lower()) if as_published == "monkey" else _plain
    pairs = [(spelled(said), spelled(gold)) for gold in golds]
    lengths = [max(len(said), len(gold)) for gold in golds] if as_published else [max(map(len, pair)) for pair in pairs]
    score = 1 - min(edit_distance(*pair) / length if length else 0.0 for pair, length in zip(pairs, lengths, strict=True))
    return score if score >= threshold else 0.0


def relaxed_match(prediction: str, answers: str | Sequence[str], *, tolerance: float = 0.05, as_published: bool = False) -> bool:
    """Is the prediction a number within `tolerance` of one of `answers`, or the same words in any case? The mean is ChartQA's relaxed accuracy.

    From Methani et al. 2020 (PlotQA), Masry et al. 2022 (ChartQA): |prediction - answer| <= tolerance · |answer|. A number is what Python's float
    reads, "5%" is 0.05, and "1,000" is none; where the answer is zero, or one of the two is no number, the texts must be equal. ValueError where
    there is no answer.

    With `as_published`, the figure of Monkey's and Qwen-VL's scripts, which hand the two over in each other's place: the tolerance is a share of
    what the model said, and outer blanks count in people's answers only.

    >>> relaxed_match("95", "100"), relaxed_match("95", "100", as_published=True), relaxed_match("0.05", "5%"), relaxed_match("0.0", "0")
    (True, False, True, False)
    """
    if as_published:
        return any(_about(gold, prediction.strip(), tolerance) for gold in _listed(answers))
    return any(_about(prediction, gold, tolerance) for gold in _listed(answers))


def contains_answer(prediction: str, answers: str | Sequence[str], *, as_published: Literal["monkey", "textmonkey"] | None = None) -> bool:
    """Does one of `answers` stand in the prediction, as whole words or a whole number, in any case? ValueError where there is no answer.

    With `as_published`, any run of letters counts, and an empty answer always: "monkey" takes the dots out of what the model said but not out of
    the answer ("3.5" never matches, and "35" does); "textmonkey" keeps them, and takes out places, `<point>…</point>` and `<box>…</box>`.

    >>> contains_answer("It costs 3.5 euros", "3.5"), contains_answer("It costs 3.5 euros", ["5", "35"]), contains_answer("concatenate", "cat")
    (True, False, False)
    >>> [contains_answer("3.5", gold, as_published="monkey") for gold in ("3.5", "35", "")]
    [False, True, True]
    """
    golds = _listed(answers)
    if as_published is None:
        said = _plain(prediction)
        return any(re.search(_whole(gold), said) if gold else not said for gold in map(_plain, golds))
    if as_published == "monkey":
        said = prediction.strip().lower().replace(".", "")
    else:
        said = re.sub(r"<(point|box)>.*?</\1>", "", prediction).strip().lower()
    return any(gold.strip().lower() in said for gold in golds)


def gqa_match(prediction: str, answer: str, *, as_published: bool = False) -> bool:
    """Is the prediction GQA's answer, but for case, spacing and a closing full stop, as LLaVA-1.5 is judged? The mean is GQA's accuracy.

    With `as_published`, as Monkey's script has it: the answer stands anywhere in the prediction's `gqa_answer`.

    >>> gqa_match("Left.", "left"), gqa_match("It is on the left.", "left"), gqa_match("It is on the left.", "left", as_published=True)
    (True, False, True)
    """
    if as_published:
        return contains_answer(gqa_answer(prediction), answer, as_published="monkey")
    return exact_match(prediction.rstrip(". \n"), answer)


def gqa_answer(prediction: str) -> str:
    """What Monkey's script takes for the answer in a sentence: of its first clause, what stands behind "is", "are", "a", "an", "the" and before "of".

    Its letters are those of the recordings: "a " is also found at the end of "pizza ".

    >>> gqa_answer("It is on the left side of the image."), gqa_answer("pizza of cheese")
    ('left side', 'of cheese')
    """
    said = re.split(r"[.,!]", prediction.strip(), maxsplit=1)[0].lower()
    for word in ("is ", "are ", "a ", "an ", "the "):
        if word in said:
            said = said.split(word)[1]
    return said.partition(" of")[0].strip()


def choice_said(answer: str, choices: Sequence[str], *, letters: bool = True) -> int | None:
    """The place of the option that an answer to a multiple-choice question chooses; None where it chooses none, or more than one.

    With `letters`, "B", "(b)", "B. a dog" and "The answer is B" choose the second; else, and then, an option's own words do, whole and in any case.

    >>> choices = ["a cat", "a dog"]
    >>> [choice_said(answer, choices) for answer in ("B", "(a) a cat", "The answer is A.", "It is a dog", "a cat or a dog", "C")]
    [1, 0, 0, 1, None, None]
    """
    if letters and (found := re.match(r"\W*([A-Za-z])\s*(?:[).:,\]]|$)", answer) or re.search(_NAMED_LETTER, answer)):
        place = ord(found[1].upper()) - ord("A")
        if place < len(choices):
            return place
    plain = [_plain(choice) for choice in choices]
    said = set(words_found(_plain(answer), plain))
    return plain.index(said.pop()) if len(said) == 1 else None


def best_choice(losses: Sequence[Sequence[float]]) -> int:
    """The place of the option whose tokens have the smallest mean cross-entropy, the first of equals: how ScienceQA is answered (Qwen-VL's script).

    `losses` holds those of each option's own tokens. ValueError where there is no option, or one without tokens.

    >>> best_choice([[0.5, 0.7], [0.1], [0.9, 0.1, 0.1]])
    1
    """
    if not losses or not all(losses):
        raise ValueError(f"options of {[len(one) for one in losses]} tokens: wanted at least one option, and at least one token of each")
    return int(np.argmin([np.mean(one) for one in losses]))


def mean_by_kind(scores: Sequence[float], kinds: Sequence[str]) -> dict[str, float]:
    """The mean score of each kind of question, as VQA gives them by question and answer type. ValueError where their numbers differ.

    >>> mean_by_kind([1, 0, 0.5], ["number", "number", "other"])
    {'number': 0.5, 'other': 0.5}
    """
    if len(scores) != len(kinds):
        raise ValueError(f"{len(scores)} scores for {len(kinds)} kinds: wanted as many")
    names = list(dict.fromkeys(kinds))
    places = np.array([names.index(kind) for kind in kinds], dtype=int)
    sums = np.bincount(places, weights=np.asarray(scores, dtype=np.float64), minlength=len(names))
    return dict(zip(names, (sums / np.bincount(places, minlength=len(names))).tolist(), strict=True))


def questions_of_rank(count: int, rank: int, ranks: int) -> range:
    """Which of `count` questions one process of `ranks` answers: runs in a row, the first ones longer by one. ValueError where there is no such rank.

    >>> [questions_of_rank(10, rank, 3) for rank in range(3)]
    [range(0, 4), range(4, 7), range(7, 10)]
    """
    if not 0 <= rank < ranks or count < 0:
        raise ValueError(f"{count} questions, rank {rank} of {ranks}: wanted 0 <= rank < ranks and no negative count")
    share, rest = divmod(count, ranks)
    start = rank * share + min(rank, rest)
    return range(start, start + share + (rank < rest))


_NAMED_LETTER = r"\b(?i:answer|option|choice)(?i:\s+is)?\W*\b([B-HJ-Z]\b|[AI]\b(?!\s+\w))"


def _listed(answers: str | Sequence[str]) -> list[str]:
    listed = [answers] if isinstance(answers, str) else list(answers)
    if not listed:
        raise ValueError("no answers: wanted at least one")
    return listed


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _whole(gold: str) -> str:
    """A pattern for `gold` where it is no part of a longer word or number."""
    before, after = r"(?<!\w)(?<!\d[.,])" if gold[0].isdigit() else r"(?<!\w)", r"(?!\w)(?![.,]\d)" if gold[-1].isdigit() else r"(?!\w)"
    return before + re.escape(gold) + after


def _about(said: str, gold: str, tolerance: float) -> bool:
    number, wanted = _number(said), _number(gold)
    if number is None or not wanted:
        return said.lower() == gold.lower()
    return abs(number - wanted) / abs(wanted) <= tolerance


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None

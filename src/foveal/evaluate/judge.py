"""Answers scored by a judge beside reference answers: what it is shown, how its reply is read, and the relative score (Ferret-Bench, LLaVA-Bench)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["JudgedScore", "answer_for_judge", "judge_message", "judge_scores", "relative_score", "relative_scores"]

_Scores = tuple[float, float]


def answer_for_judge(answer: str, category: str, *, bins: int = 1000, as_published: bool = False) -> str:
    """An answer as Ferret-Bench shows it to the judge: of `refer_…` questions without places, of `ground_conv` with places in fractions of the image.

    Places are brackets of two or four integers, in `bins` of the image; fractions have three decimals. Answers to other questions stay as they are.
    With `as_published`, any bracket of `refer_…` counts, and only with a blank before it.

    >>> answer_for_judge("The dog [10, 20, 300, 400].", "refer_desc"), answer_for_judge("The dog [10, 20, 300, 400].", "ground_conv")
    ('The dog.', 'The dog [0.010, 0.020, 0.300, 0.400].')
    >>> answer_for_judge("a dog[1, 2, 3, 4] [sic]", "refer_desc"), answer_for_judge("a dog[1, 2, 3, 4] [sic]", "refer_desc", as_published=True)
    ('a dog [sic]', 'a dog[1, 2, 3, 4]')
    """
    if category.startswith("refer"):
        return re.sub(r" \[[^\]]*\]" if as_published else rf" ?{_PLACE}", "", answer)
    if category == "ground_conv":
        return re.sub(_PLACE, lambda place: re.sub(r"\d+", lambda number: f"{int(number[0]) / bins:.3f}", place[0]), answer)
    return answer


def judge_message(context: str, question: str, reference: str, answer: str, rule: str, *, role: str = "Assistant", as_published: bool = False) -> str:
    """What the judge is asked: the picture in words, the question, the reference as the first assistant's answer, the answer as the
    second's, and the rule.

    With `as_published`, letter for letter Ferret-Bench's message: a backslash stands where the line after "[Context]" should end.

    >>> print(judge_message("A dog.", "What?", "A dog.", "A cat.", "Rate both.").replace("\\n\\n", "\\n"), end="")
    [Context]
    A dog.
    [Question]
    What?
    [Assistant 1]
    A dog.
    [End of Assistant 1]
    [Assistant 2]
    A cat.
    [End of Assistant 2]
    [System]
    Rate both.
    """
    assistants = [f"[{role} {n}]\n{text}\n\n[End of {role} {n}]" for n, text in enumerate((reference, answer), 1)]
    head = "[Context]\\" if as_published else "[Context]\n"
    return "\n\n".join([f"{head}{context}", f"[Question]\n{question}", *assistants, f"[System]\n{rule}", ""])


def judge_scores(reply: str, *, as_published: bool = False) -> _Scores | None:
    """The scores of the reference and of the answer in a judge's reply; None where they cannot be read, for instance because there are three.

    They are two numbers from 1 to 10, alone in the first line that holds anything, in whatever way they are set apart; "8/10" is 8, and the
    assistants may be named. With `as_published`, the original's rule: any two floats with one blank or comma between them, nothing else in the line.

    >>> judge_scores("8, 7\\nBoth are fine."), judge_scores("Assistant 1: 8/10; Assistant 2: 9.5/10"), judge_scores("3 4 5")
    ((8.0, 7.0), (8.0, 9.5), None)
    >>> judge_scores("8, 7", as_published=True), judge_scores("8 7", as_published=True)
    (None, (8.0, 7.0))
    """
    if as_published:
        return _two_floats(reply.split("\n")[0].replace(",", " ").split(" "))
    line = next(filter(None, map(str.strip, reply.splitlines())), "")
    found = re.fullmatch(rf"\W*{_SCORE}[\s,;|&]+{_SCORE}\W*", line)
    scores = _two_floats([found[1], found[2]]) if found else None
    return scores if scores and min(scores) >= 1 and max(scores) <= 10 else None


@dataclass(frozen=True, slots=True)
class JudgedScore:
    """`relative`, in percent, is the mean score of the answers, `answer`, by that of the references, `reference`, over `count` replies that could
    be read; `unread` could not."""

    relative: float
    reference: float
    answer: float
    count: int
    unread: int


def relative_score(scores: Sequence[_Scores | None], *, as_published: bool = False) -> JudgedScore:
    """The relative score of answers whose judge gave `scores` (reference, answer). ValueError where no reply could be read.

    With `as_published`, as LLaVA-Bench and Ferret-Bench compute it: a reply that could not be read counts as (-1, -1), means are rounded to three
    decimals, and the score to one; not a number where the references' mean is 0.

    >>> relative_score([(8, 6), (9, 9), None]).relative, relative_score([(8, 6), (9, 9), None], as_published=True).relative
    (88.23529411764706, 87.5)
    """
    read = [pair for pair in scores if pair is not None]
    kept = [pair or (-1.0, -1.0) for pair in scores] if as_published else read
    if not kept:
        raise ValueError(f"{len(scores)} replies, none of which can be read: wanted at least one")
    reference, answer = np.asarray(kept, dtype=np.float64).mean(0).tolist()
    if as_published:
        reference, answer = round(reference, 3), round(answer, 3)
    relative = answer / reference * 100 if reference else float("nan")
    return JudgedScore(round(relative, 1) if as_published else relative, reference, answer, len(read), len(scores) - len(read))


def relative_scores(scores: Sequence[_Scores | None], categories: Sequence[str], *, as_published: bool = False) -> dict[str, JudgedScore]:
    """The relative score of "all", and of each category by the alphabet. ValueError where the numbers of scores and categories differ, or where of
    a category no reply could be read.

    >>> found = relative_scores([(8, 6), (9, 9)], ["refer_desc", "ground_conv"])
    >>> {name: round(score.relative, 1) for name, score in found.items()}
    {'all': 88.2, 'ground_conv': 100.0, 'refer_desc': 75.0}
    """
    if len(scores) != len(categories):
        raise ValueError(f"{len(scores)} scores for {len(categories)} categories: wanted as many")
    of = {name: [pair for pair, category in zip(scores, categories, strict=True) if category == name] for name in sorted(set(categories))}
    return {name: relative_score(some, as_published=as_published) for name, some in {"all": list(scores), **of}.items()}


_PLACE = r"\[\s*\d{1,9}\s*,\s*\d{1,9}(?:\s*,\s*\d{1,9}\s*,\s*\d{1,9})?\s*\]"
_SCORE = r"(?:(?i:assistant|answer)\s*[12]\W+)?(?<![-−.])(\d{1,4}(?:\.\d{1,9})?)(?:\s*/\s*10(?![\d.]))?"


def _two_floats(parts: Sequence[str]) -> _Scores | None:
    try:
        first, second = map(float, parts)
    except ValueError:
        return None
    return first, second

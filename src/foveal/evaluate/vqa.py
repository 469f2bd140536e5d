"""VQA accuracy: what ten people answered, one of them left out at a time, and the spelling in which answers are compared."""

import re
from collections.abc import Hashable, Sequence

__all__ = ["digits_and_articles", "normalise_answer", "strip_punctuation", "vqa_accuracy"]


def vqa_accuracy(prediction: str, answers: Sequence[str], *, ids: Sequence[Hashable] | None = None, as_published: bool = False) -> float:
    """How far people agree with an answer, from 0 to 1: the mean over `answers`, each left out in turn, of min(1, how many others said it / 3).

    From Antol et al. 2015 (VQA), in its official form; below four answers even the right one stays under 1. What is compared is `normalise_answer`
    of both sides. ValueError where nobody answered, and where `ids` are not as many as the answers.

    With `as_published`, the figure of Monkey's script (LAVIS' edition): people's answers lose punctuation alone, and that only where they differ,
    so that "Two" or "the dog" matches nothing; and all records equal to the one left out go with it. `ids` are what tells records of the same
    answer apart; not given, each record has its own, as in VQAv2.

    >>> people = ["red"] * 8 + ["dark red"] * 2
    >>> vqa_accuracy("The red.", people), round(vqa_accuracy("dark red", people), 2)
    (1.0, 0.6)
    >>> vqa_accuracy("yes", ["yes"] * 10, ids=[None] * 10, as_published=True)
    0.0
    """
    known: list[Hashable] = list(range(len(answers)) if ids is None else ids)
    if not answers or isinstance(answers, str):
        raise ValueError(f"the answers are {answers!r}: wanted a list of at least one")
    if len(known) != len(answers):
        raise ValueError(f"{len(known)} ids for {len(answers)} answers: wanted as many")
    said = normalise_answer(prediction, as_published=as_published)
    if as_published:
        golds = [strip_punctuation(answer, as_published=True) for answer in answers] if len(set(answers)) > 1 else list(answers)
    else:
        golds, known = [normalise_answer(answer) for answer in answers], list(range(len(answers)))
    records = list(zip(golds, known, strict=True))
    agreed = {left_out: sum(other[0] == said for other in records if other != left_out) for left_out in set(records)}
    return sum(min(1.0, agreed[record] / 3) for record in records) / len(records)


def normalise_answer(answer: str, *, as_published: bool = False) -> str:
    """The spelling in which the official evaluation compares answers: one line, no punctuation, small letters, digits, no articles, apostrophes.

    >>> normalise_answer("The Two dogs, I dont know!"), normalise_answer("10,000 people"), normalise_answer("3.5.")
    ("2 dogs i don't know", '10000 people', '3.5')
    """
    line = answer.replace("\n", " ").replace("\t", " ").strip()
    return digits_and_articles(strip_punctuation(line, as_published=as_published), as_published=as_published)


def strip_punctuation(text: str, *, as_published: bool = False) -> str:
    """`text` without punctuation; apostrophes, colons, dots of numbers and signs as $ and % stay.

    A mark becomes nothing where it stands beside a blank somewhere in the text, or where the text has a comma between digits; otherwise a blank.
    With `as_published` at most 32 dots go: the original hands a flag over where the number of replacements is wanted.

    >>> strip_punctuation("e-mail"), strip_punctuation("a - b"), strip_punctuation("1,000-2,000"), strip_punctuation("U.S.A. 3.5")
    ('e mail', 'a  b', '10002000', 'USA 3.5')
    """
    thousands = re.search(r"\d,\d", text) is not None
    cleaned = text
    for mark in filter(text.__contains__, _MARKS):
        cleaned = cleaned.replace(mark, "" if thousands or f"{mark} " in text or f" {mark}" in text else " ")
    return re.sub(r"\.(?!\d)", "", cleaned, count=32 if as_published else 0)


def digits_and_articles(text: str, *, as_published: bool = False) -> str:
    """`text` in small letters, with digits for none to ten, without a, an and the, with the apostrophes that contractions lack.

    With `as_published`, "im", "ive" and "id've" are left: the original lists them with a capital, which is gone by then.

    >>> digits_and_articles("The Two"), digits_and_articles("couldnt have"), digits_and_articles("Im"), digits_and_articles("Im", as_published=True)
    ('2', "couldn't have", "i'm", 'im')
    """
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    contractions = _PUBLISHED_CONTRACTIONS if as_published else _CONTRACTIONS
    return " ".join(contractions.get(word, word) for word in words if word not in ("a", "an", "the"))


def _without_one(contraction: str) -> list[str]:
    """The spellings that lack just one of the apostrophes."""
    return [contraction[:place] + contraction[place + 1 :] for place, letter in enumerate(contraction) if letter == "'"]


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {"none": "0"} | {
    word: str(number) for number, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
}
_SINGLE = """ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd it'll
ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd
someone'll someone's something'd something'll that's there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't
what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all
you'd you'll you're you've"""
_DOUBLE = """couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've there'd've they'd've
we'd've who'd've wouldn't've you'd've"""
_PUBLISHED_CONTRACTIONS = (
    {contraction.replace("'", ""): contraction for contraction in _SINGLE.split()}
    | {spelling: contraction for contraction in _DOUBLE.split() for spelling in _without_one(contraction)}
    | {"somebody'd": "somebodyd", "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at"}
    | {"yall'll": "y'all'll", "y'allll": "y'all'll", "yall'd've": "y'all'd've", "y'alld've": "y'all'd've", "y'all'dve": "y'all'd've"}
)
_CONTRACTIONS = _PUBLISHED_CONTRACTIONS | {"im": "i'm", "ive": "i've", "id've": "i'd've", "i'dve": "i'd've"}

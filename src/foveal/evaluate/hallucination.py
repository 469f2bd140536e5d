"""Things said that are not there: yes or no to questions about objects (POPE, MME), and objects mentioned in captions (CHAIR)."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from foveal.evaluate.metrics import words_found

__all__ = ["Mentions", "YesNoTally", "chair", "hallucinated", "mme_score", "tally_yes_no", "yes_or_no"]


def yes_or_no(answer: str, *, as_published: bool = False) -> Literal["yes", "no"] | None:
    """What any answer to a yes/no question says; None where it says neither. Whole words count, in any case.

    The first "yes" or "no" decides; without them a denial ("not", "isn't", "none", "false", ...) is a no; without that an assertion ("there is",
    "correct", ...) is a yes.

    With `as_published`, the rule of POPE's script (Li et al. 2023), which knows no None: of what stands before the first full stop, without commas,
    one of the words "no", "not" and "No" is a no, and all else a yes. It is as sensitive to case as the recordings are: "NO" is a yes.

    >>> [yes_or_no(answer) for answer in ("Yes, a dog.", "I see no dog.", "There isn't.", "There is a dog.", "noon")]
    ['yes', 'no', 'no', 'yes', None]
    >>> [yes_or_no(answer, as_published=True) for answer in ("NO", "Nothing.", "yes no", "")]
    ['yes', 'yes', 'no', 'yes']
    """
    if as_published:
        words = answer.partition(".")[0].replace(",", "").split(" ")
        return "no" if {"no", "not", "No"} & set(words) else "yes"
    plain = answer.lower().replace("’", "'")
    if found := re.search(r"\b(?:(yes|yeah|yep|yup)|no|nope)\b", plain):
        return "yes" if found[1] else "no"
    if re.search(r"\b(?:\w+n't|not|cannot|none|nothing|nobody|neither|nor|never|without|false|incorrect)\b", plain):
        return "no"
    return "yes" if re.search(r"\b(?:there(?:'s| is| are)|i(?: can)? see|contains?|shows?|true|correct)\b", plain) else None


@dataclass(frozen=True, slots=True)
class YesNoTally:
    """How yes/no questions were answered, "yes" being what is looked for. An answer that says neither is wrong, and no yes.

    `hits` and `misses` are questions whose answer is yes, answered yes and no; `alarms` and `rejections` those whose answer is no, answered yes
    and no; `unclear_yes` and `unclear_no` those answered neither way. Every share is from 0 to 1, and 0 where there is nothing to share.

    >>> tally = YesNoTally(hits=3, alarms=1, rejections=3, misses=1)
    >>> tally.accuracy, tally.precision, tally.recall, tally.f1, tally.yes_ratio
    (0.75, 0.75, 0.75, 0.75, 0.5)
    """

    hits: int = 0
    alarms: int = 0
    rejections: int = 0
    misses: int = 0
    unclear_yes: int = 0
    unclear_no: int = 0

    def __add__(self, other: "YesNoTally") -> "YesNoTally":
        return YesNoTally(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    @property
    def count(self) -> int:
        """How many questions."""
        return sum(astuple(self))

    @property
    def accuracy(self) -> float:
        """Share of questions answered rightly."""
        return (self.hits + self.rejections) / max(1, self.count)

    @property
    def precision(self) -> float:
        """Share of rightly given ones among the yeses."""
        return self.hits / max(1, self.hits + self.alarms)

    @property
    def recall(self) -> float:
        """Share of what is there that got a yes."""
        return self.hits / max(1, self.hits + self.misses + self.unclear_yes)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.hits / max(1, 2 * self.hits + self.alarms + self.misses + self.unclear_yes)

    @property
    def yes_ratio(self) -> float:
        """Share of questions answered yes."""
        return (self.hits + self.alarms) / max(1, self.count)


def tally_yes_no(answers: Sequence[str], labels: Sequence[str], *, as_published: bool = False) -> YesNoTally:
    """The `YesNoTally` of answers, read by `yes_or_no`, beside the right ones. ValueError where a label is neither "yes" nor
    "no", or the numbers differ.

    >>> tally_yes_no(["Yes.", "No, none.", "Perhaps"], ["yes", "yes", "no"])
    YesNoTally(hits=1, alarms=0, rejections=0, misses=1, unclear_yes=0, unclear_no=1)
    """
    if len(answers) != len(labels):
        raise ValueError(f"{len(answers)} answers for {len(labels)} labels: wanted as many")
    if odd := set(labels) - {"yes", "no"}:
        raise ValueError(f"labels {sorted(odd)}: wanted yes or no")
    counts = Counter((yes_or_no(answer, as_published=as_published), label) for answer, label in zip(answers, labels, strict=True))
    said: Sequence[tuple[Literal["yes", "no"] | None, str]] = (
        ("yes", "yes"),
        ("yes", "no"),
        ("no", "no"),
        ("no", "yes"),
        (None, "yes"),
        (None, "no"),
    )
    return YesNoTally(*(counts[pair] for pair in said))


def mme_score(verdicts: Mapping[str, Sequence[tuple[str, bool]]]) -> float:
    """MME's score (Fu et al. 2023): the sum over subtasks of accuracy and accuracy+, in percent; 200 for each subtask at most.

    `verdicts` has, for each subtask, each question's picture and whether it was answered rightly; accuracy+ is the share of pictures all of
    whose questions (two, in MME) were. The perception score is that of the ten perception subtasks. ValueError for a subtask without questions.

    >>> mme_score({"existence": [("1.jpg", True), ("1.jpg", True), ("2.jpg", True), ("2.jpg", False)]})
    125.0
    """
    if empty := [name for name, answered in verdicts.items() if not answered]:
        raise ValueError(f"no questions of {empty}: wanted at least one of each subtask")
    total = 0.0
    for answered in verdicts.values():
        pictures = {picture for picture, _ in answered}
        failed = {picture for picture, right in answered if not right}
        total += 100 * sum(right for _, right in answered) / len(answered) + 100 * (1 - len(failed) / len(pictures))
    return total


def hallucinated(text: str, present: Collection[str], forms: Mapping[str, str]) -> list[tuple[str, bool]]:
    """The objects mentioned in `text`, in its order, each with whether it is missing from those `present` in the picture.

    `forms` are the spellings of objects, each with the name that is meant, plurals and synonyms included; "hot dog" is not a dog where both are
    forms. A denied object ("no dog") is a mention too, as in CHAIR.

    >>> hallucinated("A puppy and two cats", {"dog"}, {"dog": "dog", "puppy": "dog", "cats": "cat"})
    [('dog', False), ('cat', True)]
    """
    return [(name, name not in present) for name in _named([text], forms)[0]]


@dataclass(frozen=True, slots=True)
class Mentions:
    """What captions mention: how many captions there are, how many hold a thing that is not there; mentions, those of things that are not
    there; things that are there, those that a caption mentions.

    >>> (Mentions(2, 1, 5, 1, 6, 3) + Mentions(2, 0, 5, 0, 2, 1)).chair_s
    0.25
    """

    captions: int = 0
    wrong_captions: int = 0
    mentions: int = 0
    wrong_mentions: int = 0
    there: int = 0
    told: int = 0

    def __add__(self, other: "Mentions") -> "Mentions":
        return Mentions(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    @property
    def chair_s(self) -> float:
        """Share of captions that mention a thing that is not there (the response level)."""
        return self.wrong_captions / max(1, self.captions)

    @property
    def chair_i(self) -> float:
        """Share of mentions that are of things that are not there (the mention level)."""
        return self.wrong_mentions / max(1, self.mentions)

    @property
    def recall(self) -> float:
        """Share of the things there that are mentioned: who says nothing hallucinates nothing."""
        return self.told / max(1, self.there)


def chair(captions: Sequence[str], present: Sequence[Collection[str]], forms: Mapping[str, str]) -> Mentions:
    """CHAIR of captions (Rohrbach et al. 2018, equations 1 and 2), whose pictures show the objects `present`; lower is better.

    `forms` is the vocabulary as in `hallucinated`: COCO's names with CHAIR's synonyms, or any names, each its own form, for the object hallucination
    of answers in general. Objects outside it are passed over. ValueError where there are not as many pictures as captions.

    >>> forms = {"dog": "dog", "puppy": "dog", "cat": "cat"}
    >>> found = chair(["A puppy and a cat", "A dog"], [{"dog"}, {"dog"}], forms)
    >>> found.chair_s, round(found.chair_i, 3), found.recall
    (0.5, 0.333, 1.0)
    """
    if len(captions) != len(present):
        raise ValueError(f"{len(captions)} captions of {len(present)} pictures: wanted as many")
    said, known = _named(captions, forms), set(forms.values())
    there = [known & set(shown) for shown in present]
    wrong = [sum(name not in shown for name in names) for names, shown in zip(said, present, strict=True)]
    told = sum(len(shown & set(names)) for names, shown in zip(said, there, strict=True))
    return Mentions(len(captions), sum(map(bool, wrong)), sum(map(len, said)), sum(wrong), sum(map(len, there)), told)


def _named(texts: Sequence[str], forms: Mapping[str, str]) -> list[list[str]]:
    """The names said in each text; looked for in all at once, since it takes long to begin looking for many words."""
    named = {form.lower(): name for form, name in forms.items() if _END not in form}
    found: list[list[str]] = [[]]
    for word in words_found(f" {_END} ".join(text.replace(_END, " ") for text in texts), [*named, _END]):
        found.append([]) if word == _END else found[-1].append(named[word])
    return found[: len(texts)]


_END = "\0"

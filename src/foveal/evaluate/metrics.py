"""Judging answers by their words and boxes: every measure is a function of plain values, and no measure calls a model."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from foveal.geometry import Box, bounding_box, box_array, enclosing_box, iou, match
from foveal.grounding import GroundedText, Span

__all__ = [
    "Ranked",
    "Tally",
    "average_precision",
    "boxes_agree",
    "calibration_error",
    "f1_interval",
    "first_box",
    "has_unread_place",
    "interval",
    "is_unparseable",
    "match_named",
    "names_object",
    "names_placed",
    "phrases_found",
    "precision_of",
    "rank_detections",
    "ranked_precision",
    "says_absent",
    "spellings",
    "tally_detections",
    "whole_words",
    "words_found",
]


def interval(successes: float, count: float, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a proportion; 95 % with the usual `z`. Nothing counted is nothing known: (0, 1). A `count` that is no whole number is
    that of cases which would tell as much (`mean_figure`).

    Unlike the textbook's p ± z·s it stays within [0, 1] and is right for few cases and for shares near 0 and 1.

    >>> low, high = interval(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count}: wanted 0 <= successes <= count")
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    centre = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def first_box(said: GroundedText) -> Box | None:
    """The enclosing box of the first region of an answer, which is the one a referring expression is judged by.

    >>> first_box(GroundedText("nothing of the kind")) is None
    True
    """
    return next((bounding_box(region) for span in said.spans for region in span.regions), None)


def boxes_agree(predicted: Sequence[Box | None], truth: Sequence[Box], *, threshold: float = 0.5) -> list[bool]:
    """Pair by pair: is the predicted box there, and its IoU with the true one at least `threshold`? The mean is P@threshold.

    >>> boxes_agree([Box(0, 0, 0.5, 0.5), None], [Box(0, 0, 0.5, 0.4), Box(0, 0, 1, 1)])
    [True, False]
    """
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} predicted boxes for {len(truth)} true ones: wanted as many")
    return [box is not None and bool(iou(box_array([box]), box_array([true]))[0, 0] >= threshold) for box, true in zip(predicted, truth, strict=True)]


def spellings(name: str) -> tuple[str, ...]:
    """How a category of a data set may be written in an answer: underscores are spaces, and `a_(b)` is `a` or `b` (LVIS).

    >>> spellings("remote_control"), spellings("bow_(weapon)")
    (('remote control',), ('bow', 'weapon'))
    """
    spoken = name.replace("_", " ")
    head, bracket, rest = spoken.partition(" (")
    return (head, rest.rstrip(")")) if bracket else (spoken,)


def names_object(answer: str, names: Sequence[str], others: Sequence[str] = (), *, original: bool = False) -> bool:
    """Does `answer` say that the object is one of `names`, and none of `others`? The verdict of referring object classification.

    Whole words count, in upper or lower case, the longest name first, and what stands between a denial ("no", "not", "isn't",
    "rather than") and the end of its clause counts for nothing. With `original`, the rule of Ferret's own evaluation script, for
    comparison with published numbers: any substring counts, in the case given, naming `others` as well does no harm, "note" and
    "now" are taken for a "no", and one without a comma or full stop after it is not seen.

    >>> names_object("It is a cat, not a dog.", ["cat"], ["dog"]), names_object("a cat or a dog", ["cat"], ["dog"])
    (True, False)
    >>> names_object("It isn't a cat.", ["cat"], ["dog"]), names_object("It isn't a dog, it's a cat.", ["cat"], ["dog"])
    (False, True)
    >>> names_object("It is a caterpillar.", ["cat"]), names_object("It is a caterpillar.", ["cat"], original=True)
    (False, True)
    """
    if original:
        rest = re.sub(r"\sno.*?[,.]", "", re.sub(r"\snot.*?[,.]", "", answer))
        return any(name in rest for name in names)
    asserted = re.sub(_DENIED, " ", answer, flags=re.IGNORECASE)
    said = words_found(asserted, [*names, *others])
    wanted = {name.lower() for name in names}
    return bool(said) and all(name in wanted for name in said)


def words_found(text: str, phrases: Sequence[str]) -> list[str]:
    """Those of `phrases` that stand in `text` as whole words, lower-cased, in the order of the text; the longest at each place.

    >>> words_found("A red Cat face and a dog", ["cat", "cat face", "do"])
    ['cat face']
    """
    return re.findall(whole_words({phrase.lower() for phrase in phrases if phrase}), text.lower())


def phrases_found(
    said: GroundedText, truth: Sequence[tuple[str, Sequence[Box]]], *, threshold: float = 0.5, first: int = 1, merged: bool = True
) -> list[bool]:
    """For each phrase of `truth`: does one of the `first` boxes said for it agree with its own? The mean is Recall@`first`.

    A box is said for a phrase when the words of its span are the phrase, but for case, punctuation and spacing. A phrase with
    several boxes is judged by the box around them all ("merged boxes" of Flickr30k Entities), or without `merged` by any of them.

    >>> from foveal.grounding import Span
    >>> said = GroundedText("A man rides a horse.", (Span(0, 5, (Box(0.0, 0.0, 0.5, 1.0),)),))
    >>> phrases_found(said, [("a man", [Box(0.0, 0.0, 0.5, 0.9)]), ("a horse", [Box(0.5, 0.5, 1.0, 1.0)])])
    [True, False]
    """
    boxes: dict[str, list[Box]] = {}
    for span in said.spans:
        boxes.setdefault(_plain_words(said.text[span.start : span.end]), []).extend(map(bounding_box, span.regions))
    found = []
    for phrase, wanted in truth:
        candidates = boxes.get(_plain_words(phrase), [])[:first]
        golds = [enclosing_box(wanted)] if merged else list(wanted)
        found.append(bool(candidates) and bool(iou(box_array(candidates), box_array(golds)).max() >= threshold))
    return found


def names_placed(said: GroundedText, truth: GroundedText, forms: Mapping[str, str], besides: Collection[str] = ()) -> list[bool | None]:
    """For each name in an answer whose words have places: does the middle of its place lie in the box of a thing so called? None: there is none.

    `forms` are the spellings of names, in lower case, each with the name that is meant; `truth` has the box of each thing, tied to its name.
    Names in `besides` are passed over. A name of several words is where its last word is; one without a place is in the wrong place.

    >>> from foveal.grounding import Span
    >>> cat = (Box(0.1, 0.1, 0.3, 0.3),)
    >>> said = GroundedText("Two cats and a dog", (Span(4, 8, (Box(0.2, 0.2, 0.3, 0.3),)),))
    >>> names_placed(said, GroundedText("cat", (Span(0, 3, cat),)), {"cat": "cat", "cats": "cat", "dog": "dog"})
    [True, None]
    """
    boxes: dict[str, list[Box]] = {}
    for span in truth.spans:
        boxes.setdefault(truth.text[span.start : span.end], []).extend(map(bounding_box, span.regions))
    found: list[bool | None] = []
    for word in re.finditer(whole_words(forms), said.text.lower()):
        name = forms[word[0]]
        if name in besides:
            continue
        places = [bounding_box(span.regions[0]) for span in said.spans if span.regions and span.start < word.end() and word.start() < span.end]
        inside = any(_middle_inside(place, box) for place in places[-1:] for box in boxes.get(name, []))
        found.append(inside if name in boxes else None)
    return found


def says_absent(said: GroundedText) -> bool:
    """Is there no box in the answer? That is what is wanted for a thing that is not in the image.

    >>> says_absent(GroundedText("There is no red cup."))
    True
    """
    return not any(span.regions for span in said.spans)


def is_unparseable(said: GroundedText) -> bool:
    """Is the answer empty, or does it hold a place that could not be read (`has_unread_place`)?

    >>> is_unparseable(GroundedText("A cat [1, 2, 3]")), is_unparseable(GroundedText(" ")), is_unparseable(GroundedText("A cat."))
    (True, True, False)
    """
    return (not said.text.strip() and not said.spans) or has_unread_place(said)


def has_unread_place(said: GroundedText) -> bool:
    """Does the answer hold a bracket with a number in it that is no place, a tag of places of any family, or a box turned inside out?

    What a model says is never an error: a place that cannot be read stays in the text, and is counted here.

    >>> [has_unread_place(GroundedText(text)) for text in ("[1, 2, 3]", "<box>(1,2)", "<loc_12>", '{"bbox_2d": [1]}', "A cat.")]
    [True, True, True, True, False]
    """
    boxes = (region for span in said.spans for region in span.regions if isinstance(region, Box))
    return re.search(_UNREAD, said.text) is not None or any(box.x1 < box.x0 or box.y1 < box.y0 for box in boxes)


def match_named(
    predicted: Sequence[tuple[str, Box]], truth: Sequence[tuple[str, Box]], *, threshold: float = 0.5, scores: Sequence[float] = ()
) -> list[int | None]:
    """Which true object each predicted one is: same name, IoU at least `threshold`, and each true one is taken at most once.

    Greedy, as COCO's: the most confident chooses first (without `scores`, the first said), and takes the best that is left.

    >>> cat = ("cat", Box(0.0, 0.0, 0.5, 0.5))
    >>> match_named([cat, cat, ("dog", Box(0.0, 0.0, 0.5, 0.5))], [cat])
    [0, None, None]
    """
    order = sorted(range(len(predicted)), key=lambda index: -scores[index] if scores else index)
    overlaps = iou(box_array([box for _, box in predicted]), box_array([box for _, box in truth]))
    same = np.array([[said.lower() == name.lower() for name, _ in truth] for said, _ in predicted], dtype=bool).reshape(overlaps.shape)
    taken = match(np.where(same, overlaps, -1.0)[order], threshold)
    found: list[int | None] = [None] * len(predicted)
    for index, column in zip(order, taken.tolist(), strict=True):
        found[index] = column if column >= 0 else None
    return found


@dataclass(frozen=True, slots=True)
class Tally:
    """Of one image or of many: how many objects were found rightly, how many were said, how many are there.

    >>> (Tally(1, 2, 2) + Tally(3, 3, 4)).f1
    0.7272727272727273
    """

    right: int = 0
    said: int = 0
    there: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.right + other.right, self.said + other.said, self.there + other.there)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing was said and nothing is there."""
        return 2 * self.right / max(1, self.said + self.there)


def tally_detections(
    predicted: Sequence[tuple[str, Box]],
    truth: Sequence[tuple[str, Box]],
    *,
    threshold: float = 0.5,
    counts: Callable[[Box], bool] = lambda box: True,
) -> Tally:
    """One image's `Tally`. `counts` says which boxes count, for instance by their size: the true ones that do not may be found or not,
    and predicted ones that do not may be wrong, and neither helps or harms (as in COCO's figures by area).

    >>> cat, dog = ("cat", Box(0.0, 0.0, 0.5, 0.5)), ("dog", Box(0.5, 0.5, 1.0, 1.0))
    >>> tally_detections([cat, dog], [cat, dog], counts=lambda box: box.x0 < 0.5)
    Tally(right=1, said=1, there=1)
    """
    matches = match_named(predicted, truth, threshold=threshold)
    right = sum(match is not None and counts(truth[match][1]) for match in matches)
    wrong = sum(match is None and counts(box) for match, (_, box) in zip(matches, predicted, strict=True))
    return Tally(right, right + wrong, sum(counts(box) for _, box in truth))


def f1_interval(tallies: Sequence[Tally], *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the images' common F1, by drawing the images again with replacement (percentile bootstrap).

    >>> f1_interval([Tally(1, 1, 1)] * 20)
    (1.0, 1.0)
    """
    if not tallies:
        return 0.0, 1.0
    counts = np.array([(tally.right, tally.said, tally.there) for tally in tallies], dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(len(counts), size=(draws, len(counts)))
    right, said, there = counts[chosen].sum(1).T
    low, high = np.quantile(2 * right / np.maximum(1, said + there), [0.025, 0.975])
    return float(low), float(high)


def average_precision(
    answered: Sequence[tuple[GroundedText, GroundedText, GroundedText]], names: Sequence[str] | None = None, *, threshold: float = 0.5
) -> float:
    """Mean precision at 101 recalls, detections of all pictures ranked together by their scores (COCO's; Lin et al. 2014, one class).

    Each picture gives what was said, what is true, and what counts neither way. A detection is right when it overlaps a thing not yet found by
    at least `threshold` and, with `names`, says this one's name and no other of them.

    >>> from foveal.geometry import Box
    >>> cat, dog = Span(0, 3, (Box(0, 0, 0.5, 1),), (0.9,)), Span(4, 7, (Box(0.5, 0, 1, 1),), (0.8,))
    >>> said, true = GroundedText("cat cat", (cat, dog)), GroundedText("cat dog", (cat, dog))
    >>> average_precision([(said, true, GroundedText(""))]), round(average_precision([(said, true, GroundedText(""))], ["cat", "dog"]), 2)
    (1.0, 0.5)
    """
    return precision_of([rank_detections(*one, names, threshold=threshold) for one in answered])


Ranked = tuple[Float[np.ndarray, " _"], Bool[np.ndarray, " _"], int]
"""A picture's detections that count, surest first: their scores, which are right, and how many things there are."""


def rank_detections(
    said: GroundedText, true: GroundedText, besides: GroundedText, names: Sequence[str] | None = None, *, threshold: float = 0.5
) -> Ranked:
    """Which of a picture's detections are right; see `average_precision`."""
    wanted = [true.text[span.start : span.end].strip().lower() for span in true.spans]
    found = sorted(said.spans, key=lambda span: -_score(span))
    overlaps, passed = (_overlaps(found, other.spans) for other in (true, besides))
    free, ranked = np.ones(len(wanted), bool), list[tuple[float, bool]]()
    for row, span in enumerate(found):
        told = set(words_found(said.text[span.start : span.end], names)) if names is not None else set()
        fits = np.array([names is None or told == {name} for name in wanted], bool)
        usable = np.where(free & fits, overlaps[row], -1)
        if usable.max(initial=-1) >= threshold:
            free[usable.argmax()] = False
            ranked.append((_score(span), True))
        elif passed[row].max(initial=0) < threshold:
            ranked.append((_score(span), False))
    return np.array([score for score, _ in ranked], float), np.array([hit for _, hit in ranked], bool), len(wanted)


def precision_of(pictures: Sequence[Ranked]) -> float:
    """Average precision over pictures whose detections are ranked; see `average_precision`."""
    if not pictures:
        return 0.0
    scores, right = np.concatenate([one[0] for one in pictures]), np.concatenate([one[1] for one in pictures])
    return ranked_precision(right[np.argsort(-scores, kind="stable")], max(1, sum(there for *_, there in pictures)), np.linspace(0, 1, 101))


def ranked_precision(right: Bool[np.ndarray, " found"], there: int, recalls: Float[np.ndarray, " levels"] | None = None) -> float:
    """Average precision of detections in the order of their rank, of `there` things: the mean over `recalls` of the best precision at that
    recall or a higher one, or without them the area under that curve.

    >>> ranked_precision(np.array([True, False, True]), 2), ranked_precision(np.array([True, False]), 2, np.arange(11) / 10)
    (0.8333333333333333, 0.5454545454545454)
    """
    hits = np.cumsum(right)
    best = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]
    if recalls is None:
        return float(best[right].sum() / there)
    place = np.searchsorted(hits / there, recalls)
    return float(np.append(best, 0.0)[place].mean())


def calibration_error(scores: Sequence[float], hits: Sequence[bool], *, bins: int = 10) -> float:
    """Expected calibration error: how far, on average, a score is from the share of right answers among scores like it.

    Scores in [0, 1] fall into `bins` equal bins; each bin's |mean score - share of hits| weighs as many as it holds. Naeini et al. 2015.

    >>> round(calibration_error([0.9, 0.9, 0.9, 0.9], [True, True, True, False]), 3)
    0.15
    """
    if len(scores) != len(hits):
        raise ValueError(f"{len(scores)} scores for {len(hits)} hits: wanted as many")
    if not scores:
        return 0.0
    confidence, right = np.asarray(scores, dtype=np.float64), np.asarray(hits, dtype=np.float64)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


_DENIED = r"(?:\b(?:not?|neither|nor|cannot|rather than|instead of)\b|\b\w+n['’]t\b)(?:(?!\bbut\b)[^,.;:!?])*"
_UNREAD = r"""\[[^\]]*\d|\d[^\[]*\]|</?(?:box|quad)>|<\|box_(?:start|end)\|>|<loc_?\d|<patch_index_|"(?:bbox|point)_2d"|<points?\s+x\d?="""


def whole_words(phrases: Collection[str]) -> str:
    """A pattern for any of some phrases as whole words, the longest at each place; of no phrases it finds nothing."""
    return "(?!)" if not phrases else rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(phrases, key=len, reverse=True)))})(?!\w)"


def _score(span: Span) -> float:
    return float(span.scores[0] or 0) if span.scores else 0.0


def _overlaps(found: Sequence[Span], truth: Sequence[Span]) -> np.ndarray:
    return iou(*(box_array([bounding_box(span.regions[0]) for span in spans]) for spans in (found, truth)))


def _middle_inside(place: Box, box: Box) -> bool:
    return box.x0 <= (place.x0 + place.x1) / 2 <= box.x1 and box.y0 <= (place.y0 + place.y1) / 2 <= box.y1


def _plain_words(phrase: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", "", re.sub("['’]", " ", phrase.lower())).split())

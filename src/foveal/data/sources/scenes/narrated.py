"""Narrated captions of drawings: what a person would say while showing it with the mouse, in the form of Localized Narratives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from foveal.data.narration import Alignment, Narration, Utterance, by_words, caption_words
from foveal.data.sources.scenes.drawing import Drawing
from foveal.data.sources.scenes.phrases import View, stands, view_of
from foveal.data.sources.scenes.short import place_of
from foveal.data.sources.scenes.words import with_article
from foveal.grounding import GroundedText, Span

__all__ = ["NARRATED_WORDS", "Narrated", "Order", "narrated"]

Order = Literal["size", "left", "near", "any"]
"""The order in which things are named: the largest first, from left to right, always the nearest next, or any."""

_ORDERS: tuple[Order, ...] = ("size", "left", "near", "any")
_OPENINGS = ("In this picture there is ", "In this image we can see ", "Here I can see ", "There is ", "We see ")
_ALSO = ("There is also ", "We can also see ", "I can see ")
_BESIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "left of": ("To the left of it there is ", "On its left we can see "),
        "right of": ("To the right of it there is ", "On its right we can see "),
        "above": ("Above it there is ", "Above it we can see "),
        "below": ("Below it there is ", "Below it we can see "),
    }
)
_ENDS = ("The ground is {colour}.", "The background is {colour}.")
_PLACES = "at the in top bottom middle left right centre"
_ARTICLES = "a an some another more and"
_FILLERS = ("um", "uh", "so", "okay")

NARRATED_WORDS: tuple[str, ...] = tuple(
    sorted(
        {
            word
            for text in (*_OPENINGS, *_ALSO, *(text for texts in _BESIDE.values() for text in texts), *_ENDS, _PLACES, _ARTICLES)
            for word in text.replace("{colour}.", "").lower().split()
        }
    )
)
"""The words of narrated captions beside those of names and colours, in lower case, sorted."""

_MOMENT = 0.04  # seconds between two points of the mouse's way, about
_TURN = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Narrated:
    """A spoken caption and where its words lie.

    `told` is the caption with a span for each word that has a place: a word of a thing's name has the thing's true box, then the place that
    the mouse's way gives it; another word has the latter alone. So the first region of a span is always the best known. `things[i]` is
    the index of the thing that the word of `told.spans[i]` names, or None.
    """

    narration: Narration
    told: GroundedText
    things: tuple[int | None, ...]


def narrated(
    drawing: Drawing, rng: np.random.Generator, *, most: int = 9, order: Order | None = None, align: Alignment = by_words
) -> Narrated | None:
    """One to three sentences about at most `most` things of `drawing`, as spoken, with the way of the mouse meanwhile; None for an empty drawing.

    The hand comes to a thing a little before or after its name is said, circles over it, and drifts on; it shakes, and rests at times. The voice
    hesitates and pauses; what is heard of it lacks capitals and marks, and has fillers that are not written. `order` is drawn where none is given,
    and `align` says how places are got from the way. The same state of `rng` gives the same narration.

    >>> from foveal.data.sources.scenes import SceneStyle, draw_scene
    >>> drawing = draw_scene(3, style=SceneStyle(names=("cat", "dog"), things=(2, 2), text_share=0))
    >>> one = narrated(drawing, np.random.default_rng(1), order="left")
    >>> one.narration.caption
    '...'
    """
    if not drawing.things or most < 1:
        return None
    view = view_of(drawing)
    chosen = _ordered(view, rng, order or _ORDERS[int(rng.integers(len(_ORDERS)))])[:most]
    caption, named = _sentences(view, chosen, rng)
    words = caption_words(caption)
    things = _things_of(words, named)
    times = _spoken_times(caption, words, things, rng)
    narration = Narration(caption, _heard(caption, words, times, rng), _way(view, things, times, rng))
    spans, owners = _told(view, align(narration), words, things)
    return Narrated(narration, GroundedText(caption, spans), owners)


def _ordered(view: View, rng: np.random.Generator, order: Order) -> list[int]:
    boxes = np.array([(box.x0, box.y0, box.x1, box.y1) for box in view.boxes])
    match order:
        case "size":
            return np.argsort(-np.array(view.areas), kind="stable").tolist()
        case "left":
            return np.argsort(boxes[:, 0], kind="stable").tolist()
        case "any":
            return rng.permutation(len(boxes)).tolist()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = np.linalg.norm(centres[:, None] - centres, axis=2)
    way = [int(rng.integers(len(boxes)))]
    while len(way) < len(boxes):
        way.append(min(set(range(len(boxes))) - set(way), key=lambda thing: (away[way[-1], thing], thing)))
    return way


def _sentences(view: View, chosen: list[int], rng: np.random.Generator) -> tuple[str, list[tuple[int, int, int]]]:
    """The caption, and for each name in it where its characters start and end, and which thing has it."""
    cuts = set(rng.choice(range(1, len(chosen)), min(int(rng.integers(3)), len(chosen) - 1), replace=False).tolist()) if len(chosen) > 1 else set()
    caption, named, known = "", [], set()
    for place, thing in enumerate(chosen):
        last = place + 1 == len(chosen) or place + 1 in cuts
        if not place:
            caption += _picked(_OPENINGS, rng)
        elif place in cuts:
            caption += ". " + _picked(_leads(view, thing, chosen[place - 1]), rng)
        else:
            caption += " and " if last else ", "
        article, _, name = with_article(view.labels[thing]).partition(" ")
        if view.labels[thing] in known:
            article = "more" if article == "some" else "another"
        known.add(view.labels[thing])
        caption += f"{article} {name}"
        named.append((len(caption) - len(name), len(caption), thing))
    ending = f" {_picked(_ENDS, rng)}".format(colour=view.drawing.ground.split(" ")[-1]) if rng.random() < 0.3 else ""
    return f"{caption}.{ending}", named


def _leads(view: View, thing: int, other: int) -> Sequence[str]:
    """How a sentence about `thing` may begin after one that ends with `other`: each is true."""
    place = place_of(view.boxes[thing])
    there = "In the middle there is " if place == "middle" else f"At the {place} there is "
    return (*_ALSO, there, *(text for side, texts in _BESIDE.items() if stands(side, view.boxes[thing], view.boxes[other]) for text in texts))


def _picked(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def _things_of(words: list[tuple[int, int]], named: list[tuple[int, int, int]]) -> Int[np.ndarray, " words"]:
    """Which thing each word names, or -1."""
    starts, names = np.array(words)[:, 0], np.array(named)
    before = np.searchsorted(names[:, 0], starts, side="right") - 1
    return np.where((before >= 0) & (starts < names[before, 1]), names[before, 2], -1)


def _spoken_times(
    caption: str, words: list[tuple[int, int]], things: Int[np.ndarray, " words"], rng: np.random.Generator
) -> Float[np.ndarray, "words 2"]:
    """When each word is said: longer words take longer, marks and some names are waited at."""
    edges, count = np.array(words), len(words)
    lasts = (0.1 + 0.05 * (edges[:, 1] - edges[:, 0])) * rng.uniform(0.8, 1.3) * rng.lognormal(0.0, 0.15, count)
    marks = np.array([caption[start - 2] for start, _ in words[1:]])  # a mark and a blank, or the last letter of the word before
    waits = 0.02 + rng.exponential(0.03, count)
    waits[0] = rng.uniform(0.1, 0.9)
    waits[1:] += (marks == ",") * rng.exponential(0.25, count - 1) + (marks == ".") * (0.4 + rng.exponential(0.4, count - 1))
    doubted = np.diff(things, prepend=-1) > 0
    waits += (doubted & (rng.random(count) < 0.15)) * (0.4 + rng.exponential(0.5, count))
    ends = np.cumsum(waits + lasts)
    return np.stack([ends - lasts, ends], axis=1)


def _heard(caption: str, words: list[tuple[int, int]], times: Float[np.ndarray, "words 2"], rng: np.random.Generator) -> tuple[Utterance, ...]:
    """The speech as a recogniser cuts it: one to about six words, in lower case, a word missed now and then, fillers where the voice waits."""
    waits = np.diff(times[:, 0], prepend=0) - np.diff(times[:, 1] - times[:, 0], prepend=0)
    waits = times[1:, 0] - times[:-1, 1]
    begins = [0, *(np.flatnonzero((rng.random(len(waits)) < 0.4) | (waits > 0.35)) + 1).tolist(), len(words)]
    missed, filled = rng.random(len(words)) < 0.02, rng.random(len(words)) < 0.5
    said = []
    for first, end in pairwise(begins):
        if first and filled[first] and waits[first - 1] > 0.4:
            said.append(Utterance(_picked(_FILLERS, rng), *_rounded(times[first - 1, 1] + 0.05, times[first, 0] - 0.05)))
        text = " ".join(caption[words[index][0] : words[index][1]].lower() for index in range(first, end) if not missed[index])
        said.append(Utterance(text, *_rounded(times[first, 0], times[end - 1, 1])))
    return tuple(said)


def _way(
    view: View, things: Int[np.ndarray, " words"], times: Float[np.ndarray, "words 2"], rng: np.random.Generator
) -> Float[np.ndarray, "points 3"]:
    """The mouse's way: from somewhere to each thing when it is named, circling over it, on to the next, and away."""
    firsts = np.flatnonzero((things >= 0) & (np.diff(things, prepend=-1) != 0))
    lasts = np.flatnonzero((things >= 0) & (np.diff(things, append=-1) != 0))
    comes = times[firsts, 0] - rng.normal(0.15, 0.15) - rng.normal(0.0, 0.08, len(firsts))
    goes = times[lasts, 1] + rng.uniform(0.0, 0.25, len(firsts))
    goes[:-1] = np.minimum(goes[:-1], comes[1:] - 0.12)
    knots = np.maximum.accumulate(np.stack([comes, goes], axis=1).ravel())
    start, end = max(0.0, min(times[0, 0], knots[0]) - rng.uniform(0.0, 0.3)), max(times[-1, 1], knots[-1]) + rng.uniform(0.0, 0.5)
    moments = start + np.cumsum(rng.uniform(0.5, 1.5, max(8, int((end - start) / _MOMENT)))) * _MOMENT

    boxes = np.array([(box.x0, box.y0, box.x1, box.y1) for box in view.boxes])[things[firsts]]
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    aims = (boxes[:, :2] + boxes[:, 2:]) / 2 + rng.normal(0.0, 0.15, halves.shape) * halves
    stations = np.concatenate([rng.uniform(0.2, 0.8, (1, 2)), aims, rng.uniform(0.1, 0.9, (1, 2))])
    reaches = np.concatenate([[[0.01, 0.01]], rng.uniform(0.3, 0.7, halves.shape) * halves, [[0.01, 0.01]]])
    count = len(firsts)
    progress = np.interp(moments, np.concatenate([[start], knots, [end]]), np.concatenate([[0], np.repeat(np.arange(1, count + 1), 2), [count + 1]]))
    at = progress.astype(int).clip(0, count)
    share = (progress - at)[:, None]
    share = share**2 * (3 - 2 * share)  # slow, fast, slow, as a hand moves
    middles, radii = (values[at] + share * (values[at + 1] - values[at]) for values in (stations, reaches))
    angles = rng.uniform(0.0, _TURN) + _TURN * rng.uniform(1.0, 2.2) * rng.choice((-1, 1)) * moments
    shake = np.stack([np.convolve(axis, np.full(7, 1 / 7), "same") for axis in rng.normal(0.0, 0.015, (2, len(moments)))], axis=1)
    points = np.concatenate([middles + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1) + shake, moments[:, None]], axis=1)
    rest = rng.uniform(start, end)
    kept = (moments < rest) | (moments > rest + rng.uniform(0.0, 0.8)) | (np.arange(len(moments)) % (len(moments) - 1) == 0)
    return np.round(points[kept], 5)


def _told(
    view: View, traced: GroundedText, words: list[tuple[int, int]], things: Int[np.ndarray, " words"]
) -> tuple[tuple[Span, ...], tuple[int | None, ...]]:
    places = {(span.start, span.end): span.regions for span in traced.spans}
    told = []
    for word, thing in zip(words, things.tolist(), strict=True):
        regions = ((view.boxes[thing],) if thing >= 0 else ()) + places.get(word, ())
        if regions:
            told.append((Span(*word, regions), None if thing < 0 else thing))
    return tuple(span for span, _ in told), tuple(thing for _, thing in told)


def _rounded(start: float, end: float) -> tuple[float, float]:
    return round(float(start), 3), round(float(end), 3)

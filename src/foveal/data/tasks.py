"""What is known of an image, put into questions and answers: each task takes an example with notes and gives one with turns, or None."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from foveal.data.augment import example_on, random_part
from foveal.data.images import load_picture
from foveal.data.mixture import Task
from foveal.data.sources.ferret import point_in
from foveal.geometry import Mask, Point, Region, bounding_box
from foveal.grounding import Example, GroundedText, Note, Turn, region_limits, region_to_json, tied
from foveal.grounding.wordings.ferret import ask_names, reading_order, say_names, with_coordinates
from foveal.grounding.wordings.verbs import Verbs

__all__ = [
    "absent",
    "caption",
    "converse",
    "detect",
    "each",
    "followed_by",
    "grounded",
    "joined",
    "locate",
    "name_all",
    "of_some",
    "of_split",
    "refer",
    "relate",
    "requested",
    "spoken",
    "zoomed",
]

_FORMS = {"box": 0.5, "point": 0.5}
_CUT_OFF = "names cut off"
"""The fact that holds the names of what a part of a picture shows too little of."""


def refer(verbs: Verbs, *, forms: Mapping[str, float] = _FORMS, sources: Sequence[str] = ("object", "region")) -> Task:
    """What one thing is, pointed at: by its "box", by a "point" in it or by its "mask", with these shares of those that the family takes.

    A point is Ferret's `segment_mask|center` where the mask is known, a normal draw around the box's middle where it is not. What the
    region's features are cut to in training, the mask or for a point the box, is kept as the fact "inside" (`region_limits`).
    """
    names = [form for form in forms if form in verbs.forms]
    if not names:
        raise ValueError(f"{verbs.family} takes a region as {' or '.join(verbs.forms)}, not as {' or '.join(forms)}")
    shares = np.array([forms[name] for name in names]) / sum(forms[name] for name in names)

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        things = _things(example, sources)
        if not things:
            return None
        thing = things[rng.integers(len(things))]
        known = thing.said.regions[0]
        if isinstance(known, Point) and "point" not in names:
            return None
        region = _pointed(known, names[rng.choice(len(names), p=shares)], _size(example, known), rng)
        limit = _limit(known, region)
        asked = _asked(example, verbs.name(region), GroundedText(thing.said.text))
        return replace(asked, facts={**asked.facts, "inside": [limit and region_to_json(limit)]})

    return task


def locate(verbs: Verbs, *, sources: Sequence[str] = ("object", "expression", "phrase"), several: bool = True) -> Task:
    """Where something is that words name: an expression, or all things of a name (with `several`; else only a name that is borne once)."""

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        found: dict[str, list[Region]] = {}
        for thing in _things(example, sources):
            found.setdefault(thing.said.text, []).extend(thing.said.regions)
        known = {words: list(dict.fromkeys(regions)) for words, regions in found.items() if several or len(set(regions)) == 1}
        if not known or verbs.location is None:
            return None
        words = list(known)[rng.integers(len(known))]
        regions = known[words] if verbs.segmentation else [bounding_box(region) for region in known[words]]
        return _asked(example, verbs.location(words), tied(words, *sorted(regions, key=_reading_order)))

    return task


def detect(verbs: Verbs, *, sources: Sequence[str] = ("object",), most: int = 40) -> Task:
    """All things with their boxes, at most `most`, in reading order (arXiv 2404.07973, 3.3); None where the family is not asked so.

    Of PixelLLM these are what its detector is to find; words of each are another question.
    """
    ask = verbs.detection or verbs.dense_captions

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        things = [(thing.said.text, bounding_box(region)) for thing in _things(example, sources) for region in thing.said.regions]
        if not things or ask is None or verbs.say_detection is None:
            return None
        kept = rng.permutation(len(things))[:most]
        return _asked(example, ask, verbs.say_detection([things[place] for place in sorted(kept)]))

    return task


def absent(verbs: Verbs, names: Sequence[str], *, sources: Sequence[str] = ("object",), phrases: Sequence[str] = ("expression", "phrase")) -> Task:
    """Where something is that is not there: one of `names` that no note bears, or one that the data set says is "absent" (LVIS); half of the time,
    where there are some, words of a note that mean nothing in the picture (gRefCOCO)."""

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        hidden = example.facts.get(_CUT_OFF)
        there = {name.lower() for name in (*(thing.said.text for thing in _things(example, sources)), *(hidden if isinstance(hidden, list) else ()))}
        told = example.facts.get("absent")
        choices = list(told) if isinstance(told, list) else [name for name in names if name.lower() not in there]
        if gone := [note.said.text for note in example.notes if note.source in phrases and note.said.spans and not note.said.regions]:
            choices = gone if not choices or rng.random() < 0.5 else choices
        if not choices or verbs.location is None or verbs.say_absent is None:
            return None
        name = choices[rng.integers(len(choices))]
        return _asked(example, verbs.location(name), verbs.say_absent(name))

    return task


def caption(verbs: Verbs, *, source: str = "caption", detailed: bool = False) -> Task:
    """What the image shows: one of its captions."""

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        told = [note.said for note in example.notes if note.source == source]
        return _asked(example, verbs.captioned(detailed=detailed), told[rng.integers(len(told))]) if told else None

    return task


def converse(tasks: Mapping[Task, float], count: int) -> Task:
    """Up to `count` different questions about an image as one conversation: the image is looked at once for all of them."""
    kinds, shares = list(tasks), np.array(list(tasks.values())) / sum(tasks.values())

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        turns, inside, asked = list[Turn](), list[object](), Counter[object]()
        for kind in rng.choice(len(kinds), 2 * count, p=shares):
            made = kinds[kind](example, rng)
            if made is None or len(turns) >= 2 * count or asked[made.turns[0].said]:
                continue
            asked[made.turns[0].said] += 1
            turns += made.turns
            limits = made.facts.get("inside", [None] * len(made.turns[0].said.regions))
            inside += limits if isinstance(limits, list) else []
        if not turns:
            return None
        kept = {name: value for name, value in example.facts.items() if name != "inside"}
        return replace(example, turns=tuple(turns), facts=kept | ({"inside": inside} if any(inside) else {}))

    return task


def name_all(*, forms: Mapping[str, float] = _FORMS, sources: Sequence[str] = ("object",), most: int = 40) -> Task:
    """What all things are that are pointed at one by one (Ferret-v2's dense referring, arXiv 2404.07973, 3.3), at most `most`, in reading order.

    Each is pointed at and cut as in `refer`; all of one question in the same form.
    """
    names, shares = list(forms), np.array(list(forms.values())) / sum(forms.values())

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        things = _things(example, sources)
        if not things:
            return None
        form = names[rng.choice(len(names), p=shares)]
        kept = sorted((things[place] for place in rng.permutation(len(things))[:most]), key=lambda thing: _reading_order(thing.said.regions[0]))
        known = [thing.said.regions[0] for thing in kept]
        regions = [_pointed(one, form, _size(example, one), rng) for one in known]
        limits = [_limit(one, region) for one, region in zip(known, regions, strict=True)]
        asked = _asked(example, ask_names(regions), say_names([thing.said.text for thing in kept]))
        return replace(asked, facts={**asked.facts, "inside": [limit and region_to_json(limit) for limit in limits]})

    return task


def relate(ask: Callable[[Region, Region], GroundedText], *, sources: Sequence[str] = ("relation",)) -> Task:
    """How two things that are pointed at by their boxes relate; the answer says the relation in words ("man wearing hat")."""

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        told = [note.said for note in _things(example, sources) if len(note.said.regions) == 2]
        if not told:
            return None
        said = told[rng.integers(len(told))]
        first, second = (bounding_box(region) for region in said.regions)
        return _asked(example, ask(first, second), GroundedText(said.text))

    return task


def spoken(example: Example, rng: np.random.Generator) -> Example | None:
    """The conversation as the data set has it; None where nothing is asked and answered."""
    return example if any(turn.role == "assistant" for turn in example.turns) else None


def each(task: Task, *, sources: Sequence[str], most: int) -> Task:
    """What `task` asks about each note by itself, at most `most` of them, as one conversation: the image is looked at once for all."""

    def every(example: Example, rng: np.random.Generator) -> Example | None:
        notes = [note for note in example.notes if note.source in sources]
        kept = sorted(rng.permutation(len(notes))[:most])
        return _conversation(example, [one for place in kept if (one := task(replace(example, notes=(notes[place],)), rng)) is not None])

    return every


def joined(*tasks: Task) -> Task:
    """What several tasks ask about an image, one after the other, as one conversation; those that ask nothing of it are left out."""

    def whole(example: Example, rng: np.random.Generator) -> Example | None:
        return _conversation(example, [one for task in tasks if (one := task(example, rng)) is not None])

    return whole


def zoomed(task: Task, *, least: float = 0.5, flips: float = 0.0, visible: float = 0.3) -> Task:
    """`task`, of a part of the picture, at least this share of it and of its shape, cut at random, and mirrored by a chance.

    Notes move with the pixels; a region of which less than `visible` is left is not asked about, nor is it said to be absent.
    """

    def shown(example: Example, rng: np.random.Generator) -> Example | None:
        pixels = np.asarray(load_picture(example.images[0]))
        part = example_on(example, random_part(pixels, rng, least=least, flips=flips), visible=visible)
        left = {note.said.text for note in part.notes if note.said.regions}
        gone = sorted({note.said.text for note in example.notes if note.said.regions} - left)
        made = task(replace(part, facts={**part.facts, _CUT_OFF: gone}), rng)
        return made and replace(made, facts={name: fact for name, fact in made.facts.items() if name != _CUT_OFF})

    return shown


def grounded(task: Task) -> Task:
    """The questions of `task` with Ferret-v2's request for coordinates; its answers have some."""
    return _reworded(task, lambda said, rng: with_coordinates(said))


def followed_by(task: Task, words: str) -> Task:
    """The questions of `task` with `words` behind them: how the answer is to be given."""
    return _reworded(task, lambda said, rng: GroundedText.join(said, words))


def requested(task: Task, requests: Sequence[str]) -> Task:
    """What `task` asks, by one of several requests that mean the same; regions in its questions are not kept."""
    return _reworded(task, lambda said, rng: GroundedText(requests[int(rng.integers(len(requests)))]))


def of_some(task: Task, *, sources: Sequence[str], most: int) -> Task:
    """`task`, of at most `most` of an example's notes of these sources, drawn anew each time."""

    def chosen(example: Example, rng: np.random.Generator) -> Example | None:
        those = [place for place, note in enumerate(example.notes) if note.source in sources]
        left = set(those) - {those[place] for place in rng.permutation(len(those))[:most]}
        return task(replace(example, notes=tuple(note for place, note in enumerate(example.notes) if place not in left)), rng)

    return chosen


def of_split(task: Task, split: str = "train") -> Task:
    """`task`, of examples whose fact "split" is this one or which have none: some files hold all splits of their data set."""

    def chosen(example: Example, rng: np.random.Generator) -> Example | None:
        return task(example, rng) if example.facts.get("split") in (None, split) else None

    return chosen


def _conversation(example: Example, made: Sequence[Example]) -> Example | None:
    facts = {name: value for name, value in example.facts.items() if name != "inside"}
    limits = [region_to_json(limit) if limit else None for one in made for limit in region_limits(one)]
    turns = tuple(turn for one in made for turn in one.turns)
    return replace(example, turns=turns, facts=facts | ({"inside": limits} if any(limits) else {})) if turns else None


def _reworded(task: Task, change: Callable[[GroundedText, np.random.Generator], GroundedText]) -> Task:
    def reworded(example: Example, rng: np.random.Generator) -> Example | None:
        if (made := task(example, rng)) is None:
            return None
        return replace(made, turns=tuple(replace(turn, said=change(turn.said, rng)) if turn.role == "user" else turn for turn in made.turns))

    return reworded


def _things(example: Example, sources: Sequence[str]) -> list[Note]:
    return [note for note in example.notes if note.source in sources and note.said.text and note.said.regions]


def _asked(example: Example, ask: GroundedText, answer: GroundedText) -> Example:
    return replace(example, turns=(Turn("user", ask), Turn("assistant", answer)))


def _size(example: Example, region: Region) -> tuple[int, int]:
    if isinstance(region, Mask):
        return region.width, region.height
    return (example.images[0].width, example.images[0].height) if example.images else (1000, 1000)


def _pointed(known: Region, form: str, size: tuple[int, int], rng: np.random.Generator) -> Region:
    """The thing as a person would point at it."""
    if isinstance(known, Point) or (form == "mask" and isinstance(known, Mask)):
        return known
    box = bounding_box(known)
    if form != "point":
        return box
    width, height = size
    mask = known if isinstance(known, Mask) else None
    x, y = point_in((box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height), mask, rng)
    middle = 0.5 if mask else 0.0  # of the pixel that a mask names
    return Point((x + middle) / width, (y + middle) / height)


def _limit(known: Region, region: Region) -> Region | None:
    """What the features of a region that points at a known thing are cut to: its mask, or its box where it is pointed at by a point."""
    return known if isinstance(known, Mask) else bounding_box(known) if isinstance(region, Point) and not isinstance(known, Point) else None


def _reading_order(region: Region) -> tuple[int, int]:
    return reading_order(bounding_box(region))

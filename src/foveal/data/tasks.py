"""What is known of an image, put into questions and answers: each task takes an example with notes and gives one with turns, or None."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from foveal.data.mixture import Task
from foveal.data.sources.ferret import point_in
from foveal.geometry import Box, Mask, Point, Region, bounding_box
from foveal.grounding import Example, GroundedText, Note, Turn, region_to_json, tied
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["absent", "caption", "converse", "detect", "locate", "refer"]

_FORMS = {"box": 0.5, "point": 0.5}


def refer(verbs: Verbs, *, forms: Mapping[str, float] = _FORMS, sources: Sequence[str] = ("object", "region")) -> Task:
    """What one thing is, pointed at: by its "box", by a "point" in it or by its "mask", with these shares.

    A point is Ferret's `segment_mask|center` where the mask is known, a normal draw around the box's middle where it is not. What the
    region's features are cut to in training, the mask or for a point the box, is kept as the fact "inside" (`region_limits`).
    """
    names, shares = list(forms), np.array(list(forms.values())) / sum(forms.values())

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        things = _things(example, sources)
        if not things:
            return None
        thing = things[rng.integers(len(things))]
        known = thing.said.regions[0]
        region = _pointed(known, names[rng.choice(len(names), p=shares)], _size(example, known), rng)
        limit = known if isinstance(known, Mask) else bounding_box(known) if isinstance(region, Point) else None
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
    """All things with their boxes, at most `most`, in reading order (arXiv 2404.07973, 3.3); None where the family is not asked so."""

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        things = [(thing.said.text, bounding_box(region)) for thing in _things(example, sources) for region in thing.said.regions]
        if not things or verbs.detection is None or verbs.say_detection is None:
            return None
        kept = rng.permutation(len(things))[:most]
        return _asked(example, verbs.detection, verbs.say_detection([things[place] for place in sorted(kept)]))

    return task


def absent(verbs: Verbs, names: Sequence[str], *, sources: Sequence[str] = ("object",)) -> Task:
    """Where something is that is not there: one of `names` that no note bears, or one that the data set says is "absent" (LVIS)."""

    def task(example: Example, rng: np.random.Generator) -> Example | None:
        there = {thing.said.text.lower() for thing in _things(example, sources)}
        told = example.facts.get("absent")
        choices = list(told) if isinstance(told, list) else [name for name in names if name.lower() not in there]
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


def _reading_order(region: Region) -> tuple[float, float]:
    box: Box = bounding_box(region)
    return box.y0, box.x0

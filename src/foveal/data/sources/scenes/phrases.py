"""Words that mean one thing of a drawing and no other: its name, its colour, its size or place among its like, its place beside another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.data.sources.scenes.drawing import Drawing
from foveal.geometry import Box

__all__ = ["RELATIONS", "SUPERLATIVES", "View", "label_of", "phrase_for", "stands", "view_of"]

SUPERLATIVES = ("largest", "smallest", "leftmost", "rightmost", "topmost", "bottommost")
RELATIONS = ("left of", "right of", "above", "below")

_LARGER = 1.3  # the largest must beat the runner-up by this ratio of areas, or nobody could tell
_FURTHER = 0.04  # the leftmost must lead by this fraction of the picture


@dataclass(frozen=True, slots=True)
class View:
    """A drawing as its questions need it: for each thing its place, its name ("circle") and its label ("red circle").

    `said` is what a text says, in capitals. `areas` are those of the boxes in pixels, `alike` the things that share a word, by word
    (names and labels both).
    """

    drawing: Drawing
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    said: tuple[str | None, ...]
    areas: tuple[float, ...]
    alike: dict[str, tuple[int, ...]]


def label_of(name: str, colour: str | None) -> str:
    """The name with its colour before it, where it has one.

    >>> label_of("circle", "red"), label_of("cat", None)
    ('red circle', 'cat')
    """
    return f"{colour} {name}" if colour else name


def view_of(drawing: Drawing) -> View:
    """What the questions need of `drawing`, gathered once."""
    height, width = drawing.labels.shape
    edges = [thing.box_px for thing in drawing.things]
    names = tuple("text" if thing.kind == "text" else thing.name for thing in drawing.things)
    coloured = [thing.colour if thing.kind == "shape" else None for thing in drawing.things]
    labels = tuple(map(label_of, names, coloured))
    alike: dict[str, list[int]] = {}
    for index, (name, label) in enumerate(zip(names, labels, strict=True)):
        for word in {name, label}:
            alike.setdefault(word, []).append(index)
    return View(
        drawing,
        boxes=tuple(Box(float(x0) / width, float(y0) / height, float(x1) / width, float(y1) / height) for x0, y0, x1, y1 in edges),
        names=names,
        labels=labels,
        said=tuple(thing.said.upper() if thing.said else None for thing in drawing.things),
        areas=tuple(float((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in edges),
        alike={word: tuple(things) for word, things in alike.items()},
    )


def stands(relation: str, box: Box, other: Box) -> bool:
    """Whether `box` lies wholly on that side of `other`: no column (or no row) of the picture holds both.

    >>> stands("left of", Box(0.1, 0.1, 0.2, 0.2), Box(0.5, 0.5, 0.6, 0.6)), stands("above", Box(0, 0.4, 1, 0.6), Box(0, 0.5, 1, 1))
    (True, False)
    """
    match relation:
        case "left of":
            return box.x1 <= other.x0
        case "right of":
            return box.x0 >= other.x1
        case "above":
            return box.y1 <= other.y0
        case _:
            return box.y0 >= other.y1


def phrase_for(view: View, thing: int, rng: np.random.Generator, *, related: float = 0.12) -> str | None:
    """A phrase that means this thing alone, as `the red circle` or `the cat left of the dog`; None when there is no clear one.

    A thing whose name or label is its own is called by it, but for a share of `related`, which is told by what it stands beside.
    """
    own = list(_plain(view, thing))
    if own and rng.random() >= related:
        return own[rng.integers(len(own))]
    words = [view.labels[thing]] if own else sorted({view.names[thing], view.labels[thing]})
    kinds: list[Callable[[View, int, str], list[str]]] = [_beside] if own else [_foremost, _beside]
    for kind in rng.permutation(len(kinds)):
        found = [phrase for word in words for phrase in kinds[kind](view, thing, word)]
        if found:
            return found[rng.integers(len(found))]
    return own[0] if own else None


def _plain(view: View, thing: int) -> list[str]:
    if view.names[thing] == "text":
        return _spelled(view, thing)
    words = dict.fromkeys((view.labels[thing], view.names[thing]))
    return [f"the {word}" for word in words if len(view.alike[word]) == 1]


def _spelled(view: View, thing: int) -> list[str]:
    said = view.said[thing]
    return [f"the text {said}"] if said and view.said.count(said) == 1 else []


def _foremost(view: View, thing: int, word: str) -> list[str]:
    others = [index for index in view.alike[word] if index != thing]
    if not others or word == "text":
        return []
    found = []
    if view.areas[thing] >= _LARGER * max(view.areas[other] for other in others):
        found.append("largest")
    if view.areas[thing] * _LARGER <= min(view.areas[other] for other in others):
        found.append("smallest")
    x, y = _centre(view.boxes[thing])
    places = [_centre(view.boxes[other]) for other in others]
    leads = (min(px for px, _ in places) - x, x - max(px for px, _ in places), min(py for _, py in places) - y, y - max(py for _, py in places))
    found += [word for word, lead in zip(SUPERLATIVES[2:], leads, strict=True) if lead >= _FURTHER]
    return [f"the {superlative} {word}" for superlative in found]


def _beside(view: View, thing: int, word: str) -> list[str]:
    """`word` beside each thing of another name that is known by its word alone: true of this one, and clearly not of its like."""
    if word == "text":
        return []
    rivals = [index for index in view.alike[word] if index != thing]
    found = []
    for anchor, name in enumerate(view.names):
        plain = _plain(view, anchor)
        if name in ("text", view.names[thing]) or not plain:
            continue
        for relation in RELATIONS:
            if _only(view.boxes, thing, rivals, relation, view.boxes[anchor]):
                found.append(f"the {word} {relation} {plain[0]}")
    return found


def _only(boxes: Sequence[Box], thing: int, rivals: Sequence[int], relation: str, anchor: Box) -> bool:
    if not stands(relation, boxes[thing], anchor):
        return False
    x, y = _centre(anchor)
    middle = Box(x, y, x, y)
    return not any(stands(relation, _point(boxes[rival]), middle) for rival in rivals)


def _point(box: Box) -> Box:
    x, y = _centre(box)
    return Box(x, y, x, y)


def _centre(box: Box) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2

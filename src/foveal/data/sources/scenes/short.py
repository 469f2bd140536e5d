"""Questions about a whole drawing with short answers, and captions of two lengths: what a model learns from that names no coordinates (Monkey)."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from foveal.data.sources.scenes.atlas import vocabulary
from foveal.data.sources.scenes.drawing import Drawing, SceneStyle
from foveal.data.sources.scenes.phrases import View, view_of
from foveal.data.sources.scenes.questions import Question, ask_about, raster_order
from foveal.data.sources.scenes.stamps import COMMON_WORDS
from foveal.data.sources.scenes.words import NUMBERS, listed, plural, with_article
from foveal.geometry import Box
from foveal.grounding import GroundedText
from foveal.grounding.wordings.monkey import CAPTION, DETAILED_CAPTION

__all__ = ["SHORT_STYLE", "SHORT_TASKS", "ask_shortly", "place_of", "short_questions"]

SHORT_TASKS: Mapping[str, float] = MappingProxyType(
    {"count": 0.25, "present": 0.25, "read": 0.25, "side": 0.1, "colour": 0.05, "caption": 0.05, "detailed": 0.05}
)
"""Share of each task; its names are those `ask_shortly` knows."""
SHORT_STYLE = SceneStyle(
    sides=((448, 448, 1.0),),
    things=(4, 9),
    repeat_share=0.6,
    repeats=(2, 5),
    text_share=1.0,
    text_px=(10, 16),
    words=COMMON_WORDS,
    number_share=0.1,
)
"""Pictures of two windows of 224 px by two, each with a word or two too low to be read in the shrunk whole."""
_ASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "read": ("What does the text say?", "What is written in the image?", "Read the text."),
        "side": ("Where in the image is the {name}?", "In which part of the image is the {name}?"),
        "colour": ("What colour is the {name}?",),
    }
)
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
_MOST_TOLD = 8


def place_of(box: Box) -> str:
    """The ninth of the picture that holds the middle of a box.

    >>> place_of(Box(0, 0, 0.2, 0.2)), place_of(Box(0.4, 0.4, 0.6, 0.6)), place_of(Box(0.8, 0.4, 1, 0.6))
    ('top left', 'middle', 'middle right')
    """
    row, column = _ROWS[min(2, int((box.y0 + box.y1) * 1.5))], _COLUMNS[min(2, int((box.x0 + box.x1) * 1.5))]
    return row if column == "centre" else f"{row} {column}"


def ask_shortly(drawing: Drawing, rng: np.random.Generator, task: str, *, names: Sequence[str] | None = None) -> Question | None:
    """One question of `task` (a key of `SHORT_TASKS`) about `drawing`, or None where it has nothing to ask that about.

    ValueError for an unknown task. `names` are what absent things are named from (the whole vocabulary).

    >>> from foveal.data.sources.scenes import SceneStyle, draw_scene
    >>> drawing = draw_scene(3, style=SceneStyle(names=("cat",), things=(2, 2), repeat_share=1, repeats=(2, 2), text_share=0))
    >>> ask_shortly(drawing, np.random.default_rng(0), "caption").answer.text
    'two cats on a ... ground.'
    """
    if task in _ASKED:
        return _ASKED[task](view_of(drawing), rng)
    if task not in ("count", "present"):
        raise ValueError(f"no task {task!r} with a short answer; the tasks are {', '.join(SHORT_TASKS)}")
    question = ask_about(drawing, rng, task, names=names or vocabulary())
    if question is None:
        return None
    answer = question.answer.text.rstrip(".") if task == "count" else "Yes" if question.things else "No"
    return Question(task, GroundedText(question.ask.text), GroundedText(answer), question.things)


def short_questions(drawing: Drawing, rng: np.random.Generator, count: int, tasks: Mapping[str, float] = SHORT_TASKS) -> list[Question]:
    """At most `count` different questions about `drawing`, tasks drawn by their weights."""
    kinds, shares = list(tasks), np.array(list(tasks.values())) / sum(tasks.values())
    found: dict[str, Question] = {}
    for kind in rng.choice(len(kinds), 3 * count, p=shares):
        if len(found) < count and (question := ask_shortly(drawing, rng, kinds[kind])):
            found.setdefault(question.ask.text, question)
    return list(found.values())


def _picked(task: str, rng: np.random.Generator, **words: str) -> GroundedText:
    return GroundedText(_ASKS[task][int(rng.integers(len(_ASKS[task])))].format(**words))


def _read(view: View, rng: np.random.Generator) -> Question | None:
    """All texts of the picture in raster order, in lower case."""
    texts = [thing for thing, said in enumerate(view.said) if said]
    texts = raster_order([view.boxes[thing] for thing in texts], texts)
    if not texts:
        return None
    return Question("read", _picked("read", rng), GroundedText(", ".join((view.said[thing] or "").lower() for thing in texts)), tuple(texts))


def _side(view: View, rng: np.random.Generator) -> Question | None:
    thing = _alone(view, rng, view.labels)
    if thing is None:
        return None
    return Question("side", _picked("side", rng, name=view.labels[thing]), GroundedText(place_of(view.boxes[thing])), (thing,))


def _colour(view: View, rng: np.random.Generator) -> Question | None:
    thing = _alone(view, rng, view.names, "shape")
    colour = None if thing is None else view.drawing.things[thing].colour
    if thing is None or colour is None:
        return None
    return Question("colour", _picked("colour", rng, name=view.names[thing]), GroundedText(colour), (thing,))


def _alone(view: View, rng: np.random.Generator, words: Sequence[str], kind: str | None = None) -> int | None:
    """A thing that shares its word with no other, and is of `kind` where one is wanted."""
    alone = [thing for thing, word in enumerate(words) if len(view.alike[word]) == 1 and kind in (None, view.drawing.things[thing].kind)]
    return alone[int(rng.integers(len(alone)))] if alone else None


def _caption(view: View, rng: np.random.Generator) -> Question | None:
    del rng
    counts = _counts(view)
    if not counts:
        return None
    told = [_counted(label, len(things)) for label, things in list(counts.items())[:_MOST_TOLD]]
    return Question("caption", GroundedText(CAPTION), GroundedText(f"{listed(told, ' and ').text} on {_ground(view)}."))


def _detailed(view: View, rng: np.random.Generator) -> Question | None:
    """What stands where, label by label, what is written, and the ground."""
    del rng
    counts = _counts(view)
    if not counts:
        return None
    told = [
        f"{_counted(label, len(things))} at the {listed([place_of(view.boxes[thing]) for thing in things], ' and ').text}"
        for label, things in list(counts.items())[:_MOST_TOLD]
    ]
    written = [f"The text at the {place_of(box)} says {said.lower()}." for said, box in zip(view.said, view.boxes, strict=True) if said]
    verb = "is" if len(next(iter(counts.values()))) == 1 else "are"
    sentences = [f"There {verb} {listed(told, ' and ').text}.", *written, f"The ground is {_ground(view).split(' ')[1]}."]
    return Question("detailed", GroundedText(DETAILED_CAPTION), GroundedText(" ".join(sentences)))


def _counts(view: View) -> dict[str, list[int]]:
    """The things of each label, texts left out, the largest first."""
    order = sorted(range(len(view.labels)), key=lambda thing: -view.areas[thing])
    counts: dict[str, list[int]] = {}
    for thing in order:
        if not view.said[thing]:
            counts.setdefault(view.labels[thing], []).append(thing)
    return {label: raster_order([view.boxes[thing] for thing in things], things) for label, things in counts.items()}


def _counted(label: str, count: int) -> str:
    return with_article(label) if count == 1 else f"{NUMBERS[min(count, len(NUMBERS) - 1)]} {plural(label)}"


def _ground(view: View) -> str:
    return f"{with_article(view.drawing.ground.split(' ')[-1])} ground"


_ASKED: Mapping[str, Callable[[View, np.random.Generator], Question | None]] = MappingProxyType(
    {"read": _read, "side": _side, "colour": _colour, "caption": _caption, "detailed": _detailed}
)

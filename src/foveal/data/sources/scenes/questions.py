"""Single questions about a drawing with their exact answers, for every task of Ferret: pointing, grounding, detecting, reading, counting."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from foveal.data.sources.scenes.atlas import COLOURS, vocabulary
from foveal.data.sources.scenes.drawing import HELD_OUT, Drawing
from foveal.data.sources.scenes.phrases import View, label_of, phrase_for, stands, view_of
from foveal.data.sources.scenes.pointing import region_of
from foveal.data.sources.scenes.words import ANSWERS, NUMBERS, fill, listed, plural, with_article, wording
from foveal.geometry import Box, Region
from foveal.grounding import GroundedText, tied

__all__ = ["DEFAULT_TASKS", "Question", "ask_about", "expression", "questions", "raster_order"]

DEFAULT_TASKS: Mapping[str, float] = MappingProxyType(
    {
        "locate": 0.25,
        "detect": 0.15,
        "name_box": 0.08,
        "name_point": 0.05,
        "name_mask": 0.03,
        "choice_box": 0.06,
        "choice_point": 0.04,
        "choice_mask": 0.04,
        "absent": 0.08,
        "ground": 0.08,
        "locate_all": 0.02,
        "refer": 0.02,
        "read": 0.02,
        "count": 0.02,
        "present": 0.02,
        "caption": 0.01,
        "caption_grounded": 0.01,
        "colour": 0.01,
        "where": 0.01,
    }
)
"""Share of each task; its names are those `ask_about` knows."""

_BINS = 1000
_MOST_DETECTED = 20
_MOST_OF_ONE_NAME = 10
_MOST_IN_CAPTION = 8
_FORMS = ("box", "point", "mask")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked and its true answer; `things` are the indices of the things it is about: none for the whole picture, or for what is not there."""

    task: str
    ask: GroundedText
    answer: GroundedText
    things: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asking:
    """A drawing, the things to ask about (the first that fits is taken), and the names that absent things are drawn from."""

    view: View
    order: tuple[int, ...]
    names: tuple[str, ...]
    rng: np.random.Generator

    def pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def named(self) -> list[int]:
        return [thing for thing in self.order if self.view.drawing.things[thing].kind != "text"]

    def region(self, thing: int, form: str) -> Region | None:
        return region_of(self.view.drawing, thing, form, self.rng)

    def boxes(self, word: str) -> list[Region]:
        alike = self.view.alike.get(word, ())
        return [self.view.boxes[thing] for thing in raster_order([self.view.boxes[thing] for thing in alike], alike)]


def ask_about(
    drawing: Drawing, rng: np.random.Generator, task: str, *, things: Sequence[int] | None = None, names: Sequence[str] | None = None
) -> Question | None:
    """One question of `task` (a key of `DEFAULT_TASKS`) about `drawing`, or None where it has nothing to ask that about.

    `things` are the indices asked about, the earlier the rather (all, in random order); `names` are what absent things are named
    from (the whole vocabulary). ValueError for an unknown task.
    """
    order = rng.permutation(len(drawing.things)).tolist() if things is None else things
    return _ask(_Asking(view_of(drawing), tuple(order), tuple(names or vocabulary()), rng), task)


def expression(drawing: Drawing, rng: np.random.Generator, thing: int | None = None) -> tuple[str, int] | None:
    """A phrase that one thing of `drawing` alone answers to, and which thing that is: `thing`, or any; None where there is none.

    >>> from foveal.data.sources.scenes import SceneStyle, draw_scene
    >>> expression(draw_scene(3, style=SceneStyle(names=("dog",), things=(1, 1), text_share=0)), np.random.default_rng(0))
    ('the dog', 0)
    """
    question = ask_about(drawing, rng, "locate", things=None if thing is None else [thing])
    if question is None or not question.answer.spans or thing not in (None, *question.things[:1]):
        return None
    span = question.answer.spans[0]
    return question.answer.text[span.start : span.end], question.things[0]


def questions(
    drawing: Drawing, rng: np.random.Generator, count: int, tasks: Mapping[str, float] = DEFAULT_TASKS, *, names: Sequence[str] | None = None
) -> list[Question]:
    """At most `count` different questions about `drawing`, tasks drawn by their weights, each about things asked about least so far."""
    asking = _Asking(view_of(drawing), (), tuple(names or vocabulary()), rng)
    shares = {task: share for task, share in tasks.items() if share > 0}
    asked: Counter[int] = Counter()
    found: dict[GroundedText, Question] = {}
    for _ in range(4 * count):
        if len(found) == count or not shares:
            break
        task = _drawn(shares, rng)
        order = sorted(rng.permutation(len(drawing.things)).tolist(), key=asked.__getitem__)
        question = _ask(replace(asking, order=tuple(order)), task)
        if question is None:
            del shares[task]
        elif question.ask not in found:
            found[question.ask] = question
            asked.update(question.things)
    return list(found.values())


def raster_order(boxes: Sequence[Box], things: Sequence[int]) -> list[int]:
    """`things` from top to bottom, then left to right, by the top left corner of their boxes in 1000 bins."""
    corners = {thing: (int(box.y0 * _BINS), int(box.x0 * _BINS)) for thing, box in zip(things, boxes, strict=True)}
    return sorted(things, key=corners.__getitem__)


def _drawn(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    left = rng.random() * sum(shares.values())
    for task, share in shares.items():
        left -= share
        if left < 0:
            return task
    return task


def _ask(asking: _Asking, task: str) -> Question | None:
    kind, _, form = task.partition("_")
    if form in _FORMS and kind in _BY_FORM:
        return _BY_FORM[kind](asking, form)
    if task not in _WHOLE:
        raise ValueError(f"no task {task!r} of scenes; the tasks are {', '.join(DEFAULT_TASKS)}")
    return _WHOLE[task](asking)


def _name(asking: _Asking, form: str) -> Question | None:
    for thing in asking.named():
        if region := asking.region(thing, form):
            ask = fill(wording("name", asking.rng), region=region)
            return Question(f"name_{form}", ask, fill(ANSWERS["name"], a_name=with_article(asking.view.labels[thing])), (thing,))
    return None


def _choice(asking: _Asking, form: str) -> Question | None:
    absent = _absent_names(asking)
    for thing in asking.named() if absent else ():
        if region := asking.region(thing, form):
            name = asking.view.names[thing]
            pair = [name, asking.pick(absent)]
            first, second = pair if asking.rng.random() < 0.5 else reversed(pair)
            ask = fill(wording("choice", asking.rng), region=region, first=first, second=second)
            return Question(f"choice_{form}", ask, fill(ANSWERS["choice"], name=name), (thing,))
    return None


def _locate(asking: _Asking) -> Question | None:
    texts_too = asking.rng.random() < 0.05 or not asking.named()
    for thing in asking.order if texts_too else asking.named():
        if phrase := phrase_for(asking.view, thing, asking.rng):
            ask = fill(wording("locate", asking.rng), phrase=phrase)
            return Question("locate", ask, fill(ANSWERS["locate"], phrase=tied(phrase, asking.view.boxes[thing])), (thing,))
    return None


def _locate_all(asking: _Asking) -> Question | None:
    words = [word for word in _words_of(asking) if 2 <= len(asking.view.alike[word]) <= _MOST_OF_ONE_NAME]
    if not words:
        return None
    word = asking.pick(words)
    names = plural(word)
    answer = fill(ANSWERS["locate"], phrase=tied(names, *asking.boxes(word)))
    return Question("locate_all", fill(wording("locate_all", asking.rng), names=names), answer, asking.view.alike[word])


def _absent(asking: _Asking) -> Question | None:
    label = _absent_label(asking)
    if label is None:
        return None
    return Question("absent", fill(wording("locate", asking.rng), phrase=f"the {label}"), fill(ANSWERS["absent"], name=tied(label)))


def _ground(asking: _Asking) -> Question | None:
    labels = list(dict.fromkeys(asking.view.labels[thing] for thing in asking.named()))
    labels = [label for label in labels if len(asking.view.alike[label]) <= 4][: int(asking.rng.integers(2, 5))]
    absent = _absent_label(asking)
    if absent is not None and asking.rng.random() < 0.2:
        labels = [*labels[:3], absent]
    if len(labels) < 2:
        return None
    labels = [labels[index] for index in asking.rng.permutation(len(labels))]
    things = tuple(thing for label in labels for thing in asking.view.alike.get(label, ()))
    found = [tied(label, *asking.boxes(label)) if label in asking.view.alike else fill(ANSWERS["missing"], name=tied(label)) for label in labels]
    ask = fill(wording("ground", asking.rng), names=", ".join(labels))
    return Question("ground", ask, fill(ANSWERS["ground"], names=listed(found)), things)


def _detect(asking: _Asking) -> Question | None:
    view = asking.view
    things = raster_order(view.boxes, range(len(view.boxes)))[:_MOST_DETECTED]
    if not things:
        return None
    found = [GroundedText.join(f"{number}: ", tied(view.labels[thing], view.boxes[thing])) for number, thing in enumerate(things, 1)]
    return Question("detect", fill(wording("detect", asking.rng)), fill(ANSWERS["detect"], things=listed(found)))


def _refer(asking: _Asking) -> Question | None:
    form = _FORMS[int(asking.rng.choice(3, p=(0.5, 0.3, 0.2)))]
    wanted = int(asking.rng.integers(2, 9))
    regions = {thing: region for thing in asking.order[:wanted] if (region := asking.region(thing, form))}
    if len(regions) < 2:
        return None
    places = listed([GroundedText.join(f"{number}: ", region) for number, region in enumerate(regions.values(), 1)])
    named = listed([f"{number}: {asking.view.labels[thing]}" for number, thing in enumerate(regions, 1)])
    return Question("refer", fill(wording("refer", asking.rng), places=places), fill(ANSWERS["refer"], things=named), tuple(regions))


def _read(asking: _Asking) -> Question | None:
    form = _FORMS[int(asking.rng.choice(3, p=(0.6, 0.3, 0.1)))]
    for thing in asking.order:
        said = asking.view.said[thing]
        if said and (region := asking.region(thing, form)):
            return Question("read", fill(wording("read", asking.rng), region=region), fill(ANSWERS["read"], said=said), (thing,))
    return None


def _count(asking: _Asking) -> Question | None:
    words = _words_of(asking)
    several = [word for word in words if len(asking.view.alike[word]) > 1]
    if several and asking.rng.random() < 0.75:
        words = several  # most names stand once in a picture: one would be the answer to nearly all
    word = _absent_label(asking) if asking.rng.random() < 0.15 or not words else asking.pick(words)
    if word is None:
        return None
    things = asking.view.alike.get(word, ())
    return Question("count", fill(wording("count", asking.rng), names=plural(word)), fill(ANSWERS["count"], number=str(len(things))), things)


def _present(asking: _Asking) -> Question | None:
    words = [word for word in _words_of(asking) if len(asking.view.alike[word]) <= _MOST_OF_ONE_NAME]
    word = _absent_label(asking) if asking.rng.random() < 0.5 or not words else asking.pick(words)
    if word is None:
        return None
    ask = fill(wording("present", asking.rng), a_name=with_article(word))
    things = asking.view.alike.get(word, ())
    if not things:
        return Question("present", ask, fill(ANSWERS["not present"]))
    return Question("present", ask, fill(ANSWERS["present"], things=tied(_counted(word, len(things)), *asking.boxes(word))), things)


def _caption(asking: _Asking) -> Question:
    return Question("caption", fill(wording("caption", asking.rng)), GroundedText(_described(asking).text))


def _caption_grounded(asking: _Asking) -> Question:
    return Question("caption_grounded", fill(wording("caption_grounded", asking.rng)), _described(asking))


def _colour(asking: _Asking) -> Question | None:
    form = _FORMS[int(asking.rng.choice(3, p=(0.5, 0.3, 0.2)))]
    for thing in asking.order:
        drawn = asking.view.drawing.things[thing]
        if drawn.kind == "shape" and drawn.colour and (region := asking.region(thing, form)):
            return Question("colour", fill(wording("colour", asking.rng), region=region), fill(ANSWERS["colour"], colour=drawn.colour), (thing,))
    return None


def _where(asking: _Asking) -> Question | None:
    boxes = asking.view.boxes
    for thing, other in zip(asking.order, asking.order[1:], strict=False):
        sides = [side for side in ("left of", "right of", "above", "below") if stands(side, boxes[thing], boxes[other])]
        if sides:
            side = asking.pick(sides)
            ask = fill(wording("left of" if side.endswith("of") else "above", asking.rng), first=boxes[thing], second=boxes[other])
            return Question("where", ask, fill(ANSWERS["where"], side=side.removesuffix(" of")), (thing, other))
    return None


def _words_of(asking: _Asking) -> list[str]:
    """The names and labels of the things to ask about."""
    return list(dict.fromkeys(word for thing in asking.named() for word in (asking.view.names[thing], asking.view.labels[thing])))


def _absent_names(asking: _Asking) -> list[str]:
    return [name for name in asking.names if name not in asking.view.alike]


def _absent_label(asking: _Asking) -> str | None:
    """A name no thing has; or, nearly half the time there are shapes, one of their names in a colour it does not have here."""
    shapes = sorted({thing.name for thing in asking.view.drawing.things if thing.kind == "shape"})
    if shapes and asking.rng.random() < 0.4:
        name = asking.pick(shapes)
        # A pair held out for the test must not be learned as one that is never there.
        colours = [colour for colour in COLOURS if (colour, name) not in HELD_OUT]
        wrong = [label for colour in colours if (label := label_of(name, colour)) not in asking.view.alike]
        if wrong:
            return asking.pick(wrong)
    absent = _absent_names(asking)
    return asking.pick(absent) if absent else None


def _counted(word: str, count: int) -> str:
    if count == 1:
        return with_article(word)
    return f"{NUMBERS[count] if count < len(NUMBERS) else 'many'} {plural(word)}"


def _described(asking: _Asking) -> GroundedText:
    """The picture in one line, the largest things first, things of one label together."""
    view = asking.view
    labels = dict.fromkeys(view.labels[thing] for thing in sorted(range(len(view.labels)), key=lambda thing: -view.areas[thing]))
    told = [tied(_counted(label, len(asking.boxes(label))), *asking.boxes(label)) for label in list(labels)[:_MOST_IN_CAPTION]]
    ground = with_article(view.drawing.ground.split(" ")[-1])  # of "texture blue", the colour
    if not told:
        return fill(ANSWERS["empty caption"], a_ground=ground)
    return fill(ANSWERS["caption"], things=listed(told, " and "), a_ground=ground)


_BY_FORM: Mapping[str, Callable[[_Asking, str], Question | None]] = MappingProxyType({"name": _name, "choice": _choice})
_WHOLE: Mapping[str, Callable[[_Asking], Question | None]] = MappingProxyType(
    {
        "locate": _locate,
        "locate_all": _locate_all,
        "absent": _absent,
        "ground": _ground,
        "detect": _detect,
        "refer": _refer,
        "read": _read,
        "count": _count,
        "present": _present,
        "caption": _caption,
        "caption_grounded": _caption_grounded,
        "colour": _colour,
        "where": _where,
    }
)

"""What the nano benchmark asks of a scene: each form of pointing, locating, absence and detection, of large and of small things."""

from collections.abc import Iterator, Sequence

import numpy as np

from foveal.data.sources.scenes import Drawing, draw_scene, vocabulary
from foveal.data.sources.scenes.questions import ask_about
from foveal.evaluate import words_found
from foveal.grounding import Example, GroundedText, Note, Picture, Turn

__all__ = ["LARGE", "SMALL", "examples_about", "scene", "size_class"]

SMALL, LARGE = 12, 32
"""In pixels, of the shorter side: below `SMALL` a thing is not asked about; from `LARGE` on it counts as large."""

_OF_EACH_SIZE = ("choice_box", "choice_point", "choice_mask", "locate")
_OF_THE_WHOLE = ("absent", "detect")


def scene(seed: int, number: int) -> Drawing:
    """Test scene `number` of the benchmark with this seed; another seed gives other scenes."""
    return draw_scene(seed * 1_000_000 + number, "test")


def size_class(width_px: float, height_px: float) -> str | None:
    """`large` with both sides of 32 px or more, `small` with both of 12 px or more, or nothing.

    >>> size_class(40, 33), size_class(100, 20), size_class(100, 11)
    ('large', 'small', None)
    """
    shorter = round(min(width_px, height_px), 3)
    return "large" if shorter >= LARGE else "small" if shorter >= SMALL else None


def examples_about(drawing: Drawing, *, names: Sequence[str] | None = None, whole: bool = True) -> list[Example]:
    """The scene's questions, each with its true answer as a note: one of each form about a large thing and about a small one.

    Which things are asked about depends on the drawing alone. With `whole`, one absent thing and one detection too.
    """
    rng = np.random.default_rng(list(drawing.id.encode()))
    found = list(_of_each_size(drawing, rng, names))
    for task in _OF_THE_WHOLE if whole else ():
        if question := ask_about(drawing, rng, task, names=names):
            found.append(_example(drawing, task, None, question.ask, question.answer, {}))
    return found


def _of_each_size(drawing: Drawing, rng: np.random.Generator, names: Sequence[str] | None) -> Iterator[Example]:
    by_size: dict[str | None, list[int]] = {}
    for index in rng.permutation(len(drawing.things)).tolist():
        thing = drawing.things[index]
        if thing.kind != "text":
            x0, y0, x1, y1 = thing.box_px
            by_size.setdefault(size_class(x1 - x0, y1 - y0), []).append(index)
    for size in ("large", "small"):
        for task in _OF_EACH_SIZE:
            for index in by_size.get(size, ()):  # the first that can be asked about
                question = ask_about(drawing, rng, task, things=[index], names=names)
                if question and question.things == (index,):
                    facts: dict[str, object] = {"name": drawing.things[index].name}
                    if task.startswith("choice"):
                        pair = words_found(question.ask.text, names or vocabulary())[-2:]
                        facts["others"] = [word for word in pair if word != drawing.things[index].name]
                    yield _example(drawing, task, size, question.ask, question.answer, facts)
                    break


def _example(drawing: Drawing, task: str, size: str | None, ask: GroundedText, answer: GroundedText, facts: dict[str, object]) -> Example:
    height, width = drawing.labels.shape
    return Example(
        id=f"{drawing.id}/{task}" + (f"/{size}" if size else ""),
        images=(Picture(width, height, pixels=drawing.pixels),),
        turns=(Turn("user", ask),),
        notes=(Note(answer, source="truth"),),
        facts={"scene": drawing.id, "task": task, "size": size, "width": width, "height": height, **facts},
    )

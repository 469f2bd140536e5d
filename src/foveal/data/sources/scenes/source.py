"""Drawn scenes as examples without end: a picture, what is asked and answered of it, and the name and box of all that is in it."""

from collections.abc import Iterator, Mapping
from itertools import count as count_from

import numpy as np

from foveal.data.sources.scenes.drawing import Drawing, SceneStyle, Split, draw_scene, split_named
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.sources.scenes.questions import DEFAULT_TASKS, Question, questions
from foveal.grounding import Example, Note, Picture, Turn, tied

__all__ = ["LICENCE", "example_of", "scenes"]

LICENCE = "OFL-1.1"
"""Of the cut-outs (Noto Color Emoji) and of what is drawn with them."""

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def scenes(
    split: Split | str = "train",
    *,
    start: int = 0,
    count: int | None = None,
    style: SceneStyle | None = None,
    tasks: Mapping[str, float] = DEFAULT_TASKS,
    per_scene: int = 8,
) -> Iterator[Example]:
    """The scenes of `split` ("train", "validation", "test") from number `start` on: `count` of them, or without end.

    Each has at most `per_scene` questions and answers in turns; a number always gives the same scene and the same questions.
    ValueError for an unknown split.
    """
    chosen, style = split_named(split), style or SceneStyle()
    for seed in count_from(start) if count is None else range(start, start + count):
        drawing = draw_scene(seed, chosen, style)
        rng = np.random.default_rng([seed, _SPLITS.index(split)])
        yield example_of(drawing, questions(drawing, rng, per_scene, tasks, names=style.names))


def example_of(drawing: Drawing, asked: list[Question]) -> Example:
    """`drawing` with its questions as turns, every thing as a note, and in `facts` each thing's name, label, the turns' tasks and the ground."""
    height, width = drawing.labels.shape
    view = view_of(drawing)
    turns = [turn for question in asked for turn in (Turn("user", question.ask), Turn("assistant", question.answer))]
    return Example(
        id=drawing.id,
        images=(Picture(width, height, pixels=drawing.pixels),),
        turns=tuple(turns),
        notes=tuple(Note(tied(label, box), source="scene") for label, box in zip(view.labels, view.boxes, strict=True)),
        licence=LICENCE,
        facts={"names": list(view.names), "labels": list(view.labels), "tasks": [question.task for question in asked], "ground": drawing.ground},
    )

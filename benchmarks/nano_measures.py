"""From answered questions to figures, each with how many it rests on and its 95 % interval."""

from collections.abc import Callable, Iterable, Sequence

from foveal.evaluate import (
    Figure,
    Tally,
    boxes_agree,
    calibration_error,
    f1_interval,
    first_box,
    is_unparseable,
    names_object,
    says_absent,
    share,
    tally_detections,
)
from foveal.evaluate.regions import named_boxes
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText
from nano_questions import size_class

__all__ = ["figures"]


def figures(answered: Sequence[Example]) -> dict[str, Figure]:
    """All figures of the benchmark; those of things under 32 px end in `_small`. What was not asked is not there.

    Each example is a question, the model's answer as its second turn, and the true answer as its note.
    """
    found: dict[str, Figure] = {}
    for size, ending in (("large", ""), ("small", "_small")):
        for form in ("box", "point", "mask"):
            found[f"roc_{form}{ending}"] = share(map(_names_it, _of(answered, f"choice_{form}", size)))
        located = _of(answered, "locate", size)
        for percent in (50, 75):
            found[f"rec_p{percent}{ending}"] = share(_located(located, percent / 100))
        found[f"detect_f1_50{ending}"] = _detected(_of(answered, "detect"), size)
    found["absent_accuracy"] = share(says_absent(_answer(example)) for example in _of(answered, "absent"))
    found["unparseable"] = share(is_unparseable(_answer(example)) for example in answered)
    if scored := _scored(_of(answered, "locate")):
        found["box_score_calibration_error"] = Figure(calibration_error(*scored), len(scored[0]), float("nan"), float("nan"))
    return {name: figure for name, figure in found.items() if figure.count}


def _of(answered: Iterable[Example], task: str, size: str | None = None) -> list[Example]:
    return [example for example in answered if example.facts["task"] == task and size in (None, example.facts["size"])]


def _answer(example: Example) -> GroundedText:
    return example.turns[1].said


def _names_it(example: Example) -> bool:
    others = example.facts.get("others")
    return names_object(_answer(example).text, [str(example.facts["name"])], list(others) if isinstance(others, list | tuple) else ())


def _located(located: Sequence[Example], threshold: float) -> list[bool]:
    truth = [bounding_box(example.notes[0].said.regions[0]) for example in located]
    return boxes_agree([first_box(_answer(example)) for example in located], truth, threshold=threshold)


def _detected(asked: Sequence[Example], size: str) -> Figure:
    tallies = [
        tally_detections(named_boxes(_answer(example)), named_boxes(example.notes[0].said), counts=_has_size(example, size)) for example in asked
    ]
    whole = sum(tallies, Tally())
    return Figure(whole.f1, whole.there, *f1_interval(tallies))


def _has_size(example: Example, size: str) -> Callable[[Box], bool]:
    width, height = float(str(example.facts["width"])), float(str(example.facts["height"]))
    return lambda box: size_class((box.x1 - box.x0) * width, (box.y1 - box.y0) * height) == size


def _scored(located: Sequence[Example]) -> tuple[list[float], list[bool]] | None:
    """The scores of the first boxes, and whether each is right at IoU 0.5; None where the model gives no scores."""
    scored = [
        (float(span.scores[0]), right)
        for example, right in zip(located, _located(located, 0.5), strict=True)
        if (span := next((span for span in _answer(example).spans if span.regions), None)) and span.scores and span.scores[0] is not None
    ]
    return ([score for score, _ in scored], [right for _, right in scored]) if scored else None

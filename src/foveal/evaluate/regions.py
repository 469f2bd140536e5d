"""How well a model knows one's own marked pictures: regions named, names located, everything found; answers kept, figures with intervals."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from foveal.evaluate.metrics import (
    Tally,
    boxes_agree,
    f1_interval,
    first_box,
    interval,
    names_object,
    precision_of,
    rank_detections,
    tally_detections,
)
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText, Note, Turn, tied
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["Figure", "figures_to_json", "listed_things", "named_boxes", "precision_figure", "region_figures", "region_questions", "share"]


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` rests on `count` cases; with 95 % confidence the truth lies from `low` to `high`."""

    value: float
    count: int
    low: float
    high: float


def figures_to_json(figures: Mapping[str, Figure]) -> dict[str, dict[str, float | None]]:
    """Figures as JSON can hold them: what is not known (no number) is null.

    >>> figures_to_json({"map": Figure(0.5, 2, float("nan"), float("nan"))})
    {'map': {'value': 0.5, 'count': 2, 'low': None, 'high': None}}
    """
    return {name: {key: None if value != value else value for key, value in asdict(one).items()} for name, one in figures.items()}


def share(verdicts: Iterable[bool]) -> Figure:
    """What share of cases holds.

    >>> share([True, False]).value
    0.5
    """
    said = list(verdicts)
    return Figure(sum(said) / max(1, len(said)), len(said), *interval(sum(said), len(said)))


def region_questions(example: Example, verbs: Verbs, *, most: int = 8, seed: int = 0) -> list[Example]:
    """What is asked about a picture with marked objects: what at most `most` of them are, by their boxes; where each name is that is borne once;
    and everything, where the family is asked so. The true answer is a note with source "truth"; the fact "task" says which it is."""
    things = [(note.said.text, bounding_box(note.said.regions[0])) for note in example.notes if note.source == "object" and note.said.regions]
    names = [name for name, _ in things]
    chosen = np.random.default_rng(seed).permutation(len(things))[:most].tolist()
    asked = [("named", verbs.name(things[place][1]), tied(*things[place])) for place in chosen]
    if verbs.location:
        asked += [("located", verbs.location(name), tied(name, box)) for name, box in things if names.count(name) == 1]
    if verbs.detection:
        asked.append(("found", verbs.detection, listed_things(things)))
    elif verbs.dense_captions:
        asked.append(("detected", verbs.dense_captions, listed_things(things)))
    return [
        replace(example, id=f"{example.id}/{n}", turns=(Turn("user", ask),), notes=(Note(truth, "truth"),), facts={"task": task})
        for n, (task, ask, truth) in enumerate(asked)
    ]


def region_figures(answered: Sequence[tuple[Example, GroundedText]], names: Sequence[str]) -> dict[str, Figure]:
    """From questions and what was answered: "named" (only the right one of `names` is said), "commonest" (what always saying the commonest true
    name would reach), "located" (IoU 0.5 of the first box), "found" (F1 over all objects: same name, IoU 0.5), and of a detector, whose boxes have
    scores, "detected" (average precision at IoU 0.5) and "detected_named" (only rightly named). What was not asked is not there."""
    of: Mapping[str, list[tuple[GroundedText, GroundedText]]] = {
        task: [(said, example.notes[0].said) for example, said in answered if example.facts["task"] == task]
        for task in ("named", "located", "found", "detected")
    }
    truths = Counter(true.text for _, true in of["named"])
    figures = {
        "named": share(names_object(said.text, [true.text], names) for said, true in of["named"]),
        "commonest": share(true.text == truths.most_common(1)[0][0] for _, true in of["named"]),
        "located": share(boxes_agree([first_box(said) for said, _ in of["located"]], [bounding_box(true.regions[0]) for _, true in of["located"]])),
    }
    if tallies := [tally_detections(named_boxes(said), named_boxes(true)) for said, true in of["found"]]:
        total = sum(tallies, Tally())
        figures["found"] = Figure(total.f1, total.there, *f1_interval(tallies))
    if detected := [(said, true, GroundedText("")) for said, true in of["detected"]]:
        for name, known in (("detected", None), ("detected_named", names)):
            figures[name] = precision_figure(detected, known)
    return {name: figure for name, figure in figures.items() if figure.count}


def precision_figure(detected: Sequence[tuple[GroundedText, GroundedText, GroundedText]], names: Sequence[str] | None = None) -> Figure:
    """Average precision (see `average_precision`) of so many true places, its 95 % interval by drawing pictures again."""
    ranked, rng = [rank_detections(*one, names) for one in detected], np.random.default_rng(0)
    drawn = [precision_of([ranked[place] for place in rng.integers(len(ranked), size=len(ranked))]) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(precision_of(ranked), sum(there for *_, there in ranked), float(low), float(high))


_DRAWS = 200


def listed_things(things: Iterable[tuple[str, Box]]) -> GroundedText:
    """Names, each tied to its box."""
    return GroundedText.join(*(tied(f"{name} ", box) for name, box in things))


def named_boxes(said: GroundedText) -> list[tuple[str, Box]]:
    """What is said of each place, and its box."""
    return [(said.text[span.start : span.end].strip(), bounding_box(region)) for span in said.spans for region in span.regions]

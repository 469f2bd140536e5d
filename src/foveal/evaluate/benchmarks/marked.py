"""Benchmarks on pictures that lie ready in the form of `annotations.jsonl`: what is marked is named and located, statements are judged."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.data.sources.segments import marked_pictures
from foveal.evaluate.answers import anls, contains_answer, exact_match
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.asking import asked_about, calibration_figure, check_form, judged_places, named_facts
from foveal.evaluate.hallucination import yes_or_no
from foveal.evaluate.kept import Answered
from foveal.evaluate.metrics import boxes_agree, first_box, names_object, says_absent, tally_detections
from foveal.evaluate.regions import Figure, listed_things, named_boxes, precision_figure
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText, Note
from foveal.grounding.wordings.ferret import ask_choice
from foveal.grounding.wordings.questions import ask_statement
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["choices", "detected", "expressions", "located", "names", "statements", "texts"]

_MOST = 4
"""Things asked about in a picture, at most."""
_SOURCE_OF = {"name": "object", "text": "text"}
_LEAST_PX = {"name": 16.0, "text": 8.0}
"""Of the shorter side: what is smaller is not asked about."""


def choices(folder: str, form: str = "box", seed: int = 0) -> Benchmark:
    """Which of two names something has that is pointed at (referring object classification; Ferret, arXiv 2310.07704, 5.1.1): a coin gets half.

    The other name is one of the set's that nothing in the picture bears, every second time the first of the two. Right is an answer that names
    the right one and not the other.
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        check_form(verbs, form)
        pictures = list(marked_pictures(root / folder, masks=form == "mask"))
        known = _names(pictures)
        for number, (example, note) in enumerate(_chosen(pictures, seed)):
            rng = np.random.default_rng([seed, number])
            there = {one.said.text for one in example.notes if one.source in ("object", "crowd", "ignored")}
            others = [name for name in known if name not in there]
            if others:
                name, other = note.said.text, others[int(rng.integers(len(others)))]
                first, second = (name, other) if number % 2 == 0 else (other, name)
                region = bounding_box(note.said.regions[0]) if form == "box" else note.said.regions[0]
                yield asked_about(example, number, ask_choice(region, first, second), note.said, other=other)

    return Benchmark(
        name=f"{folder}-choice-{form}",
        about=f"Which of two names a thing of {folder} has, pointed at by its {form}.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=lambda asked, said: float(names_object(said.text, [asked.notes[0].said.text], [str(asked.facts["other"])])),
        max_new_tokens=24,
    )


def names(folder: str, seed: int = 0) -> Benchmark:
    """What something is whose box is given, of all names of the set: right is an answer that says this one and none of the others."""

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        pictures = list(marked_pictures(root / folder))
        known = _names(pictures)
        for number, (example, note) in enumerate(_chosen(pictures, seed)):
            box = bounding_box(note.said.regions[0])
            yield asked_about(example, number, verbs.name(box), note.said, names=known)

    return Benchmark(
        name=f"{folder}-names",
        about=f"What a thing of {folder} is, its box given; of all names of the set.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=lambda asked, said: float(names_object(said.text, [asked.notes[0].said.text], _other_names(asked))),
        max_new_tokens=24,
    )


def expressions(folder: str, source: str = "expression") -> Benchmark:
    """Where what people described is (referring expression comprehension): IoU 0.5 of the one box, the first; nothing where nothing fits.

    `present` and `absent` are the shares right of expressions that fit something and of those that do not (N-acc).
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        for example in marked_pictures(root / folder):
            for number, note in enumerate(note for note in example.notes if note.source == source):
                yield asked_about(example, number, verbs.of("location", note.said.text), note.said)

    return Benchmark(
        name=f"{folder}-{source}s",
        about=f"Where what people described in pictures of {folder} is, IoU 0.5; and that it is nowhere, where nothing fits.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=_located,
        figures=_by_presence,
        max_new_tokens=64,
    )


def located(folder: str, kind: str = "name") -> Benchmark:
    """Where the thing is whose name nothing else in the picture bears; with `kind` "text", where the line is that says so. IoU 0.5 of the first box.

    `small` and `large` are the shares right of things whose shorter side is under 32 px of the picture, and of the others.
    """
    source = _SOURCE_OF[kind]

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        for number, example in enumerate(marked_pictures(root / folder)):
            notes = [note for note in example.notes if note.source == source and note.said.regions]
            often = Counter(note.said.text for note in example.notes if note.source in (source, "crowd", "ignored"))
            alone = [note for note in notes if often[note.said.text] == 1 and _shorter(example, note) >= _LEAST_PX[kind]]
            for place in _drawn(len(alone), number):
                truth = alone[place].said
                yield asked_about(example, place, verbs.of("location", truth.text), truth, shorter_px=_shorter(example, alone[place]))

    return Benchmark(
        name=f"{folder}-located" if kind == "name" else f"{folder}-text-located",
        about=f"Where what has a {kind} of its own in pictures of {folder} is, IoU 0.5.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=_located,
        figures=_by_size,
        max_new_tokens=64,
    )


def detected(folder: str) -> Benchmark:
    """Everything that is marked, found and named: average precision at IoU 0.5 over all pictures (`ap`: wherever something is; `ap_named`: rightly
    named too), places ranked by their scores. Crowds and what is to be ignored count neither way. A picture's score is F1 of its named boxes."""

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        for example in marked_pictures(root / folder):
            notes = [note for note in example.notes if note.source == "object" and note.said.regions]
            besides = [note for note in example.notes if note.source in ("crowd", "ignored") and note.said.regions]
            if notes and example.facts.get("boxes") != "none":
                asked = asked_about(example, "0", verbs.detection or verbs.of("dense_captions"), listed_things(_named(notes)))
                yield replace(asked, notes=(*asked.notes, Note(listed_things(_named(besides)), "besides")))

    return Benchmark(
        name=f"{folder}-detected",
        about=f"Everything that is marked in pictures of {folder}, found and named; average precision at IoU 0.5.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=lambda asked, said: tally_detections(named_boxes(said), named_boxes(asked.notes[0].said)).f1,
        figures=_precision,
        main="ap_named",
        max_new_tokens=512,
    )


def texts(folder: str) -> Benchmark:
    """What is written in a box: one minus the normalised edit distance to the line, 0 under a half (ANLS; Biten et al. 2019).

    `exact` and `contained` are the shares of answers that are the line, and in which it stands ("It says …").
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        for number, example in enumerate(marked_pictures(root / folder)):
            lines = [note for note in example.notes if note.source == "text" and note.said.regions and _shorter(example, note) >= _LEAST_PX["text"]]
            for place in _drawn(len(lines), number):
                truth = lines[place].said
                yield asked_about(example, place, verbs.of("text", bounding_box(truth.regions[0])), truth)

    return Benchmark(
        name=f"{folder}-texts",
        about=f"What is written in a box of a picture of {folder}; edit distance (ANLS).",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=lambda asked, said: anls(said.text, asked.notes[0].said.text),
        figures=_read_shares,
        max_new_tokens=64,
    )


def statements(folder: str) -> Benchmark:
    """Whether a sentence about the picture is true, answered by yes or no; an answer that is neither is wrong."""

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        for example in marked_pictures(root / folder):
            if isinstance(truth := example.facts.get("truth"), bool):
                yield asked_about(example, "0", ask_statement(str(example.facts["sentence"])), GroundedText("yes" if truth else "no"))

    return Benchmark(
        name=f"{folder}-statements",
        about=f"Whether a sentence about a picture of {folder} is true, yes or no.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=lambda asked, said: float(yes_or_no(said.text) == asked.notes[0].said.text),
        max_new_tokens=16,
    )


def _located(asked: Example, said: GroundedText) -> float:
    truth = asked.notes[0].said.regions
    if not truth:
        return float(says_absent(judged_places(asked, said)))
    return float(boxes_agree([first_box(said)], [bounding_box(truth[0])])[0])


def _by_presence(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    parts = {
        "present": [_located(asked, said) for asked, said in answered if asked.notes[0].said.regions],
        "absent": [_located(asked, said) for asked, said in answered if not asked.notes[0].said.regions],
    }
    return {name: mean_figure(values) for name, values in parts.items() if values} | calibration_figure(answered)


def _read_shares(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    pairs = [(said.text, asked.notes[0].said.text) for asked, said in answered]
    return {name: mean_figure([float(rule(*pair)) for pair in pairs]) for name, rule in (("exact", exact_match), ("contained", contains_answer))}


def _by_size(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    parts: dict[str, list[float]] = {"small": [], "large": []}
    for asked, said in answered:
        parts["small" if float(str(asked.facts["shorter_px"])) < 32 else "large"].append(_located(asked, said))
    return {name: mean_figure(values) for name, values in parts.items() if values} | calibration_figure(answered)


def _precision(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    pictures = [(said, asked.notes[0].said, asked.notes[1].said) for asked, said in answered]
    names = sorted({name for _, truth, _ in pictures for name, _ in named_boxes(truth)})
    return {"ap": precision_figure(pictures), "ap_named": precision_figure(pictures, names)}


def _named(notes: Sequence[Note]) -> Iterator[tuple[str, Box]]:
    return ((note.said.text, bounding_box(note.said.regions[0])) for note in notes)


def _names(pictures: Iterable[Example]) -> list[str]:
    return sorted({note.said.text for example in pictures for note in example.notes if note.source == "object" and note.said.regions})


def _chosen(pictures: Sequence[Example], seed: int) -> Iterator[tuple[Example, Note]]:
    """At most a few things of each picture, drawn by the seed; those too small to be seen are left out."""
    for number, example in enumerate(pictures):
        marked = (note for note in example.notes if note.source == "object" and note.said.regions)
        things = [note for note in marked if _shorter(example, note) >= _LEAST_PX["name"]]
        for place in _drawn(len(things), number, seed):
            yield example, things[place]


def _drawn(count: int, number: int, seed: int = 0) -> list[int]:
    """A few of so many, in their order: those of picture `number`."""
    return sorted(np.random.default_rng([seed, number]).permutation(count)[:_MOST].tolist())


def _shorter(example: Example, note: Note) -> float:
    """The shorter side of what is marked, in pixels of the picture."""
    box, picture = bounding_box(note.said.regions[0]), example.images[0]
    return min((box.x1 - box.x0) * picture.width, (box.y1 - box.y0) * picture.height)


def _other_names(asked: Example) -> list[str]:
    return [str(name) for name in named_facts(asked, "names") if name != asked.notes[0].said.text]

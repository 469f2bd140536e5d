"""Benchmarks on pictures that lie ready in the form of `annotations.jsonl`: what is marked is named and located, statements are judged."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.data.sources.segments import marked_pictures
from foveal.evaluate.benchmark import Answered, Benchmark, mean_figure
from foveal.evaluate.hallucination import yes_or_no
from foveal.evaluate.metrics import boxes_agree, first_box, names_object, says_absent
from foveal.evaluate.regions import Figure
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText, Note, Turn
from foveal.grounding.wordings.ferret import ask_choice
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["choices", "expressions", "names", "statements"]

_MOST = 4
"""Things asked about in a picture, at most."""


def choices(folder: str, form: str = "box", seed: int = 0) -> Benchmark:
    """Which of two names something has that is pointed at (referring object classification; Ferret, arXiv 2310.07704, 5.1.1): a coin gets half.

    The other name is one of the set's that nothing in the picture bears, every second time the first of the two. Right is an answer that names
    the right one and not the other.
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
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
                yield _asked(example, f"{number}", ask_choice(region, first, second), note.said, other=other)

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
            yield _asked(example, f"{number}", verbs.name(box), note.said, names=known)

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
                yield _asked(example, f"{number}", verbs.of("location", note.said.text), note.said)

    return Benchmark(
        name=f"{folder}-{source}s",
        about=f"Where what people described in pictures of {folder} is, IoU 0.5; and that it is nowhere, where nothing fits.",
        files=(f"{folder}/annotations.jsonl",),
        questions=questions,
        score=_located,
        figures=_by_presence,
        max_new_tokens=64,
    )


def statements(folder: str) -> Benchmark:
    """Whether a sentence about the picture is true, answered by yes or no; an answer that is neither is wrong."""

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        for example in marked_pictures(root / folder):
            if isinstance(truth := example.facts.get("truth"), bool):
                sentence = str(example.facts["sentence"]).strip().rstrip(".")
                ask = GroundedText(f"Is it true that {sentence[:1].lower()}{sentence[1:]}? Answer yes or no.")
                yield _asked(example, "0", ask, GroundedText("yes" if truth else "no"))

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
        return float(says_absent(said))
    return float(boxes_agree([first_box(said)], [bounding_box(truth[0])])[0])


def _by_presence(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    parts = {
        "present": [_located(asked, said) for asked, said in answered if asked.notes[0].said.regions],
        "absent": [_located(asked, said) for asked, said in answered if not asked.notes[0].said.regions],
    }
    return {name: mean_figure(values) for name, values in parts.items() if values}


def _names(pictures: Iterable[Example]) -> list[str]:
    return sorted({note.said.text for example in pictures for note in example.notes if note.source == "object" and note.said.regions})


def _chosen(pictures: Sequence[Example], seed: int) -> Iterator[tuple[Example, Note]]:
    """At most a few things of each picture, drawn by the seed; those too small to be seen are left out."""
    for number, example in enumerate(pictures):
        marked = (note for note in example.notes if note.source == "object" and note.said.regions)
        things = [note for note in marked if _large(example, bounding_box(note.said.regions[0]))]
        for place in sorted(np.random.default_rng([seed, number]).permutation(len(things))[:_MOST]):
            yield example, things[int(place)]


def _large(example: Example, box: Box, least_px: float = 16.0) -> bool:
    picture = example.images[0]
    return min((box.x1 - box.x0) * picture.width, (box.y1 - box.y0) * picture.height) >= least_px


def _asked(example: Example, number: str, ask: GroundedText, truth: GroundedText, **facts: object) -> Example:
    return replace(example, id=f"{example.id}/{number}", turns=(Turn("user", ask),), notes=(Note(truth, "truth"),), facts=facts)


def _other_names(asked: Example) -> list[str]:
    known = asked.facts["names"]
    return [str(name) for name in known if name != asked.notes[0].said.text] if isinstance(known, list | tuple) else []

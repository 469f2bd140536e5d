"""Benchmarks whose answers a judge scores: Ferret-Bench and LLaVA-Bench, rated beside reference answers, and MM-Vet, graded by the true answer.

| folder below the root of all data | holds |
|---|---|
| `ferret_gpt4_data` | `refer_caption`, `refer_reason`, `ground_conv`, each with `question.jsonl`, `answer.jsonl`, `context.jsonl`; `rule.json` |
| `coco` | pictures: Ferret-Bench's in `val2017`, LLaVA-Bench's in `val2014` |
| `llava-bench-in-the-wild` | `questions.jsonl`, `answers_gpt4.jsonl`, `context.jsonl`; `rule.json`; pictures in `images` |
| `llava-bench-coco` | `qa90_questions.jsonl`, `qa90_gpt4_answer.jsonl`, `caps_boxes_coco2014_val_80.jsonl`; `rule.json` |
| `mm-vet` | `mm-vet.json`; `prompt.txt`; pictures in `images` |

What the judge is told is read from the benches' own `rule.json` and `prompt.txt` where they are there, since published scores rest on them; else it
is our own wording. A manifest's hash of prompts tells the two apart.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.data.sources import benches
from foveal.endpoint import Message, message
from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.asking import check_form, set_figure
from foveal.evaluate.benchmarks.mentioned import object_hallucination
from foveal.evaluate.benchmarks.posed import by_kind
from foveal.evaluate.judge import answer_for_judge, judge_message, judge_scores, relative_score
from foveal.evaluate.judgements import judgement_of
from foveal.evaluate.kept import Answered
from foveal.evaluate.regions import Figure, share
from foveal.evaluate.sampling import bootstrap
from foveal.geometry import Frame
from foveal.grounding import Example, GroundedText, Note
from foveal.grounding.formats import BracketFormat
from foveal.grounding.wordings.judging import GRADING, JUDGE_ROLE, RULES, grading_request
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "ferret_bench", "grade_said", "llava_bench", "mm_vet"]

_RATING = {"temperature": 0.2, "max_tokens": 1024}
"""What Ferret-Bench and LLaVA-Bench set for their judge, gpt-4-0314."""


def ferret_bench(folder: str = "ferret_gpt4_data", *, images: str = "coco/val2017", packed: bool = False) -> Benchmark:
    """Ferret-Bench (arXiv 2310.07704): 40 questions each that refer to a box for a description ("refer_desc") and for reasoning ("refer_reason"),
    and that want boxes in the answer ("ground_conv").

    `relative_…` is the score of the answers by that of the references, `average` its mean over the three tasks, as tables have it;
    `…_as_published` follows the original's rules, by which a reply that cannot be read lowers the mean. The judge is asked letter for letter as
    there. `packed` reads `records.json.gz` instead of the folders.
    """
    parts = ("question.jsonl", "answer.jsonl", "context.jsonl")
    official = tuple(f"{folder}/{task}/{part}" for task in benches.FERRET_BENCH for part in parts)
    return _rated(
        "ferret-bench",
        "Ferret-Bench: questions about regions, and that want boxes in the answer. Rated by a judge beside GPT-4's answers.",
        (f"{folder}/records.json.gz",) if packed else official,
        lambda root: benches.ferret_bench(root / folder, images=root / images, packed=packed),
        f"{folder}/rule.json",
        main="average",
        as_published=True,
    )


def llava_bench(folder: str = "llava-bench-in-the-wild", *, coco: bool = False) -> Benchmark:
    """LLaVA-Bench (Liu et al. 2023), in the wild or on COCO: the score of the answers by that of GPT-4's, `relative`, and that of each category,
    "conv", "detail" and "complex"; `…_as_published` as LLaVA's script rounds and counts."""
    names = ("questions.jsonl", "answers_gpt4.jsonl", "context.jsonl")
    names = ("qa90_questions.jsonl", "qa90_gpt4_answer.jsonl", "caps_boxes_coco2014_val_80.jsonl") if coco else names
    images, prefix = ("coco/val2014", "COCO_val2014_") if coco else (f"{folder}/images", "")

    def read(root: Path) -> Iterator[Example]:
        questions, answers, contexts = (root / folder / name for name in names)
        return benches.llava_bench(questions, answers, contexts, images=root / images, prefix=prefix)

    return _rated(
        "llava-bench-coco" if coco else "llava-bench-wild",
        f"LLaVA-Bench {'on COCO' if coco else 'in the wild'}: talk, descriptions, reasoning. Rated by a judge beside GPT-4's answers.",
        tuple(f"{folder}/{name}" for name in names),
        read,
        f"{folder}/rule.json",
        rule_prefix="" if coco else "llava_bench_",
    )


def mm_vet(folder: str = "mm-vet") -> Benchmark:
    """MM-Vet (Yu et al. 2023): the mean grade, from 0 to 1, and that of each capability and set of capabilities.

    A grade that cannot be read is 0; the original asks up to five times, ever more at random, before it says so.
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        own = root / folder / "prompt.txt"
        grading = own.read_text(encoding="utf-8") if own.is_file() else GRADING
        for example in _together(benches.mm_vet(root / folder / "mm-vet.json", images=root / folder / "images")):
            wanted = [str(one) for one in _listed(example.facts["capability"])]
            yield _with_truth(example, grading=grading, kinds=wanted + (["+".join(wanted)] if len(wanted) > 1 else []))

    return Benchmark(
        name="mm-vet",
        about="MM-Vet: questions that want several capabilities at once. Graded from 0 to 1 by a judge.",
        files=(f"{folder}/mm-vet.json",),
        questions=questions,
        score=_grade,
        figures=lambda answered: {**by_kind(_grade)(answered), **_unread(answered, grade_said)},
        max_new_tokens=1024,
        judged=_graded,
        judge_settings={"temperature": 0.0, "max_tokens": 3},
    )


def grade_said(reply: str) -> float | None:
    """The grade that a reply begins with, from 0 to 1; None where it is none.

    >>> [grade_said(reply) for reply in ("0.5", " 1.0 |", "Correctness: 0.8", "1.5", "half")]
    [0.5, 1.0, 0.8, None, None]
    """
    found = re.match(r"\W*(?:correctness\W+)?(?<![-−.])(1(?:\.0+)?|0?\.\d+|0)(?![\d.]*\d|/)", reply, re.IGNORECASE)
    return float(found[1]) if found else None


def _rated(
    name: str,
    about: str,
    files: tuple[str, ...],
    read: Callable[[Path], Iterable[Example]],
    rules: str,
    *,
    rule_prefix: str = "",
    main: str = "relative",
    as_published: bool = False,
) -> Benchmark:
    """A benchmark of answers that are rated beside references by the rule of each question's category."""

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        told = _published_rules(root / rules)
        for example in _together(read(root)):
            if example.turns[0].said.regions:
                check_form(verbs, "box")
            category = rule_prefix + str(example.facts["category"])
            if category not in told:
                raise ValueError(f"{root / rules} has no rule for {category!r}; it has those for {', '.join(told)}.")
            rule, role = told[category]
            yield _with_truth(example, rule=rule, role=role)

    def judged(asked: Example, said: GroundedText) -> Sequence[Message]:
        context, question, rule, role, category = (str(asked.facts[key]) for key in ("context", "question", "rule", "role", "category"))
        answer, reference = _answer(asked, said, category) if as_published else said.text, asked.notes[0].said.text
        told = judge_message(context, question, reference, answer, rule, role=role, as_published=as_published)
        return [message("system", JUDGE_ROLE), message("user", told)]

    return Benchmark(
        name=name,
        about=about,
        files=files,
        questions=questions,
        score=lambda asked, said: (_scores(asked) or (0.0, 0.0))[1] / 10,
        figures=_relative,
        main=main,
        max_new_tokens=1024,
        judged=judged,
        judge_settings=_RATING,
    )


def _published_rules(file: Path) -> Mapping[str, tuple[str, str]]:
    """The rule of each category, and what it calls an assistant: those of the file where there is one, else our own."""
    if not file.is_file():
        return {category: (rule, "Assistant") for category, rule in RULES.items()}
    try:
        return {str(category): (str(rule["prompt"]), str(rule["role"])) for category, rule in json.loads(file.read_text(encoding="utf-8")).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} holds no rules; an object is wanted with role and prompt for each category.") from error


def _with_truth(example: Example, **facts: object) -> Example:
    """The question alone, its reference as the truth."""
    truth = Note(example.turns[1].said, "truth")
    return replace(example, turns=example.turns[:1], notes=(truth,), facts={**example.facts, **facts})


def _together(examples: Iterable[Example]) -> Iterator[Example]:
    """Those about a picture one after the other."""
    pictures: dict[object, list[Example]] = {}
    for example in examples:
        pictures.setdefault(example.images[0].path or example.id, []).append(example)
    return (example for several in pictures.values() for example in several)


def _answer(asked: Example, said: GroundedText, category: str) -> str:
    """An answer as Ferret's script shows it, from Ferret's own spelling of it."""
    picture = asked.images[0]
    spelt = BracketFormat(arithmetic="fraction").encode(said, Frame.stretch((picture.width, picture.height)))
    return answer_for_judge(spelt, category, as_published=True)


def _scores(asked: Example) -> tuple[float, float] | None:
    return judge_scores(judgement_of(asked) or "")


def _relative(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    """Relative scores of all and of each category, by both rules; what was not judged has no part in them."""
    judged = [asked for asked, _ in answered if judgement_of(asked) is not None]
    of = {name: [one for one in judged if one.facts["category"] == name] for name in sorted({str(one.facts["category"]) for one in judged})}
    own = {name: _relative_of(some) for name, some in of.items()}
    figures = {"relative": _relative_of(judged)} | {f"relative_{name}": one for name, one in own.items()}
    published = {name: _published_relative(some) for name, some in of.items()}
    figures |= {"relative_as_published": _published_relative(judged)} | {f"relative_{name}_as_published": one for name, one in published.items()}
    figures |= {"average": _mean_of(list(own.values())), "average_as_published": _mean_of(list(published.values()))}
    return {name: one for name, one in figures.items() if one is not None} | _unread(answered, judge_scores)


def _relative_of(asked: Sequence[Example]) -> Figure | None:
    """The interval comes of drawing pictures again."""
    pictures: dict[str, list[tuple[float, float]]] = {}
    for one in asked:
        if scores := _scores(one):
            pictures.setdefault(one.id.partition("/")[0], []).append(scores)
    if not pictures:
        return None
    sums = np.array([np.sum(some, axis=0) for some in pictures.values()])
    found = bootstrap(sums, lambda drawn: drawn[..., 1].sum(1) / drawn[..., 0].sum(1))
    return replace(found, count=sum(map(len, pictures.values())))


def _published_relative(asked: Sequence[Example]) -> Figure | None:
    scores = [judge_scores(judgement_of(one) or "", as_published=True) for one in asked]
    return set_figure(relative_score(scores, as_published=True).relative / 100, len(scores)) if scores else None


def _mean_of(figures: Sequence[Figure | None]) -> Figure | None:
    """The mean of figures of different questions; None where one is missing."""
    known = [one for one in figures if one is not None]
    if not known or len(known) < len(figures):
        return None
    value, count = float(np.mean([one.value for one in known])), sum(one.count for one in known)
    spread = float(np.sqrt(sum(((one.high - one.low) / 2) ** 2 for one in known))) / len(known)
    return Figure(value, count, value - spread, value + spread) if spread == spread else set_figure(value, count)


def _graded(asked: Example, said: GroundedText) -> Sequence[Message]:
    told = grading_request(asked.turns[0].said.text, asked.notes[0].said.text, said.text, str(asked.facts["grading"]))
    return [message("user", told)]


def _grade(asked: Example, said: GroundedText) -> float:
    return grade_said(judgement_of(asked) or "") or 0.0


def _unread(answered: Sequence[Answered], read: Callable[[str], Any]) -> dict[str, Figure]:
    """The share of judgements that cannot be read."""
    return {"unread_judgements": share(read(reply) is None for asked, _ in answered if (reply := judgement_of(asked)) is not None)}


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else []


OFFICIAL: tuple[Benchmark, ...] = (
    ferret_bench(),
    llava_bench(),
    llava_bench("llava-bench-coco", coco=True),
    mm_vet(),
    object_hallucination(),
    object_hallucination(judge=False),
)
"""All of them, and Object HalBench (`mentioned`)."""

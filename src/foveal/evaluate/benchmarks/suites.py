"""Benchmarks of yes and no, and of options, on their official files: POPE, MME, SEED-Bench.

| folder below the root of all data | holds |
|---|---|
| `pope` | `coco_pope_random.json`, `coco_pope_popular.json`, `coco_pope_adversarial.json`; pictures are COCO's, in `coco/val2014` |
| `mme` | `MME_Benchmark`, with a folder for each of the 14 tasks |
| `seed-bench` | `SEED-Bench.json`, pictures in `SEED-Bench-image` |

Questions of POPE and MME are asked as their files have them.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from foveal.data.sources import suites as sources
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.posed import options, pick, posed, published, truths
from foveal.evaluate.hallucination import YesNoTally, mme_score, tally_yes_no, yes_or_no
from foveal.evaluate.kept import Answered, is_refused
from foveal.evaluate.metrics import Tally, f1_interval
from foveal.evaluate.regions import Figure, share
from foveal.grounding import Example, GroundedText

__all__ = ["COGNITION", "OFFICIAL", "PERCEPTION", "mme", "pope", "seed_bench"]

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def pope(kind: str, *, as_published: bool = False) -> Benchmark:
    """POPE (Li et al. 2023), whether a thing is in the picture: `accuracy`, `precision`, `recall` and `f1` of yes, and `yes`, the share of yeses.

    `kind` says how things that are not there were chosen: "random", "popular" or "adversarial". An answer that says neither is wrong; as published,
    it is a yes.
    """
    file = f"pope/coco_pope_{kind}.json"
    return posed(
        published(f"pope-{kind}", as_published),
        f"POPE, {kind}: whether a thing is in the picture, yes or no.",
        (file,),
        lambda root: sources.pope(root / file, images=root / "coco/val2014"),
        partial(_agrees, as_published=as_published),
        ask=_as_given,
        figures=partial(_shares, as_published=as_published),
        max_new_tokens=16,
    )


def mme() -> Benchmark:
    """MME (Fu et al. 2023), two questions a picture: `perception` and `cognition`, sums over their tasks of accuracy and accuracy+ (the share of
    pictures both of whose questions are answered rightly), and those of each task. Fractions: published tables multiply by 100.

    An answer that says neither yes nor no is wrong. The questions and answers in the run's manifest stand for the files, which are many.
    """
    return posed(
        "mme",
        "MME, two questions a picture, yes or no. Accuracy and accuracy+ summed over the ten tasks of perception.",
        (),
        lambda root: sources.mme(root / "mme/MME_Benchmark"),
        _agrees,
        ask=_as_given,
        facts=("task", "picture"),
        figures=_summed,
        main="perception",
        max_new_tokens=16,
    )


def seed_bench() -> Benchmark:
    """SEED-Bench's questions about single pictures (Li et al. 2023): the right one of four options by its letter or words, and the share right of
    each dimension. The official script compares how likely the options are; here a model answers, as LLaVA-1.5 is judged."""
    return posed(
        "seed-bench-image",
        "SEED-Bench, single pictures. Right is the option's letter or words.",
        ("seed-bench/SEED-Bench.json",),
        lambda root: sources.seed_bench(root / "seed-bench/SEED-Bench.json", images=root / "seed-bench/SEED-Bench-image"),
        pick,
        ask=options,
        kind="kind",
    )


def _as_given(example: Example, verbs: object) -> GroundedText:
    return example.turns[0].said


def _agrees(asked: Example, said: GroundedText, as_published: bool = False) -> float:
    return float(not is_refused(asked) and yes_or_no(said.text, as_published=as_published) == truths(asked)[0])


def _shares(answered: Sequence[Answered], as_published: bool = False) -> Mapping[str, Figure]:
    """Of yes and no; each interval rests on the cases that its share is of."""
    each = [tally_yes_no([said.text], truths(asked)[:1], as_published=as_published and not is_refused(asked)) for asked, said in answered]
    tally = sum(each, YesNoTally())
    return {
        "accuracy": share(one.accuracy == 1 for one in each),
        "precision": share(one.hits == 1 for one in each if one.hits + one.alarms),
        "recall": share(one.hits == 1 for one in each if one.hits + one.misses + one.unclear_yes),
        "f1": Figure(tally.f1, tally.count, *f1_interval([_found(one) for one in each])),
        "yes": share(one.yes_ratio == 1 for one in each),
    }


def _found(one: YesNoTally) -> Tally:
    """A question as of things found: F1 of both is the same."""
    return Tally(one.hits, one.hits + one.alarms, one.hits + one.misses + one.unclear_yes)


def _summed(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    verdicts: dict[str, list[tuple[str, bool]]] = {}
    for asked, said in answered:
        verdicts.setdefault(str(asked.facts["task"]), []).append((str(asked.facts["picture"]), _agrees(asked, said) == 1))
    parts = {"perception": PERCEPTION, "cognition": COGNITION} | {task: (task,) for task in verdicts}
    return {name: _score({task: verdicts[task] for task in tasks if task in verdicts}) for name, tasks in parts.items()}


def _score(verdicts: Mapping[str, Sequence[tuple[str, bool]]]) -> Figure:
    """MME's score as a fraction; its interval adds up the tasks' own, each over its pictures."""
    value, spread = mme_score(verdicts) / 100, 0.0
    for answered in verdicts.values():
        pictures: dict[str, list[bool]] = {}
        for picture, right in answered:
            pictures.setdefault(picture, []).append(right)
        each = [float(np.mean(right)) + all(right) for right in pictures.values()]
        one = mean_figure(each)
        spread += ((one.high - one.low) / 2) ** 2
    return Figure(value, sum(map(len, verdicts.values())), value - spread**0.5, value + spread**0.5)


_KINDS = ("random", "popular", "adversarial")
OFFICIAL: tuple[Benchmark, ...] = (
    *(pope(kind) for kind in _KINDS),
    mme(),
    seed_bench(),
    *(pope(kind, as_published=True) for kind in _KINDS),
)
"""All of them, POPE in its three files."""

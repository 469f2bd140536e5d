"""A benchmark is a value: what is asked, and how an answer is scored. A run keeps every answer: its number can be made again without the model."""

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest, sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.whole import alone_in, check_same_run, write_whole
from foveal.evaluate.answers import questions_of_rank
from foveal.evaluate.judgements import JUDGEMENTS, Judged, judge_answers, judge_identity, judgement_of
from foveal.evaluate.kept import ANSWERS, Answered, appending, gather, is_refused, kept_answers, picture_asked_about, process, read_answers
from foveal.evaluate.metrics import interval, is_unparseable
from foveal.evaluate.regions import Figure, figures_to_json
from foveal.grounding import Example, GroundedText, Picture, example_to_json
from foveal.grounding.wordings.verbs import Verbs

if TYPE_CHECKING:
    from foveal.endpoint import Endpoint
    from foveal.session.session import Session

__all__ = ["MANIFEST", "Benchmark", "answered_figures", "mean_figure", "read_manifest", "run_benchmark", "score_of"]

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is asked about which pictures, and how an answer is scored.

    >>> right = Benchmark(name="mine", about="", files=(), questions=lambda root, verbs: [], score=lambda asked, said: float(said.text == "yes"))
    >>> right.score(Example("1"), GroundedText("yes"))
    1.0
    """

    name: str
    about: str
    """A sentence: what is asked, and what right means."""
    files: tuple[str, ...]
    """What is read below the folder of all data; their hashes are kept with the answers."""
    questions: Callable[[Path, Verbs], Iterable[Example]]
    """Given that folder and how the model's family is asked: questions with one turn and the truth as notes, those about a picture together.
    ValueError where the family cannot be asked so."""
    score: Callable[[Example, GroundedText], float]
    """Of a question and an answer, from 0 to 1; its mean is the benchmark's number."""
    figures: Callable[[Sequence[Answered]], Mapping[str, Figure]] = field(default=lambda answered: {})
    """What else is said of all answers together."""
    main: str = "score"
    """The figure that is the benchmark's number, where it is not the mean of scores."""
    max_new_tokens: int = 128
    judged: Judged | None = None
    """What a judge is asked about a question and its answer, where the score rests on one; its reply is the fact "judgement" of the question."""
    judge_settings: Mapping[str, Any] = field(default_factory=dict)
    """What goes with every such question: temperature, max_tokens."""


def run_benchmark(
    benchmark: Benchmark,
    session: "Session",
    root: Path,
    out: Path,
    *,
    limit: int | None = None,
    batch: int = 16,
    judge: "Endpoint | None" = None,
    heard: Callable[[int, int, float], None] = lambda done, count, score: None,
) -> dict[str, Figure]:
    """Asks all questions (or the first `limit`), keeps each answer in `out` as it comes, and returns the figures.

    A run that was stopped goes on with the questions that are not answered, or were refused. Of several processes (`accelerate launch`) each
    answers its part, and all return the figures of the whole. `heard` is told how many of how many this process has, and their mean score so far
    (not a number where a `judge` is to score them: it is asked when all are answered). What was asked of what (hashes of data, questions and
    weights, versions, settings, judge) is kept as manifest.json. ValueError where the data is not there, the family cannot be asked so, two
    questions have one id, `out` holds a run of something else or is worked in by another, or a judge is wanted and missing.
    """
    if benchmark.judged and judge is None:
        raise ValueError(f"benchmark {benchmark.name} is scored by a judge, and none was given; --judge names the model that is to judge.")
    asked = list(islice(benchmark.questions(root, session.processor.verbs), limit))
    if not asked:
        raise ValueError(f"benchmark {benchmark.name} asks nothing of what is in {root}.")
    if len({one.id for one in asked}) < len(asked):
        raise ValueError(f"benchmark {benchmark.name} has questions with the same id; each wants its own.")
    if missing := [name for name in benchmark.files if not (root / name).is_file()]:
        raise ValueError(f"benchmark {benchmark.name} reads {missing[0]} below {root}, and it is not there.")
    at = process()
    with alone_in(out):
        if at.rank == 0:
            manifest = _manifest(benchmark, session, root, asked, limit)
            if benchmark.judged and judge:
                manifest["judge"] = judge_identity(judge, benchmark.judged, benchmark.judge_settings, asked)
            _settle(out / MANIFEST, manifest | {"batch": batch, "versions": _versions()})
        at.wait()
        kept = kept_answers(out)
        if odd := set(kept) - {one.id for one in asked}:
            raise ValueError(f"{out} holds answers to other questions, of which {min(odd)!r} is one; give another folder.")
        kept = {name: one for name, one in kept.items() if not is_refused(one[0])}
        left = [one for one in asked if one.id not in kept]
        left = [left[number] for number in questions_of_rank(len(left), at.rank, at.count)]
        done, total = len(kept), sum(score_of(benchmark.score, *one) for one in kept.values())
        at.wait()  # until all have read what is kept
        with appending(out / at.file, root) as lines:
            for example, answer in zip(left, session.answer(left, batch=batch, max_new_tokens=benchmark.max_new_tokens), strict=True):
                ended = {"finish": answer.finish_reason} | ({"error": answer.error} if answer.error else {})
                example = replace(example, facts=dict(example.facts) | ended)
                lines.write(example, answer.said)
                done, total = done + 1, total + score_of(benchmark.score, example, answer.said)
                heard(done, len(kept) + len(left), float("nan") if benchmark.judged else total / done)
        at.wait()
        if at.rank == 0:
            gather(out, asked)
            if benchmark.judged and judge:
                answers, settings = read_answers(out / ANSWERS), benchmark.judge_settings
                judge_answers(judge, benchmark.judged, settings, answers, out / JUDGEMENTS, lambda done, count: heard(done, count, float("nan")))
        at.wait()
        found = answered_figures(benchmark, read_answers(out / ANSWERS))
        if at.rank == 0:
            write_whole(out / "figures.json", json.dumps(figures_to_json(found), indent=1))
        return found


def answered_figures(benchmark: Benchmark, answered: Sequence[Answered]) -> dict[str, Figure]:
    """The benchmark's score, whose interval takes questions about one picture together, what else it says, and how many answers could not be
    read, named several places, were cut, refused or, where a judge is to score them, not judged."""
    regions = [len(said.regions) for _, said in answered]
    shares = {
        "unparsed": [is_unparseable(said) and not is_refused(example) for example, said in answered],
        "several_places": [count > 1 for count in regions],
        "cut": [example.facts.get("finish") == "length" for example, _ in answered],
        "refused": [is_refused(example) for example, _ in answered],
    }
    if benchmark.judged:
        shares["unjudged"] = [judgement_of(asked) is None and bool(benchmark.judged(asked, said)) for asked, said in answered]
    scores, pictures = [score_of(benchmark.score, *one) for one in answered], [picture_asked_about(asked) for asked, _ in answered]
    found = {"score": mean_figure(scores, pictures)} | dict(benchmark.figures(answered))
    return found | {name: mean_figure([float(one) for one in some]) for name, some in shares.items()}


def score_of(score: Callable[[Example, GroundedText], float], asked: Example, said: GroundedText) -> float:
    """The score of an answer; 0 where the question was refused, though no answer may be right of what fits nothing."""
    return 0.0 if is_refused(asked) else score(asked, said)


def read_manifest(file: Path) -> dict[str, Any]:
    """What a run is, as its folder tells. ValueError, with the file, where it holds none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found["benchmark"], str) and isinstance(found["questions"]["count"], int):
            return dict(found)
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{file} is no manifest of a run; one as foveal evaluate writes it is wanted.")


def mean_figure(values: Sequence[float], pictures: Sequence[str] = ()) -> Figure:
    """A mean with its 95 % interval: Wilson's where each value is right or wrong, else that of the normal distribution.

    With the picture of each value, those of one picture may go together: the interval is that of as many single values as would vary as much
    (the design effect, Kish 1965), never of more than there are. Where all values are alike, nothing is seen of that.

    >>> mean_figure([1.0, 0.0, 1.0, 1.0]).value
    0.75
    >>> alone, together = mean_figure([1.0, 0.0] * 20), mean_figure([1.0] * 20 + [0.0] * 20, ["a"] * 10 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10)
    >>> round(alone.low, 2), round(together.low, 2)
    (0.35, 0.07)
    """
    found = np.asarray(values, float)
    if not len(found):
        return Figure(0.0, 0, 0.0, 1.0)
    middle, (effect, z) = float(found.mean()), _design_effect(found, pictures)
    if np.isin(found, (0, 1)).all():
        return Figure(middle, len(found), *interval(float(found.sum()) / effect, len(found) / effect, z=z))
    if len(found) == 1:
        return Figure(middle, 1, min(0.0, middle), max(1.0, middle))
    away = z * float(found.std(ddof=1)) * (effect / len(found)) ** 0.5
    return Figure(middle, len(found), middle - away, middle + away)


def _design_effect(values: np.ndarray, pictures: Sequence[str]) -> tuple[float, float]:
    """How many times more a mean of these values varies than one of as many pictures with one value each would, at least 1; and within how many
    deviations it lies in 95 % of cases: with few pictures in more, for how they differ is then hardly known (Student's t)."""
    away, z = values - values.mean(), 1.959964
    names, place = np.unique(np.asarray(pictures), return_inverse=True)
    if not away.any() or len(names) in (0, len(values)):
        return 1.0, z
    if len(names) == 1:
        return float(len(values)), z
    sums, free = np.bincount(place, weights=away), len(names) - 1
    effect = max(1.0, float((sums**2).sum() / (away**2).sum()) * len(names) / free * (len(values) - 1) / len(values))
    return effect, z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)


def _manifest(benchmark: Benchmark, session: "Session", root: Path, asked: Sequence[Example], limit: int | None) -> dict[str, Any]:
    """What a run's number depends on."""
    from foveal.session.weights import weights_hash  # which wants torch

    questions = sha256()
    for example in asked:
        questions.update(json.dumps(example_to_json(replace(example, images=())), sort_keys=True).encode())
    pictures = list({(one.path, one.data, id(one.pixels)): one for example in asked for one in example.images}.values())
    return {
        "benchmark": benchmark.name,
        "model": session.name,
        "weights": weights_hash(session.model),
        "data": {name: _hash(root / name) for name in benchmark.files},
        "questions": {"count": len(asked), "pictures": len(pictures), "sha256": questions.hexdigest(), "limit": limit},
        "pictures": _pictures_hash(pictures, root),
        "max_new_tokens": benchmark.max_new_tokens,
        "dtype": str(session.model.dtype).removeprefix("torch."),
        "device": session.model.device.type,
        "attention": str(getattr(session.model.config, "_attn_implementation", "")),
    }


def _pictures_hash(pictures: Sequence[Picture], root: Path) -> str:
    """Of the pictures' places below `root` and their sizes in bytes; of those that are no files, of what they hold. One that is missing has none."""
    found = sha256()
    for one in pictures:
        if one.path:
            size = os.path.getsize(one.path) if os.path.isfile(one.path) else None
            found.update(f"{os.path.relpath(one.path, root)} {size}\n".encode())
        elif one.data:
            found.update(one.data)
    return found.hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in ("foveal", "torch", "transformers", "numpy")}


def _settle(file: Path, manifest: dict[str, Any]) -> None:
    """Keeps what the run is; ValueError where another run lies there. Batch and versions may differ."""
    if file.is_file():
        check_same_run(file.parent, read_manifest(file), {name: value for name, value in manifest.items() if name not in ("batch", "versions")})
    write_whole(file, json.dumps(manifest, indent=1, ensure_ascii=False))


def _hash(file: Path) -> str:
    with open(file, "rb") as content:
        return file_digest(content, "sha256").hexdigest()

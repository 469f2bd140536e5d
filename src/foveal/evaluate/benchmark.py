"""A benchmark is a value: what is asked, and how an answer is scored. A run keeps every answer: its number can be made again without the model."""

import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.evaluate.metrics import interval, is_unparseable
from foveal.evaluate.regions import Figure
from foveal.grounding import Example, GroundedText, Turn, example_from_json, example_to_json
from foveal.grounding.wordings.verbs import Verbs

if TYPE_CHECKING:
    from foveal.session.session import Session

__all__ = ["ANSWERS", "MANIFEST", "Answered", "Benchmark", "answered_figures", "mean_figure", "read_answers", "run_benchmark"]

Answered = tuple[Example, GroundedText]
"""A question with its true answer (notes with source "truth"), and what was answered."""
ANSWERS, MANIFEST = "predictions.jsonl", "manifest.json"


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
    max_new_tokens: int = 128


def run_benchmark(
    benchmark: Benchmark,
    session: "Session",
    root: Path,
    out: Path,
    *,
    limit: int | None = None,
    batch: int = 16,
    heard: Callable[[int, int, float], None] = lambda done, count, score: None,
) -> dict[str, Figure]:
    """Asks all questions (or the first `limit`), keeps each answer in `out` as it comes, and returns the figures.

    A run that was stopped goes on with the first question that is not answered. `heard` is told how many of how many are done, and the mean
    score so far. What was asked of what (hashes of data, questions and weights, versions, settings) is kept as manifest.json. ValueError where
    the data is not there, the family cannot be asked so, or `out` holds a run of something else.
    """
    asked = list(islice(benchmark.questions(root, session.processor.verbs), limit))
    if not asked:
        raise ValueError(f"benchmark {benchmark.name} asks nothing of what is in {root}.")
    manifest = _manifest(benchmark, session, root, asked, limit)
    _settle(out / MANIFEST, manifest | {"batch": batch, "versions": _versions()})
    answered = list(_whole_answers(out / ANSWERS))
    if [one.id for one, _ in answered] != [one.id for one in asked[: len(answered)]]:
        raise ValueError(f"{out / ANSWERS} holds answers to other questions; give another folder.")
    scores = [benchmark.score(*one) for one in answered]
    _cut(out / ANSWERS, len(answered))
    with open(out / ANSWERS, "a", encoding="utf-8") as lines:
        left = asked[len(answered) :]
        for example, answer in zip(left, session.answer(left, batch=batch, max_new_tokens=benchmark.max_new_tokens), strict=True):
            ended = {"finish": answer.finish_reason} | ({"error": answer.error} if answer.error else {})
            answered.append((replace(example, facts=dict(example.facts) | ended), answer.said))
            lines.write(_line(*answered[-1], root) + "\n")
            lines.flush()
            scores.append(benchmark.score(*answered[-1]))
            heard(len(answered), len(asked), float(np.mean(scores)))
    found = answered_figures(benchmark, answered)
    _write(out / "figures.json", {name: asdict(figure) for name, figure in found.items()})
    return found


def answered_figures(benchmark: Benchmark, answered: Sequence[Answered]) -> dict[str, Figure]:
    """The benchmark's number, what else it says, and how many answers could not be read, named several places, were cut or refused."""
    regions = [len(said.regions) for _, said in answered]
    shares = {
        "unparsed": [is_unparseable(said) for _, said in answered],
        "several_places": [count > 1 for count in regions],
        "cut": [example.facts.get("finish") == "length" for example, _ in answered],
        "refused": [example.facts.get("finish") == "error" for example, _ in answered],
    }
    found = {"score": mean_figure([benchmark.score(*one) for one in answered])} | dict(benchmark.figures(answered))
    return found | {name: mean_figure([float(one) for one in some]) for name, some in shares.items()}


def mean_figure(values: Sequence[float]) -> Figure:
    """A mean with its 95 % interval: Wilson's where each value is right or wrong, else that of the normal distribution.

    >>> mean_figure([1.0, 0.0, 1.0, 1.0]).value
    0.75
    """
    found = np.asarray(values, float)
    if not len(found):
        return Figure(0.0, 0, 0.0, 1.0)
    middle = float(found.mean())
    if np.isin(found, (0, 1)).all():
        return Figure(middle, len(found), *interval(int(found.sum()), len(found)))
    away = 1.96 * float(found.std(ddof=1)) / len(found) ** 0.5
    return Figure(middle, len(found), middle - away, middle + away)


def read_answers(path: Path) -> list[Answered]:
    """The answers of a run. ValueError for a file that is none, with its line."""
    answered = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                answered.append(_answer_of(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}; lines as foveal evaluate writes them are wanted") from error
    return answered


def _answer_of(line: str) -> Answered:
    example = example_from_json(json.loads(line))
    if len(example.turns) < 2 or example.turns[-1].role != "assistant":
        raise ValueError(f"example {example.id!r} has no answer")
    return replace(example, turns=example.turns[:-1]), example.turns[-1].said


def _line(example: Example, said: GroundedText, root: Path) -> str:
    pictures = [replace(picture, path=os.path.relpath(picture.path, root), pixels=None) if picture.path else picture for picture in example.images]
    kept = replace(example, images=tuple(pictures), turns=(*example.turns, Turn("assistant", said)))
    return json.dumps(example_to_json(kept), ensure_ascii=False)


def _whole_answers(path: Path) -> Iterator[Answered]:
    """The answers up to a line that was torn when the run was stopped."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield _answer_of(line)
            except (ValueError, KeyError, TypeError):
                return


def _cut(path: Path, count: int) -> None:
    """Leaves the first `count` lines of a file, each ended."""
    if path.is_file():
        kept = path.read_text(encoding="utf-8", errors="replace").splitlines()[:count]
        new = path.with_suffix(".new")
        new.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        new.replace(path)


def _manifest(benchmark: Benchmark, session: "Session", root: Path, asked: Sequence[Example], limit: int | None) -> dict[str, Any]:
    """What a run's number depends on."""
    questions = sha256()
    for example in asked:
        questions.update(json.dumps([example.id, [turn.said.text for turn in example.turns], [note.said.text for note in example.notes]]).encode())
    missing = [name for name in benchmark.files if not (root / name).is_file()]
    if missing:
        raise ValueError(f"benchmark {benchmark.name} reads {missing[0]} below {root}, and it is not there.")
    return {
        "benchmark": benchmark.name,
        "model": session.name,
        "weights": _weights_hash(session),
        "data": {name: sha256((root / name).read_bytes()).hexdigest() for name in benchmark.files},
        "questions": {"count": len(asked), "sha256": questions.hexdigest(), "limit": limit},
        "max_new_tokens": benchmark.max_new_tokens,
        "dtype": str(session.model.dtype).removeprefix("torch."),
        "device": session.model.device.type,
        "attention": str(getattr(session.model.config, "_attn_implementation", "")),
    }


def _weights_hash(session: "Session") -> str:
    """Of names and values of all weights, so that it is the model's whatever its folder is called."""
    import torch

    total = sha256()
    for name, value in sorted(session.model.state_dict().items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else str(value.item()).encode())
    return total.hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in ("foveal", "torch", "transformers", "numpy")}


def _settle(file: Path, manifest: dict[str, Any]) -> None:
    """Keeps what the run is; ValueError where another run lies there. Batch and versions may differ."""
    if file.is_file():
        found = json.loads(file.read_text())
        odd = [name for name in manifest if name not in ("batch", "versions") and found.get(name) != manifest[name]]
        if odd:
            raise ValueError(f"{file.parent} holds a run with another {', '.join(odd)}; give another folder, or the same settings to go on with it.")
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, manifest)


def _write(file: Path, value: object) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(value, indent=1, ensure_ascii=False))
    new.replace(file)

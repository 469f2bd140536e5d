"""How well a model answers about drawn scenes it has never seen: `python benchmarks/nano.py [--model NAME] [--seed S] [--scenes N] [--json]`."""

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from foveal.data.sources.scenes import vocabulary
from foveal.evaluate import Figure
from foveal.grounding import Example, Turn, example_to_json, read_examples
from foveal.session import Session
from nano_measures import figures
from nano_places import place_figures, placed_answers, placed_scene
from nano_questions import examples_about, scene
from nano_short import short_examples, short_figures, short_scene
from nano_unseen import known_cutouts, unseen_scene

__all__ = ["main"]

_TARGETS = {
    "roc_box": 0.92,
    "roc_point": 0.86,
    "roc_mask": 0.86,
    "rec_p50": 0.55,
    "detect_f1_50": 0.45,
    "absent_accuracy": 0.85,
    "unparseable": 0.01,
    "read_exact": 0.40,
    "count_1_to_5": 0.70,
    "present": 0.90,
    "words_placed": 0.75,
    "refer_p50": 0.55,
    "segment_iou": 0.40,
    "region_named": 0.85,
}


def main(
    model: Annotated[list[str] | None, typer.Option(help="A shipped name or a folder; may be given several times.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other scenes of the same kind.")] = 0,
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object, model → metric → value, and nothing else.")] = False,
    resume: Annotated[bool, typer.Option(help="Keep the answers of a run that was stopped.")] = False,
    sprites: Annotated[
        Path | None, typer.Option(help="A folder of named cut-outs: ask about scenes made of them too (reported as unseen_…).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs; a GPU where there is one.")] = None,
    answers: Annotated[Path, typer.Option(help="Where the answers are kept, one JSON line each.")] = Path("runs/nano"),
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer side by side on a CPU, a scene each.")] = 1,
) -> None:
    """Ask models about held-out scenes and print what share they answer rightly."""
    results: dict[str, dict[str, Figure]] = {}
    try:
        for name in model or ["ferret-v2-nano"]:
            session = Session.open(name, device=device)
            kept = answers / f"{Path(name).name}-{seed}.jsonl"
            kind = session.model.config.model_type
            about, summed = _ASKED[kind]
            results[name] = summed(_answered(session, partial(about, seed), scenes, kept, resume, name, workers))
            if sprites and kind == "ferret":
                results[name] |= _unseen(session, sprites, seed, scenes, kept.with_stem(f"{kept.stem}-unseen"), resume, workers)
    except ValueError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    if as_json:
        print(json.dumps({name: {metric: round(figure.value, 4) for metric, figure in found.items()} for name, found in results.items()}))
    else:
        _print(results, seed, scenes)


def _with_places(seed: int, session: Session, number: int) -> list[Example]:
    return _answer(session, examples_about(scene(seed, number)))


def _in_words(seed: int, session: Session, number: int) -> list[Example]:
    return _answer(session, short_examples(short_scene(seed, number)))


def _word_by_word(seed: int, session: Session, number: int) -> list[Example]:
    return placed_answers(session, placed_scene(seed, number))


_ASKED = {"ferret": (_with_places, figures), "monkey": (_in_words, short_figures), "pixel_llm": (_word_by_word, place_figures)}
"""What each family of models is asked about a scene, with its answers, and how the figures are got from them."""


def _unseen(session: Session, folder: Path, seed: int, scenes: int, kept: Path, resume: bool, workers: int) -> dict[str, Figure]:
    cutouts = known_cutouts(folder)

    def ask(session: Session, number: int) -> list[Example]:
        return _answer(session, examples_about(unseen_scene(cutouts, seed, number), names=vocabulary(), whole=False))

    found = figures(_answered(session, ask, min(scenes, 300), kept, resume, "unseen cut-outs", workers))
    return {f"unseen_{metric}": figure for metric, figure in found.items() if metric.startswith(("roc", "rec"))}


def _answered(
    session: Session, ask: Callable[[Session, int], list[Example]], scenes: int, kept: Path, resume: bool, label: str, workers: int
) -> list[Example]:
    """All questions of scenes 0 … `scenes` - 1 with the model's answers, kept in a file scene by scene."""
    before = _kept(kept) if resume else []
    done = [examples for number, examples in enumerate(before) if number < scenes]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("w", encoding="utf-8") as lines, _progress() as progress:
        for examples in done:
            lines.writelines(_line(example) for example in examples)
        answered = _each(session, ask, range(len(done), scenes), workers)
        for examples in progress.track(answered, total=scenes, completed=len(done), description=label):
            done.append(examples)
            lines.writelines(_line(example) for example in done[-1])
            lines.flush()
    return [example for examples in done for example in examples]


def _each(session: Session, ask: Callable[[Session, int], list[Example]], numbers: Sequence[int], workers: int) -> Iterator[list[Example]]:
    """The answered questions of each scene, in order; the `workers` share the model, and each computes on one thread."""
    if workers == 1:
        yield from (ask(session, number) for number in numbers)
        return
    _SHARED.update(session=session, ask=ask)
    with multiprocessing.get_context("fork").Pool(workers, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap(_answer_number, numbers)


_SHARED: dict[str, Any] = {}
"""What forked workers find: a model is not sent to them."""


def _answer_number(number: int) -> list[Example]:
    found: list[Example] = _SHARED["ask"](_SHARED["session"], number)
    return found


def _answer(session: Session, asked: Sequence[Example]) -> list[Example]:
    """The questions of one scene, answered together; the picture is looked at once, and not kept."""
    answers = list(session.answer(asked))
    if refused := next((answer.error for answer in answers if answer.error), None):
        raise ValueError(f"A question of the benchmark could not be asked: {refused}")
    return [
        replace(example, images=(), turns=(*example.turns, Turn("assistant", answer.said))) for example, answer in zip(asked, answers, strict=True)
    ]


def _line(example: Example) -> str:
    return json.dumps(example_to_json(example), ensure_ascii=False) + "\n"


def _kept(path: Path) -> list[list[Example]]:
    """Answers of an earlier run, by scene; without the last scene, which may not be whole."""
    if not path.is_file():
        return []
    scenes: list[list[Example]] = []
    for example in _readable(path):
        if not scenes or scenes[-1][0].facts["scene"] != example.facts["scene"]:
            scenes.append([])
        scenes[-1].append(example)
    return scenes[:-1]


def _readable(path: Path) -> Iterator[Example]:
    """The examples of a file up to a line that was torn when the run was stopped."""
    try:
        yield from read_examples(path)
    except ValueError as error:
        print(f"Answers are kept up to here: {error}", file=sys.stderr)


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _print(results: dict[str, dict[str, Figure]], seed: int, scenes: int) -> None:
    table = Table(title=f"{scenes} held-out scenes, seed {seed}; with 95 % intervals", title_justify="left")
    for column in ("model", "metric", "value", "interval", "n", "target"):
        table.add_column(column, justify="left" if column in ("model", "metric") else "right")
    for name, found in results.items():
        for metric, figure in found.items():
            target = _TARGETS.get(metric)
            wanted = "" if target is None else f"{'≤' if metric == 'unparseable' else '≥'} {target:.0%}"
            between = "" if figure.low != figure.low else f"{figure.low:.1%} – {figure.high:.1%}"
            table.add_row(name, metric, f"{figure.value:.1%}", between, str(figure.count), wanted)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    typer.run(main)

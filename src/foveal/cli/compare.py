"""`foveal compare`: whether one model answers a benchmark better than another, question by question."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from foveal.cli.evaluate import benchmark_named, figures_of

if TYPE_CHECKING:
    from foveal.evaluate.benchmark import Benchmark
    from foveal.evaluate.kept import Answered
    from foveal.evaluate.sampling import Difference

__all__ = ["compare"]

_Answers = Annotated[Path, typer.Argument(help="A predictions.jsonl of foveal evaluate, or the folder that holds it.")]


def compare(
    first: _Answers,
    second: _Answers,
    benchmark: Annotated[str | None, typer.Option(help="How to score; else as the manifest beside the answers says.")] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="How often the benchmark's number is made of drawn pictures, where it is no mean of scores; slow.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seeds the draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Compare two runs on the questions that both were asked: the difference of their scores and its 95 % interval, by drawing pictures again. Where
    the benchmark's number is no mean of scores (CIDEr, average precision), it stands beside, with an interval if `--draws` says how many."""
    from foveal.evaluate.benchmark import score_of
    from foveal.evaluate.kept import picture_asked_about

    places, named = _runs(first, second, benchmark)
    one = benchmark_named(named)
    both = _common(*places)
    scores = {name: [score_of(one.score, *answered) for answered in pair] for name, pair in both.items()}
    pictures: dict[str, list[str]] = {}
    for name, ((asked, _), _) in both.items():
        pictures.setdefault(picture_asked_about(asked), []).append(name)
    found = _of_scores([[scores[name] for name in names] for names in pictures.values()], seed)
    sides = [sum(some[side] for some in scores.values()) / len(scores) for side in (0, 1)]
    said: dict[str, Any] = {"first": sides[0], "second": sides[1], "questions": len(both), "difference": asdict(found)}
    table = Table("", "score", title=f"{one.name}: {len(both)} questions about {len(pictures)} pictures", title_justify="left")
    rows = [[str(place), f"{value:.1%}"] for place, value in zip((first, second), sides, strict=True)]
    rows.append(["second less first", _spoken(found.value, found.low, found.high)])
    if one.main != "score":
        main, drawn = _of_main(one, [[both[name] for name in names] for names in pictures.values()], places, draws, seed)
        said |= {"main": one.main, "main_first": main[0], "main_second": main[1], "main_difference": asdict(drawn) if drawn else None}
        table.add_column(one.main.replace("_", " "))
        low, high = (drawn.low, drawn.high) if drawn else (None, None)
        for row, value in zip(rows, (f"{main[0]:.1%}", f"{main[1]:.1%}", _spoken(main[1] - main[0], low, high)), strict=True):
            row.append(value)
    if as_json:
        print(json.dumps(said))
        return
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    print(f"So large a difference of scores comes of the choice of pictures alone with a chance of about {found.chance:.3f}.")
    if one.main != "score" and not draws:
        print(f"The benchmark's number is {one.main}, no mean of scores; --draws 200 draws pictures again for its interval.")


def _runs(first: Path, second: Path, benchmark: str | None) -> tuple[list[Path], str]:
    """The files of both runs' answers, and the benchmark's name. ValueError where they are answers to different things."""
    from foveal.evaluate.benchmark import MANIFEST, read_manifest
    from foveal.evaluate.kept import ANSWERS

    places = [place / ANSWERS if place.is_dir() else place for place in (first, second)]
    if missing := next((place for place in places if not place.is_file()), None):
        raise ValueError(f"there is no file {missing}")
    runs = [read_manifest(file) for place in places if (file := place.with_name(MANIFEST)).is_file()]
    named = [str(run["benchmark"]) for run in runs]
    if benchmark is None and (len(named) < 2 or named[0] != named[1]):
        raise ValueError(
            f"{first} and {second} are answers to {' and '.join(named) or 'nothing that a manifest names'}; runs of one benchmark are wanted."
        )
    if len(runs) == 2 and runs[0].get("data") != runs[1].get("data"):
        raise ValueError(f"{first} and {second} were asked about data that differs, as their manifests say; runs on the same files are wanted.")
    return places, benchmark or named[0]


def _common(first: Path, second: Path) -> "dict[str, tuple[Answered, Answered]]":
    """Both answers to each question that both were asked, by its id; what only one was asked is said."""
    from foveal.evaluate.kept import read_answers

    ours, theirs = ({asked.id: (asked, said) for asked, said in read_answers(place)} for place in (first, second))
    both = {name: (answer, theirs[name]) for name, answer in ours.items() if name in theirs}
    if not both:
        raise ValueError(f"{first} and {second} have no question in common.")
    if odd := next((name for name, ((one, _), (other, _)) in both.items() if one.notes != other.notes), None):
        raise ValueError(f"{first} and {second} have different true answers to question {odd!r}; runs on the same files are wanted.")
    if alone := len(ours) + len(theirs) - 2 * len(both):
        print(f"foveal: {alone} questions were asked in one of the runs alone, and are left out.", file=sys.stderr)
    return both


def _of_scores(pictures: Sequence[Sequence[Sequence[float]]], seed: int) -> "Difference":
    """Of pairs of scores, those about one picture together."""
    import numpy as np

    from foveal.evaluate.sampling import paired_bootstrap

    sums = np.array([[[sum(pair[side] for pair in pairs), len(pairs)] for pairs in pictures] for side in (0, 1)], float)
    return paired_bootstrap(sums[1], sums[0], lambda drawn: drawn[..., 0].sum(1) / drawn[..., 1].sum(1), seed=seed)


def _of_main(
    one: "Benchmark", pictures: "Sequence[Sequence[tuple[Answered, Answered]]]", places: Sequence[Path], draws: int, seed: int
) -> "tuple[list[float], Difference | None]":
    """The benchmark's number of both runs, and their difference where pictures are to be drawn again."""
    import numpy as np

    from foveal.evaluate.sampling import paired_bootstrap

    def number(side: int, rows: Sequence[int]) -> float:
        found = figures_of(one, [pair[side] for row in rows for pair in pictures[row]], places[side])
        return found[one.main].value if one.main in found else float("nan")

    every = np.arange(len(pictures), dtype=float)
    main = [number(side, range(len(pictures))) for side in (0, 1)]
    if not draws:
        return main, None
    made = [np.stack([every, np.full(len(every), float(side))], 1) for side in (0, 1)]
    return main, paired_bootstrap(
        made[1], made[0], lambda drawn: np.array([number(int(some[0, 1]), some[:, 0].astype(int).tolist()) for some in drawn]), draws=draws, seed=seed
    )


def _spoken(value: float, low: float | None = None, high: float | None = None) -> str:
    """A difference in percent, with its interval where there is one."""
    return f"{100 * value:+.1f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if low is not None and high is not None else "")

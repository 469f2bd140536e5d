"""`foveal evaluate`: a model on benchmarks, every answer kept; what was stopped goes on."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from foveal.cli.settings import MODEL_HELP, Batch, Device, open_session
from foveal.cli.sources import from_file

if TYPE_CHECKING:
    from foveal.evaluate.benchmark import Benchmark
    from foveal.evaluate.regions import Figure

__all__ = ["benchmark_named", "evaluate", "figures_table"]


def evaluate(
    model: Annotated[str, typer.Argument(help=f"{MODEL_HELP} Or `list`: print all benchmarks.")],
    benchmark: Annotated[list[str] | None, typer.Argument(help="Names of benchmarks, or FILE.py:NAME.")] = None,
    data_root: Annotated[Path, typer.Option("--data-root", help="The folder of all data sets.")] = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Where answers are kept, in a folder for each model and benchmark.")] = Path("runs/evaluate"),
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first so many questions.")] = None,
    batch: Batch = 16,
    report: Annotated[bool, typer.Option(help="Write report.html with pictures of right, wrong and unread answers.")] = True,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, benchmark → figure → value, instead of tables.")] = False,
) -> None:
    """Ask a model a benchmark's questions and score its answers. The same command goes on with a run that was stopped.

    Beside the answers (predictions.jsonl) lie what they are answers of (manifest.json), figures.json and report.html; `foveal rescore` makes the
    figures again, `foveal compare` tells two models apart.
    """
    from foveal.evaluate.benchmark import ANSWERS, read_answers, run_benchmark
    from foveal.evaluate.benchmarks import BENCHMARKS
    from foveal.evaluate.report import write_report

    if model == "list":
        _list(BENCHMARKS)
        return
    if not benchmark:
        raise ValueError("No benchmark was named; `foveal evaluate list` prints them all.")
    chosen = [benchmark_named(name) for name in benchmark]
    if not data_root.is_dir():
        raise ValueError(f"--data-root {data_root} is no folder.")
    session, found = open_session(model, device), dict[str, "Mapping[str, Figure]"]()
    for one in chosen:
        folder = out / Path(model).name / one.name
        with _progress() as progress:
            task = progress.add_task(one.name, total=None, score="")

            def heard(done: int, total: int, score: float, progress: Progress = progress, task: "int" = int(task)) -> None:
                progress.update(task, completed=done, total=total, score=f"{score:.1%}")  # type: ignore[arg-type]

            found[one.name] = run_benchmark(one, session, data_root, folder, limit=limit, batch=batch, heard=heard)
        if report:
            write_report(folder / "report.html", f"{session.name}, {one.name}", one, read_answers(folder / ANSWERS), found[one.name], data_root)
        if not as_json:
            Console(width=120).print(figures_table(f"{one.name}: {one.about}", found[one.name]))
            print(f"Answers and report are in {folder}.")
    if as_json:
        print(json.dumps({name: {key: asdict(figure) for key, figure in figures.items()} for name, figures in found.items()}))


def benchmark_named(name: str) -> "Benchmark":
    """The benchmark of a name, or of a person's own file as FILE.py:NAME. ValueError naming those that there are."""
    from foveal.evaluate.benchmark import Benchmark
    from foveal.evaluate.benchmarks import BENCHMARKS

    place, colon, value = name.rpartition(":")
    if colon and place.endswith(".py"):
        found = getattr(from_file(Path(place)), value, None)
        if not isinstance(found, Benchmark):
            raise ValueError(f"{place} has no benchmark {value!r}.")
        return found
    if name not in BENCHMARKS:
        raise ValueError(f"There is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}, and your own as FILE.py:NAME.")
    return BENCHMARKS[name]


def figures_table(title: str, figures: "Mapping[str, Figure]") -> Table:
    """Figures with their intervals."""
    table = Table("", "value", "95 % interval", "n", title=title, title_justify="left")
    for name, one in figures.items():
        between = "" if one.low != one.low else f"{one.low:.1%} – {one.high:.1%}"
        table.add_row(name.replace("_", " "), f"{one.value:.1%}", between, str(one.count))
    return table


def _list(benchmarks: "Mapping[str, Benchmark]") -> None:
    table = Table("benchmark", "what is asked", "reads")
    for one in benchmarks.values():
        table.add_row(one.name, one.about, ", ".join(one.files))
    Console(width=120).print(table)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[score]}"))
    return Progress(*columns, console=Console(stderr=True), transient=True)

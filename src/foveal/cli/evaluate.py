"""`foveal evaluate`: a model on benchmarks, every answer kept; what was stopped goes on."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from foveal.cli.bars import bar
from foveal.cli.judges import JudgeAtOnce, JudgeBudget, JudgeKey, JudgeModel, JudgePrice, JudgeSettings, JudgeUrl, judge_from
from foveal.cli.report import sentence_of
from foveal.cli.settings import MODEL_HELP, Batch, Device, open_session
from foveal.cli.sources import from_file

if TYPE_CHECKING:
    from foveal.evaluate.benchmark import Benchmark
    from foveal.evaluate.kept import Answered
    from foveal.evaluate.regions import Figure

__all__ = ["benchmark_named", "evaluate", "figures_of", "figures_table"]


def evaluate(
    model: Annotated[str, typer.Argument(help=f"{MODEL_HELP} Or `list`: print all benchmarks.")],
    benchmark: Annotated[list[str] | None, typer.Argument(help="Names of benchmarks, or FILE.py:NAME.")] = None,
    data_root: Annotated[Path, typer.Option("--data-root", help="The folder of all data sets.")] = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Where answers are kept, in a folder for each model and benchmark.")] = Path("runs/evaluate"),
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first so many questions.")] = None,
    batch: Batch = 16,
    report: Annotated[bool, typer.Option(help="Write report.html with pictures of right, wrong and unread answers.")] = True,
    device: Device = None,
    judge: JudgeModel = None,
    judge_url: JudgeUrl = "https://api.openai.com/v1",
    judge_key_variable: JudgeKey = "OPENAI_API_KEY",
    judge_price: JudgePrice = None,
    judge_budget: JudgeBudget = None,
    judge_settings: JudgeSettings = None,
    judge_at_once: JudgeAtOnce = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, benchmark → figure → value, instead of tables.")] = False,
) -> None:
    """Ask a model a benchmark's questions and score its answers. The same command goes on with a run that was stopped; under `accelerate launch
    -m foveal` several processes share it.

    Beside the answers (predictions.jsonl) lie what they are answers of (manifest.json), what a judge said of them (judgements.jsonl), figures.json
    and report.html; `foveal rescore` makes the figures again, `foveal compare` tells two models apart.
    """
    from foveal.evaluate.benchmark import MANIFEST, read_manifest, run_benchmark
    from foveal.evaluate.benchmarks import BENCHMARKS
    from foveal.evaluate.kept import ANSWERS, is_refused, process, read_answers
    from foveal.evaluate.regions import figures_to_json
    from foveal.evaluate.report import write_report

    if model == "list":
        _list(BENCHMARKS)
        return
    if not benchmark:
        raise ValueError("No benchmark was named; `foveal evaluate list` prints them all.")
    chosen = [benchmark_named(name) for name in benchmark]
    if not data_root.is_dir():
        raise ValueError(f"--data-root {data_root} is no folder.")
    if (wants := next((one.name for one in chosen if one.judged), None)) and judge is None:
        raise ValueError(f"{wants} is scored by a judge; --judge names the model that is to judge, --judge-url where it is served.")
    asks = judge_from(judge, judge_url, judge_key_variable, judge_price, judge_budget, judge_settings, judge_at_once, out / "judge.jsonl")
    at, found, refused = process(), dict[str, "Mapping[str, Figure]"](), False
    session = open_session(model, device or at.device)
    for one in chosen:
        folder = out / Path(model).name / one.name
        try:
            with _progress(one.name, quiet=at.rank > 0) as heard:
                found[one.name] = run_benchmark(one, session, data_root, folder, limit=limit, batch=batch, judge=asks, heard=heard)
        except KeyboardInterrupt:
            print(f"foveal: {one.name} was stopped; what is answered is kept in {folder}, and the same command goes on with it.", file=sys.stderr)
            raise
        except (ValueError, OSError, ImportError) as error:  # the others go on
            if len(chosen) == 1 or at.count > 1:  # processes that went on alone would wait for each other in vain
                raise
            print(f"foveal: {one.name}: {sentence_of(error)}", file=sys.stderr)
            refused = True
            continue
        if at.rank > 0:
            continue
        answered = read_answers(folder / ANSWERS)
        if report:
            write_report(folder / "report.html", f"{session.name}, {one.name}", one, answered, found[one.name], data_root)
        if not as_json:
            Console(width=120).print(figures_table(f"{one.name}: {one.about}", found[one.name]))
            counts = read_manifest(folder / MANIFEST)["questions"]
            print(f"{counts['count']} questions about {counts['pictures']} pictures, each looked at once. Answers and report are in {folder}.")
        if reasons := [str(asked.facts["error"]) for asked, _ in answered if is_refused(asked)]:
            print(f"foveal: {one.name}: {len(reasons)} questions were refused and count as wrong, the first because: {reasons[0]}", file=sys.stderr)
    if at.rank == 0 and asks and any(one.judged for one in chosen):
        print(f"The judge {asks.model}: {asks.spent}.", file=sys.stderr if as_json else sys.stdout)
    if at.rank == 0 and as_json:
        print(json.dumps({name: figures_to_json(figures) for name, figures in found.items()}))
    if refused:
        raise typer.Exit(1)


def benchmark_named(name: str) -> "Benchmark":
    """The benchmark of a name, or of a person's own file as FILE.py:NAME. ValueError naming those whose names are alike."""
    from foveal.evaluate.benchmark import Benchmark
    from foveal.evaluate.benchmarks import BENCHMARKS

    place, colon, value = name.rpartition(":")
    if colon and place.endswith(".py"):
        found = getattr(from_file(Path(place)), value, None)
        if not isinstance(found, Benchmark):
            raise ValueError(f"{place} has no benchmark {value!r}.")
        return found
    if name not in BENCHMARKS:
        near = " or ".join(get_close_matches(name, BENCHMARKS, 3)) or "one that `foveal evaluate list` prints"
        raise ValueError(f"There is no benchmark {name!r}; {near} is wanted, or your own as FILE.py:NAME.")
    return BENCHMARKS[name]


def figures_of(one: "Benchmark", answered: "Sequence[Answered]", place: Path) -> "dict[str, Figure]":
    """The figures of answers that are read from `place`. ValueError where they are none, or are those of another benchmark."""
    from foveal.evaluate.benchmark import answered_figures

    if not answered:
        raise ValueError(f"{place} holds no answers.")
    try:
        return answered_figures(one, answered)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{place} holds answers that {one.name} cannot score; the benchmark that asked, or its twin, is wanted.") from error


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


@contextmanager
def _progress(name: str, *, quiet: bool) -> Iterator[Callable[[int, int, float], None]]:
    """A bar, and what moves it: how many of how many are answered, and their mean score."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[score]}"))
    with bar(*columns, quiet=quiet) as progress:
        task = progress.add_task(name, total=None, score="")
        yield lambda done, count, score: progress.update(task, completed=done, total=count, score="" if score != score else f"{score:.1%}")

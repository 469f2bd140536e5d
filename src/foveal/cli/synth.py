"""`foveal synth`: descriptions of pictures by a pipeline of stages, which goes on where it was stopped; `foveal synth show` is a page of them."""

import sys
import time
from collections.abc import Iterator, Sequence
from inspect import signature
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from foveal.cli.bars import bar, is_watched
from foveal.cli.sources import from_file, guess_source, open_source, source_named
from foveal.data.reading import Report

if TYPE_CHECKING:
    from foveal.synth.inputs import Entry
    from foveal.synth.running import Engine
    from foveal.synth.stage import Step

__all__ = ["RunOrShow", "run", "show", "synth"]


class RunOrShow(TyperGroup):
    """`foveal synth RECIPE …` is `foveal synth run RECIPE …`: only `show` is another word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the group does, with the word that may be left out."""
        known = (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if not args or args[0] in known else ["run", *args])


synth = typer.Typer(
    cls=RunOrShow, no_args_is_help=True, rich_markup_mode=None, help="Describe pictures by a pipeline of models; show what came of it."
)


@synth.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe with a PIPELINE, like recipes/captions.py, or FILE.py:NAME.")],
    images: Annotated[list[str], typer.Argument(help="Pictures, folders of them, a .txt that lists them, a .jsonl of examples, any data set.")],
    out: Annotated[Path, typer.Option("--out", help="A folder for what each stage makes; a run begun there goes on.")],
    engine: Annotated[str, typer.Option(help="local: this machine. ray: Ray Data, here or on a cluster (RAY_ADDRESS).")] = "local",
    workers: Annotated[list[str] | None, typer.Option(metavar="STAGE=LEAST:MOST", help="With ray: how many workers a stage may have.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    shard: Annotated[int, typer.Option(min=1, help="Pictures in a shard: so many are done again where a run is stopped.")] = 64,
    licence: Annotated[str, typer.Option(help="The licence of pictures that state none; every record carries it.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Work once more on pictures that an earlier run left out.")] = False,
) -> None:
    """Run a recipe's stages over pictures; the examples of each (docs/record.md) lie in shards below --out, and a finished shard is never made again.
    Pictures that cannot be worked on are named and left out, and then the exit code is 1."""
    steps, passed = _pipeline(recipe), _Passed()
    entries = islice(_entries(images, licence, passed), limit)
    from foveal.synth.running import folders_of, run_pipeline

    with _Bars() as bars:
        run_pipeline(
            steps, entries, out, engine=_engine(engine, workers or []), shard=shard, licence=licence, again=again, report=passed, heard=bars.heard
        )
    folders, count = list(folders_of(out).items()), _count(out)
    table = Table("stage", "examples", "left out", "seconds", "a second")
    for name, folder in folders:
        records = [folder.records[number] for number in range(count)]
        examples, seconds = sum(one.examples for one in records), sum(one.seconds for one in records)
        refused = sum(len(one.refused) for one in records)
        table.add_row(name, f"{examples:,}", str(refused), f"{seconds:.1f}", f"{examples / seconds:.3g}" if seconds else "")
        passed.count += refused
    Console(width=100).print(table)
    print(f"The descriptions are in {folders[-1][1].path}; foveal synth show {out} lays them out.")
    if passed.count:
        raise typer.Exit(1)


@synth.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The --out of a run.")],
    save: Annotated[Path | None, typer.Option("--save", help="The page; without it, show.html in the folder.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 40,
    skip: Annotated[int, typer.Option(min=0, help="How many to leave out first.")] = 0,
) -> None:
    """Write one HTML page, without scripts: each picture with every note's region, which notes were dropped and why, and the text, its phrases linked
    to their places."""
    from foveal.synth.page import write_page

    file = save or folder / "show.html"
    shown = write_page(folder, file, count=count, skip=skip)
    print(f"{shown} pictures are shown in {file}.")


class _Passed:
    """What is told of pictures that are left out: printed at once, and counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sentence: str) -> None:
        print(f"foveal: {sentence}", file=sys.stderr)


class _Bars:
    """A bar for each stage, with its rate and what is left; where there is no terminal, a line each minute, and one when a stage is through."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.fields[through]}"), TimeRemainingColumn())
        self._told, self._progress = is_watched(), bar(*columns, stays=True)
        self._tasks: dict[str, tuple[Any, float]] = {}
        self._through: set[str] = set()

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def heard(self, name: str, done: int, begun: int, total: int) -> None:
        """A stage has come so far."""
        if name not in self._tasks:
            self._tasks[name] = (self._progress.add_task(name, total=total or None, through=""), time.perf_counter())
        task, start = self._tasks[name]
        rate = (done - begun) / max(1e-9, time.perf_counter() - start)
        through = f"{done:,}/{total:,}" if total else f"{done:,}"
        said = f"{through}  {rate:.3g} a second" if done > begun else through
        self._progress.update(task, completed=done, total=total or None, through=said)
        if not self._told and total and done == total and name not in self._through:
            self._through.add(name)
            print(f"{name}: {said}" + (f", {begun:,} of them were done before" if begun else ""), file=sys.stderr)


def _pipeline(named: str) -> "tuple[Step, ...]":
    from foveal.synth.stage import pipeline_of

    place, colon, name = named.rpartition(":")
    file, name = (place, name) if colon and place.endswith(".py") else (named, "PIPELINE")
    if (found := getattr(from_file(Path(file)), name, None)) is None:
        raise ValueError(f"{file} has no {name}; a list of names and stages is wanted")
    return pipeline_of(found)


def _engine(name: str, workers: Sequence[str]) -> "Engine":
    if name == "ray":
        from foveal.synth.cluster import ray_data

        return ray_data(dict(map(_few_and_many, workers)))
    if name != "local":
        raise ValueError(f"there is no engine {name!r}; local and ray are there.")
    if workers:
        raise ValueError("--workers is for --engine ray; of local, a recipe's steps say how many processes they may have.")
    from foveal.synth.running import local

    return local


def _few_and_many(said: str) -> tuple[str, tuple[int, int]]:
    stage, _, few = said.partition("=")
    least, _, most = few.partition(":")
    if not (stage and least.isdigit() and (most or least).isdigit()):
        raise ValueError(f"--workers {said} is not understood; STAGE=LEAST:MOST is wanted, like text=1:8.")
    return stage, (int(least), int(most or least))


def _entries(paths: Sequence[str], licence: str, report: Report) -> "Iterator[Entry]":
    """Pictures by their paths, and examples of data sets; what is not there is said before anything is done."""
    if missing := [path for path in paths if not Path(path).exists()]:
        raise ValueError(f"there is no file or folder {missing[0]}")
    return chain.from_iterable(_entries_of(path, licence, report) for path in paths)


def _entries_of(path: str, licence: str, report: Report) -> "Iterator[Entry]":
    from foveal.synth.inputs import listed_images

    place = Path(path)
    is_data = (place / "annotations.jsonl").is_file() or place.suffix in (".json", ".jsonl")
    if not is_data:
        return listed_images([place], report=report)
    name = guess_source(path)
    settings = {"licence": licence} if licence and "licence" in signature(source_named(name)).parameters else {}
    return open_source(name, [path], settings, report)


def _count(out: Path) -> int:
    from foveal.synth.running import read_manifest

    found: int = read_manifest(out)["shards"]
    return found

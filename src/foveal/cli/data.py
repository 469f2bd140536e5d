"""`foveal data`: any data set converted to the one record, validated, shown as a model will see it, counted."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from foveal.cli.bars import bar
from foveal.cli.report import check_save
from foveal.cli.settings import DEFAULT_MODEL, Model, processor_of
from foveal.cli.sources import SOURCES, check_pictures, guess_source, open_source, terms_of
from foveal.data.images import load_picture, upright_size
from foveal.data.published import published_as
from foveal.data.statistics import check_plot, count_examples, plot_counts
from foveal.draw import draw, sheet
from foveal.geometry import Box, Frame, Region, bounding_box
from foveal.grounding import Example, GroundedText, write_examples

__all__ = ["convert", "data", "scenes", "show", "stats", "validate"]

data = typer.Typer(no_args_is_help=True, help="Convert, validate, show and count data sets.", rich_markup_mode=None)

_One = TypeVar("_One")
_Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="What the data set's function takes, in its order: files or folders.")]
_Kind = Annotated[
    str | None, typer.Option("--as", help=f"Which data set: {', '.join(SOURCES)}, or module:function, file.py:function. Guessed without it.")
]
_Setting = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the data set's function, like split=val.")]
_Pictures = Annotated[str | None, typer.Option("--images", help="The folder of the pictures.")]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, help="No more examples than this.")]


class _Passed:
    """What is told of records that are passed over: printed at once, and counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sentence: str) -> None:
        self.count += 1
        print(f"foveal: {sentence}", file=sys.stderr)


@data.command()
def convert(
    paths: _Paths,
    out: Annotated[Path, typer.Option("--out", help="A .jsonl file (pictures by their paths), or a folder for Parquet shards (with pictures).")],
    kind: _Kind = None,
    setting: _Setting = None,
    images: _Pictures = None,
    limit: _Limit = None,
) -> None:
    """Convert a data set to the one record (docs/record.md). Records that cannot be used are named and passed over; then the exit code is 1."""
    from foveal.data.stored import write_parquet  # which wants torch

    lines, passed = out.suffix == ".jsonl", _Passed()
    if out.is_dir() if lines else out.is_file():
        raise ValueError(f"--out {out} is a {'folder' if lines else 'file'}; a new .jsonl file, or a folder for shards, is wanted.")
    if out.resolve() in [Path(path).resolve() for path in paths]:
        raise ValueError(f"--out {out} is what is read; another place is wanted.")
    examples = _counted(_begun(_examples(paths, kind, setting, images, limit, passed), paths), "converted")
    count = _write_lines(out, examples) if lines else write_parquet(out, examples, report=passed)
    print(f"{count} examples are in {out}; {passed.count} records were passed over.")
    if found := terms_of(kind or guess_source(paths[0]), paths, dict(map(_pair, setting or ()))):
        print(f"By its name {paths[0]} is of {found.title}; its terms are written. --set licence=... gives others.", file=sys.stderr)
    _end(passed)


@data.command()
def validate(
    paths: _Paths,
    kind: _Kind = None,
    setting: _Setting = None,
    images: _Pictures = None,
    without_pictures: Annotated[bool, typer.Option(help="Do not look whether pictures are there and have the size that is stated.")] = False,
) -> None:
    """Read every record and name each that is not right: no record, a picture that is missing or has another size, a region outside the image,
    an id that stands twice, fewer or more than were published of an official file. The exit code is 1 where there is one."""
    passed, seen, count, notes = _Passed(), set[str](), 0, 0
    for example in _counted(_examples(paths, kind, setting, images, None, passed), "read"):
        count, notes = count + 1, notes + len(example.notes)
        for sentence in _faults(example, seen, pictures=not without_pictures):
            passed(f"example {example.id!r}: {sentence}")
    for title, name, wanted in _published(paths, kind, setting):
        if (read := {"examples": count, "notes": notes}[name]) != wanted:
            passed(f"{paths[0]} gave {read:,} {name}; {wanted:,} were published in this file of {title}")
    print(f"{count} examples, {passed.count} faults.")
    _end(passed)


@data.command()
def show(
    paths: _Paths,
    save: Annotated[Path, typer.Option("--save", help="The contact sheet.")] = Path("sheet.png"),
    kind: _Kind = None,
    setting: _Setting = None,
    images: _Pictures = None,
    model: Model = DEFAULT_MODEL,
    count: Annotated[int, typer.Option(min=1, help="How many examples.")] = 8,
    skip: Annotated[int, typer.Option(min=0, help="How many to leave out first.")] = 0,
) -> None:
    """Draw examples as a model sees them: stretched or padded as its processor does, its tiles apart, with all regions and words."""
    check_save(save, several=False)
    passed, processor = _Passed(), processor_of(model)
    shown = []
    for example in islice(_examples(paths, kind, setting, images, None, passed), skip, skip + count):
        try:
            shown.append(_seen(example, processor.plan))
        except ValueError as error:
            passed(f"example {example.id!r} cannot be shown: {error}")
    if not shown:
        raise ValueError(f"there is no example to show in {', '.join(paths)}.")
    sheet([shown[start : start + 2] for start in range(0, len(shown), 2)]).save(save)
    print(f"{len(shown)} examples as {model} sees them are in {save}.")
    _end(passed)


@data.command()
def stats(
    paths: _Paths,
    save: Annotated[Path | None, typer.Option("--save", help="A plot of the counts.")] = None,
    kind: _Kind = None,
    setting: _Setting = None,
    images: _Pictures = None,
    limit: _Limit = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Count what there is: examples, pictures and their sizes, notes, turns, regions and their sizes, names."""
    if save is not None:
        check_plot(save)
    passed = _Passed()
    counts = count_examples(_counted(_examples(paths, kind, setting, images, limit, passed), "counted"))
    if as_json:
        published = {name: wanted for _, name, wanted in _published(paths, kind, setting, limit)}
        print(json.dumps(counts | {"passed_over": passed.count} | ({"published": published} if published else {}), ensure_ascii=False))
    else:
        table = Table("what", "count", title=", ".join(paths))
        for name, value in counts.items():
            table.add_row(name.replace("_", " "), _told(value))
        table.add_row("records passed over", str(passed.count))
        for title, name, wanted in _published(paths, kind, setting, limit):
            table.add_row(f"{name} published in {title}", f"{wanted:,}")
        Console().print(table)
    if save is not None:
        plot_counts(counts, save)
        print(f"The plot is {save}.", file=sys.stderr)
    _end(passed)


@data.command()
def scenes(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 200,
    start: Annotated[int, typer.Option(min=0, help="The number of the first; a number always gives the same scene.")] = 0,
    split: Annotated[str, typer.Option(help="train, validation or test; no two share a scene.")] = "test",
) -> None:
    """Draw scenes whose things are known exactly, with boxes, masks, names, texts and expressions: a set like any that is marked."""
    from foveal.data.sources.scenes.written import write_scenes

    for _ in _counted(write_scenes(out, count, start=start, split=split), "drawn", count):
        pass
    print(f"{count} scenes are in {out}.")


def _examples(
    paths: list[str], kind: str | None, setting: list[str] | None, images: str | None, limit: int | None, passed: _Passed
) -> Iterator[Example]:
    settings = dict(_pair(one) for one in setting or ())
    if images is not None:
        settings["images"] = images
    check_pictures(images)
    return islice(open_source(kind or guess_source(paths[0]), paths, settings, passed), limit)


def _published(paths: list[str], kind: str | None, setting: list[str] | None, limit: int | None = None) -> Iterator[tuple[str, str, int]]:
    """Of an official file that is read whole: the data set, what is counted, and how many there are."""
    if limit is None and all(one.startswith("licence=") for one in setting or ()) and (found := published_as(kind or guess_source(paths[0]), paths)):
        for name, count in found[1].items():
            yield found[0].title, name, count


def _begun(examples: Iterator[Example], paths: list[str]) -> Iterator[Example]:
    """The same, of which the first is read: what is wrong with the source as a whole is said before anything is written over."""
    if (first := next(examples, None)) is None:
        raise ValueError(f"there is no example in {', '.join(paths)}.")
    return chain([first], examples)


def _write_lines(out: Path, examples: Iterator[Example]) -> int:
    """Written aside, and renamed when it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f"{out.name}.part")
    try:
        count = write_examples(aside, examples)
        aside.rename(out)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _pair(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise ValueError(f"--set {setting} has no =; NAME=VALUE is wanted.")
    return name, value


def _counted(examples: Iterable[_One], done: str, count: int | None = None) -> Iterator[_One]:
    left = (SpinnerColumn(),) if count is None else (BarColumn(), TimeRemainingColumn())
    with bar(*left, TextColumn("{task.completed:,} {task.description}"), TimeElapsedColumn()) as progress:
        task = progress.add_task(done, total=count)
        for example in examples:
            yield example
            progress.advance(task)


def _end(passed: _Passed) -> None:
    if passed.count:
        raise typer.Exit(1)


def _faults(example: Example, seen: set[str], *, pictures: bool) -> Iterator[str]:
    if example.id in seen:
        yield "its id stands twice"
    seen.add(example.id)
    for picture in example.images if pictures else ():
        try:
            size = upright_size(picture.path or picture.data or b"")
        except ValueError as error:
            yield str(error)
            continue
        if size != (picture.width, picture.height):
            yield f"{picture.path or 'its picture'} has {size[0]}x{size[1]} pixels upright, not {picture.width}x{picture.height} as stated"
    for said in _texts(example):
        for region in said.regions:
            if (fault := _misplaced(region)) is not None:
                yield f"{said.text[:40]!r} has {fault}"


def _misplaced(region: Region) -> str | None:
    try:
        box = bounding_box(region)
    except ValueError:
        return "a mask that sets no pixel, or a trace without points"
    values = np.array([box.x0, box.y0, box.x1, box.y1])
    if not np.isfinite(values).all() or values.min() < -1e-6 or values.max() > 1 + 1e-6:
        return f"a region outside the image: {[round(float(value), 4) for value in values]}, in fractions of it"
    if isinstance(region, Box) and (box.x1 <= box.x0 or box.y1 <= box.y0):
        return "a box without area, or turned inside out"
    return None


def _texts(example: Example) -> list[GroundedText]:
    return [*(turn.said for turn in example.turns), *(note.said for note in example.notes)]


def _seen(example: Example, plan: Callable[[tuple[int, int]], Any]) -> Image.Image:
    """The first picture as it is planned, with everything that is said and known drawn on it."""
    if not example.images:
        raise ValueError("it has no picture")
    said = GroundedText.join(*(part for text in _texts(example) for part in (text, "  ")))
    picture = load_picture(example.images[0])
    return draw(_as_planned(picture, plan(picture.size)), said, question=example.id)


def _as_planned(picture: Image.Image, plan: Any) -> Image.Image:
    """A picture in the size in which the tiles of a `TilePlan`, or else all of it (a `Frame`), are looked at; white lines between the tiles."""
    whole = plan if isinstance(plan, Frame) else plan.overview
    if isinstance(plan, Frame) or not plan.tiles:
        return picture.resize((round(whole.sx), round(whole.sy)), Image.Resampling.BICUBIC)
    across, down = (round(side) for side in (plan.tiles[0].sx, plan.tiles[0].sy))
    canvas = picture.resize((across, down), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    for tile in plan.tiles:
        left, top = round(-tile.dx), round(-tile.dy)
        pen.rectangle((left, top, left + tile.canvas_size[0], top + tile.canvas_size[1]), outline="white", width=max(2, across // 200))
    return canvas


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(one)}" for name, one in list(value.items())[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

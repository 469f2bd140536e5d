"""Our own record: files of examples as JSON lines (docs/record.md), and folders of Parquet shards."""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from foveal.data.reading import LOG, Report, made_of, some_of, text_lines
from foveal.data.stored import StoredShards
from foveal.grounding import Example, example_from_line

__all__ = ["recorded", "shards"]


def recorded(path: str | PathLike[str], *more: str | PathLike[str], report: Report = LOG.warning) -> Iterator[Example]:
    """The examples of one file, or of several one after the other; relative paths of pictures count from the file's folder.

    A line that is no example is passed over, and `report` is told why (`foveal.grounding.read_examples` stops at it). ValueError where none is one.
    """
    return (example for file in (path, *more) for example in _of_file(Path(file), report))


def shards(folder: str | PathLike[str], *, report: Report = LOG.warning) -> Iterator[Example]:
    """The examples of a folder of shards that `foveal data convert` wrote, their pictures in them. ValueError where there is none."""
    stored = StoredShards(folder)
    return made_of(((f"{folder}, example {number},", number) for number in range(len(stored))), stored.__getitem__, report)


def _of_file(path: Path, report: Report) -> Iterator[Example]:
    folder = path.resolve().parent
    examples = made_of(text_lines(path), lambda line: example_from_line(line, folder), report)
    return some_of(examples, f"no line of {path} is an example; docs/record.md says what is wanted")

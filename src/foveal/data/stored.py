"""Examples on disk, any of them at once: JSON lines beside their pictures, or Parquet shards that hold their pictures."""

import bisect
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from foveal.data.images import load_picture
from foveal.data.reading import LOG, Report
from foveal.grounding import Example, Picture, example_from_line, example_to_json

__all__ = ["Stored", "StoredShards", "write_parquet"]

_ROWS = 16
"""In a group of a shard, which is read at once: few, because a shuffled order wants one of them."""


class Stored:
    """The examples of a JSON lines file by their number (docs/record.md); eight bytes of memory each.

    A line that is no example raises ValueError when it is asked for, with the file's name and the line's number. The file must not change meanwhile.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_file():
            raise ValueError(f"there is no file of examples {path}")

    @cached_property
    def starts(self) -> Int[np.ndarray, " lines"]:
        """Where each line begins that is not empty, in bytes."""
        found, start = [], 0
        with open(self.path, "rb") as lines:
            for line in lines:
                if line.strip():
                    found.append(start)
                start += len(line)
        return np.array(found, np.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Example:
        with open(self.path, "rb") as lines:
            lines.seek(self.starts[index])
            line = lines.readline()
        try:
            return example_from_line(line.decode("utf-8"), self.path.parent)
        except ValueError as error:
            raise ValueError(f"{self.path}, record {index + 1}: {error}") from error


def write_parquet(folder: str | PathLike[str], examples: Iterable[Example], *, rows: int = 2000, report: Report = LOG.warning) -> int:
    """Writes examples with the bytes of their pictures as Parquet shards of at most `rows`, and returns how many.

    Columns: `id`, `record` (the JSON of docs/record.md without its pictures' bytes), `pictures` (the encoded images). All are written
    aside, and take the place of those that lie in the folder already once they are whole. An example whose picture cannot be read is passed over.
    ValueError where the folder holds something else.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if strangers := [path.name for path in place.iterdir() if path.suffix != ".parquet"]:
        raise ValueError(f"{place} holds {strangers[0]}; a folder of its own is wanted for shards.")
    new, old = (place.with_name(f".{name}-{place.name}") for name in ("writing", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        kept = _held(examples, report)
        count = sum(_write_shard(new / f"{number:05d}.parquet", shard) for number, shard in enumerate(iter(lambda: list(islice(kept, rows)), [])))
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return count


def _held(examples: Iterable[Example], report: Report) -> Iterator[tuple[str, str, list[bytes]]]:
    for example in examples:
        try:
            for picture in example.images:
                load_picture(picture)
            held = [picture.data if picture.data is not None else Path(str(picture.path)).read_bytes() for picture in example.images]
        except (ValueError, OSError) as error:
            report(f"example {example.id!r} is passed over: {error}")
            continue
        bare = replace(example, images=tuple(Picture(picture.width, picture.height, data=b"") for picture in example.images))
        yield example.id, json.dumps(example_to_json(bare), ensure_ascii=False), held


def _write_shard(path: Path, shard: list[tuple[str, str, list[bytes]]]) -> int:
    import pyarrow
    from pyarrow import parquet

    kinds = pyarrow.schema([("id", pyarrow.string()), ("record", pyarrow.string()), ("pictures", pyarrow.list_(pyarrow.binary()))])
    table = pyarrow.table(dict(zip(kinds.names, zip(*shard, strict=True), strict=True)), kinds)
    parquet.write_table(table, path, row_group_size=_ROWS, compression="zstd")
    return len(shard)


class StoredShards:
    """The examples of a folder of Parquet shards by their number, pictures and all (`write_parquet`). ValueError where there is no shard."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.paths = sorted(Path(folder).glob("*.parquet"))
        if not self.paths:
            raise ValueError(f"there is no Parquet shard in {folder}")

    @cached_property
    def groups(self) -> list[tuple[Path, int, int]]:
        """Each group of rows: its file, its number there, and how many rows come before it."""
        heads = [(path, _whole(path).metadata) for path in self.paths]
        found = [(path, number, head.row_group(number).num_rows) for path, head in heads for number in range(head.num_row_groups)]
        starts = list(accumulate((rows for *_, rows in found), initial=0))
        self._count = starts[-1]
        return [(path, number, start) for (path, number, _), start in zip(found, starts, strict=False)]

    def __len__(self) -> int:
        return self._count if self.groups else 0

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        which = bisect.bisect_right([start for *_, start in self.groups], index) - 1
        row = self._rows(which)[index - self.groups[which][2]]
        example = example_from_line(row["record"], self.paths[0].parent)
        pictures = [replace(picture, data=held) for picture, held in zip(example.images, row["pictures"], strict=True)]
        return replace(example, images=tuple(pictures))

    def _rows(self, which: int) -> list[dict[str, Any]]:
        if self._kept[0] != which:
            path, number, _ = self.groups[which]
            try:
                self._kept = (which, _whole(path).read_row_group(number).to_pylist())
            except (ValueError, OSError) as error:  # as pyarrow says that bytes were changed
                raise ValueError(f"{path}, group of rows {number}, cannot be read: {_first_line(error)}") from error
        return self._kept[1]

    _kept: tuple[int, list[dict[str, Any]]] = (-1, [])
    _count = 0


def _whole(path: Path) -> Any:
    """A shard, opened. ValueError, naming it, for a file that is none, or that was cut."""
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} is no whole Parquet file: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")

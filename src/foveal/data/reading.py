"""Annotation files read record by record: however large a file is, memory stays small, nothing in it is executed, and what is passed over is said."""

import gzip
import importlib
import json
import logging
import pickle
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, TypeVar, cast

__all__ = [
    "LOG",
    "Grouped",
    "Report",
    "array_of",
    "child_of",
    "entries_of",
    "file_within",
    "made_of",
    "needed",
    "object_of",
    "pairs_of",
    "read_pickle",
    "read_xml",
    "some_of",
    "text_lines",
]

LOG = logging.getLogger("foveal.data")
Report = Callable[[str], object]
"""What is told of each record that is passed over: one sentence."""

_Made = TypeVar("_Made")
_Record = TypeVar("_Record")
_GZIP = b"\x1f\x8b"


def made_of(records: Iterable[tuple[str, _Record]], make: Callable[[_Record], _Made | None], report: Report = LOG.warning) -> Iterator[_Made]:
    """What `make` makes of each (name, record). One that raises ValueError, KeyError, TypeError or IndexError is passed over, and `report`
    is told its name and why; one of which `make` makes None is left out without a word.

    >>> list(made_of([("record 1", "7"), ("record 2", "seven")], int, print))
    record 2 is passed over: invalid literal for int() with base 10: 'seven'
    [7]
    """
    for name, record in records:
        try:
            made = make(record)
        except KeyError as error:
            report(f"{name} is passed over: it has no {error.args[0]!r}")
        except (ValueError, TypeError, IndexError, RecursionError) as error:
            report(f"{name} is passed over: {error}")
        else:
            if made is not None:
                yield made


def some_of(examples: Iterator[_Made], refusal: str) -> Iterator[_Made]:
    """All of them as they come; ValueError of `refusal` where there is none at all: then a file is of another kind.

    >>> list(some_of(iter([]), "no image of a.json can be used"))
    Traceback (most recent call last):
    ValueError: no image of a.json can be used
    """
    empty = True
    for example in examples:
        empty = False
        yield example
    if empty:
        raise ValueError(refusal)


def entries_of(entries: Iterable[_Record], kind: str, owner: str) -> Iterator[tuple[str, _Record]]:
    """What a record lists, each with what to call it: by its "id" where it has one, else by its place.

    >>> list(entries_of([{"id": 7}, {}], "segment", "image 3"))
    [('segment 7 of image 3', {'id': 7}), ('segment 1 of image 3', {})]
    """
    for place, entry in enumerate(entries):
        yield f"{kind} {entry.get('id', place) if isinstance(entry, dict) else place} of {owner}", entry


def array_of(path: str | PathLike[str], name: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of an array in a JSON file, each with what to call it: the one called `name` in the outermost object ("images.item" for
    what lies deeper, in ijson's words), or the outermost itself. The file may be compressed by gzip. It is never held in memory as a whole.

    ValueError names a file that is no JSON; an array that is not there has no entries.
    """
    ijson = needed("ijson")
    prefix = f"{name}.item" if name else "item"
    with _opened(path) as file:
        try:
            for number, record in enumerate(ijson.items(file, prefix, use_float=True)):
                yield f"{path}, {name or 'entry'} {number},", record
        except ijson.JSONError as error:
            raise ValueError(f"{path} is no whole JSON file: {error}") from error


def pairs_of(path: str | PathLike[str]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The (key, value) pairs of the outermost object of a JSON file, each with what to call it; otherwise as `array_of`. A list has none."""
    ijson = needed("ijson")
    with _opened(path) as file:
        try:
            for key, value in ijson.kvitems(file, "", use_float=True):
                yield f"{path}, {key!r},", (key, value)
        except ijson.JSONError as error:
            raise ValueError(f"{path} is no whole JSON file: {error}") from error


def child_of(path: str | PathLike[str], name: str) -> Any:
    """The value called `name` in the outermost object of a JSON file, None where there is none. Only this value is held in memory."""
    ijson = needed("ijson")
    with _opened(path) as file:
        try:
            return next(iter(ijson.items(file, name, use_float=True)), None)
        except ijson.JSONError as error:
            raise ValueError(f"{path} is no whole JSON file: {error}") from error


def text_lines(path: str | PathLike[str]) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not empty, each with what to call it."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}, line {number},", line.decode("utf-8", errors="replace").rstrip("\r\n")


def object_of(line: str | bytes) -> Mapping[str, Any]:
    """The JSON object of a line of `text_lines`; ValueError where it is none, so that `made_of` passes over that line alone.

    >>> object_of('{"a": 1}')
    {'a': 1}
    """
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"it holds a {type(record).__name__}; it wants an object")
    return record


class Grouped:
    """Records by key, kept in a temporary file that is gone with the object: for files that list by the thing what is wanted by the image.

    >>> kept = Grouped([(1, {"name": "cat"}), (2, {"name": "dog"}), (1, {"name": "cup"})])
    >>> kept.of(1)
    [{'name': 'cat'}, {'name': 'cup'}]
    """

    def __init__(self, records: Iterable[tuple[object, Any]]) -> None:
        self._kept = sqlite3.connect("")  # SQLite's name for a private file that it deletes itself
        self._kept.execute("CREATE TABLE kept (key TEXT, record TEXT)")
        self._kept.executemany("INSERT INTO kept VALUES (?, ?)", ((str(key), json.dumps(record)) for key, record in records))
        self._kept.execute("CREATE INDEX by_key ON kept (key)")

    def of(self, key: object) -> list[Any]:
        """The records of a key, in their order."""
        rows = self._kept.execute("SELECT record FROM kept WHERE key = ? ORDER BY rowid", (str(key),))
        return [json.loads(record) for (record,) in rows]

    def keys(self) -> Iterator[str]:
        """All keys, in the order in which they were first met."""
        return (key for (key,) in self._kept.execute("SELECT key FROM kept GROUP BY key ORDER BY MIN(rowid)"))


def file_within(folder: str | PathLike[str], name: str) -> Path:
    """The file that an annotation calls `name`: in `folder` at the whole name, or at its last two parts, or at its last alone.

    Mirrors and downloads keep more or fewer of the folders. ValueError where there is none, or where the name leads out of the folder.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise ValueError(f"{name!r} is no name of a file within {folder}")
    for kept in dict.fromkeys((len(parts), 2, 1)):
        if (path := Path(folder, *parts[-kept:])).is_file():
            return path
    raise ValueError(f"there is no file {Path(folder, name)}")


def read_pickle(path: str | PathLike[str]) -> Any:
    """A pickle of numbers, texts, lists and dictionaries, as RefCOCO is published. ValueError for one that names anything else: a pickle can
    call whatever it names."""
    with open(path, "rb") as file:
        try:
            return _PlainUnpickler(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is no pickle that can be read: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"it names {module}.{name}; only numbers, texts, lists and dictionaries are read")


def read_xml(path: str | PathLike[str]) -> Any:
    """The root element of an XML file. ValueError for one that is broken, or that declares entities, which can grow without limit."""
    tree = needed("defusedxml.ElementTree")
    try:
        return tree.parse(fspath(path)).getroot()
    except (tree.ParseError, needed("defusedxml").DefusedXmlException) as error:
        raise ValueError(f"{path} is no XML that can be read: {error}") from error


def needed(name: str) -> Any:
    """A module that not every installation has; ValueError that says how it is had.

    >>> needed("no_such_module")
    Traceback (most recent call last):
    ValueError: this wants no_such_module; pip install 'foveal[data]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"this wants {name}; pip install 'foveal[data]'") from error


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[IO[bytes]]:
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    with open(path, "rb") as plain:
        assert isinstance(plain, BufferedReader)
        if plain.peek(2)[:2] != _GZIP:
            yield plain
            return
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=plain))
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is no whole gzip file: {error}") from error

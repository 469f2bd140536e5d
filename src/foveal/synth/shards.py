"""Shards on disk: a stage's examples, so many a file; one that is finished is known by what it was made of, and is never made again."""

import gc
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from foveal.grounding import Example, example_from_line, example_to_json
from foveal.synth.notes import REFUSED, refused
from foveal.synth.stage import Stage, Stopped

__all__ = ["Done", "Folder", "done_from", "example_line", "hash_of", "make_shard", "read_shard", "write_shard"]

_RECORDS = "shards.jsonl"
_PACKAGES = ("foveal", "torch", "transformers", "numpy", "rapidocr", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Done:
    """What is kept of a finished shard. `made_of` and `sha256` are hashes of what it was made of, and of itself."""

    number: int
    made_of: str
    sha256: str
    bytes: int
    examples: int
    refused: tuple[tuple[str, str], ...] = ()
    """Of each example that could not be worked on and is left out: its id, and why."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)


class Folder:
    """The shards of a stage, and the records of those that are finished, each on a line of shards.jsonl. A line that was torn counts for nothing.

    Of several processes that finish shards each has a file of its `own`.
    """

    def __init__(self, path: Path, own: str = _RECORDS) -> None:
        self.path, self._own = path, path / own
        files = [*sorted(path.glob("shards-*.jsonl")), path / _RECORDS]
        self.records = {record.number: record for file in files for record in _records(file)}
        self._torn = _is_torn(self._own)

    def shard(self, number: int) -> Path:
        """Where the shard of this number lies, or is to lie."""
        return self.path / f"{number:05d}.jsonl"

    def has(self, number: int, made_of: str) -> bool:
        """Whether it is finished, of the same as now."""
        record, file = self.records.get(number), self.shard(number)
        return record is not None and record.made_of == made_of and file.is_file() and file.stat().st_size == record.bytes

    def keep(self, record: Done) -> None:
        """Writes down that a shard is finished."""
        with open(self._own, "a", encoding="utf-8") as lines:
            lines.write("\n" * self._torn + json.dumps(asdict(record), ensure_ascii=False) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        self._torn, self.records[record.number] = False, record


def done_from(record: Mapping[str, Any]) -> Done:
    """The record of its JSON; ValueError, TypeError or KeyError where it is none."""
    return Done(**{**record, "refused": tuple((name, why) for name, why in record["refused"])})


def make_shard(stage: Stage, number: int, source: Path, target: Path) -> Done:
    """Runs a stage over the examples of a shard and writes them, whole or not at all. ValueError where it fails on every one of several."""
    start, spent = time.perf_counter(), time.process_time()
    examples, made_of = read_shard(source)
    done = write_shard(target, number, made_of, _worked(stage, examples))
    return replace(done, seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - spent)


def hash_of(shard: Path) -> str:
    """The hash of a shard's bytes."""
    return sha256(shard.read_bytes()).hexdigest()


def read_shard(path: Path) -> tuple[list[Example], str]:
    """The examples of a shard, and the hash of its bytes."""
    data, folder = path.read_bytes(), path.resolve().parent
    with _uncollected():
        return [example_from_line(line, folder) for line in data.decode("utf-8").split("\n") if line], sha256(data).hexdigest()


def write_shard(path: Path, number: int, made_of: str, examples: Sequence[Example]) -> Done:
    """Writes the examples that are not refused beside the place, and moves them there when they are whole: whoever is ended in between has left
    nothing that counts."""
    kept = [example for example in examples if REFUSED not in example.facts]
    with _uncollected():
        data = b"".join(map(example_line, kept))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    left_out = tuple((example.id, str(example.facts[REFUSED])) for example in examples if REFUSED in example.facts)
    return Done(number, made_of, sha256(data).hexdigest(), len(data), len(kept), left_out, versions=_versions())


def example_line(example: Example) -> bytes:
    """The example as a line of JSON, the paths of its pictures whole."""
    import orjson  # of extra synth: a third of a stage's time less than by json

    record = example_to_json(example)
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:  # what it does not write, and json does: whole numbers beyond 64 bits, keys that are numbers, float64 of numpy's
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for cycles: thousands of notes that hold none are made, and it would go through them again and again (a quarter of the
    time)."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _worked(stage: Stage, examples: Sequence[Example]) -> list[Example]:
    """All at once; where that fails, each alone, and those that it fails on are refused. A stage that fails on all of several is at fault itself."""
    try:
        return _checked(stage, examples)
    except Stopped:
        raise
    except Exception:  # a stage may be anybody's
        found = [_alone(stage, example) for example in examples]
        if len(examples) > 1 and all(REFUSED in example.facts for example in found):
            raise
        return found


def _alone(stage: Stage, example: Example) -> Example:
    try:
        return _checked(stage, [example])[0]
    except Stopped:
        raise
    except Exception as error:
        name = "" if isinstance(error, ValueError) and str(error) else type(error).__name__
        return refused(example, ": ".join(filter(None, (name, str(error)))))


def _checked(stage: Stage, examples: Sequence[Example]) -> list[Example]:
    found = list(stage(iter(examples)))
    if [example.id for example in found] != [example.id for example in examples]:
        raise ValueError(f"a stage was given {len(examples)} examples and gave {len(found)}; each is wanted back, in order, under its own id")
    for before, after in zip(examples, found, strict=True):
        if len(after.notes) < len(before.notes):
            raise ValueError(
                f"a stage took {len(before.notes) - len(after.notes)} notes away from example {before.id!r}; it may only add and mark them"
            )
        for note in after.notes[len(before.notes) :]:
            if odd := [score for score in (note.score, *(one for span in note.said.spans for one in span.scores)) if score and not isfinite(score)]:
                raise ValueError(f"a stage gave {note.said.text[:40]!r} the score {odd[0]}; a finite number, or none, is wanted")
    return found


def _records(file: Path) -> Iterator[Done]:
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                yield done_from(json.loads(line))
            except (ValueError, TypeError, KeyError):
                continue


def _is_torn(file: Path) -> bool:
    if not file.is_file() or not file.stat().st_size:
        return False
    with open(file, "rb") as lines:
        lines.seek(-1, os.SEEK_END)
        return lines.read() != b"\n"


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

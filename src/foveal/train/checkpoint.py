"""Folders that are whole or not there: written aside, flushed, listed with their hashes in a manifest, and renamed in one step."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

__all__ = [
    "MANIFEST",
    "aside",
    "forget_after",
    "is_whole",
    "last_whole_checkpoint",
    "newest_first",
    "place_aside",
    "prune",
    "seal",
]

MANIFEST = "manifest.json"
_ASIDE = ".writing-"
_CHUNK = 1 << 20


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to write into; when the block ends, it is sealed and becomes `folder`, in one step.

    Where the block fails or the process dies, `folder` is as it was before, and what was written is removed, at the latest by the next
    call. A `folder` that is there already is replaced.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "model"
    >>> with aside(place) as new:
    ...     _ = (new / "weights").write_text("1 2 3")
    >>> is_whole(place), sorted(path.name for path in place.iterdir())
    (True, ['manifest.json', 'weights'])
    """
    new = place_aside(folder)
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        seal(new, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        said = f"{folder} could not be written ({getattr(error, 'strerror', None) or error}); what was kept before is as it was"
        number = getattr(error, "errno", None)  # safetensors has none
        raise (OSError(number, said) if number else OSError(said)) from error
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def place_aside(folder: Path) -> Path:
    """Where what is to become `folder` is written."""
    return folder.with_name(f"{_ASIDE}{folder.name}")


def seal(new: Path, folder: Path) -> None:
    """Flushes all files of `new` to the disk, lists them in its manifest, and renames it to `folder`."""
    files = sorted(path for path in new.rglob("*") if path.is_file() and path.name != MANIFEST)
    listed = {path.relative_to(new).as_posix(): {"sha256": _sha256(path), "bytes": path.stat().st_size} for path in files}
    manifest = new / MANIFEST
    manifest.write_text(json.dumps({"files": listed}, indent=1))
    for path in (*files, manifest, new):
        _flush(path)
    if folder.exists():
        old = folder.with_name(f"{_ASIDE}old-{folder.name}")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(folder)
    _flush(folder.parent)


def is_whole(folder: Path) -> bool:
    """Whether every file of a folder's manifest is there and is what it was when it was written."""
    try:
        listed = json.loads((folder / MANIFEST).read_text())["files"]
        return bool(listed) and all(_is_as_listed(folder / name, entry) for name, entry in listed.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def newest_first(run: Path) -> list[Path]:
    """The checkpoints of a run, whole or not, the one of the highest step first."""
    numbered = [path for path in run.glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name.partition("-")[2]), reverse=True)


def last_whole_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of a run whose manifest holds, or None. transformers' own search also finds torn ones."""
    return next((path for path in newest_first(run) if is_whole(path)), None)


def prune(run: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints of a run, and what was left unfinished. Hashes are not looked at again: only a whole
    checkpoint bears its name."""
    for path in (*newest_first(run)[keep:], *run.glob(f"{_ASIDE}*")):
        shutil.rmtree(path, ignore_errors=True)


def forget_after(run: Path, start: Path | None) -> None:
    """Removes the checkpoints of a run behind the one that it goes on from (all, where it begins anew), which are torn or of another course, and
    what was left unfinished: a new checkpoint of the same step takes their place."""
    for path in newest_first(run):
        if path == start:
            break
        shutil.rmtree(path, ignore_errors=True)
    for path in run.glob(f"{_ASIDE}*"):
        shutil.rmtree(path, ignore_errors=True)


def _is_as_listed(path: Path, entry: dict[str, object]) -> bool:
    return path.stat().st_size == entry["bytes"] and _sha256(path) == entry["sha256"]


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _flush(path: Path) -> None:
    """Has the system write what it holds of a file or a folder to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

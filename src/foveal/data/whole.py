"""Small files that are whole or not there, wherever a program is ended; what they say of the run in their folder; and one run in it at a time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

__all__ = ["alone_in", "check_same_run", "write_whole"]

_PATIENCE = 5.0  # seconds in which what a killed run left behind is gone


@contextmanager
def alone_in(place: Path) -> Iterator[None]:
    """Keeps a folder, which is made, for one run; the system lets go of it however the run ends. Of a run's processes (RANK) the first keeps it, and
    may keep it once more within.

    ValueError where another run is at work in it, or it is a file.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    if place.is_file():
        raise ValueError(f"{place} is a file; a folder is wanted.")
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / ".lock", is_singleton=True, fallback_to_soft=False)  # a soft one would outlive a run that was killed
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise ValueError(f"another run is at work in {place}; wait for its end, or give another folder.") from None
    except (OSError, RuntimeError) as error:  # a file system that knows no locks: RuntimeError of older versions of filelock
        if isinstance(error, OSError) and error.errno not in (ENOSYS, ENOLCK, EOPNOTSUPP):
            raise
    try:
        yield
    finally:
        lock.release()


def check_same_run(place: Path, found: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """ValueError where what a folder tells of its run is not what the `settings` of the one at hand say; what only `found` says may be anything.

    >>> check_same_run(Path("runs"), {"steps": 2, "batch": 4}, {"steps": 2})
    >>> check_same_run(Path("runs"), {"steps": 2}, {"steps": 3})
    Traceback (most recent call last):
    ValueError: runs holds a run with another steps; give another folder, or the same settings to go on with it.
    """
    if odd := [name for name, value in settings.items() if found.get(name) != value]:
        raise ValueError(f"{place} holds a run with another {', '.join(odd)}; give another folder, or the same settings to go on with it.")


def write_whole(file: Path, text: str) -> None:
    """Writes a text aside, and puts it in the place of what `file` held when it is whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a.json", "{}")
    ...     print((Path(folder) / "a.json").read_text(), len(list(Path(folder).iterdir())))
    {} 1
    """
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)

"""Small files that are whole or not there, wherever a program is ended; and what they say of the run in their folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["check_same_run", "write_whole"]


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

"""Small files that are whole or not there, wherever a program is ended."""

from pathlib import Path

__all__ = ["write_whole"]


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

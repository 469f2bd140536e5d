"""What a run begins with: picture files, folders of them, listings, examples; named first, and opened when their shard is made."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from foveal.data.images import FORMATS, picture_from
from foveal.data.reading import LOG, Report, text_lines
from foveal.data.remote import is_url
from foveal.data.sources.examples import recorded
from foveal.grounding import Example, example_to_json
from foveal.synth.notes import refused

__all__ = ["Entry", "digest", "example_of", "listed_images"]

Entry = Path | Example
"""A picture's file, or an example with all that is known of it."""

_SUFFIXES = {f".{kind.lower()}" for kind in FORMATS} | {".jpg", ".tif"}


def listed_images(paths: Iterable[str | Path], *, report: Report = LOG.warning) -> Iterator[Entry]:
    """The pictures that paths name, in an order that is always the same: a file; a folder with those below it; a .txt with a path on each line, from
    its own folder on; a .jsonl of examples (docs/record.md). ValueError where there is no such thing."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from _below(path)
        elif not path.is_file():
            raise ValueError(f"there is no file or folder {path}")
        elif path.suffix == ".txt":
            yield from (_listed(path.parent, line.strip()) for _, line in text_lines(path))
        elif path.suffix == ".jsonl":
            yield from recorded(path, report=report)
        else:
            yield path


def digest(entry: Entry) -> str:
    """What tells whether an entry is still the same: of a file its name and its size in bytes; of an example all of it."""
    if isinstance(entry, Example):
        return sha256(json.dumps(example_to_json(entry), ensure_ascii=False).encode()).hexdigest()
    try:
        return f"{entry}\0{entry.stat().st_size}"
    except OSError:
        return f"{entry}\0none"


def example_of(entry: Entry, licence: str = "") -> Example:
    """The example that a run carries on: of a picture, one whose id is its path as it was named, refused where it is no picture."""
    if isinstance(entry, Example):
        return replace(entry, licence=entry.licence or licence)
    try:
        picture = picture_from(entry)
        return Example(str(entry), (replace(picture, path=str(entry.resolve())),), licence=licence)
    except (ValueError, OSError) as error:
        return refused(Example(str(entry)), str(error))


def _listed(folder: Path, line: str) -> Entry:
    """What a line of a listing names. An address is none that is opened: a bucket wants to be mounted."""
    if not is_url(line):
        return folder / line
    return refused(Example(line), f"{line} is an address; the path of a file is wanted, as below the folder where a bucket is mounted")


def _below(folder: Path) -> Iterator[Path]:
    """Depth first, names sorted, so that a folder of millions is not held at once."""
    with os.scandir(folder) as found:
        entries = sorted(((one.name, one.is_dir()) for one in found), key=lambda one: one[0])
    for name, is_folder in entries:
        if is_folder:
            yield from _below(folder / name)
        elif Path(name).suffix.lower() in _SUFFIXES:
            yield folder / name

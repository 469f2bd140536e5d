"""Data sets as they were published: the terms of their words and of their pictures, and how much their files hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path

__all__ = ["Published", "published_as", "published_sets"]

_LEDGER = Path(__file__).with_name("published.json")


@dataclass(frozen=True, slots=True)
class Published:
    """A data set, by what its publisher says of it. What is not said is "not stated"."""

    title: str
    read_as: tuple[str, ...]
    """What `foveal data --as` calls the forms of its files."""
    licence: str
    """Of the annotations."""
    found: str
    """Where that was read: at the "publisher", with "others", "unconfirmed", or "nowhere"."""
    pictures: str
    """The terms of the pictures; "same" where they are those of the annotations."""
    home: str
    files: Mapping[str, Mapping[str, int]]
    """Of an official file (as much of its path as tells it from others): how many "examples" and "notes" are in it."""

    @property
    def terms(self) -> str:
        """What a record carries as its licence.

        >>> Published("Narratives", ("narratives",), "CC BY 4.0", "publisher", "by picture", "", {}).terms
        'annotations: CC BY 4.0; pictures: by picture'
        """
        licence = self.licence + {"others": " (as others say)", "unconfirmed": " (unconfirmed)"}.get(self.found, "")
        return licence if self.pictures == "same" else f"annotations: {licence}; pictures: {self.pictures}"

    def counts(self, path: str | PathLike[str]) -> Mapping[str, int] | None:
        """How much the official file of this name holds, None for a file of another name."""
        parts = Path(path).absolute().parts
        fitting = [name for name in self.files if parts[-len(wanted := Path(name).parts) :] == wanted]
        return self.files[max(fitting, key=len)] if fitting else None


def published_as(kind: str, paths: Sequence[str | PathLike[str]]) -> tuple[Published, Mapping[str, int]] | None:
    """The set whose official file of this kind is the first of the paths, with what the file holds; None where its name is no official one's.

    >>> found, counts = published_as("coco", ["downloads/instances_val2017.json"])
    >>> found.title, counts["examples"], published_as("coco", ["my_boxes.json"])
    ('COCO 2017', 5000, None)
    """
    for one in published_sets():
        if kind in one.read_as and paths and (counts := one.counts(paths[0])) is not None:
            return one, counts
    return None


@cache
def published_sets() -> tuple[Published, ...]:
    """All that are known (docs/data_sets.md)."""
    return tuple(
        Published(one["title"], tuple(one["as"]), one["licence"], one["found"], one["pictures"], one["home"], one["files"])
        for one in json.loads(_LEDGER.read_text(encoding="utf-8"))
    )

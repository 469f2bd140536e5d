"""Examples on disk, any of them at once: a JSON lines file of which only the places of its lines are kept in memory."""

from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int
from torch.utils.data import Dataset

from foveal.grounding import Example, example_from_line

__all__ = ["Stored"]


class Stored(Dataset):
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

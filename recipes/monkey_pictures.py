"""Draws the pictures that the small Monkey learns from: at the size of its canvas, with what lies under each patch, in resumable shards.

    python recipes/monkey_pictures.py runs/monkey/pictures --count 10000

A shard is a folder of arrays over its pictures and one line of JSON for each.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from foveal.data.sources.scenes import Drawing, SceneStyle, Thing, draw_scene, vocabulary
from foveal.data.sources.scenes.short import SHORT_STYLE
from foveal.data.sources.scenes.stamps import COMMON_WORDS, letter_edges
from nano_pictures import SHARD, patch_targets, record_of

__all__ = ["CLASSES", "LETTERS", "NOTHING", "NUMBER", "PATCH", "WINDOW", "Shard", "build", "class_of", "open_shards", "targets"]

WINDOW, PATCH = 224, 16
NUMBER = len(vocabulary()) + len(COMMON_WORDS)
CLASSES = NUMBER + 1
"""What may lie under a patch: every name, every word, or a number."""
LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789"
NOTHING = -1
"""Class of a patch with nothing on it."""
_SLOTS = 3  # letters told of a patch
_WRITTEN = {word: number for number, word in enumerate(COMMON_WORDS, len(vocabulary()))}
_INDEX = _WRITTEN | {name: number for number, name in enumerate(vocabulary())}
"""A written word that also names a drawn thing is of that name's class: both are said by one word."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """`pixels` uint8 [n height width 3]; of every patch of the canvas (near) and of the shrunk whole (far): what lies under it (int16),
    whether the middle of a thing does (bool), which letters do, the first three from the left (int8 [... 3]); `records` a line of JSON each."""

    pixels: np.ndarray
    near: np.ndarray
    near_middles: np.ndarray
    near_letters: np.ndarray
    far: np.ndarray
    far_middles: np.ndarray
    far_letters: np.ndarray
    records: list[str]


def class_of(thing: Thing) -> int:
    """The number of what lies under a thing's patches."""
    if thing.kind != "text":
        return _INDEX[thing.name]
    return _INDEX[thing.said.lower()] if thing.said and not thing.said.isdigit() else NUMBER


def targets(drawing: Drawing, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What lies under each of rows x cols patches: the thing's class, whether its middle does, and the letters that do [rows cols 3]."""
    height, width = drawing.labels.shape
    labels = drawing.labels.copy()
    middles, letters = np.zeros((rows, cols), bool), np.zeros((rows, cols, _SLOTS), np.int8)
    for number, thing in enumerate(drawing.things, 1):
        x0, y0, x1, y1 = (int(edge) for edge in thing.box_px)
        row, col = int((y0 + y1) / 2 * rows / height), int((x0 + x1) / 2 * cols / width)
        middles[row, col] = True
        if thing.kind == "text" and thing.said and thing.font:
            labels[y0:y1, x0:x1] = number  # letters leave most of a patch bare
            edges = letter_edges(thing.said, thing.font)
            for letter, middle in zip(thing.said.lower(), (edges[:-1] + edges[1:]) / 2, strict=True):
                under = letters[row, min(cols - 1, int((x0 + middle * (x1 - x0)) * cols / width))]
                if (told := int((under > 0).sum())) < _SLOTS:
                    under[told] = LETTERS.index(letter)
    index = np.array([class_of(thing) for thing in drawing.things])
    return patch_targets(replace(drawing, labels=labels), index, rows, cols)[0], middles, letters


def build_shard(folder: Path, number: int, split: str, style: SceneStyle) -> Path:
    """Draws one shard of pictures and writes it whole or not at all."""
    target = folder / f"{split}-{number:04d}"
    if target.exists():
        return target
    columns: list[list[np.ndarray]] = [[] for _ in fields(Shard)[:-1]]
    records = []
    for seed in range(number * SHARD, (number + 1) * SHARD):
        drawing = draw_scene(seed, split, style)
        height, width = drawing.labels.shape
        row = (drawing.pixels, *targets(drawing, height // PATCH, width // PATCH), *targets(drawing, WINDOW // PATCH, WINDOW // PATCH))
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        records.append(record_of(drawing))
    part = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for field, column in zip(fields(Shard), columns, strict=False):
        np.save(part / f"{field.name}.npy", np.stack(column))
    (part / "pictures.jsonl").write_text("\n".join(records))
    part.rename(target)
    return target


def build(folder: Path, count: int, split: str = "train", style: SceneStyle = SHORT_STYLE, workers: int = 2) -> Iterator[Path]:
    """Draws `count` pictures of one size into shards of 500 under `folder`; shards that stand already are not drawn again."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(build_shard, folder, split=split, style=style), range(-(-count // SHARD)))


def open_shards(folder: Path, split: str = "train") -> list[Shard]:
    """All finished shards of a split, memory-mapped."""
    names = [field.name for field in fields(Shard)[:-1]]
    return [
        Shard(*(np.load(path / f"{name}.npy", mmap_mode="r") for name in names), records=(path / "pictures.jsonl").read_text().split("\n"))
        for path in sorted(folder.glob(f"{split}-*"))
    ]


if __name__ == "__main__":
    import argparse

    from rich.progress import track

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    for _ in track(build(options.folder, options.count), total=-(-options.count // SHARD), description="drawing"):
        pass

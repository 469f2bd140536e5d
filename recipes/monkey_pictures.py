"""Draws the pictures that the small Monkey learns from, in resumable shards, and tells what lies under each patch of a view of one.

    python recipes/monkey_pictures.py runs/monkey/pictures --count 10000

A shard is a folder with an array of pixels and one line of JSON for each picture.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from foveal.data.sources.scenes import Drawing, SceneStyle, Thing, draw_scene, vocabulary
from foveal.data.sources.scenes.short import SHORT_STYLE
from foveal.data.sources.scenes.stamps import COMMON_WORDS, letter_edges
from nano_pictures import SHARD, drawing_of, patch_targets, record_of

__all__ = [
    "CLASSES", "LETTERS", "LONGEST", "NOTHING", "NUMBER", "PAGE_STYLE", "PATCH", "SIDE", "UNKNOWN", "WINDOW",
    "Shard", "Shown", "Under", "build", "cells_of", "class_of", "open_shards", "under",
]  # fmt: skip

WINDOW, PATCH = 224, 8
SIDE = WINDOW // PATCH
NUMBER = len(vocabulary()) + len(COMMON_WORDS)
CLASSES = NUMBER + 1
"""What may lie under a patch: every name, every word, or a number."""
LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789"
LONGEST = max(len(word) for word in COMMON_WORDS)
NOTHING, UNKNOWN = -1, -2
"""Class of a patch with nothing on it, and of one whose word is cut off or too small to be read."""
PAGE_STYLE = replace(SHORT_STYLE, things=(24, 28), texts=(20, 22), repeat_share=0.0, text_px=(10, 20))
"""Pictures full of words, to learn to read from: some of the letters are larger than they will be."""
_LEAST_SHOWN = 0.6  # share of a word inside the view that leaves it readable
_WRITTEN = {word: number for number, word in enumerate(COMMON_WORDS, len(vocabulary()))}
_INDEX = _WRITTEN | {name: number for number, name in enumerate(vocabulary())}
"""A written word that also names a drawn thing is of that name's class: both are said by one word."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """`pixels` uint8 [n height width 3]; `records` a line of JSON for each."""

    pixels: np.ndarray
    records: list[str]


class Shown:
    """All pictures of some shards: pixels and drawing of any."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards
        self.ends = np.cumsum([len(shard.records) for shard in shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> tuple[np.ndarray, Drawing]:
        shard, place = self.place(index)
        return np.asarray(self.shards[shard].pixels[place]), drawing_of(self.shards[shard].records[place])

    def place(self, index: int) -> tuple[int, int]:
        """The shard that holds a picture, and its place there."""
        shard = int(np.searchsorted(self.ends, index, "right"))
        return shard, index - (int(self.ends[shard - 1]) if shard else 0)


@dataclass(frozen=True, eq=False)
class Under:
    """What lies under each patch of a view: `classes` int16 [rows cols], `owners` the thing's number from 1 or 0; `edges` float16 [rows cols 4],
    how many patches away its box's sides are; `letters` the letter under the patch's middle, `spelt` its whole word (int8 [rows cols longest]).

    `middles` float32 [rows cols] counts things: the four by four patches around a thing's middle, fewer where it is smaller, stand for it together,
    with 16 (a patch for at most 6).
    """

    classes: np.ndarray
    owners: np.ndarray
    edges: np.ndarray
    letters: np.ndarray
    spelt: np.ndarray
    middles: np.ndarray

    @cached_property
    def written(self) -> np.ndarray:
        return self.letters > 0


def class_of(thing: Thing) -> int:
    """The number of what lies under a thing's patches."""
    if thing.kind != "text":
        return _INDEX[thing.name]
    return _INDEX[thing.said.lower()] if thing.said and not thing.said.isdigit() else NUMBER


def under(drawing: Drawing, view: tuple[int, int, int, int], rows: int, cols: int, legible: bool = True) -> Under:
    """What lies under rows x cols patches of the part `view` (x0, y0, x1, y1 in px) of a drawing; where texts are not `legible`, they are unknown."""
    left, top, right, bottom = view
    labels = drawing.labels[top:bottom, left:right].copy()
    letters, spelt = np.zeros((rows, cols), np.int8), np.zeros((rows, cols, LONGEST), np.int8)
    boxes = np.array([thing.box_px for thing in drawing.things]).reshape(-1, 4) - (left, top, left, top)
    classes = np.array([class_of(thing) for thing in drawing.things])
    texts = [number for number, thing in enumerate(drawing.things) if thing.kind == "text" and thing.said and thing.font]
    for number in texts:
        x0, y0, x1, y1 = (int(side) for side in boxes[number])
        labels[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = number + 1  # letters leave most of a patch bare
    numbered = replace(drawing, labels=labels, things=tuple(replace(t, box_px=tuple(box)) for t, box in zip(drawing.things, boxes, strict=True)))
    owners, _, edges = patch_targets(numbered, np.arange(1, len(boxes) + 1), rows, cols)
    x, y = (np.arange(cols) + 0.5) * (right - left) / cols, (np.arange(rows) + 0.5) * (bottom - top) / rows
    for number in texts:
        x0, y0, x1, y1 = boxes[number]
        thing = drawing.things[number]
        inside = (min(x1, right - left) - max(x0, 0)) * (min(y1, bottom - top) - max(y0, 0)) / ((x1 - x0) * (y1 - y0))
        if not legible or min(x1, y1) <= 0 or inside < _LEAST_SHOWN:
            classes[number] = UNKNOWN
            continue
        said = (thing.said or "").lower()
        margin = 0.3 * np.array([right - left, bottom - top]) / (cols, rows)
        across, down = (x > x0 - margin[0]) & (x < x1 + margin[0]), (y > y0 - margin[1]) & (y < y1 + margin[1])
        area = np.ix_(down, across)
        at = np.searchsorted(letter_edges(thing.said or "", thing.font or ""), (x[across] - x0) / (x1 - x0), "right") - 1
        codes = np.array([LETTERS.index(letter) for letter in said])
        letters[area] = codes[np.clip(at, 0, len(said) - 1)]
        spelt[area] = np.pad(codes, (0, LONGEST - len(codes)))
        owners[area] = number + 1
    owners = np.maximum(owners, 0)
    things = np.array([number for number in range(len(boxes)) if number not in texts], int)
    return Under(np.append(NOTHING, classes)[owners].astype(np.int16), owners, edges, letters, spelt, _middles(owners, boxes, things, x, y))


def _middles(owners: np.ndarray, boxes: np.ndarray, things: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What of each of some things lies in the view is shared by the patches near its middle on which it shows."""
    left, top, right, bottom = (side[:, None] for side in boxes[things].T)
    step = np.array([x[1] - x[0], y[1] - y[0]])
    across, down = (np.abs(x - (left + right) / 2) < 2 * step[0]) & (x > left) & (x < right), (np.abs(y - (top + bottom) / 2) < 2 * step[1])
    around = across[:, None] & (down & (y > top) & (y < bottom))[..., None]
    shown = around & (owners == things[:, None, None] + 1)
    size = np.prod([np.clip((far - near)[:, 0] / each, 1, 4) for near, far, each in ((left, right, step[0]), (top, bottom, step[1]))], 0)
    share = 16 / size * around.sum((1, 2)) / np.maximum(shown.sum((1, 2)), 1)
    return (shown * np.minimum(share, 6)[:, None, None]).sum(0).astype(np.float32)


def cells_of(drawing: Drawing, view: tuple[int, int, int, int], cells: int, legible: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """What lies in each of cells x cols cells of a view [cells cells]: a class, and how many things of that class its patches stand for. A text comes
    before a thing whose middle is there, and that before the thing that covers most."""
    found = under(drawing, view, SIDE, SIDE, legible)
    owners, middles = (_gathered(kind, cells) for kind in (found.owners, found.middles))
    own = owners[..., None] == np.arange(1, len(drawing.things) + 1)
    weights = own.sum(2) + (own * middles[..., None]).sum(2)
    classes = np.array([class_of(thing) for thing in drawing.things] + [NOTHING], np.int16)
    texts = np.array([thing.kind == "text" for thing in drawing.things], bool)
    read = np.unique(owners[np.isin(owners, np.flatnonzero(texts) + 1)]) - 1
    weights[..., read] *= 1000
    most = np.where(weights.any(-1), weights.argmax(-1), -1) if len(texts) else np.full((cells, cells), -1)
    named = classes[most]
    unknown = np.array([number for number in read if (found.classes[found.owners == number + 1] < 0).all()], int)
    named[np.isin(most, unknown)] = UNKNOWN
    stood = classes[owners - 1] == named[..., None]
    return named, ((middles * stood).sum(-1) / 16).astype(np.float32)


def _gathered(patches: np.ndarray, cells: int) -> np.ndarray:
    """The patches of each cell [cells cells patches]."""
    step = len(patches) // cells
    return patches.reshape(cells, step, cells, step).swapaxes(1, 2).reshape(cells, cells, -1)


def build_shard(folder: Path, number: int, split: str, style: SceneStyle) -> Path:
    """Draws one shard of pictures and writes it whole or not at all."""
    target = folder / f"{split}-{number:04d}"
    if target.exists():
        return target
    drawings = [draw_scene(seed, split, style) for seed in range(number * SHARD, (number + 1) * SHARD)]
    part = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "pixels.npy", np.stack([drawing.pixels for drawing in drawings]))
    (part / "pictures.jsonl").write_text("\n".join(record_of(drawing) for drawing in drawings))
    part.rename(target)
    return target


def build(folder: Path, count: int, split: str = "train", style: SceneStyle = SHORT_STYLE, workers: int = 2) -> Iterator[Path]:
    """Draws `count` pictures of one size into shards of 500 under `folder`; shards that stand already are not drawn again."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(build_shard, folder, split=split, style=style), range(-(-count // SHARD)))


def open_shards(folder: Path, split: str = "train") -> list[Shard]:
    """All finished shards of a split, memory-mapped."""
    paths = sorted(folder.glob(f"{split}-*"))
    return [Shard(np.load(path / "pixels.npy", mmap_mode="r"), (path / "pictures.jsonl").read_text().split("\n")) for path in paths]


if __name__ == "__main__":
    import argparse

    from rich.progress import track

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    for _ in track(build(options.folder, options.count), total=-(-options.count // SHARD), description="drawing"):
        pass

"""Draws the pictures of the small models' training once, as encoder-ready views with what lies under each patch, in resumable shards.

    python recipes/nano_pictures.py runs/nano/pictures --count 24000

A shard is a folder of arrays over its views (overview first, then the tiles of each picture) and one line of JSON per picture.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.data.sources.scenes import COLOURS, Drawing, SceneStyle, Thing, draw_scene, thing_mask, vocabulary
from foveal.vision import GRIDS_V2, TilePlan, any_resolution

__all__ = ["GROUND", "PATCH", "SHARD", "SIDE", "Shard", "build", "drawing_of", "open_shards", "patch_targets", "record_of", "views_of"]

SIDE, PATCH, SHARD = 128, 16, 500
GROUND = -1
"""Label of a patch with no thing in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """`views` uint8 [n side side 3]; `names` and `colours` int16 [n patches]; `edges` float16 [n patches 4]: left, top, right and bottom
    distance from the patch's centre to the box of the thing under it, in patches; `first` [pictures + 1] index of each picture's overview;
    `grids` [pictures 2]."""

    views: np.ndarray
    names: np.ndarray
    colours: np.ndarray
    edges: np.ndarray
    first: np.ndarray
    grids: np.ndarray
    records: list[str]


def views_of(pixels: np.ndarray, plan: TilePlan, side: int = SIDE) -> np.ndarray:
    """The overview and the tiles of a picture, uint8 [1 + tiles, side, side, 3]."""
    image = Image.fromarray(pixels)
    overview = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=None))
    if not plan.tiles:
        return overview[None]
    whole = np.asarray(image.resize((plan.cols * side, plan.rows * side), Image.Resampling.BICUBIC))
    tiles = whole.reshape(plan.rows, side, plan.cols, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    return np.concatenate([overview[None], tiles])


def patch_targets(drawing: Drawing, index: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What lies under each of rows x cols patches of the stretched picture: name and colour [rows cols], edges [rows cols 4] in patches.

    `index` is the number of each thing's name.
    A thing owns a patch when it covers more of it than any other thing, and at least a fifth of the patch or a third of itself.
    """
    things, step = drawing.things, 8
    small = Image.fromarray(drawing.labels.astype(np.int32), "I").resize((cols * step, rows * step), Image.Resampling.NEAREST)
    cells = np.asarray(small).reshape(rows, step, cols, step).swapaxes(1, 2).reshape(rows * cols, step * step)
    slots = len(things) + 1
    counts = np.bincount((np.arange(rows * cols)[:, None] * slots + cells).ravel(), minlength=rows * cols * slots).reshape(rows * cols, slots)[:, 1:]
    if not things:
        return np.full((rows, cols), GROUND, np.int16), np.full((rows, cols), GROUND, np.int16), np.zeros((rows, cols, 4), np.float16)
    owner = counts.argmax(1)
    held = np.take_along_axis(counts, owner[:, None], 1)[:, 0]
    total = np.maximum(counts.sum(0), 1)[owner]
    kept = (held >= 0.2 * step * step) | (held >= total / 3)
    colours = np.array([list(COLOURS).index(thing.colour) if thing.kind == "shape" else GROUND for thing in things])
    height, width = drawing.labels.shape
    boxes = np.array([thing.box_px for thing in things]) * np.array([cols / width, rows / height, cols / width, rows / height])
    x, y = np.tile(np.arange(cols) + 0.5, rows), np.repeat(np.arange(rows) + 0.5, cols)
    box = boxes[owner]
    edges = np.stack([x - box[:, 0], y - box[:, 1], box[:, 2] - x, box[:, 3] - y], 1)
    shown = kept & (held > 0)
    named, coloured = (np.where(shown, values[owner], GROUND).reshape(rows, cols).astype(np.int16) for values in (index, colours))
    return named, coloured, edges.reshape(rows, cols, 4).astype(np.float16)


def drawing_of(record: str) -> Drawing:
    """The drawing that a shard's line of JSON stands for; its pixels are not kept (all are black)."""
    fields = json.loads(record)
    columns = np.zeros(fields["width"] * fields["height"], np.int16)
    things = []
    for number, thing in enumerate(fields["things"], 1):
        edges = np.cumsum(thing.pop("mask")).tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=False):  # runs of the thing, column by column
            columns[start:end] = number
        things.append(Thing(**{**thing, "box_px": tuple(thing["box_px"])}))
    labels = columns.reshape(fields["width"], fields["height"]).T
    return Drawing(
        id=fields["id"], pixels=np.broadcast_to(np.uint8(0), (*labels.shape, 3)), labels=labels, things=tuple(things), ground=fields["ground"]
    )


def record_of(drawing: Drawing) -> str:
    """A drawing without its pixels as a line of JSON, which `drawing_of` reads."""
    height, width = drawing.labels.shape
    things = [asdict(thing) | {"mask": thing_mask(drawing, number).counts} for number, thing in enumerate(drawing.things)]
    return json.dumps({"id": drawing.id, "width": width, "height": height, "ground": drawing.ground, "things": things}, default=float)


def build_shard(folder: Path, number: int, split: str, style: SceneStyle, side: int, grids: Sequence[tuple[int, int]]) -> Path:
    """Draws one shard of pictures and writes it whole or not at all."""
    target = folder / f"{split}-{number:04d}"
    if target.exists():
        return target
    views, names, colours, edges, first, shapes, records = [], [], [], [], [0], [], []
    words, patches = vocabulary(), side // PATCH
    for seed in range(number * SHARD, (number + 1) * SHARD):
        drawing = draw_scene(seed, split, style)
        height, width = drawing.labels.shape
        plan = any_resolution((width, height), side, grids)
        index = np.array([words.index(thing.name) if thing.name in words else len(words) for thing in drawing.things])
        views.append(views_of(drawing.pixels, plan, side))
        for rows, cols in ((1, 1), (plan.rows, plan.cols)) if plan.tiles else ((1, 1),):
            named, coloured, edge = patch_targets(drawing, index, rows * patches, cols * patches)
            for array, kept in ((named, names), (coloured, colours), (edge, edges)):
                parts = array.reshape(rows, patches, cols, patches, -1).swapaxes(1, 2)
                kept.append(parts.reshape(rows * cols, patches * patches, -1))
        first.append(first[-1] + len(views[-1]))
        shapes.append((plan.rows, plan.cols))
        records.append(record_of(drawing))
    part = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "views.npy", np.concatenate(views))
    np.save(part / "names.npy", np.concatenate(names)[..., 0])
    np.save(part / "colours.npy", np.concatenate(colours)[..., 0])
    np.save(part / "edges.npy", np.concatenate(edges))
    np.save(part / "first.npy", np.array(first))
    np.save(part / "grids.npy", np.array(shapes))
    (part / "pictures.jsonl").write_text("\n".join(records))
    part.rename(target)
    return target


def build(
    folder: Path,
    count: int,
    split: str = "train",
    style: SceneStyle | None = None,
    workers: int = 2,
    *,
    side: int = SIDE,
    grids: Sequence[tuple[int, int]] = GRIDS_V2,
) -> Iterator[Path]:
    """Draws `count` pictures into shards of 500 under `folder`, yielding each shard as it stands; shards that stand already are not drawn again.

    Overviews and tiles have `side` pixels; without `grids` there are overviews alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, number, split, style or SceneStyle(), side, grids) for number in range(-(-count // SHARD))]
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(build_shard, *zip(*jobs, strict=True))


def open_shards(folder: Path, split: str = "train") -> list[Shard]:
    """All finished shards of a split, memory-mapped."""
    shards = []
    for path in sorted(folder.glob(f"{split}-*")):
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in ("views", "names", "colours", "edges", "first", "grids")}
        shards.append(Shard(records=(path / "pictures.jsonl").read_text().split("\n"), **arrays))
    return shards


if __name__ == "__main__":
    import argparse

    from rich.progress import track

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--split", default="train")
    options = parser.parse_args()
    for _ in track(build(options.folder, options.count, options.split), total=-(-options.count // SHARD), description="drawing"):
        pass

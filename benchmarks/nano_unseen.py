"""Scenes made of other people's cut-outs, which no model here has been trained on: how far does it carry to drawings it has not seen?"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.data.sources.scenes import Drawing, Thing, vocabulary
from foveal.data.sources.scenes.grounds import draw_ground

__all__ = ["known_cutouts", "unseen_scene"]

_CELLS = 3  # scenes are laid out in three rows of three cells, so that nothing hides anything
_SIDES = (300, 900)
_THINGS = (3, 6)


def known_cutouts(folder: Path) -> dict[str, list[Path]]:
    """The pictures of a folder with `annotations.jsonl` (one object with `image` and `name` per line) whose names a model can know."""
    path = folder / "annotations.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder} holds no annotations.jsonl; wanted is a folder of named cut-outs")
    found: dict[str, list[Path]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["name"] in vocabulary():
            found.setdefault(record["name"], []).append(folder / record["image"])
    if not found:
        raise ValueError(f"no picture of {folder} has a name that the model can know, for instance {vocabulary()[0]!r}")
    return found


def unseen_scene(cutouts: dict[str, list[Path]], seed: int, number: int) -> Drawing:
    """Scene `number`: three to six cut-outs of different names on a drawn ground, each wholly seen and 32 px or more on both sides."""
    rng = np.random.default_rng([seed, number])
    side = int(rng.integers(*_SIDES))
    cell = side // _CELLS
    canvas = draw_ground(rng, (side, side)).image.copy()
    labels = np.zeros((side, side), np.int16)
    names = rng.permutation(sorted(cutouts))[: rng.integers(_THINGS[0], _THINGS[1] + 1)].tolist()
    things = []
    for place, name in zip(rng.permutation(_CELLS * _CELLS).tolist(), names, strict=False):
        stamp = _stamp(cutouts[name][int(rng.integers(len(cutouts[name])))], rng, cell)
        left = cell * (place % _CELLS) + int(rng.integers(cell - stamp.width + 1))
        top = cell * (place // _CELLS) + int(rng.integers(cell - stamp.height + 1))
        canvas.paste(stamp, (left, top), stamp)
        seen = np.asarray(stamp)[..., 3] > 127
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        things.append(Thing(name, "cutout", _edges(left, top, rows, columns), None, None))
        labels[top : top + stamp.height, left : left + stamp.width][seen] = len(things)
    return Drawing(f"unseen-{seed}-{number}", np.asarray(canvas), labels, tuple(things), "drawn")


def _stamp(path: Path, rng: np.random.Generator, cell: int) -> Image.Image:
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    longer = int(rng.integers(min(60, cell - 1), min(200, cell)))
    scale = longer / max(picture.size)
    return picture.resize((max(32, round(picture.width * scale)), max(32, round(picture.height * scale))), Image.Resampling.BICUBIC)


def _edges(left: int, top: int, rows: np.ndarray, columns: np.ndarray) -> tuple[float, float, float, float]:
    return float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1), float(top + rows[-1] + 1)

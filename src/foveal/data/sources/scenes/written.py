"""Drawn scenes written as a set of pictures in the form of `annotations.jsonl`, like any that people marked."""

import json
import shutil
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.data.sources.scenes.atlas import vocabulary
from foveal.data.sources.scenes.drawing import Drawing, SceneStyle, draw_scene, split_named, thing_mask
from foveal.data.sources.scenes.questions import expression
from foveal.data.sources.scenes.source import LICENCE
from foveal.geometry import mask_to_coco

__all__ = ["write_scenes"]


def write_scenes(folder: str | PathLike[str], count: int, *, start: int = 0, split: str = "test", style: SceneStyle | None = None) -> Iterator[Path]:
    """Writes `count` scenes of a split from number `start` on into a new folder, and yields each picture's path as it is written.

    Of each picture: `regions` with box (pixels), mask (COCO RLE), label, colour where it has one, and the text it shows; `expressions`, one that
    one thing alone answers to, and one of a thing that is not there (its box null). The same numbers give the same files. The folder appears
    when it is whole. ValueError where it stands already, and for numbers and splits that `draw_scene` refuses.
    """
    target, chosen = Path(folder), split_named(split)
    if target.exists():
        raise ValueError(f"{target} is there already; a new folder is wanted for drawn scenes.")
    aside = target.with_name(f".{target.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "images").mkdir(parents=True)
    with open(aside / "annotations.jsonl", "w", encoding="utf-8") as lines:
        for seed in range(start, start + count):
            drawing = draw_scene(seed, chosen, style or SceneStyle())
            name = f"images/{drawing.id}.png"
            Image.fromarray(drawing.pixels).save(aside / name)
            lines.write(json.dumps(_record(drawing, name, seed)) + "\n")
            yield target / name
    aside.rename(target)


def _record(drawing: Drawing, name: str, seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, 2])
    height, width = drawing.labels.shape
    regions = []
    for index, thing in enumerate(drawing.things):
        region = {"box": list(thing.box_px), "label": thing.name, "mask": mask_to_coco(thing_mask(drawing, index))}
        regions.append(region | {field: value for field, value in (("colour", thing.colour), ("text", thing.said)) if value})
    there = {thing.name for thing in drawing.things}
    absent = [one for one in vocabulary() if one not in there]
    expressions: list[dict[str, object]] = [{"text": f"the {absent[int(rng.integers(len(absent)))]}", "box": None}]
    if found := expression(drawing, rng):
        expressions.insert(0, {"text": found[0], "box": list(drawing.things[found[1]].box_px)})
    record = {"image": name, "width": width, "height": height, "regions": regions, "expressions": expressions}
    return record | {"source": "drawn scenes", "licence": LICENCE}

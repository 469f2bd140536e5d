"""What looking once saves: a hundred questions about one image, against asking each of them from scratch."""

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.geometry import Box, Region
from foveal.session import Session

__all__ = ["main", "seconds", "some_boxes"]


def main(
    model: Annotated[list[str] | None, typer.Option(help="A shipped name or a folder; may be given several times.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="How many regions of one image are asked about.")] = 100,
    scratch: Annotated[int, typer.Option(min=1, help="How many of them are also asked from scratch; all cost the same.")] = 25,
) -> None:
    """Time `describe` of many regions in batches on one scene, one by one on one scene, and each on a scene of its own."""
    for name in model or ["ferret-v2-nano", "pixelllm-nano"]:
        _print_costs(name, questions, scratch)


def _print_costs(model: str, questions: int, scratch: int) -> None:
    session = Session.open(model)
    image = Image.fromarray(draw_scene(0, "test", SceneStyle(sides=((896, 1344, 1.0),))).pixels)
    regions = some_boxes(questions)
    session.look(image).describe(regions[:2])  # the first call pays for what is made once in a process

    def from_scratch() -> None:
        for region in regions[:scratch]:
            session.look(image).describe(region)

    def one_by_one() -> None:
        scene = session.look(image)
        for region in regions[:scratch]:
            scene.describe(region)

    rows = [
        ("each from scratch", seconds(from_scratch) / scratch * questions),
        ("one scene, one by one", seconds(one_by_one) / scratch * questions),
        ("one scene, in batches", seconds(lambda: session.look(image).describe(regions))),
    ]
    table = Table(title=f"{questions} regions of one {image.width} x {image.height} image, {model}", title_justify="left")
    for column in ("", "CPU seconds" if session.model.device.type == "cpu" else "seconds", "times faster"):
        table.add_column(column, justify="right" if column else "left")
    for name, cost in rows:
        table.add_row(name, f"{cost:.2f}", f"{rows[0][1] / cost:.1f}")
    Console(width=100).print(table)


def some_boxes(count: int) -> list[Region]:
    """Boxes of a tenth to a half of the image, the same every time."""
    rng = np.random.default_rng(0)
    sides, corners = rng.uniform(0.1, 0.5, (count, 2)), rng.uniform(0, 0.5, (count, 2))
    return [Box(*corner, *(corner + side)) for corner, side in zip(corners.tolist(), sides, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of all threads; on a GPU, seconds until it is done."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


if __name__ == "__main__":
    typer.run(main)

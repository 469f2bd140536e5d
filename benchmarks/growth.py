"""How the cost of an answer grows with the size of the image and with the number of regions: in step with them, not faster."""

from typing import Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.session import Session
from questions import seconds, some_boxes

__all__ = ["main"]

SIDES = (128, 256, 384, 768, 1344)
REGIONS = (1, 10, 100, 200)


def main(model: Annotated[str, typer.Option(help="A shipped name or a folder.")] = "ferret-v2-nano") -> None:
    """Print the cost of looking by image size, and of describing by number of regions."""
    session = Session.open(model)
    picture = Image.fromarray(draw_scene(0, "test", SceneStyle(sides=((896, 1344, 1.0),))).pixels)
    session.look(picture).describe(some_boxes(2))
    console = Console(width=100)
    sizes = Table(title="looking, first answer included", title_justify="left")
    for column in ("image", "tiles", "image tokens", "CPU seconds", "milliseconds a token"):
        sizes.add_column(column, justify="right")
    for side in SIDES:
        image = picture.resize((side, round(side * 2 / 3)))
        plan = session.processor.plan(image.size)
        slots = session.processor.slots(plan)
        cost = min(seconds(lambda image=image: session.look(image).describe(some_boxes(1)[0])) for _ in range(3))
        sizes.add_row(f"{image.width} x {image.height}", str(len(plan.tiles)), str(slots), f"{cost:.3f}", f"{1000 * cost / slots:.2f}")
    console.print(sizes)
    regions = Table(title=f"describing regions of one {picture.width} x {picture.height} image", title_justify="left")
    for column in ("regions", "CPU seconds", "milliseconds a region"):
        regions.add_column(column, justify="right")
    scene = session.look(picture)
    for count in REGIONS:
        cost = min(seconds(lambda count=count: scene.describe(some_boxes(count))) for _ in range(2))
        regions.add_row(str(count), f"{cost:.3f}", f"{1000 * cost / count:.1f}")
    console.print(regions)


if __name__ == "__main__":
    typer.run(main)

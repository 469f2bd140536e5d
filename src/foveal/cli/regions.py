"""The options that point at places (--box, --point, --scribble, --mask), read in the order in which they stand on the command line."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from foveal.data.images import load_mask
from foveal.geometry import Frame, Point, Region, Trace, encode_mask
from foveal.session.questions import check_region

__all__ = ["Boxes", "Fraction", "Masks", "Placed", "Points", "RegionCommand", "Scribbles", "collect_places", "to_region"]

_KINDS = ("box", "point", "scribble", "mask")
_ORDER: ContextVar[tuple[str, ...]] = ContextVar("order", default=())

Boxes = Annotated[list[str] | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box, from its top left to its bottom right corner.")]
Points = Annotated[list[str] | None, typer.Option("--point", metavar="X,Y", help="A point.")]
Scribbles = Annotated[list[str] | None, typer.Option("--scribble", metavar='"X,Y X,Y ..."', help="A line drawn by hand.")]
Masks = Annotated[list[str] | None, typer.Option("--mask", metavar="FILE", help="A black image of the same size, white where the region is.")]
Fraction = Annotated[bool, typer.Option("--fraction", help="Coordinates are fractions of the image from 0 to 1, not pixels.")]


@dataclass(frozen=True, slots=True)
class Placed:
    """A region as it was written: what `kind` of option, and the text after it."""

    kind: str
    text: str


class RegionCommand(TyperCommand):
    """A command that remembers the order of its region options: the parser keeps each kind apart, and <1>, <2> … count across them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note the order, then parse as usual."""
        before_end = args[: args.index("--")] if "--" in args else args
        names = (arg[2:].partition("=")[0] for arg in before_end if arg.startswith("--"))
        _ORDER.set(tuple(name for name in names if name in _KINDS))
        return super().parse_args(ctx, args)


def collect_places(boxes: list[str] | None, points: list[str] | None, scribbles: list[str] | None, masks: list[str] | None) -> tuple[Placed, ...]:
    """All regions of the command line in its order."""
    waiting = {kind: iter(values or ()) for kind, values in zip(_KINDS, (boxes, points, scribbles, masks), strict=True)}
    return tuple(Placed(kind, next(waiting[kind])) for kind in _ORDER.get())


def to_region(placed: Placed, size: tuple[int, int], *, fraction: bool = False) -> Region:
    """The region of an image of `size` = (width, height) pixels; ValueError in one sentence when it is none.

    >>> to_region(Placed("box", "10,20,60,40"), (100, 80))
    Box(x0=0.1, y0=0.25, x1=0.6, y1=0.5, image=0)
    """
    if placed.kind == "mask":
        return encode_mask(load_mask(placed.text, size))
    frame = Frame.stretch(size, (1, 1) if fraction else size)
    shown = None if fraction else size
    if placed.kind == "scribble":
        pairs = [_numbers(pair, 2, placed) for pair in placed.text.replace(";", " ").split()]
        places = [frame.back(pair) for pair in pairs]
        return check_region(Trace(tuple((place.x, place.y) for place in places if isinstance(place, Point))), shown)
    return check_region(frame.back(_numbers(placed.text, 4 if placed.kind == "box" else 2, placed)), shown)


def _numbers(text: str, count: int, placed: Placed) -> Sequence[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        example = {"box": "10,20,110,220", "point": "60,120", "scribble": '"10,20 15,25 30,28"'}[placed.kind]
        raise ValueError(f"--{placed.kind} {placed.text!r} is not understood; it is written like --{placed.kind} {example}.")
    return values

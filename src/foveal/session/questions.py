"""How a question is put together from words and regions, and what is refused before a model sees it."""

import math
import re
from collections.abc import Sequence

from foveal.geometry import Box, Mask, Point, Region, Trace
from foveal.grounding import GroundedText

__all__ = ["check_question", "check_region", "question_from"]

_REFERENCE = re.compile(r"<(\d{1,4})>")
_POINTING = re.compile(r"\b(this|that|these|those|it|here)\b", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\s+([^\W\d_]+)")
_NOT_NAMED = re.compile(
    r"(?:a|an|the|is|are|was|were|be|in|on|at|of|or|and|for|from|to|by|with|do|does|did|doing|have|has|made|called|used|look|looks)", re.IGNORECASE
)
_TOLERANCE = 1e-6


def question_from(words: str, regions: Sequence[Region] = ()) -> GroundedText:
    """A question whose `<1>`, `<2>` … stand for `regions` in their order.

    Regions that the words do not name follow what the words point at ("this car", "it"), or else the last word. ValueError when the words
    name a region that is not given, or are empty.

    >>> question_from("Is this a cat?", [Point(0.5, 0.5)]).spans[0].start
    8
    >>> question_from("What is <1> of <2>?", [Point(0.1, 0.1), Point(0.2, 0.2)]).text
    'What is  of ?'
    """
    if not words.strip():
        raise ValueError("The question is empty; words are wanted.")
    named = {int(number) for number in _REFERENCE.findall(words)}
    if wrong := sorted(number for number in named if not 1 <= number <= len(regions)):
        raise ValueError(f"The question speaks of <{wrong[0]}>, but {_counted(len(regions))} given; <1> is the first.")
    parts: list[str | Region] = []
    for index, piece in enumerate(_REFERENCE.split(_with_all_named(words, named, len(regions)))):
        parts.append(regions[int(piece) - 1] if index % 2 else piece)
    return GroundedText.join(*parts)


def check_question(question: GroundedText) -> GroundedText:
    """The question itself; ValueError when it is empty or holds a region that is not in the image."""
    if not question.text.strip() and not question.regions:
        raise ValueError("The question is empty; words or a region are wanted.")
    for region in question.regions:
        check_region(region)
    return question


def check_region(region: Region, size: tuple[int, int] | None = None) -> Region:
    """The region itself; ValueError when a coordinate is not a number, lies outside the image, or the region covers nothing.

    With `size` = (width, height) errors speak of pixels, else of fractions.

    >>> check_region(Box(0.1, 0.1, 12.0, 0.2))
    Traceback (most recent call last):
    ValueError: The box 0.1, 0.1, 12, 0.2 reaches outside the image; coordinates are fractions of it, from 0 to 1, x before y.
    """
    values: tuple[float, ...]
    match region:
        case Point(x, y):
            kind, values = "point", (x, y)
        case Box(x0, y0, x1, y1):
            kind, values = "box", (x0, y0, x1, y1)
        case Trace(points):
            kind, values = "scribble", tuple(value for point in points for value in point)
        case Mask(_, _, counts):
            if not any(counts[1::2]):
                raise ValueError("The mask marks no pixel; a region covers at least one.")
            return region
    said = _spelt(values, size)
    if not values:
        raise ValueError(f"The {kind} has no points; at least one is wanted.")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"The {kind} {said} has a coordinate that is not a finite number.")
    if min(values) < -_TOLERANCE or max(values) > 1 + _TOLERANCE:
        wanted = f"the image has {size[0]}x{size[1]} pixels" if size else "coordinates are fractions of it, from 0 to 1, x before y"
        raise ValueError(f"The {kind} {said} reaches outside the image; {wanted}.")
    if isinstance(region, Box) and (region.x0 >= region.x1 or region.y0 >= region.y1):
        raise ValueError(f"The box {said} is empty; it goes from its top left to its bottom right corner.")
    return region


def _with_all_named(words: str, named: set[int], count: int) -> str:
    """The words with the references they lack written where they belong."""
    missing = " and ".join(f"<{number}>" for number in range(1, count + 1) if number not in named)
    if not missing:
        return words
    end = len(words.rstrip(" \t\n?.!:"))
    if pointing := _POINTING.search(words):
        end = pointing.end()
        following = _NEXT_WORD.match(words, end)
        if following and pointing[1].lower() not in ("it", "here") and not _NOT_NAMED.fullmatch(following[1]):
            end = following.end()
    return f"{words[:end]} {missing}{words[end:]}" if end else f"{missing} {words}"


def _counted(count: int) -> str:
    return "no region is" if count == 0 else "only 1 region is" if count == 1 else f"only {count} regions are"


def _spelt(values: Sequence[float], size: tuple[int, int] | None) -> str:
    shown = [value * size[index % 2] if size else value for index, value in enumerate(values)]
    return ", ".join(f"{value:g}" for value in shown[:8]) + (", …" if len(shown) > 8 else "")

"""What is to be asked, one item after the other: from the command line, or from JSON lines on standard input."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal.cli.regions import Placed, to_region
from foveal.data.images import picture_from
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Turn, region_from_json
from foveal.session.questions import check_region

__all__ = ["Item", "items_from", "split_words", "to_example"]

_MISPLACED = ("region", "box", "box_px", "point", "point_px", "trace", "trace_px", "mask", "mask_file")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to ask: an image file, words, and places of the command line (`placed`) or of a JSON line (`regions`).

    `names` is repeated in the output (id, line); `error` is set where a line could not be read.
    """

    image: str
    words: str = ""
    placed: tuple[Placed, ...] = ()
    regions: tuple[Mapping[str, Any], ...] = ()
    fraction: bool = False
    names: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def split_words(given: Sequence[str], what: str) -> tuple[list[str], str]:
    """The images and, last, the words of a command line; of `-` the words may be missing, for each line may have its own.

    >>> split_words(["a.png", "b.png", "the cup"], "phrase")
    (['a.png', 'b.png'], 'the cup')
    """
    if given[0] == "-":
        if len(given) > 2:
            raise ValueError(f"After - comes at most one {what}; images are named in the lines of standard input.")
        return ["-"], given[1] if len(given) == 2 else ""
    if len(given) < 2:
        raise ValueError(f"A {what} is missing; it follows the image, in quotes.")
    if Path(given[-1]).is_file():
        raise ValueError(f"A {what} is missing: the last argument, {given[-1]}, is a file.")
    return list(given[:-1]), given[-1]


def items_from(images: Sequence[str], words: str = "", *, field: str = "", placed: tuple[Placed, ...] = (), fraction: bool = False) -> Iterator[Item]:
    """One item for each image; for `-`, one for each JSON line, whose own words stand in `field`."""
    if list(images) != ["-"]:
        yield from (Item(image, words, placed, fraction=fraction) for image in images)
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        if line.strip():
            yield _from_line(line, number, words, field, placed, fraction)


def _from_line(line: bytes, number: int, words: str, field: str, placed: tuple[Placed, ...], fraction: bool) -> Item:
    names: dict[str, Any] = {"line": number}
    try:
        record = json.loads(line)
        if not isinstance(record, Mapping) or not isinstance(record.get("image"), str):
            raise ValueError('A line is an object with an "image", the path of a file.')
        names |= {"id": record["id"]} if "id" in record else {}
        if misplaced := [name for name in _MISPLACED if name in record]:
            raise ValueError(f'"{misplaced[0]}" stands by itself; regions are a list: "regions": [{{"box_px": [10, 20, 110, 220]}}].')
        own, regions = record.get(field, words) if field else words, record.get("regions", [])
        if not isinstance(own, str) or not isinstance(regions, list) or not all(isinstance(region, Mapping) for region in regions):
            raise ValueError(f'"{field}" is a string, and "regions" a list of objects.')
    except json.JSONDecodeError as error:
        return Item("", names=names, error=f"Line {number} is not JSON: {error}.")
    except (ValueError, RecursionError) as error:
        return Item("", names=names, error=str(error))
    return Item(record["image"], own, placed, tuple(regions) if field == "question" else (), fraction, names)


def to_example(item: Item, ask: Callable[[str, Sequence[Region]], GroundedText]) -> Example:
    """The question about the image; ValueError in one sentence for whatever is wrong with it. `ask` makes a question of words and regions.

    Its `facts` keep the question as it was written, with <1>, <2> …, and the `regions` in that order.
    """
    if item.error is not None:
        raise ValueError(item.error)
    picture = picture_from(item.image)
    size = (picture.width, picture.height)
    regions = [to_region(placed, size, fraction=item.fraction) for placed in item.placed]
    regions += [_region_of(record, size) for record in item.regions]
    question = ask(item.words, regions)
    facts = {"question": item.words if regions else question.text, "regions": tuple(regions)}
    return Example(str(item.names.get("id", "")), (picture,), (Turn("user", question),), facts=facts)


def _region_of(record: Mapping[str, Any], size: tuple[int, int]) -> Region:
    if isinstance(path := record.get("mask_file"), str):
        return to_region(Placed("mask", path), size)
    return check_region(region_from_json(record, size))

"""How Ferret's own scripts read boxes from an answer, faults and all: for comparing with published figures; ours is `BracketFormat`."""

import re
from collections.abc import Sequence

from foveal.grounding.formats import bins_to_pixels

__all__ = ["read_in_turn", "read_phrases", "read_places", "read_tagged_places"]

_Boxes = list[list[int]]
_PLACE = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")
_PHRASE = re.compile(r"([a-zA-Z\s]+)\s+(\[[\d,\s]+\])")
_ENDS = ".,;!?"


def read_in_turn(text: str, size: tuple[int, int]) -> tuple[list[str], _Boxes]:
    """Words before each bracket and its box in pixels of `size`, letter by letter (eval_refexp.py, eval_flickr_entities.py): the published figures'.

    ValueError for a bracket of anything but whole numbers, IndexError for one of fewer than four; of more, the first four count.

    >>> read_in_turn("a dog [100, 200, 300, 400], a cat [1, 2, 3, 4].", (1000, 1000))
    (['a dog', 'a cat'], [[100, 200, 300, 400], [1, 2, 3, 4]])
    """
    entities, boxes = list[str](), _Boxes()
    start, entity = 0, ""
    for place, letter in enumerate(text):
        if letter == "[":
            entity, start = text[start:place].strip(), place + 1
        elif letter == "]":
            boxes.append(_pixels([int(number) for number in text[start:place].strip().split(",")], size))
            entities.append(entity)
            ends = [end for end in range(place + 1, len(text)) if text[end] in _ENDS]
            start = (ends[0] if ends else max(place + 1, len(text))) + 1
    return entities, boxes


def read_places(text: str, size: tuple[int, int]) -> tuple[list[str], _Boxes]:
    """The sentences that are left without their places, and the boxes in pixels, each once (model_refcoco.py). Only "[x0, y0, x1, y1]" is a place.

    >>> read_places("a dog [100, 200, 300, 400].", (1000, 1000))
    (['a dog'], [[100, 200, 300, 400]])
    """
    places, boxes = _distinct(text, size)
    for place in places:
        text = text.replace(place, "")
    parts = text.removesuffix(" .").split(" . ")
    return [part.strip() for part in parts if part.strip()], boxes


def read_tagged_places(text: str, size: tuple[int, int]) -> tuple[str, _Boxes]:
    """The text with [obj0], [obj1] … in its places, and the boxes in pixels, each once (model_pope.py and the demonstration).

    >>> read_tagged_places("a dog [100, 200, 300, 400].", (1000, 1000))
    ('a dog [obj0].', [[100, 200, 300, 400]])
    """
    places, boxes = _distinct(text, size)
    for number, place in enumerate(places):
        text = text.replace(place, f"[obj{number}]")
    return text, boxes


def read_phrases(text: str, size: tuple[int, int]) -> tuple[list[str], _Boxes]:
    """Letters and blanks before a bracket of numbers, and its box in pixels (model_flickr.py); errors are those of `read_in_turn`.

    >>> read_phrases("U.S. flag [100, 200, 300, 400]", (1000, 1000))
    (['flag'], [[100, 200, 300, 400]])
    """
    found = _PHRASE.findall(text)
    boxes = [_pixels([int(number) for number in place.strip("[]").split(",")], size) for _, place in found]
    return [phrase.strip() for phrase, _ in found], boxes


def _distinct(text: str, size: tuple[int, int]) -> tuple[list[str], _Boxes]:
    """Places as they are spelled and boxes in pixels, each once; where two places are one box in pixels, the last place is left out."""
    numbers = [[int(number) for number in found] for found in _PLACE.findall(text)]
    boxes = [list(box) for box in dict.fromkeys(tuple(_pixels(four, size)) for four in numbers)]
    places = dict.fromkeys(f"[{', '.join(map(str, four))}]" for four in numbers)
    return list(places)[: len(boxes)], boxes


def _pixels(numbers: Sequence[int], size: tuple[int, int]) -> list[int]:
    return list(bins_to_pixels([numbers[0], numbers[1], numbers[2], numbers[3]], size))

"""The words of the plain composer: what a thing is called, one or several, where it is, how two of them lie."""

import re
from functools import lru_cache
from types import MappingProxyType

from foveal.data.sources.scenes.words import NUMBERS, plural, with_article
from foveal.geometry import Box

__all__ = ["called", "counted", "many", "sentence", "side_of", "the", "there", "where"]

_PEOPLE = MappingProxyType({"person": "people", "man": "men", "woman": "women", "child": "children", "policeman": "policemen", "foot": "feet"})
_DETERMINED = re.compile(r"(an?|the|some|one|two|three|several|many|his|her|its|their|this|that|no)\b", re.IGNORECASE)
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")
_NEARLY_ALL = 0.5


@lru_cache(maxsize=4096)
def called(words: str) -> str:
    """One thing as a sentence calls it: with an article where it has none.

    >>> called("red cup"), called("a red cup"), called("umbrella"), called("traffic lights")
    ('a red cup', 'a red cup', 'an umbrella', 'traffic lights')
    """
    if _DETERMINED.match(words):
        return words
    last = words.rpartition(" ")[2]
    return words if re.search(r"[^su]s$", last) or last[:1].isdigit() else with_article(words)


@lru_cache(maxsize=4096)
def the(words: str) -> str:
    """The same when it is spoken of again.

    >>> the("a red cup"), the("cup")
    ('the red cup', 'the cup')
    """
    bare = re.sub(r"^(an?|the|some|one)\s+", "", words, flags=re.IGNORECASE)
    return f"the {bare}"


@lru_cache(maxsize=4096)
def many(words: str) -> str:
    """Several of a thing.

    >>> many("potted plant"), many("person"), many("a cup")
    ('potted plants', 'people', 'cups')
    """
    bare = re.sub(r"^(an?|the|some|one)\s+", "", words, flags=re.IGNORECASE)
    before, blank, last = bare.rpartition(" ")
    return before + blank + _PEOPLE[last] if last in _PEOPLE else plural(bare)


def counted(words: str, count: int) -> str:
    """So many of a thing in words.

    >>> counted("cup", 1), counted("cup", 3), counted("cup", 40)
    ('a cup', 'three cups', 'many cups')
    """
    return called(words) if count == 1 else f"{NUMBERS[count] if count < len(NUMBERS) else 'many'} {many(words)}"


def there(phrase: str) -> str:
    """What opens a sentence about what there is, one or several.

    >>> there("a cup"), there("two cups"), there("some grapes"), there("traffic lights")
    ('There is ', 'There are ', 'There are ', 'There are ')
    """
    return "There is " if re.match(r"(an?|the|one|this|that|his|her|its|their|no)\b", phrase, re.IGNORECASE) else "There are "


def where(box: Box) -> str:
    """In which part of the picture a box is, by its middle and thirds of the sides.

    >>> where(Box(0.0, 0.0, 0.2, 0.2)), where(Box(0.4, 0.4, 0.6, 0.6)), where(Box(0.7, 0.4, 0.9, 0.6)), where(Box(0, 0, 1, 0.9))
    ('at the top left', 'in the middle', 'on the right', 'over most of the picture')
    """
    if (box.x1 - box.x0) * (box.y1 - box.y0) >= _NEARLY_ALL:
        return "over most of the picture"
    column, row = (_third((low + high) / 2) for low, high in ((box.x0, box.x1), (box.y0, box.y1)))
    across, down = _COLUMNS[column], _ROWS[row]
    if not across and not down:
        return "in the middle"
    return f"at the {down} {across}".rstrip() if down else f"on the {across}"


def side_of(first: Box, second: Box) -> str:
    """How the first lies to the second where that is plain, nothing in common along a side; else no words.

    >>> side_of(Box(0.1, 0.1, 0.3, 0.9), Box(0.5, 0.1, 0.8, 0.9)), side_of(Box(0.1, 0.1, 0.9, 0.3), Box(0.1, 0.2, 0.9, 0.9))
    ('left of', '')
    """
    gaps = {
        "left of": second.x0 - first.x1,
        "right of": first.x0 - second.x1,
        "above": second.y0 - first.y1,
        "below": first.y0 - second.y1,
    }
    side = max(gaps, key=lambda name: gaps[name])
    return side if gaps[side] > 0 else ""


def sentence(words: str) -> str:
    """Words as a sentence: a capital first, a stop last.

    >>> sentence(" a bowl of fruit "), sentence("Who is it?")
    ('A bowl of fruit.', 'Who is it?')
    """
    words = " ".join(words.split())
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?", "…")) else ".")


def _third(middle: float) -> int:
    return min(2, max(0, int(middle * 3)))

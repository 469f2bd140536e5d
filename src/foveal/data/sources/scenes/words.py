"""The words of the scenes' questions and answers: wordings, plurals, articles, and the closed list of all pieces they are made of."""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from string import ascii_lowercase
from types import MappingProxyType

import numpy as np

from foveal.data.sources.scenes.atlas import COLOURS, vocabulary
from foveal.data.sources.scenes.phrases import RELATIONS, SUPERLATIVES
from foveal.geometry import Region
from foveal.grounding import GroundedText

__all__ = ["ANSWERS", "ASKS", "NUMBERS", "WORDS", "fill", "listed", "name_forms", "pieces", "plural", "with_article", "wording", "words_with"]

ASKS = MappingProxyType(
    {
        "name": ("What is {region}?", "What is the object {region}?", "What is shown at {region}?", "Name the object {region}."),
        "choice": ("Is the object {region} of the image a {first} or a {second}?",),
        "locate": ("What is the location of {phrase} in the image?", "Where is {phrase}?", "Locate {phrase}.", "Find {phrase} in the image."),
        "locate_all": ("What are the locations of all the {names} in the image?", "Where are all the {names}?", "Locate all the {names}."),
        "ground": ("What are the locations of {names}?",),
        "detect": ("Please localize visible objects in the image in a raster scan order.",),
        "refer": ("Please classify the objects in the following locations. {places}.",),
        "read": ("What does the text {region} say?", "Read the text {region}."),
        "count": ("How many {names} are there in the image?", "How many {names} are there?", "Count the {names}."),
        "present": ("Is there {a_name} in the image?", "Is there {a_name}?"),
        "caption": ("Describe the image.", "What is in the image?"),
        "caption_grounded": ("Describe the image. Include the coordinates for each mentioned object.",),
        "colour": ("What colour is {region}?", "What is the colour of {region}?"),
        "left of": ("Is the object {first} left of or right of the object {second}?",),
        "above": ("Is the object {first} above or below the object {second}?",),
    }
)
"""What is asked: the first wording is the usual one (the published one, where there is one)."""

ANSWERS = MappingProxyType(
    {
        "name": "{a_name}.",
        "choice": "It is a {name}.",
        "locate": "{phrase}.",
        "absent": "There is no {name} in the image.",
        "missing": "no {name}",
        "ground": "{names}.",
        "detect": "The objects are: {things}.",
        "refer": "Here are the categories: {things}.",
        "read": "It says {said}.",
        "count": "{number}.",
        "present": "Yes, {things}.",
        "not present": "No.",
        "caption": "{things} on {a_ground} ground.",
        "empty caption": "{a_ground} ground.",
        "colour": "It is {colour}.",
        "where": "It is {side}.",
    }
)

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

_USUAL = 0.6  # share of the usual wording where there are others
_IRREGULAR = MappingProxyType(
    {
        "knife": "knives",
        "leaf": "leaves",
        "mouse": "mice",
        "potato": "potatoes",
        "scarf": "scarves",
        "snowman": "snowmen",
        "tomato": "tomatoes",
        "tooth": "teeth",
        "tornado": "tornadoes",
        "volcano": "volcanoes",
        "wolf": "wolves",
    }
)
_CONSONANT_FIRST = ("ufo", "uni")
_SEVERAL_OR_STUFF = (
    "bacon|blueberries|bricks|broccoli|cherries|chopsticks|corn|fire|fries|garlic|gloves|grapes|headphones|honey|jeans|juice|masks|milk|money|"
    "noodles|pancakes|popcorn|salt|scales|scissors|soap|socks|spaghetti|sunglasses|sushi|swords|yarn"
)
_UNCOUNTED = re.compile(_SEVERAL_OR_STUFF)
_UNCHANGED = re.compile(f"{_SEVERAL_OR_STUFF}|deer|dice|fish|sheep|tennis")


def plural(name: str) -> str:
    """Several of `name`; only its last word changes.

    >>> plural("cat"), plural("traffic light"), plural("cherry"), plural("bus"), plural("sheep")
    ('cats', 'traffic lights', 'cherries', 'buses', 'sheep')
    """
    *first, last = name.split(" ")
    if _UNCHANGED.fullmatch(last):
        return name
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif re.search("(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search("[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*first, last])


def name_forms() -> dict[str, str]:
    """Every form in which the vocabulary's names may be said, one and many, each with its name.

    >>> name_forms()["boxing gloves"]
    'boxing glove'
    """
    return {form: name for name in vocabulary() for form in (plural(name), name)}


def with_article(name: str) -> str:
    """`name` after "a", "an", or "some" where it is no single thing.

    >>> with_article("cat"), with_article("orange circle"), with_article("unicorn"), with_article("hourglass"), with_article("grapes")
    ('a cat', 'an orange circle', 'a unicorn', 'an hourglass', 'some grapes')
    """
    if _UNCOUNTED.fullmatch(name):
        return f"some {name}"
    vowel = (name[0] in "aeiou" and not name.startswith(_CONSONANT_FIRST)) or name.startswith("hour")
    return f"{'an' if vowel else 'a'} {name}"


def wording(task: str, rng: np.random.Generator) -> str:
    """One of the wordings of `task`, most often the usual one."""
    usual, *others = ASKS[task]
    return others[rng.integers(len(others))] if others and rng.random() >= _USUAL else usual


def fill(template: str, **parts: "str | Region | GroundedText") -> GroundedText:
    """`template` with each `{part}` in its place.

    >>> fill("What is {region}?", region="it").text
    'What is it?'
    """
    return GroundedText.join(*(parts[piece[1:-1]] if piece.startswith("{") else piece for piece in _split(template)))


def listed(parts: Sequence[str | GroundedText], last: str = ", ") -> GroundedText:
    """`parts` one after the other with commas between, and `last` before the last.

    >>> listed(["a cat", "a dog", "two stars"], " and ").text
    'a cat, a dog and two stars'
    """
    joined: list[str | GroundedText] = []
    for index, part in enumerate(parts):
        if index:
            joined.append(last if index == len(parts) - 1 else ", ")
        joined.append(part)
    return GroundedText.join(*joined)


def words_with(names: Iterable[str]) -> tuple[str, ...]:
    """Every word, digit, letter and mark that asks and answers about things of these `names` can hold, in lower case, sorted.

    Letters are there because words drawn in a picture are said in capitals and spelled.

    >>> {"cats", "cat", "q", "7", "?"} <= set(words_with(["cat"]))
    True
    """
    fixed = [re.sub(r"\{\w+\}", " ", text) for text in (*(text for wordings in ASKS.values() for text in wordings), *ANSWERS.values())]
    every = [*names, "text"]
    said = [*fixed, *every, *map(plural, every), *COLOURS, *NUMBERS, *SUPERLATIVES, *RELATIONS, "a an some and the many grey 0123456789 .,:?[]"]
    return tuple(sorted({piece for text in said for piece in re.findall(r"[a-z]+|[^\sa-z]", text.lower())} | set(ascii_lowercase)))


WORDS: tuple[str, ...] = words_with(vocabulary())
"""The words of the usual vocabulary, see `words_with`."""


def pieces(text: str, words: Collection[str] = frozenset(WORDS)) -> list[str]:
    """`text` in lower case as a word-level tokenizer sees it: words, digits and marks; what is in capitals or not in `words` by its letters.

    >>> pieces("It says STOP 20.")
    ['it', 'says', 's', 't', 'o', 'p', '2', '0', '.']
    """
    found = re.findall(r"[A-Za-z]+|[^\sA-Za-z]", text)
    whole = [word.lower() in words and not (len(word) > 1 and word.isupper()) for word in found]
    return [piece for word, one in zip(found, whole, strict=True) for piece in ([word.lower()] if one else word.lower())]


@cache
def _split(template: str) -> tuple[str, ...]:
    return tuple(piece for piece in re.split(r"(\{\w+\})", template) if piece)

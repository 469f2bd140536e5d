"""Stems of English words by the Snowball rules of 2002 ("Porter2"), as METEOR matches them; written from their published definition."""

import re
from functools import lru_cache

__all__ = ["english_stem"]


@lru_cache(maxsize=1 << 17)
def english_stem(word: str) -> str:
    """The stem of a lower-cased English word (Porter 2002, https://snowballstem.org/algorithms/english/stemmer.html).

    >>> [english_stem(word) for word in ("riding", "ponies", "generously", "skies", "men")]
    ['ride', 'poni', 'generous', 'sky', 'men']
    """
    if len(word) < 3:
        return word
    if word in _WHOLE:
        return _WHOLE[word]
    marked = re.sub(r"(?:^|(?<=[aeiouy]))y", "Y", word.removeprefix("'"))
    begin = _region_begins(marked)
    first = next((found.end() for found in [_OPENING.match(marked)] if found), begin)
    second = first + _region_begins(marked[first:])
    stem = _without_plural(re.sub(r"('s'|'s|')$", "", marked))
    if stem in _KEPT:
        return stem
    stem = _without_tense(stem, first)
    stem = re.sub(r"(?<=.[^aeiouy])[yY]$", "i", stem)
    stem = _replaced(stem, first, first, _SECOND)
    stem = _replaced(stem, first, second, _THIRD)
    stem = _replaced(stem, second, second, _FOURTH)
    if (stem.endswith("e") and (len(stem) > second or (len(stem) > first and not _SHORT.search(stem[:-1])))) or (
        stem.endswith("ll") and len(stem) > second
    ):
        stem = stem[:-1]
    return stem.replace("Y", "y")


def _region_begins(word: str) -> int:
    """What follows the first consonant after a vowel."""
    found = re.search(r"[aeiouy][^aeiouy]", word)
    return found.end() if found else len(word)


def _without_plural(word: str) -> str:
    if word.endswith("sses") or (word.endswith(("ied", "ies")) and len(word) > 4):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-1]
    return word[:-1] if re.search(r"[aeiouy].+(?<![us])s$", word) else word


def _without_tense(word: str, first: int) -> str:
    if found := re.search(r"eed(?:ly)?$", word):
        return word[: found.start()] + "ee" if found.start() >= first else word
    found = re.search(r"(?:ed|ing)(?:ly)?$", word)
    if not found or not re.search(r"[aeiouy]", word[: found.start()]):
        return word
    stem = word[: found.start()]
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if re.search(r"(bb|dd|ff|gg|mm|nn|pp|rr|tt)$", stem):
        return stem[:-1]
    return stem + "e" if first >= len(stem) and _SHORT.search(stem) else stem


def _replaced(word: str, first: int, second: int, endings: dict[str, str]) -> str:
    """The word with its longest ending in `endings` replaced, where that lies behind `first`; nothing else is tried."""
    ending = next((word[start:] for start in range(len(word)) if word[start:] in endings), None)
    if ending is None:
        return word
    stem, instead = word.removesuffix(ending), endings[ending]
    behind = {"ative": second}.get(ending, first)
    before = {"ogi": "l", "li": "cdeghkmnrt", "ion": "st"}.get(ending)
    if len(stem) < behind or (before is not None and not stem.endswith(tuple(before))):
        return word
    return stem + instead


def _endings(*lines: str) -> dict[str, str]:
    """From "izer ization > ize": what each ending becomes."""
    return {ending: line.partition(">")[2].strip() for line in lines for ending in line.partition(">")[0].split()}


_OPENING = re.compile("gener|commun|arsen")
_SHORT = re.compile(r"(?:[^aeiouy][aeiouy][^aeiouywxY]|^[aeiouy][^aeiouy])$")  # a short syllable at the end
_WHOLE = {"skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl", "ugly": "ugli"}
_WHOLE |= {"early": "earli", "only": "onli", "singly": "singl"} | {word: word for word in ["sky", "news", "howe", "atlas", "cosmos", "bias", "andes"]}
_KEPT = frozenset(["inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"])
_SECOND = _endings("tional > tion", "enci > ence", "anci > ance", "abli > able", "entli > ent", "izer ization > ize", "ational ation ator > ate")
_SECOND |= _endings("alism aliti alli > al", "fulness fulli > ful", "ousli ousness > ous", "iveness iviti > ive", "biliti bli > ble", "ogi > og")
_SECOND |= _endings("lessli > less", "li >")
_THIRD = _endings("tional > tion", "ational > ate", "alize > al", "icate iciti ical > ic", "ful ness ative >")
_FOURTH = _endings("al ance ence er ic able ible ant ement ment ent ism ate iti ous ive ize ion >")

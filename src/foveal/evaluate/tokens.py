"""Captions as the words that caption measures count: the Penn Treebank's way, lower-cased, without punctuation."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

__all__ = ["PUNCTUATION", "caption_tokens", "treebank_tokens"]

PUNCTUATION = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""What the COCO caption evaluation leaves out. Brackets are in it in upper case only, so that those of lower-cased text stay, as "-lrb-"."""


@lru_cache(maxsize=1 << 18)
def caption_tokens(caption: str) -> tuple[str, ...]:
    """The words of a caption as the COCO caption evaluation counts them: `treebank_tokens` without `PUNCTUATION` (Chen et al. 2015).

    >>> caption_tokens('A man\\'s "red" T-shirt, at 3,000 ft.; he can\\'t (yet) wash it.')
    ('a', 'man', "'s", 'red', 't-shirt', 'at', '3,000', 'ft.', 'he', 'ca', "n't", '-lrb-', 'yet', '-rrb-', 'wash', 'it')
    """
    return tuple(token for token in treebank_tokens(caption) if token not in PUNCTUATION)


def treebank_tokens(text: str) -> tuple[str, ...]:
    """Lower-cased tokens with Penn Treebank conventions, as Stanford's PTBTokenizer of 2014 gives them for one line.

    Contractions part before their clitic ("do n't", "it 's"), brackets are "-lrb-", "-lsb-", "-lcb-" and their closing partners, dashes are "--",
    double quotes are two backticks or two apostrophes; abbreviations, numbers, dates, words with hyphens or slashes and addresses stay whole. Where
    the original looks at the next line (the full stop after an abbreviation that ends a line) the line is taken for the last one.

    >>> treebank_tokens("Mr. Smith's dog -- it isn't here...")
    ('mr.', 'smith', "'s", 'dog', '--', 'it', 'is', "n't", 'here', '...')
    """
    if text.isascii() and text.replace(" ", "").isalpha():
        words: Sequence[str] = text.lower().split()
    else:
        words = [piece for found in _TOKEN.finditer(_tidy(text)) for piece in _pieces(str(found.lastgroup), found[0])]
    return tuple(part for word in words for part in _PARTED.get(word, (word,)))


def _tidy(text: str) -> str:
    for plain, written in _ALIKE.items():
        text = re.sub(written, plain, text)
    return text


def _pieces(kind: str, found: str) -> tuple[str, ...]:
    """What the tokens of one find are called."""
    match kind:
        case "word" | "number":
            return _without_clitic(found.lower())
        case "double":
            return ("''",)
        case "dash":
            return ("--",) if len(found) > 1 else ("-",)
        case "dots":
            return ("...",)
        case "smiley":
            return ("".join(_BRACKETS.get(sign, sign) for sign in found.lower()),)
        case "fraction" | "tag" | "phone":
            return ("".join(_BRACKETS.get(sign, sign) for sign in found.lower().replace(" ", "\u00a0")),)
        case _:
            return (_BRACKETS.get(found, found.lower()),)


def _without_clitic(word: str) -> tuple[str, ...]:
    if len(word) > 3 and word.endswith("n't"):
        return word[:-3], "n't"
    return (word,)


_ALIKE: Mapping[str, str] = {"'": "[\u2019\u0092\u203a]", "`": "[\u2018\u0091\u2039]", '"': "[\u201c\u201d\u0093\u0094\u00ab\u00bb]|&quot;"}
_ALIKE = {**_ALIKE, "--": "[\u2013\u2014\u0096\u0097]", "...": "\u2026|\\.(?: \\.){2,}", "&": "&amp;", "<": "&lt;", ">": "&gt;", "1/2": "\u00bd"}
_ALIKE = {**_ALIKE, "1/4": "\u00bc", "3/4": "\u00be", "$": "\u20ac", "#": "\u00a3", " cents": "\u00a2"}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PARTED = {"cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"), "gimme": ("gim", "me")}
_PARTED = {**_PARTED, "lemme": ("lem", "me"), "more'n": ("more", "'n"), "'tis": ("'t", "is"), "'twas": ("'t", "was")}
_LETTER = r"[^\W\d_]"
_TOKEN = re.compile(
    rf"""
    (?P<plain>[a-z]+(?=[\s,]|\Z))
    |(?P<address>(?:https?|ftp)://[^\s"<>|(){{}}]+[^\s"<>|.!?(){{}},;:'-]
        |[\w.+-]+@[\w-]+(?:\.[\w-]+)+
        |(?:[a-z0-9][a-z0-9-]*\.)+(?:com|net|org|edu|gov|co\.uk)\b(?:/[^\s"<>|(){{}}]*[^\s"<>|.!?(){{}},;:'-])?)
    |(?P<tag></?[a-z!][^<>]*>)
    |(?P<phone>\(\d{{2,3}}\)\ ?\d{{3,4}}-?\d{{3,4}}\b|\(\d{{3}}\))
    |(?P<fraction>\d+[\ -]\d+/\d+\b)
    |(?P<smiley>[<>]?[:;=]-?[()dp](?!\w)|<3(?!\w))
    |(?P<clitic>'(?:s|d|m|re|ve|ll)(?!\w)|(?<!\w)n't(?!\w))
    |(?P<short>'(?:n'|n|em|tis|twas|till?|cause|cuz|bout|round|\d\ds?)(?!\w))
    |(?P<abbreviation>(?:mr|mrs|ms|dr|prof|st|ave|blvd|jr|sr|vs|etc|inc|co|corp|ltd|ft|sq|al|mt|no(?=\.\ ?\d))\.(?!\w)
        |(?:{_LETTER}\.)+(?:{_LETTER}\b\.?)?(?!\w))
    |(?P<word>\w+(?=n't(?!\w))|n't
        |(?:[do]'(?={_LETTER}{{2}}))?(?:(?=\w*{_LETTER})\w+|\d+(?=-{_LETTER}))(?:[-/]\w+|(?<={_LETTER})[.&'](?={_LETTER}{{2}}|{_LETTER}\b)(?!(?:s|d|m|re|ve|ll)\b)\w+)*)
    |(?P<number>(?:(?<!\w)[-+])?\.?\d+(?:[.,:/-]\d+)*)
    |(?P<double>"|'')
    |(?P<dash>--+|-)
    |(?P<dots>\.\.\.+)
    |(?P<marks>[!?]+)
    |(?P<other>\S)
    """,
    re.IGNORECASE | re.VERBOSE,
)

"""Captions as the words that caption measures count: the Penn Treebank's way, lower-cased, without punctuation."""

import re
from functools import lru_cache

__all__ = ["PUNCTUATION", "caption_tokens", "treebank_tokens"]

PUNCTUATION = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""What the COCO caption evaluation leaves out. Brackets stand in it in upper case only, so those of lower-cased text stay, as "-lrb-"."""


@lru_cache(maxsize=1 << 18)
def caption_tokens(caption: str) -> tuple[str, ...]:
    """The words of a caption as the COCO caption evaluation counts them (Chen et al. 2015): `treebank_tokens` without `PUNCTUATION`.

    >>> caption_tokens('A man\\'s "red" T-shirt, at 3,000 ft.; he can\\'t (yet) wash it.')
    ('a', 'man', "'s", 'red', 't-shirt', 'at', '3,000', 'ft.', 'he', 'ca', "n't", '-lrb-', 'yet', '-rrb-', 'wash', 'it')
    """
    return tuple(token for token in treebank_tokens(caption) if token not in PUNCTUATION)


def treebank_tokens(text: str) -> tuple[str, ...]:
    """Lower-cased tokens with Penn Treebank conventions, as Stanford's PTBTokenizer of 2014 gives them for one line of text.

    Contractions part before their clitic ("do n't", "it 's"), brackets are "-lrb-", "-lsb-", "-lcb-" and their closing partners, dashes "--", quotes
    of both ends apostrophes; abbreviations, numbers, dates, addresses and words with hyphens or slashes stay whole. The line is taken for the only
    one: the original looks into the next to tell whether a full stop after a single letter belongs to it, and doubles that of a last abbreviation.

    >>> treebank_tokens("Mr. Smith's dog -- it isn't here...")
    ('mr.', 'smith', "'s", 'dog', '--', 'it', 'is', "n't", 'here', '...')
    """
    tidy = text
    if not text.isascii() or "&" in text or ". ." in text:
        for written, plain in _ALIKE.items():
            tidy = re.sub(written, plain, tidy)
    return tuple(part for found in _TOKEN.finditer(tidy) for part in _named(str(found.lastgroup), found[0].lower()))


def _named(kind: str, found: str) -> tuple[str, ...]:
    """What a find is called; a few words are two tokens."""
    match kind:
        case "plain" | "word" | "short":
            return _PARTED.get(found, (found,))
        case "double":
            return ("''",)
        case "dash":
            return ("--",) if len(found) > 1 else ("-",)
        case "dots":
            return ("...",)
        case "whole":  # a space within a token does not part it
            return ("".join(_BRACKETS.get(sign, sign) for sign in found.replace(" ", "\u00a0")),)
        case _:
            return (_BRACKETS.get(found, found),)


_ALIKE = {"[\u2019\u0092\u203a]": "'", "[\u2018\u0091\u2039]": "`", "[\u201c\u201d\u0093\u0094\u00ab\u00bb]|&quot;": '"'}
_ALIKE |= {"[\u2013\u2014\u0096\u0097]": "--", "\u2026|\\.(?: \\.){2,}": "...", "&amp;": "&", "&lt;": "<", "&gt;": ">"}
_ALIKE |= {"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u20ac": "$", "\u00a3": "#", "\u00a2": " cents "}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PARTED = {"cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"), "gimme": ("gim", "me")}
_PARTED |= {"lemme": ("lem", "me"), "more'n": ("more", "'n"), "'tis": ("'t", "is"), "'twas": ("'t", "was")}

_TITLES = "mr mrs ms dr drs prof profs sen sens rep reps atty lt col gen messrs gov govs adm rev maj sgt cpl pvt capt pres lieut hon brig cmdr comdr"
_PLACES = "st ste ave blvd rd bldg mt ft rt ala ariz calif colo conn ct dak fla ga ind kans ky md mich"
_STATES = "minn mo mont neb nev okla penn tenn va vt wisc wyo"
_FIRMS = "inc co cos corp pty ltd plc bancorp dept mfg bros univ assn bhd jr sr esq ph est ext sq al vs etc cf seq asst tel pfc spc supt det p"
_DATES = "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri"
_SHORT = "|".join(f"{_TITLES} {_PLACES} {_STATES} {_FIRMS} {_DATES}".split())
_CAPITAL = "Ark|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash|ARK|DEL|ILL|LA|MASS|MISS|ORE|PA|TEX|WASH"  # words, unless in upper case
_LETTER = r"[^\W\d_]"
_CLITIC = r"'(?:s|d|m|re|ve|ll)(?!\w)"
_TOKEN = re.compile(
    rf"""
    (?P<plain>[a-z]+(?=[\s,]|\Z))
    |(?P<address>(?:https?|ftp)://[^\s"<>|(){{}}]+[^\s"<>|.!?(){{}},;:'-]
        |[\w.+-]+@[\w-]+(?:\.[\w-]+)*
        |(?:[a-z0-9][a-z0-9-]*\.)+(?:com|net|org|edu|gov|co\.uk)\b(?:/[^\s"<>|(){{}}]*[^\s"<>|.!?(){{}},;:'-])?)
    |(?P<whole></?[a-z!][^<>]*>                                                     # a tag
        |\(?\+?\d{{2,4}}\)?[\ -]\d{{3,4}}[\ -]\d{{4}}(?!\w)|\(\d{{3}}\)|\d{{2,3}}-\d{{3,4}}\ \d{{4}}(?!\w)    # a telephone number
        |\d+\ \d+/\d+(?!\w)                                                         # 1 1/2
        |[<>]?[:;=]-?[()dp](?!\w)|<3(?!\w)|\(=+\))                                  # a smiley
    |(?P<clitic>{_CLITIC}|(?<!\w)n't(?!\w))
    |(?P<short>'(?:n'|n|em|tis|twas|till?|cause|cuz|bout|round|\d\ds?)(?!\w|{_CLITIC})|y'(?=all)|more'n(?!\w))
    |(?P<abbreviation>(?:{_SHORT}|(?-i:{_CAPITAL}))\.(?!\w)|no\.(?=\ ?\d|:)
        |{_LETTER}\.(?=\s*\Z|\ (?!(?:a|an|the)\b)|\d)|{_LETTER}(?:\.{_LETTER})+\b\.?)
    |(?P<word>\w+(?=n't(?!\w))|n't|c\+\+
        |(?:[do]'(?={_LETTER}{{2}}))?(?:(?=\w*{_LETTER})\w+|\d+(?=[-/]\w*{_LETTER}))
            (?:[-/]\w+|(?<={_LETTER})[.&'](?={_LETTER})(?!(?:s|d|m|re|ve|ll)\b)\w+)*)
    |(?P<number>(?:(?<!\w)[-+]|[.,:](?=\d))?\d+(?:[.,:/-]\d+)*(?:\.x\b)?)
    |(?P<double>"|'')
    |(?P<dash>--+|-)
    |(?P<dots>\.\.\.+)
    |(?P<marks>[!?]+|\*+|@+|[#]+(?:[a-z]\w*)?|=(?=d\b)|<<|>>)
    |(?P<other>\S)
    """,
    re.IGNORECASE | re.VERBOSE,
)

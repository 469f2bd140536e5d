"""What may follow inside an open bracket, token by token, so that whatever a model begins as a place becomes one; and when it goes in circles."""

import re
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

__all__ = ["PlaceGrammar", "is_circling", "may_become_place", "spelling_of"]

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_UNIT = re.compile(r"([^\[\]]*)\[([^\[\]]*)\]")
_PHRASE_END = re.compile(r"[.,;:!?]")
_WORDS = re.compile(r"[^\W\d_]+")
_LONGEST_CIRCLE = 8


def may_become_place(inner: str, digits: int = 3) -> bool:
    """Whether what stands after a "[" is, or can still become, `x, y]` or `x0, y0, x1, y1]` of at most `digits` digits, x0 <= x1 and y0 <= y1.

    >>> [may_become_place(inner) for inner in ("", "12", "120, 40", "120, 40]", "120, 40, 99]", "120, 40, 1", "120, 40, 0999", "a")]
    [True, True, True, True, False, True, False, False]
    """
    body, close, _ = inner.partition("]")
    parts = body.split(",")
    if len(parts) > 4 or (close and len(parts) not in (2, 4)):
        return False
    for place, part in enumerate(parts):
        complete = bool(close) or place < len(parts) - 1
        number = part.removeprefix(" ") if place else part
        if not complete and not part:
            return True
        if place and number == part:
            return False
        if not number:
            return not complete
        if not (number.isascii() and number.isdigit()) or len(number) > digits:
            return False
        largest = int(number if complete else number.ljust(digits, "9"))
        if place >= 2 and largest < int(parts[place - 2]):
            return False
    return True


def spelling_of(token: str | None) -> str:
    """How a token of any tokenizer reads, as far as brackets, digits, commas and blanks go.

    >>> spelling_of("▁[12"), spelling_of("Ġ["), spelling_of("<0x5B>")
    (' [12', ' [', '[')
    """
    if token is None:
        return ""
    if byte := _BYTE.fullmatch(token):
        return chr(int(byte[1], 16))
    return token.replace("▁", " ").replace("Ġ", " ")


def is_circling(text: str) -> bool:
    """Whether an answer ends in the same words and box, or cycle of up to eight of them, three times, or in one box four times.

    Numbers among the words do not count, for a list numbers its lines.

    >>> is_circling("1: cat [1, 2, 3, 4], 2: cat [1, 2, 3, 4], 3: cat [1, 2, 3, 4]"), is_circling("a man [1, 2, 3, 4] and his cap [1, 2, 3, 4]")
    (True, False)
    """
    if not text.endswith("]"):
        return False
    units = [(tuple(_WORDS.findall(_PHRASE_END.split(words)[-1])), place) for words, place in _UNIT.findall(text)]
    if len(units) >= 4 and len({place for _, place in units[-4:]}) == 1:
        return True
    tails = ((units[-3 * period :], period) for period in range(1, _LONGEST_CIRCLE + 1))
    return any(len(tail) == 3 * period and tail == tail[:period] * 3 for tail, period in tails)


class PlaceGrammar:
    """The rule of `may_become_place` over a vocabulary: `spellings[i]` is how token i reads, "" for special tokens."""

    def __init__(self, spellings: Sequence[str], digits: int = 3) -> None:
        self.spellings = tuple(spellings)
        self.digits = digits
        # What can stand inside a bracket at all; so a step looks at hundreds of tokens, not at the vocabulary.
        self._candidates = [index for index, spelling in enumerate(self.spellings) if spelling and re.match(r"[0-9, ]*(\]|$)", spelling)]
        self._outside = torch.tensor([self._fits(spelling) for spelling in self.spellings])
        self._inside = lru_cache(maxsize=512)(self._inside_mask)

    def open_bracket(self, before: str | None, token: int) -> str | None:
        """What stands after the last open "[" once `token` is said, given the same before it; None outside brackets."""
        said = self.spellings[token] if token < len(self.spellings) else ""  # a vocabulary may be padded beyond the tokenizer's
        text = said if before is None else f"[{before}{said}"
        start = text.rfind("[")
        return None if start < 0 or "]" in text[start:] else text[start + 1 :]

    def allowed(self, before: str | None) -> Bool[Tensor, " vocabulary"]:
        """Which tokens may follow, in a text that stands as `open_bracket` says."""
        return self._outside if before is None else self._inside(before)

    def _inside_mask(self, before: str) -> Bool[Tensor, " vocabulary"]:
        allowed = torch.zeros(len(self.spellings), dtype=torch.bool)
        for index in self._candidates:
            allowed[index] = self._fits(f"[{before}{self.spellings[index]}")
        return allowed if allowed.any() else ~allowed  # no token of this vocabulary can go on: then none is forbidden

    def _fits(self, text: str) -> bool:
        return all(may_become_place(inner, self.digits) for inner in text.split("[")[1:])

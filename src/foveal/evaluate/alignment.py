"""Which words of two sentences are set against each other: each at most once, as many as may be, in as few runs as may be."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Match", "align", "count_runs"]


class Match(NamedTuple):
    """`length` words of the reference from `start` may be set against `width` words of the candidate from `place`, for a reason of some `kind`."""

    kind: int
    start: int
    length: int
    place: int
    width: int


class _Path(NamedTuple):
    """A partial alignment; the smallest by its first three fields is the best."""

    unmatched: int
    runs: int
    distance: int
    end: int
    """Where in the candidate the open run ends; -1: none is open."""
    next: int
    """Up to where in the reference the last match reaches."""
    said: int
    true: int
    """Bits of the words that are used, of the candidate and of the reference."""
    chosen: tuple[Match, ...]


def align(options: Sequence[Sequence[Match]], words: int, *, beam: int = 40) -> list[Match]:
    """The best alignment by a beam search from left to right, in the order of the reference (Denkowski and Lavie 2014).

    `options` are the matches that begin at each word of the reference, `words` is the candidate's length. A match that shares no word with another
    is taken. Of the rest, those that (1) cover most words; (2) make the fewest runs; (3) are the least displaced. As in METEOR 1.5, words of a match
    that is not exact (kind 0) count half in (1), rounded down on each side, and (3) charges a match to the alternatives tried after it. Of partial
    alignments with the same future only the best goes on, so that the beam is rarely full.

    >>> align([[Match(0, 0, 1, 0, 1), Match(0, 0, 1, 2, 1)], [Match(0, 1, 1, 3, 1)]], 4)
    [Match(kind=0, start=0, length=1, place=2, width=1), Match(kind=0, start=1, length=1, place=3, width=1)]
    """
    fixed = _definite(options, words)
    if sum(map(len, options)) == len(fixed):
        return list(fixed.values())
    later = [0] * (len(options) + 1)
    for start in range(len(options) - 1, -1, -1):
        later[start] = later[start + 1]
        for match in options[start]:
            later[start] |= _bits(match.place, match.width)
    said = sum(_bits(match.place, match.width) for match in fixed.values())
    true = sum(_bits(match.start, match.length) for match in fixed.values())
    paths = [_Path(0, 0, 0, -1, 0, said, true, ())]
    for start, row in enumerate(options):
        paths = sorted(paths, key=_rank)[:beam]
        grown: dict[tuple[int, int, int, int], _Path] = {}
        for path in paths:
            for new in _grown(path, start, row, fixed):
                future = (new.end, new.next, new.said & later[start + 1], new.true >> (start + 1))
                if future not in grown or _rank(new) < _rank(grown[future]):
                    grown[future] = new
        paths = list(grown.values())
    return list(min(paths, key=lambda path: (path.unmatched, path.runs + (path.end >= 0), path.distance)).chosen)


def count_runs(chosen: Sequence[Match]) -> int:
    """In how many runs an alignment falls: stretches that stand together, and in the same order, in both sentences.

    >>> count_runs([Match(0, 0, 1, 2, 1), Match(0, 1, 1, 3, 1), Match(0, 3, 1, 4, 1)])
    2
    """
    return bool(chosen) + sum(b.start != a.start + a.length or b.place != a.place + a.width for a, b in pairwise(chosen))


def _definite(options: Sequence[Sequence[Match]], words: int) -> dict[int, Match]:
    """The matches that share no word with any other."""
    said, true = [0] * words, [0] * len(options)
    for row in options:
        for match in row:
            for place in range(match.place, match.place + match.width):
                said[place] += 1
            for place in range(match.start, match.start + match.length):
                true[place] += 1
    return {
        row[0].start: row[0]
        for row in options
        if len(row) == 1
        and all(count == 1 for count in said[row[0].place : row[0].place + row[0].width])
        and all(count == 1 for count in true[row[0].start : row[0].start + row[0].length])
    }


def _grown(path: _Path, start: int, row: Sequence[Match], fixed: dict[int, Match]) -> list[_Path]:
    """A path with each match that begins at the reference's word `start`, and without any."""
    unmatched, runs, distance, end, following, said, true, chosen = path
    if true >> start & 1:
        return [path] if start < following else [_with(path, fixed[start], distance + abs(start - fixed[start].place))]
    grown = []
    for match in row:
        if not (said & _bits(match.place, match.width) or true & _bits(start, match.length)):
            grown.append(_with(path, match, distance))
            distance += abs(start - match.place)
    return [*grown, _Path(unmatched, runs + (end >= 0), distance, -1, start + 1, said, true, chosen)]


def _with(path: _Path, match: Match, distance: int) -> _Path:
    unmatched, runs, _, end, _, said, true, chosen = path
    kind, start, length, place, width = match
    gained = length + width if kind == 0 else length // 2 + width // 2
    runs += end >= 0 and place != end
    used = said | _bits(place, width), true | _bits(start, length)
    return _Path(unmatched - gained, runs, distance, place + width, start + length, *used, (*chosen, match))


def _bits(start: int, length: int) -> int:
    return ((1 << length) - 1) << start


def _rank(path: _Path) -> tuple[int, int, int]:
    return path[:3]

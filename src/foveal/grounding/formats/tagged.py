"""What dialects share whose places stand behind tagged words: `open words close places`, or places alone."""

import re
from collections.abc import Callable, Sequence

from foveal.geometry import Frame, Region
from foveal.grounding.text import GroundedText, Span

__all__ = ["ordered_box", "read_tagged", "tagged_pattern", "write_tagged"]


def tagged_pattern(opening: str, closing: str, place: str, places: str) -> re.Pattern[str]:
    """What `read_tagged` looks for: words between the tags with `places` behind them, or `places` alone.

    `opening` and `closing` are strings, `place` (how any place begins) and `places` are patterns without groups. Words hold no tag and no place,
    so that a row of open tags costs no more than its length.
    """
    first, last = re.escape(opening), re.escape(closing)
    return re.compile(rf"{first}((?:(?!{first}|{last}|{place})[\s\S])*){last}\s?((?:{places})*)|((?:{places})+)")


def read_tagged(
    raw: str,
    said: re.Pattern[str],
    place: re.Pattern[str],
    read: Callable[[str], Region | None],
    score: Callable[[int, int], float | None] | None = None,
) -> GroundedText:
    """Words and places of any string, in the time of its length: what `said` (of `tagged_pattern`) does not find stays text.

    Each `place` inside the places found is a region, or stays text where `read` gives None.
    """
    parts: list[str | GroundedText] = []
    cut = 0
    for found in said.finditer(raw):
        words, start = found[1] or "", found.start(2) if found[1] is not None else found.start(3)
        regions, scores, odd = [], [], ""
        for one in place.finditer(raw, start, found.end()):
            if (region := read(one[0])) is None:
                odd += one[0]
                continue
            regions.append(region)
            scores.append(score(one.start(), one.end()) if score else None)
        span = Span(0, len(words), tuple(regions), tuple(scores) if score else ())
        parts += [raw[cut : found.start()], GroundedText(words, (span,) if regions else ()), odd]
        cut = found.end()
    return GroundedText.join(*parts, raw[cut:])


def write_tagged(said: GroundedText, opening: str, closing: str, spell: Callable[[Sequence[Region]], str]) -> str:
    """The string for `said`: tags around words that have places, the places behind them; places without words stand alone.

    >>> from foveal.geometry import Box
    >>> write_tagged(GroundedText("a cup", (Span(2, 5, (Box(0, 0, 1, 1),)),)), "<p>", "</p>", lambda regions: f"[{len(regions)}]")
    'a <p>cup</p>[1]'
    """
    pieces, written = [], 0
    for span in sorted(said.spans, key=lambda span: (span.start, span.end)):
        words, places = said.text[span.start : span.end], spell(span.regions) if span.regions else ""
        pieces += [said.text[written : span.start], f"{opening}{words}{closing}{places}" if words and places else words + places]
        written = span.end
    return "".join(pieces) + said.text[written:]


def ordered_box(numbers: Sequence[float], most: float, frame: Frame) -> Region | None:
    """The box of x0, y0, x1, y1 from 0 to `most`, parts of the whole canvas; None where the corners are the wrong way round or beyond it.

    >>> ordered_box((0, 0, 500, 1000), 1000, Frame.stretch((640, 480)))
    Box(x0=0.0, y0=0.0, x1=0.5, y1=1.0, image=0)
    """
    x0, y0, x1, y1 = numbers
    if not (0 <= x0 <= x1 <= most and 0 <= y0 <= y1 <= most):
        return None
    return frame.unit().back([number / most for number in numbers])

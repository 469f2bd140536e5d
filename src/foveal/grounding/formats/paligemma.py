"""PaliGemma's spelling of places: `<loc0256><loc0128><loc0768><loc0512> cat`, y before x, in 1024ths, things apart by ` ; `."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from foveal.geometry import Frame, Region, bounding_box
from foveal.grounding.formats.tagged import ordered_box
from foveal.grounding.text import GroundedText, Span

__all__ = ["PaliGemmaFormat"]

_BINS = 1024
_SAID = re.compile(r"((?:<loc\d{4}>){4})(?:<seg\d{3}>){0,64}(\s{0,8})([^;<\n]*)")


@dataclass(frozen=True, slots=True)
class PaliGemmaFormat:
    """Four tokens y0, x0, y1, x1 before the words of each thing (arXiv 2407.07726, 3.2); all other regions by the box around them.

    The tokens of a segment, `<seg000>` to `<seg127>`, which only a decoder outside the model turns into a mask, are read over: its box stays.

    >>> said = PaliGemmaFormat().decode("<loc0000><loc0256><loc0512><loc1023> cat ; <loc0000><loc0000><loc0512><loc0512> dog", Frame.stretch((8, 8)))
    >>> said.text, said.regions[1]
    ('cat ; dog', Box(x0=0.0, y0=0.0, x1=0.5, y1=0.5, image=0))
    """

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; words that have several places are said with each."""
        pieces, written = [], 0
        for span in sorted(said.spans, key=lambda span: (span.start, span.end)):
            words = said.text[span.start : span.end]
            spelt = [self._spell(region, frame) + (f" {words}" if words else "") for region in span.regions]
            pieces += [said.text[written : span.start], " ; ".join(spelt) if words else "".join(spelt)]
            pieces += [words] if not spelt else []
            written = span.end
        return "".join(pieces) + said.text[written:]

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: tokens that are no place of four ordered numbers stay text."""
        parts: list[str | GroundedText] = []
        cut = 0
        for found in _SAID.finditer(raw):
            y0, x0, y1, x1 = (int(number) for number in re.findall(r"\d{4}", found[1]))
            if (region := ordered_box((x0, y0, x1, y1), _BINS, frame)) is None:
                continue
            words = found[3].rstrip()
            scores = (score(*found.span(1)),) if score else ()
            parts += [raw[cut : found.start()], GroundedText(words, (Span(0, len(words), (region,), scores),)), found[3][len(words) :]]
            cut = found.end()
        return GroundedText.join(*parts, raw[cut:])

    def _spell(self, region: Region, frame: Frame) -> str:
        x0, y0, x1, y1 = (min(max(int(round(value * _BINS, 9)), 0), _BINS - 1) for value in frame.unit().to(bounding_box(region)))
        return "".join(f"<loc{number:04d}>" for number in (y0, x0, y1, x1))

"""Qwen2.5-VL's and Qwen3-VL's spelling of places: `{"bbox_2d": [100, 200, 300, 400], "label": "a cup"}` in JSON, points as `point_2d`."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from foveal.geometry import Frame, Point, Region
from foveal.grounding.text import GroundedText, Span, tied

__all__ = ["QwenJsonFormat"]

_LONGEST, _TRIES = 1000, 4
_BEFORE, _AFTER = re.compile(r"(?:```(?:json)?\s{0,8})?(?:\[\s{0,8})?\Z"), re.compile(r"\s{0,8}\]?(?:\s{0,8}```)?(?:\s{0,8}\Z)?")
_BETWEEN = re.compile(r"\s{0,8},\s{0,8}")
_LIST = re.compile(r'"(?:bbox|point)_2d"\s{0,8}:\s{0,8}(\[[^\[\]]*\])')
_EMPTY = re.compile(r"(?:```(?:json)?\s{0,8})?\[\s{0,8}\](?:\s{0,8}```)?")


@dataclass(frozen=True, slots=True)
class QwenJsonFormat:
    """A JSON object for each place: `bbox_2d` for a box, `point_2d` for a point, `label` (or `text_content`) for its words.

    Numbers are pixels of the canvas the model looks at (Qwen2.5-VL, arXiv 2502.13923, 2.1: of the resized image, so the frame's canvas is that),
    or, with `bins`, thousandths of the image (Qwen3-VL). A question says `[x0, y0, x1, y1]` or `[x, y]` where a place stands without words. A mask
    and a trace are spelled by the box around them.

    >>> frame = Frame.stretch((640, 480), (1288, 952))
    >>> QwenJsonFormat().decode('[{"bbox_2d": [644, 0, 1288, 476], "label": "a cup"}]', frame).spans
    (Span(start=0, end=5, regions=(Box(x0=0.5, y0=0.0, x1=1.0, y1=0.5, image=0),), scores=()),)
    """

    bins: int | None = None

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`: words with places become JSON objects, one for each place, in a list where nothing else is said."""
        pieces, written = [], 0
        for span in sorted(said.spans, key=lambda span: (span.start, span.end)):
            words = said.text[span.start : span.end]
            spelt = [self._spell(words, region, frame) for region in span.regions]
            pieces += [said.text[written : span.start], ", ".join(spelt) if spelt else words]
            written = span.end
        whole = "".join(pieces) + said.text[written:]
        only = said.spans and re.fullmatch(r"[,\s]*", _without(said)) and whole.startswith("{")
        return f"[{whole}]" if only else whole

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """Words and places of any string, in the time of its length; never raises: an object that is no place stays text.

        The list's brackets and commas and the fence around it are no words; an empty list says nothing.

        >>> QwenJsonFormat().decode('{"bbox_2d": [1, 2, 3]}', Frame.stretch((640, 480))).text
        '{"bbox_2d": [1, 2, 3]}'
        """
        if _EMPTY.fullmatch(raw.strip()):
            return GroundedText("")
        parts: list[str | GroundedText] = []
        cut, start = 0, raw.find("{")
        while start >= 0:
            end, words, region = self._object(raw, start, frame)
            if region is not None:
                between = raw[cut:start]
                if parts and _BETWEEN.fullmatch(between):
                    parts.append(", ")
                else:
                    opening = _BEFORE.search(between, max(0, len(between) - 32))
                    parts.append(between[: opening.start()] if opening else between)
                said = tied(words, region)
                parts.append(GroundedText(words, (Span(0, len(words), (region,), (score(*_numbers(raw, start, end)),)),)) if score else said)
                cut = end
                if not _BETWEEN.match(raw, cut) and (closing := _AFTER.match(raw, cut)) is not None:
                    cut = closing.end() if closing[0].strip() or closing.end() == len(raw) else cut
            start = raw.find("{", max(cut, start + 1))
        return GroundedText.join(*parts, raw[cut:])

    def _object(self, raw: str, start: int, frame: Frame) -> tuple[int, str, Region | None]:
        """The end of the object at `start`, its words and its region; None where it is none. Braces may stand in its words."""
        close = start
        for _ in range(_TRIES):
            close = raw.find("}", close + 1, start + _LONGEST)
            if close < 0:
                break
            try:
                found = json.loads(raw[start : close + 1])
            except (ValueError, RecursionError):
                continue
            words = next((found[key] for key in ("label", "text_content") if isinstance(found.get(key), str)), "")
            return close + 1, words.encode("utf-8", "replace").decode(), self._read(found, frame)  # JSON can spell half a character
        return start, "", None

    def _read(self, found: dict[str, object], frame: Frame) -> Region | None:
        for key, count in (("bbox_2d", 4), ("point_2d", 2)):
            numbers = found.get(key)
            if isinstance(numbers, list) and len(numbers) == count and all(_is_number(number) for number in numbers):
                break
        else:
            return None
        width, height = (self.bins, self.bins) if self.bins else frame.canvas_size
        if any(not 0 <= number <= (width, height)[place % 2] for place, number in enumerate(numbers)):
            return None
        if count == 4 and (numbers[0] > numbers[2] or numbers[1] > numbers[3]):
            return None
        return frame.unit().back([number / (width, height)[place % 2] for place, number in enumerate(numbers)])

    def _spell(self, words: str, region: Region, frame: Frame) -> str:
        width, height = (self.bins, self.bins) if self.bins else frame.canvas_size
        numbers = [
            min(max(round(value * (width, height)[place % 2]), 0), (width, height)[place % 2]) for place, value in enumerate(frame.unit().to(region))
        ]
        if not words:
            return str(numbers)
        return json.dumps({"point_2d" if isinstance(region, Point) else "bbox_2d": numbers, "label": words}, ensure_ascii=False)


def _numbers(raw: str, start: int, end: int) -> tuple[int, int]:
    """Where in an object its numbers stand: the "2" of its key and what its words count say nothing of how sure they are."""
    found = _LIST.search(raw, start, end)
    return found.span(1) if found else (start, end)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)


def _without(said: GroundedText) -> str:
    """What stands outside of the words that have places."""
    pieces, written = [], 0
    for span in said.spans:
        pieces.append(said.text[written : span.start])
        written = max(written, span.end)
    return "".join(pieces) + said.text[written:]

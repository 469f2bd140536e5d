"""Words tied to places: a text, and the stretches of it that have a place in the image."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from foveal.geometry import Region

__all__ = ["GroundedText", "Span", "tie_words", "tied", "words_before"]

_PHRASE_ENDS = ".,;:!?"


@dataclass(frozen=True, slots=True)
class Span:
    """The characters `start` to `end` (exclusive) of a text mean `regions`; `scores[i]` is the confidence of `regions[i]`, or None.

    An empty stretch (`start == end`) is a region that stands in the text without words of its own, as in a question about a box.
    A stretch without regions is a phrase that is said to be nowhere in the image. `scores` is empty or as long as `regions`.
    """

    start: int
    end: int
    regions: tuple[Region, ...] = ()
    scores: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a span from {self.start} to {self.end}; it must start at 0 or later and not end before it starts")
        if self.scores and len(self.scores) != len(self.regions):
            raise ValueError(f"{len(self.scores)} scores for {len(self.regions)} regions of a span; give one for each, or none")


@dataclass(frozen=True, slots=True)
class GroundedText:
    """`text` with `spans` in order of their start.

    >>> from foveal.geometry import Box
    >>> said = GroundedText.join("What is ", Box(0.1, 0.2, 0.3, 0.4), " for?")
    >>> said.text, said.spans[0].start, said.regions
    ('What is  for?', 8, (Box(x0=0.1, y0=0.2, x1=0.3, y1=0.4, image=0),))
    """

    text: str
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        if len(self.spans) > 1 and any(before.start > after.start for before, after in pairwise(self.spans)):
            raise ValueError("the spans of a text are not in order of their start; sort them")
        if any(span.end > len(self.text) for span in self.spans):
            raise ValueError(f"a span ends at {max(span.end for span in self.spans)}, behind the {len(self.text)} characters of its text")

    @staticmethod
    def join(*parts: "str | Region | GroundedText") -> "GroundedText":
        """One text of many parts; a region becomes an empty span where it stands."""
        texts: list[str] = []
        spans: list[Span] = []
        length = 0
        for part in parts:
            if isinstance(part, GroundedText):
                spans += [Span(span.start + length, span.end + length, span.regions, span.scores) for span in part.spans]
                texts.append(part.text)
            elif isinstance(part, str):
                texts.append(part)
            else:
                spans.append(Span(length, length, (part,)))
                continue
            length += len(texts[-1])
        return GroundedText("".join(texts), tuple(spans))

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions, in the order in which the text names them."""
        return tuple(region for span in self.spans for region in span.regions)


def tied(text: str, *regions: Region) -> GroundedText:
    """`text`, all of which means `regions`; without any, something that is nowhere in the picture.

    >>> tied("a cat").spans
    (Span(start=0, end=5, regions=(), scores=()),)
    """
    return GroundedText(text, (Span(0, len(text), regions),))


def words_before(text: str, start: int = 0) -> tuple[int, int]:
    """The phrase that a place after `text` belongs to: the words behind the last of . , ; : ! ? and not before `start`.

    An empty phrase stands at the end of the text.

    >>> text = "Yes, a red cup "
    >>> text[slice(*words_before(text))]
    'a red cup'
    """
    start = max([start, *(text.rfind(mark, start) + 1 for mark in _PHRASE_ENDS)])
    words = text[start:]
    if not words.strip():
        return len(text), len(text)
    return start + len(words) - len(words.lstrip()), len(text.rstrip())


def tie_words(places: Iterable[tuple[str, Region, float | None]], rest: str) -> GroundedText:
    """A text in which each place (the words before it, the region, its score) belongs to the phrase it follows; `rest` ends the text.

    A place straight after another belongs to the same phrase. The blank between a phrase and its place is dropped.

    >>> from foveal.geometry import Point
    >>> said = tie_words([("A cat ", Point(0.1, 0.1), 0.5), (" and a dog ", Point(0.9, 0.9), None)], ".")
    >>> said.text, [(span.start, span.end, span.scores) for span in said.spans]
    ('A cat and a dog.', [(0, 5, (0.5,)), (6, 15, ())])
    """
    pieces: list[str] = []
    found: list[tuple[int, int, list[Region], list[float | None]]] = []
    length = 0
    for before, region, score in places:
        if not (found and length == found[-1][1] and not before.strip()):
            first, last = words_before(before)
            pieces.append(before[:last])
            found.append((length + first, length + last, [], []))
            length += last
        found[-1][2].append(region)
        found[-1][3].append(score)
    spans = [
        Span(first, last, tuple(regions), () if all(score is None for score in scores) else tuple(scores)) for first, last, regions, scores in found
    ]
    return GroundedText("".join(pieces) + rest, tuple(spans))

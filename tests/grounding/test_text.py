"""Laws of texts and spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Box, Point
from foveal.grounding import GroundedText, Span, tie_words, words_before

PARTS = st.lists(st.one_of(st.text(max_size=5), st.builds(Point, st.floats(0, 1), st.floats(0, 1))), max_size=6)


@given(PARTS, PARTS)
def test_joining_joined_texts_is_joining_their_parts(first: list, second: list) -> None:
    assert GroundedText.join(GroundedText.join(*first), GroundedText.join(*second)) == GroundedText.join(*first, *second)


@given(PARTS)
def test_a_joined_text_keeps_words_and_regions_in_order(parts: list) -> None:
    said = GroundedText.join(*parts)
    assert said.text == "".join(part for part in parts if isinstance(part, str))
    assert said.regions == tuple(part for part in parts if isinstance(part, Point))


@pytest.mark.parametrize("start, end", [(-1, 2), (3, 2)])
def test_a_span_that_ends_before_it_starts_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="a span from"):
        Span(start, end)


def test_scores_belong_to_regions() -> None:
    with pytest.raises(ValueError, match="2 scores for 1 regions"):
        Span(0, 1, (Point(0.5, 0.5),), (0.1, 0.2))


def test_spans_lie_in_order_within_their_text() -> None:
    with pytest.raises(ValueError, match="order"):
        GroundedText("abc", (Span(1, 2), Span(0, 1)))
    with pytest.raises(ValueError, match="behind the 3 characters"):
        GroundedText("abc", (Span(1, 4),))


@pytest.mark.parametrize(
    "text, words",
    [("a red cup ", "a red cup"), ("Yes. A cup", "A cup"), ("one, two ", "two"), ("It is: ", ""), ("", ""), ("   ", ""), ("a! b? c", "c")],
)
def test_the_words_before_a_place_begin_behind_the_last_mark(text: str, words: str) -> None:
    start, end = words_before(text)
    assert text[start:end] == words and start <= end <= len(text)


def test_places_in_a_row_belong_to_the_same_words() -> None:
    one, two, three = Box(0.0, 0.0, 0.1, 0.1), Box(0.1, 0.1, 0.2, 0.2), Box(0.2, 0.2, 0.3, 0.3)
    said = tie_words([("Two dogs ", one, 0.5), (" ", two, None), (" and a cat ", three, None)], ".")
    assert said == GroundedText("Two dogs and a cat.", (Span(0, 8, (one, two), (0.5, None)), Span(9, 18, (three,))))

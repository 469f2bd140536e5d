"""Laws of Qwen-VL's and Monkey's spelling of places."""

import time

from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Box, Frame, Point, Trace
from foveal.grounding import GroundedText, Span
from foveal.grounding.formats import LocationFormat, TagFormat

FRAME = Frame.stretch((640, 480))
BIN = st.integers(0, 999)
PIECES = st.one_of(
    st.text(alphabet="ab <>()/,0123456789\n", max_size=12),
    st.sampled_from(["<ref>", "</ref>", "<box>", "</box>", "<box>(1,2),(3,4)</box>", "<box>(9,9),(1,1)</box>", "(1,2)", "<quad>", "</quad>"]),
)


def test_it_is_a_location_format() -> None:
    assert isinstance(TagFormat(), LocationFormat)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_any_string_is_read_without_error_and_loses_no_words(raw: str) -> None:
    said = TagFormat().decode(raw, FRAME)
    assert sum(raw.count(letter) for letter in "cdg") == sum(said.text.count(letter) for letter in "cdg")
    assert all(span.regions for span in said.spans)


@given(BIN, BIN, BIN, BIN, BIN, BIN, st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_every_bin_comes_back(x0: int, y0: int, x1: int, y1: int, x2: int, y2: int, size: tuple[int, int]) -> None:
    frame = Frame.stretch(size, (448, 448))
    first = f"<box>({min(x0, x1)},{min(y0, y1)}),({max(x0, x1)},{max(y0, y1)})</box>"
    raw = f"two <ref>cups</ref>{first}{first} and <quad>({x0},{y0}),({x1},{y1}),({x2},{y2}),({x0},{y2})</quad>."
    assert TagFormat().encode(TagFormat().decode(raw, frame), frame) == raw


def test_words_know_their_boxes_and_their_scores() -> None:
    said = TagFormat().decode("a <ref>cup</ref><box>(0,0),(500,500)</box> here", FRAME, lambda start, end: (end - start) / 100)
    assert said == GroundedText("a cup here", (Span(2, 5, (Box(0.0, 0.0, 0.5, 0.5),), (0.26,)),))


def test_a_box_that_is_none_stays_text() -> None:
    for raw in ("<box>(9,9),(1,1)</box>", "<box>(1,2)</box>", "<box>(1,2),(3,4)", "<box>(1001,0),(1002,5)</box>", "<ref>cup"):
        assert TagFormat().decode(raw, FRAME) == GroundedText(raw)


def test_points_and_traces_are_spelled_by_the_box_around_them() -> None:
    assert TagFormat().encode(GroundedText.join(Point(0.5, 0.25)), FRAME) == "<box>(500,250),(500,250)</box>"
    corners = Trace(((0.1, 0.1), (0.2, 0.1), (0.2, 0.2), (0.1, 0.2)))
    assert TagFormat().encode(GroundedText.join(corners), FRAME) == "<quad>(100,100),(200,100),(200,200),(100,200)</quad>"


def test_long_nonsense_takes_no_longer_than_its_length() -> None:
    for unit in ("<ref>", "<box>(1,2),", "<ref>a</ref>", "<quad>(1,2),(3,4),"):
        started = time.process_time()
        TagFormat().decode(unit * 20_000, FRAME)
        assert time.process_time() - started < 5

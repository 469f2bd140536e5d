"""Laws of Ferret's spelling of places."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Box, Frame, Mask, Point, Trace
from foveal.grounding import GroundedText, Span
from foveal.grounding.formats import BracketFormat, LocationFormat, bins_to_pixels

FRAME = Frame.stretch((640, 480))
EXACT = BracketFormat(arithmetic="fraction")
BIN = st.integers(0, 1000)
PIECES = st.one_of(
    st.text(alphabet="ab [],.-<0123456789>;\n", max_size=12),
    st.sampled_from([" <region_fea>", "[1, 2, 3, 4]", " [5, 6]", "[", "]", "[1,2,3]", "[9, 9, 1, 1]", "[1001, 0, 1002, 5]", "[٣, ٤]"]),
)


def test_it_is_a_location_format() -> None:
    assert isinstance(BracketFormat(), LocationFormat)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_any_string_is_read_and_read_again_the_same(raw: str) -> None:
    said = EXACT.decode(raw, FRAME)
    assert EXACT.decode(EXACT.encode(said, FRAME), FRAME) == said
    assert sum(raw.count(character) for character in "ab") == sum(said.text.count(character) for character in "ab") + _tokens(raw, said)


def _tokens(raw: str, said: GroundedText) -> int:
    """Letters of the region tokens that were taken out."""
    return (raw.count("<region_fea>") - said.text.count("<region_fea>")) * sum("<region_fea>".count(character) for character in "ab")


@given(BIN, BIN, BIN, BIN, st.tuples(st.integers(1, 4000), st.integers(1, 4000)), st.booleans())
def test_every_bin_comes_back(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int], slots: bool) -> None:
    box = f"a cup [{min(x0, x1)}, {min(y0, y1)}, {max(x0, x1)}, {max(y0, y1)}]" + " <region_fea>" * slots
    frame = Frame.stretch(size, (336, 336))
    assert EXACT.encode(EXACT.decode(box, frame), frame, feature_slots=slots) == box


@given(st.floats(0, 1), st.floats(0, 1), st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_pixel_arithmetic_stays_within_a_bin_and_a_pixel(x: float, y: float, size: tuple[int, int]) -> None:
    frame = Frame.stretch(size)
    [box] = BracketFormat().decode(BracketFormat().encode(GroundedText.join(Box(x, y, x, y)), frame), frame).regions
    assert isinstance(box, Box)
    assert abs(box.x0 - x) <= 0.002 + 1 / size[0] and abs(box.y1 - y) <= 0.002 + 1 / size[1]


def test_whole_pixels_are_cut_as_the_training_code_cuts_them() -> None:
    said = GroundedText.join(Box(580 / 1160, 0.0, 1.0, 1.0))
    assert BracketFormat().encode(said, Frame.stretch((1160, 100))) == "[499, 0, 999, 990]"
    assert EXACT.encode(said, Frame.stretch((1160, 100))) == "[500, 0, 1000, 1000]"


def test_places_are_tied_to_the_words_before_them() -> None:
    said = BracketFormat().decode("Yes. A dog [1, 2, 3, 4] and two cats [5, 6, 7, 8] [9, 10, 11, 12], it seems.", FRAME)
    assert said.text == "Yes. A dog and two cats, it seems."
    assert [said.text[span.start : span.end] for span in said.spans] == ["A dog", "and two cats"]
    assert [len(span.regions) for span in said.spans] == [1, 2]
    assert said.regions[0] == Box(0.001, 0.002, 0.003, 0.004)


@pytest.mark.parametrize(
    "odd",
    [
        *("[1, 2, 3]", "[1 2 3 4]", "[1, 2, 3, 4", "1, 2]", "[1,,2]", "[]", "[a, b]"),
        *("[5, 2, 3, 4]", "[1, 5, 3, 4]", "[0, 0, 1001, 5]", "[1.5, 2, 3, 4]", "[-1, 2, 3, 4]"),
    ],
)
def test_odd_geometry_is_text(odd: str) -> None:
    raw = f"a cup {odd} there"
    assert BracketFormat().decode(raw, FRAME) == GroundedText(raw)


def test_a_place_inside_an_unclosed_bracket_is_found() -> None:
    assert BracketFormat().decode("[see [1, 2, 3, 4]", FRAME).text == "[see"


def test_two_numbers_are_a_point() -> None:
    assert BracketFormat().decode("here [500, 250]", FRAME).regions == (Point(0.5, 0.25),)


def test_scores_are_those_of_the_brackets() -> None:
    raw = "A dog [1, 2, 3, 4] and a cat [5, 6, 7, 8]."
    ranges = []
    said = BracketFormat().decode(raw, FRAME, lambda start, end: ranges.append(raw[start:end]) or len(ranges) / 10)
    assert ranges == ["[1, 2, 3, 4]", "[5, 6, 7, 8]"]
    assert [span.scores for span in said.spans] == [(0.1,), (0.2,)]


def test_masks_and_traces_are_written_as_their_box() -> None:
    mask = Mask(10, 10, (11, 2, 8, 2, 77))  # columns 1 and 2, rows 1 and 2
    trace = Trace(((0.1, 0.5), (0.3, 0.2)))
    assert EXACT.encode(GroundedText.join(mask, " ", trace), FRAME) == "[100, 100, 200, 200] [100, 200, 300, 500]"


@pytest.mark.parametrize(
    "coordinates, features, slots, wanted",
    [
        (True, True, True, "a cup [100, 100, 500, 500] <region_fea>."),
        (True, True, False, "a cup [100, 100, 500, 500]."),
        (True, False, True, "a cup [100, 100, 500, 500]."),
        (False, True, True, "a cup <region_fea>."),
        (False, True, False, "a cup ."),
    ],
)
def test_questions_have_region_tokens_and_ablations_lack_their_part(coordinates: bool, features: bool, slots: bool, wanted: str) -> None:
    said = GroundedText("a cup.", (Span(0, 5, (Box(0.1, 0.1, 0.5, 0.5),)),))
    places = BracketFormat(coordinates=coordinates, features=features, arithmetic="fraction")
    assert places.encode(said, FRAME, feature_slots=slots) == wanted


def test_phrases_that_are_nowhere_get_no_place() -> None:
    said = GroundedText("a cup.", (Span(0, 5),))
    assert EXACT.encode(said, FRAME) == "a cup."


def test_numbers_count_on_the_canvas_the_model_sees() -> None:
    frame = Frame.letterbox((200, 100), (100, 100))
    assert EXACT.encode(GroundedText.join(Box(0.0, 0.0, 1.0, 1.0)), frame) == "[0, 250, 1000, 750]"
    assert EXACT.decode("[0, 250, 1000, 750]", frame).regions == (Box(0.0, 0.0, 1.0, 1.0),)


@pytest.mark.parametrize("unit", ["[", "[1, ", "[0, 0]", " ", "a.", "[0, 0, 0, 0] <region_fea>", "[1, 2, 3] ", "]"])
def test_long_strings_are_read_in_linear_time(unit: str) -> None:
    start = time.process_time()
    BracketFormat().decode(unit * (200_000 // len(unit)), FRAME)
    assert time.process_time() - start < 5


def test_bins_become_pixels_by_cutting_off() -> None:
    assert bins_to_pixels([999, 1000], (100, 50)) == [99, 50]

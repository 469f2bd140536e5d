"""Laws of frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Box, Frame, Point, Trace

SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
FRACTIONS = st.floats(0, 1)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    frame = draw(st.sampled_from([Frame.stretch, Frame.letterbox]))(draw(SIZES), draw(SIZES))
    if draw(st.booleans()):
        frame = frame.crop((3, -2, 40, 17))
    return frame


@given(frames(), FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS)
def test_frames_round_trip(frame: Frame, x0: float, y0: float, x1: float, y1: float) -> None:
    back = frame.back(frame.to(Box(x0, y0, x1, y1)), image=1)
    assert isinstance(back, Box)
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((x0, y0, x1, y1), abs=1e-6)
    point = frame.back(frame.to(Point(x0, y0)))
    assert isinstance(point, Point)
    assert (point.x, point.y) == pytest.approx((x0, y0), abs=1e-6)


@given(frames(), st.lists(st.tuples(FRACTIONS, FRACTIONS), max_size=5))
def test_arrays_go_where_points_go(frame: Frame, points: list[tuple[float, float]]) -> None:
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    there = frame.to_array(array)
    assert there.tolist() == [pytest.approx(frame.to(Point(x, y))) for x, y in points]
    assert np.allclose(frame.back_array(there), array, atol=1e-6)


@given(frames(), SIZES, FRACTIONS, FRACTIONS)
def test_one_frame_then_another_is_both(frame: Frame, size: tuple[int, int], x: float, y: float) -> None:
    second = Frame.letterbox(frame.canvas_size, size)
    halfway = frame.to(Point(x, y))
    expected = second.to(Point(halfway[0] / frame.canvas_size[0], halfway[1] / frame.canvas_size[1]))
    assert frame.then(second).to(Point(x, y)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(SIZES, SIZES, FRACTIONS, FRACTIONS)
def test_a_stretched_canvas_has_the_images_own_fractions(image: tuple[int, int], canvas: tuple[int, int], x: float, y: float) -> None:
    assert Frame.stretch(image, canvas).unit().to(Point(x, y)) == (x, y)


@given(SIZES, SIZES)
def test_a_letterboxed_image_keeps_its_shape_and_touches_two_borders(image: tuple[int, int], canvas: tuple[int, int]) -> None:
    x0, y0, x1, y1 = Frame.letterbox(image, canvas).to(Box(0.0, 0.0, 1.0, 1.0))
    assert (x1 - x0) / image[0] == pytest.approx((y1 - y0) / image[1])
    assert min(abs(x1 - x0 - canvas[0]), abs(y1 - y0 - canvas[1])) < 1e-6
    assert x0 == pytest.approx(canvas[0] - x1, abs=1e-6) and y0 == pytest.approx(canvas[1] - y1, abs=1e-6)


def test_tiles_of_a_canvas_cover_it_side_by_side() -> None:
    canvas = Frame.stretch((100, 50), (672, 336))
    left, right = canvas.crop((0, 0, 336, 336)), canvas.crop((336, 0, 672, 336))
    assert left.to(Point(0.5, 1.0)) == (336.0, 336.0) and right.to(Point(0.5, 1.0)) == (0.0, 336.0)


def test_other_regions_go_by_their_box() -> None:
    assert Frame.stretch((10, 10)).to(Trace(((0.1, 0.5), (0.3, 0.2)))) == pytest.approx((1.0, 2.0, 3.0, 5.0))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_places_are_of_two_or_four_numbers(count: int) -> None:
    with pytest.raises(ValueError, match="2 and a box has 4"):
        Frame.stretch((10, 10)).back([0.0] * count)


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot follow"):
        Frame.stretch((10, 10), (5, 5)).then(Frame.stretch((6, 6)))
    with pytest.raises(ValueError, match="positive"):
        Frame.stretch((0, 10))

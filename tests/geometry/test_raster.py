"""Laws of rasters and of points drawn from them."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from foveal.geometry import Box, Mask, Point, Region, Trace, encode_mask, points_within, rasterise, region_seed

# beartype picks at random which item of a tuple it looks at, and hypothesis minds.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

SIZE = (40, 30)
FRACTIONS = st.floats(0, 1)
REGIONS = st.one_of(
    st.builds(Point, FRACTIONS, FRACTIONS),
    st.builds(lambda x, y: Box(min(x), min(y), max(x), max(y)), st.tuples(FRACTIONS, FRACTIONS), st.tuples(FRACTIONS, FRACTIONS)),
    st.builds(Trace, st.lists(st.tuples(FRACTIONS, FRACTIONS), min_size=1, max_size=4).map(tuple)),
)


def pixels_of(points: np.ndarray, size: tuple[int, int]) -> set[tuple[int, int]]:
    return {(round(float(x) * size[0]), round(float(y) * size[1])) for x, y in points}


@given(REGIONS, st.integers(0, 6), st.integers(1, 200), st.integers(0, 9))
def test_points_lie_on_the_regions_pixels(region: Region, radius: int, count: int, seed: int) -> None:
    bits = rasterise(region, SIZE, radius_px=radius)
    points = points_within(region, SIZE, count, np.random.default_rng(seed), radius_px=radius)
    available = {(int(x), int(y)) for x, y in np.argwhere(bits.T)}
    drawn = pixels_of(points, SIZE)
    assert points.shape == (count, 2) and bits.any()
    assert drawn <= available
    assert len(drawn) == min(count, len(available))


@given(REGIONS, st.integers(0, 9))
def test_points_of_a_region_and_of_its_mask_are_the_same(region: Region, seed: int) -> None:
    mask = encode_mask(rasterise(region, SIZE))
    points = [points_within(kind, SIZE, 64, np.random.default_rng(seed)) for kind in (region, mask)]
    assert (points[0] == points[1]).all()


def test_few_pixels_come_column_by_column_before_they_repeat() -> None:
    points = points_within(Box(0.0, 0.0, 1 / 40, 1 / 30), SIZE, 6, np.random.default_rng(0))
    assert (points[:4] * SIZE).round().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_point_is_a_window_of_eleven_pixels_cut_at_the_borders() -> None:
    assert rasterise(Point(0.5, 0.5), (100, 80)).sum() == 121
    corner = np.argwhere(rasterise(Point(0.0, 0.0), (100, 80)))
    assert len(corner) == 36 and corner.max() == 5


def test_a_box_holds_its_last_pixels() -> None:
    rows, columns = np.nonzero(rasterise(Box(0.1, 0.2, 0.3, 0.5), (100, 50)))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 30, 10, 25)


@given(st.integers(1, 2000), st.data())
def test_a_fraction_of_a_whole_pixel_is_that_pixel(width: int, data: st.DataObject) -> None:
    pixel = data.draw(st.integers(0, width - 1))
    columns = np.nonzero(rasterise(Box(pixel / width, 0.0, pixel / width, 0.0), (width, 1))[0])[0]
    assert columns.tolist() == [pixel]


@given(REGIONS)
def test_no_region_is_empty_even_at_the_border_or_beyond(region: Region) -> None:
    assert rasterise(region, (1, 1), radius_px=0).all()
    assert rasterise(Box(1.0, 1.0, 1.0, 1.0), SIZE)[-1, -1] and rasterise(Point(1.5, -1.0), SIZE, radius_px=0)[0, -1]


@given(st.lists(st.tuples(FRACTIONS, FRACTIONS), min_size=1, max_size=4))
def test_a_trace_covers_the_window_of_each_of_its_points(points: list[tuple[float, float]]) -> None:
    bits = rasterise(Trace(tuple(points)), SIZE, radius_px=2)
    inner = [point for point in points if max(point) < 0.9]
    assert all(bits[rasterise(Point(*point), SIZE, radius_px=2)].all() for point in inner)


def test_a_trace_has_no_gaps() -> None:
    bits = rasterise(Trace(((0.0, 0.0), (0.99, 0.99))), (200, 100), radius_px=0)
    assert bits.any(axis=0)[:198].all() and bits.any(axis=1)[:99].all()


def test_a_mask_of_another_size_is_read_at_the_nearest_pixel() -> None:
    bits = np.array([[True, False], [False, True]])
    assert (rasterise(encode_mask(bits), (4, 6)) == np.kron(bits, np.ones((3, 2), dtype=bool))).all()


def test_what_is_inside_cuts_a_region_unless_nothing_is_left() -> None:
    left, right = Box(0.0, 0.0, 0.4, 0.9), Box(0.6, 0.0, 0.9, 0.9)
    whole = Box(0.0, 0.0, 0.95, 0.9)
    assert (rasterise(whole, SIZE, inside=left) == rasterise(left, SIZE)).all()
    assert (rasterise(right, SIZE, inside=left) == rasterise(right, SIZE)).all()
    drawn = pixels_of(points_within(whole, SIZE, 50, np.random.default_rng(0), inside=left), SIZE)
    assert drawn <= pixels_of(points_within(left, SIZE, 1000, np.random.default_rng(0)), SIZE)


def test_a_region_without_pixels_gives_no_points() -> None:
    with pytest.raises(ValueError, match="without a pixel"):
        points_within(Mask(2, 2, (4,)), SIZE, 3, np.random.default_rng(0))


def test_the_seed_of_a_region_is_its_own_and_lasts() -> None:
    regions = [Point(0.1, 0.2), Box(0.1, 0.2, 0.3, 0.4), Trace(((0.1, 0.2),)), Mask(2, 2, (1, 2, 1)), Mask(2, 2, (1, 3)), Point(0.1, 0.3)]
    seeds = [region_seed(region, SIZE) for region in regions]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert region_seed(Point(0.1, 0.2), (41, 30)) != seeds[0]
    assert region_seed(Point(float(np.float64(0.1)), 0.2, image=4), SIZE) == seeds[0]
    assert seeds[0] == 2765982788853056315


def test_large_boxes_and_long_traces_are_quick() -> None:
    rng = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(100):
        points_within(Box(0.0, 0.0, 1.0, 1.0), (6000, 4000), 512, rng)
    rasterise(Trace(tuple((float(x), float(y)) for x, y in rng.random((5000, 2)))), (800, 600))
    assert time.process_time() - start < 4


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_images_without_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        rasterise(Point(0.5, 0.5), size)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 30), st.integers(1, 30), st.integers(1, 40))
def test_the_points_of_a_mask_are_pixels_of_its_raster_in_any_size(bits: np.ndarray, width: int, height: int, count: int) -> None:
    raster = rasterise(encode_mask(bits), (width, height))
    if not raster.any():
        with pytest.raises(ValueError, match="without a pixel"):
            points_within(encode_mask(bits), (width, height), count, np.random.default_rng(0))
        return
    points = points_within(encode_mask(bits), (width, height), count, np.random.default_rng(0))
    columns, rows = np.nonzero(raster.T)
    drawn = [(round(float(x) * width), round(float(y) * height)) for x, y in points]
    wanted = list(zip(columns.tolist(), rows.tolist(), strict=True))
    assert set(drawn) <= set(wanted) and (drawn[: len(wanted)] == wanted if len(wanted) <= count else len(set(drawn)) == count)


def test_points_of_a_trace_in_a_huge_image_lie_along_it_and_need_little_memory() -> None:
    tracemalloc.start()
    points = points_within(Trace(((0.1, 0.1), (0.9, 0.5))), (40_000, 30_000), 256, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.abs(points[:, 1] - (0.1 + (points[:, 0] - 0.1) / 2)).max() < 0.002 and peak < 150 * 2**20

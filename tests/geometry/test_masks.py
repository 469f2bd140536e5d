"""Laws of masks: run lengths, COCO's records, polygons, overlap."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from foveal.geometry import Mask, decode_mask, encode_mask, mask_from_coco, mask_from_polygons, mask_iou, mask_to_coco

RASTERS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20))


@given(RASTERS)
def test_masks_round_trip(bits: np.ndarray) -> None:
    mask = encode_mask(bits)
    assert (decode_mask(mask) == bits).all()
    assert encode_mask(decode_mask(mask)) == mask


@given(RASTERS)
def test_coco_records_round_trip(bits: np.ndarray) -> None:
    mask = encode_mask(bits, image=1)
    record = mask_to_coco(mask)
    assert mask_from_coco(record, image=1) == mask
    assert mask_from_coco({"size": record["size"], "counts": str(record["counts"]).encode()}, image=1) == mask
    assert mask_from_coco({"size": record["size"], "counts": list(mask.counts)}, image=1) == mask


def test_long_runs_round_trip_through_cocos_string() -> None:
    mask = Mask(2000, 2000, (1, 1_999_999, 40, 1, 7, 1_999_952))
    assert mask_from_coco(mask_to_coco(mask)) == mask


@given(RASTERS)
def test_the_overlap_of_masks_is_that_of_their_pixels(bits: np.ndarray) -> None:
    other = np.roll(bits, 1, axis=0) ^ np.roll(bits, 1, axis=1)
    union = (bits | other).sum()
    assert mask_iou(encode_mask(bits), encode_mask(other)) == pytest.approx((bits & other).sum() / union if union else 0.0)


def test_masks_of_two_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="one size"):
        mask_iou(Mask(2, 2, (4,)), Mask(4, 1, (4,)))


@pytest.mark.parametrize("counts", [(3,), (5,), (5, -1), (2**62,) * 4 + (4,), (2**63 - 1, 2**63 - 1, 6), (10**400, 4)])
def test_runs_that_do_not_fill_a_mask_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="fill"):
        decode_mask(Mask(2, 2, counts))


@pytest.mark.parametrize(
    "record",
    [{}, {"size": [2, 2]}, {"counts": "22"}, {"size": [2], "counts": "22"}, {"size": [2, 2], "counts": "2 2"}, {"size": [2, 2], "counts": "o" * 99}],
)
def test_records_that_are_no_masks_are_refused(record: dict) -> None:
    with pytest.raises(ValueError):
        mask_from_coco(record)


CORNER = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))


@given(st.lists(CORNER, min_size=3, max_size=8))
def test_a_pixel_is_filled_when_its_centre_is_inside(corners: list[tuple[float, float]]) -> None:
    width, height = 9, 7
    bits = decode_mask(mask_from_polygons([corners], (width, height)))
    expected = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
                x0, y0, x1, y1 = x0 * width, y0 * height, x1 * width, y1 * height
                low, high = ((x0, y0), (x1, y1)) if y0 <= y1 else ((x1, y1), (x0, y0))
                if low[1] <= y < high[1] and low[0] + (y - low[1]) / (high[1] - low[1]) * (high[0] - low[0]) <= x:
                    expected[row, column] ^= True
    assert (bits == expected).all() or not expected.any()


def test_several_polygons_are_united() -> None:
    left, right = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)], [(0.25, 0.0), (1.0, 0.0), (1.0, 1.0), (0.25, 1.0)]
    assert decode_mask(mask_from_polygons([left, right], (8, 4))).all()


def test_a_polygon_between_pixel_centres_does_not_vanish() -> None:
    assert decode_mask(mask_from_polygons([[(0.51, 0.51), (0.52, 0.51), (0.52, 0.52)]], (10, 10))).sum() == 1


def test_no_polygons_make_an_empty_mask() -> None:
    assert mask_from_polygons([], (3, 2)).counts == (6,)


def test_a_polygon_of_many_corners_is_filled_at_once() -> None:
    angle = np.linspace(0, 2 * np.pi, 20_000)
    corners = [(float(x), float(y)) for x, y in zip(0.5 + 0.4 * np.cos(angle), 0.5 + 0.4 * np.sin(angle), strict=True)]
    start = time.process_time()
    bits = decode_mask(mask_from_polygons([corners], (1000, 1000)))
    assert time.process_time() - start < 2
    assert bits.mean() == pytest.approx(np.pi * 0.16, abs=1e-3)

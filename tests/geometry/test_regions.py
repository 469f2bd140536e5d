"""Laws of regions."""

import numpy as np
import pytest

from foveal.geometry import Box, Mask, Point, Trace, bounding_box, encode_mask


def test_a_mask_lies_just_within_its_bounding_box() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 12, 2)
        bits = rng.random((height, width)) < 0.2
        bits[rng.integers(height), rng.integers(width)] = True
        rows, columns = np.nonzero(bits)
        box = bounding_box(encode_mask(bits, image=2))
        expected = (columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx(expected)
        assert box.image == 2


def test_a_full_mask_has_the_full_image_as_box() -> None:
    assert bounding_box(encode_mask(np.ones((3, 5), dtype=bool))) == Box(0.0, 0.0, 1.0, 1.0)


def test_a_point_is_its_own_box_and_a_box_too() -> None:
    assert bounding_box(Point(0.2, 0.3, 1)) == Box(0.2, 0.3, 0.2, 0.3, 1)
    assert bounding_box(Box(0.1, 0.2, 0.3, 0.4, 1)) == Box(0.1, 0.2, 0.3, 0.4, 1)


@pytest.mark.parametrize("nothing", [Trace(()), Mask(2, 2, (4,)), Mask(2, 2, (4, 0))])
def test_nothing_has_no_box(nothing: Mask | Trace) -> None:
    with pytest.raises(ValueError, match="no bounding box"):
        bounding_box(nothing)


def test_zero_length_runs_do_not_widen_a_box() -> None:
    assert bounding_box(Mask(2, 2, (0, 0, 3, 1))) == Box(0.5, 0.5, 1.0, 1.0)

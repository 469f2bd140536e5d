"""Laws of judging masks: pixels are counted exactly, large masks weigh in one figure and not in the other, nothing answers nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foveal.evaluate.masks import mask_boxes, mask_figures, shared_pixels
from foveal.geometry import Box, Mask, encode_mask, mask_iou

EMPTY, FULL, HALF = Mask(4, 4, (16,)), Mask(4, 4, (0, 16)), Mask(4, 4, (8, 8))
rasters = st.lists(st.tuples(*[arrays(bool, (5, 7))] * 2), min_size=1, max_size=5)


@settings(max_examples=40)
@given(rasters)
def test_pixels_are_counted_as_on_rasters(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    counted = shared_pixels([(encode_mask(a), encode_mask(b)) for a, b in pairs])
    assert counted.tolist() == [[int((a & b).sum()), int((a | b).sum())] for a, b in pairs]


def test_pixels_of_large_masks_are_whole_numbers_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        a, b = rng.random((2, 1500, 60)) < rng.random((2, 1, 1))
        assert shared_pixels([(encode_mask(a), encode_mask(b))]).tolist() == [[(a & b).sum(), (a | b).sum()]]
    huge = Mask(30_000, 30_000, (1, 30_000**2 - 1)), Mask(30_000, 30_000, (0, 30_000**2 - 1, 1))
    assert shared_pixels([huge]).tolist() == [[30_000**2 - 2, 30_000**2]]


@settings(max_examples=40)
@given(rasters)
def test_the_mean_is_over_pairs_and_the_ratio_over_pixels(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    masks = [(encode_mask(a), encode_mask(b | True)) for a, b in pairs]
    figures, pixels = mask_figures(masks), shared_pixels(masks)
    assert figures["giou"] == pytest.approx(np.mean([mask_iou(a, b) for a, b in masks]))
    assert figures["ciou"] == pytest.approx(pixels[:, 0].sum() / pixels[:, 1].sum())
    assert "n_acc" not in figures and "t_acc" not in figures


def test_one_large_wrong_mask_outweighs_many_small_right_ones_in_the_ratio_only() -> None:
    small = Mask(4, 4, (15, 1))
    figures = mask_figures([(small, small)] * 3 + [(EMPTY, FULL)])
    assert figures["giou"] == 0.75 and figures["ciou"] == pytest.approx(3 / 19)


def test_precision_is_above_its_threshold() -> None:
    assert mask_figures([(HALF, FULL), (FULL, FULL)], thresholds=(0.49, 0.5)) == {
        "giou": 0.75,
        "ciou": 0.75,
        "precision@0.49": 1.0,
        "precision@0.5": 0.5,
    }


@pytest.mark.parametrize("absent", [None, EMPTY])
def test_an_expression_of_nothing_wants_an_empty_mask(absent: Mask | None) -> None:
    assert mask_figures([(None, absent), (EMPTY, absent)]) == {"giou": 1, "ciou": 1, "n_acc": 1}
    figures = mask_figures([(HALF, absent), (absent, absent), (FULL, FULL), (absent, HALF)], thresholds=[0.5])
    assert figures == {"giou": 0.5, "ciou": pytest.approx(16 / 32), "precision@0.5": 0.5, "n_acc": 0.5, "t_acc": 0.5}


def test_masks_of_one_pair_have_one_size_and_there_is_a_pair() -> None:
    with pytest.raises(ValueError, match="both must have one size"):
        mask_figures([(EMPTY, Mask(2, 2, (2, 2)))])
    with pytest.raises(ValueError, match="no masks"):
        mask_figures([])


def test_the_box_of_a_mask_is_around_it_and_of_nothing_there_is_none() -> None:
    assert mask_boxes([HALF, EMPTY, None]) == [Box(0.5, 0.0, 1.0, 1.0), None, None]

"""Laws of boxes: overlap, suppression, matching."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Box, box_array, enclosing_box, iou, match, nms

ROWS = st.lists(st.tuples(*[st.integers(-3, 12).map(float)] * 4), max_size=8).map(lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 4))


@given(ROWS, ROWS)
def test_overlap_counts_unit_squares(a: np.ndarray, b: np.ndarray) -> None:
    def squares(box: np.ndarray) -> set[tuple[int, int]]:
        return {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}

    overlaps = iou(a, b)
    assert overlaps.shape == (len(a), len(b))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            union = squares(one) | squares(other)
            assert overlaps[i, j] == pytest.approx(len(squares(one) & squares(other)) / len(union) if union else 0.0)


@given(ROWS)
def test_overlap_is_symmetric_and_one_with_itself(boxes: np.ndarray) -> None:
    overlaps = iou(boxes, boxes)
    assert (overlaps == overlaps.T).all()
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    assert (np.diag(overlaps) == solid).all()


def test_disjoint_fractions_do_not_overlap() -> None:
    assert iou(np.array([[0.1, 0.1, 0.2, 0.2]]), np.array([[0.3, 0.3, 0.4, 0.4]])) == 0


@given(ROWS, st.floats(0, 1))
def test_what_suppression_keeps_does_not_overlap_and_what_it_drops_does(boxes: np.ndarray, threshold: float) -> None:
    scores = np.linspace(0, 1, len(boxes))
    kept = nms(boxes, scores, threshold)
    overlaps = iou(boxes, boxes)
    assert (np.diff(scores[kept]) <= 0).all()
    assert all(overlaps[i, j] <= threshold for i in kept for j in kept if i != j)
    dropped = set(range(len(boxes))) - set(kept.tolist())
    assert all(any(overlaps[i, j] > threshold and scores[i] >= scores[j] for i in kept) for j in dropped)


@given(ROWS, ROWS, st.floats(0.01, 1))
def test_matching_gives_nothing_twice_and_nothing_below_the_threshold(a: np.ndarray, b: np.ndarray, threshold: float) -> None:
    overlaps = iou(a, b)
    taken = match(overlaps, threshold)
    pairs = [(row, column) for row, column in enumerate(taken) if column >= 0]
    assert len({column for _, column in pairs}) == len(pairs)
    assert all(overlaps[row, column] >= threshold for row, column in pairs)


def test_the_best_prediction_takes_the_object_it_overlaps_most() -> None:
    assert match(np.array([[0.6, 0.9], [0.9, 0.6], [0.8, 0.8]]), 0.5).tolist() == [1, 0, -1]


def test_boxes_become_rows_and_no_boxes_none() -> None:
    assert box_array([]).shape == (0, 4)
    assert box_array([Box(0.1, 0.2, 0.3, 0.4), Box(0.0, 0.0, 1.0, 1.0)]).shape == (2, 4)


def test_nothing_encloses_no_boxes() -> None:
    with pytest.raises(ValueError, match="at least one"):
        enclosing_box([])

"""Laws of judging captions of regions: a region is claimed by rank, words and places both count, and thousands of pictures take seconds."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.evaluate.dense import DenseMatches, dense_figures, dense_matches, merge_regions
from foveal.geometry import Box, box_array, iou
from foveal.grounding import GroundedText, Span

LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)


def _said(*regions: tuple[str, Box, float]) -> GroundedText:
    text = "|".join(words for words, _, _ in regions)
    starts = np.cumsum([0, *(len(words) + 1 for words, _, _ in regions)]).tolist()
    spans = [Span(start, start + len(words), (box,), (score,)) for start, (words, box, score) in zip(starts, regions, strict=False)]
    return GroundedText(text, tuple(spans))


def _same_words(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    return [float(told in against) for told, against in zip(candidates, references, strict=True)]


def test_right_words_in_the_right_place_are_perfect() -> None:
    said = _said(("a cat", LEFT, 0.9), ("a dog", RIGHT, 0.8))
    assert set(dense_figures(dense_matches([(said, said)] * 3), _same_words).values()) == {1.0}


def test_wrong_words_cost_the_map_and_not_the_detection() -> None:
    said, true = _said(("a dog", LEFT, 0.9), ("a dog", RIGHT, 0.8)), _said(("a cat", LEFT, 1), ("a dog", RIGHT, 1))
    figures = dense_figures(dense_matches([(said, true)]), _same_words)
    assert figures["detection"] == 1 and figures["map"] == pytest.approx(0.51 * 0.5)


def test_a_quality_has_to_be_above_its_threshold_and_an_overlap_only_at_it() -> None:
    matches = dense_matches([(_said(("a cat", Box(0.0, 0.0, 0.25, 1.0), 0.9)), _said(("a cat", LEFT, 1)))])
    figures = dense_figures(matches, np.array([0.1]))
    assert (figures["map@0.5/0.05"], figures["map@0.5/0.1"], figures["map@0.6/0.05"]) == (1, 0, 0)


def test_a_region_is_claimed_by_rank_at_whatever_overlap() -> None:
    true = _said(("a cat", LEFT, 1))
    poor, good = Box(0.4, 0.0, 0.6, 1.0), LEFT
    spoiled = dense_matches([(_said(("a cat", poor, 0.9), ("a cat", good, 0.5)), true)])
    assert spoiled.claims.tolist() == [True, False] and dense_figures(spoiled, _same_words)["detection"] == 0
    kept = dense_matches([(_said(("a cat", poor, 0.5), ("a cat", good, 0.9)), true)])
    assert dense_figures(kept, _same_words)["detection"] == 1


def test_what_overlaps_nothing_claims_nothing() -> None:
    far = dense_matches([(_said(("a cat", RIGHT, 0.9)), _said(("a cat", LEFT, 1))), (_said(("a cat", LEFT, 0.8)), GroundedText(""))])
    assert not far.claims.any() and far.there == 1 and far.references == ((), ())
    assert set(dense_figures(far, np.ones(2)).values()) == {0.0}


def test_regions_without_words_are_right_by_their_place() -> None:
    matches = dense_matches([(_said(("a cat", LEFT, 0.9)), GroundedText("", (Span(0, 0, (LEFT,)),)))])
    assert dense_figures(matches, np.zeros(1))["map"] == 1 == dense_figures(matches, _same_words)["map"]


def test_a_judge_is_asked_once_for_each_pair_that_matters() -> None:
    asked: list[str] = []

    def judge(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        asked.extend(candidates)
        return _same_words(candidates, references)

    pair = (_said(("a cat", LEFT, 0.9), ("late", LEFT, 0.5), ("far", Box(0.9, 0.0, 1.0, 1.0), 0.4)), _said(("a cat", LEFT, 1), ("a dog", RIGHT, 1)))
    dense_figures(dense_matches([pair, pair]), judge)
    assert asked == ["a cat"]


def test_scores_rank_over_all_pictures() -> None:
    right, wrong = (_said(("a cat", LEFT, 0.5)), _said(("a cat", LEFT, 1))), (_said(("a cat", RIGHT, 0.9)), _said(("a cat", LEFT, 1)))
    assert dense_figures(dense_matches([right, wrong]), _same_words)["detection"] == pytest.approx(0.51 * 0.5)


def test_nothing_to_find_and_miscounted_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="no true regions"):
        dense_figures(dense_matches([(_said(("a cat", LEFT, 0.9)), GroundedText(""))]), np.ones(1))
    with pytest.raises(ValueError, match="2 caption scores for 1 detections"):
        dense_figures(dense_matches([(_said(("a cat", LEFT, 0.9)), _said(("a cat", LEFT, 1)))]), np.ones(2))


def test_true_regions_are_merged_with_all_their_words() -> None:
    near = Box(0.0, 0.0, 0.5, 0.8)
    true = _said(("a cat", LEFT, 1), ("a dog", RIGHT, 1), ("an animal", near, 1))
    merged = dense_matches([(_said(("a cat", LEFT, 0.9)), true)])
    assert merged.there == 2 and merged.references == (("a cat", "an animal"),)
    assert merged.overlaps[0] == pytest.approx(0.9), "the mean of both boxes is 0.9 high"
    apart = dense_matches([(_said(("a cat", LEFT, 0.9)), true)], merge=None)
    assert apart.there == 3 and apart.references == (("a cat",),)


sides = st.floats(0.05, 0.5)
regions = st.builds(lambda x, y, width, height: Box(x, y, x + width, y + height), *[st.floats(0, 0.3)] * 2, sides, sides)


@settings(max_examples=50)
@given(st.lists(regions, max_size=12), st.floats(0.3, 0.9))
def test_each_box_is_in_one_group_near_its_leader_and_groups_shrink(boxes: list[Box], threshold: float) -> None:
    rows = box_array(boxes)
    groups = merge_regions(rows, threshold)
    assert sorted(row for group in groups for row in group) == list(range(len(boxes)))
    assert [len(group) for group in groups] == sorted(map(len, groups), reverse=True)
    near = iou(rows, rows) >= threshold
    assert all(any(near[leader, group].all() for leader in group) for group in groups)


def test_boxes_without_area_are_groups_of_their_own() -> None:
    assert merge_regions(np.zeros((2, 4))) == [[0], [1]]


def _crowd(pictures: int, found: int, there: int) -> list[tuple[GroundedText, GroundedText]]:
    rng = np.random.default_rng(0)
    corners = rng.random((pictures, found + there, 2)) * 0.7
    boxes = np.concatenate([corners, corners + 0.05 + rng.random(corners.shape) * 0.25], -1).tolist()
    scores = rng.random((pictures, found + there)).tolist()
    words = [f"thing {number}" for number in range(found + there)]
    texts = []
    for places, sure in zip(boxes, scores, strict=True):
        rows = [(name, Box(*place), score) for name, place, score in zip(words, places, sure, strict=True)]
        texts.append((_said(*rows[:found]), _said(*rows[found:])))
    return texts


def test_hundreds_of_pictures_are_matched_together() -> None:
    texts = _crowd(100, 100, 30)
    matches = dense_matches(texts)
    figures = dense_figures(matches, np.random.default_rng(1).random(len(matches.scores)))
    assert isinstance(matches, DenseMatches)
    assert len(matches.scores) == 10_000 and 0 < figures["map"] < figures["detection"] < 1

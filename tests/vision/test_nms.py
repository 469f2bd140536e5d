"""Laws of suppression: what stays is what the plain greedy rule keeps."""

import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from foveal.vision.box_tensors import pair_overlaps
from foveal.vision.nms import nms

MODULE = importlib.import_module("foveal.vision.nms")  # the package's own `nms` is the function


def plainly(boxes: Tensor, scores: Tensor, threshold: float, keep: int) -> list[int]:
    """One box after the other, the earlier of equal scores first."""
    left, kept = scores.clone(), []
    while len(kept) < keep and len(left) and left.max() > 0:
        best = int(left.argmax())
        kept.append(best)
        left[pair_overlaps(boxes[best][None], boxes)[0] >= threshold] = 0
        left[best] = 0
    return kept


def _chosen(boxes: Tensor, scores: Tensor, threshold: float, keep: int) -> list[list[int]]:
    return [[row for row in one if row >= 0] for one in nms(boxes, scores, threshold, keep).row.tolist()]


@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 3),
    count=st.integers(0, 60),
    keep=st.integers(1, 70),
    threshold=st.sampled_from([0.1, 1 / 3, 0.5, 0.7, 0.9, 1.0]),
    coarse=st.booleans(),
    block=st.sampled_from([1, 4, 128]),
)
def test_what_stays_is_what_the_plain_rule_keeps(seed: int, images: int, count: int, keep: int, threshold: float, coarse: bool, block: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(images, count, 2, generator=draw) * 8, torch.rand(images, count, 2, generator=draw) * 8
    scores = torch.rand(images, count, generator=draw)
    if coarse:  # many equal boxes, equal scores, no extent, no score, overlaps that are the threshold
        corner, size, scores = (corner / 2).round(), (size / 2).round(), (scores * 4).round() / 4
    boxes = torch.cat([corner, corner + size], dim=-1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MODULE, "_BLOCK", block)
        patched.setattr(MODULE, "_PAIRS_AT_ONCE", 8 * block)
        found = _chosen(boxes, scores, threshold, keep)
    assert found == [plainly(one, score, threshold, keep) for one, score in zip(boxes, scores, strict=True)]


@pytest.mark.parametrize(("threshold", "keep"), [(0.9, 200), (0.5, 50), (0.5, 600), (0.05, 600)])
def test_many_boxes_at_once(threshold: float, keep: int) -> None:
    torch.manual_seed(keep)
    corner = torch.rand(2, 600, 2) * 200
    boxes, scores = torch.cat([corner, corner + 4 + torch.rand(2, 600, 2) * 80], dim=-1), torch.rand(2, 600)
    assert _chosen(boxes, scores, threshold, keep) == [plainly(boxes[one], scores[one], threshold, keep) for one in range(2)]


def test_a_long_chain_is_followed_to_its_end() -> None:
    left = torch.arange(300.0)
    boxes = torch.stack([left, torch.zeros(300), left + 2, torch.ones(300)], dim=-1)[None]  # each overlaps the next by a third
    assert _chosen(boxes, torch.linspace(1, 0.5, 300)[None], 0.3, 300) == [list(range(0, 300, 2))]


def test_filler_has_neither_box_nor_score_nor_row() -> None:
    boxes = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]], [[0, 0, 2, 2], [3, 3, 4, 4], [5, 5, 6, 6]]])
    kept = nms(boxes, torch.tensor([[0.2, 0.9, 0.0], [0.3, 0.2, 0.1]]), 0.5, 4)
    assert kept.row.tolist() == [[1, -1, -1, -1], [0, 1, 2, -1]]
    assert not kept.scores[kept.row < 0].any() and not kept.boxes[kept.row < 0].any()
    torch.testing.assert_close(kept.boxes[1, :3], boxes[1])


def test_scores_come_out_sorted_and_in_their_own_type() -> None:
    boxes, scores = torch.rand(2, 40, 4, dtype=torch.bfloat16), torch.rand(2, 40, dtype=torch.bfloat16)
    kept = nms(boxes, scores, 0.7, 20)
    assert kept.scores.dtype == kept.boxes.dtype == torch.bfloat16
    assert (kept.scores.diff(dim=1) <= 0).all()


@pytest.mark.parametrize(("threshold", "keep"), [(0.0, 3), (1.5, 3), (0.5, 0)])
def test_what_makes_no_sense_is_refused(threshold: float, keep: int) -> None:
    with pytest.raises(ValueError, match="are wanted"):
        nms(torch.rand(1, 3, 4), torch.rand(1, 3), threshold, keep)

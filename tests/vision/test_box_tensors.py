"""Laws of boxes as tensors."""

import numpy as np
import torch

from foveal.geometry.boxes import iou
from foveal.vision.box_tensors import box_areas, clip_boxes, decode_boxes, encode_boxes, generalized_iou, pair_overlaps


def _boxes(*shape: int, side: float = 50.0) -> torch.Tensor:
    corner = torch.rand(*shape, 2) * side
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2) * side], dim=-1)


def test_overlaps_are_those_that_answers_are_measured_by() -> None:
    a, b = _boxes(20), _boxes(30)
    np.testing.assert_allclose(pair_overlaps(a, b).numpy(), iou(a.double().numpy(), b.double().numpy()), atol=1e-5)


def test_a_box_without_extent_overlaps_nothing_and_nothing_is_undefined() -> None:
    odd = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 3.0, 3.0, 9.0], [5.0, 5.0, 2.0, 2.0], [-1.0, 4.0, 7.0, 2.0]])
    every = torch.cat([odd, _boxes(5)])
    assert not pair_overlaps(odd, every).any() and not box_areas(odd).any()
    assert generalized_iou(odd[:, None].expand(-1, 9, -1), every[None].expand(4, -1, -1)).isfinite().all()


def test_the_generalized_overlap_is_one_for_the_same_and_falls_with_the_distance() -> None:
    box = _boxes(1)
    far = [generalized_iou(box, box + shift).item() for shift in (0.0, 10.0, 100.0, 1000.0)]
    assert far == sorted(far, reverse=True) and abs(far[0] - 1) < 1e-5 and -1 < far[-1] < -0.8


def test_what_is_encoded_is_decoded() -> None:
    boxes, anchors = _boxes(3, 7), _boxes(3, 7)
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, atol=1e-3, rtol=1e-4)
    grown = decode_boxes(torch.full((1, 4), 1e6) * torch.tensor([0.0, 0, 1, 1]), torch.tensor([[0.0, 0, 16, 16]]))
    torch.testing.assert_close(grown, torch.tensor([[-492.0, -492, 508, 508]]))


def test_clipped_boxes_lie_within_their_own_picture() -> None:
    boxes, sides = _boxes(2, 30) - 20, torch.tensor([[30.0, 20.0], [10.0, 40.0]])
    clipped = clip_boxes(boxes, sides)
    assert (clipped >= 0).all() and (clipped <= sides.repeat(1, 2)[:, None]).all()
    torch.testing.assert_close(clip_boxes(boxes, sides[:1])[1], clip_boxes(boxes[1:], sides[:1])[0])

"""Laws of the simple pyramid."""

import pytest
import torch

from foveal.vision import LEVEL_SCALES, SimplePyramid


@pytest.mark.parametrize(("rows", "cols"), [(27, 27), (24, 24), (4, 6), (2, 3)])
def test_every_level_has_about_half_the_cells_of_the_one_before(rows: int, cols: int) -> None:
    levels = SimplePyramid(6, width=8, up=4)(torch.rand(2, 6, rows, cols))
    shapes = [tuple(level.shape) for level in levels]
    third = (rows // 2, cols // 2)
    fourth = ((third[0] + 1) // 2, (third[1] + 1) // 2)
    fifth = ((fourth[0] + 1) // 2, (fourth[1] + 1) // 2)
    assert shapes == [(2, 8, *shape) for shape in ((2 * rows, 2 * cols), (rows, cols), third, fourth, fifth)]
    assert len(levels) == len(LEVEL_SCALES)


@torch.no_grad()
def test_images_in_a_batch_are_seen_as_alone() -> None:
    pyramid, maps = SimplePyramid(6, width=8, up=4), torch.rand(3, 6, 5, 7)
    for number, level in enumerate(pyramid(maps)):
        torch.testing.assert_close(level[1:2], pyramid(maps[1:2])[number], atol=1e-5, rtol=1e-5)


def test_all_of_it_learns_and_half_precision_works() -> None:
    pyramid = SimplePyramid(6, width=8, up=4)
    loss = sum(level.square().sum() * (number + 1) + level.sum() for number, level in enumerate(pyramid(torch.rand(1, 6, 8, 8))))
    loss.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in pyramid.parameters())
    assert {level.dtype for level in pyramid.bfloat16()(torch.rand(1, 6, 8, 8, dtype=torch.bfloat16))} == {torch.bfloat16}


def test_a_map_too_small_to_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="1 x 5 cells"):
        SimplePyramid(6, width=8, up=4)(torch.rand(1, 6, 1, 5))

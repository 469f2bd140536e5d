"""Laws of pooling regions from a pyramid."""

import math

import pytest
import torch
from torch import Tensor

from foveal.vision.region_pooling import level_of, pool_regions

STRIDES = torch.tensor([8.0, 16.0, 32.0])[:, None].expand(-1, 2)


def _levels(images: int = 2, dim: int = 3) -> list[Tensor]:
    return [torch.randn(images, dim, side, side + 1) for side in (40, 20, 10)]


def _boxes(images: int, count: int) -> Tensor:
    """Some for each of the first three levels, within and without the picture."""
    corner = torch.rand(images, count, 2) * 250 - 30
    side = torch.tensor([100.0, 300.0, 600.0])[torch.arange(count) % 3, None] * (0.6 + torch.rand(images, count, 2) * 0.4)
    return torch.cat([corner, corner + side], dim=-1)


def _read(level: Tensor, x: float, y: float) -> Tensor:
    """The level's value at a place counted in cells, its first cell's centre at 0: bilinear, zeros outside."""
    found = torch.zeros(len(level))
    for row in (math.floor(y), math.floor(y) + 1):
        for col in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < level.shape[1] and 0 <= col < level.shape[2]:
                found += (1 - abs(y - row)) * (1 - abs(x - col)) * level[:, row, col]
    return found


def _plainly(level: Tensor, box: Tensor, stride: float, size: int, samples: int) -> Tensor:
    x0, y0, x1, y1 = ((value / stride - 0.5) for value in box.tolist())
    bins = torch.zeros(size, size, len(level))
    for row in range(size * samples):
        for col in range(size * samples):
            x, y = x0 + (x1 - x0) * (col + 0.5) / (size * samples), y0 + (y1 - y0) * (row + 0.5) / (size * samples)
            bins[row // samples, col // samples] += _read(level, x, y) / samples**2
    return bins


def test_a_bin_is_the_mean_of_readings_of_its_boxes_level() -> None:
    torch.manual_seed(0)
    levels, boxes = _levels(), _boxes(2, 6)
    found, own = pool_regions(levels, boxes, STRIDES, size=3), level_of(boxes, 3)
    assert len(own.unique()) == 3
    for image in range(2):
        for number, box in enumerate(boxes[image]):
            level = int(own[image, number])
            wanted = _plainly(levels[level][image], box, float(STRIDES[level, 0]), 3, 2)
            torch.testing.assert_close(found[image, number], wanted, atol=1e-4, rtol=1e-4)


def test_only_the_level_that_a_box_belongs_to_is_read() -> None:
    levels, boxes = _levels(), torch.tensor([[[20.0, 20.0, 60.0, 90.0]], [[5.0, 5.0, 290.0, 270.0]]])
    found = pool_regions(levels, boxes, STRIDES)
    spoilt = [torch.full_like(level, 9.0) for level in levels]
    spoilt[0][0], spoilt[1][1] = levels[0][0], levels[1][1]
    torch.testing.assert_close(pool_regions(spoilt, boxes, STRIDES), found)


def test_a_slope_is_read_as_it_is() -> None:
    rows, cols = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    level = torch.stack([(cols + 0.5) * 8, (rows + 0.5) * 8])[None]  # each cell says where its centre is
    found = pool_regions([level], torch.tensor([[[40.0, 48.0, 110.0, 90.0]]]), STRIDES[:1])[0, 0]
    torch.testing.assert_close(found[:, :, 0], (45 + 10 * torch.arange(7.0)).expand(7, 7))
    torch.testing.assert_close(found[:, :, 1], (51 + 6 * torch.arange(7.0))[:, None].expand(7, 7))


def test_images_in_a_batch_are_pooled_as_alone_and_no_box_needs_another() -> None:
    levels, boxes = _levels(3), _boxes(3, 5)
    together = pool_regions(levels, boxes, STRIDES)
    for image in range(3):
        alone = pool_regions([level[image : image + 1] for level in levels], boxes[image : image + 1, 2:4], STRIDES)
        torch.testing.assert_close(together[image : image + 1, 2:4], alone)


def test_levels_learn_and_boxes_do_not() -> None:
    levels, boxes = [level.requires_grad_() for level in _levels()], _boxes(2, 30).requires_grad_()
    pool_regions(levels, boxes, STRIDES).square().sum().backward()
    assert boxes.grad is None and all(level.grad is not None and level.grad.isfinite().all() and level.grad.any() for level in levels)


def test_half_precision_comes_out_as_it_went_in() -> None:
    levels, boxes = _levels(), _boxes(2, 4)
    found = pool_regions([level.bfloat16() for level in levels], boxes, STRIDES)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), pool_regions(levels, boxes, STRIDES), atol=0.05, rtol=0.05)


def test_no_boxes_are_no_regions() -> None:
    assert pool_regions(_levels(), torch.zeros(2, 0, 4), STRIDES).shape == (2, 0, 7, 7, 3)


def test_strides_of_other_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="strides of 2 levels"):
        pool_regions(_levels(), _boxes(2, 1), STRIDES[:2])

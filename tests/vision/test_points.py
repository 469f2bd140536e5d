"""Laws of point clouds and of reading maps at them."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as some

from foveal.vision.points import distinct_points, farthest_points, nearest_points
from foveal.vision.reading import corner_cells, read_cells, read_points

coarse = some.lists(some.tuples(some.integers(0, 3), some.integers(0, 3)), min_size=12, max_size=12)


@settings(max_examples=50, deadline=None)
@given(coarse, coarse)
def test_distinct_points_are_all_places_and_each_once(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    points = torch.tensor([first, second], dtype=torch.float32) / 4
    rows, slots = distinct_points(points)
    table = points.flatten(0, 1)[rows]
    assert len(rows) == len(set(first)) + len(set(second))
    assert torch.equal(table[slots], points)


@settings(max_examples=50, deadline=None)
@given(coarse, some.integers(0, 11))
def test_farthest_points_exhaust_the_places_before_one_repeats(places: list[tuple[int, int]], start: int) -> None:
    points = torch.tensor([places], dtype=torch.float32) / 4
    chosen = farthest_points(points, torch.tensor([start]), 12)[0].tolist()
    different = len(set(places))
    assert len({places[index] for index in chosen[:different]}) == different
    assert set(chosen[different:]) <= {0}


def test_the_farthest_point_is_the_first_of_several() -> None:
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert farthest_points(points, torch.tensor([0]), 2).tolist() == [[0, 1]]


def test_nearest_points_are_those_of_a_full_sort() -> None:
    torch.manual_seed(0)
    points = torch.rand(3, 40, 2)
    found = nearest_points(points, points[:, :7], 5)
    wanted = (points[:, :7, None] - points[:, None]).square().sum(-1).argsort(-1)[..., :5]
    assert torch.equal(found.sort(-1).values, wanted.sort(-1).values)


def test_points_a_millionth_apart_are_told_apart() -> None:
    points = 0.9 + torch.arange(16)[None, :, None].expand(1, 16, 2) * 1e-6
    assert nearest_points(points, points, 1)[0, :, 0].tolist() == list(range(16))


def test_reading_is_grid_sampling_with_aligned_corners() -> None:
    torch.manual_seed(0)
    maps, points, image = [torch.randn(4, 5, 7), torch.randn(4, 3, 2), torch.randn(4, 1, 1)], torch.rand(4, 9, 2), torch.tensor([2, 0, 1, 0])
    found = read_points(maps, points, image)
    for which, cloud, features in zip(image, points, found, strict=True):
        wanted = F.grid_sample(maps[int(which)][None], cloud[None, None] * 2 - 1, align_corners=True)[0, :, 0].T
        assert torch.allclose(features, wanted, atol=1e-6)


def test_points_on_or_beyond_the_border_read_the_border() -> None:
    grid = torch.arange(6.0).view(1, 2, 3)
    found = read_points([grid], torch.tensor([[[1.0, 1.0], [1.5, 2.0], [-1.0, -1.0]]]), torch.tensor([0]))
    assert found.flatten().tolist() == [5.0, 5.0, 0.0]


def test_a_narrow_map_is_read_in_float32() -> None:
    cells, shares = corner_cells(torch.full((1, 1, 2), 0.3), torch.tensor([0]), [(2, 2)])
    table = torch.randn(4, 8, dtype=torch.bfloat16)
    found = read_cells(table, cells[0], shares[0])
    assert torch.equal(found, (shares[0] @ table.float()).bfloat16())

"""Laws of tiles: where they lie, what they show, and that maps come together as tiles were cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from foveal.geometry import Box, Point
from foveal.vision import GRIDS_FERRET_UI, GRIDS_V2, any_resolution, choose_grid, cut, merge_tiles, normalise, pad_square

sides = some.integers(1, 300)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(max_examples=100, deadline=None)
@given(sides, sides, some.booleans())
def test_a_plan_has_as_many_tiles_as_its_grid_and_covers_the_image(width: int, height: int, keep_shape: bool) -> None:
    plan = any_resolution((width, height), 28, GRIDS_V2, keep_shape=keep_shape)
    assert len(plan.tiles) == plan.rows * plan.cols <= 6
    left, top = plan.tiles[0].to(Point(0.0, 0.0))
    right, bottom = plan.tiles[-1].to(Point(1.0, 1.0))
    assert min(left, top) >= 0 and max(right, bottom) <= 28
    assert keep_shape or (left, top, right, bottom) == (0, 0, 28, 28)


@settings(max_examples=100, deadline=None)
@given(sides, sides)
def test_a_tile_and_its_neighbour_share_an_edge(width: int, height: int) -> None:
    plan = any_resolution((width, height), 28, GRIDS_FERRET_UI)
    for row in range(plan.rows):
        for col in range(plan.cols):
            shown = plan.tiles[row * plan.cols + col].back((0, 0, 28, 28))
            wanted = (col / plan.cols, row / plan.rows, (col + 1) / plan.cols, (row + 1) / plan.rows)
            assert isinstance(shown, Box) and (shown.x0, shown.y0, shown.x1, shown.y1) == pytest.approx(wanted)


def test_a_wide_image_has_a_wide_grid_and_a_tall_one_its_transpose() -> None:
    assert choose_grid((2016, 336), 336, GRIDS_V2) == (6, 1)
    assert choose_grid((336, 2016), 336, GRIDS_V2) == (1, 6)


def test_of_grids_as_good_the_first_is_chosen() -> None:
    assert choose_grid((336, 336), 336, GRIDS_FERRET_UI) == (1, 2)
    with pytest.raises(ValueError, match="no grids"):
        choose_grid((336, 336), 336, ())


def test_tiles_are_parts_of_the_image_resized_once() -> None:
    image = noise(70, 45)
    plan = any_resolution(image.size, 28, GRIDS_V2)
    overview, tiles = cut(image, plan)
    canvas = np.asarray(image.resize((plan.cols * 28, plan.rows * 28), Image.Resampling.BICUBIC))
    assert np.array_equal(overview, np.asarray(image.resize((28, 28), Image.Resampling.BICUBIC)))
    for index, tile in enumerate(tiles):
        row, col = divmod(index, plan.cols)
        assert np.array_equal(tile, canvas[row * 28 : row * 28 + 28, col * 28 : col * 28 + 28])


def test_a_single_tile_is_the_overview() -> None:
    image = noise(28, 20)
    plan = any_resolution(image.size, 28, GRIDS_V2)
    overview, tiles = cut(image, plan)
    assert (plan.rows, plan.cols) == (1, 1) and np.array_equal(tiles[0], overview)


def test_an_image_that_keeps_its_shape_is_black_around() -> None:
    image = Image.new("RGB", (60, 20), "white")
    plan = any_resolution(image.size, 28, GRIDS_FERRET_UI, keep_shape=True)
    _, tiles = cut(image, plan)
    canvas = merge_tiles(torch.from_numpy(tiles).float(), plan.rows, plan.cols)
    white = (canvas == 255).all(-1)
    first, last = plan.tiles[0], plan.tiles[-1]
    x0, y0 = first.to(Point(0.0, 0.0))
    assert white.sum() == first.sx * first.sy and (canvas.sum(-1) == 0).sum() == white.numel() - white.sum()
    assert white[round(y0), round(x0)] and last.to(Point(1.0, 1.0))[1] <= 28
    assert first.sx / first.sy == pytest.approx(3, rel=0.1)


def test_without_grids_there_are_no_tiles() -> None:
    plan = any_resolution((50, 30), 28, ())
    overview, tiles = cut(noise(50, 30), plan)
    assert (plan.rows, plan.cols, plan.tiles) == (0, 0, ()) and overview.shape == (28, 28, 3) and tiles.shape == (0, 28, 28, 3)


def test_a_plan_of_another_image_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        cut(noise(50, 31), any_resolution((50, 30), 28, ()))
    with pytest.raises(ValueError, match="mode L"):
        cut(noise(50, 30).convert("L"), any_resolution((50, 30), 28, ()))


def test_normalising_is_the_formula() -> None:
    views = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    wanted = (torch.from_numpy(views).permute(0, 3, 1, 2).double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert (normalise(views, mean, std) - wanted).abs().max() < 1e-6
    assert normalise(views[:0], mean, std).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (3, 1)])
def test_maps_merge_as_tiles_were_cut(grid: tuple[int, int]) -> None:
    whole = torch.randn(grid[0] * 4, grid[1] * 5, 2)
    tiles = torch.stack([whole[row * 4 : row * 4 + 4, col * 5 : col * 5 + 5] for row in range(grid[0]) for col in range(grid[1])])
    assert torch.equal(merge_tiles(tiles, *grid), whole)
    with pytest.raises(ValueError, match="tiles were given for a grid"):
        merge_tiles(tiles, grid[0] + 1, grid[1])


def test_a_padded_square_holds_the_image_in_its_middle() -> None:
    image = noise(6, 3)
    padded = np.asarray(pad_square(image, (0.5, 0.0, 1.0)))
    assert padded.shape == (6, 6, 3) and np.array_equal(padded[1:4], np.asarray(image)) and padded[0, 0].tolist() == [127, 0, 255]

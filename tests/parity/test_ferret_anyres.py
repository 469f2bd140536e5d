"""Choice of grid and pixels of tiles against those recorded from an existing implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from foveal.models.ferret.fusion import kept_cells
from foveal.vision import GRIDS_FERRET_UI, GRIDS_V2, any_resolution, choose_grid, cut, normalise, pad_square

POOLS = range(4)


@pytest.fixture
def tiles(parity: Path) -> tuple[dict, dict[str, Tensor]]:
    folder = parity / "ferret" / "anyres"
    return json.loads((folder / "tiles.json").read_text()), load_file(folder / "tiles.safetensors")


def pool(parity: Path, index: int) -> dict:
    pools = json.loads((parity / "ferret" / "anyres" / "grid_choice.json").read_text())["pools"]
    return pools[index] if index < len(pools) else pytest.skip(f"{len(pools)} pools are recorded")


def as_grids(candidates: list[list[int]], tile: int) -> list[tuple[int, int]]:
    return [(width // tile, height // tile) for width, height in candidates]


def open_case(notes: dict, tensors: dict[str, Tensor], case: dict) -> Image.Image:
    return Image.fromarray(tensors[f"image{case['image']}.rgb"].numpy())


def test_the_named_grids_are_the_recorded_pools(parity: Path) -> None:
    pools = [pool(parity, index) for index in range(2)]
    assert [tuple(as_grids(each["candidates"], each["tile"])) for each in pools] == [GRIDS_FERRET_UI, GRIDS_V2]


@pytest.mark.parametrize("index", POOLS)
def test_the_recorded_grid_is_chosen(parity: Path, index: int) -> None:
    recorded = pool(parity, index)
    grids = as_grids(recorded["candidates"], recorded["tile"])
    for row in recorded["rows"]:
        assert choose_grid(tuple(row["size"]), recorded["tile"], grids) == tuple(row["grid_cols_rows"]), row["size"]


@pytest.mark.parametrize("index", POOLS)
def test_an_image_that_keeps_its_shape_lies_where_recorded(parity: Path, index: int) -> None:
    recorded = pool(parity, index)
    tile = recorded["tile"]
    grids = as_grids(recorded["candidates"], tile)
    rows = [row for row in recorded["rows"] if "keep_aspect" in row]
    for row in rows:
        plan = any_resolution(tuple(row["size"]), tile, grids, keep_shape=True)
        first = plan.tiles[0]
        assert [first.dx, first.dy, first.dx + first.sx, first.dy + first.sy] == row["keep_aspect"]["pasted_x0y0x1y1"]
        kept = kept_cells(tuple(row["size"]), plan.rows * tile // 14, plan.cols * tile // 14)
        ranges = [row["keep_aspect"][name] for name in ("token_rows_kept", "token_cols_kept")]
        # Of an image much thinner than a cell nothing is kept, which is recorded as no ranges.
        found = [[part.start, part.stop - 1] for part in kept]
        assert ranges == (found if all(first <= last for first, last in found) else [None, None])


def test_tiles_have_the_recorded_pixels(tiles: tuple[dict, dict[str, Tensor]]) -> None:
    notes, tensors = tiles
    for case in notes["cases"]:
        image = open_case(notes, tensors, case)
        plan = any_resolution(image.size, notes["tile"], as_grids(case["candidates"], notes["tile"]))
        overview, cells = cut(image, plan)
        views = normalise(np.concatenate([overview[None], cells]), notes["image_mean"], notes["image_std"])
        assert [plan.cols, plan.rows] == case["grid_cols_rows"]
        assert (views - tensors[case["tensor"]]).abs().max() < 1e-5


def test_the_square_input_has_the_recorded_pixels(tiles: tuple[dict, dict[str, Tensor]]) -> None:
    notes, tensors = tiles
    for case in notes["cases"]:
        image = open_case(notes, tensors, case)
        overview, none = cut(image, any_resolution(image.size, notes["tile"], ()))
        views = normalise(overview[None], notes["image_mean"], notes["image_std"])
        assert len(none) == 0
        assert (views[0] - tensors[f"image{case['image']}.square_v1"]).abs().max() < 1e-5


def test_the_padded_square_has_the_recorded_pixels(tiles: tuple[dict, dict[str, Tensor]]) -> None:
    notes, tensors = tiles
    for case in notes["cases"]:
        padded = pad_square(open_case(notes, tensors, case), notes["image_mean"])
        assert torch.equal(torch.from_numpy(np.array(padded)), tensors[f"image{case['image']}.pad_square_rgb"])

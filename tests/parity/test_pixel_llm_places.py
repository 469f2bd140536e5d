"""PixelLLM's places against the recordings: points and boxes of words, token rules, sampling grids, the losses of points."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foveal.models.pixel_llm.layout import as_ours
from foveal.models.pixel_llm.places import LocationHead, boxes_of_points, grid_in_boxes, place_loss, placed_tokens, points_in_px

Recording = tuple[dict, dict[str, Tensor]]


@pytest.fixture(scope="module")
def head(parity: Path) -> Recording:
    return _read(parity, "point_head")


@pytest.fixture(scope="module")
def losses(parity: Path) -> Recording:
    return _read(parity, "losses")


def _read(parity: Path, name: str) -> Recording:
    folder = parity / "pixelllm"
    return json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors")


def _close(found: Tensor, wanted: Tensor, about: dict) -> None:
    torch.testing.assert_close(found.float(), wanted.reshape(found.shape).float(), **about["tolerance"])


def test_points_and_boxes_of_words_are_the_recorded_ones(head: Recording) -> None:
    about, kept = head
    config = about["config"]
    made = LocationHead(config["D"], config["hidden"], config["depth"], config["npts"])
    params = {name.removeprefix("params/"): value for name, value in kept.items() if name.startswith("params/")}
    made.load_state_dict(as_ours(params, "point_predictor"))
    points, rest = made(kept["in/text_feats"])
    _close(points, kept["out/coords_relative"], about)
    _close(rest, kept["out/extra_logits"], about)
    absolute = points_in_px(points, kept["in/image_shape_hw"])
    _close(absolute, kept["out/coords_absolute"], about)
    valid, single = (kept[f"in/{name}"].bool() for name in ("valid_mask", "single_token_mask"))
    _close(boxes_of_points(absolute, valid), kept["out/boxes"], about)
    _close(boxes_of_points(absolute, single), kept["out/boxes_single_token"], about)
    _close(boxes_of_points(absolute, torch.zeros_like(valid)), kept["out/boxes_no_valid_token"], about)
    expanded = {int(name.split("_")[2]): name for name in kept if name.startswith("out/boxes_expanded_")}
    for side, name in expanded.items():
        _close(boxes_of_points(absolute, valid, side), kept[name], about)


def test_the_rules_of_tokens_are_the_recorded_ones(losses: Recording) -> None:
    about, kept = losses
    seen = 0
    for name, wanted in kept.items():
        group, _, rule = name.partition("/")
        if group.startswith("tokmask_out_"):
            kind = group.removeprefix("tokmask_out_")
            ids = about["token_mask_ids"][kind]
            found = placed_tokens(kept[f"tokmask_in_{kind}/tokens"], ids["bos"], ids["eos"], rule[1:-1])
            assert found.equal(wanted.bool()), name
            seen += 1
    assert seen


def test_grids_and_conversions_are_the_recorded_ones(losses: Recording) -> None:
    about, kept = losses
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for name, wanted in kept.items():
        if name.startswith("grid/"):
            kind, side, inside = name.removeprefix("grid/").split("_")
            _close(grid_in_boxes(unit, int(side), kind == "border", inside == "1"), wanted, about)
    boxes, sides = kept["conv_in/boxes"], kept["conv_in/image_shape_hw"]
    _close(grid_in_boxes(boxes), kept["conv_out/points_corners"], about)
    _close(grid_in_boxes(boxes, 2, inside=False), kept["conv_out/points_solid2"], about)
    _close(grid_in_boxes(boxes, 3, border=True), kept["conv_out/points_border3"], about)
    _close(points_in_px(kept["conv_out/relative_points"], sides), kept["conv_out/absolute_points"], about)
    _close(points_in_px(kept["conv_out/relative_boxes"].unflatten(-1, (2, 2)), sides).flatten(-2), boxes, about)


def test_the_losses_of_points_are_the_recorded_ones(losses: Recording) -> None:
    about, kept = losses
    points, targets = kept["point_in/pred"], kept["point_in/gt"]
    valid = (kept["point_in/pred_valid"] * kept["point_in/gt_valid"]).bool()
    whole = kept["point_in/gt_boxpoints"][:, :, None].expand_as(points)
    by_caption = kept["point_in/pred_valid"].bool() & kept["point_in/gt_valid_per_caption"].bool()[..., None]
    for name, options in {"l1": {"zeros": True}, "l2": {"zeros": True, "squared": True}, "l1_nonzero": {}}.items():
        _close(place_loss(points, targets, valid, **options), kept[f"point_out/{name}"], about)
        _close(place_loss(points, whole, by_caption, **options), kept[f"point_out/{name}_per_caption"], about)
    _close(place_loss(points, targets, torch.zeros_like(valid)), kept["point_out/no_valid"], about)

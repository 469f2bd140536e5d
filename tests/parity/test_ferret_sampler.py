"""The region sampler against recorded inputs, weights and outputs of an existing implementation."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foveal.vision import AveragePooling, VisualSampler
from foveal.vision.points import farthest_points, nearest_points
from foveal.vision.reading import read_points

CASES = ("v1_small_max", "v1_small_mean", "v1_counts512_max", "ui_small_max", "ui_small_mean", "ui_counts512_max")


def load(parity: Path, case: str) -> tuple[dict, dict[str, Tensor]]:
    folder = parity / "ferret" / "sampler"
    return json.loads((folder / f"{case}.json").read_text()), load_file(folder / f"{case}.safetensors")


def build(notes: dict, tensors: dict[str, Tensor]) -> VisualSampler:
    config = notes["config"]
    sampler = VisualSampler(
        config["input_dim"],
        config["output_dim"],
        config["num_init_point"],
        config["num_sub_point"],
        config["num_neighbor"],
        notes["pooler_mode"],
        "transposed",
        chunk=7,
    )
    weights = {}
    for name, value in tensors.items():
        if not name.startswith("weights."):
            continue
        name = name.removeprefix("weights.")
        for old, new in (("flatten_projector", "flatten"), ("dim_projector", "output")):
            name = name.replace(old, new)
        for block in range(len(config["num_sub_point"])):
            name = name.replace(f"diff_projector_list.{block}", f"blocks.{block}.difference")
            name = name.replace(f"agg_projector_list.{block}.net.0", f"blocks.{block}.aggregation")
            name = name.replace(f"agg_projector_list.{block}.norm", f"blocks.{block}.norm")
        weights[name] = value.squeeze(-1) if name.endswith("aggregation.weight") else value
    sampler.load_state_dict(weights)
    return sampler


def inputs(notes: dict, tensors: dict[str, Tensor]) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    maps, image = [], []
    for index, about in enumerate(notes["images"]):
        recorded = tensors[f"map.{index}"]
        if recorded.ndim == 2:
            side = round(len(recorded) ** 0.5)
            recorded = recorded.view(side, side, -1)
        maps.append(recorded.permute(2, 0, 1))
        image += [index] * len(about["regions"])
    blocks = range(len(notes["config"]["num_sub_point"]))
    starts = torch.stack([tensors[f"stage{block}.fps_idx"][:, 0].long() for block in blocks], dim=1)
    return maps, tensors["points"], torch.tensor(image), starts


def kinds(notes: dict) -> list[str]:
    return [region["kind"] for about in notes["images"] for region in about["regions"]]


def clouds(tensors: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each block, the recorded cloud that enters it and the recorded anchors as indices into it."""
    found, points = [], tensors["points"]
    for block in range(2):
        chosen = tensors[f"stage{block}.fps_idx"].long()
        found.append((points, chosen))
        points = points.gather(1, chosen[..., None].expand(-1, -1, 2))
    return found


@pytest.mark.parametrize("case", CASES)
def test_points_read_the_recorded_features(parity: Path, case: str) -> None:
    notes, tensors = load(parity, case)
    maps, points, image, _ = inputs(notes, tensors)
    assert (read_points(maps, points, image, "transposed") - tensors["point_features"]).abs().max() < 5e-6


@pytest.mark.parametrize("case", CASES)
def test_the_recorded_anchors_are_chosen(parity: Path, case: str) -> None:
    _, tensors = load(parity, case)
    for points, chosen in clouds(tensors):
        assert torch.equal(farthest_points(points, chosen[:, 0], chosen.shape[1]), chosen)


@pytest.mark.parametrize("case", CASES)
def test_neighbours_without_ties_are_the_recorded_ones(parity: Path, case: str) -> None:
    notes, tensors = load(parity, case)
    free = torch.tensor([kind == "tie_free" for kind in kinds(notes)])
    for block, (points, chosen) in enumerate(clouds(tensors)):
        anchors = points.gather(1, chosen[..., None].expand(-1, -1, 2))
        recorded = tensors[f"stage{block}.knn_idx"].long()
        found = nearest_points(points, anchors, recorded.shape[2])
        assert torch.equal(found[free].sort(-1).values, recorded[free].sort(-1).values)


@pytest.mark.parametrize("case", CASES)
def test_regions_have_the_recorded_features(parity: Path, case: str) -> None:
    notes, tensors = load(parity, case)
    sampler = build(notes, tensors)
    maps, points, image, starts = inputs(notes, tensors)
    recorded = [tensors[f"stage{block}.knn_idx"].long() for block in range(2)]
    flat: list[Tensor] = []
    sampler.flatten.register_forward_pre_hook(lambda _, given: flat.append(given[0]))
    given = sampler(maps, points, image, starts, neighbours=recorded)
    assert (flat[0] - tensors["flatten_in"]).abs().max() < 2e-5
    assert (given - tensors["region_features"]).abs().max() < 2e-5
    free = torch.tensor([kind == "tie_free" for kind in kinds(notes)])
    if free.any():
        found = sampler(maps, points[free], image[free], starts[free])
        assert (found - tensors["region_features"][free]).abs().max() < 2e-5


def test_average_pooling_gives_the_recorded_features(parity: Path) -> None:
    folder = parity / "ferret" / "model"
    weights, tensors = load_file(folder / "weights_v1_avg.safetensors"), load_file(folder / "v1_average_regions.safetensors")
    pooling = AveragePooling(*weights["model.region_fea_adapter.weight"].shape[::-1], read="transposed")
    pooling.load_state_dict({f"projection.{name}": weights[f"model.region_fea_adapter.{name}"] for name in ("weight", "bias")})
    region_map = tensors["vision_features"][0]
    side = round(len(region_map) ** 0.5)
    maps = [region_map.view(side, side, -1).permute(2, 0, 1)]
    # A region of fewer pixels than points gets repeats, which must not count.
    few = tensors["points.1"]
    padded = torch.cat([few, few[torch.arange(len(tensors["points.0"]) - len(few)) % 7]])
    found = pooling(maps, torch.stack([tensors["points.0"], padded]), torch.tensor([0, 0]))
    assert (found - tensors["region_features.0"]).abs().max() < 2e-5

"""PixelLLM's box decoder against the recordings: pyramid, heatmap, suppression, region pooling, detections, targets and losses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foveal.models.pixel_llm.detection import (
    CellTargets,
    Samples,
    cell_targets,
    detection_loss,
    heat_losses,
    match_objects,
    reach_loss,
    region_losses,
    sample_regions,
)
from foveal.models.pixel_llm.layout import as_ours
from foveal.vision.box_tensors import clip_boxes, decode_boxes, encode_boxes, have_extent
from foveal.vision.nms import nms
from foveal.vision.proposals import BoxDecoder, Cells, choose_regions, find_peaks, propose
from foveal.vision.region_pooling import pool_regions

Recording = tuple[dict[str, Any], dict[str, Tensor]]
PIXELS = 1e-2


@pytest.fixture(scope="module")
def recorded(parity: Path) -> Recording:
    return _recording(parity, "box_decoder")


@pytest.fixture(scope="module")
def recorded_nms(parity: Path) -> Recording:
    return _recording(parity, "nms")


@pytest.fixture(scope="module")
def decoder(recorded: Recording) -> BoxDecoder:
    about, kept = recorded
    config = about["config"]
    decoder = BoxDecoder(
        config["cin"],
        width=config["fpn_channels"],
        up=config["fpn_in_dim"] // 2,
        layers=config["head_layers"],
        hidden=config["roi_fc_dims"],
        strides=config["strides"],
        peaks=config["pre_nms_topk_test"],
        proposals=config["post_nms_topk_test"],
        detections=config["roi_post_nms_num_detections"],
        proposal_overlap=config["iou_thresh"],
        detection_overlap=config["roi_nms_threshold"],
    )
    weights = {path.removeprefix("params/"): value for path, value in kept.items() if path.startswith("params/")}
    decoder.load_state_dict(as_ours(weights, "box_decoder"))
    return decoder.eval()


@pytest.fixture(scope="module")
def looked(decoder: BoxDecoder, recorded: Recording) -> tuple[list[Tensor], Tensor, Cells]:
    about, kept = recorded
    with torch.no_grad():
        levels, strides = decoder.levels(kept["in/features"], _size(about))
        return levels, strides, decoder.proposal_head(levels, strides)


@pytest.fixture(scope="module")
def targets(recorded: Recording, looked: tuple[list[Tensor], Tensor, Cells]) -> CellTargets:
    about, kept = recorded
    return cell_targets(looked[2], kept["in/gt_boxes"], about["config"]["fpn_range"])


def test_the_levels_and_what_is_said_of_their_cells(recorded: Recording, looked: tuple[list[Tensor], Tensor, Cells]) -> None:
    about, kept = recorded
    levels, _, cells = looked
    count = sum(name.startswith("out/fpn_") for name in kept)
    assert len(levels) == count
    for number, level in enumerate(levels):
        _close(level.permute(0, 2, 3, 1), kept[f"out/fpn_{number}"], about)
    images = len(cells.heat)
    heat = torch.cat([kept[f"out/heatmap_{number}"].reshape(images, -1) for number in range(count)], 1)
    recorded_heat = cells.heat if heat.min() < 0 or heat.max() > 1 else cells.heat.sigmoid()
    _close(recorded_heat, heat, about)
    _close(cells.reach, torch.cat([kept[f"out/box_reg_{number}"].reshape(images, -1, 4) for number in range(count)], 1), about)
    _close(cells.centres, kept["out/grid_xy"], about)


def test_peaks_and_proposals(recorded: Recording, decoder: BoxDecoder, looked: tuple[list[Tensor], Tensor, Cells]) -> None:
    about, kept = recorded
    cells = looked[2]
    boxes, scores = find_peaks(cells, decoder.peaks)
    _close(scores, kept["out/peak_scores"], about)
    _close_pixels(boxes, kept["out/peak_boxes"])
    real = kept["out/proposal_scores"] > 0
    loose = nms(boxes, scores, decoder.proposal_overlap, decoder.proposals)
    _close_pixels(loose.boxes[real], kept["out/proposal_boxes"][real])
    boxes, scores = propose(cells, _sides(kept), decoder.peaks, decoder.proposals, decoder.proposal_overlap)
    _close(scores, kept["out/proposal_scores"], about)
    _close_pixels(boxes[real], kept["out/proposal_boxes_clipped"][real])


@torch.no_grad()
def test_regions_are_looked_at_twice(recorded: Recording, decoder: BoxDecoder, looked: tuple[list[Tensor], Tensor, Cells]) -> None:
    about, kept = recorded
    levels, strides, _ = looked
    boxes = kept["out/proposal_boxes_clipped"]
    [(count, wanted)] = [(value.shape[1], value) for name, value in kept.items() if name.startswith("out/roi_features_first")]
    _close(pool_regions(levels, boxes[:, :count], strides), wanted, about)
    logits, deltas = decoder.judge(levels, strides, boxes)
    _close(logits, kept["out/roi_class_logits"], about)
    _close(deltas, kept["out/roi_box_deltas"], about)


def test_detections(recorded: Recording, decoder: BoxDecoder) -> None:
    about, kept = recorded
    boxes, scores = decoder(kept["in/features"], _size(about))
    _close(scores, kept["out/detection_scores"], about)
    real = kept["out/detection_scores"] > 0
    assert (scores > 0).sum(1).tolist() == kept["out/num_detections"].tolist()
    _close_pixels(boxes[real], kept["out/detection_boxes"][real])
    assert not boxes[~real].any()


def test_targets_of_the_heatmap(recorded: Recording, looked: tuple[list[Tensor], Tensor, Cells], targets: CellTargets) -> None:
    about, kept = recorded
    _close(targets.heat, kept["out/target_heatmap"], about)
    wanted = kept["out/target_reg"]
    assert torch.equal(targets.reaching, (wanted >= 0).all(-1))  # elsewhere stands a marker far below 0
    _close(targets.reach[targets.reaching], wanted[targets.reaching], about)
    assert targets.peaks.sum(1).clamp(min=1).float().mean().item() == pytest.approx(kept["out/norm_heat"].item())
    assert targets.reaching.sum(1).clamp(min=1).float().mean().item() == pytest.approx(kept["out/norm_reg"].item())


def test_losses_of_the_heatmap(recorded: Recording, looked: tuple[list[Tensor], Tensor, Cells], targets: CellTargets) -> None:
    about, kept = recorded
    cells = looked[2]
    found, imagined = heat_losses(cells.heat, targets)
    _close(found, kept["out/loss_heat_pos"], about)
    _close(imagined, kept["out/loss_heat_neg"], about)
    _close(reach_loss(cells.reach, targets), kept["out/loss_reg"], about)


@torch.no_grad()
def test_losses_of_regions_drawn_at_random(
    recorded: Recording, decoder: BoxDecoder, looked: tuple[list[Tensor], Tensor, Cells], targets: CellTargets
) -> None:
    about, kept = recorded
    config, objects = about["config"], kept["in/gt_boxes"]
    levels, strides, cells = looked
    boxes, shows = kept["roi_train/proposals"], kept["roi_train/matched_classes"].bool()
    index, _ = match_objects(boxes, objects, config["roi_matching_threshold"][0])
    drawn = Samples(boxes, index, shows)
    _close(objects.gather(1, index[..., None].expand(-1, -1, 4))[shows], kept["roi_train/matched_boxes"][shows], about)
    logits, deltas = decoder.judge(levels, strides, boxes)
    _close(logits, kept["roi_train/class_logits"], about)
    _close(deltas, kept["roi_train/box_deltas"], about)
    _close(encode_boxes(kept["roi_train/matched_boxes"], boxes)[shows], kept["roi_train/box_targets"][shows], about)
    classes, mended = region_losses(logits, deltas, drawn, objects)
    _close(classes, kept["roi_train/loss_cls"], about)
    _close(mended, kept["roi_train/loss_reg"], about)
    heat = sum(heat_losses(cells.heat, targets))
    total = config["hm_weight"] * heat + config["reg_weight"] * reach_loss(cells.reach, targets) + classes + mended
    _close(total, kept["roi_train/det_loss_total"], about)


def test_regions_are_drawn_by_the_same_rule(recorded: Recording, looked: tuple[list[Tensor], Tensor, Cells]) -> None:
    about, kept = recorded
    config = about["config"]
    boxes, _ = propose(looked[2], _sides(kept), config["pre_nms_topk_train"], config["post_nms_topk_train"], config["iou_thresh"])
    drawn = sample_regions(boxes, kept["in/gt_boxes"], config["roi_samples_per_image"], threshold=config["roi_matching_threshold"][0])
    wanted = kept["roi_train/matched_classes"].bool() & have_extent(kept["roi_train/proposals"])
    assert drawn.shows.sum(1).tolist() == wanted.sum(1).tolist()
    assert drawn.boxes.shape == kept["roi_train/proposals"].shape


def test_the_whole_loss_has_the_recorded_parts(recorded: Recording, decoder: BoxDecoder) -> None:
    about, kept = recorded
    config = about["config"]
    lost = detection_loss(
        decoder,
        kept["in/features"],
        _size(about),
        kept["in/gt_boxes"],
        ranges=config["fpn_range"],
        peaks=config["pre_nms_topk_train"],
        proposals=config["post_nms_topk_train"],
        samples=config["roi_samples_per_image"],
    )
    for found, name in ((lost.found, "heat_pos"), (lost.imagined, "heat_neg"), (lost.reach, "reg")):
        _close(found.detach(), kept[f"out/loss_{name}"], about)


def test_regions_take_the_caption_of_the_thing_they_show(recorded: Recording) -> None:
    about, kept = recorded
    index, shows = match_objects(kept["match/proposals"], kept["in/gt_boxes"], about["config"]["match_gt_thresh"])
    assert index.tolist() == kept["match_out/matched_idx"].tolist()
    assert shows.int().tolist() == kept["match_out/matched_classes"].tolist()


def test_suppression(recorded_nms: Recording) -> None:
    about, kept = recorded_nms
    for case, options in about["config"].items():
        boxes, scores = kept[f"{case}_in/boxes"][None], kept[f"{case}_in/scores"][None]
        found, valid = nms(boxes, scores, options["iou_threshold"], options["max_output"]), options["valid"]
        assert found.row[0].tolist() == kept[f"{case}_out/kept_index"].tolist()
        _close(found.boxes[0, :valid], kept[f"{case}_out/boxes"][:valid], about)
        _close(found.scores[0], kept[f"{case}_out/scores"], about)


def test_regions_are_pooled_from_their_level(recorded_nms: Recording, recorded: Recording) -> None:
    about, kept = recorded_nms
    count = sum(name.startswith("roi_in/level") for name in kept)
    levels = [kept[f"roi_in/level{number}"].permute(0, 3, 1, 2) for number in range(count)]
    boxes, wanted = kept["roi_in/boxes"], kept["roi_out/features"]
    strides = torch.tensor(recorded[0]["config"]["strides"][:count], dtype=torch.float32)[:, None].expand(-1, 2)
    found = pool_regions(levels, boxes, strides, wanted.shape[2])
    told = have_extent(boxes) | (wanted != 0).flatten(2).any(-1)  # of a box without extent zeros may be recorded
    _close(found[told], wanted[told], about)


def test_final_choice(recorded_nms: Recording) -> None:
    about, kept = recorded_nms
    anchors, deltas, scores = (kept[f"final_in/{name}"] for name in ("anchors", "deltas", "proposal_scores"))
    decoded = decode_boxes(deltas, anchors)
    _close(decoded, kept["final_out/decoded"], about)
    _close(encode_boxes(decoded, anchors), kept["final_out/re_encoded"], about)
    sides, wanted = kept["final_in/image_shape_hw"].flip(-1), kept["final_out/boxes"]
    found = choose_regions(kept["final_in/class_logits"], deltas, anchors, scores, sides, keep=wanted.shape[1])
    assert (found.scores > 0).sum(1).tolist() == kept["final_out/num"].tolist()
    _close(found.scores, kept["final_out/scores"], about)
    _close(found.boxes, wanted, about)
    assert torch.equal(found.boxes, clip_boxes(found.boxes, sides))


def test_every_name_and_shape_of_the_full_size_is_ours(parity: Path) -> None:
    trees = [json.loads(path.read_text()) for path in sorted((parity / "pixelllm" / "param_trees").glob("*.json"))]
    trees = [{name.removeprefix("box_decoder/"): shape for name, shape in tree.items() if name.startswith("box_decoder/")} for tree in trees]
    if not any(trees):
        pytest.skip("this set lists no box decoder of full size")
    for tree in filter(None, trees):
        with torch.device("meta"):
            ours = BoxDecoder(tree["fpn/simfp_3.0/kernel"][2]).state_dict()
            theirs = as_ours({path: torch.empty(shape) for path, shape in tree.items()}, "box_decoder")
        assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def _recording(parity: Path, name: str) -> Recording:
    folder = parity / "pixelllm"
    return json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors")


def _size(about: dict[str, Any]) -> tuple[int, int]:
    height, width = about["config"]["image_size"]
    return width, height


def _sides(kept: dict[str, Tensor]) -> Tensor:
    return kept["in/image_shape_hw"].flip(-1)


def _close(found: Tensor, wanted: Tensor, about: dict[str, Any]) -> None:
    torch.testing.assert_close(found.float(), wanted.reshape(found.shape).float(), **about["tolerance"])


def _close_pixels(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=PIXELS, rtol=0)

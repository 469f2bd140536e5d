"""PixelLLM's data against the recordings: words tied to mouse traces, pictures and boxes transformed, learning rates and what they apply to."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import get_scheduler

from foveal.data.augment import Shot, boxes_on, crop, flip, kept_boxes, masks_on, pad, points_on, resize, resized_size
from foveal.data.narration import corner_targets, place_windows, positional_owners, usable_utterances
from foveal.data.sources.localized_narratives import narration_of
from foveal.geometry import Frame
from foveal.train.schedule import LayerDecay, decayed_names, frozen_names

NAMES = {"dataset_id": "recorded", "image_id": "0", "annotator_id": 0}


def opened(parity: Path, name: str) -> dict[str, Any]:
    path = parity / "pixelllm" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"this set has no {path.name}")
    return json.loads(path.read_text())


def narratives(case: dict[str, Any]) -> list[tuple[dict[str, Any], np.ndarray, dict[str, Any]]]:
    """Each caption's record and token ids, and what was recorded of it."""
    expected = [{name: rows[index] for name, rows in case["expected"].items()} for index in range(len(case["captions"]))]
    return list(zip([NAMES | caption for caption in case["captions"]], map(np.array, case["token_ids"]), expected, strict=True))


def test_utterances_and_tokens_get_the_recorded_places(parity: Path) -> None:
    recording = opened(parity, "narrative_alignment")
    close = recording["tolerance"]["utterances"]
    for case in recording["cases"]:
        size = case["image_width"], case["image_height"]
        for record, ids, expected in narratives(case):
            narration = narration_of(record)
            windows = np.array([(part.start, part.end) for part in narration.said])
            centres, boxes = place_windows(narration.trace, windows, samples=case["num_resample"], extend=True)
            utterances = expected["utterances"][: len(windows)]
            np.testing.assert_allclose(centres, [part["center"] for part in utterances], rtol=0, atol=close)
            np.testing.assert_allclose(boxes, [part["bbox"] for part in utterances], rtol=0, atol=close)
            real = ~np.isin(ids, [case["pad_id"], case["bos_id"], case["eos_id"]])
            owners, wanted = positional_owners(real, usable_utterances(narration.said, centres)), np.array(expected["token_to_utterance"])
            assert (np.abs(owners - wanted) <= _torn(real, len(windows))).all()
            _assert_pixels(corner_targets(boxes, wanted, size), expected["token_points_corners_px"], boxes, wanted, size)


def _torn(real: np.ndarray, utterances: int) -> np.ndarray:
    """Where a token lies exactly between two utterances, so that in floating point either may be the nearer."""
    tokens = int(real.sum())
    return (2 * np.cumsum(real) * (utterances - 1) % (2 * tokens) == tokens).astype(int) * real


def _assert_pixels(found: np.ndarray, recorded: Any, boxes: np.ndarray, owners: np.ndarray, size: tuple[int, int]) -> None:
    """The same pixels, but by one where a corner lies at a half."""
    exact = boxes.clip(0, 1)[owners].reshape(-1, 2, 2) * size
    half = np.abs(np.abs(exact - np.round(exact)) - 0.5) < 1e-3
    assert (np.abs(found - np.array(recorded)) <= half).all()


def transformed(parity: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], list[str]]:
    recording = opened(parity, "transforms")
    values = load_file(parity / "pixelllm" / "transforms.safetensors")
    return recording, values, sorted({name.split("_")[0] for name in values if name.startswith("case")})


def assert_rows(name: str, values: dict[str, np.ndarray], frame: Frame, tolerance: dict[str, float], kept: np.ndarray | None = None) -> None:
    """Boxes, points and masks of a case, through `frame`, against those of a recorded step."""
    case = name.split("_")[0]
    height, width = values[f"{case}_in/image"].shape[:2]
    boxes = boxes_on(frame, values[f"{case}_in/boxes"] / np.array([width, height, width, height]))
    kept = np.ones(len(boxes), dtype=bool) if kept is None else kept
    points = points_on(frame, values[f"{case}_in/points"].reshape(-1, 2) / np.array([width, height])).reshape(len(boxes), -1)
    found = {"boxes": boxes[kept], "points": points[kept], "masks": masks_on(frame, values[f"{case}_in/masks"].astype(bool))[kept]}
    for part, rows in found.items():
        if f"{name}/{part}" in values:
            recorded = values[f"{name}/{part}"]
            np.testing.assert_allclose(rows, recorded[: len(rows)].reshape(rows.shape), **tolerance)
            assert not recorded[len(rows) :].any()  # rows that fill up


def test_pictures_and_rows_are_resized_as_recorded(parity: Path) -> None:
    recording, values, cases = transformed(parity)
    for case in cases:
        shot = Shot.of(torch.from_numpy(values[f"{case}_in/image"]))
        settings = recording["config"][case]
        small = resize(shot, resized_size(shot.frame.canvas_size, settings["resize_size"], settings["resize_max"]))
        assert small.frame.canvas_size[::-1] == tuple(values[f"{case}_resize/size"])
        np.testing.assert_allclose(small.pixels, values[f"{case}_resize/image"], **recording["tolerance"])
        assert_rows(f"{case}_resize", values, small.frame, recording["tolerance"])


def test_pictures_and_rows_are_cut_as_recorded(parity: Path) -> None:
    recording, values, cases = transformed(parity)
    for case in cases:
        top, left, height, width = recording["config"][case]["crop_region_top_left_h_w"]
        shot = crop(Shot.of(torch.from_numpy(values[f"{case}_in/image"])), (left, top, left + width, top + height))
        assert shot.frame.canvas_size[::-1] == tuple(values[f"{case}_crop/size"])
        np.testing.assert_allclose(shot.pixels, values[f"{case}_crop/image"], **recording["tolerance"])
        rows, cols = values[f"{case}_in/image"].shape[:2]
        kept = kept_boxes(boxes_on(shot.frame, values[f"{case}_in/boxes"] / np.array([cols, rows, cols, rows])))
        assert_rows(f"{case}_crop", values, shot.frame, recording["tolerance"], kept)
        assert (values[f"{case}_in/text_tokens"][kept] == values[f"{case}_crop/text_tokens"]).all()


def test_rows_are_mirrored_as_recorded(parity: Path) -> None:
    recording, values, cases = transformed(parity)
    for case in cases:
        shot = flip(Shot.of(torch.from_numpy(values[f"{case}_in/image"])))
        assert_rows(f"{case}_flip", values, shot.frame, recording["tolerance"])


def test_pictures_are_prepared_for_evaluation_as_recorded(parity: Path) -> None:
    recording, values, cases = transformed(parity)
    for case in cases:
        side = recording["config"][case]["eval_chain_size"]
        shot = Shot.of(torch.from_numpy(values[f"{case}_in/image"]))
        shot = pad(resize(shot, resized_size(shot.frame.canvas_size, side, side)), (side, side))
        width, height = shot.frame.canvas_size
        assert (height, width) == tuple(values[f"{case}_eval/size"])
        np.testing.assert_allclose(shot.pixels, values[f"{case}_eval/image"], **recording["tolerance"])
        shown = (np.arange(side)[:, None] < height) & (np.arange(side) < width)
        assert (values[f"{case}_eval/padding_mask"] == shown).all()
        assert_rows(f"{case}_eval", values, shot.frame, recording["tolerance"])
        whole = boxes_on(shot.frame, np.array([[0.0, 0.0, 1.0, 1.0]]))
        np.testing.assert_allclose(np.broadcast_to(whole, values[f"{case}_eval/prompt_boxes"].shape), values[f"{case}_eval/prompt_boxes"])


def test_sizes_follow_the_recorded_rule(parity: Path) -> None:
    for rule in opened(parity, "transforms").get("size_rule", []):
        assert resized_size((rule["w"], rule["h"]), rule["size"], rule["max_size"])[::-1] == tuple(rule["out"])


def test_relative_boxes_become_the_recorded_pixels(parity: Path) -> None:
    recording, values, _ = transformed(parity)
    height, width = recording["config"]["norm_image_hw"]
    found = boxes_on(Frame.stretch((width, height)), values["norm/yxyx"][:, [1, 0, 3, 2]])
    np.testing.assert_allclose(found, values["norm_out/xyxy"], **recording["tolerance"])


def test_transformers_cosine_schedule_is_the_recorded_one(parity: Path) -> None:
    recording = opened(parity, "optim")
    for schedule in recording["schedules"]:
        base, warmup, total = schedule["base_lr"], schedule["warmup_steps"], schedule["total_steps"]
        assert math.ceil(warmup / total * total) == warmup  # what a recipe's share of the steps comes to
        optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=base)
        course = get_scheduler("cosine", optimiser, num_warmup_steps=warmup, num_training_steps=total).lr_lambdas[0]
        rates = [base * course(step) for step in schedule["steps"]]
        # Near the end the recorded rates are differences of single precision: 1 - cos is known to 2**-24 only.
        np.testing.assert_allclose(rates, schedule["lr"], rtol=recording["tolerance"]["rtol"], atol=base * 2**-23)


def test_parameters_are_frozen_decayed_and_slowed_as_recorded(parity: Path) -> None:
    for group in opened(parity, "optim")["groups"]:
        parameters, settings = group["params"], group["optimizer"]
        frozen = frozen_names(parameters, group["frozen_patterns"])
        named = [(name, torch.nn.Parameter(torch.empty(known["shape"], device="meta"))) for name, known in parameters.items()]
        decayed = decayed_names(named)
        layers = None
        if "layerwise_decay" in settings:
            layers = LayerDecay(
                prefix=settings["decay_layer_prefix"],
                blocks=settings["num_layers"],
                stem=tuple(settings["decay_stem_layers"]),
                factor=settings["layerwise_decay"],
            )
        for name, known in parameters.items():
            assert (name in frozen) == known["frozen"], name
            assert (name in decayed) == known["weight_decay"], name
            if layers:
                assert layers.layer(name) == known["layer_id"], name
                assert layers.scale(name) == pytest.approx(known["lr_multiplier"], rel=1e-5), name
            elif "lr_multiplier" in known:  # a component with a rate of its own, which a recipe gives by name
                faster = name.startswith(settings["backbone_layer_prefix"])
                assert known["lr_multiplier"] == (settings["backbone_multiplier"] if faster else 1.0)

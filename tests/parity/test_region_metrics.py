"""Measures of boxes, masks, phrases, dense captions and places of words against the recordings of both evaluation harnesses."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.evaluate.boxes import Phrase, phrase_recall, place_error, referring_figures
from foveal.evaluate.dense import dense_figures, dense_matches, merge_regions
from foveal.evaluate.masks import mask_boxes, mask_figures
from foveal.geometry import Box, Frame, mask_from_coco
from foveal.grounding import GroundedText, Span, tied
from foveal.grounding.formats.bracket import bins_to_pixels
from foveal.session.finding import _cut

# The figures are of overlaps, which have no unit: boxes of the recordings stay in their pixels, so that no overlap moves across a threshold.


@pytest.fixture(scope="module")
def metrics(parity: Path) -> Any:
    return json.loads((parity / "pixelllm" / "metrics.json").read_text())


def _harness(parity: Path, name: str) -> Any:
    return json.loads((parity / "ferret" / "metrics" / f"{name}.json").read_text())


def _box(wide: Sequence[float]) -> Box:
    left, top, width, height = map(float, wide)
    return Box(left, top, left + width, top + height)


def _said(records: Sequence[tuple[str, Box, float | None]]) -> GroundedText:
    pieces = [GroundedText(words + "; ", (Span(0, len(words), (box,), (score,)),)) for words, box, score in records]
    return GroundedText.join(*pieces)


def _described(part: Mapping[str, Any]) -> list[tuple[GroundedText, GroundedText]]:
    def of(side: str, image: int) -> GroundedText:
        return _said([(one["caption"], _box(one["bbox"]), one.get("score")) for one in part[side] if one["image_id"] == image])

    return [(of("predictions", image["id"]), of("annotations", image["id"])) for image in part["images"]]


@pytest.mark.parametrize(("name", "merge"), [("merged", 0.7), ("unmerged", None), ("merged_detection_only", 0.7)])
def test_dense_captions_have_the_recorded_precision(metrics: Any, name: str, merge: float | None) -> None:
    part, expected = metrics["densecap"], metrics["densecap"]["expected"][name]

    def judge(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        keys = [f"{told} ||| {' | '.join(sorted(against))}" for told, against in zip(candidates, references, strict=True)]
        pairs = zip(keys, candidates, references, strict=True)
        return [part["meteor_table"][key] if key in part["meteor_table"] else {True: 1.0}[told in against] for key, told, against in pairs]

    named = {key: re.fullmatch(r"mAP_(detection_)?iou([\d.]+)(?:_meteor([\d.]+))?", key) for key in expected}
    overlaps = sorted({float(found[2]) for found in named.values() if found})
    qualities = sorted({float(found[3]) for found in named.values() if found and found[3]})
    figures = dense_figures(dense_matches(_described(part), merge=merge), judge, overlaps=overlaps, qualities=qualities or (0.0,))
    for key, wanted in expected.items():
        found = named[key]
        ours = {"mAP": "map", "mAP_detection": "detection"}.get(key)
        if found:
            ours = f"detection@{float(found[2]):g}" if found[1] else f"map@{float(found[2]):g}/{float(found[3]):g}"
        assert figures[str(ours)] == pytest.approx(wanted, abs=1e-5), key


def test_true_regions_are_merged_as_recorded(metrics: Any) -> None:
    part = metrics["densecap"]
    for image, wanted in part["expected"]["merged_groundtruth"].items():
        ones = [one for one in part["annotations"] if one["image_id"] == int(image)]
        boxes = [_box(one["bbox"]) for one in ones]
        groups = merge_regions(np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes]))
        assert [[ones[row]["caption"] for row in group] for group in groups] == [one["captions"] for one in wanted], image
        means = [np.mean([ones[row]["bbox"] for row in group], 0) for group in groups]
        np.testing.assert_allclose(means, [one["bbox"] for one in wanted], atol=1e-4)


def test_boxes_of_corners_are_merged_as_recorded(metrics: Any) -> None:
    part = metrics["merge_by_iou"]
    rows, ones = np.array([one["bbox"] for one in part["input"]], dtype=np.float64), part["input"]
    found = [(ones[row]["id"], group) for group in merge_regions(rows, part["iou_thresh"]) for row in group]
    assert [number for number, _ in found] == [one["id"] for one in part["expected"]]
    for (_, group), wanted in zip(found, part["expected"], strict=True):
        assert [ones[row]["caption"] for row in group] == wanted["captions"]
        np.testing.assert_allclose(rows[group].mean(0), wanted["bbox"], atol=1e-4)


def test_referring_boxes_and_masks_have_the_recorded_figures(metrics: Any) -> None:
    part, expected = metrics["referring"], metrics["referring"]["expected"]
    told, true = ({one["id"]: one for one in part[side]} for side in ("predictions", "annotations"))
    strict = {"thresholds": [0.5], "strict": True}
    boxes = referring_figures([(tied("it", _box(one["bbox"])), _box(true[key]["bbox"])) for key, one in told.items()], **strict)
    assert boxes["precision@0.5"] == pytest.approx(expected["box_Precision@1"], abs=1e-5)
    masks = [(mask_from_coco(one["segmentation_rle"]), mask_from_coco(true[key]["segmentation_rle"])) for key, one in told.items()]
    figures = mask_figures(masks, thresholds=[0.5])
    # The recorded ratios have 1e-5 of a pixel added below the line.
    assert figures["giou"] == pytest.approx(expected["seg_gIoU"], abs=1e-5) and figures["ciou"] == pytest.approx(expected["seg_cIoU"], abs=1e-5)
    assert figures["precision@0.5"] == pytest.approx(expected["seg_AP"], abs=1e-5)
    boxed = zip(mask_boxes([mask for mask, _ in masks]), mask_boxes([mask for _, mask in masks]), strict=True)
    around = [(tied("it", *([box] if box else [])), true_box) for box, true_box in boxed if true_box]
    assert referring_figures(around, **strict)["precision@0.5"] == pytest.approx(expected["seg_box_Precision@1"], abs=1e-5)


def test_boxes_go_back_to_the_picture_as_recorded(metrics: Any) -> None:
    part = metrics["rescale_boxes"]
    (rows, cols), (height, width) = part["input_hw"], part["orig_hw"]
    frame, picture = Frame.stretch((width, height), (cols, rows)), Frame.stretch((width, height))
    for corners, wanted in zip(part["boxes_xyxy"], part["expected_xywh"], strict=True):
        box = frame.back(corners)
        x0, y0, x1, y1 = picture.to(Box(*np.clip([box.x0, box.y0, box.x1, box.y1], 0, 1).tolist()))
        np.testing.assert_allclose([x0, y0, x1 - x0, y1 - y0], wanted, rtol=1e-5, atol=1e-4)


def test_masks_go_back_to_the_picture_as_recorded(metrics: Any) -> None:
    part = metrics["rescale_masks"]
    (rows, cols), (below, across), (height, width) = part["input_hw"], part["padded_hw"], part["orig_hw"]
    frame = Frame((width, height), (across, below), float(cols), float(rows))
    found = list(_cut(torch.tensor(part["logits"]), frame))
    assert [int(bits.sum()) for bits in found] == part["expected_area"]
    assert all((bits == np.array(wanted, dtype=bool)).all() for bits, wanted in zip(found, part["expected"], strict=True))


def test_places_of_words_are_off_as_far_as_recorded(metrics: Any) -> None:
    errors = []
    for case in metrics["points"]["cases"]:
        height, width = case["size_hw"]
        told, true = (np.array(case[side], dtype=np.float64) / (width, height) for side in ("pred", "gt"))
        counts = (np.array(case["text_tokens"]) > 0) & (true > 0).any((-2, -1))
        errors.append(place_error(told.reshape(-1, *told.shape[-2:]), true.reshape(-1, *true.shape[-2:]), counts.reshape(-1)))
        assert errors[-1] == pytest.approx(case["expected_error"], abs=1e-5)
    assert np.mean(errors) == pytest.approx(metrics["points"]["expected_mean"], abs=1e-5)


def _read(text: str, size: tuple[int, int]) -> Iterator[tuple[str, Box]]:
    """Words and boxes of an answer as Ferret's harness reads them: one odd number, and the answer has none; boxes may be inside out."""
    cut, places = 0, []
    for place in re.finditer(r"\[([^\]]*)\]", text):
        try:
            numbers = [int(part) for part in place[1].split(",")]
        except ValueError:
            return
        places.append((text[cut : place.start()].strip(), Box(*map(float, bins_to_pixels(numbers[:4], size)))))
        mark = re.search(r"[.,;!?]", text[place.end() :])
        cut = place.end() + mark.end() if mark else len(text)
    yield from places


def test_expressions_are_found_as_often_as_recorded(parity: Path) -> None:
    recorded = _harness(parity, "expression_grounding")
    images = {image["id"]: image for image in recorded["ground_truth"]["images"]}
    true = {one["image_id"]: _box(one["bbox"]) for one in recorded["ground_truth"]["annotations"]}
    of: dict[str, list[tuple[GroundedText, Box]]] = {}
    for one in recorded["predictions"]:
        image = images[one["image_id"]]
        boxes = [box for _, box in _read(one["text"], (image["width"], image["height"]))]
        of.setdefault(image["dataset_name"], []).append((tied("it", *boxes), true[image["id"]]))
    options = {"1": {}, "mean": {"as_published": "mean"}, "upper bound": {"as_published": "best"}}
    for name, expected in recorded["scores"].items():
        found = {part: referring_figures(answered, thresholds=[0.5], **options[name])["precision@0.5"] for part, answered in of.items()}
        assert found == pytest.approx(expected, abs=1e-9), name


def _phrases(entities: Mapping[str, Any], sentence: int) -> list[Phrase]:
    marked = re.findall(r"\[/EN#(\d+)/(\S+) ([^\]]*)\]", entities["sentence_lines"][sentence])
    of = entities["boxes"]
    return [
        Phrase(words, tuple(Box(*map(float, corners)) for corners in of.get(number, [])), tuple(kinds.split("/"))) for number, kinds, words in marked
    ]


@pytest.mark.parametrize(("name", "protocol"), [("merged", "merged"), ("separate", "any")])
def test_phrases_are_found_as_often_as_recorded(parity: Path, name: str, protocol: Any) -> None:
    recorded = _harness(parity, "phrase_grounding")
    entities = {one["image_id"]: one for one in recorded["entities"]}
    answered = []
    for one in recorded["predictions"]:
        about = entities[one["image_id"]]
        places = [(words, box, None) for words, box in _read(one["text"], (about["width"], about["height"]))]
        answered.append((_said(places), _phrases(about, one["sentence_id"])))
    expected = recorded["scores"][name]
    firsts = sorted({int(found[1]) for key in expected if (found := re.match(r"Recall@(\d+)_", key))})
    figures = phrase_recall(answered, firsts=firsts, protocol=protocol)
    for key, wanted in expected.items():
        measure, _, kind = key.rpartition("_")
        ours = {"Upper_bound": "upper_bound"}.get(measure, measure.lower()) + ("" if kind == "all" else f"/{kind}")
        assert figures[ours] == pytest.approx(wanted, abs=1e-9), key

"""Laws of judging detectors: the printed figures of COCO and VOC come out, LVIS forgives what was not marked, and nothing given is changed."""

import copy
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.detection import coco_figures, detection_records, first_claims, lvis_figures, voc_figures
from foveal.evaluate.metrics import average_precision, ranked_precision
from foveal.geometry import Box, Mask, encode_mask
from foveal.grounding import GroundedText, Span, tied

DATA = Path(__file__).parents[3] / "shared" / "data"
Records = tuple[dict[str, Any], list[dict[str, Any]]]

FEDERATED = {
    "images": [
        {"id": "a", "width": 90, "height": 90, "neg_category_ids": [2], "not_exhaustive_category_ids": [3]},
        {"id": "b", "width": 90, "height": 90, "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ],
    "categories": [
        {"id": 1, "name": "anvil", "frequency": "r"},
        {"id": 2, "name": "bow", "frequency": "c"},
        {"id": 3, "name": "cup", "frequency": "f"},
    ],
    "annotations": [{"image_id": image, "category_id": name, "bbox": [0, 0, 20, 20]} for image, name in [("a", 1), ("a", 3), ("b", 2)]],
}


def _result(image: str, name: int, left: float, score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": name, "bbox": [left, 0, 20, 20], "score": score}


RIGHT = [_result("a", 1, 0, 0.5), _result("a", 3, 0, 0.5), _result("b", 2, 0, 0.5)]


def _read(name: str) -> Any:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the published detections are not at hand: no {path}")
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def _wide(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


@pytest.fixture(scope="module")
def published() -> tuple[Records, dict[str, float]]:
    """Detections of rooms, the true boxes, and what pycocotools makes of them."""
    pictures, given = _read("indoor_scenes/annotations.jsonl"), _read("fixtures/detection_ap/indoor_scenes.json")
    names = sorted({region["label"] for picture in pictures for region in picture["regions"]})
    truth = {
        "images": [{"id": picture["image"], "width": picture["width"], "height": picture["height"]} for picture in pictures],
        "categories": [{"id": place, "name": name} for place, name in enumerate(names)],
        "annotations": [
            {"image_id": picture["image"], "category_id": names.index(region["label"]), "bbox": _wide(region["box"])}
            for picture in pictures
            for region in picture["regions"]
        ],
    }
    found = [
        {
            "image_id": image,
            "category_id": names.index(one["label"]) if one["label"] in names else -1,
            "bbox": _wide(one["box"]),
            "score": one["score"],
        }
        for image, ones in given["detections"].items()
        for one in ones
    ]
    return (truth, found), given["expected"]


def test_the_figures_of_coco_are_those_of_its_own_code(published: tuple[Records, dict[str, float]]) -> None:
    records, expected = published
    before = copy.deepcopy(records)
    assert coco_figures(*records) == pytest.approx(expected, abs=2e-6) and records == before


def test_the_figures_of_voc_are_the_printed_ones() -> None:
    given = _read("fixtures/detection_ap/seven_images.json")
    truth = {"images": [{"id": image} for image in given["ground_truth"]], "categories": [{"id": 1, "name": "object"}]}
    truth["annotations"] = [{"image_id": image, "category_id": 1, "bbox": box[1:]} for image, ones in given["ground_truth"].items() for box in ones]
    found = [{"image_id": image, "category_id": 1, "bbox": box[2:], "score": box[1]} for image, ones in given["detections"].items() for box in ones]
    for name, printed in given["expected_ap_percent"].items():
        figures = voc_figures(truth, found, threshold=given["iou_threshold"], points=name.removesuffix("_point"), inclusive=True)
        assert figures["mAP"] == figures["object"] and 100 * figures["mAP"] == pytest.approx(printed, abs=0.01), name


def test_grounded_texts_give_the_same_figures_as_records() -> None:
    near, mask = Box(0.0, 0.0, 0.5, 0.8), encode_mask(np.arange(64).reshape(8, 8) < 32)
    said = GroundedText("Cat dog", (Span(0, 3, (near, Box(0.5, 0.0, 1.0, 1.0)), (0.4, 0.9)), Span(4, 7, (mask,), (0.8,))))
    true = GroundedText("cat dog", (Span(0, 3, (Box(0.0, 0.0, 0.5, 1.0),)), Span(4, 7, (mask,))))
    truth, found = detection_records([(said, true), (GroundedText(""), tied("cat", near))], [(400, 100), (100, 100)])
    assert [category["name"] for category in truth["categories"]] == ["cat", "dog"] and [image["id"] for image in truth["images"]] == [1, 2]
    assert found[0]["bbox"] == pytest.approx([0, 0, 200, 80]) and found[2]["segmentation"]["size"] == [8, 8]
    figures = coco_figures(truth, found)
    assert figures["AP50"] == pytest.approx((1 + (51 * 0.5) / 101) / 2)
    with pytest.raises(ValueError, match="1 pictures with 0 sizes"):
        detection_records([(said, true)], [])


def test_of_one_name_ap_at_half_is_our_own_average_precision() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(12):
        corners = rng.random((4, 2)) * 0.6
        things = [Box(x, y, x + 0.3, y + 0.3) for x, y in corners.tolist()]
        moved = [Box(box.x0 + by, box.y0, box.x1 + by, box.y1) for box, by in zip(things, (rng.random(4) * 0.2).tolist(), strict=True)]
        texts.append((GroundedText("it", tuple(Span(0, 2, (box,), (float(rng.random()),)) for box in moved)), tied("it", *things)))
    records = detection_records(texts, [(100, 100)] * len(texts))
    own = average_precision([(said, GroundedText("it", tuple(Span(0, 2, (box,)) for box in true.regions)), GroundedText("")) for said, true in texts])
    assert coco_figures(*records)["AP50"] == pytest.approx(own, abs=1e-9) and 0 < own < 1


def test_masks_are_judged_by_their_pixels() -> None:
    bits = np.zeros((40, 40), dtype=bool)
    bits[:, :20] = True
    ring = bits & (np.add.outer(np.arange(40), np.arange(40)) % 2 == 0)
    truth, found = detection_records([(tied("it", encode_mask(ring)), tied("it", encode_mask(bits)))], [(40, 40)])
    assert coco_figures(truth, found)["AP75"] > 0.9 and coco_figures(truth, found, kind="mask")["AP75"] == 0
    assert coco_figures(truth, found, kind="mask")["AP50"] == 1 and "AP_large" not in coco_figures(truth, found)
    with pytest.raises(ValueError, match="without a mask"):
        coco_figures(truth, [{**found[0], "segmentation": [[0, 0, 1, 1, 2, 2]]}], kind="mask")


def test_names_count_unless_they_are_not_to() -> None:
    truth, found = detection_records([(tied("dog", Box(0.0, 0.0, 0.5, 0.5)), tied("cat", Box(0.0, 0.0, 0.5, 0.5)))], [(90, 90)])
    assert coco_figures(truth, found)["AP"] == 0 and coco_figures(truth, found, by_name=False)["AP"] == 1
    assert coco_figures(truth, [])["AP"] == 0


def test_an_unknown_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="results of 1 pictures"):
        coco_figures(FEDERATED, [_result("c", 1, 0, 0.5)])


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ([], {}),
        ([_result("a", 1, 40, 0.9)], {"AP_rare": 0.5}),  # marked in full, and not there
        ([_result("a", 2, 40, 0.9)], {"AP_common": 0.5}),  # denied for this picture
        ([_result("a", 3, 40, 0.9)], {}),  # there may be more than are marked
        ([_result("b", 1, 40, 0.9), _result("b", 3, 40, 0.9)], {}),  # neither marked nor denied
    ],
)
def test_only_what_was_marked_or_denied_counts_in_lvis(more: list[dict[str, Any]], changed: dict[str, float]) -> None:
    figures = lvis_figures(FEDERATED, [*RIGHT, *more])
    assert {name: figures[name] for name in ("AP_rare", "AP_common", "AP_frequent")} == {"AP_rare": 1, "AP_common": 1, "AP_frequent": 1} | changed
    assert figures["AP"] == pytest.approx(np.mean([figures[name] for name in ("AP_rare", "AP_common", "AP_frequent")]))
    assert figures["AR300"] == 1


def test_the_best_of_each_picture_count_in_lvis_all_names_together() -> None:
    figures = lvis_figures(FEDERATED, [*RIGHT, _result("a", 1, 40, 0.9)], most=1)
    assert (figures["AP_rare"], figures["AP_common"], figures["AP_frequent"]) == (0, 1, 0)
    with pytest.raises(ValueError, match="1 names without a frequency"):
        lvis_figures({**FEDERATED, "categories": [{"id": 1, "name": "anvil"}]}, RIGHT)


def test_of_lvis_itself_the_truth_is_perfect_and_each_missing_thing_costs() -> None:
    truth = _read("fixtures/lvis/lvis_val_100.json.gz")
    truth["images"] = truth["images"][:20]
    shown = {image["id"] for image in truth["images"]}
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in shown]
    found = [{**{key: one[key] for key in ("image_id", "category_id", "bbox")}, "score": 1.0} for one in truth["annotations"]]
    assert set(lvis_figures(truth, found).values()) == {1.0}
    fewer = lvis_figures(truth, found[::2])
    assert 0 < fewer["AP"] < 1 and fewer["AR300"] < 1


def test_difficult_objects_and_doubles_count_as_in_voc() -> None:
    truth = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "cup"}]}
    easy, hard = ({"image_id": 1, "category_id": 1, "bbox": [x, 0, 10, 10], "iscrowd": crowd} for x, crowd in ((0, 0), (50, 1)))
    found = [{"image_id": 1, "category_id": 1, "bbox": [x, 0, 10, 10], "score": score} for x, score in ((50, 0.9), (51, 0.8), (0, 0.7), (1, 0.6))]
    assert voc_figures({**truth, "annotations": [easy, hard]}, found) == {"cup": 1.0, "mAP": 1.0}
    assert voc_figures({**truth, "annotations": [easy]}, found)["cup"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="no objects"):
        voc_figures({**truth, "annotations": [hard]}, found)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 5))
def test_average_precision_is_the_mean_of_the_best_precision_from_each_recall_on(right: list[bool], missed: int) -> None:
    there = sum(right) + missed + (not right)
    hits, levels = np.cumsum(right), np.arange(101) / 100
    precision, recall = hits / np.arange(1, len(right) + 1), hits / max(1, there)
    wanted = np.mean([precision[recall >= level].max(initial=0.0) for level in levels])
    assert ranked_precision(np.array(right, dtype=bool), max(1, there), levels) == pytest.approx(wanted)


def test_a_thing_is_claimed_once_by_the_first_that_counts() -> None:
    assert first_claims(np.array([3, 1, 3, 1]), np.array([False, True, True, True])).tolist() == [False, True, True, False]
    assert first_claims(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)).tolist() == []


def test_without_the_evaluator_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match=r"foveal\[evaluate\]"):
        coco_figures(FEDERATED, RIGHT)
    assert voc_figures(FEDERATED, RIGHT)["mAP"] == 1, "which needs no evaluator"


def test_a_mask_without_an_area_has_its_pixels() -> None:
    truth, found = detection_records([(tied("it", Mask(40, 40, (0, 1600))), tied("it", Mask(40, 40, (0, 1600))))], [(400, 400)])
    assert "AP_medium" in coco_figures(truth, found, kind="mask") and "AP_large" in coco_figures(truth, found)

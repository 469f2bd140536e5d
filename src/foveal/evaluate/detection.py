"""Judging detectors by the figures of COCO, LVIS and PASCAL VOC, over records in COCO's form or over grounded texts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from foveal.evaluate.metrics import ranked_precision
from foveal.geometry import Frame, Mask, bounding_box, iou, mask_from_coco, mask_to_coco
from foveal.grounding import GroundedText

__all__ = ["coco_figures", "detection_records", "first_claims", "lvis_figures", "voc_figures"]

_AREAS = ("all", "small", "medium", "large")
_FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}


def detection_records(
    answered: Sequence[tuple[GroundedText, GroundedText]], sizes: Sequence[tuple[int, int]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(said, true) texts of pictures of (width, height) pixels as COCO's two files: the annotations, and the list of results.

    Each region of a span is one object, its words the name, in lower case. Pictures are numbered from 1. A region without a score gets 0: with
    none anywhere, detections rank in the order said and pictures in the order given, so AP says less than F1 does. Masks keep theirs.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import tied
    >>> truth, found = detection_records([(tied("Cat", Box(0.0, 0.0, 0.5, 0.5)), tied("cat", Box(0.0, 0.0, 0.5, 0.5)))], [(8, 4)])
    >>> found
    [{'image_id': 1, 'category_id': 1, 'bbox': [0.0, 0.0, 4.0, 2.0], 'score': 0.0}]
    """
    if len(answered) != len(sizes):
        raise ValueError(f"{len(answered)} pictures with {len(sizes)} sizes: wanted one size for each")
    frames = [Frame.stretch(size) for size in sizes]
    found, there = ([list(_objects(texts[side], frame)) for texts, frame in zip(answered, frames, strict=True)] for side in (0, 1))
    names = sorted({name for objects in (*found, *there) for name, _, _ in objects})
    number = {name: place for place, name in enumerate(names, 1)}
    truth = {
        "images": [{"id": image, "width": width, "height": height} for image, (width, height) in enumerate(sizes, 1)],
        "categories": [{"id": place, "name": name} for name, place in number.items()],
        "annotations": [
            {"image_id": image, "category_id": number[name], **place} for image, objects in enumerate(there, 1) for name, place, _ in objects
        ],
    }
    results = [
        {"image_id": image, "category_id": number[name], **place, "score": score}
        for image, objects in enumerate(found, 1)
        for name, place, score in objects
    ]
    return truth, results


def coco_figures(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], *, kind: Literal["box", "mask"] = "box", by_name: bool = True
) -> dict[str, float]:
    """COCO's twelve figures (Lin et al. 2014): `AP` over IoU 0.5 to 0.95, `AP50`, `AP75`, `AP_small`, ..., `AR1`, `AR10`, `AR100`, `AR_small`, ...

    `truth` is what an annotation file of COCO holds, `found` a result file: boxes in pixels as [left, top, width, height], masks as run lengths,
    in annotations as polygons too. An annotation without `area` has its box's or its mask's. Without `by_name` names count for nothing. A
    figure that nothing in `truth` is there for (no small objects) is left out; a name that nothing in `truth` bears costs nothing, as ever in
    COCO. Neither argument is changed. ValueError for results of an unknown picture, ImportError without the extra `foveal[evaluate]`.

    >>> truth = {"images": [{"id": 1, "width": 90, "height": 90}], "categories": [{"id": 1, "name": "cat"}]}
    >>> truth["annotations"] = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20]}]
    >>> coco_figures(truth, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 12], "score": 0.5}])["AP"].__round__(2)
    0.3
    """
    judged = _judged(truth, found, kind, by_name, [1, 10, 100], lvis=False)
    figures = _precisions(judged)
    for place, most in enumerate((1, 10, 100)):
        figures[f"AR{most}"] = _known_mean(judged.eval["recall"][:, :, 0, place])
    for place, area in enumerate(_AREAS[1:], 1):
        figures[f"AR_{area}"] = _known_mean(judged.eval["recall"][:, :, place, -1])
    return {name: value for name, value in figures.items() if value is not None}


def lvis_figures(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], *, kind: Literal["box", "mask"] = "box", most: int = 300
) -> dict[str, float]:
    """LVIS's figures (Gupta et al. 2019): those of COCO's AP, `AP_rare`, `AP_common`, `AP_frequent` by the names' frequency, and `AR300`.

    `truth` is what an annotation file of LVIS holds: a picture's `neg_category_ids` are not in it, and of `not_exhaustive_category_ids` not all
    are marked. A result with a name that is neither marked nor denied for its picture does not count, nor does an unmatched one whose name is
    not exhaustively marked. The `most` best results of each picture count, all names together. Errors are those of `coco_figures`; ValueError,
    too, for names without `frequency`.
    """
    if odd := [category["name"] for category in truth["categories"] if category.get("frequency") not in _FREQUENCIES]:
        raise ValueError(f"{len(odd)} names without a frequency of r, c or f, among them {odd[0]!r}: these are no annotations of LVIS")
    best: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for result in found:
        best[result["image_id"]].append(result)
    kept = [result for results in best.values() for result in sorted(results, key=lambda one: -one["score"])[:most]]
    judged = _judged(truth, kept, kind, True, [most], lvis=True)
    figures = _precisions(judged)
    for label, places in zip(judged.params.imgCountLbl, judged.freq_groups, strict=True):
        figures[f"AP_{_FREQUENCIES[label]}"] = _known_mean(judged.eval["precision"][:, :, places, 0, -1])
    figures[f"AR{most}"] = _known_mean(judged.eval["recall"][:, :, 0, -1])
    return {name: value for name, value in figures.items() if value is not None}


def voc_figures(
    truth: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    *,
    threshold: float = 0.5,
    points: Literal["every", "eleven"] = "every",
    inclusive: bool = False,
) -> dict[str, float]:
    """PASCAL VOC's average precision of boxes (Everingham et al. 2010): of each name in `truth`, and `mAP`, their mean.

    The best-overlapping object of a name decides, taken or not; what COCO's rule would give to the next best is wrong here. `points` says
    whether precision is summed over every recall (from 2010) or over eleven. Objects with `iscrowd` ("difficult") count neither way. Records are
    those of `coco_figures`. With `inclusive`, as in VOC's own script, right and bottom corners name the last pixel within, so that boxes are a
    pixel wider and higher. ValueError for no objects.
    """
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    ranked = sorted(found, key=lambda result: -result["score"])
    figures: dict[str, float] = {}
    for number, name in names.items():
        things = [thing for thing in truth["annotations"] if thing["category_id"] == number]
        there = sum(not thing.get("iscrowd") for thing in things)
        if there:
            right, counts = _claimed(things, [result for result in ranked if result["category_id"] == number], threshold, float(inclusive))
            figures[name] = ranked_precision(right[counts], there, None if points == "every" else np.arange(11) / 10)
    if not figures:
        raise ValueError("no objects were given to be found; give at least one")
    return {**figures, "mAP": float(np.mean(list(figures.values())))}


def first_claims(things: Int[np.ndarray, " found"], counts: Bool[np.ndarray, " found"]) -> Bool[np.ndarray, " found"]:
    """Of detections in the order of their rank: which are the first that count to claim their thing.

    >>> first_claims(np.array([4, 4, 4, 2]), np.array([False, True, True, True])).tolist()
    [False, True, False, True]
    """
    first = np.zeros(len(things), dtype=bool)
    rows = np.flatnonzero(counts)
    first[rows[np.unique(things[rows], return_index=True)[1]]] = True
    return first


def _objects(said: GroundedText, frame: Frame) -> Any:
    for span in said.spans:
        name = said.text[span.start : span.end].strip().lower()
        for region, score in zip(span.regions, span.scores or repeat(None), strict=False):
            x0, y0, x1, y1 = frame.to(bounding_box(region))
            mask = {"segmentation": mask_to_coco(region)} if isinstance(region, Mask) else {}
            yield name, {"bbox": [x0, y0, x1 - x0, y1 - y0], **mask}, float(score or 0.0)


def _judged(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], kind: str, by_name: bool, most: list[int], *, lvis: bool) -> Any:
    """The evaluator after its work. It writes into what it is given, and takes an annotation numbered 0 for no annotation: it gets copies, from 1."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as missing:
        raise ImportError("the figures of COCO and LVIS need faster-coco-eval: install it with pip install 'foveal[evaluate]'") from missing
    numbers = {image["id"]: place for place, image in enumerate(truth["images"], 1)}
    if strange := {result["image_id"] for result in found} - set(numbers):
        raise ValueError(f"results of {len(strange)} pictures that are not in the annotations, among them {sorted(map(str, strange))[0]}")
    if kind == "mask" and not all(isinstance(result.get("segmentation"), Mapping) for result in found):
        raise ValueError("results without a mask as run lengths; each wants segmentation with size and counts")
    things = [
        {**thing, "id": place, "image_id": numbers[thing["image_id"]], "iscrowd": thing.get("iscrowd", 0), "area": _area(thing, kind)}
        for place, thing in enumerate(truth["annotations"], 1)
    ]
    images = [{**image, "id": numbers[image["id"]]} for image in truth["images"]]
    wanted = {"image_id", "category_id", "score", "bbox" if kind == "box" else "segmentation"}
    results = [{**{key: result[key] for key in wanted}, "image_id": numbers[result["image_id"]]} for result in found]
    known = COCO({"images": images, "annotations": things, "categories": [dict(category) for category in truth["categories"]]})
    judged = COCOeval_faster(known, known.loadRes(results), "bbox" if kind == "box" else "segm", lvis_style=lvis)
    judged.params.maxDets, judged.params.useCats = most, int(by_name)
    judged.evaluate()
    judged.accumulate()
    return judged


def _area(thing: Mapping[str, Any], kind: str) -> float:
    if "area" in thing:
        return float(thing["area"])
    if kind == "mask" and isinstance(thing["segmentation"], Mapping):
        return float(sum(mask_from_coco(thing["segmentation"]).counts[1::2]))
    return float(thing["bbox"][2] * thing["bbox"][3])


def _precisions(judged: Any) -> dict[str, float | None]:
    """Of an array (IoU, recall, name, area, most)."""
    precision = judged.eval["precision"]
    figures = {"AP": precision[:, :, :, 0, -1], "AP50": precision[0, :, :, 0, -1], "AP75": precision[5, :, :, 0, -1]}
    figures |= {f"AP_{area}": precision[:, :, :, place, -1] for place, area in enumerate(_AREAS) if place}
    return {name: _known_mean(values) for name, values in figures.items()}


def _known_mean(values: np.ndarray) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _claimed(
    things: Sequence[Mapping[str, Any]], ranked: Sequence[Mapping[str, Any]], threshold: float, grown: float
) -> tuple[Bool[np.ndarray, " found"], Bool[np.ndarray, " found"]]:
    """Of one name's results by rank: which are right, and which count at all."""
    best, overlap = np.zeros(len(ranked), dtype=np.int64), np.zeros(len(ranked))
    rows, columns = _places(ranked), _places(things)
    for image in rows.keys() & columns.keys():
        overlaps = iou(_corners(ranked, rows[image], grown), _corners(things, columns[image], grown))
        best[rows[image]], overlap[rows[image]] = np.array(columns[image])[overlaps.argmax(1)], overlaps.max(1)
    near = overlap >= threshold
    crowd = np.array([*(bool(thing.get("iscrowd")) for thing in things), False])
    passed = near & crowd[best]
    return first_claims(best, near & ~passed), ~passed


def _places(records: Sequence[Mapping[str, Any]]) -> dict[Any, list[int]]:
    places: dict[Any, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        places[record["image_id"]].append(place)
    return places


def _corners(records: Sequence[Mapping[str, Any]], places: Sequence[int], grown: float) -> Float[np.ndarray, "n 4"]:
    boxes = np.array([records[place]["bbox"] for place in places], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + grown], 1)

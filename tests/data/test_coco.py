"""Laws of the readers of COCO's form: one example an image, objects as notes, and what cannot be used is said and passed over."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.data.sources.coco import coco_captions, coco_instances, coco_panoptic, lvis
from foveal.geometry import Box, Mask, bounding_box
from foveal.grounding import example_from_json, example_to_json

TRIANGLE = [16.0, 8.0, 48.0, 8.0, 16.0, 40.0]
RUNS = {"size": [48, 64], "counts": [48 * 32, 48 * 16, 48 * 16]}  # columns 32 to 47, as a crowd is annotated: uncompressed


def instances(**other: Any) -> dict[str, Any]:
    """The fields of instances_train2017.json (cocodataset.org/#format-data)."""
    thing = {"id": 1, "image_id": 139, "category_id": 17, "segmentation": [TRIANGLE], "area": 512.0, "bbox": [16.0, 8.0, 32.0, 32.0], "iscrowd": 0}
    crowd = {"id": 2, "image_id": 139, "category_id": 1, "segmentation": RUNS, "area": 768.0, "bbox": [32.0, 0.0, 16.0, 48.0], "iscrowd": 1}
    picture = {"id": 139, "file_name": "000000000139.jpg", "width": 64, "height": 48, "license": 1, "coco_url": "", "date_captured": ""}
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 1, "name": "CC", "url": ""}],
        "images": [picture, picture | {"id": 140, "file_name": "000000000140.jpg"}],
        "annotations": [thing, crowd],
        "categories": [{"supercategory": "animal", "id": 17, "name": "cat"}, {"supercategory": "person", "id": 1, "name": "person"}],
    } | other


def written(path: Path, record: Any) -> Path:
    path.write_text(json.dumps(record))
    return path


def test_an_image_is_an_example_and_its_objects_are_notes(tmp_path: Path) -> None:
    first, second = coco_instances(written(tmp_path / "a.json", instances()), licence="CC BY 4.0")
    assert (first.id, second.id, second.notes, first.images, first.licence) == ("139", "140", (), (), "CC BY 4.0")
    assert [(one.said.text, one.said.regions, one.source) for one in first.notes] == [
        ("cat", (Box(0.25, 8 / 48, 0.75, 40 / 48),), "object"),
        ("person", (Box(0.5, 0.0, 0.75, 1.0),), "crowd"),
    ]
    assert example_from_json(example_to_json(first)) == first


def test_masks_take_the_place_of_boxes_where_they_are_asked_for(tmp_path: Path) -> None:
    first, _ = coco_instances(written(tmp_path / "a.json", instances()), masks=True)
    triangle, crowd = (one.said.regions[0] for one in first.notes)
    assert isinstance(triangle, Mask) and bounding_box(triangle) == Box(16 / 64, 8 / 48, 47 / 64, 39 / 48)
    assert isinstance(crowd, Mask) and bounding_box(crowd) == Box(0.5, 0.0, 0.75, 1.0)


def test_pictures_are_found_however_many_folders_a_copy_keeps(tmp_path: Path) -> None:
    name = "images/v1/patch8/objects365_v1_00420917.jpg"  # as Objects365 writes it
    record = instances(images=[{"id": 139, "file_name": name, "width": 64, "height": 48}])
    for kept in (name, "patch8/objects365_v1_00420917.jpg", "objects365_v1_00420917.jpg"):
        folder = tmp_path / kept.replace("/", "-")
        (folder / kept).parent.mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(folder / kept)
        [example] = coco_instances(written(tmp_path / "a.json", record), images=folder)
        assert example.images[0].path == str(folder / kept)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": [{"id": 1, "image_id": 139, "category_id": 99, "bbox": [1, 1, 5, 5]}]}, "there is no category 99"),
        ({"annotations": [{"id": 1, "image_id": 139, "category_id": 17, "bbox": [1, 1, 0, 5]}]}, "no area"),
        ({"annotations": [{"id": 1, "image_id": 139, "category_id": 17, "bbox": [1, 1, 5]}]}, "four numbers"),
        ({"annotations": [{"id": 1, "image_id": 139, "category_id": 17, "bbox": [1, "1", 5, 5]}]}, ""),
        ({"annotations": [{"id": 1, "image_id": 139, "category_id": 17}]}, "has no 'bbox'"),
        ({"annotations": [{"id": 1, "category_id": 17}]}, "has no 'image_id'"),
        ({"annotations": ["cat"]}, "no object"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_said_and_the_image_kept(tmp_path: Path, change: dict, reason: str) -> None:
    said: list[str] = []
    first, _ = coco_instances(written(tmp_path / "a.json", instances(**change)), report=said.append)
    assert (first.id, first.notes) == ("139", ())
    assert len(said) == 1 and "passed over" in said[0] and reason in said[0], said


def test_a_picture_that_is_missing_or_leads_elsewhere_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    pictures = [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(["a.jpg", "../a.jpg", "/etc/a.jpg", "b.jpg"])]
    (tmp_path / "images").mkdir()
    for place in ("images/b.jpg", "a.jpg"):
        Image.new("RGB", (64, 48)).save(tmp_path / place)
    file = written(tmp_path / "a.json", instances(images=pictures))
    assert [example.id for example in coco_instances(file, images=tmp_path / "images", report=said.append)] == ["3"]
    assert len(said) == 3 and "there is no file" in said[0] and all("no name of a file within" in line for line in said[1:])


@pytest.mark.parametrize("text", ["{", '{"images": [{"id": 1', "not json", "{}", "[]", '{"images": []}'])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(coco_instances(tmp_path / "a.json"))


def test_a_compressed_file_is_read_as_it_is_and_a_torn_one_refused(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(instances()).encode())
    (tmp_path / "a.json.gz").write_bytes(packed)
    assert len(list(coco_instances(tmp_path / "a.json.gz"))) == 2
    (tmp_path / "a.json.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match="no whole"):
        list(coco_instances(tmp_path / "a.json.gz"))


def test_captions_are_notes(tmp_path: Path) -> None:
    said = [{"image_id": 139, "id": 9, "caption": "A cat on a mat. "}, {"image_id": 139, "id": 10, "caption": " "}]
    told: list[str] = []
    first, _ = coco_captions(written(tmp_path / "a.json", instances(annotations=said)), report=told.append)
    assert [(one.said.text, one.source, one.said.regions) for one in first.notes] == [("A cat on a mat.", "caption", ())]
    assert len(told) == 1 and "it has no words" in told[0]


def test_lvis_says_what_is_absent_and_what_is_not_marked_throughout(tmp_path: Path) -> None:
    """The fields of lvis_v1_train.json (lvisdataset.org/dataset): no file_name, categories with synonyms and frequency."""
    picture = {"id": 391895, "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg", "width": 64, "height": 48}
    picture |= {"neg_category_ids": [2], "not_exhaustive_category_ids": [1], "license": 3, "flickr_url": "", "date_captured": ""}
    kinds = [
        {"id": 1, "name": "traffic_light", "synonyms": ["traffic_light", "stoplight"], "def": "…", "synset": "traffic_light.n.01", "frequency": "f"},
        {"id": 2, "name": "bow_(weapon)", "synonyms": ["bow_(weapon)"], "def": "…", "synset": "bow.n.04", "frequency": "r"},
    ]
    things = [{"id": 1, "image_id": 391895, "category_id": 1, "segmentation": [TRIANGLE], "area": 512.0, "bbox": [16.0, 8.0, 32.0, 32.0]}]
    (tmp_path / "train2017").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "train2017/000000391895.jpg")
    file = written(tmp_path / "a.json", {"images": [picture], "annotations": things, "categories": kinds})
    [example] = lvis(file, images=tmp_path)
    assert example.images[0].path == str(tmp_path / "train2017/000000391895.jpg")
    assert [one.said.text for one in example.notes] == ["traffic light"]
    assert example.facts == {
        "absent": ["bow (weapon)"],
        "not_exhaustive": ["traffic light"],
        "synonyms": {"traffic light": ["traffic light", "stoplight"]},
    }


def test_every_object_of_lvis_own_sample_is_read() -> None:
    """100 pictures of LVIS v0.5, as lvis-api keeps them, in FOVEAL_DATA (or in the folder shared beside the repository)."""
    place = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data") / "fixtures/lvis/lvis_val_100.json.gz"
    if not place.is_file():
        pytest.skip(f"there is no {place.name}; set FOVEAL_DATA to a folder that holds it in fixtures/lvis")
    said: list[str] = []
    examples = list(lvis(place, report=said.append))
    assert (len(examples), sum(len(example.notes) for example in examples), said) == (100, 977, [])
    assert all(isinstance(one.said.regions[0], Box) for example in examples for one in example.notes)


def test_panoptic_segments_are_masks_of_things_and_of_stuff(tmp_path: Path) -> None:
    """A segment's number is R + 256 G + 65,536 B (cocodataset.org/#format-data, 4)."""
    bits = np.zeros((48, 64, 3), np.uint8)
    bits[:, :32], bits[:, 32:] = (10, 1, 0), (7, 0, 2)
    Image.fromarray(bits).save(tmp_path / "000000000139.png")
    segments = [
        {"id": 10 + 256, "category_id": 17, "iscrowd": 0, "bbox": [0, 0, 32, 48], "area": 1536},
        {"id": 7 + 2 * 65_536, "category_id": 149, "iscrowd": 0, "bbox": [32, 0, 32, 48], "area": 1536},
        {"id": 5, "category_id": 17, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1},
    ]
    kinds = [{"id": 17, "name": "cat", "isthing": 1}, {"id": 149, "name": "grass-merged", "isthing": 0}]
    annotations = [{"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}]
    file = written(tmp_path / "a.json", instances(annotations=annotations, categories=kinds))
    said: list[str] = []
    first, _ = coco_panoptic(file, tmp_path, report=said.append)
    found = [(one.said.text, one.source, bounding_box(one.said.regions[0])) for one in first.notes]
    assert found == [("cat", "object", Box(0.0, 0.0, 0.5, 1.0)), ("grass-merged", "stuff", Box(0.5, 0.0, 1.0, 1.0))]
    assert len(said) == 1 and "no pixel" in said[0]


def test_a_torn_file_is_refused_before_its_first_image(tmp_path: Path) -> None:
    whole = json.dumps(instances(images=[{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in range(2000)]))
    (tmp_path / "a.json").write_text(whole[:-300])
    with pytest.raises(ValueError, match="no whole JSON"):
        next(coco_instances(tmp_path / "a.json"))

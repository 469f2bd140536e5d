"""Laws of the readers of what annotation tools write: labels beside pictures, and tasks whose shapes are percents of a picture."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.tools import label_studio, yolo
from foveal.geometry import Box, Mask, Point, bounding_box
from foveal.grounding import example_from_json, example_to_json

NAMES = {0: "person", 45: "potted_plant"}
RECTANGLE = {"x": 25.0, "y": 25.0, "width": 25.0, "height": 50.0, "rotation": 0, "rectanglelabels": ["Car"]}
POLYGON = {"points": [[25, 25], [50, 25], [50, 75]], "polygonlabels": ["Road", "Street"]}
TASK: dict[str, Any] = {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-street-view.jpg"}, "annotations": []}


def pictured(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def labelled(folder: Path, **texts: str) -> tuple[Path, Path]:
    """The layout of docs.ultralytics.com/datasets/detect and …/segment: images and labels at the same places under the same names."""
    for name, text in texts.items():
        pictured(folder / f"images/train/{name}.jpg")
        (folder / "labels/train").mkdir(parents=True, exist_ok=True)
        (folder / f"labels/train/{name}.txt").write_text(text)
    return folder / "images", folder / "labels"


def result(kind: str, value: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"id": "r1", "type": kind, "value": value, "original_width": 64, "original_height": 48, "image_rotation": 0} | other


def exported(path: Path, *results: Any, task: dict[str, Any] = TASK, **other: Any) -> Path:
    """The fields of labelstud.io/guide/task_format; shapes as in labelstud.io/tags/rectanglelabels, …/polygonlabels and …/keypointlabels."""
    done = {"id": 1001, "result": list(results), "was_cancelled": False, "ground_truth": False}
    path.write_text(json.dumps([task | {"annotations": [done]} | other]))
    return path


def test_lines_of_numbers_are_objects_by_their_class(tmp_path: Path) -> None:
    images, labels = labelled(tmp_path, a="45 0.5 0.5 0.5 0.25\n0 0.25 0.25 0.5 0.25 0.5 0.75\n", b="")
    pictured(images / "val/c.png")
    first, second, third = yolo(images, labels, NAMES, licence="AGPL-3.0")
    assert (first.id, second.id, third.id) == ("train/a.jpg", "train/b.jpg", "val/c.png")
    assert [(one.said.text, one.said.regions, one.source) for one in first.notes] == [
        ("potted plant", (Box(0.25, 0.375, 0.75, 0.625),), "object"),
        ("person", (Box(0.25, 0.25, 0.5, 0.75),), "object"),
    ]
    assert (second.notes, third.notes, first.images[0].path, first.licence) == ((), (), str(images / "train/a.jpg"), "AGPL-3.0")
    assert example_from_json(example_to_json(first)) == first


def test_outlines_are_masks_where_they_are_asked_for(tmp_path: Path) -> None:
    [example] = yolo(*labelled(tmp_path, a="0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n0 0.5 0.5 0.5 0.25"), NAMES, masks=True)
    outlined, boxed = (one.said.regions[0] for one in example.notes)
    assert isinstance(outlined, Mask) and bounding_box(outlined) == Box(0.25, 0.25, 0.5, 0.75)
    assert boxed == Box(0.25, 0.375, 0.75, 0.625)


@pytest.mark.parametrize("listed", ["names: [person, dog]", "names:\n  0: person\n  1: dog\nnc: 2\ntrain: images/train"])
def test_names_are_read_from_the_description_of_the_data(tmp_path: Path, listed: str) -> None:
    (tmp_path / "data.yaml").write_text(listed)
    folders = labelled(tmp_path, a="1 0.5 0.5 0.5 0.25")
    for names in (tmp_path / "data.yaml", ["person", "dog"]):
        assert [one.said.text for example in yolo(*folders, names) for one in example.notes] == ["dog"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: 7", "no list of names"),
        ("names: [a\n", "no YAML"),
        ("names: [person]\nkpt_shape: [17, 3]", "key points"),
        ("!!python/object:a.B {}", "no YAML"),
    ],
)
def test_another_description_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"data\.yaml.*{reason}"):
        list(yolo(*labelled(tmp_path, a=""), tmp_path / "data.yaml"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7 0.5 0.5 0.5 0.25", "no class 7"),
        ("person 0.5 0.5 0.5 0.25", "invalid literal"),
        ("0 0.5 0.5 0.5", "3 numbers"),
        ("0 0.5 0.5 0.5 0.25 0.9", "5 numbers"),
        ("0 0.5 0.5 0 0.25", "no area"),
        ("0 0.1 0.1 0.2 0.1 nan 0.3", "corners"),
    ],
)
def test_a_line_that_cannot_be_used_is_said_and_the_rest_kept(tmp_path: Path, line: str, reason: str) -> None:
    said: list[str] = []
    [example] = yolo(*labelled(tmp_path, a=f"{line}\n0 0.5 0.5 0.5 0.25\n"), NAMES, report=said.append)
    assert len(example.notes) == 1
    assert len(said) == 1 and "a.txt, line 1, is passed over" in said[0] and reason in said[0], said


def test_labels_without_a_picture_and_pictures_that_are_none_are_said(tmp_path: Path) -> None:
    images, labels = labelled(tmp_path, a="", b="", c="")
    (images / "train/a.jpg").unlink()
    (images / "train/b.jpg").write_bytes(b"no picture")
    said: list[str] = []
    assert [example.id for example in yolo(images, labels, NAMES, report=said.append)] == ["train/c.jpg"]
    assert len(said) == 2 and "b.jpg" in said[0] and "a.txt is passed over: there is no picture" in said[1]
    with pytest.raises(ValueError, match="wants pictures"):
        list(yolo(labels, labels, NAMES, report=said.append))


def test_shapes_of_a_task_are_percents_of_its_picture(tmp_path: Path) -> None:
    point = {"x": 50.0, "y": 25.0, "width": 0.5, "keypointlabels": ["Nose"]}
    shapes = [result("rectanglelabels", RECTANGLE), result("polygonlabels", POLYGON), result("keypointlabels", point)]
    [example] = label_studio(exported(tmp_path / "a.json", *shapes), licence="own")
    box = Box(0.25, 0.25, 0.5, 0.75)
    assert [(one.said.text, one.said.regions) for one in example.notes] == [
        ("Car", (box,)),
        ("Road", (box,)),
        ("Street", (box,)),
        ("Nose", (Point(0.5, 0.25),)),
    ]
    assert (example.id, example.images, example.licence, {one.source for one in example.notes}) == ("1", (), "own", {"object"})
    assert example.facts == {"image": TASK["data"]["image"]}
    [outlined] = label_studio(tmp_path / "a.json", masks=True)
    kinds = [type(one.said.regions[0]) for one in outlined.notes]
    assert kinds == [Box, Mask, Mask, Point] and bounding_box(outlined.notes[1].said.regions[0]) == Box(0.25, 0.25, 0.5, 35 / 48)
    assert example_from_json(example_to_json(outlined)) == outlined


def test_a_turned_rectangle_is_turned_about_its_top_left_corner_in_pixels(tmp_path: Path) -> None:
    """A rectangle keeps its first corner, and its angle is clockwise (label_studio_converter, converter.py, rotated_rectangle)."""
    value = RECTANGLE | {"x": 75.0, "y": 25.0, "width": 50.0, "height": 50.0, "rotation": 90}  # 32 x 24 pixels, turned: 24 x 32
    path = exported(tmp_path / "a.json", result("rectanglelabels", value))
    [plain], [outlined] = label_studio(path), label_studio(path, masks=True)
    expected = (0.375, 0.25, 0.75, 0.25 + 32 / 48)
    region, mask = plain.notes[0].said.regions[0], outlined.notes[0].said.regions[0]
    assert isinstance(region, Box) and (region.x0, region.y0, region.x1, region.y1) == pytest.approx(expected)
    assert isinstance(mask, Mask) and sum(mask.counts[1::2]) == 24 * 32 and bounding_box(mask) == Box(*expected)


def test_of_a_task_the_ground_truth_counts_then_what_was_not_cancelled(tmp_path: Path) -> None:
    def done(label: str, **flags: bool) -> dict[str, Any]:
        return {"id": label, "result": [result("rectanglelabels", RECTANGLE | {"rectanglelabels": [label]})]} | flags

    cancelled, first, second, true = done("a", was_cancelled=True), done("b"), done("c"), done("d", ground_truth=True)
    for annotations, label in (([cancelled, first, second], ["b"]), ([first, true], ["d"]), ([cancelled], []), ([], [])):
        [example] = label_studio(exported(tmp_path / "a.json", annotations=annotations))
        assert [one.said.text for one in example.notes] == label


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("/data/upload/1/0a1b2c3d-street-view.jpg", "0a1b2c3d-street-view.jpg"),
        ("/data/upload/1/0a1b2c3d-street-view.jpg", "street-view.jpg"),
        ("/data/local-files/?d=set/a%20b/1.jpg", "set/a b/1.jpg"),
        ("/data/local-files/?d=set/a%20b/1.jpg", "1.jpg"),
        ("https://example.com/pictures/1.jpg?size=large", "pictures/1.jpg"),
        ("s3://bucket/pictures/1.jpg", "1.jpg"),
    ],
)
def test_pictures_are_found_by_what_the_tool_calls_them(tmp_path: Path, name: str, kept: str) -> None:
    path = pictured(tmp_path / "images" / kept)
    for data in ({"image": name, "text": "a"}, {"photo": name, "number": 7}):
        [example] = label_studio(exported(tmp_path / "a.json", data=data), images=tmp_path / "images")
        assert example.images[0].path == str(path)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (result("choices", {"choices": ["day"]}), "'choices' are not read"),
        (result("rectanglelabels", {"x": 1}), "has no 'y'"),
        (result("rectanglelabels", RECTANGLE | {"x": 120}), "no area"),
        (result("rectanglelabels", RECTANGLE | {"rotation": 30}, original_width=None), "a size of None x 48"),
        (result("rectanglelabels", RECTANGLE, image_rotation=90), "turned by 90"),
        (result("keypointlabels", {"x": 120, "y": 1, "keypointlabels": ["Nose"]}), "120 percent"),
        (result("polygonlabels", {"points": [["a", "b"]], "polygonlabels": ["Road"]}), "unsupported operand"),
        (result("rectanglelabels", RECTANGLE | {"rectanglelabels": [" "]}), "no words"),
        ({"id": "r1"}, "has no 'type'"),
    ],
)
def test_a_result_that_cannot_be_used_is_said_and_the_rest_kept(tmp_path: Path, broken: Any, reason: str) -> None:
    said: list[str] = []
    [example] = label_studio(exported(tmp_path / "a.json", broken, result("rectanglelabels", RECTANGLE)), report=said.append)
    assert [one.said.text for one in example.notes] == ["Car"]
    assert len(said) == 1 and "result r1 of task 1 is passed over" in said[0] and reason in said[0], said


def test_a_task_that_cannot_be_used_is_said_and_a_file_without_any_refused(tmp_path: Path) -> None:
    pictured(tmp_path / "images/b.jpg")
    missing = [TASK, TASK | {"data": {"image": "/data/upload/1/../../secret.jpg"}}, TASK | {"data": {"text": "a", "name": "b"}}]
    broken = [*missing, "task", {"id": 1}, TASK | {"annotations": "none"}, TASK | {"annotations": ["a"]}, TASK | {"data": "b.jpg"}]
    said: list[str] = []
    (tmp_path / "a.json").write_text(json.dumps([*broken, TASK | {"data": {"image": "/data/upload/1/b.jpg"}}]))
    assert len(list(label_studio(tmp_path / "a.json", images=tmp_path / "images", report=said.append))) == 1
    assert len(said) == len(broken) and all("passed over" in line for line in said)
    for text in (json.dumps(broken), "{", "{}", "[]", "no json"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"a\.json"):
            list(label_studio(tmp_path / "a.json", images=tmp_path / "images", report=said.append))

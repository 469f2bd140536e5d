"""Laws of the readers of referring expressions: an example for each picture, every expression a note tied to what it means."""

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.referring import mdetr_referring, refcoco, uninext_referring
from foveal.geometry import Box, Mask, bounding_box
from foveal.grounding import Example, example_from_json, example_to_json

NAME = "COCO_train2014_000000581857.jpg"
TRIANGLE = [16.0, 8.0, 48.0, 8.0, 16.0, 40.0]
RUNS = {"size": [48, 64], "counts": [48 * 32, 48 * 16, 48 * 16]}  # columns 32 to 47
LADY, FLAG = Box(0.25, 8 / 48, 0.75, 40 / 48), Box(0.5, 0.0, 0.75, 1.0)

Reader = Callable[..., Iterator[Example]]


def reference(**other: Any) -> dict[str, Any]:
    """The fields of refs(unc).p (github.com/lichengunc/refer, README.md and refer.py): file_name is no picture's name."""
    sentences = [
        {"sent_id": 0, "sent": "the lady with the blue shirt", "raw": "THE LADY WITH THE BLUE SHIRT", "tokens": ["the", "lady"]},
        {"sent_id": 1, "sent": "blue shirt", "raw": "blue shirt", "tokens": ["blue", "shirt"]},
    ]
    ref = {"ref_id": 7, "ann_id": 1, "category_id": 1, "image_id": 581857, "split": "train", "sent_ids": [0, 1], "sentences": sentences}
    return ref | {"file_name": "COCO_train2014_000000581857_16.jpg"} | other


def instances(**other: Any) -> dict[str, Any]:
    """The fields of instances.json: COCO's (github.com/lichengunc/refer, refer.py)."""
    lady = {"id": 1, "image_id": 581857, "category_id": 1, "segmentation": [TRIANGLE], "bbox": [16.0, 8.0, 32.0, 32.0], "iscrowd": 0, "area": 512.0}
    flag = {"id": 2, "image_id": 581857, "category_id": 2, "segmentation": RUNS, "bbox": [32.0, 0.0, 16.0, 48.0], "iscrowd": 1, "area": 768.0}
    picture = {"id": 581857, "file_name": NAME, "width": 64, "height": 48, "license": 1, "coco_url": "", "flickr_url": "", "date_captured": ""}
    return {"images": [picture], "annotations": [lady, flag], "categories": [{"id": 1, "name": "person", "supercategory": "person"}]} | other


def mdetr(**other: Any) -> dict[str, Any]:
    """The fields of finetune_refcoco_train.json (github.com/ashkamath/mdetr, scripts/fine-tuning/refexp_coco_format.py)."""
    picture = {"file_name": NAME, "height": 48, "width": 64, "original_id": 581857, "dataset_name": "refcoco", "tokens_negative": []}
    said = [picture | {"id": 3, "caption": "the lady by a flag"}, picture | {"id": 4, "caption": "blue shirt"}]
    lady = {"id": 0, "image_id": 3, "category_id": 1, "bbox": [16.0, 8.0, 32.0, 32.0], "original_id": 1, "area": 512.0, "iscrowd": 0}
    places = [lady | {"tokens_positive": [[4, 8]], "segmentation": [TRIANGLE]}, lady | {"id": 1, "image_id": 4, "tokens_positive": [[5, 10]]}]
    return {"info": {}, "licenses": [], "images": said, "annotations": places, "categories": []} | other


def seqtr(**other: Any) -> dict[str, Any]:
    """The fields of SeqTR's instances.json (github.com/seanzhuh/SeqTR, seqtr/datasets; UNINEXT's conversion/convert_mix_ref.py reads them too)."""
    one = {"image_id": 581857, "width": 64, "height": 48, "bbox": [16.0, 8.0, 32.0, 32.0], "mask": [TRIANGLE], "cat_id": 1}
    return one | {"expressions": ["the lady", "blue shirt"]} | other


def written(path: Path, record: Any) -> Path:
    if path.suffix == ".p":
        path.write_bytes(pickle.dumps(record, protocol=2))  # as Python 2 wrote them
    else:
        path.write_text(json.dumps(record))
    return path


def read_refcoco(folder: Path, *refs: Any, known: dict | None = None, name: str = "refs(unc).p", **other: Any) -> list[Example]:
    return list(refcoco(written(folder / name, list(refs)), written(folder / "instances.json", known or instances()), **other))


def notes_of(example: Example) -> list[tuple[str, tuple, str]]:
    return [(one.said.text, one.said.regions, one.source) for one in example.notes]


def test_every_sentence_of_an_image_is_tied_to_its_object(tmp_path: Path) -> None:
    other = reference(ref_id=8, ann_id=2, sentences=[{"sent_id": 2, "sent": "flag", "raw": "Flag!", "tokens": ["flag"]}])
    [example] = read_refcoco(tmp_path, reference(), other, licence="CC BY 4.0")
    assert (example.id, example.facts, example.images, example.licence) == ("581857/train", {"split": "train"}, (), "CC BY 4.0")
    assert notes_of(example) == [
        ("the lady with the blue shirt", (LADY,), "expression"),
        ("blue shirt", (LADY,), "expression"),
        ("flag", (FLAG,), "expression"),
    ]
    assert [one.made_by for one in example.notes] == [{"ref_id": f"{ref}", "sent_id": f"{sent}"} for ref, sent in ((7, 0), (7, 1), (8, 2))]
    assert example_from_json(example_to_json(example)) == example


def test_an_image_in_two_splits_is_two_examples(tmp_path: Path) -> None:
    refs = reference(), reference(ref_id=8, split="val")
    assert [one.id for one in read_refcoco(tmp_path, *refs)] == ["581857/train", "581857/val"]
    assert [one.id for one in read_refcoco(tmp_path, *refs, split="val")] == ["581857/val"]
    with pytest.raises(ValueError, match=r"refs\(unc\).p.*some of split 'testA'"):
        read_refcoco(tmp_path, *refs, split="testA")


def test_a_sentence_may_mean_several_objects_or_none(tmp_path: Path) -> None:
    """grefs(unc).json: ann_id is a list, [-1] for no object (github.com/henghuiding/gRefCOCO, mdetr/scripts/fine-tuning/grefexp_coco_format.py)."""
    both, none = reference(ann_id=[1, 2], no_target=False), reference(ref_id=8, ann_id=[-1], category_id=[-1], no_target=True)
    [example] = read_refcoco(tmp_path, both, none, name="grefs(unc).json")
    assert [one.said.regions for one in example.notes] == [(LADY, FLAG), (LADY, FLAG), (), ()]
    assert [len(one.said.spans) for one in example.notes] == [1, 1, 1, 1]  # a span without regions says: nowhere


@pytest.mark.parametrize("kind", ["refcoco", "mdetr", "seqtr"])
def test_masks_take_the_place_of_boxes_where_they_are_asked_for(tmp_path: Path, kind: str) -> None:
    match kind:
        case "refcoco":
            [example] = read_refcoco(tmp_path, reference(), masks=True)
        case "mdetr":
            [example] = mdetr_referring(written(tmp_path / "a.json", mdetr()), masks=True)
            assert example.notes[1].said.regions == (LADY,)  # there is no outline
        case _:
            [example] = uninext_referring(written(tmp_path / "a.json", {"val": [seqtr()]}), "val", masks=True)
    mask = example.notes[0].said.regions[0]
    assert isinstance(mask, Mask) and bounding_box(mask) == Box(16 / 64, 8 / 48, 47 / 64, 39 / 48)


def test_expressions_of_mdetr_are_gathered_by_their_picture(tmp_path: Path) -> None:
    [example] = mdetr_referring(written(tmp_path / "a.json", mdetr()))
    assert (example.id, example.facts) == (NAME, {"image_id": 581857})
    assert notes_of(example) == [("the lady by a flag", (LADY,), "expression"), ("blue shirt", (LADY,), "expression")]
    assert example.notes[0].made_by == {"id": "3", "dataset_name": "refcoco"}
    assert example_from_json(example_to_json(example)) == example


def test_an_expression_of_mdetr_may_mean_nothing(tmp_path: Path) -> None:
    """`empty` marks it (github.com/henghuiding/gRefCOCO, mdetr/scripts/fine-tuning/grefexp_coco_format.py)."""
    nothing = {"id": 0, "image_id": 3, "bbox": [0, 0, 0, 0], "category_id": -1, "empty": True, "tokens_positive": [[4, 8]], "original_id": -1}
    file = written(tmp_path / "a.json", mdetr(images=mdetr()["images"][:1], annotations=[nothing]))
    for phrases, words in ((False, (0, 18)), (True, (4, 8))):
        [example] = mdetr_referring(file, phrases=phrases)
        assert [(one.start, one.end, one.regions) for one in example.notes[0].said.spans] == [(*words, ())]


def test_phrases_are_tied_to_the_boxes_that_mark_them(tmp_path: Path) -> None:
    lady, shirt = mdetr()["annotations"]
    flag = lady | {"id": 5, "bbox": [32.0, 0.0, 16.0, 48.0], "tokens_positive": [[12, 18]]}
    picture = mdetr()["images"][0] | {"original_img_id": 9}
    file = written(tmp_path / "a.json", mdetr(images=[picture], annotations=[flag, lady, flag | {"bbox": lady["bbox"]}, shirt]))
    [example] = mdetr_referring(file, phrases=True)
    [caption] = example.notes
    assert (example.facts, caption.source) == ({"image_id": 9}, "caption")
    assert [(caption.said.text[one.start : one.end], one.regions) for one in caption.said.spans] == [("lady", (LADY,)), ("a flag", (FLAG, LADY))]


def test_expressions_of_seqtr_are_gathered_by_their_picture(tmp_path: Path) -> None:
    mixed = [seqtr(data_source="coco"), seqtr(data_source="flickr", expressions=["her"]), seqtr(data_source="coco", expressions=["she"])]
    coco, flickr = uninext_referring(written(tmp_path / "a.json", {"train": mixed, "val": [seqtr()]}), "train")
    assert (coco.id, flickr.id, coco.facts) == ("coco/581857", "flickr/581857", {"split": "train", "data_source": "coco"})
    assert notes_of(coco) == [(words, (LADY,), "expression") for words in ("the lady", "blue shirt", "she")]
    assert [one.id for one in uninext_referring(tmp_path / "a.json", "val")] == ["581857"]
    with pytest.raises(ValueError, match=r"a\.json.*array 'testA'"):
        list(uninext_referring(tmp_path / "a.json", "testA"))
    assert example_from_json(example_to_json(coco)) == coco


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (None, NAME),
        ("coco", NAME),
        ("coco", f"coco/{NAME}"),
        ("flickr", "581857.jpg"),
        ("vg", "vg/581857.jpg"),
        (None, "581857.jpg"),
    ],
)
def test_pictures_of_seqtr_are_called_by_their_number(tmp_path: Path, source: str | None, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 48)).save(tmp_path / name)
    file = written(tmp_path / "a.json", {"val": [seqtr(data_source=source)]})
    [example] = uninext_referring(file, "val", images=tmp_path)
    assert os.path.samefile(str(example.images[0].path), tmp_path / name)


def test_the_picture_is_the_one_of_the_instances_and_a_missing_one_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    images = tmp_path / "train2014"
    images.mkdir()
    for name, record in (("a.json", mdetr()), ("b.json", {"val": [seqtr()]})):
        written(tmp_path / name, record)
    with pytest.raises(ValueError, match="no expression"):
        read_refcoco(tmp_path, reference(), images=images, report=said.append)
    assert len(said) == 1 and "there is no file" in said[0], said
    Image.new("RGB", (64, 48)).save(images / NAME)
    [example] = [*read_refcoco(tmp_path, reference(), images=images)]
    for one in (example, *mdetr_referring(tmp_path / "a.json", images=images), *uninext_referring(tmp_path / "b.json", "val", images=images)):
        assert (one.images[0].width, one.images[0].height, Path(str(one.images[0].path))) == (64, 48, images / NAME)


@pytest.mark.parametrize(
    ("change", "known", "reason"),
    [
        ({"ann_id": 99}, {}, "no annotation 99"),
        ({"sentences": [{"sent_id": 0, "sent": " "}]}, {}, "no words"),
        ({"sentences": [{"sent_id": 0, "sent": None}]}, {}, "its words are None"),
        ({"sentences": [{"sent": "she"}]}, {}, "has no 'sent_id'"),
        ({"sentences": ["she"]}, {}, ""),
        ({"sentences": None}, {}, ""),
        ({"image_id": 5}, {}, "no image 5"),
        ({}, {"annotations": [{"id": 1, "image_id": 581857, "bbox": [1, 1, 0, 5]}]}, "no area"),
        ({}, {"images": [{"id": 581857, "file_name": NAME, "width": 64, "height": 0}]}, "64 x 0"),
        ({}, {"images": [{"id": 581857, "file_name": NAME, "width": 64}]}, "has no 'height'"),
    ],
)
def test_a_reference_that_cannot_be_used_is_said_and_passed_over(tmp_path: Path, change: dict, known: dict, reason: str) -> None:
    said: list[str] = []
    more = instances()
    if not known:  # beside it another image, all of which can be used
        more["images"].append(more["images"][0] | {"id": 6})
        more["annotations"].append(more["annotations"][0] | {"image_id": 6})
    good = reference(image_id=6)
    try:
        found = read_refcoco(tmp_path, reference(**change), good, "no reference", known=instances(**known) if known else more, report=said.append)
    except ValueError:
        found = []
    assert [one.id for one in found] == ([] if known else ["6/train"])
    assert "passed over" in said[0] and any("passed over" in line and reason in line for line in said), said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": mdetr()["annotations"][1:]}, "no annotation"),
        ({"annotations": [mdetr()["annotations"][0] | {"tokens_positive": [[4, 80]]}, mdetr()["annotations"][1]]}, "ends at 80"),
        ({"annotations": [mdetr()["annotations"][0] | {"tokens_positive": None}, mdetr()["annotations"][1]]}, ""),
        ({"images": [{"id": 9, "caption": "she"}, mdetr()["images"][1]]}, "has no 'file_name'"),
        ({"images": ["she", mdetr()["images"][1]]}, ""),
    ],
)
def test_an_expression_of_mdetr_that_cannot_be_used_is_said(tmp_path: Path, change: dict, reason: str) -> None:
    said: list[str] = []
    [example] = mdetr_referring(written(tmp_path / "a.json", mdetr(**change)), phrases=True, report=said.append)
    assert [one.said.text for one in example.notes] == ["blue shirt"]
    assert len(said) == 1 and "passed over" in said[0] and reason in said[0], said


@pytest.mark.parametrize("text", ["{", "not json", "{}", "[]", '{"images": []}', '{"val": [5, "a", {"image_id": 3}]}'])
@pytest.mark.parametrize("reader", [mdetr_referring, lambda path: uninext_referring(path, "val"), lambda path: refcoco(path, path)])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, reader: Reader, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(reader(tmp_path / "a.json"))


def test_a_pickle_that_is_no_list_or_names_code_is_refused(tmp_path: Path) -> None:
    known = written(tmp_path / "instances.json", instances())
    for record in ({"refs": []}, [Path("a")]):
        with pytest.raises(ValueError, match=r"wants a list|names pathlib"):
            list(refcoco(written(tmp_path / "refs(unc).p", record), known))

"""Laws of the reader of Flickr30k Entities: a picture is an example, its captions notes, a phrase means all boxes of its entity."""

from pathlib import Path

import pytest
from PIL import Image

from foveal.data.sources.flickr30k import flickr30k_entities
from foveal.geometry import Box
from foveal.grounding import example_from_json, example_to_json

CAPTIONS = """[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] hang out in [/EN#8/scene the yard] .
[/EN#6/people/other A man] in [/EN#0/notvisual the way] of [/EN#10/other a tree] .
"""
GUYS = Box(3 / 64, 1 / 48, 15 / 64, 23 / 48), Box(31 / 64, 11 / 48, 47 / 64, 47 / 48)


def marked(*names: str, corners: str = "4 2 16 24") -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=True))
    return f"<object>{''.join(f'<name>{name}</name>' for name in names)}<bndbox>{sides}</bndbox></object>"


def official(folder: Path, number: str = "1000092795", captions: str = CAPTIONS, objects: str = "", size: str = "64 48") -> Path:
    """The folders of the official release (github.com/BryanPlummer/flickr30k_entities, README.md and flickr30k_entities_utils.py, whose reader
    takes 1 off each corner); ids are those of Sentences/1000092795.txt."""
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir(exist_ok=True)
    scene = "<object><name>8</name><scene>1</scene><nobndbox>0</nobndbox></object>"
    absent = "<object><name>10</name><scene>0</scene><nobndbox>1</nobndbox></object>"
    objects = objects or marked("1") + marked("1", "6", corners="32 12 48 48") + scene + absent
    width, height = size.split()
    sized = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    (folder / "Sentences" / f"{number}.txt").write_text(captions)
    (folder / "Annotations" / f"{number}.xml").write_text(f"<annotation><filename>{number}.jpg</filename>{sized}{objects}</annotation>")
    return folder


def test_a_phrase_means_all_boxes_of_its_entity_and_one_without_a_box_is_plain_words(tmp_path: Path) -> None:
    [example] = flickr30k_entities(official(tmp_path), licence="as the site says")
    assert (example.id, example.images, example.licence) == ("1000092795", (), "as the site says")
    first, second = (one.said for one in example.notes)
    assert [one.source for one in example.notes] == ["caption", "caption"]
    assert (first.text, second.text) == ("Two young guys with shaggy hair hang out in the yard .", "A man in the way of a tree .")
    assert [(first.text[span.start : span.end], span.regions) for span in first.spans] == [("Two young guys", GUYS)]
    assert [(second.text[span.start : span.end], span.regions) for span in second.spans] == [("A man", GUYS[1:])]
    assert example_from_json(example_to_json(example)) == example


def test_every_phrase_is_kept_with_its_entity_and_its_types(tmp_path: Path) -> None:
    [example] = flickr30k_entities(official(tmp_path))
    phrases = example.facts["phrases"]
    assert isinstance(phrases, list)
    assert [
        [(one.said.text[phrase["start"] : phrase["end"]], phrase["entity"], phrase["types"]) for phrase in found]
        for one, found in zip(example.notes, phrases, strict=True)
    ] == [
        [("Two young guys", "1", ["people"]), ("shaggy hair", "2", ["bodyparts"]), ("the yard", "8", ["scene"])],
        [("A man", "6", ["people", "other"]), ("the way", "0", ["notvisual"]), ("a tree", "10", ["other"])],
    ]


def test_a_split_file_says_which_pictures_are_read_and_in_which_order(tmp_path: Path) -> None:
    for number in ("1", "2", "3"):
        official(tmp_path, number)
    (tmp_path / "val.txt").write_text("3\n1\n")
    assert [one.id for one in flickr30k_entities(tmp_path, split_file=tmp_path / "val.txt")] == ["3", "1"]
    assert [one.id for one in flickr30k_entities(tmp_path)] == ["1", "2", "3"]


def test_a_missing_picture_is_said_and_passed_over(tmp_path: Path) -> None:
    said: list[str] = []
    images = tmp_path / "flickr30k-images"
    images.mkdir()
    for number in ("1", "2"):
        official(tmp_path, number)
    Image.new("RGB", (64, 48)).save(images / "2.jpg")
    [example] = flickr30k_entities(tmp_path, images=images, report=said.append)
    assert (example.images[0].path, example.images[0].width, example.images[0].height) == (str(images / "2.jpg"), 64, 48)
    assert len(said) == 1 and "picture 1" in said[0] and "there is no file" in said[0], said


@pytest.mark.parametrize(
    ("objects", "captions", "reason"),
    [
        (marked("1", corners="4 2 4 24") + marked("6"), CAPTIONS, "object 0, is passed over: the box [3, 1, 3, 23] has no area"),
        (marked("1", corners="4 2 x 24") + marked("6"), CAPTIONS, "object 0, is passed over: invalid literal"),
        (marked("1").replace("ymax", "ymux") + marked("6"), CAPTIONS, "it has no ymax"),
        (marked("6"), "[/EN#6 A man] sits .\n" + CAPTIONS, "line 1, is passed over: it has a bracket that is no phrase"),
    ],
)
def test_a_box_or_a_caption_that_cannot_be_used_is_said_and_the_picture_kept(tmp_path: Path, objects: str, captions: str, reason: str) -> None:
    said: list[str] = []
    [example] = flickr30k_entities(official(tmp_path, objects=objects, captions=captions), report=said.append)
    assert [len(one.said.spans) for one in example.notes] == [0, 1]
    assert len(said) == 1 and reason in said[0], said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"captions": " \n"}, "no caption"),
        ({"size": "0 48"}, "0 x 48"),
        ({"objects": "<object>"}, "no XML"),
        ({"number": "2"}, "there is no file"),
        ({"number": "../1"}, "no name of a file"),
    ],
)
def test_a_picture_that_cannot_be_used_is_said_and_a_folder_without_any_refused(tmp_path: Path, change: dict, reason: str) -> None:
    said: list[str] = []
    number = change.get("number", "1")
    official(tmp_path, **change | {"number": "1"})
    (tmp_path / "test.txt").write_text(f"{number}\n")
    with pytest.raises(ValueError, match="it wants Sentences"):
        list(flickr30k_entities(tmp_path, split_file=tmp_path / "test.txt", report=said.append))
    assert len(said) == 1 and "test.txt, line 1, is passed over" in said[0] and reason in said[0], said
    with pytest.raises(ValueError, match="it wants Sentences"):
        list(flickr30k_entities(tmp_path / "Sentences"))

"""Laws of the readers of Visual Genome: an example for each image, and each thing that is known of it a note tied to its boxes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.visual_genome import dense_captions, vg_attributes, vg_objects, vg_regions, vg_relationships
from foveal.geometry import Box
from foveal.grounding import Example, example_from_json, example_to_json

Reader = Callable[..., Iterator[Example]]

SHADE, WALK = Box(0.25, 0.25, 0.5, 0.75), Box(0.0, 0.5, 1.0, 1.0)
SHADE_PX, WALK_PX = {"x": 16, "y": 12, "w": 16, "h": 24}, {"x": -1, "y": 24, "w": 65, "h": 30}
IMAGE = {"image_id": 2407890, "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/2407890.jpg", "width": 64, "height": 48}
WIDE = {"x": 16, "y": 12, "width": 16, "height": 24}

SAYS: dict[str, tuple[Reader, list[Any], list[tuple]]] = {
    "objects": (
        vg_objects,
        [SHADE_PX | {"object_id": 5, "names": ["shade", "shadow "], "synsets": [], "merged_object_ids": []}],
        [("shade", (SHADE,), "object", {"object_id": "5"}), ("shadow", (SHADE,), "object", {"object_id": "5"})],
    ),
    "objects, 1.0": (vg_objects, [WIDE | {"id": 5, "names": ["shade"]}], [("shade", (SHADE,), "object", {"object_id": "5"})]),
    "attributes": (
        vg_attributes,
        [SHADE_PX | {"object_id": 5, "names": ["shade"], "attributes": ["dark", "long "]}, WALK_PX | {"object_id": 6, "names": ["sidewalk"]}],
        [(words, (SHADE,), "attribute", {"object_id": "5"}) for words in ("dark shade", "long shade")],
    ),
    "attributes, 1.0": (
        vg_attributes,
        [SHADE_PX | {"id": 5, "object_names": ["shade"], "attributes": ["dark"]}],
        [("dark shade", (SHADE,), "attribute", {"object_id": "5"})],
    ),
    "relationships": (
        vg_relationships,
        [
            {
                "predicate": "ON",
                "relationship_id": 15927,
                "synsets": ["along.r.01"],
                "subject": SHADE_PX | {"name": "shade", "object_id": 5045, "synsets": []},
                "object": WALK_PX | {"names": ["sidewalk"], "object_id": 1058534, "merged_object_ids": [5046], "synsets": []},
            }
        ],
        [("shade on sidewalk", (SHADE, WALK), "relation", {"relationship_id": "15927"})],
    ),
    "relationships, 1.0": (
        vg_relationships,
        [{"predicate": "on", "id": 1, "subject": SHADE_PX | {"id": 5, "name": "shade"}, "object": WALK_PX | {"id": 6, "name": "sidewalk"}}],
        [("shade on sidewalk", (SHADE, WALK), "relation", {"relationship_id": "1"})],
    ),
    "regions": (
        vg_regions,
        [WIDE | {"region_id": 1353, "image_id": 2407890, "phrase": "a cat sitting on a table.", "synsets": []}],
        [("a cat sitting on a table.", (SHADE,), "region", {"region_id": "1353"})],
    ),
    "regions, 1.0": (
        vg_regions,
        [WIDE | {"id": 1353, "image": 2407890, "phrase": "a cat"}],
        [("a cat", (SHADE,), "region", {"region_id": "1353"})],
    ),
}


def written(path: Path, record: Any) -> Path:
    path.write_text(json.dumps(record))
    return path


def read(folder: Path, kind: str, entries: list[Any], image: dict | None = None, key: str = "image_id", **other: Any) -> list[Example]:
    name = kind.partition(",")[0]
    file = written(folder / f"{name}.json", [{key: 2407890, name: entries}])
    return list(SAYS[kind][0](file, written(folder / "image_data.json", [image or IMAGE]), **other))


def grit(**other: Any) -> dict[str, Any]:
    """The fields of GRiT's train.json: COCO's, with a caption to each box (github.com/JialianW/GRiT, datasets/DATASETS.md and its loader)."""
    caption = {"id": 3, "image_id": 2407890, "bbox": [16, 12, 16, 24], "caption": "a cat on a table", "category_id": 1, "iscrowd": 0}
    pictures = [{"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48} for number in (2407890, 2407891)]
    return {"images": pictures, "annotations": [caption], "categories": []} | other


@pytest.mark.parametrize("kind", SAYS)
def test_what_is_known_of_an_image_is_notes_whatever_the_version_calls_it(tmp_path: Path, kind: str) -> None:
    """The fields of the files (homes.cs.washington.edu/~ranjay/visualgenome/api_readme.html), and what other versions call them
    (huggingface.co/datasets/ranjaykrishna/visual_genome, visual_genome.py)."""
    _, entries, notes = SAYS[kind]
    for key, image in (("image_id", IMAGE), ("id", {"id": 2407890, "width": 64, "height": 48})):
        [example] = read(tmp_path, kind, entries, image, key, licence="CC BY 4.0")
        assert (example.id, example.images, example.licence) == ("2407890", (), "CC BY 4.0")
        assert [(one.said.text, one.said.regions, one.source, one.made_by) for one in example.notes] == notes
        assert example_from_json(example_to_json(example)) == example


def test_each_end_of_a_relation_means_its_own_box(tmp_path: Path) -> None:
    [example] = read(tmp_path, "relationships", SAYS["relationships"][1])
    said = example.notes[0].said
    assert [(said.text[span.start : span.end], span.regions) for span in said.spans] == [("shade", (SHADE,)), ("sidewalk", (WALK,))]


def test_captions_of_boxes_in_cocos_form_are_notes(tmp_path: Path) -> None:
    first, second = dense_captions(written(tmp_path / "train.json", grit()), licence="CC BY 4.0")
    assert (first.id, second.id, second.notes, first.licence) == ("2407890", "2407891", (), "CC BY 4.0")
    assert [(one.said.text, one.said.regions, one.source, one.made_by) for one in first.notes] == [
        ("a cat on a table", (SHADE,), "region", {"id": "3"})
    ]
    assert example_from_json(example_to_json(first)) == first


@pytest.mark.parametrize("place", ["VG_100K", "VG_100K_2", "."])
def test_pictures_are_found_in_either_folder_and_a_missing_one_is_said(tmp_path: Path, place: str) -> None:
    said: list[str] = []
    (tmp_path / place).mkdir(exist_ok=True)
    Image.new("RGB", (64, 48)).save(tmp_path / place / "2407890.jpg")
    found = read(tmp_path, "regions", SAYS["regions"][1], images=tmp_path)
    found += dense_captions(written(tmp_path / "train.json", grit()), images=tmp_path, report=said.append)
    assert [one.images[0].path for one in found] == [str(tmp_path / place / "2407890.jpg")] * 2
    assert len(said) == 1 and "there is no file" in said[0] and "2407891.jpg" in said[0], said


@pytest.mark.parametrize(
    ("kind", "entry", "reason"),
    [
        ("objects", SHADE_PX | {"object_id": 5, "names": []}, "it has no name"),
        ("objects", SHADE_PX | {"object_id": 5}, "has no 'names'"),
        ("objects", SHADE_PX | {"object_id": 5, "names": [" "]}, "where words are wanted"),
        ("objects", SHADE_PX | {"object_id": 5, "names": ["cat"], "w": 0}, "no area"),
        ("objects", SHADE_PX | {"object_id": 5, "names": ["cat"], "w": "9"}, ""),
        ("objects", {"x": 1, "y": 1, "h": 3, "object_id": 5, "names": ["cat"]}, "has no 'w'"),
        ("objects", "cat", ""),
        ("attributes", SHADE_PX | {"object_id": 5, "names": ["shade"], "attributes": [None]}, "None where words are wanted"),
        ("attributes", None, ""),
        ("relationships", {"relationship_id": 1, "predicate": "", "subject": SHADE_PX | {"name": "a"}, "object": SHADE_PX | {"name": "b"}}, "''"),
        ("relationships", {"relationship_id": 1, "predicate": "on", "subject": SHADE_PX | {"name": "a"}}, "has no 'object'"),
        ("regions", WIDE | {"region_id": 1, "phrase": None}, "None where words are wanted"),
    ],
)
def test_a_thing_that_cannot_be_used_is_said_and_the_rest_kept(tmp_path: Path, kind: str, entry: Any, reason: str) -> None:
    said: list[str] = []
    _, good, notes = SAYS[kind]
    [example] = read(tmp_path, kind, [entry, *good], report=said.append)
    assert len(example.notes) == len(notes)
    assert len(said) == 1 and f"{kind} 0 of image 2407890 is passed over" in said[0] and reason in said[0], said


@pytest.mark.parametrize(
    ("image", "reason"), [(IMAGE | {"image_id": 5}, "has no image 2407890"), (IMAGE | {"width": 0}, "0 x 48"), ({"image_id": 5}, "has no 'width'")]
)
def test_an_image_whose_size_is_not_known_is_said(tmp_path: Path, image: dict, reason: str) -> None:
    said: list[str] = []
    with pytest.raises(ValueError, match=r"no image of .*objects\.json"):
        read(tmp_path, "objects", SAYS["objects"][1], image, report=said.append)
    assert reason in said[0] and "passed over" in said[-1], said


@pytest.mark.parametrize("entry", [{"id": 4, "bbox": [1, 1, 2, 2], "caption": "x"}, {"id": 4, "image_id": 2407890, "bbox": [1, 1, 2, 2]}, "cat"])
def test_a_caption_that_cannot_be_used_is_said_and_the_rest_kept(tmp_path: Path, entry: Any) -> None:
    said: list[str] = []
    first, _ = dense_captions(written(tmp_path / "a.json", grit(annotations=[entry, *grit()["annotations"]])), report=said.append)
    assert len(first.notes) == 1 and len(said) == 1 and "passed over" in said[0], said


@pytest.mark.parametrize("text", ["{", "not json", "{}", "[]", '[{"image_id": 1}, 5, "cat"]', '{"images": [5], "annotations": []}'])
@pytest.mark.parametrize("reader", [vg_objects, vg_attributes, vg_relationships, vg_regions, dense_captions])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, reader: Reader, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    known = () if reader is dense_captions else (written(tmp_path / "image_data.json", [IMAGE | {"image_id": 1}]),)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(reader(tmp_path / "a.json", *known))

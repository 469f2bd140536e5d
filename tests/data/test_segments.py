"""Laws of the readers of marked pictures: segments without words, and notes of everything a record marks, reads and tells."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.segments import marked_pictures, sa1b
from foveal.geometry import Box, Mask, bounding_box
from foveal.grounding import Span, example_from_json, example_to_json

RUNS = {"size": [48, 64], "counts": [48 * 32, 48 * 16, 48 * 16]}  # columns 32 to 47
SEGMENT = {"id": 247141780, "segmentation": RUNS, "bbox": [32.0, 0.0, 16.0, 48.0], "area": 768, "predicted_iou": 0.9, "stability_score": 0.97}
SEGMENT |= {"point_coords": [[40.0, 20.0]], "crop_box": [0.0, 0.0, 64.0, 48.0]}
RECORD: dict[str, Any] = {"image": "images/a.jpg", "width": 64, "height": 48, "regions": [], "source": "somewhere", "licence": "CC0"}
LOOKED_AT = 20  # records of each of the shared sets
CAT = {"box": [16, 12, 32, 24], "label": "cat"}


def pictured(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(path)
    return path


def segmented(folder: Path, number: int, *segments: Any, **other: Any) -> Path:
    """The fields of SA-1B's files (github.com/facebookresearch/segment-anything, README, Dataset)."""
    about = {"image_id": number, "width": 64, "height": 48, "file_name": f"sa_{number}.jpg"}
    pictured(folder / f"sa_{number}.jpg")
    (folder / f"sa_{number}.json").write_text(json.dumps({"image": about, "annotations": list(segments)} | other))
    return folder


def marked(folder: Path, *records: Any) -> Path:
    pictured(folder / "images/a.jpg")
    (folder / "annotations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_a_segment_is_a_mask_without_words(tmp_path: Path) -> None:
    segmented(tmp_path, 7, SEGMENT, SEGMENT | {"predicted_iou": 0.8, "stability_score": 0.95})
    segmented(tmp_path / "sa_000001", 8)
    first, second = sorted(sa1b(tmp_path, licence="SA-1B"), key=lambda example: example.id)
    assert (first.id, second.id, second.notes, first.licence) == ("7", "8", (), "SA-1B")
    assert first.images[0].path == str(tmp_path / "sa_7.jpg")
    assert [(one.said.text, one.source, one.score) for one in first.notes] == [("", "segment", 0.9), ("", "segment", 0.8)]
    assert first.notes[0].said.spans == (Span(0, 0, (Mask(64, 48, tuple(RUNS["counts"])),)),)
    assert first.facts == {"stability_scores": [0.97, 0.95]}
    assert example_from_json(example_to_json(first)) == first


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (SEGMENT | {"segmentation": {"size": [48, 63], "counts": [48 * 63]}}, "63 x 48"),
        (SEGMENT | {"segmentation": {"size": [48, 64], "counts": [48 * 64]}}, "sets no pixel"),
        ({name: SEGMENT[name] for name in SEGMENT if name != "predicted_iou"}, "has no 'predicted_iou'"),
        ({name: SEGMENT[name] for name in SEGMENT if name != "stability_score"}, "has no 'stability_score'"),
    ],
)
def test_a_segment_that_cannot_be_used_is_said_and_the_rest_kept(tmp_path: Path, segment: dict, reason: str) -> None:
    said: list[str] = []
    [example] = sa1b(segmented(tmp_path, 7, segment, SEGMENT), report=said.append)
    assert len(example.notes) == 1 and example.facts == {"stability_scores": [0.97]}
    assert len(said) == 1 and "of image 7 is passed over" in said[0] and reason in said[0], said


def test_a_file_that_cannot_be_used_is_said_and_a_folder_without_any_refused(tmp_path: Path) -> None:
    segmented(tmp_path, 1, SEGMENT)
    for number, text in enumerate(["{", "[]", "{}", '{"image": {"image_id": 5, "width": 0, "height": 1}}'], 2):
        (tmp_path / f"sa_{number}.json").write_text(text)
    (segmented(tmp_path, 9) / "sa_9.jpg").unlink()
    segmented(tmp_path, 10, "cat")
    said: list[str] = []
    assert [example.id for example in sa1b(tmp_path, report=said.append)] == ["1"]
    assert len(said) == 6 and all("passed over" in line for line in said)
    (tmp_path / "sa_1.jpg").unlink()
    for folder in (tmp_path, tmp_path / "empty"):
        with pytest.raises(ValueError, match="no picture of"):
            list(sa1b(folder, report=said.append))


def test_what_is_marked_read_and_told_are_notes_and_the_rest_facts(tmp_path: Path) -> None:
    record = RECORD | {
        "regions": [CAT, CAT | {"label": "text line", "text": " TOTAL 30.90 "}, CAT | {"crowd": True}, CAT | {"ignore": True, "text": ""}],
        "stuff": [CAT | {"label": "grass"}],
        "lvis": [CAT | {"label": "kitten"}],
        "expressions": [{"text": "the left cat", "box": [16, 12, 32, 24]}, {"text": "a dog", "box": None}],
        "phrases": [{"text": "grass is green", "kind": "region", "box": [0, 24, 64, 48]}],
        "captions": ["A cat on grass. ", "A cat."],
        "label": "photograph",
        "description": "A photograph of a cat.",
        "keys": {"total": "30.90"},
    }
    [example] = marked_pictures(marked(tmp_path, record), licence="unknown")
    box, lower = Box(0.25, 0.25, 0.5, 0.5), Box(0.0, 0.5, 1.0, 1.0)
    assert [(one.source, one.said.text, one.said.regions) for one in example.notes] == [
        ("object", "cat", (box,)),
        ("object", "text line", (box,)),
        ("text", "TOTAL 30.90", (box,)),
        ("crowd", "cat", (box,)),
        ("ignored", "cat", (box,)),
        ("stuff", "grass", (box,)),
        ("lvis", "kitten", (box,)),
        ("expression", "the left cat", (box,)),
        ("expression", "a dog", ()),
        ("phrase", "grass is green", (lower,)),
        ("caption", "A cat on grass.", ()),
        ("caption", "A cat.", ()),
        ("description", "A photograph of a cat.", ()),
        ("label", "photograph", ()),
    ]
    assert [one.said.spans for one in example.notes if one.said.text in ("a dog", "A cat.")] == [(Span(0, 5),), ()], "nowhere, and of the whole"
    assert example.notes[9].made_by == {"kind": "region"}
    assert (example.id, example.licence, example.images[0].path) == ("images/a.jpg", "CC0", str(tmp_path / "images/a.jpg"))
    assert example.facts == {"source": "somewhere", "keys": {"total": "30.90"}}
    assert example_from_json(example_to_json(example)) == example
    assert list(marked_pictures(tmp_path / "annotations.jsonl", licence="unknown")) == [example]


def test_a_sentence_that_may_be_untrue_is_a_fact(tmp_path: Path) -> None:
    told = RECORD | {"sentence": "A cat."}
    plain, doubted = marked_pictures(marked(tmp_path, told, told | {"truth": False}))
    assert [(one.source, one.said.text) for one in plain.notes] == [("caption", "A cat.")]
    assert (doubted.notes, doubted.facts["sentence"], doubted.facts["truth"]) == ((), "A cat.", False)


@pytest.mark.parametrize(
    ("outline", "box"),
    [
        ({"mask": RUNS}, Box(0.5, 0.0, 0.75, 1.0)),
        ({"polygon": [[16, 12, 32, 12, 32, 24, 16, 24], [48, 12, 64, 12, 64, 24, 48, 24]]}, Box(0.25, 0.25, 1.0, 0.5)),
        ({"quad": [16, 12, 32, 12, 32, 24, 16, 24]}, Box(0.25, 0.25, 0.5, 0.5)),
    ],
)
def test_outlines_take_the_place_of_boxes_where_they_are_asked_for(tmp_path: Path, outline: dict, box: Box) -> None:
    folder = marked(tmp_path, RECORD | {"regions": [CAT | outline, CAT]})
    [plain], [outlined] = marked_pictures(folder), marked_pictures(folder, masks=True)
    region, other = (one.said.regions[0] for one in outlined.notes)
    assert isinstance(region, Mask) and bounding_box(region) == box
    assert plain.notes[0].said.regions == (Box(0.25, 0.25, 0.5, 0.5),) == (other,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"regions": [CAT, {"label": "cat"}]}, "regions 1 of images/a.jpg is passed over: it has no 'box'"),
        ({"regions": [CAT, {"box": [1, 1, 5, 5]}]}, "has no 'label'"),
        ({"regions": [CAT, CAT | {"label": " "}]}, "no words"),
        ({"regions": [CAT, CAT | {"box": [70, 12, 80, 24]}]}, "no area"),
        ({"expressions": [{"text": "a cat", "box": [1, 2, 3]}], "regions": [CAT]}, "four numbers"),
    ],
)
def test_a_mark_that_cannot_be_used_is_said_and_the_rest_kept(tmp_path: Path, change: dict, reason: str) -> None:
    said: list[str] = []
    [example] = marked_pictures(marked(tmp_path, RECORD | change), report=said.append)
    assert [one.said.text for one in example.notes] == ["cat"]
    assert len(said) == 1 and reason in said[0], said


def test_a_record_that_cannot_be_used_is_said_and_a_file_without_any_refused(tmp_path: Path) -> None:
    said: list[str] = []
    broken = ["cat", {"image": "images/a.jpg"}, RECORD | {"width": 0}, RECORD | {"image": "images/b.jpg"}, RECORD | {"image": "../a.jpg"}]
    broken.append(RECORD | {"regions": "cat"})
    folder = marked(tmp_path / "set", *broken, RECORD)
    (tmp_path / "a.jpg").write_bytes(b"")
    assert len(list(marked_pictures(folder, report=said.append))) == 1
    assert len(said) == len(broken) and all("passed over" in line for line in said)
    with pytest.raises(ValueError, match=r"annotations\.jsonl"):
        list(marked_pictures(marked(tmp_path, *broken), report=said.append))
    with pytest.raises(ValueError, match="there is no file"):
        list(marked_pictures(tmp_path / "nowhere"))


def shared_sets() -> list[str]:
    """The folders of FOVEAL_DATA (or of the folder shared beside the repository) that hold `annotations.jsonl`."""
    folder = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
    return sorted(str(path.parent) for path in folder.glob("*/annotations.jsonl"))


@pytest.mark.parametrize("folder", [pytest.param(folder, id=Path(folder).name) for folder in shared_sets()] or [""])
def test_every_mark_of_lines_from_all_over_the_shared_sets_is_read(tmp_path: Path, folder: str) -> None:
    if not folder:
        pytest.skip("there are no marked pictures; set FOVEAL_DATA to a folder of sets with annotations.jsonl")
    written = Path(folder, "annotations.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in written[:: len(written) // LOOKED_AT + 1]]
    (tmp_path / "annotations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said: list[str] = []
    examples = list(marked_pictures(tmp_path, images=folder, report=said.append))
    assert (said, [example.id for example in examples]) == ([], [line["image"] for line in lines])
    assert [example.licence for example in examples] == [line["licence"] for line in lines]
    counts = Counter(one.source for example in examples for one in example.notes)
    assert counts["object"] + counts["crowd"] + counts["ignored"] == sum(len(line.get("regions", ())) for line in lines)
    assert counts["text"] == sum(bool(region.get("text")) for line in lines for region in line.get("regions", ()))
    assert counts["expression"] == sum(len(line.get("expressions", ())) for line in lines)
    assert all(example_from_json(example_to_json(example)) == example for example in examples[::10])

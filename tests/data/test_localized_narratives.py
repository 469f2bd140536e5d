"""Laws of the reader of Localized Narratives: what can be used is read line by line, what cannot is reported and passed over."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.data.narration import by_position
from foveal.data.sources.localized_narratives import LICENCE, localized_narratives, narration_of, record_of
from foveal.geometry import Box
from foveal.grounding import example_from_json, example_to_json


def point(x: float, y: float, t: float) -> dict[str, float]:
    return {"x": x, "y": y, "t": t}


def record(**other: Any) -> dict[str, Any]:
    said = [{"utterance": "a cat", "start_time": 0.0, "end_time": 1.0}, {"utterance": "and a dog", "start_time": 2.0, "end_time": 3.0}]
    way = [[point(0.9, 0.5, 2.0), point(0.9, 0.6, 3.0)], [], [point(0.1, 0.5, 0.0)], [point(0.1, 0.4, 1.0)]]
    names = {"dataset_id": "mscoco_val2017", "image_id": "139", "annotator_id": 7, "voice_recording": "x.ogg"}
    return names | {"caption": "A cat and a dog.", "timed_caption": said, "traces": way} | other


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_narrative_is_a_note_whose_words_have_places(tmp_path: Path) -> None:
    [example] = localized_narratives(written(tmp_path / "a.jsonl", record()))
    [note] = example.notes
    assert (example.id, example.licence, example.images) == ("mscoco_val2017/139/7", LICENCE, ())
    assert note.said.text == "A cat and a dog." and note.source == "narrative" and note.made_by == {"annotator": "7"}
    words = {note.said.text[span.start : span.end]: span.regions[0] for span in note.said.spans}
    assert list(words) == ["A", "cat", "and", "a", "dog"]
    assert isinstance(words["cat"], Box) and words["cat"].x1 < 0.2 and isinstance(words["dog"], Box) and words["dog"].x0 > 0.8
    assert example_from_json(example_to_json(example)) == example


def test_segments_of_any_length_are_joined_in_order_of_time() -> None:
    assert narration_of(record()).trace[:, 2].tolist() == [0, 1, 2, 3]


def test_what_cannot_be_used_is_reported_in_a_sentence_and_passed_over(tmp_path: Path) -> None:
    bad: list[tuple[dict[str, Any] | str, str]] = [
        ("{", "Expecting"),
        ("[1]", "wants an object"),
        (record(traces=None), "has no traces"),
        (record(caption=None), "has no caption"),
        (record(traces=[[], []]), "0 points; at least 2"),
        (record(traces=[[point(0.1, 0.1, 0.0)]]), "1 points; at least 2"),
        (record(traces=[[point(float("nan"), 0.1, 0.0), point(0.1, 0.1, 1.0)]]), "no numbers"),
        (record(traces=[[{"x": 0.1}, point(0.1, 0.1, 1.0)]]), "points of a trace x, y and t"),
        (record(traces=[0.5, 0.5]), "points of a trace x, y and t"),
        (record(traces=[[point(0.1, [], 1.0)]]), ""),  # type: ignore[arg-type]
        (record(timed_caption=[{"utterance": "cat", "start_time": 2.0, "end_time": 1.0}]), "in this order"),
        (record(timed_caption=[{"utterance": "cat"}]), "start_time"),
        (record(timed_caption=[{"utterance": "cat", "start_time": 0.0, "end_time": 10**400}]), "utterances want"),
        (record(traces=[[point(10**400, 0.1, 0.0), point(0.1, 0.1, 1.0)]]), "points of a trace x, y and t"),
    ]
    path = written(tmp_path / "a.jsonl", *(line for line, _ in bad), "", record())
    said: list[str] = []
    assert len(list(localized_narratives(path, report=said.append))) == 1
    assert len(said) == len(bad)
    for number, (sentence, (_, reason)) in enumerate(zip(said, bad, strict=True), start=1):
        assert sentence.startswith(f"{path}, line {number}, is passed over: ") and reason in sentence and "\n" not in sentence


def test_without_a_listener_reports_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(list(localized_narratives(written(tmp_path / "a.jsonl", "{", record())))) == 1
    assert "line 1, is passed over" in caplog.text


def test_lines_are_read_only_when_they_are_wanted(tmp_path: Path) -> None:
    said: list[str] = []
    examples = localized_narratives(written(tmp_path / "a.jsonl", record(), "{"), report=said.append)
    next(examples)
    assert not said
    assert not list(examples) and said


def test_a_file_without_a_narrative_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no line of .*a\.jsonl can be used; it wants objects with image_id"):
        list(localized_narratives(written(tmp_path / "a.jsonl", "{}"), report=lambda said: None))
    with pytest.raises(ValueError, match="there is no file of narratives at"):
        list(localized_narratives(tmp_path))


def test_paths_and_patterns_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        written(tmp_path / f"{name}.jsonl", record(image_id=name))
    names = [example.id.split("/")[1] for example in localized_narratives(str(tmp_path / "*.jsonl"))]
    assert names == ["a", "b"]
    assert [example.id.split("/")[1] for example in localized_narratives([tmp_path / "b.jsonl", tmp_path / "a.jsonl"])] == ["b", "a"]
    with pytest.raises(ValueError, match="there is no file of narratives at"):
        list(localized_narratives(tmp_path / "c.jsonl"))


def test_narratives_of_one_image_come_together_when_asked_for(tmp_path: Path) -> None:
    lines = [record(), record(image_id="5"), "{", "", record(annotator_id=8), record(dataset_id="mscoco_train2017")]
    path = written(tmp_path / "a.jsonl", *lines)
    said: list[str] = []
    examples = list(localized_narratives(path, together=True, keep_traces=True, report=said.append))
    assert [example.id for example in examples] == ["mscoco_val2017/139", "mscoco_val2017/5", "mscoco_train2017/139"]
    assert [note.made_by["annotator"] for note in examples[0].notes] == ["7", "8"] and len(said) == 1
    assert np.array(examples[0].facts["traces"]).shape == (2, 4, 3)


def test_pictures_are_found_by_the_names_that_coco_gives_them(tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "000000000139.jpg")
    Image.new("RGB", (4, 4)).save(tmp_path / "train2017" / "000000000139.jpg")
    Image.new("RGB", (3, 3)).save(tmp_path / "f1.jpg")
    lines = [record(), record(dataset_id="mscoco_train2017"), record(dataset_id="openimages", image_id="f1"), record(image_id="12")]
    said: list[str] = []
    examples = list(localized_narratives(written(tmp_path / "a.jsonl", *lines), images=tmp_path, report=said.append))
    assert [(example.images[0].width, example.images[0].height) for example in examples] == [(8, 6), (4, 4), (3, 3)]
    assert len(said) == 1 and "There is no image file" in said[0] and "000000000012.jpg" in said[0]


def test_places_are_got_as_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", record())
    [one], [other] = localized_narratives(path), localized_narratives(path, align=by_position)
    assert one.notes[0].said.text == other.notes[0].said.text and one.notes[0].said != other.notes[0].said


def test_a_record_written_is_the_narration_read() -> None:
    narration = narration_of(record())
    again = narration_of(json.loads(json.dumps(record_of(narration, "139"))))
    assert (again.caption, again.said) == (narration.caption, narration.said)
    assert (again.trace == narration.trace).all()
    assert len(record_of(narration, "139")["traces"]) == 4  # a second between any two points

"""Laws of the readers of conversations: who says what in turn, pictures out of the words, places where the words mean them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.conversations import llava_conversations, qwen_conversations, swift_objects
from foveal.geometry import Box, Point
from foveal.grounding import Span, example_from_json, example_to_json

ASKED, ANSWERED = {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}
LLAVA = {"id": "000000000139", "image": "coco/train2017/000000000139.jpg", "conversations": [ASKED, ANSWERED]}
QWEN = {
    "id": "identity_1",
    "conversations": [
        {"from": "user", "value": "Picture 1: <img>https://example.com/assets/demo.jpeg</img>\nWhat breed is <box>(100,200),(300,400)</box>?"},
        {"from": "assistant", "value": "A Labrador."},
        {"from": "user", "value": "Frame the shirt"},
        {"from": "assistant", "value": "<ref>The shirt</ref><box>(588,499),(725,789)</box>"},
    ],
}
SWIFT = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "<image>Describe the image."},
        {"role": "assistant", "content": "<ref-object><bbox> and <ref-object><bbox><bbox> are playing"},
    ],
    "images": ["/data/x.jpg"],
    "objects": {"ref": ["a dog", "two women"], "bbox": [[16, 12, 32, 24], [0, 0, 16, 48], [48, 0, 64, 48]]},
}


def listed(path: Path, *records: Any) -> Path:
    path.write_text(json.dumps(records))
    return path


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def picture(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def words(example: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.said.text) for turn in example.turns]


def test_llava_items_are_turns_without_the_mark_of_the_picture(tmp_path: Path) -> None:
    """The fields of llava_v1_5_mix665k.json (github.com/haotian-liu/LLaVA, docs/Finetune_Custom_Data.md); text-only items have no image."""
    alone = {"id": "wgByO4Y_0", "model": "", "conversations": [{"from": "human", "value": "What is <image> in HTML?"}, ANSWERED]}
    kept = picture(tmp_path / "images/train2017/000000000139.jpg")
    first, again, text = llava_conversations(listed(tmp_path / "a.json", LLAVA, LLAVA, alone), images=tmp_path / "images", licence="CC BY 4.0")
    assert (first.id, again.id, text.id) == ("000000000139/0", "000000000139/1", "wgByO4Y_0/2")
    assert words(first) == [("user", "What is it?"), ("assistant", "A cat.")]
    assert (first.images[0].path, first.images[0].width, first.licence) == (str(kept), 64, "CC BY 4.0")
    assert (text.images, words(text)[0]) == ((), ("user", "What is <image> in HTML?"))
    assert example_from_json(example_to_json(first)) == first
    assert [example.images for example in llava_conversations(tmp_path / "a.json")] == [(), (), ()]


def test_several_pictures_come_in_their_order(tmp_path: Path) -> None:
    """A list under `image` (github.com/QwenLM/Qwen3-VL, fine-tuning, dataset preparation)."""
    names = ["a.jpg", "b.jpg"]
    for number, name in enumerate(names, 1):
        picture(tmp_path / name, (number, 1))
    talk = [{"from": "human", "value": "<image>\n<image>\nCompare."}, ANSWERED]
    [example] = llava_conversations(listed(tmp_path / "a.json", LLAVA | {"image": names, "conversations": talk}), images=tmp_path)
    assert ([picture.width for picture in example.images], words(example)[0][1]) == ([1, 2], "Compare.")


def test_qwen_names_pictures_in_words_and_places_in_thousandths(tmp_path: Path) -> None:
    """The list of github.com/QwenLM/Qwen-VL, README, Data preparation."""
    kept = picture(tmp_path / "demo.jpeg")
    [example] = qwen_conversations(listed(tmp_path / "a.json", QWEN), images=tmp_path)
    assert (example.id, example.images[0].path) == ("identity_1/0", str(kept))
    assert [text for _, text in words(example)] == ["What breed is ?", "A Labrador.", "Frame the shirt", "The shirt"]
    assert example.turns[0].said.regions == (Box(0.1, 0.2, 0.3, 0.4),)
    assert example.turns[3].said.spans == (Span(0, 9, (Box(0.588, 0.499, 0.725, 0.789),)),)
    assert example_from_json(example_to_json(example)) == example


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("<img>a.jpg</img> What is the store called? Answer: ", "What is the store called?"),
        ("<img>a.jpg</img> Generate the caption in English: ", "Generate the caption in English:"),
        ("<img>a.jpg</img> Which is right? Answer: yes or no", "Which is right? Answer: yes or no"),
        ("<img>a.jpg</img> Say it: Answer:", "Say it: Answer:"),
    ],
)
def test_a_question_loses_the_cue_that_the_processor_writes(tmp_path: Path, said: str, question: str) -> None:
    """How Monkey asks (github.com/Yuliang-Liu/Monkey, README and evaluate_vqa.py)."""
    talk = [{"from": "user", "value": said}, {"from": "assistant", "value": "so"}]
    [example] = qwen_conversations(listed(tmp_path / "a.json", {"id": "1", "conversations": talk}))
    assert words(example)[0][1] == question


def test_swift_fills_words_and_places_into_their_marks(tmp_path: Path) -> None:
    """`objects` with ref and bbox (ms-swift, docs/source_en/Customization/Custom-dataset.md, Grounding)."""
    picture(tmp_path / "x.jpg")
    click = {"messages": [{"role": "user", "content": "<image>Open it"}, {"role": "assistant", "content": "click('<bbox>')"}]}
    click |= {"images": ["/data/x.jpg"], "objects": {"ref": [], "bbox": [[0.25, 0.5]], "bbox_type": "norm1"}}
    first, second = swift_objects(lines(tmp_path / "a.jsonl", SWIFT, click), images=tmp_path)
    assert (first.id, second.id, first.facts) == ("0", "1", {"system": "You are a helpful assistant."})
    assert words(first) == [("user", "Describe the image."), ("assistant", "a dog and two women are playing")]
    assert first.turns[1].said.spans == (
        Span(0, 5, (Box(0.25, 0.25, 0.5, 0.5),)),
        Span(10, 19, (Box(0.0, 0.0, 0.25, 1.0), Box(0.75, 0.0, 1.0, 1.0))),
    )
    assert second.turns[1].said.spans == (Span(7, 7, (Point(0.25, 0.5),)),)
    assert example_from_json(example_to_json(first)) == first


def test_swift_boxes_lie_in_the_picture_they_name(tmp_path: Path) -> None:
    for name, size in (("a.jpg", (64, 48)), ("b.jpg", (128, 96))):
        picture(tmp_path / name, size)
    talk = [{"role": "user", "content": "<image><image>Where is the <ref-object>?"}, {"role": "assistant", "content": "<bbox>"}]
    record = {"messages": talk, "images": ["a.jpg", "b.jpg"], "objects": {"ref": ["cup"], "bbox": [[0, 0, 64, 48]], "image_id": [1]}}
    [example] = swift_objects(lines(tmp_path / "a.jsonl", record), images=tmp_path)
    assert words(example)[0] == ("user", "Where is the cup?") and example.turns[0].said.spans == ()
    assert example.turns[1].said.regions == (Box(0.0, 0.0, 0.5, 0.5, 1),)


def changed(record: dict[str, Any], **objects: Any) -> dict[str, Any]:
    return record | {"objects": record["objects"] | objects}


@pytest.mark.parametrize(
    ("read", "record", "reason"),
    [
        (llava_conversations, LLAVA | {"conversations": [ANSWERED, ASKED]}, "must alternate"),
        (llava_conversations, LLAVA | {"conversations": [ASKED, ANSWERED, ANSWERED]}, "must alternate"),
        (llava_conversations, LLAVA | {"conversations": []}, "must alternate"),
        (llava_conversations, LLAVA | {"conversations": [{"from": "human", "value": "<image>"}, ANSWERED]}, "empty"),
        (llava_conversations, LLAVA | {"conversations": [{"from": "human", "value": "<image><image>?"}, ANSWERED]}, "2 marks <image> for 1"),
        (llava_conversations, LLAVA | {"conversations": [{"from": "tool", "value": "?"}, ANSWERED]}, "'tool' speaks"),
        (llava_conversations, LLAVA | {"conversations": [{"from": "human", "value": None}, ANSWERED]}, "no text"),
        (llava_conversations, LLAVA | {"conversations": ["?"]}, "wants an object"),
        (llava_conversations, LLAVA | {"image": 7}, "a name or a list of names"),
        (llava_conversations, {"id": "1", "video": "a.mp4", "conversations": [ASKED, ANSWERED]}, "video"),
        (llava_conversations, {"id": "1"}, "has no 'conversations'"),
        (llava_conversations, "cat", "wants an object"),
        (
            qwen_conversations,
            {"conversations": [{"from": "user", "value": "<img>a</img><img>b</img><box>(1,1),(9,9)</box>?"}, ANSWERED]},
            "nothing says in which",
        ),
        (swift_objects, SWIFT, "pictures are there to measure"),
        (swift_objects, changed(SWIFT, bbox_type="norm1000"), "norm1000"),
        (swift_objects, changed(SWIFT, ref=["a dog"]), "2 marks <ref-object> for 1"),
        (swift_objects, changed(SWIFT, bbox=[]), "3 marks <bbox> for 0"),
        (swift_objects, changed(SWIFT, bbox_type="norm1", bbox=[[0.5, 0.5, 0.2, 0.2]] * 3), "no area"),
        (swift_objects, SWIFT | {"videos": ["a.mp4"]}, "only pictures"),
    ],
)
def test_an_item_that_cannot_be_used_is_said_and_a_file_without_any_refused(tmp_path: Path, read: Callable, record: Any, reason: str) -> None:
    write = lines if read is swift_objects else listed
    whole = {"messages": SWIFT["messages"][:2], "images": []} if read is swift_objects else QWEN
    said: list[str] = []
    assert len(list(read(write(tmp_path / "a.json", record, whole), report=said.append))) == 1
    assert len(said) == 1 and "passed over" in said[0] and reason in said[0], said
    with pytest.raises(ValueError, match=r"a\.json"):
        list(read(write(tmp_path / "a.json", record), report=said.append))


@pytest.mark.parametrize("read", [llava_conversations, qwen_conversations, swift_objects])
@pytest.mark.parametrize("text", ["{", "not json", "{}", "[]", '[{"id": 1', ""])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, read: Callable, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(read(tmp_path / "a.json", report=lambda said: None))


def test_a_picture_that_is_missing_or_leads_elsewhere_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg")
    picture(tmp_path / "images/b.jpg")
    said: list[str] = []
    items = [LLAVA | {"id": name, "image": name} for name in ("a.jpg", "../secret.jpg", "b.jpg")]
    assert [example.id for example in llava_conversations(listed(tmp_path / "a.json", *items), images=tmp_path / "images", report=said.append)] == [
        "b.jpg/2"
    ]
    assert len(said) == 2 and "there is no file" in said[0] and "no name of a file within" in said[1]

"""Laws of the readers of questions about text, charts, tables and documents: a question is an example, and words of the picture are notes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.documents import (
    ai2d,
    chart_qa,
    doc_vqa,
    due,
    infographics_vqa,
    ocr_vqa,
    st_vqa,
    text_caps,
    text_vqa,
    visual_mrc,
)
from foveal.geometry import Box
from foveal.grounding import Example, example_from_json, example_to_json

Read = Callable[..., Iterator[Example]]


def drawn(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def written(path: Path, *records: Any) -> Path:
    """A file of one record, or of one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def spoken(example: Example) -> tuple[str, ...]:
    return tuple(turn.said.text for turn in example.turns)


TEXT_VQA = {  # TextVQA_0.5.1_val.json (textvqa.org/dataset; mmpretrain, datasets/textvqa.py)
    "question": "what is the brand of this camera?",
    "image_id": "003a8ae2ef43b901",
    "image_classes": ["Cassette deck", "Printer"],
    "flickr_original_url": "",
    "flickr_300k_url": "",
    "image_width": 1024,
    "image_height": 664,
    "answers": ["nous les gosses", "dakota", "clos culombu", "dakota digital", "dakota"],
    "question_tokens": ["what", "is"],
    "question_id": 34602,
    "set_name": "val",
}
ST_VQA = {  # train_task_3.json (rrc.cvc.uab.es/?ch=11; big_vision, datasets/stvqa)
    "file_path": "coco-text/COCO_train2014_000000209325.jpg",
    "file_name": "COCO_train2014_000000209325.jpg",
    "dataset": "coco-text",
    "question": "What is the name of the street?",
    "question_id": 1,
    "answers": ["bridge street", "bridge"],
    "set_name": "train",
}
DOC_VQA = {  # train_v1.0_withQT.json (rrc.cvc.uab.es/?ch=17; huggingface.co/datasets/lmms-lab/DocVQA; big_vision, datasets/docvqa)
    "questionId": 337,
    "question": "what is the date mentioned in this letter? ",
    "question_types": ["handwritten", "form"],
    "image": "documents/xnbl0037_1.png",
    "docId": 279,
    "ucsf_document_id": "xnbl0037",
    "ucsf_document_page_no": "1",
    "answers": ["1/8/93"],
    "data_split": "train",
}
INFOGRAPHICS = {  # infographicsVQA_train_v1.0.json (rrc.cvc.uab.es/?ch=17; big_vision, datasets/infovqa: the picture is image_local_name)
    "questionId": 98313,
    "question": "Which social platform has heavy female audience?",
    "image_local_name": "20471.jpeg",
    "image_url": "",
    "ocr_output_file": "20471.json",
    "answers": ["pinterest"],
    "data_split": "train",
}
BOOK = {  # dataset.json (ocr-vqa.github.io; mmpretrain, datasets/ocr_vqa.py)
    "imageURL": "http://ecx.images-amazon.com/images/I/61Y5cOdHJbL.jpg",
    "questions": ["Who wrote this book?", "Is this a games related book?"],
    "answers": ["Sandra Boynton", "No"],
    "title": "Mom's Family Wall Calendar 2016",
    "authorName": "Sandra Boynton",
    "genre": "Calendars",
    "split": 1,
}
CHART = {"imgname": "41699051005347.png", "query": "How many food item is shown in the bar graph?", "label": "14"}  # github.com/vis-nlp/ChartQA


@pytest.mark.parametrize(
    ("read", "record", "picture", "name", "said", "facts"),
    [
        (
            text_vqa,
            {"dataset_type": "val", "data": [TEXT_VQA]},
            "003a8ae2ef43b901.jpg",
            "34602",
            ("what is the brand of this camera?", "dakota"),
            {"question_id": 34602, "set": "val", "answers": ["nous les gosses", "dakota", "clos culombu", "dakota digital", "dakota"]},
        ),
        (
            st_vqa,
            {"data": [ST_VQA]},
            "coco-text/COCO_train2014_000000209325.jpg",
            "1",
            ("What is the name of the street?", "bridge street"),
            {"question_id": 1, "set": "train", "answers": ["bridge street", "bridge"]},
        ),
        (
            doc_vqa,
            {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "data": [DOC_VQA]},
            "documents/xnbl0037_1.png",
            "337",
            ("what is the date mentioned in this letter?", "1/8/93"),
            {"question_id": 337, "document": 279, "split": "train", "question_type": ["handwritten", "form"], "answers": ["1/8/93"]},
        ),
        (
            infographics_vqa,
            {"dataset_name": "infographicVQA", "data": [INFOGRAPHICS]},
            "20471.jpeg",
            "98313",
            ("Which social platform has heavy female audience?", "pinterest"),
            {"question_id": 98313, "split": "train", "answers": ["pinterest"]},
        ),
        (
            ocr_vqa,
            {"761183272": BOOK},
            "761183272.jpg",
            "761183272/0",
            ("Who wrote this book?", "Sandra Boynton"),
            {"question_id": "761183272/0", "split": "train", "title": BOOK["title"], "author": "Sandra Boynton", "genre": "Calendars"},
        ),
        (chart_qa, [CHART], "41699051005347.png", "annotations/0", (CHART["query"], "14"), {"set": "annotations", "answers": ["14"]}),
    ],
)
def test_a_question_is_an_example(
    tmp_path: Path, read: Read, record: Any, picture: str, name: str, said: tuple[str, str], facts: dict[str, Any]
) -> None:
    file = drawn(tmp_path / "images" / picture)
    example = next(read(written(tmp_path / "annotations.json", record), images=tmp_path / "images", licence="CC BY 4.0"))
    assert (example.id, spoken(example), example.notes, example.licence) == (name, said, (), "CC BY 4.0")
    assert example.facts == {"answers": [said[1]]} | facts
    size = (1024, 664) if read is text_vqa else (64, 48)  # TextVQA states it
    assert [(one.path, (one.width, one.height)) for one in example.images] == [(str(file), size)]
    assert example_from_json(example_to_json(example)) == example
    assert next(read(tmp_path / "annotations.json")).images == ()


@pytest.mark.parametrize(
    ("read", "record", "answers"),
    [(text_vqa, TEXT_VQA, "answers"), (st_vqa, ST_VQA, "answers"), (doc_vqa, DOC_VQA, "answers"), (infographics_vqa, INFOGRAPHICS, "answers")],
)
def test_a_question_of_a_test_set_stands_alone(tmp_path: Path, read: Read, record: dict[str, Any], answers: str) -> None:
    told = {name: value for name, value in record.items() if name != answers}
    [example] = read(written(tmp_path / "a.json", {"data": [told]}))
    assert [turn.role for turn in example.turns] == ["user"] and "answers" not in example.facts


def test_the_questions_about_a_book_are_an_example_each_and_a_lame_book_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    books = {"1": BOOK, "2": BOOK | {"answers": ["No"]}, "3": BOOK | {"questions": ["", "Is it?"]}, "4": [], "5": {"imageURL": None}}
    examples = list(ocr_vqa(written(tmp_path / "a.json", books), report=said.append))
    assert [one.id for one in examples] == ["1/0", "1/1", "3/1"] and spoken(examples[1]) == ("Is this a games related book?", "No")
    assert [line.partition("a.json, ")[2].partition(" is passed over: ")[0] for line in said] == ["'2',", "'3', question 0,", "'4',", "'5',"]


def ai2d_folders(folder: Path, **change: Any) -> tuple[Path, Path, Path]:
    """The files of ai2d-all.zip (allenai.org/data/diagrams; big_vision, datasets/ai2d)."""
    asked = {"abcLabel": True, "answerTexts": ["ears", "nose", "mouth", "face"], "correctAnswer": 3, "questionId": "0.png-0"} | change
    plain = {"abcLabel": False, "answerTexts": ["1", "2"], "correctAnswer": 0, "questionId": "0.png-1"}
    questions = {"questions": {"What is A in the diagram?": asked, "How many faces are there?": plain}, "imageName": "0.png"}
    words = {"T0": {"id": "T0", "rectangle": [[16, 12], [32, 24]], "replacementText": "A", "value": "face"}}
    words |= {"T1": {"id": "T1", "rectangle": [[16, 12], [16, 24]], "replacementText": "B", "value": "ears"}}
    known = {"text": words, "arrows": {}, "arrowHeads": {}, "blobs": {}, "relationships": {}, "imageConsts": {}, "imageName": "0.png"}
    written(folder / "questions/0.png.json", questions)
    written(folder / "annotations/0.png.json", known)
    (folder / "ai2d_test_ids.csv").write_text("0\n")
    return folder / "questions", folder / "annotations", folder / "ai2d_test_ids.csv"


def test_words_of_a_diagram_are_notes_and_letters_stand_where_a_question_means_them(tmp_path: Path) -> None:
    drawn(tmp_path / "images/0.png")
    said: list[str] = []
    first, second = ai2d(*ai2d_folders(tmp_path), images=tmp_path / "images", report=said.append)
    assert (first.id, spoken(first), spoken(second)) == ("0.png-0", ("What is A in the diagram?", "face"), ("How many faces are there?", "1"))
    assert first.facts["choices"] == ["ears", "nose", "mouth", "face"] and (first.facts["abc_label"], first.facts["split"]) == (True, "test")
    place = (Box(0.25, 0.25, 0.5, 0.5),)
    assert [(one.said.text, one.source, one.said.regions) for one in first.notes] == [("face", "text", place), ("A", "letter", place)]
    assert [one.said.text for one in second.notes] == ["face"]
    assert len(said) == 3 and all("no area" in line for line in said)
    assert example_from_json(example_to_json(first)) == first


def test_without_the_picture_its_words_are_known_but_not_their_places(tmp_path: Path) -> None:
    _, second = ai2d(*ai2d_folders(tmp_path)[:2])
    assert [(one.said.text, one.said.spans) for one in second.notes] == [("face", ()), ("ears", ())] and "split" not in second.facts


def due_file(folder: Path, *annotations: dict[str, Any], **change: Any) -> Path:
    """The fields of train/document.jsonl (github.com/due-benchmark/du-schema, schema/document.json and examples/docvqa)."""
    document = {"name": "xnbl0037_1", "language": "en", "annotations": list(annotations), "split": "train"} | change
    return written(folder / "train/document.jsonl", document)


DATE = {"id": "0", "key": "what is the date?", "values": [{"value": "1/8/93", "value_variants": ["8 Jan", "1/8/93"]}], "metadata": {}}
NAMES = {"id": "1", "key": "which names?", "values": [{"value": "Ann", "value_variants": ["Ann", "A."]}, {"value": "Bob"}]}
TABLE = {"id": "2", "key": "which table?", "values": [{"value": "1", "children": [{"id": "3", "key": "row", "values": [{"value": "2"}]}]}]}


def test_a_key_of_due_is_asked_of_all_pages_in_their_order(tmp_path: Path) -> None:
    """Pages lie in png/<name>/ (github.com/due-benchmark/baselines, benchmarker/data/reader/benchmark_dataset.py)."""
    for page in (0, 10, 2):
        drawn(tmp_path / f"png/xnbl0037_1/{page}.png", (60 + page, 48))
    said: list[str] = []
    first, second = due(due_file(tmp_path, DATE, NAMES, TABLE), images=tmp_path / "png", report=said.append)
    assert (first.id, spoken(first)) == ("xnbl0037_1/0", ("what is the date?", "1/8/93"))
    assert first.facts == {"answers": ["1/8/93", "8 Jan"], "question_id": "0", "document": "xnbl0037_1", "split": "train"}
    assert [page.width for page in first.images] == [60, 62, 70]
    assert (spoken(second)[1], second.facts["values"]) == ("Ann, Bob", [["Ann", "A."], ["Bob"]])
    assert len(said) == 1 and "question 2, is passed over" in said[0]
    assert example_from_json(example_to_json(first)) == first


def test_a_document_of_one_page_may_be_a_file_of_its_name(tmp_path: Path) -> None:
    page = drawn(tmp_path / "pngs/xnbl0037_1.png")
    [example] = due(due_file(tmp_path, DATE, name="xnbl0037_1.pdf"), images=tmp_path / "pngs")
    assert [one.path for one in example.images] == [str(page)]


def page_of_visual_mrc(**change: Any) -> dict[str, Any]:
    """The fields of a line of train.jsonl (github.com/nttmdlab-nlp/VisualMRC, README)."""
    word = {"word": "Tea", "confidence": 96, "bbox": {"x": 16, "y": 12, "width": 8, "height": 12}}
    heading = {
        "id": "a",
        "structure": "Heading/Title",
        "shape": {"x": 16, "y": 12, "width": 32, "height": 12},
        "ocr_info": [word, word | {"word": ""}],
    }
    picture = {"id": "b", "structure": "Image", "shape": {"x": 0, "y": 24, "width": 0, "height": 24}}
    asked = {"question": {"text": "What is it about?"}, "answer": {"text": "It is about tea.", "relevant": ["a"]}}
    about = {"id": "00000", "license": "", "url": "https://a.org", "screenshot_filename": "s/00000.png", "image_filename": "images/00000.png"}
    return about | {"bounding_boxes": [heading, picture], "qa_data": [asked]} | change


def test_regions_and_words_of_a_screenshot_are_notes(tmp_path: Path) -> None:
    drawn(tmp_path / "images/00000.png")
    said: list[str] = []
    [example] = visual_mrc(written(tmp_path / "train.jsonl", page_of_visual_mrc()), images=tmp_path, report=said.append)
    assert (example.id, spoken(example)) == ("00000/0", ("What is it about?", "It is about tea."))
    assert example.facts == {"answers": ["It is about tea."], "relevant": ["a"], "url": "https://a.org"}
    assert [(one.said.text, one.source, one.said.regions, one.made_by) for one in example.notes] == [
        ("Heading/Title", "region", (Box(0.25, 0.25, 0.75, 0.5),), {"id": "a"}),
        ("Tea", "text", (Box(0.25, 0.25, 0.375, 0.5),), {}),
    ]
    assert len(said) == 1 and "no area" in said[0]
    assert example_from_json(example_to_json(example)) == example


def test_the_captions_of_a_picture_stand_together(tmp_path: Path) -> None:
    """The fields of TextCaps_0.1_train.json (textvqa.org/textcaps; huggingface.co/datasets/lmms-lab/TextCaps; big_vision, datasets/textcaps)."""
    one, other = "A tea box says Earl Grey.", "A box of tea."
    about = {"image_id": "0a", "image_name": "0a", "image_path": "train/0a.jpg", "image_width": 64, "image_height": 48, "set_name": "train"}
    records = [about | {"caption_id": n, "caption_str": said, "reference_strs": [one, other]} for n, said in enumerate((one, other))]
    bare = {name: about[name] for name in ("image_name", "set_name")}
    told: list[str] = []
    file = written(tmp_path / "a.json", {"data": [*records, bare, about | {"image_id": "0b"}]})
    picture = drawn(tmp_path / "train_images/0a.jpg")
    [example] = text_caps(file, images=tmp_path / "train_images", report=told.append)
    assert (example.id, example.turns, example.facts) == ("0a", (), {"set": "train"})
    assert [(each.said.text, each.source) for each in example.notes] == [(one, "caption"), (other, "caption")]
    assert [each.path for each in example.images] == [str(picture)]
    assert len(told) == 2 and "has no 'image_id'" in told[0] and "there is no file" in told[1]


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda folder: {"read": text_vqa, "file": written(folder / "a.json", {"data": [TEXT_VQA | {"image_width": 0}]})}, "a size of 0 x "),
        (lambda folder: {"read": doc_vqa, "file": written(folder / "a.json", {"data": [DOC_VQA | {"image": "/etc/a.png"}]})}, "no name of a file"),
        (lambda folder: {"read": chart_qa, "file": written(folder / "a.json", [CHART])}, "there is no file"),
        (lambda folder: {"read": ai2d, "file": ai2d_folders(folder / "b", correctAnswer=-1)[0]}, "number -1 of 4 choices"),
        (lambda folder: {"read": due, "file": due_file(folder, DATE)}, "there is no page of it"),
        (lambda folder: {"read": due, "file": due_file(folder, DATE, name="..")}, "no name of a document"),
        (lambda folder: {"read": visual_mrc, "file": written(folder / "a.jsonl", page_of_visual_mrc(qa_data=[{"question": {}}]))}, "has no 'text'"),
    ],
)
def test_a_question_that_cannot_be_used_is_said(tmp_path: Path, read: Callable[[Path], dict[str, Any]], reason: str) -> None:
    said: list[str] = []
    case = read(tmp_path)
    for name in ("003a8ae2ef43b901.jpg", "0.png"):
        drawn(tmp_path / "images" / name)
    try:
        left = [example.id for example in case["read"](case["file"], images=tmp_path / "images", report=said.append)]
        assert left == ["0.png-1"]  # AI2D's next question
    except ValueError as error:
        assert "nothing of" in str(error)
    assert len(said) == 1 and "is passed over: " in said[0] and reason in said[0], said


@pytest.mark.parametrize("read", [chart_qa, doc_vqa, due, infographics_vqa, ocr_vqa, st_vqa, text_caps, text_vqa, visual_mrc])
@pytest.mark.parametrize("text", ["{", "not json", "{}", "[]", '{"a": 1}', "[1]", '{"data": [[]]}', '{"name": 1, "annotations": [1]}'])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, read: Read, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(read(tmp_path / "a.json", report=lambda _: None))


def test_a_folder_without_questions_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="questions can be used"):
        list(ai2d(tmp_path / "questions"))

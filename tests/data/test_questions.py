"""Laws of the readers of questions about natural pictures: a question is an example, the commonest answer is said, all answers are facts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.answers import Form, answered
from foveal.data.sources.questions import gqa, science_qa, vizwiz, vqa
from foveal.grounding import Example, example_from_json, example_to_json


def written(path: Path, record: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def drawn(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(path)
    return path


def spoken(example: Example) -> list[tuple[str, str]]:
    return [(turn.role, turn.said.text) for turn in example.turns]


def vqa_files(folder: Path, *, name: str = "train2014", **change: Any) -> tuple[Path, Path]:
    """The fields of v2_OpenEnded_mscoco_train2014_questions.json and v2_mscoco_train2014_annotations.json (visualqa.org/download.html)."""
    head = {"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": name, "license": {"name": "", "url": ""}}
    question = {"image_id": 458752, "question": "What is this photo taken looking through?", "question_id": 458752000}
    told = ["net"] * 3 + ["netting", "mesh", "net", "net", "net", "net", "netting"]
    answers = [{"answer": one, "answer_confidence": "yes", "answer_id": place} for place, one in enumerate(told, 1)]
    about = {"question_type": "what is this", "multiple_choice_answer": "net", "answer_type": "other", "image_id": 458752, "question_id": 458752000}
    annotation = about | {"answers": answers} | change
    return written(folder / "q.json", head | {"questions": [question]}), written(folder / "a.json", head | {"annotations": [annotation]})


def test_a_question_of_vqa_is_an_example_with_the_commonest_answer(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "train2014/COCO_train2014_000000458752.jpg")
    [example] = vqa(*vqa_files(tmp_path), images=tmp_path / "train2014", licence="CC BY 4.0")
    assert (example.id, example.licence, example.notes) == ("458752000", "CC BY 4.0", ())
    assert [(one.path, one.width, one.height) for one in example.images] == [(str(picture), 64, 48)]
    assert spoken(example) == [("user", "What is this photo taken looking through?"), ("assistant", "net")]
    facts = {"question_id": 458752000, "question_type": "what is this", "answer_type": "other", "split": "train2014"}
    assert example.facts == facts | {"answers": ["net"] * 3 + ["netting", "mesh"] + ["net"] * 4 + ["netting"]}
    assert example_from_json(example_to_json(example)) == example


def test_of_a_stemmed_answer_the_words_as_they_were_written_are_said(tmp_path: Path) -> None:
    """OK-VQA's answers are stemmed, and `raw_answer` keeps the words (okvqa.allenai.org/download.html; big_vision, datasets/okvqa)."""
    answers = [("race", "racing"), ("race", "race"), ("motocross", "motocross")]
    told = [{"answer_id": place, "raw_answer": raw, "answer_confidence": "yes", "answer": one} for place, (one, raw) in enumerate(answers, 1)]
    [example] = vqa(*vqa_files(tmp_path, answers=told))
    assert spoken(example)[1] == ("assistant", "racing") and example.facts["answers"] == ["race", "race", "motocross"]


def test_a_question_of_a_test_set_stands_alone_with_its_picture(tmp_path: Path) -> None:
    drawn(tmp_path / "COCO_test2015_000000458752.jpg")
    [example] = vqa(vqa_files(tmp_path, name="test-dev2015")[0], images=tmp_path)
    assert [role for role, _ in spoken(example)] == ["user"] and "answers" not in example.facts
    assert example.images[0].path == str(tmp_path / "COCO_test2015_000000458752.jpg")


def gqa_file(path: Path, **change: Any) -> Path:
    """The fields of train_balanced_questions.json (cs.stanford.edu/people/dorarad/gqa/download.html; big_vision, datasets/gqa)."""
    question = {"semantic": [{"operation": "select", "dependencies": [], "argument": "wall (719061)"}], "entailed": [], "equivalent": ["07333408"]}
    question |= {"question": "What is on the white wall?", "imageId": "2375429", "isBalanced": True, "groups": {"global": None, "local": "06-wall"}}
    question |= {"answer": "pipe", "semanticStr": "select: wall (719061)", "annotations": {"answer": {"0": "719060"}, "question": {}}}
    question |= {"types": {"detailed": "relS", "semantic": "rel", "structural": "query"}, "fullAnswer": "The pipe is on the wall."}
    return written(path, {"07333408": question | change})


def test_gqa_is_read_by_its_keys(tmp_path: Path) -> None:
    drawn(tmp_path / "images/2375429.jpg")
    [example] = gqa(gqa_file(tmp_path / "q.json"), images=tmp_path / "images")
    assert (example.id, spoken(example)) == ("07333408", [("user", "What is on the white wall?"), ("assistant", "pipe")])
    types = {"detailed": "relS", "semantic": "rel", "structural": "query"}
    facts = {"question_id": "07333408", "full_answer": "The pipe is on the wall.", "question_type": types, "balanced": True}
    assert example.facts == facts | {"answers": ["pipe"]}
    assert example_from_json(example_to_json(example)) == example


def vizwiz_file(path: Path, **change: Any) -> Path:
    """The fields of train.json (vizwiz.org/tasks-and-datasets/vqa; mmpretrain, datasets/vizwiz.py)."""
    told = ["no", "unanswerable", "night time", "unanswerable", "night time", "night time cold medicine", "night time", "", "night time", "medicine"]
    answers = [{"answer": one, "answer_confidence": "maybe"} for one in told]
    about = {"answer_type": "other", "answerable": 1, "question": "Can you tell me what this medicine is please?"}
    return written(path, [{"image": "VizWiz_val_00000001.jpg", "answers": answers} | about | change])


def test_vizwiz_says_whether_a_question_can_be_answered(tmp_path: Path) -> None:
    [example] = vizwiz(vizwiz_file(tmp_path / "val.json"))
    assert (example.id, spoken(example)[1]) == ("VizWiz_val_00000001.jpg", ("assistant", "night time"))
    assert (example.facts["answerable"], example.facts["answer_type"]) == (1, "other")
    assert isinstance(example.facts["answers"], list) and len(example.facts["answers"]) == 9  # an empty one is none


def science_files(folder: Path, **change: Any) -> tuple[Path, Path]:
    """The fields of problems.json and pid_splits.json (github.com/lupantech/ScienceQA, data/scienceqa; big_vision, datasets/science_qa)."""
    problem = {"question": "Which of these states is farthest north?", "choices": ["West Virginia", "Louisiana", "Arizona", "Oklahoma"], "answer": 0}
    problem |= {"hint": "", "image": "image.png", "task": "closed choice", "grade": "grade2", "subject": "social science", "topic": "geography"}
    problem |= {"category": "Geography", "skill": "Read a map", "lecture": "Maps have four directions.", "solution": "…", "split": "train"}
    problems = {"1": problem | change, "2": problem | {"image": None, "answer": 3}, "3": problem | {"split": "val", "image": None}}
    splits = {"train": ["1", "2"], "val": ["3"], "test": [], "minitrain": ["2"]}
    return written(folder / "problems.json", problems), written(folder / "pid_splits.json", splits)


def test_a_problem_of_science_qa_is_answered_with_the_words_of_the_right_choice(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "train/1/image.png")
    first, second, third = science_qa(science_files(tmp_path)[0], images=tmp_path)
    assert [spoken(one)[1][1] for one in (first, second, third)] == ["West Virginia", "Oklahoma", "West Virginia"]
    assert [one.path for one in first.images] == [str(picture)] and second.images == third.images == ()
    assert first.facts["choices"] == ["West Virginia", "Louisiana", "Arizona", "Oklahoma"] and first.facts["answers"] == ["West Virginia"]
    assert (first.facts["split"], first.facts["lecture"]) == ("train", "Maps have four directions.")
    assert example_from_json(example_to_json(first)) == first


def test_a_split_is_as_the_problems_or_the_list_of_splits_say(tmp_path: Path) -> None:
    problems, splits = science_files(tmp_path)
    assert [one.id for one in science_qa(problems, split="train")] == ["1", "2"]
    assert [one.id for one in science_qa(problems, splits, split="minitrain")] == ["2"]
    with pytest.raises(ValueError, match=r"pid_splits\.json lists no split 'minival'"):
        science_qa(problems, splits, split="minival")


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda folder, report: vqa(*vqa_files(folder, question_id=1), report=report), "has no answers to question 458752000"),
        (lambda folder, report: vqa(*vqa_files(folder, answers=[{"answer": ["net"]}]), report=report), "where a text is wanted"),
        (lambda folder, report: vqa(*vqa_files(folder), images=folder, report=report), "there is no file"),
        (lambda folder, report: gqa(gqa_file(folder / "a.json", question=" "), report=report), "it wants a text"),
        (lambda folder, report: gqa(gqa_file(folder / "a.json", imageId="../a"), images=folder, report=report), "no name of a file within"),
        (lambda folder, report: vizwiz(vizwiz_file(folder / "a.json", question=7), report=report), "it wants a text"),
        (lambda folder, report: science_qa(science_files(folder, answer=4)[0], split="train", report=report), "number 4 of 4 choices"),
    ],
)
def test_a_question_that_cannot_be_used_is_said(tmp_path: Path, read: Callable[..., Any], reason: str) -> None:
    said: list[str] = []
    try:
        assert [one.id for one in read(tmp_path, said.append)] == ["2"]  # ScienceQA's next problem
    except ValueError as error:
        assert "nothing of" in str(error)
    assert len(said) == 1 and "is passed over: " in said[0] and reason in said[0], said


@pytest.mark.parametrize("read", [vqa, gqa, vizwiz, science_qa])
@pytest.mark.parametrize("text", ["{", "not json", "{}", "[]", '{"a": 1}', "[1]", '{"questions": [[]]}', '[{"image": "a.jpg"}]'])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, read: Callable[..., Any], text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(read(tmp_path / "a.json", report=lambda _: None))


def test_of_equally_many_answers_the_first_is_said() -> None:
    record = {"question_id": 1, "question": "Where?", "answers": ["here", "there", 3]}
    [example] = answered([("record", record)], Form(), source="a", images=None, licence="", report=print)
    assert (spoken(example)[1], example.facts["answers"]) == (("assistant", "here"), ["here", "there", "3"])

"""Laws of the readers of POPE, MME and SEED-Bench, of EST-VQA, and of Karpathy's and NoCaps' captions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.sources.captions import karpathy, no_caps
from foveal.data.sources.questions import est_vqa
from foveal.data.sources.suites import mme, pope, seed_bench
from foveal.grounding import Example, example_from_json, example_to_json


def drawn(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(path, format="PNG")
    return path


def written(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def spoken(example: Example) -> list[str]:
    return [turn.said.text for turn in example.turns]


POPE = {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard in the image?", "label": "yes"}
SEED = {  # SEED-Bench.json (huggingface.co/datasets/AILab-CVC/SEED-Bench; github.com/AILab-CVC/SEED-Bench, eval.py)
    "answer": "C",
    "choice_a": "One",
    "choice_b": "Two",
    "choice_c": "Three",
    "choice_d": "Four",
    "data_id": "1454426_2591111986",
    "data_type": "image",
    "question": "How many towels are in the image?",
    "question_id": "101669",
    "question_type_id": 5,
}
TYPES = {"Scene Understanding": 1, "Instances Counting": 5}


def test_a_line_of_pope_is_a_question_of_yes_or_no(tmp_path: Path) -> None:
    """The fields of coco_pope_adversarial.json (github.com/AoiDragon/POPE, output/coco), a line each."""
    drawn(tmp_path / "val2014" / POPE["image"])
    said: list[str] = []
    file = written(tmp_path / "coco_pope_adversarial.json", POPE, {"text": 7, "question_id": 2, "image": POPE["image"]})
    [example] = pope(file, images=tmp_path / "val2014", report=said.append)
    assert (example.id, spoken(example)) == ("1", [POPE["text"], "yes"])
    assert example.facts == {"answers": ["yes"], "question_id": 1, "kind": "adversarial"} and example.images[0].width == 64
    assert len(said) == 1 and "it wants a text" in said[0]
    assert example_from_json(example_to_json(example)) == example


def mme_folder(folder: Path) -> Path:
    """MME_Benchmark's two layouts (github.com/BradyFU/Awesome-Multimodal-Large-Language-Models; LLaVA, convert_answer_to_mme.py)."""
    lines = "Is there a dog? Please answer yes or no.\tYes\nIs there a cat? Please answer yes or no.\tNo\n"
    for task, sheet, picture in (("existence", "7.txt", "7.jpg"), ("scene", "questions_answers_YN/8.txt", "images/8.png")):
        drawn(folder / task / picture)
        (folder / task / sheet).parent.mkdir(exist_ok=True)
        (folder / task / sheet).write_text(lines)
    return folder


def test_both_layouts_of_mme_are_read_and_a_lame_picture_is_said(tmp_path: Path) -> None:
    folder, said = mme_folder(tmp_path / "MME_Benchmark"), list[str]()
    (folder / "count").mkdir()
    (folder / "count/9.txt").write_text("How?\tYes\n")
    found = list(mme(folder, report=said.append))
    assert [one.id for one in found] == ["existence/7/0", "existence/7/1", "scene/8/0", "scene/8/1"]
    assert [spoken(one) for one in found[:2]] == [
        ["Is there a dog? Please answer yes or no.", "yes"],
        ["Is there a cat? Please answer yes or no.", "no"],
    ]
    assert (found[2].facts["task"], found[2].facts["picture"], found[2].images[0].path) == (
        "scene",
        "scene/8.png",
        str(folder / "scene/images/8.png"),
    )
    assert len(said) == 1 and "there is no picture" in said[0]
    with pytest.raises(ValueError, match="can be used"):
        list(mme(tmp_path / "none"))


def test_of_seed_bench_the_questions_about_pictures_are_read(tmp_path: Path) -> None:
    drawn(tmp_path / "SEED-Bench-image/1454426_2591111986")
    video, odd = SEED | {"data_type": "video"}, SEED | {"answer": "E", "question_id": "2"}
    said: list[str] = []
    file = written(tmp_path / "SEED-Bench.json", {"questions": [SEED, video, odd], "question_type": TYPES})
    [example] = seed_bench(file, images=tmp_path / "SEED-Bench-image", report=said.append)
    assert (example.id, spoken(example)) == ("101669", ["How many towels are in the image?", "Three"])
    assert example.facts == {"answers": ["Three"], "choices": ["One", "Two", "Three", "Four"], "question_id": "101669", "kind": "Instances Counting"}
    assert len(said) == 1


def test_questions_of_est_vqa_stand_below_their_picture(tmp_path: Path) -> None:
    """The fields of train.json as loaders of benchmarks of reading take them."""
    drawn(tmp_path / "images/train/7.jpg")
    asked = [{"question": "What is the store?", "answer": "Tea", "evidence": [[0, 0, 4, 0, 4, 4, 0, 4]]}, {"question": "Which number?", "answer": 12}]
    file = written(tmp_path / "annotations/train.json", [{"image": "7.jpg", "annotation": asked}])
    first, second = est_vqa(file, images=tmp_path / "images/train")
    assert (first.id, spoken(first)) == ("7/0", ["What is the store?", "Tea"])
    assert (second.id, second.facts["answers"]) == ("7/1", ["12"])


def karpathy_file(path: Path) -> Path:
    """The fields of dataset_coco.json and dataset_flickr30k.json (cs.stanford.edu/people/karpathy/deepimagesent)."""
    sentences = [
        {"tokens": ["a", "dog"], "raw": "A dog.", "imgid": 0, "sentid": 1},
        {"tokens": ["dogs"], "raw": "Dogs run.", "imgid": 0, "sentid": 2},
    ]
    coco = {
        "filepath": "val2014",
        "sentids": [1, 2],
        "filename": "COCO_val2014_000000391895.jpg",
        "imgid": 0,
        "split": "test",
        "sentences": sentences,
    }
    flickr = {"sentids": [1], "imgid": 1, "sentences": sentences[:1], "split": "train", "filename": "1000092795.jpg"}
    lame = flickr | {"sentences": [], "split": "test"}
    return written(path, {"images": [coco | {"cocoid": 391895}, flickr, lame], "dataset": "coco"})


def test_a_split_of_karpathy_has_its_pictures_and_all_their_captions(tmp_path: Path) -> None:
    file, said = karpathy_file(tmp_path / "dataset_coco.json"), list[str]()
    picture = drawn(tmp_path / "coco/val2014/COCO_val2014_000000391895.jpg")
    [example] = karpathy(file, split="test", images=tmp_path / "coco", report=said.append)
    assert (example.id, example.images[0].path, example.facts) == ("391895", str(picture), {"split": "test"})
    assert [(one.said.text, one.source) for one in example.notes] == [("A dog.", "caption"), ("Dogs run.", "caption")]
    assert len(said) == 1 and "it has no caption" in said[0]
    assert [one.id for one in karpathy(file, report=said.append)] == ["391895", "1"]
    with pytest.raises(ValueError, match="split val"):
        list(karpathy(file, split="val"))


def nocaps_file(path: Path) -> Path:
    """COCO's form with a domain for each picture (nocaps.org/download; people's scripts that evaluate by image["domain"])."""
    images = [
        {"id": number, "open_images_id": f"0{number}", "height": 48, "width": 64, "coco_url": "", "file_name": f"0{number}.jpg", "domain": domain}
        for number, domain in enumerate(("in-domain", "near-domain", "out-domain"))
    ]
    told = [{"id": 10 * one["id"] + n, "image_id": one["id"], "caption": f"A thing, {one['domain']} {n}."} for one in images for n in range(2)]
    return written(path, {"licenses": [], "info": {}, "images": images, "annotations": told})


def test_a_picture_of_nocaps_has_its_domain(tmp_path: Path) -> None:
    found = list(no_caps(nocaps_file(tmp_path / "a.json")))
    assert [one.facts for one in found] == [{"domain": "in-domain"}, {"domain": "near-domain"}, {"domain": "out-domain"}]
    assert [len(one.notes) for one in found] == [2, 2, 2]


@pytest.mark.parametrize("read", [pope, seed_bench, est_vqa, karpathy, no_caps])
@pytest.mark.parametrize("text", ["{", "not json", "{}", "[]", '{"a": 1}', "[1]", '{"questions": [[]]}', '{"images": [[]]}'])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, read: Callable[..., Any], text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        list(read(tmp_path / "a.json", report=lambda _: None))

"""Laws of the official benchmarks of captioned regions, placed words and detection: the truth is right, and figures are the metrics' own."""

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.evaluate.benchmark import Benchmark, answered_figures, run_benchmark
from foveal.evaluate.benchmarks import detection, narratives, regions
from foveal.evaluate.benchmarks.detection import coco_detection, lvis_detection
from foveal.evaluate.benchmarks.narratives import word_places
from foveal.evaluate.benchmarks.regions import caption_figures, dense, vg_region_captions
from foveal.evaluate.boxes import place_error
from foveal.evaluate.captions import bleu, cider_d
from foveal.evaluate.dense import dense_figures, dense_matches
from foveal.evaluate.detection import coco_figures
from foveal.evaluate.kept import ANSWERS, read_answers
from foveal.evaluate.meteor import meteor
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Span, tied
from foveal.grounding.wordings import VERBS
from foveal.session import Session

SHARED = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
FERRET, PIXEL_LLM, MONKEY = VERBS["ferret"], VERBS["pixel_llm"], VERBS["monkey"]
CUP, DOG, FAR = Box(0.25, 0.25, 0.5, 0.75), Box(0.5, 0.0, 1.0, 0.5), Box(0.9, 0.9, 0.95, 0.95)
CUP_PX, DOG_PX, HERD_PX = [16.0, 12.0, 16.0, 24.0], [32.0, 0.0, 32.0, 24.0], [0.0, 36.0, 32.0, 12.0]


def pictured(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "grey").save(path)


def written(path: Path, record: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record if isinstance(record, str) else json.dumps(record))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official folders of Visual Genome, COCO and Localized Narratives, with two pictures of each."""
    root = tmp_path_factory.mktemp("data")
    pictures = [{"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48} for number in (1, 2)]
    pictured(root / "vg/VG_100K/1.jpg")
    pictured(root / "vg/VG_100K_2/2.jpg")
    told = [(1, CUP_PX, "a red cup"), (1, CUP_PX, "the cup of tea"), (1, DOG_PX, "a dog asleep on grass"), (2, DOG_PX, "a wet dog")]
    entries = [{"id": place, "image_id": image, "bbox": box, "caption": words} for place, (image, box, words) in enumerate(told)]
    written(root / "vg/annotations/test.json", {"images": pictures, "annotations": entries, "categories": []})
    found: dict[int, list] = {1: [], 2: [], 3: []}
    for place, (image, (x, y, w, h), words) in enumerate(told):
        found[image].append({"region_id": place, "image_id": image, "x": x, "y": y, "width": w, "height": h, "phrase": words})
    found[3] = [found[2][0] | {"image_id": 3}]
    written(root / "vg/region_descriptions.json", [{"id": image, "regions": listed} for image, listed in found.items()])
    written(root / "vg/image_data.json", [{"image_id": image, "width": 64, "height": 48} for image in found])
    written(root / "vg/densecap_splits.json", {"train": [3], "test": [1, 2]})
    for number in (1, 2):
        pictured(root / f"coco/val2017/{number}.jpg")
    kinds = [{"id": 3, "name": "cup", "frequency": "f"}, {"id": 7, "name": "hot_dog", "frequency": "r"}, {"id": 9, "name": "kite", "frequency": "c"}]
    things = [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": CUP_PX, "area": 300.0, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 7, "bbox": DOG_PX, "area": 700.0, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 3, "bbox": HERD_PX, "area": 384.0, "iscrowd": 1},
    ]
    written(root / "coco/annotations/instances_val2017.json", {"images": pictures, "annotations": things, "categories": kinds})
    lists = [{"neg_category_ids": [9], "not_exhaustive_category_ids": []}, {"neg_category_ids": [3], "not_exhaustive_category_ids": [7]}]
    listed = [
        {key: one[key] for key in ("id", "width", "height")} | {"coco_url": f"http://x/val2017/{one['id']}.jpg"} | more
        for one, more in zip(pictures, lists, strict=True)
    ]
    written(root / "lvis/lvis_v1_val.json", {"images": listed, "annotations": things[:2], "categories": kinds})
    _narrated(root)
    return root


def _narrated(root: Path) -> None:
    pictured(root / "coco/val2017/000000000139.jpg")
    said = [{"utterance": "a cup", "start_time": 0.0, "end_time": 1.0}, {"utterance": "and a dog", "start_time": 2.0, "end_time": 3.0}]
    way = [[{"x": x, "y": y, "t": t} for x, y, t in ((0.1, 0.1, 0.0), (0.3, 0.4, 1.0), (0.6, 0.5, 2.0), (0.9, 0.9, 3.0))]]
    record = {
        "dataset_id": "mscoco_val2017",
        "image_id": "139",
        "annotator_id": 7,
        "caption": "A cup and a dog.",
        "timed_caption": said,
        "traces": way,
    }
    lines = [record, record | {"annotator_id": 8, "caption": "A cup, and a dog."}]
    written(root / "localized_narratives/coco_val_localized_narratives.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def asked(benchmark: Benchmark, root: Path, verbs: Any = PIXEL_LLM) -> list[Example]:
    questions = list(benchmark.questions(root, verbs))
    assert questions and len({one.id for one in questions}) == len(questions)
    assert all(len(one.turns) == 1 and one.notes[0].source == "truth" and Path(str(one.images[0].path)).is_file() for one in questions)
    return questions


def misplaced(said: GroundedText) -> GroundedText:
    return GroundedText(said.text, tuple(Span(span.start, span.end, (FAR,)) for span in said.spans))


def everything(*things: tuple[str, Box, float]) -> GroundedText:
    """As a detector says it, with scores."""
    said = [GroundedText(words, (Span(0, len(words), (box,), (score,)),)) for words, box, score in things]
    return GroundedText.join(*[part for one in said for part in ("; ", one)][1:])


@pytest.mark.parametrize("layout", ["grit", "visual_genome"])
def test_dense_captions_are_judged_by_place_and_words(root: Path, layout: Any) -> None:
    benchmark = dense(layout=layout)
    first, second = asked(benchmark, root)
    assert first.turns[0].said.text == "everything in the picture"
    assert [len(first.notes[0].said.regions), len(second.notes[0].said.regions)] == [3, 1]
    right = everything(("a red cup", CUP, 0.9), ("a dog asleep on grass", DOG, 0.8))
    wordless = everything(("of", CUP, 0.9), ("of", DOG, 0.8))
    assert benchmark.score(first, right) == 1.0 == benchmark.score(second, second.notes[0].said)
    assert benchmark.score(first, misplaced(right)) == 0.0 == benchmark.score(first, GroundedText(""))
    assert 0 <= benchmark.score(first, wordless) < 0.5
    answered = [(first, everything(("a cup", CUP, 0.9), ("grass", FAR, 0.95))), (second, everything(("a wet dog", DOG, 0.5)))]
    found = answered_figures(benchmark, answered)
    matches = dense_matches([(said, one.notes[0].said) for one, said in answered])
    by_hand = dense_figures(matches, lambda candidates, references: meteor(list(candidates), list(references)).each.tolist())
    assert {name: found[name].value for name in ("map", "detection", "detection@0.5")} == {
        name: by_hand[name] for name in ("map", "detection", "detection@0.5")
    }
    assert 0 < found["map"].value < found["detection"].value < 1 and benchmark.main == "map"
    with pytest.raises(ValueError, match="Ferret was not trained to be asked for dense captions"):
        asked(benchmark, root, FERRET)


def test_a_region_is_asked_about_once_and_each_sentence_is_a_reference(root: Path) -> None:
    benchmark = vg_region_captions()
    questions = asked(benchmark, root, FERRET)
    assert [[note.said.text for note in one.notes] for one in questions] == [
        ["a red cup", "the cup of tea"],
        ["a dog asleep on grass"],
        ["a wet dog"],
    ]
    assert questions[0].turns[0].said.regions == (CUP,) and questions[0].notes[1].said.regions == (CUP,)
    assert [len(asked(vg_region_captions(most=1), root, MONKEY)), len(asked(vg_region_captions(layout="visual_genome"), root))] == [2, 3]
    says = ["a red cup", "a dog asleep on grass", "two wet dogs"]
    found = answered_figures(benchmark, [(one, GroundedText(words)) for one, words in zip(questions, says, strict=True)])
    rows = ["a red cup", *says], [["a red cup"], ["the cup of tea"], ["a dog asleep on grass"], ["a wet dog"]]
    assert found["cider"].value == pytest.approx(cider_d(*rows).value) and found["meteor"].value == meteor(*rows).value
    assert found["bleu_4"].value == bleu(*rows)[3].value and found["rouge_l"].count == 4
    assert benchmark.score(questions[1], GroundedText(says[1])) == 1.0 and benchmark.score(questions[1], GroundedText("kites")) == 0.0
    assert set(caption_figures(*rows)) <= set(found)


def test_a_split_that_is_not_listed_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"densecap_splits\.json lists no pictures of split 'val'"):
        asked(dense("val", layout="visual_genome"), root)


def test_words_are_right_that_are_said_where_they_are(root: Path) -> None:
    benchmark = narratives.narratives()
    [one] = asked(benchmark, root)
    assert [note.said.text for note in one.notes] == ["A cup and a dog.", "A cup, and a dog."]
    true = one.notes[0].said
    assert benchmark.score(one, true) == 1.0 and benchmark.score(one, misplaced(true)) == 0.0
    assert benchmark.score(one, GroundedText(true.text)) == 0.0 == benchmark.score(one, GroundedText(""))
    cup = next(span.regions[0] for span in true.spans if true.text[span.start : span.end] == "cup")
    half = GroundedText.join("The ", tied("cup", cup), " and ", tied("one", FAR), " dog")
    assert benchmark.score(one, half) == pytest.approx(1 / 5)
    found = answered_figures(benchmark, [(one, half)])
    assert (found["said"].value, found["placed"].value, found["word_inside"].value) == (3 / 5, 1 / 3, 1 / 3)
    assert found["point_l1"].value == 0.0 and found["cider"].count == 1
    off = answered_figures(benchmark, [(one, misplaced(true))])
    errors = []
    for note in one.notes:
        placed, there, _ = word_places(misplaced(true), note.said)
        corners = [np.array([[box.x0, box.y0, box.x1, box.y1] for box in boxes if box]).reshape(-1, 2, 2) for boxes in (placed, there)]
        errors.append(place_error(*corners, np.ones(len(there), bool)))
    assert off["point_l1"].value == pytest.approx(np.mean(errors)) and off["point_l1"].value > 0.2 and off["word_iou"].value == 0
    published = asked(narratives.narratives(as_published=True), root)[0].notes[0].said
    assert len(published.spans) == 5 and published != true
    assert asked(benchmark, root, FERRET)[0].turns[0].said.text.endswith("coordinates for each mentioned object.")
    with pytest.raises(ValueError, match="Monkey was not trained to be asked for grounded caption"):
        asked(benchmark, root, MONKEY)


def test_a_detector_is_judged_by_cocos_own_records(root: Path) -> None:
    benchmark = coco_detection()
    first, second = asked(benchmark, root)
    assert second.notes[0].said == GroundedText("") and benchmark.score(second, GroundedText("")) == 1.0
    right = everything(("a cup of tea", CUP, 0.9), ("hot dog", DOG, 0.8))
    assert benchmark.score(first, first.notes[0].said) == 1.0 == benchmark.score(first, right)
    assert benchmark.score(first, misplaced(right)) == 0.0 == benchmark.score(first, everything(("hot dog", CUP, 0.9), ("cup", DOG, 0.8)))
    herd = Box(0.0, 0.75, 0.25, 1.0)
    says = [everything(("cup", CUP, 0.9), ("a cup", herd, 0.95), ("a thing", DOG, 0.5)), everything(("hot dog", CUP, 0.3))]
    found = answered_figures(benchmark, list(zip((first, second), says, strict=True)))
    truth = json.loads((root / "coco/annotations/instances_val2017.json").read_text())
    results = [
        {"image_id": 1, "category_id": 3, "bbox": CUP_PX, "score": 0.9},
        {"image_id": 1, "category_id": 3, "bbox": [0.0, 36.0, 16.0, 12.0], "score": 0.95},
        {"image_id": 2, "category_id": 7, "bbox": CUP_PX, "score": 0.3},
    ]
    by_hand = coco_figures(truth, results)
    assert {name: found[name].value for name in by_hand} == pytest.approx(by_hand) and found["AP"].value == pytest.approx(0.5)
    nameless = coco_figures(truth, [*results, {"image_id": 1, "category_id": 9, "bbox": DOG_PX, "score": 0.5}], by_name=False)
    assert {name: found[f"unnamed/{name}"].value for name in nameless} == pytest.approx(nameless) and found["unnamed/AP50"].value == pytest.approx(
        1.0
    )
    assert asked(benchmark, root, FERRET)[0].turns[0].said == FERRET.detection
    with pytest.raises(ValueError, match="Monkey was not trained to be asked for dense captions"):
        asked(benchmark, root, MONKEY)


def test_lvis_counts_names_only_where_they_are_marked_or_denied(root: Path) -> None:
    benchmark = lvis_detection()
    first, second = asked(benchmark, root)
    assert first.facts["names"] == {"3": ["cup", "f"], "7": ["hot dog", "r"], "9": ["kite", "c"]} and second.facts["neg_category_ids"] == [3]
    right = everything(("cup", CUP, 0.5), ("hot dog", DOG, 0.5))
    denied = everything(("cup", DOG, 0.9))
    open_one = everything(("hot dog", CUP, 0.9), ("kite", CUP, 0.9))
    values = [answered_figures(benchmark, [(first, right), (second, said)])["AP"].value for said in (GroundedText(""), open_one, denied)]
    assert values == pytest.approx([1.0, 1.0, 0.75])


def test_a_spelling_that_two_names_share_names_neither(root: Path, tmp_path: Path) -> None:
    known = json.loads((root / "coco/annotations/instances_val2017.json").read_text())
    known["categories"][0]["name"], known["categories"][1]["name"] = "bow_(weapon)", "bow_(ribbons)"
    written(tmp_path / "a.json", known)
    (tmp_path / "coco").symlink_to(root / "coco")
    benchmark = coco_detection("a.json")
    [one, _] = asked(benchmark, tmp_path)
    for words, right in (("a weapon", 1.0), ("a bow (weapon)", 1.0), ("a bow", 0.0), ("a weapon with ribbons", 0.0)):
        assert benchmark.score(one, everything((words, CUP, 0.9))) == pytest.approx(right * 2 / 3)
    assert benchmark.score(one, one.notes[0].said) == 1.0


def test_every_marked_thing_of_lvis_own_sample_is_found_by_its_truth(tmp_path: Path) -> None:
    file = SHARED / "fixtures/lvis/lvis_val_100.json.gz"
    if not file.is_file():
        pytest.skip("no lvis_val_100.json.gz; set FOVEAL_DATA to a folder that holds it in fixtures/lvis")
    (tmp_path / "lvis").mkdir()
    (tmp_path / "lvis/a.json.gz").symlink_to(file)
    with gzip.open(file) as lines:
        names = [picture["file_name"] for picture in json.load(lines)["images"]]
    (tmp_path / "coco/val2014").mkdir(parents=True)
    for name in names[:25]:
        (tmp_path / "coco/val2014" / name).touch()
    benchmark = lvis_detection("lvis/a.json.gz", images="coco/val2014", report=lambda sentence: None)
    questions = asked(benchmark, tmp_path)
    assert len(questions) == 25 and all(benchmark.score(one, one.notes[0].said) == 1.0 for one in questions)
    found = answered_figures(benchmark, [(one, one.notes[0].said) for one in questions])
    assert found["AP"].value > 0.999 and found["AP"].count == sum(len(one.notes[0].said.regions) for one in questions) > 100


def test_a_run_is_scored_again_from_its_answers(root: Path, tmp_path: Path, ferret: Any, make_pixel_llm: Any) -> None:
    detector = {"width": 8, "up": 4, "layers": 1, "groups": 2, "hidden": [6, 6], "peaks": 20, "proposals": 8, "detections": 4, "floor": 0.0}
    told = make_pixel_llm(detector=detector)
    runs: list[tuple[Any, Sequence[Benchmark]]] = [
        (told, [dense(), vg_region_captions(), narratives.narratives(), coco_detection()]),
        (ferret, [vg_region_captions(), narratives.narratives(), lvis_detection()]),
    ]
    for (model, processor), benchmarks in runs:
        for benchmark in benchmarks:
            out = tmp_path / model.config.model_type / benchmark.name
            found = run_benchmark(replace(benchmark, max_new_tokens=6), Session(model, processor, "tiny"), root, out)
            again = read_answers(out / ANSWERS)
            assert answered_figures(benchmark, again) == found and found["refused"].value == 0.0, benchmark.name
            assert benchmark.main in found and all(0 <= benchmark.score(*one) <= 1 for one in again)


def test_every_benchmark_has_a_name_of_its_own_and_says_what_it_is() -> None:
    every = [*regions.OFFICIAL, *narratives.OFFICIAL, *detection.OFFICIAL]
    assert [one.name for one in every] == ["vg-dense-test", "vg-regions-test", "narratives-coco-val", "coco-detection", "lvis-detection"]
    assert all(one.about.endswith(".") and one.files for one in every)

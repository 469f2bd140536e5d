"""Laws of the official benchmarks of two names: the right one alone is right, and what is pointed at lies in the thing."""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.evaluate.benchmark import Benchmark, answered_figures, run_benchmark
from foveal.evaluate.benchmarks import region_choice
from foveal.evaluate.benchmarks.region_choice import lvis_choices, sampled_lvis_choices, stroke_in, wild_choices
from foveal.evaluate.kept import ANSWERS, read_answers
from foveal.geometry import Box, Frame, Point, bounding_box, encode_mask, mask_to_coco, rasterise
from foveal.grounding import Example, GroundedText
from foveal.grounding.formats import BracketFormat
from foveal.grounding.wordings import VERBS
from foveal.session import Session

SHARED = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
PARITY = Path(os.environ.get("FOVEAL_PARITY") or Path(__file__).parents[3] / "shared" / "parity")
FERRET, PIXEL_LLM, MONKEY = VERBS["ferret"], VERBS["pixel_llm"], VERBS["monkey"]
LADY = Box(0.25, 8 / 48, 0.75, 40 / 48)
SQUARE = [[16.0, 8.0, 48.0, 8.0, 48.0, 40.0, 16.0, 40.0]]


def pictured(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "grey").save(path)


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ferret's file, a folder of marked pictures, and one in SA-1B's form with names."""
    root = tmp_path_factory.mktemp("data")
    lines = []
    for number, name in enumerate(("remote_control", "bow_(weapon)", "cat")):
        pictured(root / f"coco/val2017/{number % 2}.jpg")
        stroke = np.zeros((64, 48), int)
        stroke[20:40, 10 + number : 12 + number] = 1
        record = {"id": number, "image_path": f"x/{number % 2}.jpg", "width": 64, "height": 48, "name": name, "synonyms": [name, "clicker"]}
        record |= {
            "neg_class": "dog",
            "bbox_norm": [0.25, 8 / 48, 0.75, 40 / 48],
            "sample_point": [32, 12],
            "free_shape_segment_mask": stroke.tolist(),
        }
        lines.append(record)
    written(root / "lvis/lvis_eval.jsonl", "".join(json.dumps(line) + "\n" for line in [*lines, {"id": 4}]))
    marked = [
        {"image": f"{name}.png", "width": 64, "height": 48, "regions": [{"box": [16, 8, 48, 40], "label": name, "polygon": SQUARE}]}
        for name in ("cat", "dog", "cup")
    ]
    for record in marked:
        pictured(root / "wild" / record["image"])
    marked[0]["regions"].append({"box": [1, 1, 9, 9], "label": "no mask"})
    written(root / "wild/annotations.jsonl", "".join(json.dumps(line) + "\n" for line in marked))
    runs = mask_to_coco(encode_mask(rasterise(LADY, (64, 48))))
    segments = [{"id": number, "segmentation": runs, "predicted_iou": 0.9, "stability_score": 0.9} for number in (5, 6, 7)]
    pictured(root / "sa/sa_3.jpg")
    written(
        root / "sa/sa_3.json", json.dumps({"image": {"image_id": 3, "width": 64, "height": 48, "file_name": "sa_3.jpg"}, "annotations": segments})
    )
    named = [
        {"image": 3, "segment": 5, "name": "buoy", "other": "kite"},
        {"image": 3, "segment": 7, "name": "pier", "synonyms": ["jetty"], "other": "bus"},
    ]
    written(root / "sa/names.jsonl", "".join(json.dumps(line) + "\n" for line in named))
    return root


def asked(benchmark: Benchmark, root: Path, verbs: Any = FERRET) -> list[Example]:
    questions = list(benchmark.questions(root, verbs))
    assert questions and len({one.id for one in questions}) == len(questions)
    assert all(len(one.turns) == 1 and one.notes[0].source == "truth" and Path(str(one.images[0].path)).is_file() for one in questions)
    return questions


CHOICES = [
    *((lvis_choices(form), 3) for form in ("point", "box", "free")),
    *((wild_choices("wild", form), 3) for form in ("point", "box", "free", "mask")),
    (wild_choices("sa", "point", layout="sa1b"), 2),
]


@pytest.mark.parametrize(("benchmark", "count"), CHOICES, ids=lambda value: getattr(value, "name", ""))
def test_of_two_names_the_right_one_alone_is_right(root: Path, benchmark: Benchmark, count: int) -> None:
    questions = asked(benchmark, root)
    assert len(questions) == count and questions == asked(benchmark, root)
    for one in questions:
        text, name, other = one.turns[0].said.text, one.notes[0].said.text, str(one.facts["other"])
        assert (text.index(f"a {name}") < text.index(f"a {other}")) == (int(one.id.rpartition("/")[2]) % 2 == 0)
        for answer, right in ((name, 1.0), (f"a {other}", 0.0), (f"It is no {name}.", 0.0), (f"a {name} or a {other}", 0.0)):
            assert benchmark.score(one, GroundedText(answer)) == right, (answer, one)


def test_ferrets_file_is_asked_as_ferret_asks_it(root: Path) -> None:
    point, box, free = (asked(lvis_choices(form), root) for form in ("point", "box", "free"))
    assert [one.id for one in point] == ["0/0", "2/2", "1/1"]  # those of a picture stand together, and keep the order of their names
    assert point[0].turns[0].said.text == "Is the object  of the image a remote_control or a dog?"
    assert point[0].turns[0].said.regions == (Point(0.5, 0.25),) and box[0].turns[0].said.regions == (LADY,)
    assert bounding_box(free[0].turns[0].said.regions[0]) == Box(20 / 64, 10 / 48, 40 / 64, 12 / 48)
    strict, published = lvis_choices("box"), lvis_choices("box", as_published=True)
    for answer, ours, theirs in (
        ("a remote control", 1, 1),
        ("a clicker", 1, 1),
        ("a Clicker", 1, 0),
        ("a dog or a clicker", 0, 1),
        ("It is not a clicker", 0, 1),
    ):
        assert (strict.score(box[0], GroundedText(answer)), published.score(box[0], GroundedText(answer))) == (ours, theirs), answer
    says = [GroundedText(words) for words in ("a remote control", "a dog", "a flamingo")]
    assert answered_figures(strict, [(box[0], said) for said in says])["decided"].value == pytest.approx(2 / 3)
    for verbs, form in ((PIXEL_LLM, "free"), (MONKEY, "point")):
        with pytest.raises(ValueError, match=f"{verbs.family} takes a region as .*, not as"):
            asked(lvis_choices(form), root, verbs)  # type: ignore[arg-type]


def test_questions_on_ferrets_file_are_the_recorded_ones(tmp_path: Path) -> None:
    file = PARITY / "ferret/text/eval_questions.json"
    if not file.is_file():
        pytest.skip("no recordings of Ferret's questions; set FOVEAL_PARITY to their folder")
    recorded = json.loads(file.read_text())["object_classification"]
    for record in recorded["records"]:
        pictured(tmp_path / "coco/val2017" / Path(record["image_path"]).name)
        mask = np.zeros((record["width"], record["height"]), int)
        mask[tuple(np.array(record.pop("free_shape_pixels_xy")).T)] = 1
        record["free_shape_segment_mask"] = mask.tolist()
    written(tmp_path / "lvis/lvis_eval.jsonl", "".join(json.dumps(record) + "\n" for record in recorded["records"]))
    for form in ("point", "box", "free"):
        questions = {int(one.id.rpartition("/")[2]): one for one in asked(lvis_choices(form), tmp_path)}
        spelling = BracketFormat(coordinates=form != "free", arithmetic="fraction")  # of a stroke the file keeps a box of its own
        for case in recorded["cases"]:
            if (
                case["region_format"] == form.replace("free", "free_shape")
                and case["add_region_feature"]
                and case["no_coordinates"] == (form == "free")
            ):
                one = questions[case["index"]]
                text = spelling.encode(one.turns[0].said, Frame.stretch((one.images[0].width, one.images[0].height)), feature_slots=True)
                assert text == case["question"].replace("  ", " ")


def test_a_stroke_lies_in_its_mask_and_the_seed_draws_it() -> None:
    bits = np.zeros((48, 64), bool)
    bits[5:40, 10:50] = True
    bits[15:25, 20:40] = False
    mask = encode_mask(bits)
    strokes = [rasterise(stroke_in(mask, np.random.default_rng(seed)), (64, 48)) for seed in (0, 0, 1)]
    assert all((stroke & ~bits).sum() == 0 < stroke.sum() < bits.sum() for stroke in strokes)
    assert (strokes[0] == strokes[1]).all() and (strokes[0] != strokes[2]).any()


def test_a_sample_of_lvis_points_into_things_and_offers_names_the_picture_lacks(tmp_path: Path) -> None:
    file = SHARED / "fixtures/lvis/lvis_val_100.json.gz"
    if not file.is_file():
        pytest.skip("no lvis_val_100.json.gz; set FOVEAL_DATA to a folder that holds it in fixtures/lvis")
    (tmp_path / "lvis").mkdir()
    (tmp_path / "lvis/lvis_val_100.json.gz").symlink_to(file)
    with gzip.open(file) as lines:
        known = json.load(lines)
    for picture in known["images"]:
        path = tmp_path / "coco" / Path(picture["coco_url"]).parent.name / Path(picture["coco_url"]).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    there = {(entry["image_id"], entry["category_id"]) for entry in known["annotations"]}
    names = {entry["name"].replace("_", " "): entry["id"] for entry in known["categories"]}
    drawn = {form: asked(sampled_lvis_choices(form, count=12, file="lvis/lvis_val_100.json.gz"), tmp_path) for form in ("point", "box", "free")}
    masks = asked(sampled_lvis_choices("mask", count=12, file="lvis/lvis_val_100.json.gz"), tmp_path)
    for point, box, free, whole in zip(*drawn.values(), masks, strict=True):
        size = point.images[0].width, point.images[0].height
        bits = rasterise(whole.turns[0].said.regions[0], size)
        assert rasterise(point.turns[0].said.regions[0], size, radius_px=0)[bits].sum() == 1
        assert not (rasterise(free.turns[0].said.regions[0], size) & ~bits).any()
        assert point.notes[0].said.text == box.notes[0].said.text and point.facts == free.facts
        assert (int(point.id.partition("/")[0]), names[str(point.facts["other"])]) not in there
    assert len(masks) == 12 and len({one.id.partition("/")[0] for one in masks}) > 5


def test_a_run_is_scored_again_from_its_answers(root: Path, tmp_path: Path, make_ferret: Callable[..., Any]) -> None:
    session = Session(*make_ferret(), "tiny")
    for benchmark in (lvis_choices("free"), lvis_choices("point", as_published=True), wild_choices("wild", "mask")):
        found = run_benchmark(replace(benchmark, max_new_tokens=8), session, root, tmp_path / benchmark.name)
        again = read_answers(tmp_path / benchmark.name / ANSWERS)
        assert answered_figures(benchmark, again) == found and found["refused"].value == 0.0, benchmark.name


def test_names_are_told_apart_and_a_file_without_masks_is_refused(root: Path) -> None:
    assert len({one.name for one in region_choice.OFFICIAL}) == 6 and all(one.about.endswith(".") for one in region_choice.OFFICIAL)
    with pytest.raises(ValueError, match=r"nothing of .*lvis_eval\.jsonl can be asked about"):
        asked(lvis_choices("mask"), root)

"""Laws of the official benchmarks of places: each layout is read, the truth is right, and figures are those of the metrics called by hand."""

import gzip
import json
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.evaluate.benchmark import Benchmark, answered_figures, run_benchmark
from foveal.evaluate.benchmarks import phrases as of_phrases
from foveal.evaluate.benchmarks import referring
from foveal.evaluate.benchmarks.phrases import phrases
from foveal.evaluate.benchmarks.referring import expression_boxes, expression_captions, expression_masks
from foveal.evaluate.boxes import Phrase, generalised_figures, phrase_recall, referring_figures
from foveal.evaluate.kept import ANSWERS, Answered, read_answers
from foveal.evaluate.masks import mask_figures
from foveal.geometry import Box, Mask, bounding_box, encode_mask, mask_to_coco, rasterise
from foveal.grounding import Example, GroundedText, Span, tied
from foveal.grounding.wordings import VERBS
from foveal.session import Session

SHARED = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
PARITY = Path(os.environ.get("FOVEAL_PARITY") or Path(__file__).parents[3] / "shared" / "parity")
FERRET, PIXEL_LLM, MONKEY = VERBS["ferret"], VERBS["pixel_llm"], VERBS["monkey"]
NAME = "COCO_train2014_000000000009.jpg"
LADY, FLAG, FAR = Box(0.25, 8 / 48, 0.75, 40 / 48), Box(0.5, 0.0, 0.75, 1.0), Box(0.9, 0.9, 1.0, 1.0)
LADY_PX, FLAG_PX = [16.0, 8.0, 32.0, 32.0], [32.0, 0.0, 16.0, 48.0]
SQUARE = [[16.0, 8.0, 48.0, 8.0, 48.0, 40.0, 16.0, 40.0]]


def pictured(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "grey").save(path)
    return path


def written(path: Path, record: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".p":
        path.write_bytes(pickle.dumps(record, protocol=2))
    else:
        path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def reference(number: int, split: str, ann: Any, *sentences: str) -> dict[str, Any]:
    said = [{"sent_id": 10 * number + place, "sent": words, "raw": words, "tokens": words.split()} for place, words in enumerate(sentences)]
    return {"ref_id": number, "ann_id": ann, "category_id": 1, "image_id": 9, "split": split, "sentences": said}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official folders, each with a picture or two."""
    root = tmp_path_factory.mktemp("data")
    pictured(root / "coco/train2014" / NAME)
    picture = {"id": 9, "file_name": NAME, "width": 64, "height": 48}
    lady = {"id": 1, "image_id": 9, "category_id": 1, "segmentation": SQUARE, "bbox": LADY_PX, "iscrowd": 0}
    flag = {"id": 2, "image_id": 9, "category_id": 2, "segmentation": mask_to_coco(encode_mask(rasterise(FLAG, (64, 48)))), "bbox": FLAG_PX}
    known = {"images": [picture], "annotations": [lady, flag], "categories": []}
    for data, name in (("refcoco", "refs(unc).p"), ("refcoco+", "refs(unc).p"), ("refcocog", "refs(umd).p")):
        refs = [reference(7, "val", 1, "the lady", "she, left"), reference(8, "val", 2, "flag"), reference(6, "train", 2, "a flag")]
        written(root / data / name, refs)
        written(root / data / "instances.json", known)
    refs = [reference(7, "val", [1], "the lady"), reference(8, "val", [1, 2], "both"), reference(9, "val", [-1], "a cat")]
    written(root / "grefcoco/grefs(unc).json", refs)
    written(root / "grefcoco/instances.json", known)
    told = [{**picture, "id": number, "caption": words, "original_id": 9} for number, words in enumerate(("the lady", "she, left", "flag"))]
    places = [{**thing, "image_id": place, "tokens_positive": [[0, 3]]} for place, thing in enumerate((lady, lady, flag))]
    written(root / "mdetr/finetune_refcoco_val.json", {"images": told, "annotations": places, "categories": []})
    one = {"image_id": 9, "width": 64, "height": 48, "bbox": LADY_PX, "mask": SQUARE, "expressions": ["the lady", "she, left"]}
    written(root / "seqtr/refcoco-unc/instances.json", {"val": [one, one | {"bbox": FLAG_PX, "expressions": ["flag"]}]})
    _entities(root)
    return root


def _entities(root: Path) -> None:
    """Flickr30k Entities counts corners from 1."""
    folder = root / "flickr30k"
    pictured(folder / "flickr30k-images/7.jpg")

    def marked(*corners: int) -> str:
        sides = "".join(f"<{side}>{at}</{side}>" for side, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
        return f"<object><name>1</name><bndbox>{sides}</bndbox></object>"

    things = marked(1, 1, 17, 49) + marked(49, 1, 65, 49) + marked(17, 9, 49, 41).replace(">1</name>", ">2</name>")
    written(folder / "Annotations/7.xml", f"<annotation><size><width>64</width><height>48</height></size>{things}</annotation>")
    written(folder / "Sentences/7.txt", "[/EN#1/people Two men] with [/EN#2/other A dog, brown] in [/EN#3/scene a yard] .\nThey wait .\n")
    written(folder / "val.txt", "7\n")
    picture = {"id": 0, "file_name": "7.jpg", "width": 64, "height": 48, "caption": "Two men with A dog, brown in a yard ."}
    places = [([[0, 7]], [0.0, 0.0, 16.0, 48.0]), ([[0, 7]], [48.0, 0.0, 16.0, 48.0]), ([[13, 25]], LADY_PX)]
    entries = [{"id": place, "image_id": 0, "tokens_positive": words, "bbox": box} for place, (words, box) in enumerate(places)]
    written(root / "mdetr/final_flickr_separateGT_val.json", {"images": [picture], "annotations": entries, "categories": []})


def asked(benchmark: Benchmark, root: Path, verbs: Any = FERRET) -> list[Example]:
    questions = list(benchmark.questions(root, verbs))
    assert questions and len({one.id for one in questions}) == len(questions)
    assert all(len(one.turns) == 1 and one.notes[0].source == "truth" and Path(str(one.images[0].path)).is_file() for one in questions)
    return questions


def told(
    benchmark: Benchmark, questions: Sequence[Example], say: Callable[[Example], GroundedText] = lambda one: one.notes[0].said
) -> list[Answered]:
    return [(one, say(one)) for one in questions]


PLACED = [(expression_boxes(layout=layout), 3, FERRET) for layout in ("refer", "mdetr", "seqtr")] + [
    (expression_boxes("refcoco+"), 3, PIXEL_LLM),
    (expression_boxes("refcocog"), 3, FERRET),
    (expression_boxes("grefcoco"), 3, FERRET),
    (expression_masks(), 3, PIXEL_LLM),
    (expression_masks("grefcoco"), 3, PIXEL_LLM),
    (phrases(), 1, FERRET),
    (phrases(protocol="any"), 2, PIXEL_LLM),
    (phrases(layout="mdetr"), 1, FERRET),
]


@pytest.mark.parametrize(("benchmark", "count", "verbs"), PLACED, ids=lambda value: getattr(value, "name", ""))
def test_the_truth_is_right_on_each_layout_and_another_place_is_wrong(root: Path, benchmark: Benchmark, count: int, verbs: Any) -> None:
    questions = asked(benchmark, root, verbs)
    assert len(questions) == count
    far = encode_mask(rasterise(FAR, (64, 48))) if "masks" in benchmark.name else FAR

    def misplaced(one: Example) -> GroundedText:
        true = one.notes[0].said
        return GroundedText(true.text, tuple(Span(span.start, span.end, (far,)) for span in true.spans))

    merged = {id(one) for one in questions} if "-any" not in benchmark.name and "flickr" in benchmark.name else set()
    for one in questions:
        true = one.notes[0].said
        if id(one) in merged:  # two boxes of a phrase are judged by the one around them
            true = GroundedText(true.text, tuple(Span(span.start, span.end, (_around(span.regions),)) for span in true.spans))
        assert benchmark.score(one, true) == 1.0, one
        assert benchmark.score(one, misplaced(one)) == 0.0, one
        assert benchmark.score(one, GroundedText("")) == (0.0 if true.regions else 1.0), one


def _around(regions: Sequence[Any]) -> Box:
    boxes = [bounding_box(region) for region in regions]
    return Box(min(b.x0 for b in boxes), min(b.y0 for b in boxes), max(b.x1 for b in boxes), max(b.y1 for b in boxes))


def test_three_layouts_of_refcoco_ask_the_same_of_the_same(root: Path) -> None:
    kept = [
        sorted((one.turns[0].said.text, str(one.notes[0].said.regions)) for one in asked(expression_boxes(layout=layout), root))
        for layout in ("refer", "mdetr", "seqtr")
    ]
    assert kept[0] == kept[1] == kept[2]
    assert kept[0][1][0] == "What is the location of she left in the image?"


def test_figures_of_expressions_are_those_of_the_metric_and_published_rows_stand_beside(root: Path) -> None:
    benchmark = expression_boxes(as_published=True)
    half = Box(0.0, 8 / 48, 0.5, 40 / 48)
    says = [tied("it", half, LADY), GroundedText("no idea"), tied("it", Box(0.5, 0.0, 0.75, 0.5))]
    answered = list(zip(asked(benchmark, root), says, strict=True))
    found = answered_figures(benchmark, answered)
    pairs = [(said, bounding_box(one.notes[0].said.regions[0])) for one, said in answered]
    by_hand = referring_figures(pairs, thresholds=(0.25, 0.5, 0.75, 0.9))
    assert {name: found[name].value for name in by_hand} == pytest.approx(by_hand)
    assert found["score"].value == found["precision@0.5"].value == pytest.approx(1 / 3)
    rows = {"mean": {"as_published": "mean"}, "best": {"as_published": "best"}, "above": {"strict": True}}
    for name, settings in rows.items():
        row = referring_figures(pairs, thresholds=[0.5], **settings)  # type: ignore[arg-type]
        assert found[f"published/{name}@0.5"].value == row["precision@0.5"]
    assert found["published/above@0.5"].value == 0 and "faultless" not in found
    assert not any("published" in name for name in answered_figures(expression_boxes(), answered))


def test_what_means_nothing_or_several_things_is_counted_apart(root: Path) -> None:
    benchmark = expression_boxes("grefcoco")
    lady, both, none = asked(benchmark, root)
    assert [len(one.notes[0].said.regions) for one in (lady, both, none)] == [1, 2, 0]
    assert benchmark.score(lady, tied("she", LADY, FLAG)) == 0.0 and benchmark.score(both, tied("they", LADY)) == 0.0
    answered = [(lady, tied("she", LADY)), (both, tied("they", LADY)), (none, tied("a cat", FAR))]
    found = answered_figures(benchmark, answered)
    by_hand = generalised_figures([(said, [bounding_box(region) for region in one.notes[0].said.regions]) for one, said in answered])
    assert (found["faultless"].value, found["n_acc"].value, found["t_acc"].value) == tuple(by_hand.values())
    assert found["n_acc"].count == 1 and found["t_acc"].count == 2


def test_masks_are_judged_by_their_own_pixels(root: Path) -> None:
    benchmark = expression_masks("grefcoco")
    questions = asked(benchmark, root, PIXEL_LLM)
    half = encode_mask(rasterise(Box(0.25, 8 / 48, 0.5, 40 / 48), (64, 48)))
    small = Mask(32, 24, (32 * 24 - 1, 1))
    says = [tied("she", half), tied("they", *questions[1].notes[0].said.regions), tied("a cat", small)]
    answered = list(zip(questions, says, strict=True))
    found = answered_figures(benchmark, answered)
    union = encode_mask(np.logical_or.reduce([rasterise(region, (64, 48)) for region in questions[1].notes[0].said.regions]))
    resized = encode_mask(rasterise(small, (64, 48)))
    true = questions[0].notes[0].said.regions[0]
    assert isinstance(true, Mask)
    by_hand = mask_figures([(half, true), (union, union), (resized, None)])
    assert {name: found[name].value for name in by_hand} == pytest.approx(by_hand)
    assert found["score"].value == pytest.approx(by_hand["giou"]) and benchmark.main == "ciou"
    first = expression_masks()
    [one, *_] = asked(first, root, PIXEL_LLM)
    assert first.score(one, tied("she", small, true)) < 0.1 and first.score(one, tied("she", LADY)) == 0.0


def test_captions_of_a_box_have_one_reference_each_or_all_together(root: Path) -> None:
    one_each, together = expression_captions(), expression_captions(together=True)
    questions = asked(one_each, root)
    assert [[note.said.text for note in one.notes] for one in questions] == [["the lady", "she, left"], ["flag"]]
    assert questions[0].turns[0].said.regions == (LADY,)
    answered = [(questions[0], GroundedText("the lady")), (questions[1], GroundedText("flag"))]
    found = answered_figures(one_each, answered)
    assert found["rouge_l"].value == pytest.approx(2 / 3) and found["cider"].count == 3
    assert answered_figures(together, answered)["rouge_l"].value == 1.0
    assert [one_each.score(*answered[0]), together.score(*answered[0])] == [pytest.approx(0.5), 1.0]


def test_phrases_are_asked_at_once_or_one_by_one_and_judged_alike(root: Path) -> None:
    [whole] = asked(phrases(), root, FERRET)
    assert whole.turns[0].said.text == "What are the locations of two men, a dog brown?"
    each = asked(phrases(), root, PIXEL_LLM)
    assert [one.turns[0].said.text for one in each] == ["where is Two men", "where is A dog, brown"]
    left, right = (Box(0.0, 0.0, 0.25, 1.0), Box(0.75, 0.0, 1.0, 1.0))
    says = [tied("the two men", left, right), tied("a dog", LADY)]
    found = answered_figures(phrases(), list(zip(each, says, strict=True)))
    assert (found["recall@1"].value, found["any/recall@1"].value, found["recall@1/people"].value) == (0.5, 1.0, 0.0)
    assert found["recall@1"].count == 2 and found["recall@1/other"].count == 1
    said = GroundedText.join(tied("two men", right), ", ", tied("A dog brown", LADY), ".")
    at_once = answered_figures(phrases(), [(whole, said)])
    wanted = [Phrase("Two men", (left, right), ("people",)), Phrase("A dog, brown", (LADY,), ("other",))]
    for protocol, before in (("merged", ""), ("any", "any/")):
        by_hand = phrase_recall([(said, wanted)], protocol=protocol)  # type: ignore[arg-type]
        assert {name: at_once[before + name].value for name in by_hand} == by_hand
    assert at_once["any/recall@1"].value == 1.0 and phrases(protocol="any").main == "any/recall@1"
    with pytest.raises(ValueError, match="Monkey was not trained to be asked for location"):
        asked(phrases(), root, MONKEY)


def test_expressions_that_people_wrote_are_read_as_grefcoco(tmp_path: Path) -> None:
    file = SHARED / "fixtures/referring/refcocos.json.gz"
    if not file.is_file():
        pytest.skip("no refcocos.json.gz; set FOVEAL_DATA to a folder that holds it in fixtures/referring")
    with gzip.open(file) as lines:
        records = [one for one in json.load(lines) if (SHARED / f"coco/images/{one['image_id']:012d}.jpg").is_file()]
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/train2014").symlink_to(SHARED / "coco/images")
    refs, images, things = [], {}, []
    for number, one in enumerate(records):
        picture = one["image_id"]
        images[picture] = {"id": picture, "file_name": f"{picture:012d}.jpg", "width": one["width"], "height": one["height"]}
        if one["box"]:
            x0, y0, x1, y1 = one["box"]
            things.append({"id": number, "image_id": picture, "bbox": [x0, y0, x1 - x0, y1 - y0]})
        refs.append(reference(number, "val", [number] if one["box"] else [-1], one["text"]) | {"image_id": picture})
    written(tmp_path / "grefcoco/grefs(unc).json", refs)
    written(tmp_path / "grefcoco/instances.json", {"images": list(images.values()), "annotations": things, "categories": []})
    benchmark = expression_boxes("grefcoco")
    questions = asked(benchmark, tmp_path)
    assert len(questions) == len(records) > 30
    pictures = [one.images[0].path for one in questions]
    assert sum(a != b for a, b in pairwise(pictures)) == len(set(pictures)) - 1
    found = answered_figures(benchmark, told(benchmark, questions))
    assert found["score"].value == found["n_acc"].value == found["precision@0.9"].value == 1.0
    assert found["n_acc"].count == sum(one["box"] is None for one in records) > 0
    silent = answered_figures(benchmark, told(benchmark, questions, lambda one: GroundedText("There is none.")))
    assert (silent["n_acc"].value, silent["t_acc"].value, silent["precision@0.5"].value) == (1.0, 0.0, 0.0)


def test_a_run_is_scored_again_from_its_answers(root: Path, tmp_path: Path, ferret: Any, pixel_llm: Any) -> None:
    runs = [
        (Session(*ferret, "tiny"), [expression_boxes(as_published=True), phrases(), expression_captions()]),
        (Session(*pixel_llm, "tiny"), [expression_boxes("grefcoco"), expression_masks(), phrases()]),
    ]
    for session, benchmarks in runs:
        for benchmark in benchmarks:
            out = tmp_path / session.model.config.model_type / benchmark.name
            found = run_benchmark(replace(benchmark, max_new_tokens=8), session, root, out)
            again = read_answers(out / ANSWERS)
            assert answered_figures(benchmark, again) == found and found["refused"].value == 0.0, benchmark.name
            assert benchmark.main in found and all(0 <= benchmark.score(*one) <= 1 for one in again)


def test_names_are_told_apart_and_a_split_that_is_not_there_is_refused(root: Path) -> None:
    every = [*referring.OFFICIAL, *of_phrases.OFFICIAL]
    assert len({one.name for one in every}) == len(every) and all(one.about.endswith(".") and one.files for one in every)
    with pytest.raises(ValueError, match="refcocog has no split 'testA'; it has val, test"):
        expression_boxes("refcocog", "testA")
    with pytest.raises(ValueError, match="some of split 'testB'"):
        asked(expression_boxes("refcoco", "testB"), root)

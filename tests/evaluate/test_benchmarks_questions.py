"""Laws of the official benchmarks of questions, documents, captions and suites, on tiny files in their official forms."""

import gzip
import json
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.evaluate.answers import anls, contains_answer, exact_match, relaxed_match
from foveal.evaluate.benchmark import Benchmark, answered_figures, run_benchmark
from foveal.evaluate.benchmarks import captioned, documents, questions, suites
from foveal.evaluate.captions import bleu, cider_d, rouge_l
from foveal.evaluate.hallucination import mme_score, tally_yes_no
from foveal.evaluate.kept import ANSWERS, read_answers
from foveal.evaluate.vqa import vqa_accuracy
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings import VERBS
from foveal.session import Session

DATA = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
OFFICIAL = (*questions.OFFICIAL, *documents.OFFICIAL, *captioned.OFFICIAL, *suites.OFFICIAL)
NAMED = {benchmark.name: benchmark for benchmark in OFFICIAL}
PEOPLE = ["red"] * 8 + ["dark red"] * 2
SENTENCES = ("a red cup stands on the left table", "two brown dogs run over a green field", "a man reads the sign of an old shop")


def drawn(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (56, 56), "red").save(path, format="PNG")
    return path.name


def written(path: Path, *records: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(record) for record in records))


def written_questions(root: Path) -> None:
    """Three questions about two pictures in each form, those about a picture apart."""
    people = [{"answer": one, "answer_id": place} for place, one in enumerate(PEOPLE, 1)]
    for folder, asked, told in (("vqav2", "v2_OpenEnded_mscoco", "v2_mscoco"), ("okvqa", "OpenEnded_mscoco", "mscoco")):
        about = [{"image_id": image, "question": f"What is number {n}?", "question_id": 10 * image + n} for image, n in ((1, 0), (2, 0), (1, 1))]
        written(root / folder / f"{asked}_val2014_questions.json", {"data_subtype": "val2014", "questions": about})
        kept = [{"question_id": one["question_id"], "answer_type": "number" if n else "other", "answers": people} for n, one in enumerate(about)]
        written(root / folder / f"{told}_val2014_annotations.json", {"annotations": kept})
    for image in (1, 2):
        drawn(root / f"coco/val2014/COCO_val2014_{image:012d}.jpg")
    blind = {"question": "What is this?", "answers": people, "answerable": 1, "answer_type": "other"}
    written(root / "vizwiz/val.json", [blind | {"image": drawn(root / "vizwiz/val/VizWiz_val_00000001.jpg")}])
    drawn(root / "gqa/images/7.jpg"), drawn(root / "gqa/images/8.jpg")
    gqa = {"question": "Which side?", "answer": "left", "fullAnswer": "It is left.", "isBalanced": True, "types": {"structural": "query"}}
    written(root / "gqa/testdev_balanced_questions.json", {str(n): gqa | {"imageId": image} for n, image in enumerate(("7", "8", "7"))})
    problem = {"question": "What is it?", "choices": ["a cat", "a dog"], "answer": 1, "hint": "It barks.", "image": "image.png", "split": "test"}
    other = problem | {"split": "train"}
    written(root / "scienceqa/problems.json", {"5": problem | {"subject": "natural science"}, "6": problem | {"image": None}, "9": other})
    drawn(root / "scienceqa/images/test/5/image.png"), drawn(root / "scienceqa/images/train/9/image.png")
    read = {"question": "What is the brand?", "image_id": drawn(root / "textvqa/train_images/0a.jpg")[:2], "image_width": 56, "image_height": 56}
    written(root / "textvqa/TextVQA_0.5.1_val.json", {"data": [read | {"answers": PEOPLE, "question_id": 1, "set_name": "val"}]})
    lettered = {"abcLabel": True, "answerTexts": ["nose", "face"], "correctAnswer": 1, "questionId": "0.png-0"}
    written(root / "ai2d/questions/0.png.json", {"questions": {"What is A?": lettered}, "imageName": "0.png"})
    drawn(root / "ai2d/images/0.png"), drawn(root / "ai2d/abc_images/0.png")
    (root / "ai2d/ai2d_test_ids.csv").write_text("0\n")
    drawn(root / "st-vqa/coco-text/a.jpg"), drawn(root / "estvqa/images/train/7.jpg"), drawn(root / "ocr-vqa/images/1.jpg")
    scene = {"file_path": "coco-text/a.jpg", "question": "Which street?", "question_id": 1, "answers": ["bridge street", "bridge"]}
    written(root / "st-vqa/train_task_3.json", {"data": [scene]})
    written(root / "estvqa/annotations/train.json", [{"image": "7.jpg", "annotation": [{"question": "Which shop?", "answer": "Tea"}]}])
    book = {"imageURL": "http://a/b.jpg", "questions": ["Who wrote this?", "Is it a guide?"], "answers": ["Ann Lee", "No"], "split": 3}
    written(root / "ocr-vqa/dataset.json", {"1": book, "2": book | {"split": 1}})


def due(root: Path, name: str, pages: int, *annotations: dict[str, Any]) -> None:
    """The fields of test/document.jsonl (github.com/due-benchmark/du-schema)."""
    documents = [{"name": document, "annotations": list(annotations), "split": "test"} for document in "de"]
    written(root / f"due/{name}/test/document.jsonl", *documents)
    for document in "de":
        for page in range(pages):
            drawn(root / f"due/{name}/png/{document}/{page}.png")


def written_documents(root: Path) -> None:
    page = {"questionId": 3, "question": "Which date?", "question_types": ["form", "table"], "image": "documents/p_1.png", "answers": ["1/8/93"]}
    written(root / "docvqa/val_v1.0_withQT.json", {"data": [page]})
    drawn(root / "docvqa/documents/p_1.png"), drawn(root / "infographicvqa/images/2.jpeg")
    shown = {"questionId": 4, "question": "Which city?", "image_local_name": "2.jpeg", "answers": ["New York"], "answer_type": ["single span"]}
    written(root / "infographicvqa/infographicsVQA_val_v1.0_withQT.json", {"data": [shown]})
    drawn(root / "chartqa/test/png/1.png")
    for part, label in (("human", "100"), ("augmented", "Yes")):
        written(root / f"chartqa/test/test_{part}.json", [{"imgname": "1.png", "query": f"What is {part}?", "label": label}])
    value = {"id": "0", "values": [{"value": "12,000", "value_variants": ["12,000", "12000"]}]}
    for name in ("DocVQA", "InfographicsVQA"):
        due(root, name, 1, value | {"key": "how much?"})
    due(root, "DeepForm", 2, value | {"key": "gross_amount"})
    due(root, "KleisterCharity", 1, value | {"key": "address__post_town"})
    names = {"id": "1", "values": [{"value": "Ann"}, {"value": "Bob", "value_variants": ["B."]}]}
    due(root, "WikiTableQuestions", 1, value | {"key": "how many?"}, names | {"key": "which names?"})
    facts = [{"id": str(n), "key": f"the cup was won {n} times.", "values": [{"value": str(n)}]} for n in (0, 1)]
    due(root, "TabFact", 1, *facts)
    drawn(root / "visualmrc/images/0.png")
    asked = [{"question": {"text": f"What is {n}?"}, "answer": {"text": text, "relevant": []}} for n, text in enumerate(SENTENCES)]
    written(root / "visualmrc/test.jsonl", {"id": "0", "image_filename": "images/0.png", "bounding_boxes": [], "qa_data": asked})


def written_captions(root: Path) -> None:
    told = [f"{sentence}{end}" for sentence in SENTENCES for end in ("", " today")]
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 56, "height": 56, "domain": f"{far}-domain"} for n, far in enumerate(("in", "near", "out"))]
    captions = [{"id": n, "image_id": n // 2, "caption": caption} for n, caption in enumerate(told)]
    for n in range(3):
        for folder in ("coco/val2017", "nocaps/val", "coco/val2014", "flickr30k/flickr30k-images"):
            drawn(root / folder / f"{n}.jpg")
        drawn(root / f"textvqa/train_images/c{n}.jpg")
    for file in ("coco/annotations/captions_val2017.json", "nocaps/nocaps_val_4500_captions.json"):
        written(root / file, {"images": images, "annotations": captions})
    split = [{"filename": f"{n}.jpg", "imgid": n, "split": "test", "sentences": [{"raw": one} for one in told[2 * n : 2 * n + 2]]} for n in range(3)]
    written(root / "karpathy/dataset_flickr30k.json", {"images": [*split, split[0] | {"split": "train"}]})
    written(root / "karpathy/dataset_coco.json", {"images": [one | {"filepath": "val2014", "cocoid": one["imgid"]} for one in split]})
    texts = [{"image_id": f"c{n // 2}", "caption_str": one, "image_width": 56, "image_height": 56, "set_name": "val"} for n, one in enumerate(told)]
    written(root / "textcaps/TextCaps_0.1_val.json", {"data": texts})


def written_suites(root: Path) -> None:
    for kind in ("random", "popular", "adversarial"):
        lines = [(1, "a dog", "yes"), (2, "a dog", "no"), (1, "a cat", "no"), (2, "a cat", "yes")]
        records = [
            {"question_id": n, "image": f"COCO_val2014_{image:012d}.jpg", "text": f"Is there {name} in the image?", "label": label}
            for n, (image, name, label) in enumerate(lines, 1)
        ]
        written(root / f"pope/coco_pope_{kind}.json", *records)
    for task in ("existence", "code_reasoning"):
        for picture in ("7", "8"):
            drawn(root / f"mme/MME_Benchmark/{task}/{picture}.jpg")
            (root / f"mme/MME_Benchmark/{task}/{picture}.txt").write_text("Is it a dog? Please answer yes or no.\tYes\nIs it a cat?\tNo\n")
    drawn(root / "seed-bench/SEED-Bench-image/1_2")
    seed = {f"choice_{letter}": word for letter, word in zip("abcd", ("One", "Two", "Three", "Four"), strict=True)}
    seed |= {"answer": "C", "data_id": "1_2", "data_type": "image", "question": "How many towels?", "question_id": "1", "question_type_id": 5}
    written(root / "seed-bench/SEED-Bench.json", {"questions": [seed], "question_type": {"Instances Counting": 5}})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    for write in (written_questions, written_documents, written_captions, written_suites):
        write(folder)
    return folder


def asked(name: str, root: Path, family: str = "ferret") -> list[Example]:
    return list(NAMED[name].questions(root, VERBS[family]))


def truly(examples: Sequence[Example]) -> list[tuple[Example, GroundedText]]:
    return [(one, one.notes[0].said) for one in examples]


def told(examples: Sequence[Example], *words: str) -> list[tuple[Example, GroundedText]]:
    return [(one, GroundedText(text)) for one, text in zip(examples, words, strict=True)]


@pytest.mark.parametrize("family", sorted(VERBS))
@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_truth_scores_one_nonsense_nothing_and_questions_about_a_picture_stand_together(root: Path, name: str, family: str) -> None:
    benchmark, examples = NAMED[name], asked(name, root, family)
    assert examples and len({one.id for one in examples}) == len(examples)
    assert all(len(one.images) == 1 and len(one.turns) == 1 and one.notes[0].source == "truth" for one in examples)
    pictures = [one.images[0].path for one in examples]
    assert len(set(pictures)) == 1 + sum(one != other for one, other in pairwise(pictures))
    assert len({one.id.rpartition("/")[0] for one in examples}) == len(set(pictures))
    assert all((root / file).is_file() for file in benchmark.files)
    assert [benchmark.score(*one) for one in truly(examples)] == [1.0] * len(examples)
    assert benchmark.score(examples[0], GroundedText("no" if name.startswith("pope") else "giraffe")) == 0.0


def test_each_family_is_asked_in_its_own_words(root: Path) -> None:
    short, letter = "\nAnswer the question using a single word or phrase.", "Answer with the option's letter from the given choices directly."
    assert [asked("vqav2-val", root, family)[0].turns[0].said.text for family in ("ferret", "monkey", "pixel_llm")] == [
        f"What is number 0?{short}",
        "What is number 0?",
        "What is number 0?",
    ]
    assert asked("vizwiz-val", root, "monkey")[0].turns[0].said.text.endswith('insufficient, respond with "unanswerable".')
    assert asked("scienceqa-test", root, "ferret")[0].turns[0].said.text == f"Context: It barks.\nWhat is it?\nA. a cat\nB. a dog\n{letter}"
    assert asked("scienceqa-test", root, "monkey")[0].turns[0].said.text.endswith("Options: A. a cat\nB. a dog\nAnswer:")
    assert asked("textcaps-val", root, "monkey")[0].turns[0].said.text == "Generate the caption in English:"
    assert asked("klc-test", root)[0].turns[0].said.text == "What is the value for the address post town?"
    assert asked("tabfact-test", root)[0].turns[0].said.text == "the cup was won 0 times, Yes or No?"
    assert asked("mme", root)[0].turns[0].said.text.endswith("Please answer yes or no.")


def test_letters_stand_on_the_diagram_that_is_asked_about_and_the_open_question_is_asked_as_published(root: Path) -> None:
    [one] = asked("ai2d-test", root)
    assert one.images[0].path == str(root / "ai2d/abc_images/0.png") and "\nB. face\n" in one.turns[0].said.text
    [open_one] = asked("ai2d-test-as-published", root, "monkey")
    assert open_one.turns[0].said.text == "What is A?"
    scores = [NAMED[name].score(one, GroundedText("B. face")) for name in ("ai2d-test", "ai2d-test-as-published")]
    assert scores == [1.0, 1.0] and NAMED["ai2d-test"].score(one, GroundedText("A")) == 0.0


@pytest.mark.parametrize(
    ("name", "said", "strict", "loose"),
    [
        ("vqav2-val", "the dark red", vqa_accuracy("dark red", PEOPLE), vqa_accuracy("dark red", PEOPLE, as_published=True)),
        ("gqa-testdev", "It is on the left side.", 0.0, 1.0),
        ("st-vqa-train", "bridge  street", 1.0, anls("bridge  street", ["bridge street", "bridge"], as_published="monkey")),
        ("docvqa-val", "1/8/94", anls("1/8/94", "1/8/93"), anls("1/8/94", "1/8/93", as_published="monkey")),
        ("infographicvqa-val", " new york", 1.0, anls(" new york", "New York", as_published="infographics")),
        ("chartqa-test", "95", float(relaxed_match("95", "100")), float(relaxed_match("95", "100", as_published=True))),
        ("deepform-test", "about 12,000 dollars", float(exact_match("about 12,000 dollars", "12,000")), 1.0),
        ("wtq-test", "12000 people", 0.0, float(contains_answer("12000 people", ["12,000", "12000"], as_published="monkey"))),
        ("pope-random", "Perhaps.", 0.0, 1.0),
    ],
)
def test_the_strict_rule_and_the_published_one_are_those_of_the_metrics(root: Path, name: str, said: str, strict: float, loose: float) -> None:
    for rule, expected in ((name, strict), (f"{name}-as-published", loose)):
        assert NAMED[rule].score(asked(rule, root)[0], GroundedText(said)) == pytest.approx(expected), rule


def test_several_values_of_a_table_are_wanted_all_once_and_in_any_order(root: Path) -> None:
    score, names = NAMED["wtq-test"].score, asked("wtq-test", root)[1]
    said = ("Ann, Bob", "b., ann", "bob|ANN", "Ann", "Ann, Ann", "Ann, Bob, Cid", "")
    assert [score(names, GroundedText(one)) for one in said] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert json.loads(json.dumps(names.facts["values"])) == [["Ann"], ["Bob", "B."]]


def test_of_several_pages_the_first_is_shown_and_their_share_is_told(root: Path) -> None:
    form, _ = asked("deepform-test", root)
    assert form.images[0].path == str(root / "due/DeepForm/png/d/0.png") and form.facts["pages"] == 2
    assert answered_figures(NAMED["deepform-test"], truly([form]))["several_pages"].value == 1.0
    assert "several_pages" not in answered_figures(NAMED["klc-test"], truly(asked("klc-test", root)))


def test_kinds_of_questions_have_their_means(root: Path) -> None:
    examples = asked("vqav2-val", root)
    figures = answered_figures(NAMED["vqav2-val"], told(examples, "red", "blue", "dark red"))
    part = vqa_accuracy("dark red", PEOPLE)
    assert [one.facts["kinds"] for one in examples] == [["other"], ["number"], ["number"]]
    assert (figures["other"].value, figures["number"].value, figures["score"].value) == pytest.approx((1.0, part / 2, (1 + part) / 3))
    charts = answered_figures(NAMED["chartqa-test"], told(asked("chartqa-test", root), "102", "No"))
    assert (charts["human"].value, charts["augmented"].value) == (1.0, 0.0)
    pages = answered_figures(NAMED["docvqa-val"], truly(asked("docvqa-val", root)))
    assert pages["form"].value == pages["table"].value == 1.0


@pytest.mark.parametrize("name", [one.name for one in captioned.OFFICIAL] + ["visualmrc-test"])
def test_figures_of_captions_are_those_of_the_measures_called_by_hand(root: Path, name: str) -> None:
    examples = asked(name, root)
    said = ["a red cup on a table", SENTENCES[1], "a dog"]
    true = [[note.said.text for note in one.notes] for one in examples]
    figures = answered_figures(NAMED[name], told(examples, *said))
    assert NAMED[name].main == "cider" and figures["cider"].value == pytest.approx(cider_d(said, true).value) and figures["cider"].value > 1
    assert figures["bleu_4"].value == pytest.approx(bleu(said, true)[3].value)
    assert figures["rouge_l"].value == pytest.approx(rouge_l(said, true).value) == pytest.approx(figures["score"].value)
    assert 0 < figures["meteor"].value < 1
    assert len(true[0]) == (1 if name == "visualmrc-test" else 2)


def test_captions_of_people_score_on_coco_what_the_official_evaluation_prints_of_each_picture(tmp_path: Path) -> None:
    folder = DATA / "fixtures" / "caption_metrics"
    if not folder.is_dir():
        pytest.skip(f"no captions at {folder}; set FOVEAL_DATA to their folder")
    printed = json.loads((folder / "expected.json").read_text())
    known = json.loads(gzip.decompress((folder / "references.json.gz").read_bytes()))
    images = [{"id": int(name), "file_name": f"{int(name):012d}.jpg", "width": 56, "height": 56} for name in printed["per_image"]]
    notes = [{"id": 10 * one["id"] + n, "image_id": one["id"], "caption": known[str(one["id"])][n]} for one in images for n in range(4)]
    written(tmp_path / "coco/annotations/captions_val2017.json", {"images": images, "annotations": notes})
    for one in images:
        (tmp_path / "coco/val2017").mkdir(exist_ok=True)
        (tmp_path / "coco/val2017" / one["file_name"]).touch()  # the file states the size, and no picture is opened
    examples = asked("coco-captions-val2017", tmp_path)
    for one, image in zip(examples, images, strict=True):
        score = NAMED["coco-captions-val2017"].score(one, GroundedText(known[str(image["id"])][4]))
        assert score == pytest.approx(printed["per_image"][str(image["id"])]["ROUGE_L"], abs=1e-3) and len(one.notes) == 4


def test_each_domain_of_nocaps_is_judged_among_its_own(root: Path) -> None:
    figures = answered_figures(NAMED["nocaps-val"], truly(asked("nocaps-val", root)))
    assert figures["cider_in-domain"].value == 0.0 < figures["cider"].value  # of a single picture nothing is rare
    assert figures["rouge_l_out-domain"].value == 1.0 and figures["meteor_near-domain"].count == 1


def test_pope_tells_accuracy_precision_recall_f1_and_yeses(root: Path) -> None:
    benchmark, examples = NAMED["pope-popular"], asked("pope-popular", root)
    assert [one.turns[0].said.text for one in examples[:2]] == ["Is there a dog in the image?", "Is there a cat in the image?"]
    words, labels = ("Yes", "yes, it is", "Perhaps", "No"), [one.notes[0].said.text for one in examples]
    figures, tally = answered_figures(benchmark, told(examples, *words)), tally_yes_no(words, labels)
    expected = (tally.accuracy, tally.precision, tally.recall, tally.f1, tally.yes_ratio)
    assert tuple(figures[name].value for name in ("accuracy", "precision", "recall", "f1", "yes")) == pytest.approx(expected)
    assert figures["score"].value == figures["accuracy"].value and labels == ["yes", "no", "no", "yes"]
    loose = answered_figures(NAMED["pope-popular-as-published"], told(examples, *words))
    assert loose["accuracy"].value == tally_yes_no(words, labels, as_published=True).accuracy


@pytest.mark.parametrize("kind", ["random", "popular", "adversarial"])
def test_the_real_questions_of_pope_are_read_and_always_yes_is_half_right(tmp_path: Path, kind: str) -> None:
    file = DATA / "fixtures" / "pope" / f"coco_pope_{kind}.jsonl.gz"
    if not file.is_file():
        pytest.skip(f"no questions of POPE at {file}; set FOVEAL_DATA to their folder")
    (tmp_path / "pope").mkdir()
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()[:300]
    (tmp_path / f"pope/coco_pope_{kind}.json").write_text("\n".join(lines))
    records = [json.loads(line) for line in lines]
    for name in {one["image"] for one in records}:
        drawn(tmp_path / "coco/val2014" / name)
    examples = asked(f"pope-{kind}", tmp_path)
    figures = answered_figures(NAMED[f"pope-{kind}"], [(one, GroundedText("Yes, there is.")) for one in examples])
    share = sum(one["label"] == "yes" for one in records) / len(records)
    assert len(examples) == len(records) and figures["accuracy"].value == share == figures["precision"].value
    assert figures["f1"].value == pytest.approx(2 * share / (1 + share)) and figures["f1"].low < figures["f1"].value < figures["f1"].high


def test_mme_sums_accuracy_and_both_right_over_its_tasks(root: Path) -> None:
    examples = asked("mme", root)
    assert len(examples) == 8 and NAMED["mme"].main == "perception"
    words = [one.notes[0].said.text if one.facts["task"] == "existence" or "7.jpg" in str(one.facts["picture"]) else "yes" for one in examples]
    figures = answered_figures(NAMED["mme"], told(examples, *words))
    verdicts = [(str(one.facts["picture"]), text == one.notes[0].said.text) for one, text in zip(examples, words, strict=True)]
    code = [verdict for verdict in verdicts if verdict[0].startswith("code_reasoning")]
    assert (figures["perception"].value, figures["existence"].value) == (2.0, 2.0)
    assert figures["cognition"].value == figures["code_reasoning"].value == mme_score({"code_reasoning": code}) / 100 == 1.25
    assert figures["cognition"].low < 1.25 < figures["cognition"].high


def test_options_are_chosen_by_letter_or_words(root: Path) -> None:
    benchmark, [one] = NAMED["seed-bench-image"], asked("seed-bench-image", root)
    said = ("C", "C. Three", "three", "A", "Three or Four", "")
    assert [benchmark.score(one, GroundedText(text)) for text in said] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert answered_figures(benchmark, truly([one]))["Instances Counting"].value == 1.0


def test_a_file_without_answers_is_refused_in_a_sentence(root: Path, tmp_path: Path) -> None:
    scene = {"file_path": "a.jpg", "question": "Which street?", "question_id": 1}
    drawn(tmp_path / "st-vqa/a.jpg")
    written(tmp_path / "st-vqa/test_task_3.json", {"data": [scene]})
    with pytest.raises(ValueError, match=r"st-vqa-test finds no question with a picture and an answer in .*test_task_3\.json"):
        list(questions.st_vqa("test_task_3.json").questions(tmp_path, VERBS["monkey"]))


@pytest.mark.parametrize("name", ["wtq-test", "nocaps-val", "mme"])
def test_a_run_s_figures_are_made_again_from_its_answers_alone(root: Path, tmp_path: Path, name: str, make_ferret: Callable[..., Any]) -> None:
    session, benchmark = Session(*make_ferret(), "tiny"), NAMED[name]
    found = run_benchmark(benchmark, session, root, tmp_path / "run", limit=4)
    again = answered_figures(benchmark, read_answers(tmp_path / "run" / ANSWERS))
    assert str(again) == str(found)  # what is not known is equal to nothing, not even to itself
    assert found["refused"].value == 0.0 and benchmark.main in found


def test_names_are_told_apart_and_every_number_is_among_the_figures(root: Path) -> None:
    assert len(NAMED) == len(OFFICIAL)
    for one in OFFICIAL:
        assert isinstance(one, Benchmark) and one.main in answered_figures(one, truly(asked(one.name, root)))

"""Laws of judged benchmarks: the judge is shown what the originals show, its words are kept, and they alone make the figures again."""

import base64
import gzip
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.cli import main
from foveal.data.sources.benches import FERRET_BENCH
from foveal.data.sources.benches import ferret_bench as read_ferret_bench
from foveal.endpoint import Endpoint, Prices
from foveal.evaluate.benchmark import MANIFEST, Benchmark, answered_figures, run_benchmark
from foveal.evaluate.benchmarks.judged import OFFICIAL, ferret_bench, grade_said, llava_bench, mm_vet
from foveal.evaluate.benchmarks.mentioned import object_forms, object_hallucination, objects_listed
from foveal.evaluate.judge import relative_score
from foveal.evaluate.judgements import JUDGEMENTS, with_judgements
from foveal.evaluate.kept import ANSWERS, read_answers
from foveal.geometry import Box, Frame
from foveal.grounding import Example, GroundedText
from foveal.grounding.formats import BracketFormat
from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.judging import JUDGE_ROLE, RULES
from foveal.session import Session

DATA = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
PARITY = Path(os.environ.get("FOVEAL_PARITY") or Path(__file__).parents[3] / "shared" / "parity")
FERRET, SIZE = VERBS["ferret"], (64, 48)
TASKS = dict(zip(("refer_desc", "refer_reason", "ground_conv"), FERRET_BENCH, strict=True))


def pictured(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, "grey").save(path)
    return path


def lines(path: Path, records: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def asked(benchmark: Benchmark, root: Path) -> list[Example]:
    return list(benchmark.questions(root, FERRET))


def told(questions: Sequence[Example], answers: Sequence[str], replies: Sequence[str | None]) -> list[Any]:
    """Questions with these answers, of which a judge said this."""
    pairs = [(one, GroundedText(answer)) for one, answer in zip(questions, answers, strict=True)]
    return with_judgements(pairs, {one.id: reply for one, reply in zip(questions, replies, strict=True) if reply is not None})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official layouts of Ferret-Bench (github.com/apple/ml-ferret, ferret/eval/ferret_gpt4_data), LLaVA-Bench (github.com/haotian-liu/LLaVA,
    eval_gpt_review_bench.py and _visual.py), MM-Vet (github.com/yuweihao/MM-Vet) and Object HalBench (github.com/RLHF-V/RLHF-V, eval), made small."""
    root = tmp_path_factory.mktemp("benches")
    for category, task in TASKS.items():
        places = "" if category == "ground_conv" else " [0.250, 0.125, 0.750, 0.875]"
        names = [f"{number:012d}.jpg" for number in range(2)]
        question = [
            {"question_id": n, "image": name, "category": category, "text": f"What is the thing{places} of {category} {n}?"}
            for n, name in enumerate(names)
        ]
        folder = root / "ferret_gpt4_data" / task
        lines(folder / "question.jsonl", question)
        lines(folder / "answer.jsonl", [one | {"text": f"Reference {one['question_id']}."} for one in reversed(question)])
        lines(folder / "context.jsonl", [one | {"text": f"Objects:\nthing {one['question_id']}."} for one in question])
        for name in names:
            pictured(root / "coco/val2017" / name)
    kinds = ("conv", "detail", "complex")
    wild, coco = root / "llava-bench-in-the-wild", root / "llava-bench-coco"
    questions = [{"question_id": n, "image": f"00{n // 3 + 1}.jpg", "category": kinds[n % 3], "text": f"Question {n}?"} for n in range(6)]
    lines(wild / "questions.jsonl", questions)
    lines(wild / "answers_gpt4.jsonl", [{"question_id": n, "answer_id": f"a{n}", "text": f"GPT-4 says {n}."} for n in range(6)])
    lines(
        wild / "context.jsonl", [{"id": f"00{n}", "image": f"00{n}.jpg", "caption": f"Caption {n}." if n == 1 else ["One.", "Two."]} for n in (1, 2)]
    )
    lines(coco / "qa90_questions.jsonl", [one | {"image": f"{one['question_id'] % 2:012d}.jpg"} for one in questions])
    shutil.copy(wild / "answers_gpt4.jsonl", coco / "qa90_gpt4_answer.jsonl")
    boxes = [{"category": "dog", "bbox": [0.1, 0.2, 0.3, 0.4]}, {"category": "cat", "bbox": [0.5, 0.5, 0.75, 1.0]}]
    shown = [{"id": n, "image": f"{n:012d}.jpg", "captions": ["First.", "Second."], "instances": boxes} for n in range(2)]
    lines(coco / "caps_boxes_coco2014_val_80.jsonl", shown)
    for number in range(2):
        pictured(wild / "images" / f"00{number + 1}.jpg")
        pictured(root / "coco/val2014" / f"COCO_val2014_{number:012d}.jpg")
    vet = {
        "v1_0": {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1<AND>-5", "imagesource": "", "capability": ["ocr", "math"]},
        "v1_1": {"imagename": "v1_1.jpg", "question": "Who?", "answer": "Ada<OR>Grace", "imagesource": "", "capability": ["rec"]},
    }
    pictured(root / "mm-vet/images/v1_0.png")
    pictured(root / "mm-vet/images/v1_1.jpg")
    (root / "mm-vet/mm-vet.json").write_text(json.dumps(vet))
    halbench(root)
    return root


def halbench(root: Path) -> None:
    kept = BytesIO()
    Image.new("RGB", SIZE, "grey").save(kept, "JPEG")
    shown = base64.b64encode(kept.getvalue()).decode()
    numbers = (7, 8, 9)
    lines(root / "obj_halbench/obj_halbench_300_with_image.jsonl", [
        {"org_idx": place, "image_id": number, "question": "Describe this image.", "image": shown} for place, number in enumerate(numbers)
    ])  # fmt: skip
    names = ["person, man, woman", "dog, puppy", "chair, seat", "dining table, table, desk", "hot dog", "tie"]
    (root / "obj_halbench/synonyms_refine.txt").write_text("\n".join(names))
    categories = [{"id": place, "name": line.split(",")[0]} for place, line in enumerate(names)]
    annotations = root / "coco/annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    for year, marked, captions in (
        ("train2014", [(7, 0), (7, 1)], [(8, "Two puppies at a desk.")]),
        ("val2014", [(8, 2), (50, 3)], [(7, "Men eat a hot dog.")]),
    ):
        instances = {"images": [], "categories": categories, "annotations": [{"image_id": n, "category_id": kind} for n, kind in marked]}
        (annotations / f"instances_{year}.json").write_text(json.dumps(instances))
        told = {"images": [], "annotations": [{"image_id": number, "caption": caption} for number, caption in captions]}
        (annotations / f"captions_{year}.json").write_text(json.dumps(told))


def test_ferret_bench_asks_the_judge_letter_for_letter_as_recorded(tmp_path: Path, serve: Callable[..., Any]) -> None:
    path = PARITY / "ferret/metrics/judge_bench.json"
    if not path.is_file():
        pytest.skip(f"no recordings of the original at {path}; set FOVEAL_PARITY to their folder")
    recorded = json.loads(path.read_text())["judge"]
    folder = tmp_path / "ferret_gpt4_data"
    rows = list(zip(*(recorded[name] for name in ("questions", "reference_answers", "contexts", "model_answers", "requests")), strict=True))
    for question, reference, context, *_ in rows:
        task = TASKS[question["category"]]
        for part, record in (("question", question), ("answer", reference), ("context", context)):
            lines(folder / task / f"{part}.jsonl", [record])
        pictured(tmp_path / "coco/val2017" / question["image"])
    (folder / "rule.json").write_text(json.dumps(recorded["rule"]))
    benchmark, said = ferret_bench(), {question["category"]: answer["text"] for question, _, _, answer, _ in rows}
    conversations = []
    for one in asked(benchmark, tmp_path):
        assert one.turns[0].said.regions == (Box(0.1, 0.2, 0.3, 0.4),) and "[" not in one.turns[0].said.text
        answer = BracketFormat().decode(said[str(one.facts["category"])], Frame.stretch(SIZE))
        assert answer.regions, "the answer is read into words and places, and spelt again"
        conversations.append(benchmark.judged(one, answer) if benchmark.judged else [])
    server = serve(lambda body: "8 7")
    assert [reply.text for reply in Endpoint(server.url, "gpt-4-0314").ask(conversations, benchmark.judge_settings)] == ["8 7"] * 3
    assert sorted(json.dumps(body, sort_keys=True) for *_, body in server.requests) == sorted(json.dumps(row[-1], sort_keys=True) for row in rows)


def test_the_whole_ferret_bench_is_read_and_its_own_answers_are_shown_as_they_are_written(tmp_path: Path) -> None:
    folder = DATA / "fixtures/ferret_bench"
    if not (folder / "records.json.gz").is_file():
        pytest.skip(f"no records of Ferret-Bench in {folder}; set FOVEAL_DATA to the folder of both")
    records = json.loads(gzip.decompress((folder / "records.json.gz").read_bytes()))
    for record in records:
        pictured(tmp_path / "coco/val2017" / record["question"]["image"])
    shutil.copytree(folder, tmp_path / "bench")
    benchmark = ferret_bench("bench", packed=True)
    questions = asked(benchmark, tmp_path)
    assert len(questions) == 120 and [len(one.turns[0].said.regions) for one in questions].count(0) == 40
    by_id = {f"{Path(record['question']['image']).stem}/{record['task']}-{record['question']['question_id']}": record for record in records}
    for one in questions:
        record = by_id[one.id]
        spelt = re.sub(r"\d\.\d{3}", lambda number: str(int(number[0].replace(".", ""))), record["answer"]["text"])
        said = BracketFormat().decode(spelt, Frame.stretch(SIZE))
        system, user = benchmark.judged(one, said) if benchmark.judged else ({}, {})
        parts = re.split(r"\n*\[(?:Context\]\\|Question\]\n|System\]\n|(?:End of )?Assistant [12]\]\n)", user["content"])
        context, question, reference, _, answer, _, rule = parts[1:]
        assert (system["content"], context, question) == (JUDGE_ROLE, record["context"]["text"], record["question"]["text"])
        assert reference == record["answer"]["text"] and rule.strip() == RULES[str(one.facts["category"])].strip()
        if record["task"] == "ground_conv" and _whole(record["answer"]["text"]):
            assert answer == reference, "coordinates come back to the third decimal"
    if not (DATA / "coco/images").is_dir():
        return
    seen: list[str] = []
    real = list(read_ferret_bench(folder, images=DATA / "coco/images", packed=True, report=seen.append))
    assert real and len(real) + len(seen) == 120 and all("there is no file" in one for one in seen)


def _whole(text: str) -> bool:
    """Whether each place of a text stands behind a blank and is in order, as a model spells it."""
    places = re.findall(r"\[([^\]]*)\]", text)
    ordered = all((n := [float(part) for part in place.split(",")])[0] < n[2] and n[1] < n[3] for place in places)
    return ordered and len(re.findall(r"[^\]\s] \[", text)) == len(places)


def test_llava_bench_shows_captions_and_boxes_as_its_scripts_do(root: Path) -> None:
    wild, coco = asked(llava_bench(), root), asked(llava_bench("llava-bench-coco", coco=True), root)
    assert [one.id for one in wild] == ["001/0", "001/1", "001/2", "002/3", "002/4", "002/5"]
    assert [one.id.partition("/")[0] for one in coco] == ["0" * 12] * 3 + ["0" * 11 + "1"] * 3, "those about a picture follow each other"
    assert "COCO_val2014_" in str(coco[0].images[0].path)
    for one, benchmark, context, rule in (
        (wild[0], llava_bench(), "Caption 1.", RULES["llava_bench_conv"]),
        (wild[3], llava_bench(), "One.\nTwo.", RULES["llava_bench_conv"]),
        (coco[0], llava_bench(coco=True), "First.\nSecond.\n\ndog: [0.1, 0.2, 0.3, 0.4]\ncat: [0.5, 0.5, 0.75, 1.0]", RULES["conv"]),
    ):
        number = one.id.partition("/")[2]
        content = (benchmark.judged(one, GroundedText("It is grey.")) if benchmark.judged else [])[1]["content"]
        assert content == (
            f"[Context]\n{context}\n\n[Question]\nQuestion {number}?\n\n[Assistant 1]\nGPT-4 says {number}.\n\n[End of Assistant 1]\n\n"
            f"[Assistant 2]\nIt is grey.\n\n[End of Assistant 2]\n\n[System]\n{rule}\n\n"
        )


def test_published_rules_take_the_place_of_our_own_and_bad_ones_are_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "llava-bench-in-the-wild", tmp_path / "llava-bench-in-the-wild")
    file = tmp_path / "llava-bench-in-the-wild/rule.json"
    file.write_text(json.dumps({f"llava_bench_{kind}": {"role": "Helper", "prompt": f"Rate {kind}."} for kind in ("conv", "detail", "complex")}))
    benchmark = llava_bench()
    content = (benchmark.judged(asked(benchmark, tmp_path)[1], GroundedText("x")) if benchmark.judged else [])[1]["content"]
    assert "[Helper 2]\nx\n\n[End of Helper 2]" in content and content.endswith("[System]\nRate detail.\n\n")
    file.write_text('{"llava_bench_conv": {"role": "Helper", "prompt": "Rate."}}')
    with pytest.raises(ValueError, match=r"rule\.json has no rule for 'llava_bench_detail'"):
        asked(benchmark, tmp_path)
    file.write_text("[]")
    with pytest.raises(ValueError, match="holds no rules"):
        asked(benchmark, tmp_path)


def test_relative_scores_are_those_of_the_judge_by_both_rules_and_what_cannot_be_read_is_counted(root: Path) -> None:
    benchmark = ferret_bench()
    questions = sorted(asked(benchmark, root), key=lambda one: str(one.facts["task"]))
    replies = ["10 5\nfine", "10 10", "8, 4", "8 8", "no idea", None]
    answered = told(questions, ["an answer"] * 6, replies)
    figures = answered_figures(benchmark, answered)
    categories = [str(one.facts["category"]) for one in questions]
    assert categories == ["ground_conv"] * 2 + ["refer_desc"] * 2 + ["refer_reason"] * 2
    assert figures["relative_ground_conv"].value == 0.75 and figures["relative_refer_desc"].value == 12 / 16
    assert figures["relative"].value == pytest.approx(27 / 36) and figures["relative"].count == 4
    assert figures["relative"].low <= 0.75 <= figures["relative"].high
    assert "relative_refer_reason" not in figures and "average" not in figures, "no mean over tasks of which one was not judged"
    published = relative_score([None, (8.0, 8.0)], as_published=True).relative / 100
    assert figures["relative_refer_desc_as_published"].value == published, "eight, comma, blank, four is not read there"
    assert figures["unread_judgements"].value == 1 / 5 and figures["unjudged"].value == 1 / 6
    assert figures["score"].value == pytest.approx((5 + 10 + 4 + 8) / 60)
    whole = answered_figures(benchmark, told(questions, ["an answer"] * 6, ["10 5", "10 5", "8 8", "8 8", "5 10", "5 10"]))
    assert benchmark.main == "average" and whole["average"].value == pytest.approx((0.5 + 1 + 2) / 3)
    assert whole["average_as_published"].value == pytest.approx(3.5 / 3) and whole["unjudged"].value == 0
    nothing = answered_figures(benchmark, told(questions, [""] * 6, [None] * 6))
    assert "relative" not in nothing and nothing["unjudged"].value == 1


def test_mm_vet_grades_by_a_row_of_the_table_and_counts_each_capability(root: Path, tmp_path: Path) -> None:
    benchmark = mm_vet()
    questions = asked(benchmark, root)
    (row,) = benchmark.judged(questions[0], GroundedText("x = -1")) if benchmark.judged else []
    assert row["role"] == "user" and row["content"].endswith("\nWhat is x? | -1 <AND> -5 | x = -1 | ")
    assert benchmark.judge_settings == {"temperature": 0.0, "max_tokens": 3}
    figures = answered_figures(benchmark, told(questions, ["x = -1", "Ada"], ["0.5", "1.0"]))
    assert {name: figures[name].value for name in ("score", "math", "math+ocr", "ocr", "rec")} == {
        **{"score": 0.75, "math": 0.5, "math+ocr": 0.5, "ocr": 0.5, "rec": 1.0}
    }
    unread = answered_figures(benchmark, told(questions, ["x = -1", "Ada"], ["2", "1.0"]))
    assert (unread["score"].value, unread["unread_judgements"].value) == (0.5, 0.5)
    shutil.copytree(root / "mm-vet", tmp_path / "mm-vet")
    (tmp_path / "mm-vet/prompt.txt").write_text("Published words.\n")
    (published,) = benchmark.judged(asked(benchmark, tmp_path)[1], GroundedText("Ada")) if benchmark.judged else []
    assert published["content"] == "Published words.\n\nWho? | Ada <OR> Grace | Ada | "


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("0.7", 0.7), ("1", 1.0), ("1.0 |", 1.0), ("0", 0.0), ("**0.4**", 0.4), (".5", 0.5), ("Correctness: 0.3", 0.3)]
    + [(odd, None) for odd in ("10", "1.2", "-0.5", "8/10", "1/2", "", "good")],
)
def test_a_grade_is_a_number_from_0_to_1_at_the_beginning(reply: str, grade: float | None) -> None:
    assert grade_said(reply) == grade


def test_objects_that_are_not_there_are_counted_as_mentions_and_as_answers(root: Path) -> None:
    benchmark = object_hallucination(report=(passed := list[str]()).append)
    questions = asked(benchmark, root)
    assert [one.facts["there"] for one in questions] == [["dog", "hot dog", "person"], ["chair", "dining table", "dog"]]
    assert len(passed) == 1 and "picture 9 is passed over" in passed[0]
    answers = ["A man and a woman and their dog sit on chairs.", "A dog."]
    assert benchmark.judged and [len(benchmark.judged(one, GroundedText(said))) for one, said in zip(questions, answers, strict=True)] == [1, 0]
    (request,) = benchmark.judged(questions[0], GroundedText(answers[0]))
    assert "Describe this image." in request["content"] and answers[0] in request["content"]
    listed = '["man", "woman", "wooden chairs", "chair leg", "dog", "dog", "cup of tea", "bow tie", "train track"]'
    figures = answered_figures(benchmark, told(questions, answers, [listed, None]))
    assert (figures["mention"].value, figures["mention"].count) == (2 / 5, 5), "a chair and a tie; man and woman are two words"
    assert (figures["response"].value, figures["response"].count) == (1.0, 1), "of answers that mention anything"
    assert (figures["recall"].value, figures["recall"].count) == (2 / 6, 6)
    assert (figures["score"].value, figures["unjudged"].value, figures["unread_judgements"].value) == (0.5, 0.0, 0.0)
    unread = answered_figures(benchmark, told(questions, answers, ["There is a man.", None]))
    assert (unread["unread_judgements"].value, unread["mention"].count, unread["score"].value) == (1.0, 0, 0.5)
    words = object_hallucination(judge=False, report=passed.append)
    assert words.judged is None
    figures = answered_figures(words, told(asked(words, root), ["Men eat hot dogs at the dining table.", "The seat of a toilet seat."], [None, None]))
    assert (figures["mention"].value, figures["mention"].count, figures["response"].value) == (1 / 4, 4, 0.5)
    assert "unjudged" not in figures


def test_lists_of_objects_are_read_from_whatever_stands_around_them() -> None:
    for reply, names in (('["a"]', ["a"]), ('First ["x"], then\n["a", "b"]', ["a", "b"]), ("[]", []), ("[1]", None), ("[a]", None), ("", None)):
        assert objects_listed(reply) == names
    forms = object_forms(["person, policeman", "mouse", "bus", "knife", "baby, kid"])
    assert [forms[name] for name in ("policemen", "mice", "buses", "knives", "babies")] == ["person", "mouse", "bus", "knife", "baby"]


@pytest.fixture(scope="module")
def session(make_ferret: Callable[..., Any]) -> Session:
    return Session(*make_ferret(), "tiny")


def test_a_judged_run_keeps_what_the_judge_said_and_goes_on_where_the_budget_ended(
    root: Path, session: Session, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    benchmark, out = replace(ferret_bench(), max_new_tokens=4), tmp_path / "run"
    with pytest.raises(ValueError, match="benchmark ferret-bench is scored by a judge, and none was given"):
        run_benchmark(benchmark, session, root, out)
    assert not out.exists(), "nothing was asked"
    server = serve(lambda body: "8 6\nAs good as it gets.")
    heard: list[tuple[int, int, float]] = []
    little = Endpoint(server.url, "judge", prices=Prices(0.0, 1e6), budget=30.0, at_once=1)
    with pytest.raises(ValueError, match=r"the judge's budget of 30 is spent after 2 of 6 judgements, which are kept in .*judgements\.jsonl"):
        run_benchmark(benchmark, session, root, out, judge=little, heard=lambda *told: heard.append(told))
    assert [told[:2] for told in heard[:6]] == [(number, 6) for number in range(1, 7)] and all(score != score for *_, score in heard)
    kept = (out / JUDGEMENTS).read_text()
    (out / JUDGEMENTS).write_text(kept + '{"id": "torn')
    judge = Endpoint(server.url, "judge")
    figures = run_benchmark(benchmark, session, root, out, judge=judge)
    assert judge.spent.replies == 4 and len(server.requests) == 6, "nothing is asked twice"
    assert (out / JUDGEMENTS).read_text().startswith(kept) and figures["relative"].value == figures["average"].value == 0.75
    assert figures["unjudged"].value == 0.0 and figures["score"].value == 0.6
    assert answered_figures(benchmark, read_answers(out / ANSWERS)) == figures, "without model and judge"
    manifest = json.loads((out / MANIFEST).read_text())["judge"]
    assert manifest["model"] == "judge" and manifest["settings"] == {"temperature": 0.2, "max_tokens": 1024} and len(manifest["prompts"]) == 64
    record = json.loads(kept.splitlines()[0])
    assert (record["judgement"], record["judge"], record["completion_tokens"]) == ("8 6\nAs good as it gets.", "judge-0314", 23)
    with pytest.raises(ValueError, match="holds a run with another judge"):
        run_benchmark(benchmark, session, root, out, judge=Endpoint(server.url, "judge", settings={"temperature": 0}))
    assert len(server.requests) == 6


def test_one_judgement_that_fails_is_counted_and_asked_for_again(
    root: Path, session: Session, tmp_path: Path, serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken = [True]

    def respond(body: dict[str, Any]) -> Any:
        return (400, {}, b'{"error": {"message": "too long"}}') if broken[0] and "Question 3?" in str(body) else "5 5"

    server, benchmark = serve(respond), replace(llava_bench(), max_new_tokens=4)
    first = run_benchmark(benchmark, session, root, tmp_path, judge=Endpoint(server.url, "judge"))
    assert "the judgement of 002/3 failed: Error code: 400 - too long" in caplog.text
    assert first["unjudged"].value == 1 / 6 and first["relative"].value == 1.0 and first["relative"].count == 5
    broken[0] = False
    again = run_benchmark(benchmark, session, root, tmp_path, judge=Endpoint(server.url, "judge"))
    assert again["unjudged"].value == 0.0 and again["relative"].count == 6 and len(server.requests) == 7


def test_the_command_names_a_judge_says_what_it_cost_and_scores_again_without_it(
    root: Path, tmp_path: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-never-to-be-seen-42"
    monkeypatch.setenv("MY_KEY", secret)
    mine = tmp_path / "my_benches.py"
    mine.write_text(
        "from dataclasses import replace\nfrom foveal.evaluate.benchmarks.judged import mm_vet\nVET = replace(mm_vet(), max_new_tokens=4)\n"
    )
    server = serve(lambda body: "0.5")
    given = ["evaluate", "ferret-v2-nano", f"{mine}:VET", "--data-root", str(root), "--out", str(tmp_path / "out")]
    judge = ["--judge", "gpt-x", "--judge-url", server.url, "--judge-key-variable", "MY_KEY", "--judge-price", "0,1"]
    for wrong, words in (
        ([], "mm-vet is scored by a judge; --judge names the model"),
        (["--judge", "gpt-x", "--judge-url", "https://example.org/v1", "--judge-key-variable", "NO_KEY"], "variable NO_KEY has none"),
        ([*judge[:-1], "cheap"], "--judge-price cheap is no pair of numbers"),
        ([*judge[:-2], "--judge-budget", "1"], "wants --judge-price IN,OUT"),
        ([*judge, "--judge-settings", "[]"], "--judge-settings [] is no JSON object"),
    ):
        assert main([*given, *wrong]) == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not server.requests, "refused before anything was asked"
    assert main([*given, *judge, "--judge-settings", '{"max_tokens": null, "seed": 1}', "--json"]) == 0
    shown = capsys.readouterr()
    said = json.loads(shown.out)["mm-vet"]
    assert said["score"]["value"] == 0.5 and "The judge gpt-x: 2 replies of" in shown.err and "cost 6e-06" in shown.err
    assert {key: value for key, value in server.requests[0][2].items() if key != "messages"} == {"model": "gpt-x", "temperature": 0.0, "seed": 1}
    assert server.requests[0][1]["authorization"] == f"Bearer {secret}"
    folder = tmp_path / "out" / "ferret-v2-nano" / "mm-vet"
    assert (folder / JUDGEMENTS).is_file() and (folder / "report.html").is_file()
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file() and secret in file.read_text(errors="replace")]
    server.close()
    assert main(["rescore", str(folder), "--benchmark", f"{mine}:VET", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said


def test_the_official_ones_have_names_of_their_own_and_say_what_they_read() -> None:
    names = [one.name for one in OFFICIAL]
    assert names == ["ferret-bench", "llava-bench-wild", "llava-bench-coco", "mm-vet", "obj-hal", "obj-hal-words"]
    assert all(one.files and (one.judged is not None) == (one.name != "obj-hal-words") for one in OFFICIAL)

"""The measures of answers against the recordings: VQA, ANLS, relaxed and contained; yes and no; judged scores; places read from an answer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from foveal.evaluate import phrases_found
from foveal.evaluate.answers import anls, contains_answer, edit_distance, exact_match, gqa_answer, mean_by_kind, questions_of_rank, relaxed_match
from foveal.evaluate.hallucination import tally_yes_no, yes_or_no
from foveal.evaluate.judge import answer_for_judge, judge_message, judge_scores, relative_scores
from foveal.evaluate.published_readers import read_in_turn, read_phrases, read_places, read_tagged_places
from foveal.evaluate.vqa import digits_and_articles, normalise_answer, strip_punctuation, vqa_accuracy
from foveal.geometry import Box, Frame
from foveal.grounding import GroundedText, Span
from foveal.grounding.formats import BracketFormat, bins_to_pixels

UNIT = Box(0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def monkey(monkey_folder: Path) -> Any:
    return json.loads((monkey_folder / "metrics.json").read_text(encoding="utf-8"))


def ferret(parity: Path, name: str) -> Any:
    return json.loads((parity / "ferret" / "metrics" / f"{name}.json").read_text(encoding="utf-8"))


def percent(share: float) -> float:
    return round(100 * share, 2)


@pytest.mark.parametrize("name", ["vqa_accuracy", "vqa_accuracy_answers_without_ids"])
def test_vqa_accuracy_is_the_recorded_one_of_each_question_and_kind(monkey: Any, name: str) -> None:
    recorded = monkey[name]
    said = {one["question_id"]: one["answer"] for one in recorded["predictions"]}
    scores = {}
    for about in recorded["annotations"]:
        people = [record["answer"] for record in about["answers"]]
        ids = [tuple(sorted((key, value) for key, value in record.items() if key != "answer")) for record in about["answers"]]
        scores[about["question_id"]] = vqa_accuracy(said[about["question_id"]], people, ids=ids, as_published=True)
    assert {str(place): percent(score) for place, score in scores.items()} == recorded["per_question_accuracy"]
    wanted = recorded["accuracy"]
    assert percent(sum(scores.values()) / len(scores)) == wanted["overall"]
    for kind, expected in (("question_type", wanted["perQuestionType"]), ("answer_type", wanted["perAnswerType"])):
        found = mean_by_kind(list(scores.values()), [about[kind] for about in recorded["annotations"]])
        assert {name: percent(score) for name, score in found.items()} == expected


@pytest.mark.parametrize(
    ("name", "spell"),
    [
        ("vqa_process_punctuation", strip_punctuation),
        ("vqa_process_digit_article", digits_and_articles),
        ("vqa_normalise_prediction", normalise_answer),
    ],
)
def test_answers_are_spelled_as_recorded(monkey: Any, name: str, spell: Any) -> None:
    assert monkey[name]
    for case in monkey[name]:
        assert spell(case["input"], as_published=True) == case["output"], case


def test_our_spelling_departs_from_the_recorded_one_by_dots_and_capitals_only(monkey: Any) -> None:
    for case in monkey["vqa_normalise_prediction"]:
        if case["input"].count(".") <= 32 and not re.search(r"(?i)\b(im|ive|id've|i'dve)\b", case["input"]):
            assert normalise_answer(case["input"]) == case["output"], case


def test_distances_are_the_recorded_ones(monkey: Any) -> None:
    for case in monkey["levenshtein"]:
        assert edit_distance(case["a"], case["b"]) == case["distance"], case


@pytest.mark.parametrize(("name", "rule"), [("anls", "monkey"), ("anls_infographics_official", "infographics")])
def test_anls_is_the_recorded_one(monkey: Any, name: str, rule: Any) -> None:
    scores = [anls(case["answer"], case["annotation"], as_published=rule) for case in monkey[name]["items"]]
    assert scores == pytest.approx([case["score"] for case in monkey[name]["items"]], abs=1e-9)
    assert sum(scores) / len(scores) == pytest.approx(monkey[name]["mean"], abs=1e-9)


def test_relaxed_accuracy_is_the_recorded_one_of_the_definition_and_of_the_script(monkey: Any) -> None:
    recorded = monkey["relaxed_accuracy"]
    for case in recorded["items"]:
        assert relaxed_match(case["answer"], case["annotation"]) is case["relaxed_correctness_target_prediction"], case
        assert relaxed_match(case["answer"], case["annotation"], as_published=True) == case["script_score"], case
    scores = [relaxed_match(case["answer"], case["annotation"], as_published=True) for case in recorded["items"]]
    assert sum(scores) / len(scores) == pytest.approx(recorded["script_mean"], abs=1e-9)


@pytest.mark.parametrize(("name", "rule"), [("contains_accuracy", "monkey"), ("contains_accuracy_doc_variant", "textmonkey")])
def test_containment_is_the_recorded_one(monkey: Any, name: str, rule: Any) -> None:
    scores = []
    for case in monkey[name]["items"]:
        scores.append(contains_answer(case["answer"], case["annotation"], as_published=rule))
        assert scores[-1] == case["score"], case
        assert not exact_match(case["answer"], case["annotation"]) or contains_answer(case["answer"], case["annotation"]), case
    assert scores
    if "mean" in monkey[name]:
        assert sum(scores) / len(scores) == pytest.approx(monkey[name]["mean"], abs=1e-9)


def test_gqa_answers_are_cut_as_recorded(monkey: Any) -> None:
    for case in monkey["gqa_answer_cleanup"]:
        assert gqa_answer(case["input"]) == case["output"], case


def test_ranks_answer_the_recorded_questions(monkey: Any) -> None:
    for case in monkey["shards"]:
        count, ranks = case["total"], case["world_size"]
        runs = [questions_of_rank(count, rank, ranks) for rank in range(ranks)]
        assert [[run.start, run.stop] for run in runs] == case["ranges"], case


# Ferret ----------------------------------------------------------------------------------------------------


def test_verdicts_of_yes_and_no_are_the_recorded_ones(parity: Path) -> None:
    recorded = ferret(parity, "yes_no_objects")
    for case in recorded["single"]:
        assert yes_or_no(case["answer"], as_published=True) == case["judged"], case
    tally = tally_yes_no([one["answer"] for one in recorded["answers"]], recorded["labels"], as_published=True)
    assert {"TP": tally.hits, "FP": tally.alarms, "TN": tally.rejections, "FN": tally.misses} == recorded["counts"]
    shares = (tally.accuracy, tally.precision, tally.recall, tally.f1, tally.yes_ratio)
    names = ("Accuracy", "Precision", "Recall", "F1 score", "Yes ratio")
    assert dict(zip(names, shares, strict=True)) == pytest.approx(recorded["metrics"], abs=1e-9)


def test_replies_of_the_judge_are_read_as_recorded(parity: Path) -> None:
    for case in ferret(parity, "judge_bench")["reply_parsing"]:
        scores = judge_scores(case["reply"], as_published=True)
        assert (list(scores) if scores else [-1, -1]) == case["score"], case
        assert scores is None or not all(1 <= score <= 10 for score in scores) or judge_scores(case["reply"]) == scores, case


def test_answers_are_shown_to_the_judge_as_recorded(parity: Path) -> None:
    recorded = ferret(parity, "judge_bench")
    for case in recorded["answer_cleaning"]:
        assert answer_for_judge(case["answer"], case["category"], as_published=True) == case["cleaned"], case
    judged = recorded["judge"]
    rows = [judged[name] for name in ("questions", "contexts", "reference_answers", "model_answers", "requests", "reviews")]
    for question, context, reference, answer, request, review in zip(*rows, strict=True):
        rule = judged["rule"][question["category"]]
        shown = answer_for_judge(answer["text"], question["category"], as_published=True)
        asked = (context["text"], question["text"], reference["text"], shown, rule["prompt"])
        message = judge_message(*asked, role=rule["role"], as_published=True)
        assert [message] == [one["content"] for one in request["messages"] if one["role"] == "user"]
        assert shown == review["answer2"] and judge_scores(review["content"], as_published=True) == tuple(review["tuple"])
        assert judge_message(*asked, role=rule["role"]) == message.replace("[Context]\\", "[Context]\n", 1)


def test_relative_scores_are_the_recorded_ones(parity: Path) -> None:
    recorded = ferret(parity, "judge_bench")["summary"]
    pairs = [(float(review["tuple"][0]), float(review["tuple"][1])) for review in recorded["reviews"]]
    found = relative_scores(pairs, [review["category"] for review in recorded["reviews"]], as_published=True)
    assert {name: score.relative for name, score in found.items()} == recorded["relative_scores"]


def test_places_in_whole_brackets_are_those_of_the_recorded_readers(parity: Path) -> None:
    """A bracket of four numbers, set as the model writes it; odd ones crash a recorded reader, or are half read, and stay text here."""
    seen = 0
    for case in ferret(parity, "answer_parsing")["texts"]:
        brackets = re.findall(r"\[(.*?)\]", case["text"])
        if not all(re.fullmatch(r"\d+(, ?\d+){3}", inner) and _ordered(inner) for inner in brackets):
            continue
        size = (case["width"], case["height"])
        said = BracketFormat().decode(case["text"], Frame.stretch(size))
        boxes = [region for span in said.spans for region in span.regions if isinstance(region, Box)]
        found = [bins_to_pixels([round(1000 * side) for side in (box.x0, box.y0, box.x1, box.y1)], size) for box in boxes]
        assert found == case["sequential"]["boxes"], case
        if all(", " in inner for inner in brackets):
            assert found == case["regex_refexp"]["boxes"] == case["regex_tagged"]["boxes"], case
        seen += len(found)
    assert seen


READERS = {"sequential": read_in_turn, "regex_refexp": read_places, "regex_phrases": read_phrases, "regex_tagged": read_tagged_places}


def test_the_published_readers_read_what_is_recorded_of_them(parity: Path) -> None:
    for case in ferret(parity, "answer_parsing")["texts"]:
        for name, reader in READERS.items():
            try:
                words, boxes = reader(case["text"], (case["width"], case["height"]))
            except (ValueError, IndexError) as error:
                assert case[name] == {"error": type(error).__name__}, (name, case)
            else:
                assert case[name] == {"entities" if name == "sequential" else "text_part": words, "boxes": boxes}, (name, case)


def test_phrases_are_the_same_as_recorded(parity: Path) -> None:
    for case in ferret(parity, "answer_parsing")["phrase_equality"]:
        said = GroundedText(case["a"], (Span(0, len(case["a"]), (UNIT,)),))
        assert phrases_found(said, [(case["b"], [UNIT])]) == [case["same"]], case


def _ordered(inner: str) -> bool:
    x0, y0, x1, y1 = (int(number) for number in inner.split(","))
    return x0 <= x1 <= 1000 and y0 <= y1 <= 1000

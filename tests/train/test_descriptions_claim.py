"""Laws of the recipe that compares descriptions with short captions: what is measured, what is taught when, what kept tokens answer."""

import doctest
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.cli.sources import from_file
from foveal.data.sources.scenes import Drawing, draw_scene
from foveal.data.sources.scenes.questions import Question
from foveal.data.sources.scenes.short import SHORT_STYLE, ask_shortly
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.session import Session

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module", autouse=True)
def claim() -> Any:
    return from_file(RECIPES / "descriptions_claim.py")


@pytest.fixture(scope="module")
def measures(claim: Any) -> Any:
    return from_file(RECIPES / "descriptions_measures.py")


@pytest.fixture(scope="module")
def start() -> Session:
    return Session.open("monkey-nano", device="cpu", dtype="float32")


@cache
def scenes(count: int = 24) -> tuple[Drawing, ...]:
    return tuple(draw_scene(seed, "test", SHORT_STYLE) for seed in range(count))


def said_of(drawing: Drawing, task: str) -> str:
    question = ask_shortly(drawing, np.random.default_rng(0), task)
    assert question
    return question.answer.text


def test_what_its_docstrings_show_holds(measures: Any) -> None:
    assert doctest.testmod(measures) == (0, 3)


def test_true_captions_of_all_three_kinds_are_true_throughout(measures: Any) -> None:
    for drawing in scenes():
        for text in (measures.truth_of(drawing), said_of(drawing, "caption"), said_of(drawing, "detailed")):
            found = measures.told_of(text, drawing)
            assert found["named_precision"] == found["named_recall"] == found["named_f1"] == 1.0, text
            assert found["counts_right"] in (1.0, None) and found["repeated"] in (0.0, None), text


def test_each_kind_of_error_is_noticed_by_its_measure_alone(measures: Any) -> None:
    style = replace(SHORT_STYLE, names=("dog", "lion", "rose"), things=(4, 4), repeats=(2, 2), repeat_share=1.0, texts=(1, 1))
    drawing = draw_scene(3, style=style)
    names = Counter(thing.name for thing in drawing.things if thing.kind != "text")
    (two, twice), (one, once) = names.most_common()
    assert (twice, once) == (2, 1)
    found = {
        words: [measures.told_of(words, drawing)[measure] for measure in ("named_precision", "named_recall", "counts_right", "repeated")]
        for words in (
            f"two {two}s and a {one}",
            f"two {two}s",
            f"two {two}s, a {one} and a bell",
            f"three {two}s and a {one}",
            f"a {two}, a {two} and a {one}",
        )
    }
    assert list(found.values()) == [[1, 1, 1, 0], [1, 0.5, 1, 0], [2 / 3, 1, 1, 0], [1, 1, 0.5, 0], [1, 1, 1, pytest.approx(1 / 3)]]
    assert measures.told_of("The text reads “bell”. A bell ground.", drawing)["named_precision"] is None  # written, or a ground, and no thing


def test_who_says_the_truth_is_right_in_everything_that_is_asked(measures: Any) -> None:
    drawings = scenes(6)
    asked = [measures.questions_about(drawing) for drawing in drawings]
    assert {question.task for rows in asked for question in rows} == {"detailed", "caption", *measures.TASKS}
    true = measures.judged(drawings, asked, [[question.answer.text for question in rows] for rows in asked])
    assert list(true) == list(measures.MEASURES) and all(len(values) == len(drawings) for values in true.values())
    for measure in ("named_f1", "caption_f1", "meteor", *measures.TASKS):
        assert {round(value, 6) for value in true[measure] if value is not None} == {1.0}, measure
    assert min(true["cider"]) > 9.9 and max(true["cider_own"]) < min(true["cider"])  # the same facts in other words
    silent = measures.judged(drawings, asked, [["" for _ in rows] for rows in asked])
    assert set(silent["named_recall"]) == {0.0} and set(silent["named_precision"]) == {None} and set(silent["read"]) == {0.0}


def test_differences_are_taken_picture_by_picture_where_both_have_something(measures: Any) -> None:
    found = measures.figures({"start": {"read": [0.0, 1.0, None]}, "taught": {"read": [1.0, 1.0, 1.0]}}, "start")["read"]
    assert (found["start"]["value"], found["start"]["n"], found["taught"]["n"]) == (0.5, 2, 3)
    assert (found["taught over start"]["value"], found["taught over start"]["n"]) == (0.5, 2)
    assert np.isnan(measures.figures({"a": {"read": [None]}}, "a")["read"]["a"]["value"])


def test_all_variants_meet_the_same_questions_at_the_same_visits(claim: Any, start: Session, tmp_path: Path) -> None:
    shard = claim.drawn(tmp_path / "train", "train", 4, SHORT_STYLE)
    again = claim.drawn(tmp_path / "train", "train", 4, SHORT_STYLE)
    assert again.records == shard.records and sorted(path.name for path in (tmp_path / "train/images").iterdir()) == [
        f"train-{claim.FIRST['train'] + number}.png" for number in range(4)
    ]
    names = [f"train-{claim.FIRST['train'] + number}" for number in range(4)]
    kinds = [
        {name: Question(task, GroundedText(f"{task}:"), GroundedText(f"{task} of {name}")) for name in names} for task in ("caption", "detailed")
    ]
    tokens = np.zeros((4, 1, 245, 192), np.float16)
    short, long, both = (claim.Told(shard, tokens, start.processor, some, 5) for some in (kinds[:1], kinds[1:], kinds))
    for visit in range(0, 400, 17):
        rows = [one[visit] for one in (short, long, both)]
        tasks = [set(row["tasks"].tolist()) - {0} for row in rows]
        if 6 in tasks[0]:  # the number of "caption" among the tasks
            assert tasks[:2] == [{6}, {7}] and tasks[2] in ({6}, {7})
        else:
            assert all(row["packed"].ids.tolist() == rows[0]["packed"].ids.tolist() for row in rows) and not {6, 7} & tasks[0]
    drawing = drawings_of(claim, shard)[0]
    told = [both.questions(drawing, np.random.default_rng([5, visit]))[0].task for visit in range(300)]
    assert 60 < told.count("caption") < 90 and 60 < told.count("detailed") < 90  # each at a quarter of the visits


def test_the_pipeline_says_something_of_each_picture_and_is_not_run_twice(claim: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = claim.drawn(tmp_path / "train", "train", 2, SHORT_STYLE)
    long = claim.described(tmp_path / "train/images", tmp_path / "pipeline", False)
    assert set(long) == {f"train-{claim.FIRST['train'] + number}" for number in range(len(shard.records))}
    assert all(text.startswith("There ") for text in long.values())
    capsys.readouterr()
    assert claim.described(tmp_path / "train/images", tmp_path / "pipeline", False) == long
    assert "things: 2 of 2 pictures" in capsys.readouterr().out  # told as done, with nothing to do


def test_kept_tokens_are_asked_with_the_answers_of_the_pictures(claim: Any, measures: Any, start: Session, tmp_path: Path) -> None:
    shard = claim.drawn(tmp_path / "test", "test", 2, claim.HELD_OUT)
    tokens = claim.kept_tokens(start.model, start.processor, shard, tmp_path / "tokens.npy")
    asked = [[question for question in measures.questions_about(drawing) if question.task != "detailed"] for drawing in drawings_of(claim, shard)]
    found = claim.answered(start, tokens, asked, shard.pixels.shape[1])
    for number, rows in enumerate(asked):
        picture = Picture(448, 448, pixels=np.asarray(shard.pixels[number]))
        examples = [Example(str(place), (picture,), (Turn("user", question.ask),)) for place, question in enumerate(rows)]
        assert found[number] == [answer.text for answer in start.answer(examples)]


def drawings_of(claim: Any, shard: Any) -> list[Drawing]:
    shown = claim.Shown([shard])
    return [shown[number][1] for number in range(len(shown))]

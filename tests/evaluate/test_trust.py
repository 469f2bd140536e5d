"""Laws of figures that can be trusted: what was not answered is never right, torn files lose nothing, and a part is not taken for the whole."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.cli import main
from foveal.evaluate.benchmark import MANIFEST, Benchmark, answered_figures, run_benchmark
from foveal.evaluate.benchmarks import expressions, names
from foveal.evaluate.benchmarks.referring import expression_boxes, expression_masks
from foveal.evaluate.benchmarks.suites import pope
from foveal.evaluate.judgements import read_judgements
from foveal.evaluate.kept import ANSWERS, Answered, appending, gather, kept_answers, read_answers
from foveal.evaluate.metrics import has_unread_place
from foveal.evaluate.regions import Figure
from foveal.evaluate.report import write_report
from foveal.geometry import Box, Frame, Mask
from foveal.grounding import Example, GroundedText, Note, Picture, Span, Turn, tied
from foveal.grounding.formats import (
    BracketFormat,
    FlorenceFormat,
    InternFormat,
    KosmosFormat,
    MolmoFormat,
    PaliGemmaFormat,
    QwenJsonFormat,
    TagFormat,
)
from foveal.session import Session

LEFT = Box(0.0, 0.0, 0.5, 1.0)
REFUSED = {"finish": "error", "error": "there is no file 1.png"}
MINE = """
from foveal.evaluate.benchmark import Benchmark, mean_figure
def right(asked, said):
    return float(said.text == asked.notes[0].said.text)
def figures(answered):
    return {"whole": mean_figure([right(*one) / 2 for one in answered])}
MINE = Benchmark(name="mine", about="What.", files=(), questions=lambda root, verbs: [], score=right, figures=figures, main="whole")
"""


def question(name: str, truth: GroundedText, **facts: Any) -> Example:
    return Example(name, (Picture(8, 4, f"{name.split('/')[0]}.png"),), (Turn("user", GroundedText("Where?")),), (Note(truth, "truth"),), facts=facts)


def keep(file: Path, answered: Sequence[Answered]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with appending(file, Path()) as lines:
        for one in answered:
            lines.write(*one)
    return file


@pytest.mark.parametrize("benchmark", [expressions("halves"), expression_boxes("grefcoco")], ids=lambda one: str(one.name))
def test_of_what_is_nowhere_only_an_answer_that_was_asked_for_and_read_is_right(benchmark: Benchmark) -> None:
    nothing = question("1/0", tied("the cup"))
    for said, facts, right in (("No cup.", {}, 1.0), ("", {}, 1.0), ("a cup [10, 20, 30", {}, 0.0), ("", REFUSED, 0.0)):
        one = (replace(nothing, facts=facts), GroundedText(said))
        figures = answered_figures(benchmark, [one])
        share = figures["absent" if "absent" in figures else "n_acc"]
        assert (figures["score"].value, share.value, figures["refused"].value) == (right, right, float(bool(facts))), said
        assert figures["unparsed"].value == float((not said and not facts) or "[" in said)


def test_an_outline_that_was_refused_is_not_taken_for_nothing() -> None:
    nothing, thing = question("1/0", tied("the cup")), question("2/0", tied("the dog", Mask(8, 4, (0, 16, 16))))
    asked = [(replace(nothing, facts=REFUSED), GroundedText("")), (thing, thing.notes[0].said)]
    figures = answered_figures(expression_masks("grefcoco"), asked)
    assert (figures["n_acc"].value, figures["giou"].value, figures["score"].value) == (0.0, 0.5, 0.5)
    assert answered_figures(expression_masks("grefcoco"), [(nothing, GroundedText("")), asked[1]])["n_acc"].value == 1.0


def test_a_question_that_was_refused_is_no_yes() -> None:
    asked = replace(question("1/0", GroundedText("yes")), facts=REFUSED)
    figures = answered_figures(pope("random", as_published=True), [(asked, GroundedText(""))])
    assert (figures["score"].value, figures["accuracy"].value, figures["yes"].value) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("dialect", "odd"),
    [
        (BracketFormat(), "a cup [1, 2, 3]"),
        (TagFormat(), "<ref>a cup</ref><box>(1,2),(3</box>"),
        (InternFormat(), "<ref>a cup</ref><box>[[1, 2, 3]]</box>"),
        (QwenJsonFormat(), '[{"bbox_2d": [1, 2, 3'),
        (FlorenceFormat(), "a cup<loc_1><loc_2>"),
        (PaliGemmaFormat(), "<loc0001><loc0002> a cup"),
        (KosmosFormat(), "<phrase>a cup</phrase><object><patch_index_0001></object>"),
        (MolmoFormat(), '<point x="10.5" alt="a cup">a cup'),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_place_that_no_dialect_can_read_is_counted(dialect: Any, odd: str) -> None:
    frame = Frame.stretch((640, 480))
    said, well = dialect.decode(odd, frame), dialect.decode(dialect.encode(tied("a cup", Box(0.1, 0.2, 0.5, 0.6)), frame), frame)
    assert has_unread_place(said) and not said.regions and not has_unread_place(well)


def test_torn_lines_and_odd_signs_lose_no_answer(tmp_path: Path) -> None:
    asked = [question(f"{number}/0", tied("a\u2028cup\x85", LEFT)) for number in range(4)]
    keep(tmp_path / ANSWERS, [(asked[0], GroundedText("one\u2028two"))])
    with open(tmp_path / ANSWERS, "a") as file:
        file.write('{"id": "torn')
    keep(tmp_path / "predictions-0.jsonl", [(asked[1], GroundedText("b\x85c"))])
    keep(tmp_path / "predictions-0.jsonl", [(asked[2], GroundedText("c"))])
    refused = replace(asked[0], facts=REFUSED)
    keep(tmp_path / "predictions-1.jsonl", [(asked[3], GroundedText("d")), (refused, GroundedText(""))])
    with open(tmp_path / "predictions-1.jsonl", "a") as file:
        file.write('{"id": "torn')
    assert set(kept_answers(tmp_path)) == {one.id for one in asked}
    gather(tmp_path, asked)
    assert [said.text for _, said in read_answers(tmp_path / ANSWERS)] == ["one\u2028two", "b\x85c", "c", "d"]
    assert not list(tmp_path.glob("predictions-*"))


def test_a_judgement_may_hold_any_sign(tmp_path: Path) -> None:
    (tmp_path / "judgements.jsonl").write_text(json.dumps({"id": "1", "judgement": "8 9\u2028Good."}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_judgements(tmp_path / "judgements.jsonl") == {"1": "8 9\u2028Good."}


def test_a_refused_question_is_asked_again_by_the_same_command(tmp_path: Path, make_ferret: Callable[..., Any]) -> None:
    folder = tmp_path / "data" / "one"
    folder.mkdir(parents=True)
    records = [{"image": f"{n}.png", "width": 40, "height": 40, "regions": [{"box": [0, 0, 20, 40], "label": "cup"}]} for n in range(2)]
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name in ("0.png", "1.png"):
        Image.new("RGB", (40, 40), "red").save(folder / name)
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(b"x" * len(whole))
    session, kept = Session(*make_ferret(), "tiny"), []
    for content in (None, whole):
        if content:
            (folder / "1.png").write_bytes(content)
        found = run_benchmark(names("one"), session, tmp_path / "data", tmp_path / "run")
        kept.append((tmp_path / "run" / ANSWERS).read_text().splitlines())
        assert found["refused"].value == (0.0 if content else 0.5) and found["score"].count == len(kept[-1]) == 2
    assert kept[0][0] == kept[1][0]
    Image.new("RGB", (40, 40), "blue").resize((400, 400)).save(folder / "0.png")
    with pytest.raises(ValueError, match="another pictures"):
        run_benchmark(names("one"), session, tmp_path / "data", tmp_path / "run")


def test_scores_of_boxes_are_calibrated_in_figures_and_report(tmp_path: Path) -> None:
    asked = [question(f"{number}/0", tied("cup", LEFT) if number < 3 else tied("cup")) for number in range(4)]
    said = GroundedText("cup", (Span(0, 3, (LEFT,), (0.75,)),))
    figures = answered_figures(expressions("halves"), [(one, said) for one in asked])
    assert figures["calibration_error"].value == 0.0 and figures["calibration_error"].count == 4 and math.isnan(figures["calibration_error"].low)
    write_report(tmp_path / "page.html", "t", expressions("halves"), [(one, said) for one in asked], figures, tmp_path)
    page = (tmp_path / "page.html").read_text()
    assert "nan" not in page and "scores 0.7 to 0.8: 75.0% of 4 right, 75.0% said" in page
    plain = answered_figures(expressions("halves"), [(one, tied("cup", LEFT)) for one in asked])
    assert "calibration_error" not in plain and isinstance(plain["score"], Figure)


def told(asked: Sequence[Example], right: Callable[[int], bool]) -> list[Answered]:
    return [(one, GroundedText("cup" if right(number) else "dog")) for number, one in enumerate(asked)]


def test_two_runs_are_compared_by_pictures_and_by_the_benchmarks_own_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    asked = [replace(question(f"{number}/0", GroundedText("cup")), id=str(number)) for number in range(12)]
    first, second = keep(tmp_path / "a.jsonl", told(asked, lambda n: n % 2 == 0)), keep(tmp_path / "b.jsonl", told(asked[:10], lambda n: n % 3 == 0))
    given = ["compare", str(first), str(second), "--benchmark", f"{mine}:MINE", "--draws", "20"]
    assert main([*given, "--json"]) == 0
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    assert "2 questions were asked in one of the runs alone" in shown.err and said["questions"] == 10
    assert (said["first"], said["second"], said["main"], said["main_first"], said["main_second"]) == (0.5, 0.4, "whole", 0.25, 0.2)
    for difference, value in ((said["difference"], -0.1), (said["main_difference"], -0.05)):  # ids without a slash are pictures of their own
        assert difference["value"] == pytest.approx(value) and difference["low"] < value < difference["high"] and difference["count"] == 10
    assert main(given) == 0 and "whole" in capsys.readouterr().out
    other = keep(tmp_path / "c.jsonl", told([replace(one, notes=(Note(GroundedText("dog"), "truth"),)) for one in asked], bool))
    assert main(["compare", str(first), str(other), "--benchmark", f"{mine}:MINE"]) == 2
    assert "different true answers to question '0'" in capsys.readouterr().err


def test_a_part_of_a_run_and_answers_to_something_else_are_not_scored_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [question(f"{number}/0", tied("cup", LEFT)) for number in range(3)]
    place = keep(tmp_path / ANSWERS, told(asked, bool))
    (tmp_path / MANIFEST).write_text(json.dumps({"benchmark": "coco-expressions", "questions": {"count": 5}}))
    assert main(["rescore", str(tmp_path)]) == 0 and "holds 3 of the run's 5 answers" in capsys.readouterr().err
    assert main(["rescore", str(place), "--benchmark", "coco-choice-box"]) == 2 and "coco-choice-box cannot score" in capsys.readouterr().err
    for wrong in ("", "[]", '{"benchmark": "coco-expressions"}'):
        (tmp_path / MANIFEST).write_text(wrong)
        assert main(["rescore", str(tmp_path)]) == 2 and "is no manifest of a run" in capsys.readouterr().err
    (tmp_path / MANIFEST).unlink()
    place.write_text("")
    assert main(["rescore", str(place), "--benchmark", "coco-expressions"]) == 2 and "holds no answers" in capsys.readouterr().err

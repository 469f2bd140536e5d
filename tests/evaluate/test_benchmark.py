"""Laws of benchmarks: what was stopped goes on to the same answers, a number is made again from them, and no other run is taken for one's own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.cli import main
from foveal.data.sources.scenes.written import write_scenes
from foveal.evaluate.benchmark import MANIFEST, Benchmark, answered_figures, mean_figure, run_benchmark
from foveal.evaluate.benchmarks import BENCHMARKS, choices, detected, expressions, located, names, statements
from foveal.evaluate.kept import ANSWERS, read_answers
from foveal.evaluate.metrics import interval
from foveal.evaluate.report import write_report
from foveal.evaluate.sampling import bootstrap
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText, Note, tied, write_examples
from foveal.grounding.wordings import VERBS
from foveal.session import Session
from foveal.session.answers import Answer

COLOURS = ("red", "green", "blue")
FERRET = VERBS["ferret"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of two halves in the form of annotations.jsonl, with expressions and a statement."""
    folder = tmp_path_factory.mktemp("data") / "halves"
    folder.mkdir()
    records = []
    for number in range(4):
        left, right = COLOURS[number % 3], COLOURS[(number + 1) % 3]
        picture = Image.new("RGB", (60, 40), left)
        picture.paste(right, (30, 0, 60, 40))
        picture.save(folder / f"{number}.png")
        regions = [{"box": [0, 0, 30, 40], "label": left}, {"box": [30, 0, 60, 40], "label": right}, {"box": [0, 0, 5, 5], "label": left}]
        told = [{"text": f"the {left} half", "box": [0, 0, 30, 40]}, {"text": "a person", "box": None}]
        record = {"image": f"{number}.png", "width": 60, "height": 40, "regions": regions, "expressions": told}
        records.append(record | {"sentence": f"The left half is {left}.", "truth": number % 2 == 0})
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder.parent


@pytest.fixture(scope="module")
def session(make_ferret: Callable[..., Any]) -> Session:
    return Session(*make_ferret(), "tiny")


def asked(benchmark: Benchmark, data: Path) -> list[Example]:
    return list(benchmark.questions(data, FERRET))


def test_each_ready_benchmark_asks_what_is_marked_and_takes_the_truth_for_right(data: Path) -> None:
    for benchmark, count in (
        (choices("halves"), 8),
        (choices("halves", "mask"), 8),
        (names("halves"), 8),
        (expressions("halves"), 8),
        (statements("halves"), 4),
    ):
        questions = asked(benchmark, data)
        assert len(questions) == count and len({one.id for one in questions}) == count, benchmark.name
        for one in questions:
            truth = one.notes[0].said
            told = truth if truth.regions or "half" not in truth.text else GroundedText("No")
            if benchmark.name.endswith("expressions") and not truth.regions:
                told = GroundedText("There is no person in the image.")
            assert benchmark.score(one, told) == 1.0, (benchmark.name, told)
            assert benchmark.score(one, tied("giraffe", Box(0.9, 0.9, 1.0, 1.0))) == 0.0
        assert questions == asked(benchmark, data)


def test_the_right_name_stands_first_every_second_time_and_naming_both_is_wrong(data: Path) -> None:
    benchmark = choices("halves")
    questions = asked(benchmark, data)
    for number, one in enumerate(questions):
        text, name, other = one.turns[0].said.text, one.notes[0].said.text, str(one.facts["other"])
        assert other not in json.loads((data / "halves/annotations.jsonl").read_text().splitlines()[int(one.id[0])])["regions"][0]["label"]
        assert (text.index(name) < text.index(other)) == (number % 2 == 0)
        assert benchmark.score(one, GroundedText(f"a {name} or a {other}")) == 0.0
    assert benchmark.score(questions[0], GroundedText(f"It is not a {questions[0].notes[0].said.text}.")) == 0.0


def test_a_family_is_not_pointed_at_in_a_form_it_does_not_take(data: Path) -> None:
    with pytest.raises(ValueError, match=r"^PixelLLM takes a region as box or point, not as mask\.$"):
        list(choices("halves", "mask").questions(data, VERBS["pixel_llm"]))
    assert list(choices("halves").questions(data, VERBS["pixel_llm"]))


def test_of_several_boxes_the_first_counts_whatever_the_truth_is(data: Path) -> None:
    benchmark = expressions("halves")
    one = asked(benchmark, data)[0]
    right, wrong = Box(0.0, 0.0, 0.5, 1.0), Box(0.6, 0.0, 1.0, 1.0)
    assert [benchmark.score(one, tied("it", *boxes)) for boxes in ((right, wrong), (wrong, right))] == [1.0, 0.0]
    present = answered_figures(benchmark, [(one, tied("it", right, wrong)) for one in asked(benchmark, data)])
    assert (present["present"].value, present["absent"].value, present["several_places"].value) == (1.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn scenes as a set that is marked."""
    folder = tmp_path_factory.mktemp("drawn")
    assert len(list(write_scenes(folder / "scenes", 8))) == 8
    return folder


def test_drawn_scenes_can_be_asked_as_any_marked_set(drawn: Path, tmp_path: Path) -> None:
    for benchmark in (BENCHMARKS[name] for name in BENCHMARKS if name.startswith("scenes-")):
        questions = asked(benchmark, drawn)
        truths = [(one, one.notes[0].said) for one in questions]
        absent = [(one, GroundedText("There is none in the image.") if not said.regions else said) for one, said in truths]
        found = answered_figures(benchmark, absent)
        assert len(questions) > 1 and found[benchmark.main].value == 1.0 and found["score"].value == 1.0, benchmark.name
        wrong = answered_figures(benchmark, [(one, tied("giraffe", Box(0.98, 0.98, 1.0, 1.0))) for one in questions])
        assert wrong[benchmark.main].value < 0.02 and wrong["score"].value < 0.02, benchmark.name
    again = tmp_path / "scenes"
    list(write_scenes(again, 8))
    assert all(file.read_bytes() == (drawn / "scenes" / file.relative_to(again)).read_bytes() for file in again.rglob("*") if file.is_file())
    with pytest.raises(ValueError, match="is there already"):
        next(write_scenes(again, 1))
    with pytest.raises(ValueError, match="no split 'other'"):
        next(write_scenes(tmp_path / "others", 1, split="other"))


def test_found_things_count_by_rank_and_crowds_neither_way(data: Path) -> None:
    one = asked(detected("halves"), data)[0]
    places = [bounding_box(region) for region in one.notes[0].said.regions]
    crowd = replace(one, notes=(tied_note(one, places[:2]), replace(one.notes[1], said=tied("crowd", places[2]))))
    said = GroundedText.join(*(tied(f"{name} ", box) for name, box in zip(("red", "red", "red"), places, strict=True)))
    found = answered_figures(detected("halves"), [(crowd, said)])
    assert found["ap"].value == 1.0 and found["ap"].count == 2 and 0.4 < found["ap_named"].value < 0.6


def tied_note(example: Example, places: Sequence[Box]) -> Note:
    names = [example.notes[0].said.text[span.start : span.end] for span in example.notes[0].said.spans]
    return Note(GroundedText.join(*(tied(name, box) for name, box in zip(names, places, strict=False))), "truth")


def test_things_are_told_apart_by_their_size(data: Path) -> None:
    benchmark = located("halves")
    questions = asked(benchmark, data)
    assert len(questions) == 4 and {one.facts["shorter_px"] for one in questions} == {30.0}  # what bears its name alone
    found = answered_figures(benchmark, [(one, one.notes[0].said) for one in questions])
    assert found["small"].value == 1.0 and "large" not in found


def test_a_picture_is_looked_at_once_however_many_questions_it_has(data: Path, session: Session) -> None:
    looked = []

    class Counting(Session):
        def look(self, image: Any) -> Any:
            looked.append(image)
            return super().look(image)

    one, other = asked(names("halves"), data)[0], asked(names("halves"), data)[-1]
    counting = Counting(session.model, session.processor, "tiny")
    assert len(list(counting.answer([one] * 11 + [other], batch=2, max_new_tokens=1))) == 12 and len(looked) == 2


PAIR = """
import sys
from pathlib import Path
from foveal.cli import main
sys.exit(main(["evaluate", sys.argv[1], "halves.py:HALVES", "--data-root", sys.argv[2], "--out", sys.argv[3]]))
"""


@pytest.mark.slow
def test_two_processes_share_a_run(data: Path, session: Session, tmp_path: Path) -> None:
    for part in (session.model, session.processor):
        part.save_pretrained(tmp_path / "tiny")
    (tmp_path / "halves.py").write_text("from foveal.evaluate.benchmarks import choices\nHALVES = choices('halves')\n")
    (tmp_path / "pair.py").write_text(PAIR)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--main_process_port", "0", "pair.py"]
    told = {}
    for name, how in (("one", ["pair.py"]), ("two", launch)):
        given = [sys.executable, *how, str(tmp_path / "tiny"), str(data), str(tmp_path / name)]
        run = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert run.returncode == 0, run.stderr
        folder = tmp_path / name / "tiny" / "halves-choice-box"
        told[name] = [(folder / file).read_text() for file in (ANSWERS, "figures.json", MANIFEST)]
        assert run.stdout.count("questions about 4 pictures") == 1 and not list(folder.glob("predictions-*"))
    assert told["one"] == told["two"]


class Stopping(Session):
    """A session whose run is stopped before its fifth answer."""

    def answer(self, examples: Any, options: Any = None, **changes: Any) -> Iterator[Answer]:
        for number, answer in enumerate(super().answer(examples, options, **changes)):
            if number == 4:
                raise KeyboardInterrupt
            yield answer


def test_a_run_that_was_stopped_ends_in_the_same_answers_and_figures(data: Path, session: Session, tmp_path: Path) -> None:
    benchmark, heard = choices("halves"), list[tuple[int, int, float]]()
    whole = run_benchmark(benchmark, session, data, tmp_path / "whole", batch=2, heard=lambda *told: heard.append(told))
    assert [told[:2] for told in heard] == [(number, 8) for number in range(1, 9)]
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(benchmark, Stopping(session.model, session.processor, "tiny"), data, tmp_path / "parts", batch=2)
    with open(tmp_path / "parts" / ANSWERS, "a") as lines:
        lines.write('{"id": "torn')
    assert run_benchmark(benchmark, session, data, tmp_path / "parts", batch=4) == whole
    kept = [(tmp_path / name / ANSWERS).read_text() for name in ("whole", "parts")]
    assert kept[0] == kept[1]
    assert answered_figures(benchmark, read_answers(tmp_path / "whole" / ANSWERS)) == whole
    assert {name: one["value"] for name, one in json.loads((tmp_path / "whole" / "figures.json").read_text()).items()} == {
        name: one.value for name, one in whole.items()
    }


def test_a_folder_with_another_run_is_not_gone_on_with(data: Path, session: Session, tmp_path: Path, make_ferret: Callable[..., Any]) -> None:
    benchmark = names("halves")
    run_benchmark(benchmark, session, data, tmp_path / "run", limit=2)
    manifest = json.loads((tmp_path / "run" / MANIFEST).read_text())
    assert manifest["questions"]["count"] == 2 and set(manifest["data"]) == {"halves/annotations.jsonl"} and "torch" in manifest["versions"]
    with pytest.raises(ValueError, match="another questions"):
        run_benchmark(benchmark, session, data, tmp_path / "run", limit=3)
    other, processor = make_ferret()
    with np.errstate():
        next(other.parameters()).data.add_(1.0)
    with pytest.raises(ValueError, match="another weights"):
        run_benchmark(benchmark, Session(other, processor, "tiny"), data, tmp_path / "run", limit=2)
    with pytest.raises(ValueError, match="is not there"):
        run_benchmark(replace(benchmark, files=("halves/none.jsonl",)), session, data, tmp_path / "new")
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "turns": []}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 1: example '1' has no answer"):
        read_answers(tmp_path / "bad.jsonl")


def test_a_picture_that_cannot_be_read_is_counted_and_the_others_are_answered(data: Path, session: Session, tmp_path: Path) -> None:
    benchmark = names("halves")

    def questions(root: Path, verbs: Any) -> Sequence[Example]:
        found = list(benchmark.questions(root, verbs))
        return [
            replace(one, images=(replace(one.images[0], path=str(tmp_path / "no.png")),)) if number < 2 else one for number, one in enumerate(found)
        ]

    found = run_benchmark(replace(benchmark, questions=questions), session, data, tmp_path / "run")
    assert found["refused"].value == 0.25 and found["score"].count == 8
    write_report(tmp_path / "page.html", "<b>&", benchmark, read_answers(tmp_path / "run" / ANSWERS), found, data)
    page = (tmp_path / "page.html").read_text()
    assert "<h1>&lt;b&gt;&amp;</h1>" in page and page.count("data:image/jpeg;base64,") >= 6 and "no.png" in page and "<script" not in page
    assert "What is &lt;1&gt;?" in page


def test_the_command_keeps_answers_and_scores_them_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "my_halves.py"
    mine.write_text("from foveal.evaluate.benchmarks import choices\nHALVES = choices('halves')\n")
    given = ["evaluate", "ferret-v2-nano", f"{mine}:HALVES", "--data-root", str(data), "--out", str(tmp_path / "out"), "--limit", "3", "--json"]
    assert main(given) == 0
    said = json.loads(capsys.readouterr().out)["halves-choice-box"]
    assert said["score"]["count"] == 3
    folder = tmp_path / "out" / "ferret-v2-nano" / "halves-choice-box"
    assert (folder / "report.html").is_file()
    assert main(["rescore", str(folder), "--benchmark", f"{mine}:HALVES", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said
    assert main(["evaluate", "list"]) == 0 and all(name[:12] in capsys.readouterr().out for name in list(BENCHMARKS)[:1])
    for wrong, words in (
        (["evaluate", "ferret-v2-nano", "nothing"], "no benchmark 'nothing'"),
        (["evaluate", "ferret-v2-nano", "coco-names", "--data-root", str(tmp_path)], "cannot be read|is not there|no file"),
        (["evaluate", "ferret-v2-nano"], "No benchmark was named"),
        (["rescore", str(tmp_path / "none.jsonl")], "there is no file"),
    ):
        assert main(wrong) == 2
        import re

        assert re.search(words, capsys.readouterr().err)


def test_two_runs_are_compared_question_by_question(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "both_halves.py"
    mine.write_text("from foveal.evaluate.benchmarks import choices\nHALVES = choices('halves')\n")
    questions = asked(choices("halves"), data)
    for name, right in (("good", 8), ("bad", 3)):
        told = [one.notes[0].said if number < right else GroundedText("no idea") for number, one in enumerate(questions)]
        done = [
            replace(one, turns=(*one.turns, replace(one.turns[0], role="assistant", said=said))) for one, said in zip(questions, told, strict=True)
        ]
        write_examples(tmp_path / f"{name}.jsonl", done)
    given = ["compare", str(tmp_path / "bad.jsonl"), str(tmp_path / "good.jsonl"), "--benchmark", f"{mine}:HALVES", "--json"]
    assert main(given) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["first"], said["second"], said["questions"]) == (3 / 8, 1.0, 8)
    assert said["difference"]["low"] <= said["difference"]["value"] == 5 / 8 <= said["difference"]["high"]
    assert main([given[0], given[2], given[1], *given[3:]]) == 0
    assert json.loads(capsys.readouterr().out)["difference"]["value"] == -5 / 8
    assert main(given[:3]) == 2 and "runs of one benchmark" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "none"), str(tmp_path / "bad.jsonl")]) == 2


@pytest.mark.parametrize("right_or_wrong", [True, False])
def test_questions_about_one_picture_count_together(right_or_wrong: bool) -> None:
    rng, per_picture = np.random.default_rng(0), 12
    ease = rng.random((60, 1))
    values = (rng.random((60, per_picture)) < ease).astype(float) if right_or_wrong else ease + 0.1 * rng.random((60, per_picture))
    pictures = [str(picture) for picture in range(60) for _ in range(per_picture)]
    drawn = bootstrap(values, lambda sets: sets.mean((1, 2)), draws=4000)
    found, alone = mean_figure(values.ravel().tolist(), pictures), mean_figure(values.ravel().tolist())
    assert (found.value, found.count) == (alone.value, 720)
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.08)
    assert found.high - found.low > 1.5 * (alone.high - alone.low)
    scattered = mean_figure(rng.permutation(values.ravel()).tolist(), pictures)
    assert scattered.high - scattered.low == pytest.approx(alone.high - alone.low, rel=0.25)
    assert mean_figure([1.0] * 9, ["a"] * 9) == mean_figure([1.0] * 9), "nothing is seen of how pictures differ"
    one = mean_figure([0.0, 1.0] * 4, ["a"] * 8)
    assert (one.low, one.high) == interval(0.5, 1)


def test_means_have_intervals_that_hold_them() -> None:
    for values in ([0.0, 1.0, 1.0], [0.2, 0.4, 0.9], [0.4], [1.3], []):
        one = mean_figure(values)
        assert one.low <= one.value <= one.high and one.count == len(values)

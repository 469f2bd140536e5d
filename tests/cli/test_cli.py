"""The command line: what is asked is answered, what is wrong is said in one sentence, and a batch goes on."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import foveal.cli.work
from foveal.cli import main
from foveal.geometry import Box, Mask, Point, Trace
from foveal.grounding import Example, GroundedText, Span
from foveal.grounding.wordings import GUESTS, VERBS
from foveal.session import Answer, Session

Run = Callable[..., tuple[int, str, str]]


class Echo:
    """A session that answers each question with its words and, as place, its first region's surroundings; and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Example] = []

    def answer(self, examples: Any, **options: Any) -> Any:
        for example in examples:
            self.asked.append(example)
            said = GroundedText("a red cup.", (Span(0, 9, (Box(0.25, 0.5, 0.5, 0.75),), (0.875,)),))
            yield Answer(said, "stop", "a red cup [250, 500, 500, 750].")


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    session = Echo()
    monkeypatch.setattr(foveal.cli.work, "open_session", lambda model, device: session)
    return session


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line where a.png (80x40) and b.png (40x80) lie."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("a.png", (80, 40)), ("b.png", (40, 80))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)).save(name)

    def go(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return go


def asked(echo: Echo) -> GroundedText:
    return echo.asked[-1].turns[-1].said


def test_an_answer_is_readable(run: Run, echo: Echo) -> None:
    code, out, err = run("ask", "a.png", "What is this?", "--box", "20,10,40,30")
    assert (code, err) == (0, "")
    assert out == "a red cup.\n  a red cup   20, 20, 40, 30   score 0.88\n"


def test_json_has_fractions_and_pixels(run: Run, echo: Echo) -> None:
    code, out, _ = run("ask", "a.png", "What is <1>?", "--point", "20,10", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["spans"][0] == {
        "start": 0,
        "end": 9,
        "words": "a red cup",
        "regions": [{"box": [0.25, 0.5, 0.5, 0.75], "box_px": [20.0, 20.0, 40.0, 30.0], "score": 0.875}],
    }
    assert record["asked"] == [{"point": [0.25, 0.25], "box": [0.25, 0.25, 0.25, 0.25], "box_px": [20.0, 10.0, 20.0, 10.0]}]
    assert record["question"] == "What is <1>?" and record["finish_reason"] == "stop"
    assert (record["width"], record["height"], record["model"], record["image"]) == (80, 40, "ferret-v2-nano", "a.png")


def test_places_count_in_the_order_of_the_command_line(run: Run, echo: Echo) -> None:
    bits = np.zeros((40, 80), np.uint8)
    bits[10:20, 20:40] = 255
    Image.fromarray(bits).save("mask.png")
    order = ["--point", "20,10", "--mask", "mask.png", "--box=0,0,40,20", "--point", "40,20", "--scribble", "0,0 8,4 80,40"]
    assert run("ask", *order, "a.png", "<5> <4> <3> <2> <1>")[0] == 0
    kinds = [type(region) for region in asked(echo).regions]
    assert kinds == [Trace, Point, Box, Mask, Point]
    assert asked(echo).regions[1] == Point(0.5, 0.5) and asked(echo).regions[4] == Point(0.25, 0.25)
    assert asked(echo).regions[0] == Trace(((0.0, 0.0), (0.1, 0.1), (1.0, 1.0)))


def test_fractions_are_taken_where_said(run: Run, echo: Echo) -> None:
    run("ask", "a.png", "What is this?", "--fraction", "--box", "0.25,0.25,0.5,1")
    assert asked(echo).regions == (Box(0.25, 0.25, 0.5, 1.0),)


def test_the_verbs_ask_their_questions(run: Run, echo: Echo) -> None:
    for arguments, words in [
        (("locate", "a.png", " the red cup "), "What is the location of the red cup in the image?"),
        (("detect", "a.png"), "Please localize visible objects in the image in a raster scan order."),
        (("caption", "a.png"), "Describe the image."),
        (("caption", "a.png", "--grounded"), "Describe the image. Include the coordinates for each mentioned object."),
    ]:
        assert run(*arguments)[0] == 0
        assert asked(echo).text == words


def test_answers_are_drawn(run: Run, echo: Echo) -> None:
    assert run("ask", "a.png", "What is this?", "--box", "20,10,40,30", "--save", "out.png")[0] == 0
    with Image.open("out.png") as drawn:
        assert drawn.width == 640
    assert run("detect", "a.png", "b.png", "--save", "drawn")[0] == 0
    assert sorted(os.listdir("drawn")) == ["0001-a.png", "0002-b.png"]


WRONG = [
    (("ask", "none.png", "What?"), "There is no image file none.png."),
    (("ask", "notes.txt", "What?"), "notes.txt is not an image"),
    (("ask", "torn.png", "What?"), "torn.png cannot be decoded"),
    (("ask", ".", "What?"), "is not a file"),
    (("ask", "a.png", ""), "The question is empty"),
    (("ask", "a.png"), "A question is missing"),
    (("ask", "a.png", "b.png"), "A question is missing"),
    (("ask",), "Missing argument"),
    (("ask", "a.png", "What?", "--box", "10,10,90,20"), "The box 10, 10, 90, 20 reaches outside the image; the image has 80x40 pixels."),
    (("ask", "a.png", "What?", "--box", "10,10,10,20"), "is empty"),
    (("ask", "a.png", "What?", "--box", "nan,10,10,20"), "not a finite number"),
    (("ask", "a.png", "What?", "--point", "inf,1"), "not a finite number"),
    (("ask", "a.png", "What?", "--box", "10,10,20"), "--box '10,10,20' is not understood"),
    (("ask", "a.png", "What?", "--point", "a,b"), "--point 'a,b' is not understood"),
    (("ask", "a.png", "What?", "--scribble", ""), "no points"),
    (("ask", "a.png", "What?", "--mask", "none.png"), "There is no image file none.png."),
    (("ask", "a.png", "What?", "--mask", "b.png"), "both must be the same"),
    (("ask", "a.png", "What is <2>?", "--point", "1,1"), "The question speaks of <2>, but only 1 region is given"),
    (("ask", "a.png", "What is <1>?"), "The question speaks of <1>, but no region is given"),
    (("ask", "a.png", "What?", "--fraction", "--point", "20,10"), "fractions of it"),
    (("ask", "a.png", "What?", "--save", "out.xyz"), "names no image format"),
    (("ask", "a.png", "What?", "--save", "nowhere/out.png"), "there is no folder nowhere"),
    (("detect", "a.png", "b.png", "--save", "a.png"), "a folder is wanted"),
    (("ask", "a.png", "What?", "--max-tokens", "0"), "--max-tokens"),
    (("ask", "a.png", "What?", "--nope"), "No such option"),
    (("locate", "a.png", "  "), "The phrase to locate is empty"),
    (("detect",), "Missing argument"),
    (("paint", "a.png"), "No such command"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_every_error_is_one_sentence_and_exit_2(run: Run, echo: Echo, arguments: tuple[str, ...], words: str) -> None:
    Path("notes.txt").write_text("not an image")
    Path("torn.png").write_bytes(Path("a.png").read_bytes()[:400])
    if arguments[1:2] == ("torn.png",):  # the header is whole, so this one is found when the image is looked at
        echo.answer = lambda examples, **options: Session.answer(Looker(), examples, **options)  # type: ignore[method-assign]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1 and err.startswith("foveal: ")


class Looker(Session):
    """A session without a model, which reads images all the same."""

    def __init__(self) -> None:
        pass


def test_an_unknown_model_is_refused_by_naming_what_ships(run: Run) -> None:
    for model, words in [("gpt-9", "shipped are:"), (".", "holds no model")]:
        code, out, err = run("ask", "a.png", "What?", "--model", model)
        assert (code, out, err.count("\n")) == (2, "", 1) and words in err


def test_several_images_give_json_lines_and_a_bad_one_is_reported(run: Run, echo: Echo) -> None:
    code, out, err = run("caption", "a.png", "none.png", "b.png")
    records = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert [record["image"] for record in records] == ["a.png", "none.png", "b.png"]
    assert records[1]["error"] == "There is no image file none.png."
    assert [record.get("text") for record in records] == ["a red cup.", None, "a red cup."]
    assert run("caption", "a.png", "b.png")[0] == 0


def test_json_lines_are_answered_line_by_line(run: Run, echo: Echo) -> None:
    lines = [
        '{"id": "x", "image": "a.png", "question": "What is <1>?", "regions": [{"box_px": [8, 4, 40, 20]}]}',
        "nonsense",
        "",
        '{"image": "b.png"}',
        '{"image": "a.png", "box": [0, 0, 1, 1]}',
        '{"image": "a.png", "regions": [{"box": [0, 0, 2, 1]}]}',
        '{"image": "a.png", "question": 3}',
        '{"image": 3}',
        "[1, 2]",
        '{"image": "a.png", "regions": [{"point": [0.5, 0.5]}, {"trace_px": [[0, 0], [8, 4]]}]}',
    ]
    code, out, _ = run("ask", "-", "What is this?", stdin="\n".join(lines))
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [record["line"] for record in records] == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert [record["line"] for record in records if "error" in record] == [2, 5, 6, 7, 8, 9]
    assert records[0]["id"] == "x" and records[0]["asked"][0]["box"] == [0.1, 0.1, 0.5, 0.5]
    assert [example.turns[0].said.text for example in echo.asked] == ["What is ?", "What is this?", "What is this  and ?"]
    assert run("ask", "-", stdin="")[:2] == (0, "")


def test_locate_takes_phrases_from_json_lines(run: Run, echo: Echo) -> None:
    code, out, _ = run("locate", "-", stdin='{"image": "a.png", "phrase": "the hat"}\n{"image": "a.png"}\n')
    assert code == 1 and "empty" in json.loads(out.splitlines()[1])["error"]
    assert asked(echo).text == "What is the location of the hat in the image?"


def test_text_that_could_steer_a_terminal_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rude:
        def answer(self, examples: Any, **options: Any) -> Any:
            yield from (Answer(GroundedText("a\x1b[2Jb\x07"), "length") for _ in examples)

    monkeypatch.setattr(foveal.cli.work, "open_session", lambda model, device: Rude())
    assert run("caption", "a.png")[1] == "a[2Jb\n  (cut off at --max-tokens)\n"


def test_a_fault_of_ours_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(model: str, device: str | None) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(foveal.cli.work, "open_session", fall)
    code, _, err = run("caption", "a.png")
    assert code == 70 and err == "foveal: This is a fault of foveal, not of what you gave: KeyError: 'oops'\n"


def test_a_real_model_answers_and_the_doctor_is_content(run: Run, ferret: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(*ferret)
    for module in ("work", "doctor"):
        monkeypatch.setattr(sys.modules[f"foveal.cli.{module}"], "open_session", lambda model, device: session)
    code, out, _ = run("ask", "a.png", "What is this?", "--box", "20,10,40,30", "--max-tokens", "8", "--json")
    assert code == 0 and json.loads(out)["finish_reason"] in ("stop", "length")
    code, out, err = run("doctor")
    assert (code, err) == (0, "") and out.count("ok ") == 2 and "torch" in out


def test_each_family_is_asked_in_its_own_words(run: Run, echo: Echo, tmp_path: Path) -> None:
    (tmp_path / "ape").mkdir()
    (tmp_path / "ape" / "config.json").write_text(json.dumps({"model_type": "monkey"}))
    assert run("caption", "a.png", "--detailed", "--model", "ape")[0] == 0
    assert asked(echo).text == "Generate the detailed caption in English:"
    for verb in (("locate", "a.png", "the cup"), ("detect", "a.png"), ("caption", "a.png", "--grounded")):
        code, out, err = run(*verb, "--model", "ape")
        assert (code, out) == (2, "") and "Monkey was not trained to be asked for" in err
    (tmp_path / "ape" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    known = ", ".join([*VERBS, *GUESTS])
    assert run("detect", "a.png", "--model", "ape")[2] == f"foveal: The model 'ape' is of the kind 'bert'; {known} are known.\n"


def test_a_folder_in_its_authors_layout_is_sent_to_convert(run: Run, echo: Echo, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for text, said in (
        ('{"visual": {}}', "foveal convert makes one of it"),
        ("[]", "a JSON object is wanted"),
        ("{bad", "config.json cannot be read"),
    ):
        (tmp_path / "raw" / "config.json").write_text(text)
        code, out, err = run("detect", "a.png", "--model", "raw")
        assert (code, out) == (2, "") and said in err


def test_the_doctor_says_what_does_not_work(run: Run) -> None:
    code, out, err = run("doctor", "--model", "gpt-9")
    assert code == 1 and "There is no model 'gpt-9'" in err and "ok    image formats" in out


def test_the_shipped_models_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(foveal.zoo, "_HERE", tmp_path / "zoo")
    assert "No model ships" in run("models")[1]
    (tmp_path / "zoo/ferret-x").mkdir(parents=True)
    (tmp_path / "zoo/ferret-x/config.json").write_text('{"model_type": "ferret", "overview_side": 224, "tile_side": 112, "grids": [[1, 1], [2, 3]]}')
    (tmp_path / "zoo/ferret-x/README.md").write_text("---\nlicense: x\n---\n# Name\n\nA small model. It is good.\n")
    out = run("models")[1]
    assert "ferret-x" in out and "scribbles" in out and "up to 6 tiles" in out and "A small model" in out
    assert json.loads(run("models", "--json")[1])[0]["name"] == "ferret-x"


def test_help_needs_no_torch() -> None:
    code = "import sys; from foveal.cli import main; main(['ask', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=240).returncode == 0


@pytest.mark.parametrize(("part", "extra"), [("accelerate", "train"), ("ijson", "data")])
def test_what_is_not_installed_is_named_with_what_brings_it(
    part: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(*given: Any) -> Any:
        raise ImportError(f"No module named '{part}'")

    monkeypatch.setattr(sys.modules["foveal.cli.data"], "open_source", missing)
    assert main(["data", "stats", str(tmp_path), "--as", "coco"]) == 2
    assert f"pip install 'foveal[{extra}]'" in capsys.readouterr().err


def test_the_command_line_begins_without_torch() -> None:
    code = "import sys, foveal.cli; sys.exit(sorted({'torch', 'transformers', 'matplotlib', 'pyarrow'} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""

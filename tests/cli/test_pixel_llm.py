"""The command line with a model whose every word has a place: what is outlined, told and traced is printed and drawn, what cannot be is refused."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import foveal.cli.work
from foveal.cli import main
from foveal.geometry import Box, decode_mask, mask_from_coco
from foveal.session import Session

Run = Callable[..., tuple[int, str, str]]
DETECTOR = {"width": 8, "up": 4, "layers": 1, "groups": 2, "hidden": [6, 6], "peaks": 20, "proposals": 8, "detections": 4, "floor": 0.0}


@pytest.fixture(scope="module")
def folder(make_pixel_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model that detects and outlines."""
    place = str(tmp_path_factory.mktemp("models") / "tiny")
    for part in make_pixel_llm(detector=DETECTOR):
        part.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def opened(folder: str) -> Session:
    return Session.open(folder, "cpu")


@pytest.fixture
def run(folder: str, opened: Session, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line with that model, where a.png (80x40) and b.png (40x80) lie."""
    monkeypatch.chdir(tmp_path)
    for module in ("work", "doctor"):
        monkeypatch.setattr(sys.modules[f"foveal.cli.{module}"], "open_session", lambda model, device: opened)
    for name, size in (("a.png", (80, 40)), ("b.png", (40, 80))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)).save(name)

    def go(*arguments: str, model: str = folder, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main([*arguments, "--model", model])
        out, err = capsys.readouterr()
        return code, out, err

    return go


def test_an_outline_is_printed_drawn_and_given_as_run_lengths(run: Run, opened: Session) -> None:
    code, out, err = run("segment", "a.png", "the red cup", "--save", "out.png")
    assert (code, err) == (0, "") and out.startswith("the red cup\n  the red cup   ") and "score" in out
    with Image.open("out.png") as drawn:
        assert drawn.width == 640
    record = json.loads(run("segment", "a.png", "the red cup", "--json")[1])
    assert (record["width"], record["height"], record["question"]) == (80, 40, "outline of the red cup")
    (region,) = record["spans"][0]["regions"]
    assert region["mask"]["size"] == [40, 80] and len(region["box"]) == len(region["box_px"]) == 4
    (mask,) = opened.look("a.png").segment("the red cup").regions
    assert (decode_mask(mask_from_coco(region["mask"])) == decode_mask(mask)).all()


def test_phrases_to_outline_come_from_json_lines_too(run: Run) -> None:
    code, out, _ = run("segment", "-", stdin='{"image": "a.png", "phrase": "a hat"}\n{"image": "a.png"}\n{"image": "b.png", "phrase": "a dog"}\n')
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and [record.get("text") for record in records] == ["a hat", None, "a dog"]
    assert records[1]["error"] == "The phrase to segment is empty; words are wanted."


def test_everything_is_told_with_boxes_and_scores(run: Run) -> None:
    code, out, err = run("dense", "a.png", "--save", "out.png")
    assert (code, err) == (0, "") and out.count("score") >= 1 and os.path.getsize("out.png") > 1000
    record = json.loads(run("dense", "a.png", "--json")[1])
    assert record["question"] == "everything in the picture" and len(record["spans"]) == out.count("score")
    for span in record["spans"]:
        assert span["words"] == record["text"][span["start"] : span["end"]]
        assert {"box", "box_px", "score"} <= span["regions"][0].keys() and 0 <= span["regions"][0]["score"] <= 1


def test_a_located_phrase_has_one_box(run: Run) -> None:
    code, out, _ = run("locate", "a.png", "the red cup", "--json")
    record = json.loads(out)
    assert code == 0 and record["text"] == "the red cup" and len(record["spans"][0]["regions"]) == 1


def test_every_word_of_a_caption_is_printed_with_its_place(run: Run) -> None:
    record = json.loads(run("caption", "a.png", "--detailed", "--json", "--max-tokens", "6")[1])
    assert record["question"] == "A long image caption: " and record["spans"]
    assert all(len(span["regions"]) == 1 and 0 <= span["regions"][0]["score"] <= 1 for span in record["spans"])


def test_the_way_of_a_caption_is_drawn_and_as_a_gif_it_is_played(run: Run) -> None:
    for name in ("out.png", "out.jpg", "out.gif"):
        assert run("caption", "a.png", "--trace", "--save", name, "--max-tokens", "6")[0] == 0
    spans = json.loads(run("caption", "a.png", "--json", "--max-tokens", "6")[1])["spans"]
    with Image.open("out.png") as still, Image.open("out.gif") as film:
        assert still.width == film.width == 640 and film.n_frames == len(spans) + 1 > 2
    assert run("caption", "a.png", "b.png", "--trace", "--save", "drawn", "--max-tokens", "6")[0] == 0
    assert sorted(os.listdir("drawn")) == ["0001-a.png", "0002-b.png"]


def test_a_place_is_asked_about_by_every_kind_of_option(run: Run) -> None:
    bits = np.zeros((40, 80), np.uint8)
    bits[10:20, 20:40] = 255
    Image.fromarray(bits).save("mask.png")
    for place in (("--point", "20,10"), ("--box", "20,10,40,30"), ("--scribble", "0,0 8,4"), ("--mask", "mask.png")):
        assert run("ask", "a.png", "What is this?", *place, "--max-tokens", "4")[0] == 0


WRONG = [
    (("ask", "a.png", "Is <1> on <2>?", "--point", "1,1", "--point", "2,2"), "looks at one place at a time"),
    (("segment", "a.png", " "), "The phrase to segment is empty"),
    (("segment", "a.png"), "A phrase is missing"),
    (("detect", "a.png"), "PixelLLM was not trained to be asked for detection; it can be asked for name, caption"),
    (("caption", "a.png", "--trace"), "--save says where"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_every_error_is_one_sentence_and_exit_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_models_that_cannot_are_refused_in_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch, make_pixel_llm: Any, tmp_path: Path) -> None:
    for family in ("ferret", "monkey"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "config.json").write_text(json.dumps({"model_type": family}))
        refused = [run(*verb, model=family) for verb in (("segment", "a.png", "a hat"), ("dense", "a.png"), ("caption", "a.png", "--trace"))]
        assert [code for code, _, _ in refused] == [2, 2, 2] and all(err.count("\n") == 1 and not out for _, out, err in refused)
        assert "was not trained to be asked for segmentation" in refused[0][2] and "for dense captions" in refused[1][2]
        assert "does not place every word" in refused[2][2]
    plain = Session(*make_pixel_llm(segments=False))
    monkeypatch.setattr(foveal.cli.work, "open_session", lambda model, device: plain)
    for verb, words in ((("segment", "a.png", "a hat"), "without a mask decoder"), (("dense", "a.png"), "without a detector")):
        code, out, err = run(*verb)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_the_doctor_is_content(run: Run) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "") and "finds it in 1 place(s)" in out


def test_a_shipped_model_is_listed_with_what_it_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(foveal.zoo, "_HERE", tmp_path)
    (tmp_path / "pixel-x").mkdir()
    (tmp_path / "pixel-x/config.json").write_text('{"model_type": "pixel_llm", "side": 224}')
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "a point, a box, a scribble" in out and "words, each with its place" in out and "sees any image as 224x224 pixels" in out


def test_boxes_that_are_told_lie_in_the_picture(run: Run, opened: Session) -> None:
    for region in opened.look("b.png").dense_captions(max_new_tokens=3).regions:
        assert not isinstance(region, Box) or (0 <= region.x0 < region.x1 <= 1 and 0 <= region.y0 < region.y1 <= 1)

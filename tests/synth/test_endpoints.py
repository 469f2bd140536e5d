"""Laws of stages behind an endpoint: one that is down loses no example, one that sees pictures is sent them, recipes take theirs from outside."""

import base64
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.cli.sources import from_file
from foveal.endpoint import Prices
from foveal.grounding import Example, GroundedText, Note, Picture
from foveal.synth import Step, run_pipeline
from foveal.synth.matching import LEAST
from foveal.synth.notes import REFUSED
from foveal.synth.running import folders_of
from foveal.synth.seen import captioned_by
from foveal.synth.stage import Stopped, pipeline_of, settings_of
from foveal.synth.writers import Writer, writer_of
from foveal.synth.written import described_by

RECIPES = Path(__file__).parents[2] / "recipes"


def several(kitchen: Example, count: int) -> list[Example]:
    """The same notes, and one more by which no two questions are one."""
    return [Example(str(one), kitchen.images, notes=(*kitchen.notes, Note(GroundedText(f"number {one}"), "caption"))) for one in range(count)]


def without_usage(text: str) -> tuple[int, dict[str, str], bytes]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, {}, json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}).encode()


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_left_out_for_an_endpoint_that_is_down(serve: Callable[..., Any], kitchen: Example, tmp_path: Path, count: int) -> None:
    gone = serve(lambda body: "")
    gone.close()
    entries, server = several(kitchen, count), serve(lambda body: "Two [cups](3) stand there.")

    def steps(url: str) -> list[Step]:
        return [Step("described", described_by(Writer(url, "scribe", timeout_s=5.0, retries=0)))]

    with pytest.raises(Stopped, match=rf"answered none of {count} questions \(Connection error"):
        run_pipeline(steps(gone.url), entries, tmp_path / "out")
    assert not folders_of(tmp_path / "out")["described"].records
    run_pipeline(steps(server.url), entries, tmp_path / "out")
    (record,) = folders_of(tmp_path / "out")["described"].records.values()
    assert record.examples == count and not record.refused


def test_a_budget_that_cannot_be_kept_ends_the_run_and_leaves_nothing_out(serve: Callable[..., Any], kitchen: Example) -> None:
    server = serve(lambda body: without_usage("Two [cups](3) stand there."))
    writer = Writer(server.url, "scribe", prices=Prices(1, 1), budget=5.0, at_once=1, retries=0)
    with pytest.raises(Stopped, match="no budget can be kept"):
        list(described_by(writer)(iter(several(kitchen, 3))))
    assert len(server.requests) == 1


def test_a_captioner_behind_an_endpoint_is_shown_the_picture(serve: Callable[..., Any], tmp_path: Path) -> None:
    Image.new("RGB", (80, 40), "red").save(tmp_path / "a.png")
    examples = [Example(name, (Picture(80, 40, path=str(tmp_path / f"{name}.png")),), notes=(Note(GroundedText("own"), "caption"),)) for name in "ab"]
    said = iter(["A  red\nfield.", "I'm sorry, but I cannot see."])
    server = serve(lambda body: next(said))
    stage = captioned_by(Writer(server.url, "looker", retries=0), longest=16)
    found, missing = list(stage(iter(examples)))
    assert [note.said.text for note in found.notes] == ["own", "A red field."] and found.notes[1].source == "caption"
    assert found.notes[1].made_by["model"] == "looker-0314" and "b.png" in str(missing.facts[REFUSED])
    words, picture = server.requests[0][2]["messages"][0]["content"]
    sent = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])))
    assert sent.format == "JPEG" and sent.size == (16, 8) and words["text"] == settings_of(stage)["question"]
    (unwilling,) = captioned_by(Writer(server.url, "looker", retries=0))(iter(examples[:1]))
    assert "it refuses" in str(unwilling.facts[REFUSED])


@pytest.mark.parametrize("odd", [{"FOVEAL_WRITER_PRICES": "cheap"}, {"FOVEAL_WRITER_PRICES": "1"}, {"FOVEAL_WRITER_BUDGET": "ten"}])
def test_a_writer_that_the_environment_misnames_is_refused_in_a_sentence(odd: dict[str, str]) -> None:
    assert writer_of(odd) is None
    with pytest.raises(ValueError, match=r"FOVEAL_WRITER_PRICES .* are wanted"):
        writer_of({"FOVEAL_WRITER": "scribe", **odd})


def test_the_recipe_of_captions_holds_all_steps_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_WRITER", "scribe")
    monkeypatch.setenv("FOVEAL_WRITER_URL", "http://localhost:1/v1")
    monkeypatch.delitem(sys.modules, "captions", raising=False)
    steps = pipeline_of(from_file(RECIPES / "captions.py").TEACHERS)
    sys.modules.pop("captions")
    functions = [str(settings_of(step.stage)["function"]).rpartition("foveal.synth.")[2] for step in steps]
    assert functions == [
        *("blip._captioned", "asking._asked", "segments._segmented", "blip._segments", "matching._matched"),
        *("texts._read", "checks._scored", "checks._deduped", "written._told"),
    ]
    settings = {step.name: settings_of(step.stage) for step in steps}
    assert (settings["masks"]["most"], settings["segments"]["most"], settings["segments"]["beams"], settings["segments"]["cut_out"]) == (
        20,
        20,
        1,
        True,
    )
    assert settings["matched"]["least"] is None and dict(LEAST["blip-2"]) == {"region": 0.4, "segment": 0.5}
    assert settings["sure"]["least"] == {"text": 0.85} and settings["single"]["overlap"] == 0.6 and settings["description"]["writer"] == "scribe {}"

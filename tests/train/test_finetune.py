"""Laws of finetuning and of stages: only adapters learn, the finished model opens anywhere, what is stopped goes on, what is done stays done."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import foveal.data.whole
from foveal.cli import main
from foveal.data.loader import Encoding
from foveal.data.mixture import Part
from foveal.data.stored import Stored
from foveal.data.tasks import refer
from foveal.geometry import Box, bounding_box, encode_mask
from foveal.grounding import Example, GroundedText, Note, Picture, tied, write_examples
from foveal.grounding.wordings import VERBS
from foveal.models import open_model
from foveal.train import Recipe, Stage, is_whole, run_stage
from foveal.train.finetune import Finetuning, adapters_on, finetune, rates_of

HOW = Finetuning(steps=3, batch=2, questions=2, rank=2, workers=0, save_every=2)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Example]:
    """Six pictures, each with a red and a blue half."""
    found = []
    for number in range(6):
        picture = Image.new("RGB", (60, 40 + number), "red")
        picture.paste("blue", (30, 0, 60, 50))
        picture.save(tmp_path / f"{number}.png")
        notes = (Note(tied("red", Box(0.0, 0.0, 0.5, 1.0)), "object"), Note(tied("blue", Box(0.5, 0.0, 1.0, 1.0)), "object"))
        found.append(Example(str(number), (Picture(60, 40 + number, str(tmp_path / f"{number}.png")),), notes=notes))
    return found


def test_adapters_alone_learn_and_the_finished_model_is_the_sum(tmp_path: Path, pictures: list[Example], make_ferret: Callable[..., Any]) -> None:
    model, processor = make_ferret()
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    place = finetune(model, processor, pictures, ["red", "blue", "green"], tmp_path / "out", HOW)
    opened, _ = open_model(str(place), torch.float32)
    changed = {name for name, value in opened.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.endswith(".weight") and before[name].ndim == 2 for name in changed)
    assert not any("embed_tokens" in name or "lm_head" in name for name in changed)
    held = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert held and all("lora_" in name for name in held) and is_whole(tmp_path / "out" / "adapter")


def test_a_model_that_has_adapters_is_finetuned_and_opens_as_it_was_left(
    tmp_path: Path, pictures: list[Example], make_ferret: Callable[..., Any]
) -> None:
    model, processor = make_ferret()
    model.adapt(2)
    place = finetune(model, processor, pictures, ["red", "blue"], tmp_path / "out", HOW)
    opened, _ = open_model(str(place), torch.float32)
    assert not opened.config.lora_rank and not any("lora_" in name for name in opened.state_dict())
    written, found = load_file(place / "model.safetensors"), opened.state_dict()
    language = {name for name in found if name.startswith("language_model.")} - {"language_model.lm_head.weight"}
    assert len(language) > 10 and all(torch.equal(found[name], written[name]) for name in language)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, 0])
def test_a_detector_learns_what_is_marked(tmp_path: Path, pictures: list[Example], make_pixel_llm: Callable[..., Any], rank: int) -> None:
    model, processor = make_pixel_llm(detector={"width": 8, "up": 8, "layers": 1, "groups": 4, "hidden": (8, 8)}, text_length=40, context_length=40)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    place = finetune(model, processor, pictures, ["red", "blue"], tmp_path / "out", replace(HOW, rank=rank, questions=8, rate=1e-2))
    opened, _ = open_model(str(place), torch.float32)
    assert opened.state_dict().keys() == before.keys()
    changed = {name for name, value in opened.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("detector.") and before[name].ndim == 4 for name in changed)
    log = json.loads((tmp_path / "out" / "run" / "checkpoint-3" / "trainer_state.json").read_text())["log_history"]
    assert any("box_loss" in row for row in log) or not log


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        {"detector": {"width": 8, "up": 8, "layers": 1, "groups": 4, "hidden": (8, 8)}},
        {},
        {"segments": False},
        {"segments": False, "location_points": 0},
    ],
    ids=["whole", "no detector", "no masks", "no places"],
)
def test_a_model_is_taught_what_it_can_be_asked_one_question_at_a_time(
    tmp_path: Path, pictures: list[Example], make_pixel_llm: Callable[..., Any], made: dict[str, Any]
) -> None:
    model, processor = make_pixel_llm(**made, text_length=40, context_length=40)
    outlined = [replace(one, notes=tuple(replace(note, said=_outlined(note.said)) for note in one.notes)) for one in pictures]
    place = finetune(model, processor, outlined, ["red", "blue"], tmp_path / "out", replace(HOW, rank=0, questions=1, batch=1, steps=12, least=1))
    assert is_whole(place)


def _outlined(said: GroundedText) -> GroundedText:
    """The same words about what lies in their boxes, as masks of 20 x 20."""
    masks = [encode_mask(_filled(bounding_box(region), 20)) for region in said.regions]
    return tied(said.text, *masks)


def _filled(box: Box, side: int) -> np.ndarray:
    grid = (np.arange(side) + 0.5) / side
    return ((grid >= box.y0) & (grid < box.y1))[:, None] & ((grid >= box.x0) & (grid < box.x1))


def test_a_stopped_finetuning_goes_on_as_if_it_had_not_stopped(tmp_path: Path, pictures: list[Example], make_ferret: Callable[..., Any]) -> None:
    def taught(folder: Path) -> dict[str, torch.Tensor]:
        place = finetune(*make_ferret(), pictures, ["red", "blue"], folder, HOW)
        return open_model(str(place), torch.float32)[0].state_dict()

    whole = taught(tmp_path / "whole")
    taught(tmp_path / "parts")
    (tmp_path / "parts" / "run" / "checkpoint-3" / "trainer_state.json").unlink()
    parts = taught(tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_of_a_whole_model_everything_learns_and_towers_most_slowly(make_ferret: Callable[..., Any], make_pixel_llm: Callable[..., Any]) -> None:
    for make in (make_ferret, make_pixel_llm):
        model, _ = make()
        rates = rates_of(model, 1e-3)
        assert {rate for name, rate in rates.items() if "tower" in name} == {5e-5}
        covered = [name for name, _ in model.named_parameters() if name in rates or name.split(".")[0] in rates]
        assert len(covered) == len(list(model.named_parameters()))


def test_what_cannot_be_read_is_left_out_of_its_batch(tmp_path: Path, pictures: list[Example], make_ferret: Callable[..., Any]) -> None:
    _, processor = make_ferret()
    said: list[str] = []
    encode, task = Encoding(processor, said.append), refer(VERBS["ferret"])
    import numpy as np

    asked = [made for example in pictures[:3] if (made := task(example, np.random.default_rng(0)))]
    whole = encode([asked[0], asked[2]])
    (tmp_path / "1.png").write_bytes(b"torn")
    left = encode(asked)
    assert left.keys() == whole.keys() and torch.equal(left["input_ids"], whole["input_ids"]) and len(said) == 1
    again = encode([asked[0], asked[2]])
    assert all(torch.equal(value, again[name]) for name, value in whole.items())  # points are drawn from the examples alone
    with pytest.raises(ValueError, match="none of the 1 examples"):
        encode([asked[1]])


def test_adapters_lie_on_every_linear_map_but_the_output(make_ferret: Callable[..., Any]) -> None:
    model, _ = make_ferret()
    linear = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and "lm_head" not in name}
    adapted = {name.split("base_model.model.")[1].split(".lora_A")[0] for name, _ in adapters_on(model, 2).named_parameters() if "lora_A" in name}
    assert adapted == linear


def test_a_stage_begins_with_the_one_before_and_is_run_once(tmp_path: Path, pictures: list[Example], make_ferret: Callable[..., Any]) -> None:
    model, processor = make_ferret()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "start")
    write_examples(tmp_path / "some.jsonl", pictures)
    for number in (1, 3, 5):
        (tmp_path / f"{number}.png").write_bytes(b"torn")
    prepared, said = list[str](), list[str]()
    recipe = Recipe(name="align", learn={"projector": 1e-2}, steps=2, batch=2, workers=0, options={"disable_tqdm": True})

    def data(root: Path) -> list[Part]:
        return [Part(Stored(root / "some.jsonl"), 1.0, refer(VERBS["ferret"]))]

    align = Stage(recipe=recipe, data=data, start=str(tmp_path / "start"), prepare=lambda model: prepared.append("align"))
    dense = Stage(
        recipe=replace(recipe, name="dense", learn={"sampler": 1e-2}), data=data, start=align, prepare=lambda model: prepared.append("dense")
    )
    place = run_stage(dense, tmp_path / "runs", tmp_path, report=said.append)
    noted = (tmp_path / "runs" / "align" / "passed_over.txt").read_text().splitlines()
    assert noted and set(noted) <= set(said) and all("is passed over" in line for line in noted)
    assert any(sentence.startswith(f"{len(set(noted))} examples were passed over in stage 'align'; ") for sentence in said)
    first, last = (open_model(str(tmp_path / "runs" / name / "model"), torch.float32)[0].state_dict() for name in ("align", "dense"))
    start = model.state_dict()
    assert {name.split(".")[0] for name in start if not torch.equal(first[name], start[name])} == {"projector"}
    assert {name.split(".")[0] for name in start if not torch.equal(last[name], first[name])} == {"sampler"}
    assert (prepared, place) == (["align", "dense"], tmp_path / "runs" / "dense" / "model")
    run_stage(dense, tmp_path / "runs", tmp_path / "nowhere")
    assert prepared == ["align", "dense"]
    with pytest.raises(ValueError, match="holds a run with another steps"):
        run_stage(replace(dense, start=align.set(steps=1)), tmp_path / "runs", tmp_path)
    settings = tmp_path / "runs" / "dense" / "settings.json"
    settings.write_text(json.dumps({name: value for name, value in json.loads(settings.read_text()).items() if name != "decay_rule"}))
    assert run_stage(dense, tmp_path / "runs", tmp_path) == place, "a run that was begun before there was such a setting goes on"
    with pytest.raises(ValueError, match="holds a run with another decay_rule"):
        run_stage(dense.set(decay_rule="rank"), tmp_path / "runs", tmp_path)
    with pytest.raises(ValueError, match="stage 'align' wants a model"):
        run_stage(replace(align, start=None), tmp_path / "other", tmp_path)
    with pytest.raises(ValueError, match="There is no model '/nowhere'"):
        run_stage(align, tmp_path / "third", tmp_path, "/nowhere")
    with pytest.raises(ValueError, match="wants a model"):  # nothing was begun there, which other settings could be at odds with
        run_stage(replace(align.set(steps=1), start=None), tmp_path / "third", tmp_path)
    with pytest.raises(ValueError, match="a recipe has no 'stepps'"):
        dense.set(stepps=3)


def test_a_stage_that_another_run_works_on_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(name="align", learn={"projector": 1e-2}, steps=2, batch=2)
    place, code = tmp_path / "align", "import sys, pathlib, time\nfrom foveal.data.whole import alone_in\n"
    code += "with alone_in(pathlib.Path(sys.argv[1])):\n    print('at work', flush=True)\n    time.sleep(60)"
    monkeypatch.setattr(foveal.data.whole, "_PATIENCE", 0.1)
    with subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "at work\n"
        with pytest.raises(ValueError, match="another run is at work in"):
            run_stage(Stage(recipe=recipe, data=lambda root: [], start="ferret-v2-nano"), tmp_path, tmp_path)
        assert [path.name for path in place.iterdir()] == [".lock"]
        first.kill()


@pytest.mark.slow
def test_the_command_teaches_and_shows_before_and_after(tmp_path: Path, pictures: list[Example], capsys: pytest.CaptureFixture[str]) -> None:
    write_examples(tmp_path / "mine.jsonl", pictures)
    wanted = ["finetune", "--data", str(tmp_path / "mine.jsonl"), "--out", str(tmp_path / "out"), "--steps", "2", "--batch", "2"]
    wanted += ["--early", "1", "--questions", "2"]
    assert main(wanted) == 0
    early = (tmp_path / "out" / "early.jsonl").read_text().splitlines()
    assert len(early) == len((tmp_path / "out" / "after.jsonl").read_text().splitlines())
    assert "after 1 updates, " in (said := " ".join(capsys.readouterr().err.split())) and "before)" in said
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["before"].keys() == figures["after"].keys() == {"named", "commonest", "located", "found"}
    taught, held = (list(Stored(tmp_path / "out" / f"{name}.jsonl")) for name in ("taught", "held_out"))
    assert len(taught) + len(held) == 6 and held and not {one.id for one in taught} & {one.id for one in held}
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 300
    capsys.readouterr()
    assert main(["locate", str(tmp_path / "0.png"), "red", "--model", str(tmp_path / "out" / "model"), "--max-tokens", "24"]) == 0
    assert main([*wanted[:-1], "3"]) == 2
    assert "holds a run with another questions" in capsys.readouterr().err
    assert main(["finetune", "--data", str(tmp_path / "none.json"), "--out", str(tmp_path / "new")]) == 2
    assert "there is no file" in capsys.readouterr().err

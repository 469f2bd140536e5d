"""Laws of the published recipes: what learns in each stage, how fast, from which files, and that a chain of stages runs."""

import importlib.util
import inspect
import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import TrainingArguments

from foveal.cli import main
from foveal.cli.sources import from_file, source_named
from foveal.data.loader import Encoding
from foveal.data.mixture import Mixture
from foveal.geometry import Box, encode_mask
from foveal.grounding import Example, GroundedText, Note, Picture, Turn, tied, write_examples
from foveal.models import open_model
from foveal.train import RecipeTrainer, Stage, freeze, run_stage

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
data_files, ferret, ferret_v2, monkey, pixel_llm = (
    from_file(RECIPES / f"{name}.py") for name in ("data_files", "ferret", "ferret_v2", "monkey", "pixel_llm")
)
STAGES: dict[str, Stage] = {
    f"{file}:{name}": value
    for file, module in (("ferret", ferret), ("ferret_v2", ferret_v2), ("monkey", monkey), ("pixel_llm", pixel_llm))
    for name, value in vars(module).items()
    if isinstance(value, Stage)
}
FROZEN = ("towers.towers.1.", "location_prompts.", "mask_decoder.")
"""Of PixelLLM, always."""
DETECTOR = {"width": 8, "up": 8, "layers": 1, "groups": 4, "hidden": (8, 8)}


@pytest.fixture(scope="module")
def models(make_ferret: Any, make_pixel_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny (model, processor) for each recipe."""
    spec: Any = importlib.util.spec_from_file_location("tiny_monkey", ROOT / "tests/models/monkey/conftest.py")
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tokenizer = tiny.qwen_tokenizer._get_wrapped_function()(tiny.rank_file._get_wrapped_function()(tmp_path_factory))
    monkey_lora = tiny.build_monkey(tokenizer)
    monkey.adapted(monkey_lora[0])
    return {
        "ferret": make_ferret(position_cells=0, grids=[], local_vision_config=None, projector="linear"),
        "ferret_v2": make_ferret(position_cells=0),
        "monkey": tiny.build_monkey(tokenizer),
        "monkey_lora": monkey_lora,
        "pixel_llm": make_pixel_llm(detector=DETECTOR, text_length=40, context_length=40),
        "pixel_llm_t5": make_pixel_llm("t5", detector=DETECTOR, lora_rank=2),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set's file, with two examples of which everything is known."""
    root = tmp_path_factory.mktemp("data")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(root / "a.png")
    bits = np.zeros((30, 40), bool)
    bits[5:20, 10:30] = True
    left, right = Box(0.0, 0.1, 0.5, 0.6), Box(0.5, 0.2, 0.9, 0.8)
    notes = (
        *(Note(tied(name, region), "object") for name, region in (("cat", left), ("dog", encode_mask(bits)))),
        Note(tied("the red dog", encode_mask(bits)), "expression"),
        Note(tied("a cat on a mat", left), "region"),
        Note(GroundedText.join(tied("cat", left), " on ", tied("mat", right)), "relation"),
        *(Note(GroundedText.join("A ", tied("cat", left), "."), source) for source in ("caption", "narrative")),
    )
    turns = (Turn("user", GroundedText("What is it?")), Turn("assistant", GroundedText("A cat.")))
    known = [Example(str(number), (Picture(40, 30, str(root / "a.png")),), turns, notes) for number in range(2)]
    for name in data_files.FILES:
        write_examples(root / f"{name}.jsonl", known)
    return root


def beginning(names: Iterable[str], *with_: str) -> set[str]:
    return {name for name in names if name.startswith(with_)}


def all_but(names: Iterable[str], *without: str) -> set[str]:
    return {name for name in names if not name.startswith(without)}


def pixel_llm_learns(stage: str, names: Sequence[str]) -> set[str]:
    """As section 15 of the release's recipes says it: a model's own parts, less what is frozen always and what the stage has no loss for."""
    if stage in ("segmentation", "joint_masks"):
        return beginning(names, "mask_adapter.", *(("location_head.",) if stage == "segmentation" else ()))
    idle = {"caption": ("location_head.", "detector."), "dense_captions": ("location_head.",), "joint": ()}.get(stage, ("detector.",))
    return all_but(names, *FROZEN, "mask_adapter.", *idle)


def expected(which: str, names: Sequence[str]) -> set[str]:
    """What the papers say learns, by name."""
    match which.split(":"):
        case ["ferret", _]:
            return all_but(names, "overview_tower.")
        case ["ferret_v2", "align"]:
            return {"projector.0.weight", "projector.0.bias", "projector.2.weight", "projector.2.bias"}
        case ["ferret_v2", "dense"]:
            return all_but(names, "overview_tower.", "local_tower.", "language_model.")
        case ["ferret_v2", "instruct"]:
            return set(names)
        case ["monkey", stage]:
            frozen = all_but(beginning(names, "vision_tower."), *(name for name in names if "_lora." in name))
            learnt = set(names) - frozen - {"connector.proj", "connector.norm.weight", "connector.norm.bias"}
            whole = stage.endswith("_lora")
            return {name for name in learnt if not (whole and name.startswith("language_model.")) or ".lora_A." in name or ".lora_B." in name}
        case ["pixel_llm", stage]:
            learnt = pixel_llm_learns(stage.removesuffix("_t5"), names)
            whole = stage.endswith("_t5")
            return {name for name in learnt if not (whole and name.startswith("writer.")) or ".lora_A." in name or ".lora_B." in name}
    raise AssertionError(which)


@pytest.mark.parametrize("which", STAGES)
def test_exactly_what_a_stage_names_learns(which: str, models: Mapping[str, Any]) -> None:
    model = of(models, which)[0]
    before = {name: value.requires_grad for name, value in model.named_parameters()}
    freeze(model, STAGES[which].recipe.learn)
    learnt = {name for name, value in model.named_parameters() if value.requires_grad}
    for name, value in model.named_parameters():
        value.requires_grad_(before[name])
    wanted = expected(which, list(before))
    assert wanted and learnt == wanted


PUBLISHED = {
    "ferret:instruct": (128, None, 0.03, 0.0, (0.9, 0.999), 1.0),
    "monkey:multi_task": (1024, None, 100, 0.1, (0.9, 0.95), 1.0),
    "pixel_llm:trace": (256, 10_000, 250, 0.0, (0.9, 0.999), 0.0),
    "pixel_llm:referring": (64, 120_000, 1_000, 0.0, (0.9, 0.999), 0.0),
    "pixel_llm:segmentation": (64, 60_000, 500, 0.0, (0.9, 0.999), 0.0),
    "pixel_llm:dense_captions": (64, 40_000, 1_000, 0.05, (0.9, 0.999), 0.0),
    "pixel_llm:joint": (128, 240_000, 2_000, 0.05, (0.9, 0.999), 0.0),
    "pixel_llm:joint_masks": (128, 30_000, 250, 0.0, (0.9, 0.999), 0.0),
}
"""Batch, updates, warm-up (a share, or updates), weight decay, AdamW's betas, clipping."""


@pytest.mark.parametrize("which", PUBLISHED)
def test_published_figures_are_the_recipes(which: str) -> None:
    recipe = STAGES[which].recipe
    batch, steps, warmup, decay, betas, clip = PUBLISHED[which]
    assert (recipe.batch, recipe.weight_decay, recipe.betas, recipe.clip, recipe.schedule) == (batch, decay, betas, clip, "cosine")
    assert steps in (None, recipe.steps)
    assert warmup in (recipe.warmup, ceil(recipe.warmup * recipe.steps))
    assert all(recipe.at_once(processes) for processes in (1, 2, 4, 8))


RATES = {
    "ferret:instruct": {"language_model.lm_head.weight": (2e-5, 0.0), "sampler.flatten.weight": (2e-5, 0.0), "projector.0.weight": (2e-5, 0.0)},
    "ferret_v2:instruct": {"overview_tower.backbone.pre_layrnorm.bias": (2e-6, 0.0), "local_projector.0.weight": (2e-5, 0.0)},
    "monkey:multi_task": {"vision_tower.blocks.1.qkv_lora.up": (1e-5, 0.1), "language_model.transformer.h.0.attn.c_attn.bias": (1e-5, 0.0)},
    "pixel_llm:segmentation": {"mask_adapter.queries": (5e-4, 0.0), "location_head.layers.0.weight": (5e-5, 0.0)},
    "pixel_llm:dense_captions": {
        "towers.towers.0.patches.weight": (1e-4 * 0.8**3, 0.05),
        "towers.towers.0.positions": (1e-4 * 0.8**3, 0.05),
        "towers.towers.0.blocks.0.q_proj.bias": (1e-4 * 0.8**2, 0.0),
        "towers.towers.0.norm.weight": (1e-4, 0.0),
        "writer.words.weight": (1e-4, 0.05),
    },
}
"""Rates and decays of single parameters, in tiny models of two blocks."""


@pytest.mark.parametrize("which", RATES)
def test_the_optimizer_has_the_published_rates(which: str, models: Mapping[str, Any], tmp_path: Path) -> None:
    recipe, model = STAGES[which].recipe, of(models, which)[0]
    recipe = replace(recipe, layers=recipe.layers and replace(recipe.layers, blocks=2))
    freeze(model, recipe.learn)
    trainer = RecipeTrainer(recipe=recipe, model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none"))
    found = {id(value): (group["lr"], group["weight_decay"]) for group in trainer.create_optimizer().param_groups for value in group["params"]}
    named = dict(model.named_parameters())
    assert {id(value) for value in named.values() if value.requires_grad} == set(found)
    for name, wanted in RATES[which].items():
        assert found[id(named[name])] == pytest.approx(wanted), name


def test_the_deepest_of_eva_learns_by_the_25th_power() -> None:
    scales = [pixel_llm.EVA.scale(f"towers.towers.0.{name}") for name in ("patches.bias", "blocks.23.norm_1.bias", "norm.bias")]
    assert scales == pytest.approx([0.8**25, 0.8, 1.0])


@pytest.mark.parametrize("which", STAGES)
def test_every_chain_of_stages_is_shown(which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, name = which.split(":")
    assert main(["train", f"{RECIPES / file}.py:{name}", "--data-root", str(tmp_path), "--show"]) == 0
    shown = [stage["name"] for stage in json.loads(capsys.readouterr().out)]
    assert shown == [stage.recipe.name for stage in chain(STAGES[which])]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("which", STAGES)
def test_every_part_of_a_stage_gives_what_its_model_reads(which: str, models: Mapping[str, Any], data: Path) -> None:
    model, processor = of(models, which)
    said: list[str] = []
    for number, part in enumerate(STAGES[which].data(data)):
        rng = np.random.default_rng(number)
        made = next(made for _ in range(20) if part.task and (made := part.task(part.examples[0], rng)) is not None)
        with torch.no_grad():
            assert model(**Encoding(processor, said.append)([made])).loss.isfinite()
    assert not said


@pytest.mark.parametrize("name", data_files.FILES)
def test_a_command_that_makes_a_file_is_one_that_can_be_given(name: str) -> None:
    words = shlex.split(data_files.FILES[name])
    cut = words.index("--as")
    options = list(zip(words[cut::2], words[cut + 1 :: 2], strict=True))
    settings = dict(value.split("=") for option, value in options if option == "--set")
    settings |= {"images": pictures} if (pictures := dict(options).get("--images")) else {}
    assert {option for option, _ in options} <= {"--as", "--set", "--images"}
    inspect.signature(source_named(words[cut + 1])).bind(*words[:cut], **settings)
    assert data_files.command(name, Path("ROOT")) in (ROOT / "docs/training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--set", "steps=two"), "steps='two' is not understood; a whole number is wanted"),
        (("--set", "stepps=2"), "a recipe has no 'stepps'; it has name, learn, steps"),
        (("--set", "options=3"), "--set options=3 is not understood; names and values are wanted"),
        (("--report-to", "tensorboard"), "--report-to tensorboard wants a package that is not installed; pip install tensorboard."),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    given: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["foveal.cli.train"], "find_spec", lambda name: None)
    assert main(["train", f"{RECIPES}/ferret_v2.py:align", "--data-root", str(tmp_path), *given]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_the_pages_own_stage_is_one() -> None:
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/training.md").read_text(encoding="utf-8"), re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(block, "training.md", "exec"), made)
    assert isinstance(made["mine"], Stage)


def test_a_missing_file_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no lvis\.jsonl; this makes it: foveal data convert lvis_v1_train\.json --as lvis .*lvis\.jsonl$"):
        ferret_v2.dense.data(tmp_path)


def test_a_file_that_a_later_stage_wants_is_missed_before_the_first_is_run(data: Path, tmp_path: Path) -> None:
    name = "sharegpt4v_pretrain.jsonl"
    (tmp_path / name).write_text((data / name).read_text().replace('"a.png"', json.dumps(str(data / "a.png"))))
    with pytest.raises(ValueError, match=r"has no lvis\.jsonl; this makes it"):
        run_stage(shrunk(ferret_v2.dense), tmp_path / "runs", tmp_path, "ferret-v2-nano")
    assert not list((tmp_path / "runs").rglob("checkpoint-*"))


def test_the_stages_of_ferret_v2_follow_one_another_and_none_is_run_twice(models: Mapping[str, Any], data: Path, tmp_path: Path) -> None:
    start, runs = tmp_path / "start", tmp_path / "runs"
    for one in models["ferret_v2"]:
        one.save_pretrained(start)
    last = shrunk(ferret_v2.instruct)
    place = run_stage(last, runs, data, str(start))
    assert place == runs / "ferret-v2-instruct" / "model"
    states = {name: weights(folder) for name, folder in folders(runs, start).items()}
    for before, after, moving in (
        ("start", "align", ("projector.",)),
        ("align", "dense", ("projector.", "local_projector.", "sampler.")),
        ("dense", "instruct", ("projector.", "local_projector.", "sampler.", "language_model.", "overview_tower.", "local_tower.")),
    ):
        moved = {name for name in states["start"] if not torch.equal(states[before][name], states[after][name])}
        assert moved and {name.partition(".")[0] + "." for name in moved} == set(moving), after
    assert run_stage(last, runs, tmp_path / "nothing") == place  # no file is wanted, for nothing is run
    assert (runs / "ferret-v2-align/losses.json").is_file()


def test_a_language_model_learns_through_adapters_that_are_merged_in_the_end(models: Mapping[str, Any], data: Path, tmp_path: Path) -> None:
    start, runs = tmp_path / "start", tmp_path / "runs"
    for one in models["monkey"]:
        one.save_pretrained(start)
    place = run_stage(shrunk(monkey.multi_task_lora).set(accumulate=1), runs, data, str(start))
    last = runs / "monkey-multi-task-lora" / "checkpoint-2"
    again = type(models["monkey"][0]).from_pretrained(last, dtype=torch.float32)
    model = models["monkey_lora"][0]
    assert {part.p for name, part in model.named_modules() if ".lora_dropout." in name} == {0.05}
    assert any(".lora_B." in name for name in again.state_dict()) and json.loads((last / "config.json").read_text())["lora_rank"] == 32
    before, after = weights(start), weights(place)
    assert before.keys() == after.keys() and json.loads((place / "config.json").read_text())["lora_rank"] == 0
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    layers = {name.split(".h.")[1][2:] for name in moved if name.startswith("language_model.")}
    assert layers == {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.w1.weight", "mlp.w2.weight"}
    again.merge()
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in again.state_dict().items())
    again.adapt(2)
    with pytest.raises(ValueError, match="merge them first"):
        again.adapt(2)


def test_examples_of_like_length_share_a_batch(models: Mapping[str, Any], data: Path) -> None:
    processor, parts = models["ferret_v2"][1], ferret_v2.instruct.data(data)

    def padding(**grouping: Any) -> tuple[float, list[int]]:
        mixture = Mixture(parts, visits=64, look=True, **grouping)
        lengths = [processor.length(mixture[visit]) for visit in range(64)]
        rows = [lengths[start : start + 4] for start in range(0, 64, 4)]
        return 1 - sum(lengths) / sum(4 * max(row) for row in rows), sorted(lengths)

    (mixed, some), (alike, same) = padding(), padding(key=processor.length, group=4)
    assert some == same and alike < mixed / 2
    assert Encoding(processor)([Mixture(parts, visits=64, look=True)[0]])["input_ids"].shape[1] in some


def test_the_tiles_projector_begins_as_a_copy_of_the_overviews(models: Mapping[str, Any], data: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    for one in models["ferret_v2"]:
        one.save_pretrained(start)
    still = shrunk(ferret_v2.dense).set(learn={"projector": 0.0, "local_projector": 0.0, "sampler": 0.0})
    found = weights(run_stage(still, tmp_path / "runs", data, str(start)))
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        assert torch.equal(found[f"local_projector.{name}"], found[f"projector.{name}"])


def test_the_first_stage_sees_the_overview_alone_and_cuts_no_tiles(
    make_ferret: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = make_ferret(position_cells=0)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "start")
    seen: list[Mapping[str, Any]] = []
    stage = replace(shrunk(ferret_v2.align), prepare=partial(_listen, seen))
    run_stage(stage, tmp_path / "runs", data, str(tmp_path / "start"))
    assert len(seen) == 2 and not any(len(batch["tile_values"]) or batch["grids"].any() for batch in seen)
    cells = model.config.overview_cells**2
    assert all(((batch["input_ids"] == model.config.image_token_id).sum(1) == cells).all() for batch in seen)
    kept = json.loads((tmp_path / "runs/ferret-v2-align/model/processor_config.json").read_text())["grids"]
    assert kept == [list(grid) for grid in processor.grids]
    with pytest.raises(ValueError, match="has no 'gridz'"):
        run_stage(replace(stage, seen={"gridz": []}), tmp_path / "other", data, str(tmp_path / "start"))


def test_what_is_described_is_what_is_to_be_detected(data: Path) -> None:
    part = pixel_llm.described(data, most=3)[0]
    drawn = [part.task(example, np.random.default_rng(seed)) for example in part.examples for seed in range(4)]
    assert any(drawn)
    for made in filter(None, drawn):
        (asked, found), *described = zip(made.turns[::2], made.turns[1::2], strict=True)
        assert asked.said.text == "everything in the picture" and len(described) == len(found.said.regions) <= 3
        assert {region for ask, _ in described for region in ask.said.regions} == set(found.said.regions)


def of(models: Mapping[str, Any], which: str) -> Any:
    file, name = which.split(":")
    kind = next((ending for ending in ("_t5", "_lora") if name.endswith(ending)), "")
    return models[file + kind]


def chain(stage: Stage) -> list[Stage]:
    return [*(chain(stage.start) if isinstance(stage.start, Stage) else []), stage]


def shrunk(stage: Stage) -> Stage:
    """The stage and those before it, of two updates of two examples."""
    start = shrunk(stage.start) if isinstance(stage.start, Stage) else stage.start
    options = {**stage.recipe.options, "disable_tqdm": True}
    learn = dict.fromkeys(stage.recipe.learn, 1e-2)
    return replace(stage, start=start).set(steps=2, batch=2, workers=0, warmup=0.0, learn=learn, bf16=False, options=options)


def folders(runs: Path, start: Path) -> dict[str, Path]:
    return {"start": start} | {name: runs / f"ferret-v2-{name}" / "model" for name in ("align", "dense", "instruct")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, _ = open_model(str(folder), torch.float32)
    return dict(model.state_dict())


def _listen(seen: list[Mapping[str, Any]], model: nn.Module) -> None:
    model.register_forward_pre_hook(lambda _, args, batch: seen.append(batch), with_kwargs=True)

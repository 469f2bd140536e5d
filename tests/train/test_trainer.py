"""Laws of training: only what is named learns, a stopped run goes on as if it had not stopped, a torn checkpoint is passed over."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import RECIPE, Body, Numbers, collate, weights
from torch import Tensor

from foveal.train import freeze, train
from foveal.train.recipe import check_settings


def test_a_component_not_named_stays_as_it_is(tmp_path: Path) -> None:
    model = Body()
    before = weights(model)
    train(RECIPE, model, Numbers(), collate, tmp_path)
    changed = {name.split(".")[0] for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed == {"eye", "tongue"}


def test_each_component_learns_at_its_own_rate(tmp_path: Path) -> None:
    one, other = Body(), Body()
    train(RECIPE, one, Numbers(), collate, tmp_path / "one")
    train(replace(RECIPE, learn={"eye": 1e-2, "tongue": 1e-5}), other, Numbers(), collate, tmp_path / "other")
    start = Body()
    assert (one.tongue.weight - start.tongue.weight).norm() > 50 * (other.tongue.weight - start.tongue.weight).norm()


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, parts = Body(), Body()
    train(RECIPE, whole, Numbers(), collate, tmp_path / "whole")
    train(RECIPE, Body(), Numbers(), collate, tmp_path / "parts")
    for path in (tmp_path / "parts").glob("checkpoint-6/*"):
        path.unlink()  # torn: the run counts as stopped after its third step
    train(RECIPE, parts, Numbers(), collate, tmp_path / "parts")
    assert all(torch.equal(value, weights(parts)[name]) for name, value in weights(whole).items())


def test_a_resumed_ferret_has_every_weight_of_its_checkpoint(tmp_path: Path, make_ferret: Any) -> None:
    recipe = replace(RECIPE, learn={"local_tower": 1e-2, "projector": 1e-2})

    def look(rows: list[Tensor]) -> dict[str, Tensor]:
        ids = torch.tensor([[3] * 20 + [7, 8, 9]] * len(rows))  # four tokens of the overview, sixteen of four tiles
        tiles = torch.stack(rows)[:, None].expand(-1, 4, -1).flatten(0, 1)[..., None, None].expand(-1, -1, 28, 28)
        return {
            "input_ids": ids,
            "labels": ids.where(ids > 3, -100),
            "pixel_values": tiles[::4].contiguous(),
            "tile_values": tiles.contiguous(),
            "grids": torch.tensor([[2, 2]] * len(rows)),
        }

    (whole, _), (parts, _) = make_ferret(), make_ferret()
    train(recipe, whole, Numbers(), look, tmp_path / "whole")
    train(replace(recipe, steps=6), make_ferret()[0], Numbers(), look, tmp_path / "parts")
    for path in (tmp_path / "parts").glob("checkpoint-6/*"):
        path.unlink()
    train(recipe, parts, Numbers(), look, tmp_path / "parts")
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, msg=name)


def test_losses_are_kept_as_numbers_and_as_a_plot(tmp_path: Path) -> None:
    train(replace(RECIPE, options={**RECIPE.options, "logging_steps": 2}), Body(), Numbers(), collate, tmp_path)
    rows = json.loads((tmp_path / "losses.json").read_text())
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert all("size" in row for row in rows)
    assert (tmp_path / "losses.png").stat().st_size > 0


def test_an_unknown_component_is_named() -> None:
    with pytest.raises(ValueError, match=r"trains nose; the model has ear, eye, tongue"):
        freeze(Body(), {"nose": 1e-3})


def test_a_pattern_names_parameters_anywhere(tmp_path: Path) -> None:
    model = Body()
    before = weights(model)
    train(replace(RECIPE, learn={"*.bias": 1e-2}), model, Numbers(), collate, tmp_path)
    assert {name for name, value in weights(model).items() if not torch.equal(value, before[name])} == {"eye.bias", "tongue.bias", "ear.bias"}


def test_a_parameter_has_one_rate() -> None:
    with pytest.raises(ValueError, match=r"gives eye.bias more than one learning rate"):
        freeze(Body(), {"eye": 1e-3, "*.bias": 1e-4})


def test_a_recipe_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        replace(RECIPE, steps=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": "two"}, "steps='two' is not understood; a whole number is wanted"),
        ({"steps": 2.5}, "steps=2.5 is not understood; a whole number is wanted"),
        ({"batch": True}, "batch=True is not understood; a whole number is wanted"),
        ({"bf16": "perhaps"}, "bf16='perhaps' is not understood; True or False is wanted"),
        ({"clip": None}, "clip=None is not understood; a number is wanted"),
        ({"learn": 1e-3}, "learn=0.001 is not understood; a rate for each component"),
        ({"learn": {"eye": "1e-3"}}, "a rate for each component"),
        ({"betas": 0.9}, "betas=0.9 is not understood; a pair of numbers"),
        ({"options": 3}, "options=3 is not understood; an object of names and values"),
        ({"layers": 0.8}, "layers=0.8 is not understood; what only a recipe in Python can say is wanted"),
        ({"stepps": 3}, "a recipe has no 'stepps'"),
    ],
)
def test_a_setting_of_another_kind_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        check_settings(change)
    check_settings({one.name: getattr(RECIPE, one.name) for one in fields(RECIPE)})


def test_a_warm_up_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="has warmup=100; a share of the steps is wanted, from 0 to 1"):
        replace(RECIPE, warmup=100)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tf3": True}, "options that TrainingArguments does not take: .*tf3"),
        ({"max_steps": 3}, "says max_steps in its options; the recipe's own settings"),
    ],
)
def test_an_option_that_trainer_does_not_take_is_said(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        train(replace(RECIPE, options=options), Body(), Numbers(), collate, tmp_path)


def test_a_look_on_the_way_is_taken_once_and_changes_nothing(tmp_path: Path) -> None:
    seen, whole, looked = list[dict[str, Tensor]](), Body(), Body()

    def look() -> None:
        seen.append(weights(looked))
        looked.eval()
        torch.rand(7)

    train(RECIPE, whole, Numbers(), collate, tmp_path / "whole")
    train(RECIPE, looked, Numbers(), collate, tmp_path / "looked", looks={2: look})
    assert len(seen) == 1 and not torch.equal(seen[0]["eye.weight"], weights(looked)["eye.weight"])
    assert all(torch.equal(value, weights(looked)[name]) for name, value in weights(whole).items())

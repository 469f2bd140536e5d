"""Laws of learning rates by layer: the deeper, the slower; and what is frozen or decays goes by name and by shape."""

from dataclasses import replace
from typing import Any

import pytest
from torch import nn
from transformers import TrainingArguments

from foveal.train import LayerDecay, Recipe, RecipeTrainer
from foveal.train.schedule import decayed_names, frozen_names, parameter_groups

LAYERS = LayerDecay(prefix="eye.blocks.", blocks=3, stem=("eye.patches",), factor=0.5)
RECIPE = Recipe(name="tiny", learn={"eye": 1.0, "tongue": 0.1}, steps=1, batch=1, weight_decay=0.01, layers=LAYERS)


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.ModuleDict({"patches": nn.Linear(2, 2), "blocks": nn.ModuleList([nn.Linear(2, 2) for _ in range(3)]), "out": nn.LayerNorm(2)})
        self.tongue = nn.Linear(2, 2)


def rates(recipe: Recipe, folder: Any) -> dict[str, tuple[float, float]]:
    """The learning rate and the decay of each parameter."""
    model = Body()
    names = {id(value): name for name, value in model.named_parameters()}
    trainer = RecipeTrainer(recipe=recipe, model=model, args=TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none"))
    groups = trainer.create_optimizer().param_groups
    return {names[id(value)]: (group["lr"], group["weight_decay"]) for group in groups for value in group["params"]}


def test_a_block_learns_by_the_factor_more_slowly_than_the_one_above(tmp_path: Any) -> None:
    found = rates(RECIPE, tmp_path)
    assert found["eye.out.weight"] == (1.0, 0.0)
    assert [found[f"eye.blocks.{block}.weight"] for block in (2, 1, 0)] == [(0.5, 0.01), (0.25, 0.01), (0.125, 0.01)]
    assert found["eye.patches.weight"] == (0.0625, 0.01) and found["eye.patches.bias"] == (0.0625, 0.0)
    assert found["tongue.weight"] == (0.1, 0.01)
    assert len(found) == len(list(Body().parameters()))


def test_without_layers_a_component_learns_at_one_rate(tmp_path: Any) -> None:
    found = rates(replace(RECIPE, layers=None), tmp_path)
    assert {rate for name, (rate, _) in found.items() if name.startswith("eye")} == {1.0}


def test_every_parameter_is_in_one_group_and_what_decays_comes_first() -> None:
    named = list(Body().named_parameters())
    groups: list[dict[str, Any]] = parameter_groups(named, 1.0, 0.1, decayed_names(named), LAYERS)
    assert sorted(id(value) for group in groups for value in group["params"]) == sorted(id(value) for _, value in named)
    decays = [group["weight_decay"] for group in groups]
    assert decays == sorted(decays, reverse=True) and set(decays) == {0.0, 0.1}


def test_a_block_that_was_not_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="block 3 of 3"):
        LAYERS.layer("eye.blocks.3.weight")
    assert LAYERS.layer("other.eye.blocks.3.weight") == 4


def test_all_but_vectors_decay() -> None:
    assert decayed_names(Body().tongue.named_parameters()) == {"weight"}
    gate = nn.ParameterDict({"gate": nn.Parameter(nn.Linear(1, 1).weight.detach()[0, 0])})
    assert decayed_names(gate.named_parameters()) == {"gate"}


def test_what_decays_goes_by_the_rule_of_the_recipe(tmp_path: Any) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye, self.tongue = nn.LayerNorm(4), nn.Linear(4, 4)
            self.tongue.scale, self.tongue.bias_table = nn.Parameter(self.eye.weight.detach() * 2), nn.Parameter(self.tongue.weight.detach() * 2)

    def decayed(rule: str) -> set[str]:
        recipe = replace(RECIPE, layers=None, decay_rule=rule)
        model = Scaled()
        groups = RecipeTrainer(recipe=recipe, model=model, args=TrainingArguments(output_dir=str(tmp_path), report_to="none")).create_optimizer()
        names = {id(value): name for name, value in model.named_parameters()}
        return {names[id(value)] for group in groups.param_groups if group["weight_decay"] for value in group["params"]}

    assert decayed("rank") == {"tongue.weight", "tongue.bias_table"}
    assert decayed("trainer") == {"tongue.weight", "tongue.scale"}, "by their names: no biases, no norms"
    with pytest.raises(ValueError, match="decay_rule='none'; 'trainer' or 'rank' is wanted"):
        replace(RECIPE, decay_rule="none")


def test_a_pattern_freezes_what_it_matches_from_the_start() -> None:
    assert frozen_names(["eye.a", "an.eye", "tongue"], ["eye", ".*ngue"]) == {"eye.a", "tongue"}

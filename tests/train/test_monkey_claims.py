"""Laws of the recipe that compares Monkey's windows and adapters at small size: variants are one model, and questions have one answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.cli.sources import from_file
from foveal.models.monkey import MonkeyForConditionalGeneration
from foveal.session import Session
from foveal.zoo import find_model

RECIPES = Path(__file__).parents[2] / "recipes"
START = find_model("monkey-nano")


@pytest.fixture(scope="module", autouse=True)
def recipe() -> Any:
    return from_file(RECIPES / "monkey_claims.py")


@pytest.fixture(scope="module")
def known() -> dict[str, torch.Tensor]:
    return dict(MonkeyForConditionalGeneration.from_pretrained(START, dtype=torch.float32).state_dict())


@pytest.mark.parametrize("claim", ["windows", "whole", "wide", "adapters"])
def test_variants_have_the_weights_of_the_start_and_adapters_that_change_nothing_yet(recipe: Any, known: dict[str, torch.Tensor], claim: str) -> None:
    for variant in recipe.CLAIMS[claim].variants:
        model, processor = recipe.varied(START, variant)
        state = model.state_dict()
        for name, value in state.items():
            assert not value.any() if name.endswith("_lora.up") else "_lora" in name or torch.equal(value, known[name]), name
        assert {name for name in known if "_lora" not in name} <= set(state)
        assert any("_lora" in name for name in state) == variant.name.startswith("one for")
        seen = processor.see([recipe.Image.new("RGB", (448, 448))])
        assert sum(len(seen[name]) for name in ("tile_values", "pixel_values") if name in seen) == model.config.views


def test_kept_tokens_are_what_the_model_makes_of_each_picture_alone(recipe: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 448, 448, 3), dtype=np.uint8)
    shard = recipe.Shard(pixels, [""] * 3)
    model, processor = recipe.varied(START, recipe.FOUR)
    kept = recipe.kept_tokens(model.eval(), processor, shard, tmp_path / "kept.npy")
    alone = model.encode_images(**processor.see([recipe.Image.fromarray(pixels[1])])).tokens[0]
    assert torch.allclose(torch.from_numpy(kept[1, 0].astype(np.float32)), alone, atol=2e-3)


def test_a_picture_asked_about_holds_one_word_and_its_answer(recipe: Any) -> None:
    session = Session.open("monkey-nano", device="cpu", dtype="float32")
    examples = recipe.readings(recipe.SQUARE, 6)
    assert len(examples) == 6 == len({example.id for example in examples})
    answers = session.answer(examples, max_new_tokens=12)
    told = [answer.said.text.strip().lower() == example.facts["says"] for answer, example in zip(answers, examples, strict=True)]
    assert recipe.verdicts(session, examples) == told
    assert any(told)

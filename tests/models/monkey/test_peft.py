"""Laws of adapters as PEFT's folders: PEFT sees through them what we see, and what was written is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.models.monkey.peft import export_adapters, import_adapters, plain_tower
from foveal.vision import QwenVisionConfig, QwenVisionModel

# PEFT 0.21 still asks transformers 5 for a name that version 6 drops.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4, "position_cells": 2}
VIEW = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def make_tower(seed: int = 0, **changes: Any) -> QwenVisionModel:
    """A tower whose adapters are not zero and whose scales are not one; the same weights beside them whatever the seed."""
    torch.manual_seed(0)
    tower = QwenVisionModel(QwenVisionConfig(**{**SMALL, "adapters": 4, "attention_rank": 3, "mlp_rank": 5, **changes})).eval()
    torch.manual_seed(seed)
    for name, value in tower.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(value, std=0.3)
    return tower


@pytest.fixture
def written(tmp_path: Path) -> tuple[QwenVisionModel, Path]:
    """A tower, and the folder of its adapters."""
    tower = make_tower()
    export_adapters(tower, tmp_path / "adapters")
    return tower, tmp_path / "adapters"


@torch.no_grad()
def features(tower: Any, number: int) -> Tensor:
    return tower(VIEW, torch.tensor([number]))


@torch.no_grad()
def test_peft_sees_through_an_adapter_what_its_window_sees(written: tuple[QwenVisionModel, Path]) -> None:
    tower, folder = written
    bare = plain_tower(tower)(VIEW)
    torch.testing.assert_close(bare, tower(VIEW), atol=1e-5, rtol=1e-5)
    for number in range(4):
        theirs = PeftModel.from_pretrained(plain_tower(tower), folder / f"tile_{number}")
        torch.testing.assert_close(theirs(VIEW), features(tower, number), atol=1e-5, rtol=0)
        assert (theirs(VIEW) - bare).abs().max() > 1e-2
        with theirs.disable_adapter():
            torch.testing.assert_close(theirs(VIEW), bare)


@torch.no_grad()
def test_each_of_the_three_kinds_is_read_by_peft(written: tuple[QwenVisionModel, Path]) -> None:
    tower, folder = written
    for kind in ("qkv", "out", "mlp"):
        alone = make_tower()
        for name, value in alone.named_parameters():
            if name.endswith("lora.up") and f".{kind}_" not in name:
                value.zero_()
        export_adapters(alone, folder)
        theirs = PeftModel.from_pretrained(plain_tower(alone), folder / "tile_1")(VIEW)
        torch.testing.assert_close(theirs, features(alone, 1), atol=1e-5, rtol=0)
        assert (theirs - alone(VIEW)).abs().max() > 1e-3 and (theirs - features(tower, 1)).abs().max() > 1e-3


def test_what_was_written_is_read_again(written: tuple[QwenVisionModel, Path], tmp_path: Path) -> None:
    tower, folder = written
    again = make_tower(seed=1)
    import_adapters(again, folder)
    for number in range(4):
        torch.testing.assert_close(features(again, number), features(tower, number), atol=1e-5, rtol=0)
    export_adapters(again, tmp_path / "twice")
    for number in range(4):
        files = [load_file(path / f"tile_{number}" / "adapter_model.safetensors") for path in (folder, tmp_path / "twice")]
        assert all(torch.equal(files[0][name], files[1][name]) for name in files[0] | files[1])


def test_a_whole_model_gives_and_takes_adapters(make_monkey: Any, tmp_path: Path) -> None:
    (model, _), (other, _) = make_monkey(), make_monkey()
    torch.nn.init.constant_(other.vision_tower.blocks[0].out_lora.scale, 2.0)
    export_adapters(model, tmp_path)
    import_adapters(other, tmp_path)
    view = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(other.vision_tower(view, torch.tensor([3])), model.vision_tower(view, torch.tensor([3])), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rslora", [False, True], ids=["alpha over rank", "alpha over its root"])
def test_what_peft_trains_and_saves_is_read(tmp_path: Path, rslora: bool) -> None:
    tower = make_tower(adapters=1)
    settings = LoraConfig(
        target_modules=["qkv", "out", "beside"], r=3, lora_alpha=7, use_rslora=rslora, rank_pattern={"beside": 5}, init_lora_weights=False
    )
    theirs = get_peft_model(plain_tower(tower), settings)
    theirs.train()
    theirs(VIEW).square().mean().backward()
    learning = {name: value for name, value in theirs.named_parameters() if value.requires_grad}
    assert len(learning) == 2 * 3 * 2 and all(value.grad.abs().max() > 0 for value in learning.values())
    theirs.eval().save_pretrained(tmp_path / "tile_0")
    import_adapters(tower, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(features(tower, 0), theirs(VIEW), atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_adapter_of_the_linear_layers_alone_adds_nothing_beside_the_mlp(tmp_path: Path) -> None:
    tower = make_tower(adapters=1)
    theirs = get_peft_model(plain_tower(tower), LoraConfig(target_modules=["qkv", "out"], r=3, init_lora_weights=False)).eval()
    theirs.save_pretrained(tmp_path / "tile_0")
    import_adapters(tower, tmp_path)
    torch.testing.assert_close(features(tower, 0), theirs(VIEW), atol=1e-5, rtol=0)


def test_the_plain_tower_shares_its_weights_and_has_none_for_a_host(written: tuple[QwenVisionModel, Path], tmp_path: Path) -> None:
    tower, _ = written
    plain = plain_tower(tower)
    assert {name for name in tower.state_dict() if "_lora." not in name} == set(plain.state_dict())
    assert plain.blocks[1].fc.weight.data_ptr() == tower.blocks[1].fc.weight.data_ptr()
    plain.save_pretrained(tmp_path / "plain")
    again = QwenVisionModel.from_pretrained(tmp_path / "plain")
    with torch.no_grad():
        torch.testing.assert_close(again(VIEW), plain(VIEW))


def test_half_precision_keeps_the_product_with_the_scale(tmp_path: Path) -> None:
    tower = make_tower().to(torch.bfloat16)
    export_adapters(tower, tmp_path)
    lora = tower.blocks[0].qkv_lora
    wanted = lora.up[2].float() * lora.scale[2].float()
    found = load_file(tmp_path / "tile_2" / "adapter_model.safetensors")["base_model.model.blocks.0.qkv.lora_B.weight"]
    assert torch.equal(found, wanted.detach())
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(plain_tower(tower), tmp_path / "tile_2")(VIEW).float()
    torch.testing.assert_close(theirs, features(tower, 2).float(), atol=0.1, rtol=0.1)


def test_folders_that_do_not_fit_are_refused_and_change_nothing(written: tuple[QwenVisionModel, Path], tmp_path: Path) -> None:
    tower, folder = written
    before = features(tower, 0)
    with pytest.raises(ValueError, match="is no folder; one that holds tile_0 to tile_3 is wanted"):
        import_adapters(tower, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds 4 adapters .* the model has 6"):
        import_adapters(make_tower(adapters=6), folder)
    with pytest.raises(ValueError, match=r"blocks\.0\.qkv of .*tile_0 has rank 3, and the model's adapters have rank 2 there"):
        import_adapters(make_tower(attention_rank=2), folder)
    with pytest.raises(ValueError, match=r"blocks\.0\.beside of .*tile_0 has rank 5"):
        import_adapters(make_tower(mlp_rank=4), folder)
    with pytest.raises(ValueError, match=r"shapes \(3, 16\) and \(48, 3\); the model's are \(3, 32\) and \(96, 3\)"):
        import_adapters(make_tower(hidden_size=32), folder)
    (folder / "tile_3" / "adapter_config.json").unlink()
    with pytest.raises(ValueError, match=r"tile_3 holds no adapter_config\.json"):
        import_adapters(tower, folder)
    torch.testing.assert_close(features(tower, 0), before)


def test_what_is_no_plain_lora_is_refused(written: tuple[QwenVisionModel, Path]) -> None:
    tower, folder = written
    tile = folder / "tile_0"
    weights = load_file(tile / "adapter_model.safetensors")
    save_file(weights | {"base_model.model.blocks.0.qkv.bias": torch.zeros(48)}, tile / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"differs in base_model\.model\.blocks\.0\.qkv\.bias"):
        import_adapters(tower, folder)
    save_file(weights, tile / "adapter_model.safetensors")
    settings = json.loads((tile / "adapter_config.json").read_text())
    (tile / "adapter_config.json").write_text(json.dumps(settings | {"peft_type": "LOHA"}))
    with pytest.raises(ValueError, match="tile_0 holds an adapter of the type 'LOHA'; LORA is wanted"):
        import_adapters(tower, folder)
    (tile / "adapter_config.json").write_text(json.dumps(settings))
    (tile / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors cannot be read"):
        import_adapters(tower, folder)


def test_a_model_without_adapters_is_told_so(make_monkey: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no adapters"):
        export_adapters(make_tower(adapters=0), tmp_path)
    clip = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model, _ = make_monkey(vision_config={**clip, "patch_size": 4, "image_size": 16, "projection_dim": 16}, connector="mlp2x_gelu")
    with pytest.raises(ValueError, match="encoder of this model is clip_vision_model"):
        plain_tower(model)


def test_adapters_of_a_larger_model_are_not_left_beside_those_written(tmp_path: Path) -> None:
    export_adapters(make_tower(adapters=3), tmp_path)
    with pytest.raises(ValueError, match="holds tile_2 of another model, which has more adapters than 2"):
        export_adapters(make_tower(adapters=2), tmp_path)

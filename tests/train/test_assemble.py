"""A Ferret put together of trained parts: its weights are theirs, and it speaks as its language model is used to."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, Qwen3Config, Qwen3ForCausalLM

from foveal.cli.sources import from_file
from foveal.data.loader import Encoding
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.models import open_model

assembling = from_file(Path(__file__).parents[2] / "recipes" / "assemble.py")


@pytest.mark.parametrize(("tiles", "width"), [("dinov2", 16), ("dinov2", 24), (None, 0)])
def test_a_ferret_is_put_together_of_trained_parts(tiles: str | None, width: int, tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    clip = CLIPVisionModel(CLIPVisionConfig(**small, hidden_size=16, intermediate_size=32, image_size=28))
    dino = Dinov2Model(Dinov2Config(**small, hidden_size=width or 16, image_size=42))
    words = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    qwen = Qwen3ForCausalLM(Qwen3Config(**words, vocab_size=len(tokenizer) - 1))
    for name, part in (("clip", clip), ("dinov2", dino), ("qwen3", qwen)):
        part.save_pretrained(tmp_path / name)
    speaking = deepcopy(tokenizer)
    if width:
        speaking.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
        qwen.resize_token_embeddings(len(speaking), mean_resizing=False)
        qwen.save_pretrained(tmp_path / "qwen3")
    speaking.save_pretrained(tmp_path / "qwen3")
    clip_place, qwen_place, out = (tmp_path / name for name in ("clip", "qwen3", "ferret"))
    given = (str(clip_place), str(qwen_place), out, tiles and str(tmp_path / tiles))
    assembling.main(*given, tile_side=28)
    with pytest.raises(typer.BadParameter, match="there already"):
        assembling.main(*given)
    again, same = open_model(str(out), torch.float32)
    assert all(value.isfinite().all() for value in again.parameters())
    assert same_weights(again.overview_tower.backbone, clip)  # type: ignore[union-attr]
    theirs = qwen.get_input_embeddings().weight
    assert torch.equal(again.get_input_embeddings().weight[: len(theirs)], theirs)
    assert (again.config.grids == []) == (tiles is None) and again.config.map_fusion == ("concat" if width == 24 else "add")
    assert same.tokenizer.convert_ids_to_tokens([again.config.image_token_id, again.config.region_token_id]) == ["<image>", "<region_fea>"]
    shown = Picture(40, 30, pixels=Image.new("RGB", (40, 30)))
    asked = GroundedText.join("What is ", Box(0.1, 0.1, 0.6, 0.6), "?")
    batch = Encoding(same)([Example("0", (shown,), (Turn("user", asked), Turn("assistant", GroundedText("a dog"))))])
    assert again(**batch).loss.isfinite()
    said = same.tokenizer.convert_ids_to_tokens(batch["labels"][0][batch["labels"][0] >= 0].tolist())
    assert same.template == ("ferret_chatml" if width else "ferret_vicuna_v1") and ("<|im_end|>" if width else "</s>") in said[-2:]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())

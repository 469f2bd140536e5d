"""Towers give the hidden states that transformers gives, as maps, and run no block in vain."""

import pytest
import torch
from transformers import (
    BertConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    PreTrainedConfig,
    SiglipVisionConfig,
)

from foveal.vision import VisionTower, build_backbone

SIZES = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28, "patch_size": 7}
CONFIGS = {
    "clip": CLIPVisionConfig(intermediate_size=16, **SIZES),
    "dinov2": Dinov2Config(mlp_ratio=2, **SIZES),
    "registers": Dinov2WithRegistersConfig(mlp_ratio=2, num_register_tokens=3, **SIZES),
    "siglip": SiglipVisionConfig(intermediate_size=16, vision_use_head=False, **SIZES),
}


def tower(config: PreTrainedConfig, select_layer: int = -2, **options: bool) -> VisionTower:
    torch.manual_seed(0)
    backbone = build_backbone(config)
    for weight in backbone.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return VisionTower(backbone, select_layer, **options).eval()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("layer", [0, 1, -2, -1])
@torch.no_grad()
def test_a_layer_is_transformers_hidden_state_without_its_extra_tokens(kind: str, layer: int) -> None:
    encoder, views = tower(CONFIGS[kind], layer), torch.randn(2, 3, 28, 28)
    state = encoder.backbone(views, output_hidden_states=True).hidden_states[layer]
    assert torch.allclose(encoder(views).flatten(1, 2), state[:, -16:], atol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_the_last_layer_normed_is_the_encoders_output(kind: str) -> None:
    encoder, views = tower(CONFIGS[kind], -1, normed=True), torch.randn(2, 3, 28, 28)
    state = encoder.backbone(views).last_hidden_state
    state = encoder.backbone.post_layernorm(state) if kind == "clip" else state
    assert torch.allclose(encoder(views).flatten(1, 2), state[:, -16:], atol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_blocks_behind_the_layer_taken_are_not_run(kind: str) -> None:
    encoder, ran = tower(CONFIGS[kind]), []
    blocks = [module for name, module in encoder.named_modules() if name.startswith("backbone.encoder.layer") and name.count(".") == 3]
    for index, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    encoder(torch.randn(1, 3, 28, 28))
    assert len(blocks) == 3 and ran == [0, 1]


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_any_sides_that_the_patch_divides_make_a_map(kind: str) -> None:
    encoder = tower(CONFIGS[kind])
    assert encoder(torch.randn(2, 3, 42, 42)).shape == (2, 6, 6, 8)
    assert encoder(torch.randn(1, 3, 14, 35)).shape == (1, 2, 5, 8)
    with pytest.raises(ValueError, match=r"30 x 28 pixels .* 7 pixels"):
        encoder(torch.randn(1, 3, 28, 30))


@pytest.mark.parametrize("kind", CONFIGS)
def test_checkpointing_changes_no_gradient(kind: str) -> None:
    views, gradients = torch.randn(1, 3, 28, 28), []
    for saved in (False, True):
        encoder = tower(CONFIGS[kind], gradient_checkpointing=saved).train()
        learned = [weight for name, weight in encoder.named_parameters() if ".encoder.layer" in name and ".2." not in name]
        gradients.append(torch.autograd.grad(encoder(views).square().sum(), learned))
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.allclose(plain, recomputed, rtol=1e-4, atol=1e-4)


def test_it_knows_its_width_and_its_patch() -> None:
    encoder = tower(CONFIGS["clip"])
    assert (encoder.dim, encoder.patch) == (8, 7)


def test_what_no_tower_wraps_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'bert'"):
        build_backbone(BertConfig())
    with pytest.raises(ValueError, match=r"hidden state 4 .* 3 blocks"):
        tower(CONFIGS["clip"], 4)

"""Laws of two towers on the same pixels."""

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, Dinov2Config, SamVisionConfig, SiglipVisionConfig

from foveal.vision import CLIP_COLOURS, EVEN_COLOURS, IMAGENET_COLOURS, EvaVisionConfig, TowerPair, build_tower, coloured, resize_maps

SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
EVA = EvaVisionConfig(intermediate_size=12, patch_size=7, position_cells=2, **SIZES)
SAM = SamVisionConfig(output_channels=6, image_size=32, patch_size=8, window_size=2, global_attn_indexes=[1], initializer_range=0.2, **SIZES)
OTHERS = {
    "clip": CLIPVisionConfig(intermediate_size=16, image_size=28, patch_size=7, **SIZES),
    "dinov2": Dinov2Config(mlp_ratio=2, image_size=28, patch_size=7, **SIZES),
    "siglip": SiglipVisionConfig(intermediate_size=16, image_size=28, patch_size=7, vision_use_head=False, **SIZES),
}
BOTH = [CLIP_COLOURS, IMAGENET_COLOURS]


def _towers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [build_tower(EVA), build_tower(SAM)]


def _real(images: int) -> Tensor:
    real = torch.zeros(images, 32, 32, dtype=torch.bool)
    real[:, :24, :30] = True
    return real


def test_padding_is_zero_whatever_its_pixels() -> None:
    pixels, real = torch.rand(2, 3, 32, 32), _real(2)
    found = coloured(pixels, CLIP_COLOURS, real)
    assert torch.equal(found, coloured(pixels + 5 * ~real[:, None], CLIP_COLOURS, real))
    assert found.masked_select(~real[:, None]).abs().max() == 0
    assert coloured(pixels, EVEN_COLOURS, real, (20, 12)).shape == (2, 3, 12, 20)


@torch.no_grad()
def test_maps_lie_side_by_side_in_the_order_given_on_the_grid_asked_for() -> None:
    first, second = _towers()
    pixels, real = torch.rand(2, 3, 32, 32), _real(2)
    pair = TowerPair([second, first], BOTH[::-1]).eval()
    seen = pair(pixels, real)
    assert [tuple(one.shape) for one in seen.maps] == [(2, 4, 4, 6), (2, 4, 4, 8)] and seen.fused.shape[3] == pair.dim == 14
    large = TowerPair([second, first], BOTH[::-1], sizes=[(48, 40), None]).eval()(pixels, real)
    assert large.fused.shape == (2, 5, 6, 14) and torch.equal(large.fused[..., :6], large.maps[0])
    torch.testing.assert_close(large.fused[..., 6:], resize_maps(seen.maps[1], 5, 6))
    small = TowerPair([second, first], BOTH[::-1], sizes=[(16, 16), None], grid="first").eval()(pixels, real)
    assert small.fused.shape == (2, 2, 2, 14)


@torch.no_grad()
def test_a_batch_is_seen_as_each_alone() -> None:
    pair, pixels, real = TowerPair(_towers(), BOTH).eval(), torch.rand(3, 3, 32, 32), _real(3)
    real[1] = True
    alone = torch.cat([pair(pixels[n : n + 1], real[n : n + 1]).fused for n in range(3)])
    torch.testing.assert_close(pair(pixels, real).fused, alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_second_may_be_absent() -> None:
    eva = _towers()[0]
    seen = TowerPair([eva], BOTH[:1]).eval()(torch.rand(1, 3, 28, 28))
    assert torch.equal(seen.fused, seen.maps[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", OTHERS)
def test_any_tower_stands_beside_sam(kind: str) -> None:
    pair = TowerPair([build_tower(OTHERS[kind]), build_tower(SAM)], [EVEN_COLOURS, IMAGENET_COLOURS], sizes=[(28, 28), None]).eval()
    assert pair(torch.rand(2, 3, 32, 32)).fused.shape == (2, 4, 4, 14)


def test_a_frozen_tower_works_as_in_use_and_the_other_learns() -> None:
    first, second = _towers()
    pair = TowerPair([first, second.requires_grad_(False)], BOTH).train()
    seen = pair(torch.rand(2, 3, 32, 32), _real(2))
    assert first.training and not second.training
    assert seen.maps[0].requires_grad and not seen.maps[1].requires_grad
    seen.fused.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in first.parameters())
    second.requires_grad_(True)
    assert pair.train()(torch.rand(2, 3, 32, 32)).maps[1].requires_grad and second.training


def test_pairs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 towers, 1 colours and 2 sizes"):
        TowerPair(_towers(), BOTH[:1])
    with pytest.raises(ValueError, match="no vision tower wraps"):
        build_tower(SAM.__class__.__base__(model_type="none"))

"""Laws of SAM's encoder at any size: transformers' own where transformers can."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from foveal.vision import SamEncoder, build_tower

SMALL = {
    "hidden_size": 16,
    "output_channels": 6,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 40,
    "patch_size": 8,
    "window_size": 2,
    "global_attn_indexes": [1],
}


def _sam(**changes: object) -> SamEncoder:
    torch.manual_seed(0)
    model = SamEncoder(SamVisionConfig(**{**SMALL, **changes})).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return model


@pytest.fixture(scope="module")
def sam() -> SamEncoder:
    return _sam()


@torch.no_grad()
def test_at_the_size_it_was_trained_for_it_is_transformers_encoder(sam: SamEncoder) -> None:
    theirs = SamVisionEncoder(sam.config).eval()
    theirs.load_state_dict(sam.state_dict())
    views = torch.rand(2, 3, 40, 40)
    torch.testing.assert_close(sam(views), theirs(views).last_hidden_state.permute(0, 2, 3, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(24, 24), (64, 48), (8, 30)])
def test_any_size_makes_a_map_and_a_batch_is_seen_as_each_alone(sam: SamEncoder, height: int, width: int) -> None:
    views = torch.rand(3, 3, height, width)
    seen = sam(views)
    assert seen.shape == (3, height // 8, width // 8, 6) and sam.dim == 6
    torch.testing.assert_close(seen, torch.cat([sam(view[None]) for view in views]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_each_size_has_its_tables_made_once(sam: SamEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    views = torch.rand(1, 3, 56, 24)
    first = sam(views)
    monkeypatch.setattr("foveal.vision.resizing.functional.interpolate", None)
    torch.testing.assert_close(sam(views), first)


@torch.no_grad()
def test_other_weights_are_seen_at_once() -> None:
    sam, views = _sam(), torch.rand(1, 3, 24, 24)
    first = sam(views)
    for name in ("rel_pos_h", "rel_pos_w"):
        getattr(sam.layers[1].attn, name).mul_(5)
    second = sam(views)
    assert (first - second).abs().max() > 1e-4
    sam.pos_embed.add_(torch.rand_like(sam.pos_embed))
    assert (sam(views) - second).abs().max() > 1e-4


def test_a_view_smaller_than_a_patch_is_refused(sam: SamEncoder) -> None:
    with pytest.raises(ValueError, match="views of 40 x 7 pixels"):
        sam(torch.rand(1, 3, 7, 40))


def test_it_learns_and_checkpointing_changes_no_gradient() -> None:
    gradients, views = [], torch.rand(2, 3, 24, 32)
    for saving in (False, True):
        sam = _sam().train()
        if saving:
            sam.activation_checkpointing_enable()
        gradients.append(torch.autograd.grad(sam(views).square().sum(), list(sam.parameters())))
    for plain, again in zip(*gradients, strict=True):
        assert plain.isfinite().all()
        torch.testing.assert_close(plain, again)


@torch.no_grad()
def test_it_works_in_bfloat16_and_as_a_copy(sam: SamEncoder) -> None:
    views = torch.rand(1, 3, 24, 24)
    low = copy.deepcopy(sam).bfloat16()(views)
    assert low.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(low.float().flatten(), sam(views).flatten(), 0) > 0.98


@torch.no_grad()
def test_what_is_saved_is_what_is_loaded(sam: SamEncoder, tmp_path: Path) -> None:
    sam.save_pretrained(tmp_path)
    views = torch.rand(1, 3, 24, 32)
    torch.testing.assert_close(SamEncoder.from_pretrained(tmp_path)(views), sam(views))
    assert isinstance(build_tower(sam.config), SamEncoder)

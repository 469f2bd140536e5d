"""Laws of EVA-02's encoder, and of resizing, which its tables need."""

import copy
from pathlib import Path

import pytest
import torch

from foveal.vision import EvaVisionConfig, EvaVisionModel, KeptSizes, build_tower, resize_line, resize_maps
from foveal.vision import eva as module

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 21,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 4,
    "position_cells": 2,
}


def _eva(**changes: object) -> EvaVisionModel:
    torch.manual_seed(0)
    model = EvaVisionModel(EvaVisionConfig(**{**SMALL, **changes})).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return model


@pytest.fixture(scope="module")
def eva() -> EvaVisionModel:
    return _eva()


@torch.no_grad()
def test_views_in_a_batch_are_seen_as_alone(eva: EvaVisionModel) -> None:
    views = torch.rand(3, 3, 12, 16)
    torch.testing.assert_close(eva(views), torch.cat([eva(view[None]) for view in views]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_pixels_that_make_no_whole_patch_are_not_seen(eva: EvaVisionModel) -> None:
    views = torch.rand(1, 3, 15, 18)
    torch.testing.assert_close(eva(views), eva(views[:, :, :12, :16]))
    with pytest.raises(ValueError, match="views of 9 x 3 pixels were given to an encoder with patches of 4"):
        eva(torch.rand(1, 3, 3, 9))


@torch.no_grad()
def test_the_map_is_the_patches_tokens_row_by_row(eva: EvaVisionModel) -> None:
    views = torch.rand(2, 3, 8, 12)
    tokens = eva.tokens(views)
    assert tokens.shape == (2, 7, 16)
    torch.testing.assert_close(eva(views)[:, 1, 2], tokens[:, 6])


def test_rotation_knows_only_how_far_patches_lie_from_each_other(eva: EvaVisionModel) -> None:
    pair = torch.rand(2, 1, 1, 8).expand(-1, 1, 13, 8)
    q, k = module._turned(pair, module._turns(3, 4, eva.config))[:, 0]
    assert torch.equal(q[0], pair[0, 0, 0]), "the class token does not turn"
    scores = (q[1:] @ k[1:].T).view(3, 4, 3, 4)
    torch.testing.assert_close(scores[1:, 1:, 1:, 1:], scores[:-1, :-1, :-1, :-1])
    assert (scores[0, 0, 0, 1] - scores[0, 0, 1, 0]).abs() > 1e-3, "rows and columns turn different channels"


@torch.no_grad()
def test_a_side_for_the_rotation_matters_only_where_the_grid_has_another() -> None:
    plain, counted = _eva(), _eva(rotary_side=4)
    small, same = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(plain(same), counted(same))
    assert (plain(small) - counted(small)).abs().max() > 1e-4


def test_stochastic_depth_is_of_training_only_and_keeps_the_mean() -> None:
    eva, views = _eva(drop_path=0.5), torch.rand(1, 3, 8, 8)
    assert torch.equal(eva(views), eva(views))
    assert [block.drop for block in eva.blocks] == [0.0, 0.25, 0.5]
    found = torch.ones(4000, 1, 1)
    block = eva.train().blocks[2]
    kept = block._sometimes(found)
    assert set(kept.flatten().tolist()) == {0.0, 2.0} and abs(kept.mean().item() - 1) < 0.1


def test_checkpointing_changes_no_gradient() -> None:
    gradients, views = [], torch.rand(2, 3, 8, 8)
    for saving in (False, True):
        eva = _eva(drop_path=0.3).train()
        if saving:
            eva.activation_checkpointing_enable()
        torch.manual_seed(1)
        gradients.append(torch.autograd.grad(eva(views).square().sum(), list(eva.parameters())))
    for plain, again in zip(*gradients, strict=True):
        assert plain.isfinite().all()
        torch.testing.assert_close(plain, again)


@torch.no_grad()
def test_it_works_in_bfloat16(eva: EvaVisionModel) -> None:
    views = torch.rand(1, 3, 12, 12)
    low = copy.deepcopy(eva).bfloat16()(views)
    assert low.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(low.float().flatten(), eva(views).flatten(), 0) > 0.99


@torch.no_grad()
def test_what_is_saved_is_what_is_loaded(eva: EvaVisionModel, tmp_path: Path) -> None:
    eva.save_pretrained(tmp_path)
    views = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(EvaVisionModel.from_pretrained(tmp_path)(views), eva(views))


def test_a_new_one_starts_with_something_everywhere() -> None:
    eva = build_tower(EvaVisionConfig(**SMALL))
    assert isinstance(eva, EvaVisionModel) and eva.dim == 16
    assert 0 < eva.positions.abs().max() < 0.1 and 0 < eva.class_token.abs().max() < 0.1


def test_heads_that_cannot_turn_in_pairs_are_refused() -> None:
    with pytest.raises(Exception, match="heads of a multiple of four are wanted"):
        EvaVisionConfig(**{**SMALL, "hidden_size": 12})


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (7, 1), (1, 7), (3, 1), (4, 9), (13, 2)])
def test_resizing_is_one_weighted_mean_along_each_axis(kernel: str, rows: int, cols: int) -> None:
    maps = torch.rand(2, 6, 5, 3)
    wanted = torch.einsum("oi,nijc,pj->nopc", _weights(6, rows, kernel), maps, _weights(5, cols, kernel))
    torch.testing.assert_close(resize_maps(maps, rows, cols, kernel), wanted, atol=1e-5, rtol=1e-5)


def _weights(have: int, want: int, kernel: str) -> torch.Tensor:
    """The kernel as it is written down: centres at a half, widened where it shrinks, what lies outside left out."""
    scale = have / want
    away = (((torch.arange(want) + 0.5) * scale - 0.5)[:, None] - torch.arange(have)).abs() / max(scale, 1)
    near, far = 1.5 * away**3 - 2.5 * away**2 + 1, -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    cubic = torch.where(away <= 1, near, torch.where(away < 2, far, torch.zeros(())))
    weights = cubic if kernel == "bicubic" else (1 - away).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def test_resizing_works_in_bfloat16_and_lets_gradients_through() -> None:
    table = torch.rand(5, 2, requires_grad=True)
    resize_line(table, 9).sum().backward()
    assert table.grad.sum().item() == pytest.approx(18)
    assert resize_line(table.detach().bfloat16(), 9).dtype == torch.bfloat16


def test_a_resized_table_is_kept_until_it_changes_and_not_while_it_learns() -> None:
    kept, table = KeptSizes(), torch.rand(5, 2, requires_grad=True)
    assert kept(table, (9,), resize_line).requires_grad
    with torch.inference_mode():
        first = kept(table, (9,), resize_line)
    assert not first.is_inference(), "a backward pass may need it later"
    with torch.no_grad():
        assert kept(table, (9,), resize_line) is first
        table.add_(1.0)
        torch.testing.assert_close(kept(table, (9,), resize_line), first + 1)

"""Laws of windows, their adapters, the resampler and the encoder that they meet in."""

import pytest
import torch
from torch import Tensor

from foveal.vision import GroupedLora, PositionTable, QwenVisionConfig, QwenVisionModel, Resampler, cut_windows, qwen_vit, shrink, windows

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4, "position_cells": 2}


def _tower(**changes: object) -> QwenVisionModel:
    torch.manual_seed(0)
    model = QwenVisionModel(QwenVisionConfig(**{**SMALL, "adapters": 4, **changes})).eval()
    for name, value in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(value, std=0.3)
    return model


@pytest.fixture(scope="module")
def tower() -> QwenVisionModel:
    return _tower()


def test_a_new_adapter_changes_nothing() -> None:
    lora = GroupedLora(8, 6, count=3, rank=2)
    assert lora(torch.rand(4, 5, 8), torch.tensor([0, 1, 2, 0])).abs().max() == 0


def test_adapters_of_many_windows_are_those_of_each_alone() -> None:
    torch.manual_seed(0)
    lora = GroupedLora(8, 6, count=3, rank=2).eval()
    torch.nn.init.normal_(lora.up)
    torch.nn.init.normal_(lora.scale)
    views, numbers = torch.rand(4, 5, 8), torch.tensor([2, 0, 1, 2])
    alone = [view @ lora.down[number].T @ lora.up[number].T * lora.scale[number] for view, number in zip(views, numbers, strict=True)]
    torch.testing.assert_close(lora(views, numbers), torch.stack(alone))


def test_views_in_a_batch_are_seen_as_alone(tower: QwenVisionModel) -> None:
    views, numbers = torch.rand(6, 3, 8, 12), torch.tensor([0, 1, 2, 3, 1])
    alone = [tower(views[n : n + 1], numbers[n : n + 1]) for n in range(6)]
    torch.testing.assert_close(tower(views, numbers), torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 6, 14, 1000])
def test_how_many_tokens_are_worked_on_at_once_changes_nothing(tower: QwenVisionModel, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qwen_vit, "_TOKENS_AT_ONCE", tokens)
    views, numbers = torch.rand(5, 3, 8, 12), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        found = tower(views, numbers)
    torch.testing.assert_close(found, tower(views, numbers), atol=1e-5, rtol=1e-5)
    assert len(tower(views[:0])) == 0


def test_the_adapters_of_windows_differ_and_the_whole_has_none(tower: QwenVisionModel) -> None:
    view = torch.rand(1, 3, 8, 8)
    seen = [tower(view, torch.tensor(numbers, dtype=torch.long)) for numbers in ([], [0], [1])]
    assert all((first - second).abs().max() > 1e-2 for first, second in ((seen[0], seen[1]), (seen[1], seen[2])))
    bare = _tower(adapters=0)
    bare.load_state_dict({name: value for name, value in tower.state_dict().items() if "lora" not in name})
    torch.testing.assert_close(bare(view), seen[0])


def test_a_shared_adapter_is_the_same_for_all_windows() -> None:
    tower = _tower(adapters=1, adapter_sharing="shared")
    view = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(tower(view, torch.tensor([0])), tower(view, torch.tensor([5])))


def test_a_window_without_an_adapter_is_refused_with_the_number_there_is(tower: QwenVisionModel) -> None:
    with pytest.raises(ValueError, match="window 5 of an image has no adapter: this checkpoint has 4"):
        tower(torch.rand(1, 3, 8, 8), torch.tensor([4]))
    with pytest.raises(ValueError, match="10 x 8 pixels"):
        tower(torch.rand(1, 3, 8, 10))


def test_adapters_learn_and_what_is_frozen_does_not() -> None:
    tower = _tower()
    tower.requires_grad_(False)
    for name, value in tower.named_parameters():
        value.requires_grad_("lora" in name)
    tower.train()
    tower(torch.rand(3, 3, 8, 8), torch.tensor([0, 2])).sum().backward()
    lora = tower.blocks[0].qkv_lora
    assert all(lora.down.grad[number].abs().max() > 0 for number in (0, 2)) and lora.down.grad[[1, 3]].abs().max() == 0
    assert tower.patches.weight.grad is None


def test_checkpointed_gradients_are_the_same() -> None:
    grads: list[Tensor] = []
    for saving in (False, True):
        tower = _tower(adapter_dropout=0.0).train()
        if saving:
            tower.activation_checkpointing_enable()
        torch.manual_seed(1)
        tower(torch.rand(2, 3, 8, 8), torch.tensor([0])).square().sum().backward()
        grads.append(tower.blocks[0].mlp_lora.down.grad)
    torch.testing.assert_close(*grads)


def test_a_table_is_kept_until_it_changes() -> None:
    table = PositionTable(8, 2)
    with torch.no_grad():
        first = table(4, 4)
        assert table(4, 4) is first
        table.weight.add_(1.0)
        torch.testing.assert_close(table(4, 4), first + 1.0)
    assert table(4, 4).requires_grad


def test_the_resampler_gives_as_many_tokens_whatever_it_is_given() -> None:
    resampler = Resampler(dim=6, width=16, grid=3, heads=2).eval()
    assert [resampler(torch.rand(2, *shape, 6)).shape for shape in ((2, 5), (3, 3))] == [(2, 9, 16)] * 2


def test_windows_tile_the_canvas_and_the_plan_says_where() -> None:
    canvas = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).view(2, 3, 8, 12)
    views = cut_windows(canvas, 4)
    plan = windows((30, 20), (12, 8), 4)
    assert (plan.rows, plan.cols) == (2, 3) and len(views) == 2 * len(plan.tiles)
    for number, tile in enumerate(plan.tiles):
        x, y = -round(tile.dx), -round(tile.dy)
        torch.testing.assert_close(views[number], canvas[0, :, y : y + 4, x : x + 4])
    assert len(cut_windows(canvas, 4, 2)) == 2 * 3 * 5
    assert shrink(canvas, 4).shape == (2, 3, 4, 4)


def test_a_canvas_smaller_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one window"):
        windows((30, 20), (12, 3), 4)

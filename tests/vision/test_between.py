"""Laws of attention between the windows of an image."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from foveal.vision import BetweenWindows, QwenVisionConfig, QwenVisionModel

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4, "position_cells": 2}
BETWEEN = {"between": [(0, 8, 2), (1, 12, 3)], "between_window": 3, "between_shift": 1}


def _between(**changes: int) -> BetweenWindows:
    torch.manual_seed(0)
    part = BetweenWindows(**({"width": 8, "dim": 6, "heads": 2, "window": 3, "shift": 2, "cells": 2} | changes)).eval()
    for value in (part.proj.weight, part.proj.bias, part.offsets):
        torch.nn.init.normal_(value)
    return part


def _tower(*, woken: bool = True, **changes: object) -> QwenVisionModel:
    torch.manual_seed(0)
    model = QwenVisionModel(QwenVisionConfig(**{**SMALL, "adapters": 4, **changes})).eval()
    for name, value in model.named_parameters():
        if "between" in name and woken:
            torch.nn.init.normal_(value, std=0.3)
    return model


def _plainly(part: BetweenWindows, maps: Tensor) -> Tensor:
    """What attention gives when each cell looks at all cells, and those of other fields are struck out: fields begin at the shift."""
    rows, cols = maps.shape[1:3]
    places = [(row, col) for row in range(rows) for col in range(cols)]
    shifts = [part.shift if length > part.window else 0 for length in (rows, cols)]
    fields = [tuple((at - shift) // part.window for at, shift in zip(place, shifts, strict=True)) for place in places]
    q, k, v = (one.unflatten(-1, (part.heads, -1)).transpose(1, 2) for one in part.qkv(maps.flatten(1, 2)).chunk(3, dim=-1))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    side, last = 2 * part.window - 1, part.window - 1
    for one, (row, col) in enumerate(places):
        for two, (other_row, other_col) in enumerate(places):
            same = fields[one] == fields[two]
            way = (row - other_row + last) * side + col - other_col + last
            scores[:, :, one, two] += part.offsets[way] if same else float("-inf")
    return part.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)).unflatten(1, (rows, cols))


@torch.no_grad()
@pytest.mark.parametrize("size", [(6, 6), (4, 8), (3, 7), (2, 2), (1, 10)])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_cells_attend_within_shifted_fields_and_never_over_the_edge(size: tuple[int, int], shift: int) -> None:
    part = _between(shift=shift)
    maps = torch.randn(2, *size, 6)
    torch.testing.assert_close(part._attended(maps), _plainly(part, maps), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_windows_are_stitched_row_by_row_and_cut_again() -> None:
    part = _between()
    whole = torch.randn(1, 4, 9, 8)
    cut = [whole[0, row : row + 2, col : col + 3] for row in (0, 2) for col in (0, 3, 6)]
    found = part(torch.stack(cut), [(2, 3)])
    wanted = whole + part._added(whole)
    torch.testing.assert_close(found, torch.stack([wanted[0, row : row + 2, col : col + 3] for row in (0, 2) for col in (0, 3, 6)]))


@torch.no_grad()
def test_images_of_other_grids_in_the_batch_change_nothing() -> None:
    part = _between()
    grids = [(2, 2), (1, 3), (2, 2), (0, 0), (1, 1)]
    views = torch.randn(14, 2, 2, 8)
    found, first = part(views, grids), 0
    for rows, cols in grids[:3] + grids[4:]:
        own = slice(first, first := first + rows * cols)
        torch.testing.assert_close(found[own], part(views[own], [(rows, cols)]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[first:], views[first:], atol=0, rtol=0)


def test_what_cannot_be_laid_out_is_refused() -> None:
    with pytest.raises(ValueError, match="want 4 windows, got 3 views"):
        _between()(torch.rand(3, 2, 2, 8), [(2, 2)])
    with pytest.raises(ValueError, match="do not divide"):
        _between(heads=4)
    with pytest.raises(ValueError, match="shifted by 3; 0 to 2"):
        _between(shift=3)
    with pytest.raises(StrictDataclassError, match="0 to 1, is wanted"):
        _tower(between=[(2, 8, 2)])


@torch.no_grad()
def test_without_it_a_tower_is_what_it_was_and_a_new_one_changes_nothing() -> None:
    views, numbers = torch.rand(5, 3, 8, 8), torch.arange(4)
    plain, fresh = _tower(), _tower(woken=False, **BETWEEN)
    assert not [name for name in plain.state_dict() if "between" in name]
    assert fresh.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    assert torch.equal(plain(views, numbers, [(2, 2)]), plain(views, numbers))
    torch.testing.assert_close(fresh(views, numbers, [(2, 2)]), plain(views, numbers), atol=0, rtol=0)


@torch.no_grad()
def test_a_window_learns_of_its_neighbour_and_the_whole_of_nobody() -> None:
    views, numbers = torch.rand(5, 3, 8, 8), torch.arange(4)
    other = views.clone()
    other[0, :, 7, 7] += 1.0  # where all four windows meet
    for tower, moved in ((_tower(), [True, False, False, False, False]), (_tower(**BETWEEN), [True, True, True, True, False])):
        change = (tower(other, numbers, [(2, 2)]) - tower(views, numbers, [(2, 2)])).flatten(1).abs().amax(1)
        assert (change > 1e-5).tolist() == moved


@torch.no_grad()
def test_images_of_other_grids_in_a_batch_are_seen_as_alone() -> None:
    tower = _tower(**BETWEEN)
    views, grids = torch.rand(8, 3, 8, 8), [(2, 2), (1, 2)]
    found = tower(views, torch.tensor([0, 1, 2, 3, 0, 1]), grids)
    torch.testing.assert_close(found[4:6], tower(views[4:6], torch.arange(2), grids[1:]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:4], tower(views[:4], torch.arange(4), grids[:1]), atol=1e-5, rtol=1e-5)


def test_every_part_of_it_learns_and_checkpointed_gradients_are_the_same() -> None:
    grads: list[dict[str, Tensor]] = []
    for saving in (False, True):
        tower = _tower(**BETWEEN, adapter_dropout=0.0).train()
        if saving:
            tower.activation_checkpointing_enable()
        torch.manual_seed(1)
        tower(torch.rand(5, 3, 8, 8), torch.arange(4), [(2, 2)]).square().sum().backward()
        grads.append({name: value.grad for name, value in tower.between.named_parameters()})
    assert all(grad.abs().max() > 0 for grad in grads[0].values())
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_a_new_one_begins_to_learn_at_its_last_layer() -> None:
    part = BetweenWindows(width=8, dim=6, heads=2, window=3, shift=2, cells=2)
    part(torch.rand(4, 2, 2, 8), [(2, 2)]).square().sum().backward()
    assert part.proj.weight.grad.abs().max() > 0

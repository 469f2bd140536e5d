"""Laws of what all models share: placeholders, padding, losses."""

import pytest
import torch

from foveal.models.base import Sight, padding_to_left, positions_of, scatter_features
from foveal.models.losses import token_cross_entropy


def test_features_fill_their_places_row_by_row():
    slots = torch.tensor([[False, True], [True, False]])
    filled = scatter_features(torch.zeros(2, 2, 3), slots, torch.arange(6.0).view(2, 3))
    assert filled[0, 1].tolist() == [0, 1, 2]
    assert filled[1, 0].tolist() == [3, 4, 5]
    assert filled[~slots].abs().sum() == 0


def test_a_miscount_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"2 region placeholders .* 1 region features"):
        scatter_features(torch.zeros(1, 2, 3), torch.tensor([[True, True]]), torch.zeros(1, 3), "region")


def test_positions_count_what_is_attended_on_either_side():
    left, right = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[1, 1, 0, 0]])
    assert positions_of(left, 4)[0, 2:].tolist() == positions_of(right, 4)[0, :2].tolist() == [0, 1]


def test_moving_padding_keeps_each_rows_order():
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    words = torch.tensor([[1, 2, 3, 0, 0], [1, 2, 3, 4, 5], [1, 2, 0, 0, 0]])
    assert words.gather(1, padding_to_left(mask, 0)).tolist() == [[0, 0, 1, 2, 3], [1, 2, 3, 4, 5], [0, 0, 0, 1, 2]]
    assert words.gather(1, padding_to_left(mask, 2)).tolist() == [[1, 2, 0, 0, 3], [1, 2, 3, 4, 5], [1, 2, 0, 0, 0]]
    assert padding_to_left(mask.flip(1), 0) is None


def test_the_loss_is_the_mean_over_labels_of_the_token_before():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 7), torch.tensor([[1, 2, 3, -100, 4], [-100, -100, 5, 6, -100]])
    plain = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(token_cross_entropy(logits, labels), plain)
    torch.testing.assert_close(token_cross_entropy(logits, labels, num_items=10), plain * 5 / 10)


def test_a_batch_without_labels_has_a_loss_of_zero():
    logits = torch.randn(1, 3, 7, requires_grad=True)
    loss = token_cross_entropy(logits, torch.full((1, 3), -100))
    loss.backward()
    assert loss == 0 and logits.grad.abs().sum() == 0


def test_a_sight_can_be_shared_and_repeated():
    sight = Sight((torch.zeros(4, 2), torch.ones(3, 2)), (torch.zeros(5, 2, 2), torch.ones(5, 1, 2)))
    assert sight.of(1, 0, 1).slots == (3, 4, 3)
    assert sight.of(1).maps[0] is sight.maps[1]

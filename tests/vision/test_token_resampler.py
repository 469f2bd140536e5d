"""Laws of keeping the least redundant tokens."""

import pytest
import torch
from torch import Tensor

from foveal.vision import TokenResampler, least_redundant, token_resampler


def _plainly(tokens: Tensor, keep: int) -> list[int]:
    """Each token's highest similarity to a later one, the lowest of those kept."""
    highest = []
    for one in range(len(tokens)):
        alike = [float(torch.cosine_similarity(tokens[one], later, dim=0)) for later in tokens[one + 1 :]]
        highest.append(max(alike, default=float("-inf")))
    return sorted(sorted(range(len(tokens)), key=highest.__getitem__)[:keep])


@pytest.mark.parametrize("rows", [1024, 3])
@pytest.mark.parametrize("keep", [1, 5, 12, 40])
def test_what_is_kept_is_what_a_plain_loop_keeps(keep: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_resampler, "_ROWS_AT_ONCE", rows)
    torch.manual_seed(keep)
    tokens = torch.randn(3, 12, 4)
    assert least_redundant(tokens, keep).tolist() == [_plainly(one, keep) for one in tokens]


def test_copies_go_first_and_the_order_stays() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 6, 8)
    tokens = torch.cat([tokens, 3 * tokens[:, [1, 4]]], 1)
    assert least_redundant(tokens, 6).tolist() == [[0, 2, 3, 5, 6, 7]]


@torch.no_grad()
def test_a_new_one_gives_the_kept_tokens_as_they_are_and_all_where_there_are_fewer() -> None:
    part, tokens = TokenResampler(8, keep=4, dim=6, heads=2), torch.randn(2, 7, 8)
    kept = least_redundant(tokens, 4)
    torch.testing.assert_close(part(tokens), torch.stack([one[which] for one, which in zip(tokens, kept, strict=True)]))
    torch.testing.assert_close(part(tokens[:, :3]), tokens[:, :3])


@torch.no_grad()
def test_images_in_a_batch_are_thinned_as_alone() -> None:
    part, tokens = TokenResampler(8, keep=4, dim=6, heads=2), torch.randn(3, 9, 8)
    torch.nn.init.normal_(part.up)
    torch.testing.assert_close(part(tokens), torch.cat([part(one[None]) for one in tokens]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_kept_look_at_those_that_are_not() -> None:
    torch.manual_seed(0)
    part, tokens = TokenResampler(8, keep=3, dim=6, heads=2), torch.randn(1, 5, 8)
    torch.nn.init.normal_(part.up)
    [kept] = least_redundant(tokens, 3)
    dropped = next(number for number in range(5) if number not in kept.tolist())
    other = tokens.clone()
    other[0, dropped] *= 2.0  # as alike as before
    assert least_redundant(other, 3).tolist() == [kept.tolist()] and (part(other) - part(tokens)).abs().amax(2).min() > 1e-4


def test_every_part_of_it_learns() -> None:
    part = TokenResampler(8, keep=3, dim=6, heads=2)
    torch.nn.init.normal_(part.up)
    tokens = torch.randn(2, 5, 8, requires_grad=True)
    part(tokens).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in (*part.parameters(), tokens))


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        TokenResampler(8, keep=3, dim=6, heads=4)

"""The region sampler and its older kin: what they give, and what must make no difference to it."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foveal.vision import AveragePooling, VisualSampler

plain_regions: Callable[..., Tensor] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "plain_sampler.py"))["plain_regions"]

Given = tuple[list[Tensor], Tensor, Tensor, Tensor]


def build(**options: object) -> VisualSampler:
    torch.manual_seed(0)
    sampler = VisualSampler(dim=8, width=6, points=24, anchors=(10, 5), neighbours=(6, 4), **options)
    for block in sampler.blocks:
        torch.nn.init.normal_(block.norm.weight)
        torch.nn.init.normal_(block.norm.bias)
    return sampler


def given(shapes: tuple[tuple[int, int], ...] = ((3, 3), (4, 6), (2, 5)), regions: int = 7) -> Given:
    torch.manual_seed(1)
    maps = [torch.randn(8, *shape) for shape in shapes]
    image = torch.arange(regions) % len(maps)
    starts = torch.stack([torch.arange(regions) % 24, torch.arange(regions) % 10], dim=1)
    return maps, torch.rand(regions, 24, 2), image, starts


# Small maps are projected before they are read, large ones after.
@pytest.mark.parametrize("shapes", [((3, 3), (4, 6), (2, 5)), ((40, 30), (30, 50), (60, 20))])
@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("read", ["upright", "transposed"])
def test_folding_changes_nothing(shapes: tuple[tuple[int, int], ...], pooling: str, read: str) -> None:
    sampler, inputs = build(pooling=pooling, read=read), given(shapes)
    assert torch.allclose(sampler(*inputs), plain_regions(sampler, *inputs), atol=1e-5)


@pytest.mark.parametrize("shapes", [((3, 3), (4, 6), (2, 5)), ((40, 30), (30, 50), (60, 20))])
@pytest.mark.parametrize("chunk", [2, 16])
def test_folding_changes_no_gradient(shapes: tuple[tuple[int, int], ...], chunk: int) -> None:
    sampler, (maps, points, image, starts) = build(chunk=chunk), given(shapes)
    gradients = []
    for features in (sampler, lambda *inputs: plain_regions(sampler, *inputs)):
        leaves = [grid.clone().requires_grad_() for grid in maps]
        wanted = [*leaves, *sampler.parameters()]
        gradients.append(torch.autograd.grad(features(leaves, points, image, starts).square().sum(), wanted))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_a_batch_answers_as_each_alone() -> None:
    sampler, (maps, points, image, starts) = build(chunk=3), given()
    together = sampler(maps, points, image, starts)
    for index in range(len(points)):
        one = slice(index, index + 1)
        alone = sampler([maps[int(image[index])]], points[one], torch.tensor([0]), starts[one])
        assert torch.allclose(together[one], alone, atol=1e-5)


def test_the_same_starts_give_the_same_features() -> None:
    sampler, inputs = build(), given()
    assert torch.equal(sampler(*inputs), sampler(*inputs))


def test_a_region_of_one_pixel_has_one_feature_whatever_the_start() -> None:
    sampler, (maps, points, image, starts) = build(), given()
    pixel = points[:, :1].expand(-1, 24, -1)
    assert torch.allclose(sampler(maps, pixel, image, starts), sampler(maps, pixel, image, starts * 0), atol=1e-6)
    assert torch.allclose(sampler(maps, pixel, image, starts), plain_regions(sampler, maps, pixel, image, starts), atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_repeated_points_change_nothing_but_the_work(pooling: str) -> None:
    sampler, (maps, points, image, starts) = build(pooling=pooling), given()
    # Five places, each as often as its distance from the others leaves no ties that pooling could feel.
    repeated = points[:, torch.arange(24) % 5]
    assert torch.allclose(sampler(maps, repeated, image, starts), plain_regions(sampler, maps, repeated, image, starts), atol=1e-5)


def test_a_transposed_read_is_an_upright_read_of_transposed_maps() -> None:
    upright, transposed = build(), build(read="transposed")
    maps, points, image, starts = given()
    mirrored = [grid.transpose(1, 2) for grid in maps]
    assert torch.allclose(transposed(maps, points, image, starts), upright(mirrored, points, image, starts), atol=1e-6)


def test_given_neighbours_replace_the_search() -> None:
    sampler, (maps, points, image, starts) = build(), given()
    fixed = [torch.zeros(7, 10, 6, dtype=torch.long), torch.zeros(7, 5, 4, dtype=torch.long)]
    one = [torch.zeros(7, 10, 1, dtype=torch.long), torch.zeros(7, 5, 1, dtype=torch.long)]
    found = sampler(maps, points, image, starts, neighbours=fixed)
    assert torch.allclose(found, sampler(maps, points, image, starts, neighbours=one), atol=1e-6)
    assert not torch.allclose(found, sampler(maps, points, image, starts), atol=1e-3)


def test_places_are_measured_in_float32_whatever_the_dtype() -> None:
    sampler, (maps, points, image, starts) = build(), given()
    # A window of which bfloat16 could not tell the pixels apart.
    points = 0.5 + points / 100
    wanted = sampler(maps, points, image, starts)
    narrow = sampler.to(torch.bfloat16)([grid.bfloat16() for grid in maps], points, image, starts)
    assert narrow.dtype == torch.bfloat16
    assert (narrow.float() - wanted).norm() / wanted.norm() < 0.1


def test_training_runs_under_autocast() -> None:
    sampler, (maps, points, image, starts) = build(chunk=2), given()
    wanted = sampler(maps, points, image, starts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sampler(maps, points, image, starts)
    found.float().square().sum().backward()
    assert (found.float() - wanted).norm() / wanted.norm() < 0.1
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in sampler.parameters())


def test_no_regions_have_no_features() -> None:
    sampler, (maps, points, image, starts) = build(), given()
    assert sampler(maps, points[:0], image[:0], starts[:0]).shape == (0, 6)
    assert AveragePooling(8, 6)(maps, points[:0], image[:0]).shape == (0, 6)


def test_wrong_counts_are_refused_with_both_numbers() -> None:
    sampler, (maps, points, image, starts) = build(), given()
    with pytest.raises(ValueError, match=r"23 points .* sampler of 24"):
        sampler(maps, points[:, 1:], image, starts)
    with pytest.raises(ValueError, match=r"1 starts .* 2 blocks"):
        sampler(maps, points, image, starts[:, :1])
    with pytest.raises(ValueError, match=r"maps of width 5 .* width 8"):
        sampler([grid[:5] for grid in maps], points, image, starts)
    with pytest.raises(ValueError, match=r"24 neighbours .* among 16 points"):
        VisualSampler(8, 6, points=16)
    with pytest.raises(ValueError, match=r"1 numbers of neighbours .* 2 blocks"):
        VisualSampler(8, 6, neighbours=(24,))


def test_the_average_counts_a_repeated_point_once() -> None:
    torch.manual_seed(0)
    pooling, (maps, points, image, _) = AveragePooling(8, 6), given()
    few = points[:, :5]
    repeated = few[:, [0, 1, 2, 3, 4, *[1] * 19]]
    assert torch.allclose(pooling(maps, repeated, image), pooling(maps, few, image), atol=1e-6)

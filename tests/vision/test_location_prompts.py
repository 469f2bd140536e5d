"""Laws of places as prompts, and of the visual tokens they bring."""

import copy

import pytest
import torch
from torch import Tensor

from foveal.vision import LocationPrompts, PromptExtractor, box_corners, choose_points
from foveal.vision import location_prompts as module

SIZE = (40, 24)
BOXES = torch.tensor([[4.0, 2.0, 30.0, 20.0], [0.0, 0.0, 40.0, 24.0]])


@pytest.fixture(scope="module")
def location() -> LocationPrompts:
    torch.manual_seed(0)
    return LocationPrompts(8)


@pytest.fixture(scope="module")
def extractor() -> PromptExtractor:
    torch.manual_seed(0)
    return PromptExtractor(dim=12, prompt_dim=8, width=16, depth=2, heads=2, mlp=24, queries=3, out=10, dense=True).eval()


@torch.no_grad()
def test_a_box_is_its_corners_and_constants(location: LocationPrompts) -> None:
    tokens = location(BOXES, size=SIZE)
    first, last = (location.points(BOXES[:, at], torch.ones(2, 1, dtype=torch.long), SIZE) for at in ([[0, 1]], [[2, 3]]))
    torch.testing.assert_close(tokens[:, :1], first - location.positive + location.first_corner)
    torch.testing.assert_close(tokens[:, 1:2], last - location.positive + location.last_corner)
    assert torch.equal(tokens[:, 2:], location.no_mask.expand(2, 3, -1))


@torch.no_grad()
def test_a_box_of_zeros_and_one_not_to_be_a_box_are_points(location: LocationPrompts) -> None:
    boxes = torch.cat([BOXES, torch.zeros(1, 4)])
    mixed = location(boxes, size=SIZE, as_box=torch.tensor([True, False, True]))
    points = location.points(*box_corners(boxes), SIZE)
    assert torch.equal(mixed[0], location(BOXES, size=SIZE)[0])
    assert torch.equal(mixed[1:], points[1:])
    assert torch.equal(points[:, 4], location.not_a_point.expand(3, -1))


@torch.no_grad()
def test_boxes_points_and_traces_are_one_batch(location: LocationPrompts) -> None:
    trace = torch.rand(3, 9, 2) * 20
    labels = torch.tensor([[-1] * 9, [1, 0] + [-1] * 7, [1] * 9])
    points, kinds = choose_points(trace, labels)
    boxes = torch.cat([BOXES[:1], torch.zeros(2, 4)])
    tokens = location(boxes, points, kinds, size=SIZE)
    assert tokens.shape == (3, 5, 8)
    torch.testing.assert_close(tokens[:1], location(BOXES[:1], size=SIZE))
    for number in range(3):
        torch.testing.assert_close(tokens[number], location(boxes[number][None], points[number][None], kinds[number][None], size=SIZE)[0])
    assert torch.equal(tokens[1, 2:], location.not_a_point.expand(3, -1))


def test_of_many_points_the_first_the_last_and_even_ones_between_are_taken() -> None:
    trace = torch.arange(10.0).view(1, 10, 1).expand(3, -1, 2)
    labels = torch.tensor([[1] * 10, [1, 0, 1] + [-1] * 7, [1] * 5 + [-1] * 5])
    points, kinds = choose_points(trace, labels)
    assert points[..., 0].tolist() == [[0, 3, 6, 9, 0], [0, 1, 2, 0, 0], [0, 1, 3, 4, 0]]
    assert kinds.tolist() == [[1, 1, 1, 1, -1], [1, 0, 1, -1, -1], [1, 1, 1, 1, -1]]
    points, kinds = choose_points(trace, labels, 1)
    assert points.shape == (3, 2, 2) and kinds[:, 1].tolist() == [-1] * 3
    points, kinds = choose_points(trace, labels, 12)
    assert (kinds != -1).sum(1).tolist() == [10, 3, 5]


@torch.no_grad()
def test_the_code_of_a_cell_is_that_of_its_centre(location: LocationPrompts) -> None:
    grid = location.grid(3, 5)
    torch.testing.assert_close(grid[2, 1], location.code(torch.tensor([1.5 / 5, 2.5 / 3])))
    pixels = location.points(torch.tensor([[[7.0, 11.0]]]), torch.tensor([[1]]), SIZE) - location.positive
    torch.testing.assert_close(pixels[0, 0], location.grid(SIZE[1], SIZE[0])[11, 7], atol=1e-5, rtol=1e-5)


def test_odd_prompts_are_refused(location: LocationPrompts) -> None:
    with pytest.raises(ValueError, match="points were given without labels"):
        location(BOXES, torch.zeros(2, 5, 2), size=SIZE)
    with pytest.raises(ValueError, match="1 points were given"):
        location(BOXES, torch.zeros(2, 1, 2), torch.ones(2, 1, dtype=torch.long), size=SIZE)
    with pytest.raises(ValueError, match="an even number is wanted"):
        LocationPrompts(7)


def _given(location: LocationPrompts, images: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(images, 3, 4, 12), location.grid(3, 4), location.no_mask


@torch.no_grad()
@pytest.mark.parametrize("images", [1, 2])
def test_all_prompts_of_all_images_are_answered_as_each_alone(location: LocationPrompts, extractor: PromptExtractor, images: int) -> None:
    maps, codes, no_mask = _given(location, images)
    prompts, image = torch.rand(5, 5, 8), torch.tensor([1, 0, 0, 1, 0]) % images
    for look in (extractor, extractor.dense):
        found = look(maps, codes, no_mask, prompts, image)
        none = torch.zeros(1, dtype=torch.long)
        alone = [look(maps[own][None], codes, no_mask, prompts[n][None], none) for n, own in enumerate(image.tolist())]
        torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prompts", [1, 2, 3, 100])
def test_how_many_prompts_are_worked_on_at_once_changes_nothing(
    location: LocationPrompts, extractor: PromptExtractor, prompts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROMPTS_AT_ONCE", prompts)
    given = (*_given(location, 2), torch.rand(5, 5, 8), torch.tensor([0, 1, 1, 0, 1]))
    for look in (extractor, extractor.dense):
        with torch.no_grad():
            found = look(*given)
            assert len(look(*given[:3], given[3][:0], given[4][:0])) == 0
        torch.testing.assert_close(found, look(*given), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_map_is_projected_once_whatever_the_number_of_its_prompts(location: LocationPrompts, extractor: PromptExtractor) -> None:
    shapes: list[tuple[int, ...]] = []
    first = extractor.transformer.layers[0]
    parts = [extractor.map_proj, first.to_image.k_proj, first.to_image.v_proj, first.to_tokens.q_proj]
    hooks = [part.register_forward_hook(lambda _, given, found: shapes.append(tuple(found.shape[:2]))) for part in parts]
    extractor(*_given(location, 1), torch.rand(7, 5, 8), torch.zeros(7, dtype=torch.long))
    assert shapes == [(1, 12)] * 4
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_each_query_has_its_own_output(location: LocationPrompts, extractor: PromptExtractor) -> None:
    given = (*_given(location, 1), torch.rand(2, 5, 8), torch.zeros(2, dtype=torch.long))
    other = copy.deepcopy(extractor)
    other.out_weight[1].zero_()
    other.out_bias[1].fill_(3.0)
    found, then = extractor(*given), other(*given)
    assert torch.equal(then[:, 1], torch.full_like(then[:, 1], 3.0))
    torch.testing.assert_close(then[:, [0, 2]], found[:, [0, 2]])


def test_equal_widths_need_no_projection_and_dense_tokens_an_output(location: LocationPrompts) -> None:
    extractor = PromptExtractor(dim=12, prompt_dim=8, width=8, depth=1, heads=2, mlp=12, queries=2, out=4)
    assert not any(name.startswith(("code_proj", "prompt_proj", "dense_out")) for name in extractor.state_dict())
    given = (*_given(location, 1), torch.rand(1, 5, 8), torch.zeros(1, dtype=torch.long))
    assert extractor(*given).shape == (1, 2, 4)
    with pytest.raises(ValueError, match="one made with dense=True is wanted"):
        extractor.dense(*given)


def test_gradients_are_finite_and_reach_everything(extractor: PromptExtractor) -> None:
    learner, location = copy.deepcopy(extractor).train(), LocationPrompts(8)
    boxes, image = torch.cat([BOXES, torch.zeros(1, 4)]), torch.tensor([0, 1, 1])
    given = (*_given(location, 2), location(boxes, size=SIZE), image)
    (learner(*given).square().sum() + learner.dense(*given).square().sum()).backward()
    silent = [name for name, weight in learner.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()]
    assert not silent
    assert location.first_corner.grad.abs().max() > 0 and not location.frequencies.requires_grad


@torch.no_grad()
def test_it_works_in_bfloat16(location: LocationPrompts, extractor: PromptExtractor) -> None:
    low, small = copy.deepcopy(extractor).bfloat16(), copy.deepcopy(location).bfloat16()
    maps, codes, no_mask = _given(location, 1)
    image = torch.zeros(2, dtype=torch.long)
    found = low(maps.bfloat16(), small.grid(3, 4), small.no_mask, small(BOXES, size=SIZE), image)
    wanted = extractor(maps, codes, no_mask, location(BOXES, size=SIZE), image)
    assert found.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(found.float().flatten(), wanted.flatten(), 0) > 0.97

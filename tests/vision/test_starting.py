"""Laws of how layers begin: as wide as flax makes them, without tails, and whatever they stand in."""

import pytest
import torch
from torch import Tensor, nn

from foveal.models.pixel_llm import LocationHead
from foveal.models.pixel_llm.masks import MaskAdapter
from foveal.vision import PromptExtractor, SimplePyramid, TwoWayTransformer, lecun_normal_, start_layers


def _width(weight: Tensor, entering: int) -> float:
    """The standard deviation, where 1 is what keeps that of what enters."""
    return float(weight.detach().std()) * entering**0.5


def test_numbers_are_as_wide_as_they_are_to_be_and_have_no_tails() -> None:
    torch.manual_seed(0)
    weight = torch.empty(400, 500)
    lecun_normal_(weight, 500)
    assert _width(weight, 500) == pytest.approx(1, abs=0.01)
    assert 2.2 < float(weight.abs().max()) * 500**0.5 < 2.28


def test_all_kinds_of_layers_count_what_enters_over_the_whole_kernel() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(90, 300), nn.Conv2d(10, 300, 3), nn.ConvTranspose2d(30, 100, 2, stride=2), nn.Conv2d(90, 300, 1, bias=False)]
    start_layers(nn.ModuleList(layers), None, nn.Identity())
    for layer, entering in zip(layers, (90, 90, 120, 90), strict=True):
        assert _width(layer.weight, entering) == pytest.approx(1, abs=0.03)
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    "part",
    [
        TwoWayTransformer(128, depth=1, heads=2, mlp=128),
        PromptExtractor(64, prompt_dim=64, width=128, depth=1, heads=2, mlp=128, queries=2, out=128, dense=True),
        SimplePyramid(64, width=64, up=64),
        LocationHead(128, hidden=128),
        MaskAdapter(visual_dim=64, text_dim=64, width=128, mlp=128),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_that_begin_anew_begin_as_flax_starts_them(part: nn.Module) -> None:
    layers = [layer for layer in part.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 2000]
    assert layers
    for layer in layers:
        entering = layer.weight.numel() // (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)
        assert _width(layer.weight, entering) == pytest.approx(1, abs=0.06)
    if isinstance(part, PromptExtractor):
        assert _width(part.out_weight, 128) == pytest.approx(1, abs=0.03)

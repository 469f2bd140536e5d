"""Projectors carry the names and the arithmetic of the published ones."""

import pytest
import torch

from foveal.vision import Projector


def test_parameters_are_named_by_their_place() -> None:
    assert set(Projector("linear", 4, 3).state_dict()) == {"0.weight", "0.bias"}
    assert set(Projector("mlp2x_gelu", 4, 3).state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_two_layers_have_an_exact_gelu_between() -> None:
    projector, features = Projector("mlp2x_gelu", 4, 3), torch.randn(5, 4)
    inner = projector[0](features)
    assert torch.allclose(projector(features), projector[2](inner * 0.5 * (1 + torch.erf(inner / 2**0.5))), atol=1e-6)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'conv'"):
        Projector("conv", 4, 3)

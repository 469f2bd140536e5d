"""Laws of the two-way transformer: what transformers' own computes, with an image's places shared by its prompts."""

import pytest
import torch
from torch import Tensor
from transformers import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamTwoWayTransformer

from foveal.vision import TwoWayTransformer

NAMES = {
    "self_attn": "among_tokens",
    "cross_attn_token_to_image": "to_image",
    "cross_attn_image_to_token": "to_tokens",
    "mlp.lin1": "fc",
    "mlp.lin2": "proj",
    "layer_norm_final_attn": "norm",
    "final_attn_token_to_image": "last",
    "layer_norm": "norm_",
}


def _two_way(**changes: int) -> TwoWayTransformer:
    torch.manual_seed(0)
    two_way = TwoWayTransformer(**{"width": 16, "depth": 3, "heads": 2, "mlp": 24, **changes}).eval()
    for value in two_way.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return two_way


@pytest.fixture(scope="module")
def two_way() -> TwoWayTransformer:
    return _two_way()


@torch.no_grad()
@pytest.mark.parametrize(("width", "depth", "heads"), [(16, 2, 2), (32, 3, 8), (24, 1, 2)])
def test_it_is_transformers_own_for_one_prompt_of_each_image(width: int, depth: int, heads: int) -> None:
    config = SamMaskDecoderConfig(
        hidden_size=width,
        mlp_dim=20,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        layer_norm_eps=1e-5,
        attn_implementation="eager",
    )
    theirs = SamTwoWayTransformer(config).eval()
    ours = TwoWayTransformer(width, depth, heads, mlp=20).eval()
    ours.load_state_dict({_named(name): value for name, value in theirs.state_dict().items()})
    tokens, keys, codes = torch.rand(3, 5, width), torch.rand(3, 4, 6, width), torch.rand(3, 4, 6, width)
    wanted, places = theirs(tokens[:, None], keys.permute(0, 3, 1, 2), codes.permute(0, 3, 1, 2), None)
    found, seen = ours(tokens, keys.flatten(1, 2), codes.flatten(1, 2))
    torch.testing.assert_close(found, wanted[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen, places[:, 0], atol=1e-5, rtol=1e-5)


def _named(name: str) -> str:
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


@torch.no_grad()
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_prompts_of_many_images_are_answered_as_each_alone(two_way: TwoWayTransformer, images: int, shared: bool) -> None:
    tokens, keys = torch.rand(4, 5, 16), torch.rand(images, 6, 16)
    codes, image = torch.rand(1 if shared else images, 6, 16), torch.tensor([2, 0, 0, 1]) % images
    found, seen = two_way(tokens, keys, codes, image)
    for number, own in enumerate(image.tolist()):
        alone = two_way(tokens[number : number + 1], keys[own : own + 1], codes[0 if shared else own][None])
        torch.testing.assert_close((found[number], seen[number]), (alone[0][0], alone[1][0]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_as_many_prompts_as_images_may_be_in_another_order(two_way: TwoWayTransformer) -> None:
    tokens, keys, turned = torch.rand(2, 5, 16), torch.rand(2, 6, 16), torch.tensor([1, 0])
    torch.testing.assert_close(two_way(tokens, keys, image=turned)[0], two_way(tokens, keys[turned])[0])


@torch.no_grad()
def test_no_codes_are_codes_of_zero_and_no_prompts_no_answers(two_way: TwoWayTransformer) -> None:
    tokens, keys = torch.rand(2, 5, 16), torch.rand(2, 6, 16)
    torch.testing.assert_close(two_way(tokens, keys), two_way(tokens, keys, torch.zeros(2, 6, 16)))
    found, seen = two_way(tokens[:0], keys, image=torch.zeros(0, dtype=torch.long))
    assert found.shape == (0, 5, 16) and seen.shape == (0, 6, 16)


def test_prompts_without_numbers_for_other_images_are_refused(two_way: TwoWayTransformer) -> None:
    with pytest.raises(ValueError, match="3 prompts were given for 2 images"):
        two_way(torch.rand(3, 5, 16), torch.rand(2, 6, 16))
    with pytest.raises(ValueError, match="which they do not divide"):
        TwoWayTransformer(width=20, depth=1, heads=8)


def test_gradients_are_finite_and_checkpointing_changes_none() -> None:
    tokens, keys, image = torch.rand(4, 5, 16), torch.rand(2, 6, 16), torch.tensor([0, 1, 1, 0])
    gradients: list[tuple[Tensor, ...]] = []
    for saving in (False, True):
        two_way = _two_way().train()
        two_way.gradient_checkpointing = saving
        found, seen = two_way(tokens, keys, image=image)
        gradients.append(torch.autograd.grad(found.square().sum() + seen.sum(), list(two_way.parameters())))
    for plain, again in zip(*gradients, strict=True):
        assert plain.isfinite().all()
        torch.testing.assert_close(plain, again)

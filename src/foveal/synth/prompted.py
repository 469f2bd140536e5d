"""SAM's mask decoder for many prompts to one image: what they share is computed once, and only masks that may stand are drawn."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["prompted_masks"]


def prompted_masks(
    model: Any, embedding: Float[Tensor, "1 dim rows cols"], points: Float[Tensor, "points 2"], at_once: int, least: float = -float("inf")
) -> Iterator[tuple[Float[Tensor, "masks low_h low_w"], Float[Tensor, " masks"]]]:
    """Low masks (raw scores) of transformers' `SamModel` and the IoU that it expects of each, three for each point, of those above `least`; points in
    pixels of the view, `at_once` of them at a time.

    The masks are the library's but for rounding. There each prompt has the whole image projected to keys, values and queries in each layer; here the
    few tokens of a prompt are carried through these projections instead, and the image as it comes out of the encoder is shared by all prompts.
    """
    decoder = model.mask_decoder
    places = model.get_image_wide_positional_embeddings().to(embedding.dtype).flatten(2).mT
    for some in points.to(embedding).split(at_once):
        sparse, dense = model.prompt_encoder(
            input_points=some[None, :, None], input_labels=torch.ones_like(some[None, :, None, 0]).int(), input_boxes=None, input_masks=None
        )
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(some), -1, -1)
        tokens = torch.cat([own, sparse[0].to(own.dtype)], dim=1)
        queries, keys = _talked(decoder.transformer, tokens, (embedding + dense).flatten(2).mT, places)
        scores = decoder.iou_prediction_head(queries[:, 0])[:, 1:]
        drawn = (scores > least).any(dim=1)
        low = _drawn(decoder, queries[drawn], keys[drawn], (embedding.shape[-2], embedding.shape[-1]))
        good = scores[drawn] > least
        yield low[good], scores[drawn][good]


def _talked(
    transformer: Any, tokens: Float[Tensor, "prompts tokens dim"], keys: Float[Tensor, "1 cells dim"], places: Float[Tensor, "1 cells dim"]
) -> tuple[Float[Tensor, "prompts tokens dim"], Float[Tensor, "prompts cells dim"]]:
    """Tokens and cells of the image when they have read each other."""
    queries = tokens
    for number, layer in enumerate(transformer.layers):
        asking = queries if number == 0 else queries + tokens
        heard, _ = layer.self_attn(query=asking[None], key=asking[None], value=queries[None])
        queries = layer.layer_norm1(heard[0] if number == 0 else queries + heard[0])
        queries = layer.layer_norm2(queries + _reading(layer.cross_attn_token_to_image, queries + tokens, keys, places))
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        keys = layer.layer_norm4(_told(layer.cross_attn_image_to_token, queries + tokens, queries, keys, places))
    last = _reading(transformer.final_attn_token_to_image, queries + tokens, keys, places)
    return transformer.layer_norm_final_attn(queries + last), keys


def _reading(
    attention: Any, asking: Float[Tensor, "prompts tokens dim"], keys: Float[Tensor, "images cells dim"], places: Float[Tensor, "1 cells dim"]
) -> Float[Tensor, "prompts tokens dim"]:
    """What tokens read in the image: scores (q Wk) · x, and Wv (weights · x). A bias of keys changes no weight, one of values is added once."""
    if len(keys) == 1:  # shared by all: tokens of all prompts as those of one
        found, _ = attention(query=asking.flatten(0, 1)[None, None], key=(keys + places)[None], value=keys[None])
        return found.view_as(asking)
    heads, scale = attention.num_attention_heads, attention.scaling
    asked = attention.q_proj(asking).unflatten(-1, (heads, -1)) * scale
    carried = torch.einsum("pnhc,hcd->phnd", asked, attention.k_proj.weight.unflatten(0, (heads, -1))).flatten(1, 2)
    weights = (carried @ places.mT).baddbmm_(carried, keys.mT).softmax(dim=-1)
    read = torch.bmm(weights, keys).unflatten(1, (heads, -1))
    values = torch.einsum("phnd,hcd->pnhc", read, attention.v_proj.weight.unflatten(0, (heads, -1))).flatten(2) + attention.v_proj.bias
    return attention.out_proj(values)


def _told(
    attention: Any,
    asked: Float[Tensor, "prompts tokens dim"],
    said: Float[Tensor, "prompts tokens dim"],
    keys: Float[Tensor, "images cells dim"],
    places: Float[Tensor, "1 cells dim"],
) -> Float[Tensor, "prompts cells dim"]:
    """The cells with what they read in the tokens added."""
    heads, scale = attention.num_attention_heads, attention.scaling
    known = attention.k_proj(asked).unflatten(-1, (heads, -1)) * scale
    carried = torch.einsum("pnhc,hcd->phnd", known, attention.q_proj.weight.unflatten(0, (heads, -1))).flatten(1, 2)
    bias = torch.einsum("pnhc,hc->phn", known, attention.q_proj.bias.unflatten(0, (heads, -1))).flatten(1)[..., None]
    if len(keys) == 1:
        scores = (carried.flatten(0, 1) @ (keys + places)[0].T).unflatten(0, (len(carried), -1)) + bias
    else:
        scores = (carried @ places.mT + bias).baddbmm_(carried, keys.mT)
    weights = scores.unflatten(1, (heads, -1)).softmax(dim=2).flatten(1, 2)
    values = attention.v_proj(said).unflatten(-1, (heads, -1))
    carried = torch.einsum("pnhc,dhc->phnd", values, attention.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
    return torch.baddbmm((keys + attention.out_proj.bias).expand(len(weights), -1, -1), weights.mT, carried)


def _drawn(
    decoder: Any, queries: Float[Tensor, "prompts tokens dim"], keys: Float[Tensor, "prompts cells dim"], grid: tuple[int, int]
) -> Float[Tensor, "prompts 3 low_h low_w"]:
    """The masks: each cell becomes 4 x 4 pixels by two steps that see no other cell, so channels stay last until there are but three."""
    pixels = keys
    for step, conv in enumerate((decoder.upscale_conv1, decoder.upscale_conv2)):
        weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)  # dy, dx, channels out
        pixels = functional.linear(pixels, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))
        if step == 0:
            norm = decoder.upscale_layer_norm
            pixels = functional.layer_norm(pixels, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        pixels = functional.gelu(pixels)
    hyper = torch.stack([mlp(queries[:, 1 + place]) for place, mlp in enumerate(decoder.output_hypernetworks_mlps) if place], dim=1)
    rows, cols = grid
    masks = torch.bmm(pixels.flatten(1, 3), hyper.mT).view(len(keys), rows, cols, 2, 2, 2, 2, hyper.shape[1])
    return masks.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(len(keys), hyper.shape[1], 4 * rows, 4 * cols)

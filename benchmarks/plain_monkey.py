"""Monkey's vision as its formulas stand: view after view, scores written out, tables resized at every call. The yardstick of `monkey_views.py`."""

import torch
from torch import Tensor
from torch.nn import functional

from foveal.models import MonkeyForConditionalGeneration

__all__ = ["plain_resampled", "plain_views"]


def plain_views(model: MonkeyForConditionalGeneration, windows: Tensor, wholes: Tensor) -> Tensor:
    """The tokens of one image's windows and of the whole, computed with the model's own parameters and none of its ways."""
    windows, wholes = windows.to(model.dtype), wholes.to(model.dtype)
    return torch.cat([_view(model, view[None], number) for number, view in enumerate(windows)] + [_view(model, wholes, None)], dim=1)[0]


def plain_resampled(connector: torch.nn.Module, hidden: Tensor) -> Tensor:
    """Tokens of one view's patches: queries against keys that know their places, then the norm and the matrix behind."""
    part, count = connector.resampler, hidden.shape[1]
    values = part.ln_kv(part.kv_proj(hidden))
    keys = values + _table(part.positions.weight, count)
    queries = (part.ln_q(part.query) + part.positions.weight)[None]
    (wq, wk, wv), (bq, bk, bv) = part.in_proj.weight.chunk(3), part.in_proj.bias.chunk(3)
    q, k, v = (functional.linear(given, w, b) for given, w, b in ((queries, wq, bq), (keys, wk, bk), (values, wv, bv)))
    found = part.out_proj(_attention(*(one.unflatten(-1, (part.heads, -1)).transpose(1, 2) for one in (q, k, v))))
    return connector.norm(found) @ connector.proj


def _view(model: MonkeyForConditionalGeneration, view: Tensor, number: int | None) -> Tensor:
    tower = model.vision_tower
    hidden = tower.patches(view).flatten(2).transpose(1, 2)
    hidden = tower.ln_pre(hidden + _table(tower.positions.weight, hidden.shape[1]))
    for block in tower.blocks:
        hidden = _block(block, hidden, number)
    return plain_resampled(model.connector, hidden)


def _block(block: torch.nn.Module, hidden: Tensor, number: int | None) -> Tensor:
    normed = block.ln_1(hidden)
    fused = block.qkv(normed) + _adapter(block.qkv_lora, normed, number)
    q, k, v = fused.unflatten(-1, (block.heads, -1)).transpose(1, 2).chunk(3, dim=-1)
    found = _attention(q, k, v)
    hidden = hidden + block.out(found) + _adapter(block.out_lora, found, number)
    return hidden + block.proj(functional.gelu(block.fc(block.ln_2(hidden)))) + _adapter(block.mlp_lora, hidden, number)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def _adapter(lora: torch.nn.Module, given: Tensor, number: int | None) -> Tensor | float:
    if number is None:
        return 0.0
    return functional.linear(functional.linear(given, lora.down[number]), lora.up[number]) * lora.scale[number]


def _table(weight: Tensor, count: int) -> Tensor:
    """A learned square table for a square of `count` patches."""
    side, wanted = round(len(weight) ** 0.5), round(count**0.5)
    if side == wanted:
        return weight
    square = weight.float().view(1, side, side, -1).permute(0, 3, 1, 2)
    large = functional.interpolate(square, (wanted, wanted), mode="bicubic", align_corners=False)
    return large.permute(0, 2, 3, 1).flatten(1, 2).to(weight.dtype)

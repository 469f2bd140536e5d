"""Names of Monkey's published weights and ours. Ours keep the adapters of all windows in one weight; the published layout has one for each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from foveal.models.shards import Weight

__all__ = ["STALE", "Published", "grouped", "published_names", "separated"]

STALE = re.compile(r"transformer\.(h\.\d+\.attn\.)?(rotary_emb\.inv_freq|masked_bias|bias|logn_tensor)")
"""Buffers that some files hold and this language model computes itself."""

_VISUAL = "transformer.visual."
_PAIRS = (
    ("transformer.visual.positional_embedding", "vision_tower.positions.weight"),
    ("transformer.visual.conv1.*", "vision_tower.patches.*"),
    ("transformer.visual.ln_pre.*", "vision_tower.ln_pre.*"),
    ("transformer.visual.transformer.resblocks.#.ln_#.*", "vision_tower.blocks.#.ln_#.*"),
    ("transformer.visual.transformer.resblocks.#.attn.in_proj.*", "vision_tower.blocks.#.qkv.*"),
    ("transformer.visual.transformer.resblocks.#.attn.out_proj.*", "vision_tower.blocks.#.out.*"),
    ("transformer.visual.transformer.resblocks.#.mlp.c_fc.*", "vision_tower.blocks.#.fc.*"),
    ("transformer.visual.transformer.resblocks.#.mlp.c_proj.*", "vision_tower.blocks.#.proj.*"),
    ("transformer.visual.attn_pool.pos_embed", "connector.resampler.positions.weight"),
    ("transformer.visual.attn_pool.attn.in_proj_*", "connector.resampler.in_proj.*"),
    ("transformer.visual.attn_pool.attn.out_proj.*", "connector.resampler.out_proj.*"),
    ("transformer.visual.attn_pool.query", "connector.resampler.query"),
    ("transformer.visual.attn_pool.*.*", "connector.resampler.*.*"),
    ("transformer.visual.ln_post.*", "connector.norm.*"),
    ("transformer.visual.proj", "connector.proj"),
    ("transformer.wte.*", "language_model.transformer.wte.*"),
    ("transformer.ln_f.*", "language_model.transformer.ln_f.*"),
    ("transformer.h.#.ln_#.*", "language_model.transformer.h.#.ln_#.*"),
    ("transformer.h.#.*.*.*", "language_model.transformer.h.#.*.*.*"),
    ("lm_head.*", "language_model.lm_head.*"),
)
"""Published and our names; # stands for a number, * for a word, and both stand for the same in both names."""
_ADAPTER = re.compile(
    r"transformer\.visual\.transformer\.resblocks\.(\d+)\.(attn\.in_proj|attn\.out_proj|mlp)_lora\.(\d+)\.(lora_a\.weight|lora_b\.weight|lora_scale)"
)
_HOSTS = {"attn.in_proj": "qkv", "attn.out_proj": "out", "mlp": "mlp"}
_PARTS = {"lora_a.weight": "down", "lora_b.weight": "up", "lora_scale": "scale"}


@dataclass(frozen=True, slots=True)
class Published:
    """Where a published weight belongs: the name of ours, and, for an adapter, the number of its window."""

    name: str
    window: int | None = None


def published_names(key: str) -> Published | None:
    """Ours for a published name; None for a name that no Monkey has.

    >>> published_names("transformer.visual.transformer.resblocks.3.attn.in_proj_lora.2.lora_a.weight")
    Published(name='vision_tower.blocks.3.qkv_lora.down', window=2)
    """
    if found := _ADAPTER.fullmatch(key):
        block, host, window, part = found.groups()
        return Published(f"vision_tower.blocks.{block}.{_HOSTS[host]}_lora.{_PARTS[part]}", int(window))
    name = _translated(key, _PAIRS)
    return None if name is None else Published(name)


def grouped(weights: Mapping[str, Weight]) -> tuple[list[Weight], list[str]]:
    """Published weights as ours, the adapters of all windows stacked, and the names that belong nowhere.

    ValueError where the windows of an adapter are not numbered from 0 without a gap.
    """
    ours: list[Weight] = []
    stacks: dict[str, dict[int, Weight]] = {}
    odd = []
    for key, weight in weights.items():
        place = published_names(key)
        if place is None:
            odd.append(key)
        elif place.window is None:
            ours.append(replace(weight, name=place.name))
        else:
            stacks.setdefault(place.name, {})[place.window] = weight
    for name, windows in stacks.items():
        if sorted(windows) != list(range(len(windows))):
            raise ValueError(f"{name} has adapters for the windows {sorted(windows)}; 0 to {len(windows) - 1} are wanted.")
        ours.append(_stacked(name, [windows[number] for number in range(len(windows))]))
    return ours, odd


def separated(weights: Sequence[Weight]) -> list[Weight]:
    """The reverse of `grouped`: our weights by their published names, each window's adapter a weight of its own."""
    found = []
    for weight in weights:
        if adapter := re.fullmatch(r"vision_tower\.blocks\.(\d+)\.(qkv|out|mlp)_lora\.(down|up|scale)", weight.name):
            block, host, part = adapter.groups()
            stem = f"{_VISUAL}transformer.resblocks.{block}.{_back(_HOSTS, host)}_lora"
            found += [_window(weight, f"{stem}.{number}.{_back(_PARTS, part)}", number) for number in range(weight.shape[0])]
        else:
            if (name := _translated(weight.name, [(ours, published) for published, ours in _PAIRS])) is None:
                raise ValueError(f"{weight.name} is no weight of a Monkey over Qwen-VL's encoder and Qwen-7B.")
            found.append(replace(weight, name=name))
    return found


def _stacked(name: str, windows: Sequence[Weight]) -> Weight:
    first, scalar = windows[0], windows[0].shape == (1,)

    def read(start: int = 0, stop: int | None = None) -> Tensor:
        parts = [window.read() for window in windows[start:stop]]
        return torch.cat(parts) if scalar else torch.stack(parts)

    return Weight(name, first.dtype, (len(windows),) if scalar else (len(windows), *first.shape), read)


def _window(weight: Weight, name: str, number: int) -> Weight:
    if len(weight.shape) == 1:
        return Weight(name, weight.dtype, (1,), partial(_rows, weight, number, scalar=True))
    return Weight(name, weight.dtype, weight.shape[1:], partial(_rows, weight, number))


def _rows(weight: Weight, number: int, start: int = 0, stop: int | None = None, *, scalar: bool = False) -> Tensor:
    window = weight.read(number, number + 1)
    return window if scalar else window[0, start:stop]


def _translated(name: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    for pattern, other in pairs:
        if found := re.fullmatch(re.escape(pattern).replace(r"\*", r"(\w+)").replace(r"\#", r"(\d+)"), name):
            return re.sub(r"[*#]", "{}", other).format(*found.groups())
    return None


def _back(names: Mapping[str, str], value: str) -> str:
    return next(key for key, other in names.items() if other == value)

"""Monkey's adapters as folders that PEFT reads and writes: `tile_0`, `tile_1`, …, one for each window."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.models.monkey.model import MonkeyForConditionalGeneration
from foveal.models.shards import read_json
from foveal.vision import GroupedLora, QwenVisionConfig, QwenVisionModel

__all__ = ["export_adapters", "import_adapters", "plain_tower"]

_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_HOSTS = {"qkv": "qkv_lora", "out": "out_lora", "beside": "mlp_lora"}
"""The layer of a plain tower's block that carries an adapter, and our adapter's name. The last need not be there: no weight hosts it."""


def export_adapters(model: MonkeyForConditionalGeneration | QwenVisionModel, folder: str | PathLike[str]) -> None:
    """Write the adapters of a Monkey, or of its encoder alone, as PEFT folders: `tile_k` for window k, in float32.

    A learned scale has no place in PEFT's format and is multiplied into B; alpha is the rank, so that PEFT's own factor is 1. What window k
    sees is then `peft.PeftModel.from_pretrained(plain_tower(model), folder / "tile_k")`. ValueError for a model without adapters, and for a
    folder that holds adapters for more windows.

    >>> from tempfile import TemporaryDirectory
    >>> config = QwenVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, adapters=2)
    >>> with TemporaryDirectory() as folder:
    ...     export_adapters(QwenVisionModel(config), folder)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['tile_0', 'tile_1']
    """
    tower = _adapted(model)
    surplus = [path for path in Path(folder).glob("tile_*") if int(path.name[5:] if path.name[5:].isdecimal() else 0) >= tower.config.adapters]
    if surplus:
        raise ValueError(f"{folder} holds {surplus[0].name} of another model, which has more adapters than {tower.config.adapters}.")
    for number in range(tower.config.adapters):
        tile = Path(folder) / f"tile_{number}"
        tile.mkdir(parents=True, exist_ok=True)
        weights: dict[str, Tensor] = {}
        for name, lora in _adapters(tower):
            down, up, scale = (part[number].detach().float().cpu() for part in (lora.down, lora.up, lora.scale))
            weights |= {_key(name, "A"): down.contiguous(), _key(name, "B"): (up * scale).contiguous()}
        save_file(weights, tile / _WEIGHTS, {"format": "pt"})
        (tile / _SETTINGS).write_text(json.dumps(_settings(tower.config), indent=2) + "\n")


def import_adapters(model: MonkeyForConditionalGeneration | QwenVisionModel, folder: str | PathLike[str]) -> None:
    """Read `tile_0`, `tile_1`, … of a folder into the adapters of a model; alpha / rank goes into B, and the scales become 1.

    An adapter that has nothing beside the MLP, as one on the linear layers alone, adds nothing there. ValueError, before anything is changed,
    for a folder that is not there, for more or fewer tiles than the model has adapters, for other ranks, and for what is no plain LoRA.

    >>> from tempfile import TemporaryDirectory
    >>> tower = QwenVisionModel(QwenVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, adapters=2))
    >>> with TemporaryDirectory() as folder:
    ...     export_adapters(tower, folder)
    ...     import_adapters(tower, folder)
    """
    tower = _adapted(model)
    tiles = [_read(tile, tower) for tile in _tiles(Path(folder), tower.config.adapters)]
    with torch.no_grad():
        for number, tile in enumerate(tiles):
            for name, lora in _adapters(tower):
                lora.scale[number] = 1.0
                if name in tile:
                    lora.down[number], lora.up[number] = (part.to(lora.up) for part in tile[name])
                else:
                    lora.up[number] = 0.0


def plain_tower(model: MonkeyForConditionalGeneration | QwenVisionModel) -> QwenVisionModel:
    """The model's encoder without its adapters, over the same weights: what sees the whole picture, and what PEFT puts an adapter on.

    Each block's `qkv`, `out` and `beside` are where the three kinds go. ValueError for a model over another encoder.

    >>> tower = QwenVisionModel(QwenVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, adapters=2))
    >>> plain = plain_tower(tower)
    >>> plain.config.adapters, plain.blocks[0].beside
    (0, AdapterHost(in_features=8, out_features=8, bias=False))
    """
    tower = _encoder(model)
    config = deepcopy(tower.config)
    config.adapters = 0
    with torch.device("meta"):
        plain = QwenVisionModel(config)
    plain.load_state_dict({name: value for name, value in tower.state_dict().items() if "_lora." not in name}, assign=True)
    return plain.to(tower.device, tower.dtype).train(tower.training)


def _encoder(model: MonkeyForConditionalGeneration | QwenVisionModel) -> QwenVisionModel:
    tower = model if isinstance(model, QwenVisionModel) else model.vision_tower
    if not isinstance(tower, QwenVisionModel):
        raise ValueError(f"the encoder of this model is {model.config.vision_config.model_type}; only Qwen-VL's takes adapters for windows.")
    return tower


def _adapted(model: MonkeyForConditionalGeneration | QwenVisionModel) -> QwenVisionModel:
    tower = _encoder(model)
    if not tower.config.adapters:
        raise ValueError("this model has no adapters; one whose vision_config.adapters is 1 or more is wanted.")
    return tower


def _adapters(tower: QwenVisionModel) -> Iterator[tuple[str, GroupedLora]]:
    """The name of each host in a plain tower, and the adapters that belong to it."""
    for number, block in enumerate(tower.blocks):
        for host, ours in _HOSTS.items():
            yield f"blocks.{number}.{host}", getattr(block, ours)


def _key(name: str, part: str) -> str:
    return f"base_model.model.{name}.lora_{part}.weight"


def _settings(config: QwenVisionConfig) -> dict[str, Any]:
    """What PEFT wants to know of an adapter; everything else is as it is by default."""
    beside = {"beside": config.mlp_rank}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "target_modules": rf"blocks\.\d+\.({'|'.join(_HOSTS)})",
        "r": config.attention_rank,
        "lora_alpha": config.attention_rank,
        "rank_pattern": beside,
        "alpha_pattern": beside,
        "lora_dropout": config.adapter_dropout,
        "bias": "none",
    }


def _tiles(folder: Path, count: int) -> list[Path]:
    """The folders of so many adapters, in order."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; one that holds tile_0 to tile_{count - 1} is wanted.")
    found = {path.name for path in folder.iterdir() if re.fullmatch(r"tile_\d+", path.name)}
    wanted = [f"tile_{number}" for number in range(count)]
    if found != set(wanted):
        raise ValueError(f"{folder} holds {len(found)} adapters ({', '.join(sorted(found))}), and the model has {count}: {', '.join(wanted)}.")
    return [folder / name for name in wanted]


def _read(tile: Path, tower: QwenVisionModel) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of each host, with PEFT's factor in B."""
    if missing := [name for name in (_SETTINGS, _WEIGHTS) if not (tile / name).is_file()]:
        raise ValueError(f"{tile} holds no {' and no '.join(missing)}: it is no adapter of PEFT's.")
    settings = read_json(tile / _SETTINGS)
    try:
        weights = load_file(tile / _WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{tile / _WEIGHTS} cannot be read: {error}") from error
    if settings.get("peft_type") != "LORA":
        raise ValueError(f"{tile} holds an adapter of the type {settings.get('peft_type')!r}; LORA is wanted.")
    hosts = {name: lora for name, lora in _adapters(tower) if not name.endswith("beside") or any(".beside." in key for key in weights)}
    wanted = {_key(name, part) for name in hosts for part in "AB"}
    if wanted != set(weights):
        odd = ", ".join(sorted(wanted ^ set(weights))[:3])
        raise ValueError(f"{tile} is no LoRA of every block's qkv and out, and of nothing or beside{f'; it differs in {odd}' * bool(odd)}.")
    return {name: _pair(tile, name, lora, weights, settings) for name, lora in hosts.items()}


def _pair(tile: Path, name: str, lora: GroupedLora, weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    down, up = weights[_key(name, "A")], weights[_key(name, "B")]
    rank = len(down)
    if rank != lora.down.shape[1]:
        raise ValueError(f"{name} of {tile} has rank {rank}, and the model's adapters have rank {lora.down.shape[1]} there.")
    if down.shape != lora.down.shape[1:] or up.shape != lora.up.shape[1:]:
        given, wanted = (f"{tuple(a)} and {tuple(b)}" for a, b in ((down.shape, up.shape), (lora.down.shape[1:], lora.up.shape[1:])))
        raise ValueError(f"{name} of {tile} has weights of the shapes {given}; the model's are {wanted}.")
    patterns = (settings.get("alpha_pattern") or {}).items()
    alpha = next((value for key, value in patterns if re.fullmatch(rf"(.*\.)?({key})", name)), settings.get("lora_alpha", 8))
    return down, up.float() * (alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank))

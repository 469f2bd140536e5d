"""What the published layouts (ml-ferret v1, Ferret-UI) write into `config.json`, as ours, and back; and the names of their weights."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, CLIPVisionConfig

from foveal.models.conversion import own_fields
from foveal.models.ferret.config import FerretConfig
from foveal.models.shards import read_json

__all__ = ["ferret_fields", "known_name", "language_fields", "published_settings", "vision_fields"]

_KNOWN_TOWER = "clip-vit-large-patch14-336"
"""The encoder of all published weights: `FerretConfig`'s default."""
_NAMES = (
    (r"sampler\.blocks\.(\d+)\.difference\.(.+)", r"model.region_geo_sampler.diff_projector_list.\1.\2"),
    (r"sampler\.blocks\.(\d+)\.aggregation\.(.+)", r"model.region_geo_sampler.agg_projector_list.\1.net.0.\2"),
    (r"sampler\.blocks\.(\d+)\.norm\.(.+)", r"model.region_geo_sampler.agg_projector_list.\1.norm.\2"),
    (r"sampler\.flatten\.(.+)", r"model.region_geo_sampler.flatten_projector.\1"),
    (r"sampler\.output\.(.+)", r"model.region_geo_sampler.dim_projector.\1"),
    (r"sampler\.projection\.(.+)", r"model.region_fea_adapter.\1"),
    (r"image_newline", r"model.image_newline"),
    (r"overview_tower\.backbone\.(.+)", r"model.vision_tower.vision_tower.vision_model.\1"),
    (r"language_model\.(.+)", r"\1"),
)


def known_name(name: str, projector: str) -> str | None:
    """The published name of one of our weights, or None for one that the published layouts have no place for.

    >>> known_name("projector.0.weight", "linear"), known_name("local_projector.0.weight", "linear")
    ('model.mm_projector.weight', None)
    """
    if name.startswith("projector."):
        return name.replace("projector.0" if projector == "linear" else "projector", "model.mm_projector", 1)
    for ours, published in _NAMES:
        if found := re.fullmatch(ours, name):
            return found.expand(published)
    return None


def vision_fields(settings: Mapping[str, Any], folder: Path | None) -> dict[str, Any] | None:
    """The encoder's configuration from the `config.json` of its folder; None, which stands for the usual CLIP, if there is no folder.

    ValueError for another encoder than a CLIP, and for one that is not the usual and has no folder.
    """
    named = str(settings.get("mm_vision_tower") or "")
    if folder is None:
        if named.rstrip("/").rpartition("/")[2] != _KNOWN_TOWER:
            raise ValueError(f"the checkpoint was trained with the image encoder {named!r}: give its folder (--clip).")
        return None
    said = read_json(folder / "config.json")
    said = {**said, **said["vision_config"]} if said.get("model_type") == "clip" and said.get("vision_config") else said
    if said.get("model_type") not in ("clip", "clip_vision_model"):
        raise ValueError(f"{folder} holds a {said.get('model_type')!r}; a CLIP image encoder is wanted.")
    return {"model_type": "clip_vision_model", **own_fields(CLIPVisionConfig, said)}


def language_fields(settings: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """The language model's configuration out of a published `config.json`, for as many tokens as its weights have rows.

    ValueError for a `model_type` that is not `ferret` or `ferret_` and one of transformers' language models.
    """
    kind = str(settings.get("model_type"))
    family = "llama" if kind == "ferret" else kind.removeprefix("ferret_")
    if not kind.startswith("ferret") or family not in CONFIG_MAPPING:
        raise ValueError(f"config.json names the model_type {kind!r}; 'ferret' is wanted, or 'ferret_llama', 'ferret_gemma' and the like.")
    fields = {"model_type": family, **own_fields(CONFIG_MAPPING[family], settings)}
    fields |= {name: settings[name] for name in ("rope_theta", "rope_scaling") if settings.get(name) is not None}
    if "num_attention_heads" not in fields and "num_attention_head" in settings:  # as one released file spells it
        fields["num_attention_heads"] = settings["num_attention_head"]
    pad = fields.get("pad_token_id")
    return fields | {"vocab_size": vocabulary, "pad_token_id": pad if isinstance(pad, int) and 0 <= pad < vocabulary else None}


def ferret_fields(settings: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Our other fields out of a published `config.json`; `side` is that of the encoder's input in pixels.

    ValueError for what no released model uses and this one does not know: padded or cropped images, start and end tokens around images,
    the class token among the features, projectors of another kind.
    """
    _check(settings, "image_aspect_ratio", ("square_nocrop", "anyres"))
    _check(settings, "mm_projector_type", ("linear", "mlp2x_gelu", None))
    _check(settings, "mm_vision_select_feature", ("patch", None))
    _check(settings, "sampler_pooler_mode", ("max", "mean", None))
    _check(settings, "mm_use_im_start_end", (False, None))
    any_resolution = settings["image_aspect_ratio"] == "anyres"
    if any_resolution:
        _check(settings, "mm_patch_merge_type", ("spatial", "spatial_unpad"))
    adapters = [ours for ours, theirs in (("sampler", "region_geo_sampler"), ("average", "region_fea_adapter")) if settings.get(theirs)]
    return {
        "overview_side": side,
        "tile_side": side,
        "grids": _grids(settings.get("image_grid_pinpoints"), side) if any_resolution else [],
        "select_layer": settings.get("mm_vision_select_layer", -2),
        "merge": settings["mm_patch_merge_type"] if any_resolution else "spatial",
        "projector": settings.get("mm_projector_type") or "linear",
        "region_adapter": adapters[0] if adapters else "none",
        "region_map": "fused" if any_resolution else "overview",
        "sampler_pooling": settings.get("sampler_pooler_mode") or "max",
        "sampler_read": "transposed",
        "context_length": settings.get("tokenizer_model_max_length") or 2048,
        "template": _template(settings),
    }


def published_settings(config: FerretConfig) -> dict[str, Any]:
    """The `config.json` of a published layout for one of our configurations. ValueError for a model that these layouts cannot hold."""
    wanted = {"sampler_read": "transposed", "region_source": "encoder", "map_fusion": "add", "map_adapters": False, "position_cells": 0}
    wanted |= {"sampler_points": 512, "sampler_anchors": [128, 32], "sampler_neighbours": 24}
    wanted |= {"region_map": "fused" if config.grids else "overview", "overview_side": config.vision_config.image_size}
    wanted |= {"tile_side": config.overview_side, "bins": 1000, "coordinates": True, "features": True}
    if config.local_vision_config is not None:
        raise ValueError("the published layouts hold no model with a second encoder for tiles (local_vision_config).")
    if other := [name for name, value in wanted.items() if getattr(config, name) != value]:
        raise ValueError(f"the published layouts hold no model with {other[0]}={getattr(config, other[0])!r}; {wanted[other[0]]!r} is wanted.")
    words, side = config.text_config, config.tile_side
    settings = own_fields(type(words), words.to_dict())
    rope = settings.pop("rope_parameters", None) or {}
    settings |= {"rope_theta": rope.get("rope_theta", 10000.0)}
    if rope.get("rope_type", "default") != "default":
        settings["rope_scaling"] = {name: value for name, value in rope.items() if name != "rope_theta"}
    kind = "ferret" if not config.grids and words.model_type == "llama" else f"ferret_{words.model_type}"
    settings |= {
        "model_type": kind,
        "mm_vision_tower": "vision_tower",
        "mm_hidden_size": config.vision_dim,
        "mm_vision_select_layer": config.select_layer,
        "mm_vision_select_feature": "patch",
        "mm_projector_type": config.projector,
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "im_region_fea_token": config.region_token_id,
        "image_aspect_ratio": "anyres" if config.grids else "square_nocrop",
        "tokenizer_model_max_length": config.context_length,
        "sampler_pooler_mode": config.sampler_pooling,
        "foveal_template": config.template,
    }
    if config.region_adapter != "none":
        settings["region_geo_sampler" if config.region_adapter == "sampler" else "region_fea_adapter"] = True
    if config.grids:
        settings["image_grid_pinpoints"] = [[columns * side, rows * side] for columns, rows in config.grids]
        settings["mm_patch_merge_type"] = config.merge
    return settings


def _check(settings: Mapping[str, Any], name: str, known: tuple[Any, ...]) -> None:
    if settings.get(name) not in known:
        wanted = " or ".join(repr(value) for value in known if value is not None)
        raise ValueError(f"config.json says {name}={settings.get(name)!r}; {wanted} is wanted.")


def _grids(pinpoints: Any, side: int) -> list[list[int]]:
    try:
        sizes = json.loads(pinpoints) if isinstance(pinpoints, str) else pinpoints
        grids = [[int(width) // side, int(height) // side] for width, height in sizes]
        exact = [[columns * side, rows * side] for columns, rows in grids] == [[int(width), int(height)] for width, height in sizes]
    except (TypeError, ValueError):
        exact, grids = False, []
    if not exact or not grids:
        raise ValueError(f"config.json says image_grid_pinpoints={pinpoints!r}; (width, height) pairs that {side} divides are wanted.")
    return grids


def _template(settings: Mapping[str, Any]) -> str:
    if named := settings.get("foveal_template"):
        return str(named)
    match settings.get("model_type"):
        case "ferret":
            return "ferret_v1"
        case "ferret_gemma":
            return "ferret_gemma_instruct"
        case "ferret_phi3":
            return "ferret_phi3_instruct"
        case _:
            return "ferret_llama_3" if settings.get("vocab_size", 0) > 100_000 else "ferret_vicuna_v1"

"""The configuration of a released PixelLLM: what the names and shapes of its parameters tell, and the release's values for the rest."""

import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from foveal.models.pixel_llm.config import PixelLLMConfig
from foveal.vision.proposals import NOMINAL_STRIDES, BoxDecoder

__all__ = ["field_differences", "joined_fields", "released_config"]

_HEAD = 64
"""Channels of a head in EVA-02-L and in the prefix language model, whose parameters do not tell how many heads there are."""
_NESTED = ("vision_config", "place_config", "text_config", "detector")

_UNSAID = ("architectures", "dtype", "transformers_version", "_name_or_path")
"""Values of a configuration that change nothing about the model."""

_Shapes = Mapping[str, tuple[int, ...]]


def released_config(shapes: _Shapes, fields: Mapping[str, Any] | None = None) -> PixelLLMConfig:
    """The configuration of a model with parameters of these `shapes`, under the release's names.

    `fields` change any of its fields; of the fields that are configurations themselves, they may give some: `{"text_config":
    {"num_attention_heads": 4}}`. What does not show in parameters is as in the release: heads of 64 channels, the tokens of BERT and of T5,
    384 pixels, its rule against repeats, its uniform rows in T5, its nominal strides in the detector, its scores of boxes alone. ValueError
    for parameters of which a whole part is missing.
    """
    try:
        told: dict[str, Any] = {
            "vision_config": _eva(shapes),
            "text_config": _t5(shapes) if _t5_there(shapes) else _bert(shapes),
            **({"place_config": _sam(shapes)} if _has(shapes, "sam_backbone") else {"two_towers": False}),
            **_prompting(shapes),
            **_heads(shapes),
            "uniform_rows": _t5_there(shapes),
            "forbid_repeats": True,
            "fuses_scores": False,
        }
    except (KeyError, IndexError) as error:
        raise ValueError(f"the parameters hold no {error.args[0]}: they are not those of a whole PixelLLM.") from error
    return PixelLLMConfig(**joined_fields(told, fields or {}))


def joined_fields(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields and changes of them; of what is a configuration itself, single fields may change.

    >>> joined_fields({"side": 384, "text_config": {"vocab_size": 9}}, {"text_config": {"hidden_size": 8}})
    {'side': 384, 'text_config': {'vocab_size': 9, 'hidden_size': 8}}
    """
    parts = {
        name: {**fields[name], **changes[name]} for name in _NESTED if isinstance(fields.get(name), dict) and isinstance(changes.get(name), dict)
    }
    return {**fields, **changes, **parts}


def field_differences(config: PixelLLMConfig, told: PixelLLMConfig) -> dict[str, Any]:
    """The `fields` with which `released_config` gives `config` and not `told`. ValueError where that is impossible: another kind of tower or words.

    >>> field_differences(PixelLLMConfig(side=224), PixelLLMConfig())
    {'side': 224}
    """
    found: dict[str, Any] = {}
    ours, theirs = (_plain(given) for given in (config, told))
    for name, mine in ours.items():
        other = theirs.get(name)
        if name in _NESTED and isinstance(mine, dict):
            other = other or {}
            if mine.get("model_type") != other.get("model_type"):
                raise ValueError(f"the release has no {name} of the kind {mine.get('model_type')!r}; {other.get('model_type')!r} is wanted.")
            mine, other = {part: value for part, value in mine.items() if value != other.get(part) and part not in _UNSAID}, {}
        if mine != other and name not in _UNSAID:
            found[name] = mine
    return found


def _plain(config: PixelLLMConfig) -> dict[str, Any]:
    """All fields as JSON has them; the detector's with those that were not given."""
    said = json.loads(json.dumps(config.to_dict()))
    usual = {name: known.default for name, known in inspect.signature(BoxDecoder.__init__).parameters.items() if known.default is not known.empty}
    if said["detector"] is not None:
        said["detector"] = json.loads(json.dumps(usual)) | said["detector"]
    return said


def _eva(shapes: _Shapes) -> dict[str, Any]:
    width = shapes["git_backbone/cls_token"][-1]
    return {
        "model_type": "eva02_vision",
        "hidden_size": width,
        "intermediate_size": shapes["git_backbone/blocks.0/mlp/w1/bias"][0],
        "num_hidden_layers": _count(shapes, r"git_backbone/blocks\.(\d+)/"),
        "num_attention_heads": max(1, width // _HEAD),
        "patch_size": shapes["git_backbone/patch_embed.proj/kernel"][0],
        "position_cells": math.isqrt(shapes["git_backbone/pos_embed"][1] - 1),
        "final_norm": "git_backbone/ln_post/scale" in shapes,
    }


def _sam(shapes: _Shapes) -> dict[str, Any]:
    """Tables of relative positions tell a head's width and, by their length, which blocks look through windows, and how wide those are."""
    side, width = shapes["sam_backbone/pos_embed"][1], shapes["sam_backbone/pos_embed"][3]
    depth, patch = _count(shapes, r"sam_backbone/blocks\.(\d+)/"), shapes["sam_backbone/patch_embed.proj/kernel"][0]
    tables = [shapes[f"sam_backbone/blocks.{block}/attn/rel_pos_h"] for block in range(depth)]
    whole = [block for block, (length, _) in enumerate(tables) if length == 2 * side - 1]
    windows = [(length + 1) // 2 for length, _ in tables if length != 2 * side - 1]
    return {
        "model_type": "sam_vision_model",
        "hidden_size": width,
        "mlp_dim": shapes["sam_backbone/blocks.0/mlp/lin1/bias"][0],
        "num_hidden_layers": depth,
        "num_attention_heads": width // tables[0][1],
        "patch_size": patch,
        "image_size": side * patch,
        "output_channels": shapes["sam_backbone/neck/1/scale"][0],
        "window_size": windows[0] if windows else side,
        "global_attn_indexes": whole,
    }


def _bert(shapes: _Shapes) -> dict[str, Any]:
    words, width = shapes["textual/embedding/words/embedding"]
    return {
        "model_type": "bert",
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": _count(shapes, r"textual/transformer/encoder/layer\.(\d+)/"),
        "num_attention_heads": max(1, width // _HEAD),
        "intermediate_size": shapes["textual/transformer/encoder/layer.0/intermediate/dense/bias"][0],
        "max_position_embeddings": shapes["textual/embedding/positions/embedding"][0],
        "pad_token_id": 0,
        **({"bos_token_id": 101, "eos_token_id": 102} if words > 102 else {}),
    }


def _t5(shapes: _Shapes) -> dict[str, Any]:
    stem = "textual/t5_module"
    words, width = shapes[f"{stem}/token_embedder/embedding"]
    heads, buckets = shapes[f"{stem}/encoder/relpos_bias/rel_embedding"]
    return {
        "model_type": "t5",
        "vocab_size": words,
        "d_model": width,
        "d_kv": shapes[f"{stem}/encoder/layers_0/attention/query/kernel"][1] // heads,
        "d_ff": shapes[f"{stem}/encoder/layers_0/mlp/wi_0/kernel"][1],
        "num_layers": _count(shapes, rf"{stem}/encoder/layers_(\d+)/"),
        "num_decoder_layers": _count(shapes, rf"{stem}/decoder/layers_(\d+)/"),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }


def _prompting(shapes: _Shapes) -> dict[str, Any]:
    """Prompts, what visual tokens are made of, and the rank of T5's adapters."""
    queries, width = shapes["prompt_adapter/output_tokens.weight"]
    factors = [shape for name, shape in shapes.items() if name.endswith("/kernel_left_lora")]
    return {
        "prompt_dim": shapes["prompt_encoder/no_mask_embed.weight"][1],
        "extractor_width": width,
        "extractor_depth": _count(shapes, r"prompt_adapter/transformer/layers\.(\d+)/"),
        "extractor_mlp": shapes["prompt_adapter/transformer/layers.0/mlp/lin1/bias"][0],
        "queries": queries,
        "visual_dim": shapes["prompt_adapter/output_hypernetworks_mlps.0/layers.0/bias"][0],
        "dense_out": "prompt_adapter/dense_output_mlp/layers.0/bias" in shapes,
        **({"lora_rank": factors[0][1], "lora_alpha": 2.0 * factors[0][1]} if factors else {}),
    }


def _heads(shapes: _Shapes) -> dict[str, Any]:
    """Heads that are there, and how long the texts of their recipes are."""
    found: dict[str, Any] = {"location_points": 0}
    if _has(shapes, "point_predictor"):
        depth = _count(shapes, r"point_predictor/mlp/layers\.(\d+)/")
        points = shapes[f"point_predictor/mlp/layers.{depth - 1}/bias"][0] // 4
        found = {"location_points": points, "location_depth": depth, "location_hidden": shapes["point_predictor/mlp/layers.0/bias"][0]}
    if _has(shapes, "mask_decoder"):
        found |= {"segments": True, "masks_read_padding": True, "mask_mlp": shapes["mask_decoder/transformer/layers.0/mlp/lin1/bias"][0]}
        found |= {"mask_hidden": shapes["mask_decoder/iou_prediction_head/layers.0/bias"][0]}
    if _has(shapes, "box_decoder"):
        found |= {"detector": _detector(shapes)}
    lengths = {
        (False, True): (40, 8),
        (True, False): (40, 40),
    }  # referring and its masks; dense captions alone; else narratives and the joint recipes
    length, context = lengths.get((_has(shapes, "mask_decoder"), _has(shapes, "box_decoder")), (128, 32))
    return found | {"text_length": length, "context_length": context}


def _detector(shapes: _Shapes) -> dict[str, Any]:
    stem = "box_decoder"
    return {
        "width": shapes[f"{stem}/proposal_generator/agn_hm/kernel"][2],
        "up": shapes[f"{stem}/fpn/simfp_3.0/bias"][0],
        "layers": sum(re.fullmatch(rf"{stem}/proposal_generator/bbox_tower/\d+/kernel", name) is not None for name in shapes),
        "hidden": [shapes[f"{stem}/roi_heads/box_head.0/fc{number}/bias"][0] for number in (1, 2)],
        "strides": list(NOMINAL_STRIDES),
        "detections": 32 if _has(shapes, "point_predictor") else 100,
    }


def _has(shapes: _Shapes, part: str) -> bool:
    return any(name.startswith(f"{part}/") for name in shapes)


def _t5_there(shapes: _Shapes) -> bool:
    return _has(shapes, "textual/t5_module")


def _count(names: Iterable[str], pattern: str) -> int:
    """How many layers are numbered in names: one more than the largest number."""
    numbers = [int(found[1]) for name in names if (found := re.match(pattern, name))]
    return max(numbers) + 1 if numbers else 0

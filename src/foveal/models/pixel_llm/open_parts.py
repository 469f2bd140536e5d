"""Weights of parts as they are published in the open (EVA-02, SAM, BERT, T5), under the names that they have in a PixelLLM."""

import math
import re
from collections.abc import Mapping
from itertools import dropwhile
from typing import Any

import torch
from torch import Tensor
from transformers import BertModel, SamModel, T5ForConditionalGeneration

from foveal.models.conversion import listed
from foveal.models.shards import Weight
from foveal.vision import EvaVisionConfig, EvaVisionModel

__all__ = ["bert_weights", "eva_parts", "sam_weights", "t5_weights"]

_HEAD = 64
"""Channels of a head in every EVA-02 that is published; its weights do not tell how many heads there are."""
_TRUNKS = ("visual.trunk.", "visual.", "")
"""What stands before an image encoder's names: in OpenCLIP, in the authors' CLIP, in timm."""
_BLOCK = r"blocks\.(\d+)"
_EVA: Mapping[str, str] = {
    r"cls_token": "class_token",
    r"pos_embed": "positions",
    r"patch_embed\.proj\.(\w+)": "patches.{}",
    rf"{_BLOCK}\.norm(\d)\.(\w+)": "blocks.{}.norm_{}.{}",
    rf"{_BLOCK}\.attn\.([qkv])_proj\.(\w+)": "blocks.{}.{}_proj.{}",
    rf"{_BLOCK}\.attn\.([qv])_bias": "blocks.{}.{}_proj.bias",
    rf"{_BLOCK}\.attn\.(?:norm|inner_attn_ln)\.(\w+)": "blocks.{}.attention_norm.{}",
    rf"{_BLOCK}\.attn\.proj\.(\w+)": "blocks.{}.out_proj.{}",
    rf"{_BLOCK}\.mlp\.(?:fc1_g|w1)\.(\w+)": "blocks.{}.gate_proj.{}",
    rf"{_BLOCK}\.mlp\.(?:fc1_x|w2)\.(\w+)": "blocks.{}.up_proj.{}",
    rf"{_BLOCK}\.mlp\.(?:fc2|w3)\.(\w+)": "blocks.{}.down_proj.{}",
    rf"{_BLOCK}\.mlp\.(?:norm|ffn_ln)\.(\w+)": "blocks.{}.inner_norm.{}",
    r"norm\.(\w+)": "norm.{}",
}
"""Names of timm, or else of the authors, and ours."""
_NO_PART = re.compile(r"(head|lm_head|fc_norm)\.(weight|bias)|mask_token|(.+\.)?rope\..+|text\..+|logit_scale|logit_bias")
"""What is published beside the encoder: heads and their norms, the token of what is masked, tables of rotations, CLIP's texts."""
_SAM: Mapping[str, str] = {
    r"shared_image_embedding\.positional_embedding": "location_prompts.frequencies",
    r"prompt_encoder\.point_embed\.0\.weight": "location_prompts.negative",
    r"prompt_encoder\.point_embed\.1\.weight": "location_prompts.positive",
    r"prompt_encoder\.point_embed\.2\.weight": "location_prompts.first_corner",
    r"prompt_encoder\.point_embed\.3\.weight": "location_prompts.last_corner",
    r"prompt_encoder\.not_a_point_embed\.weight": "location_prompts.not_a_point",
    r"prompt_encoder\.no_mask_embed\.weight": "location_prompts.no_mask",
    r"vision_encoder\.(.+)": "towers.towers.1.{}",
    r"mask_decoder\.(.+)": "mask_decoder.{}",
}
_BERT: Mapping[str, str] = {
    r"embeddings\.word_embeddings\.weight": "writer.words.weight",
    r"embeddings\.position_embeddings\.weight": "writer.positions.weight",
    r"embeddings\.LayerNorm\.(\w+)": "writer.norm.{}",
    r"encoder\.layer\.(\d+)\.(.+)": "writer.layers.{}.{}",
}
_T5: Mapping[str, str] = {
    r"shared\.weight": "writer.words.weight",
    r"(encoder|decoder)\.((?:block|final_layer_norm)\..+)": "writer.{}.{}",
    r"lm_head\.weight": "writer.head.weight",
}


def eva_parts(weights: Mapping[str, Weight]) -> tuple[EvaVisionConfig, dict[str, Tensor], list[str]]:
    """An EVA-02 by the names of timm, OpenCLIP or its authors: its configuration, its weights in float32 by our names, and what is left out.

    Rows and columns are counted on a length of 16 for the rotation, as these weights were trained. Where the norm of all tokens is missing,
    the one in front of a head takes its place, which that of masked pre-training is. ValueError for other models: all names and shapes have
    to be those of an `EvaVisionModel` with a gated MLP, a norm inside it, and queries, keys and values by themselves: EVA-02's base and large.
    """
    trunk = next((trunk for trunk in _TRUNKS if f"{trunk}pos_embed" in weights), None)
    if trunk is None:
        raise ValueError("the weights hold no pos_embed: an EVA-02 by the names of timm, of OpenCLIP or of its authors is wanted.")
    own = {name.removeprefix(trunk): weight for name, weight in weights.items() if name.startswith(trunk)}
    if not any(name.startswith("norm.") for name in own):
        own = {name.removeprefix("fc_"): weight for name, weight in own.items()}
    found = {ours: weight for name, weight in own.items() if (ours := _renamed(name, _EVA))}
    left = sorted(weights.keys() - {weight.name for weight in found.values()})
    odd = [name for name in left if not _NO_PART.fullmatch(name.removeprefix(trunk))]
    config = _eva_config({name: weight.shape for name, weight in found.items()})
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in EvaVisionModel(config).state_dict().items()}
    shapes = {name: tuple(dropwhile((1).__eq__, weight.shape)) for name, weight in found.items()}
    misshapen = [name for name in found.keys() & wanted.keys() if shapes[name] != wanted[name]]
    _refuse({"missing": [*(wanted.keys() - found.keys())], "superfluous": [*odd, *(found.keys() - wanted.keys())], "of another shape": misshapen})
    return config, {name: weight.read().float().view(wanted[name]) for name, weight in found.items()}, left


def sam_weights(sam: SamModel) -> dict[str, Tensor]:
    """SAM's encoder, codes of prompts and mask decoder in a PixelLLM; how it reads masks as prompts, PixelLLM does not have."""
    found = _all_renamed(sam.state_dict(), _SAM)
    return {name: value[0] if name.startswith("location_prompts.") and "frequencies" not in name else value for name, value in found.items()}


def bert_weights(bert: BertModel, layers: int) -> dict[str, Tensor]:
    """Words, positions and the first `layers` of BERT in a prefix language model, whose output begins anew.

    BERT adds the same vector to every token of a first sentence; here it is in the positions.
    """
    given = bert.state_dict()
    deeper = tuple(f"encoder.layer.{number}." for number in range(layers, bert.config.num_hidden_layers))
    found = _all_renamed({name: value for name, value in given.items() if not name.startswith(deeper)}, _BERT)
    found["writer.positions.weight"] = found["writer.positions.weight"] + given["embeddings.token_type_embeddings.weight"][0]
    return found


def t5_weights(t5: T5ForConditionalGeneration) -> dict[str, Tensor]:
    """A T5's weights in a PixelLLM. Where it scales what its output reads, as T5 1.0 does, the output's own weights are scaled here."""
    found, config = _all_renamed(t5.state_dict(), _T5), t5.config
    if config.scale_decoder_outputs:
        found["writer.head.weight"] = found["writer.head.weight"] * config.d_model**-0.5
    return found


def _all_renamed(given: Mapping[str, Tensor], rules: Mapping[str, str]) -> dict[str, Tensor]:
    return {ours: value for name, value in given.items() if (ours := _renamed(name, rules))}


def _renamed(name: str, rules: Mapping[str, str]) -> str | None:
    """Our name for one of theirs; None where no rule has it."""
    return next((ours.format(*found.groups()) for theirs, ours in rules.items() if (found := re.fullmatch(theirs, name))), None)


def _eva_config(shapes: Mapping[str, tuple[int, ...]]) -> EvaVisionConfig:
    """What names and shapes tell; ValueError where they are too few to tell it."""
    try:
        told: dict[str, Any] = {
            "hidden_size": shapes["class_token"][-1],
            "intermediate_size": shapes["blocks.0.gate_proj.weight"][0],
            "num_hidden_layers": 1 + max(int(found[1]) for name in shapes if (found := re.match(r"blocks\.(\d+)\.", name))),
            "num_attention_heads": max(1, shapes["class_token"][-1] // _HEAD),
            "patch_size": shapes["patches.weight"][-1],
            "position_cells": math.isqrt(shapes["positions"][-2] - 1),
        }
    except (KeyError, IndexError) as error:
        raise ValueError(f"the weights hold no {error.args[0]} of an EVA-02 that can be read: a base or a large one is wanted.") from error
    norms = {"final_norm": "norm.weight" in shapes, "attention_norm": "blocks.0.attention_norm.weight" in shapes}
    return EvaVisionConfig(**told, **norms, rotary_side=16, inner_norm_eps=1e-6)


def _refuse(complaints: Mapping[str, list[str]]) -> None:
    if said := "; ".join(f"{what}: {listed(sorted(names))}" for what, names in complaints.items() if names):
        raise ValueError(f"the weights are not those of an EVA-02 that can be read, a base or a large one. {said}.")

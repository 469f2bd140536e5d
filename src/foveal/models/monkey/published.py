"""What a published Monkey or Qwen-VL says of itself in `config.json`, as our configuration, and back."""

import json
import math
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from foveal.models.conversion import own_fields
from foveal.models.monkey.config import MonkeyConfig
from foveal.models.monkey.language import Qwen7BConfig
from foveal.vision import QwenVisionConfig

__all__ = ["monkey_config", "published_settings"]

_WINDOW = 448
_NOTED = ("template", "context_length", "bins")
"""Fields of ours that the published layouts have no place for and no model is lost without: noted beside, where they are not the usual."""
_UNSAID = ("use_cache", "initializer_range", "adapter_dropout", "transformers_version")
"""Values that change nothing about what a model says."""


def monkey_config(settings: Mapping[str, Any], **changes: Any) -> MonkeyConfig:
    """The configuration of a model from the `config.json` of a published one; `changes` are fields of ours, such as another canvas.

    Qwen-VL's has no adapters: then none are made, unless `visual` asks for some (`lora_repeat_num`), and a canvas no larger than a window
    is seen once, whole. ValueError for what is missing.
    """
    try:
        visual = settings["visual"]
        width, side = visual["width"], visual["image_size"]
        adapters = visual.get("lora_repeat_num", 0)
        vision = QwenVisionConfig(
            hidden_size=width,
            intermediate_size=int(width * visual["mlp_ratio"]),
            num_hidden_layers=visual["layers"],
            num_attention_heads=visual["heads"],
            patch_size=visual["patch_size"],
            adapters=adapters,
        )
        text = Qwen7BConfig(
            vocab_size=settings["vocab_size"],
            hidden_size=settings["hidden_size"],
            intermediate_size=settings["intermediate_size"] // 2,  # theirs counts both branches
            num_hidden_layers=settings["num_hidden_layers"],
            num_attention_heads=settings["num_attention_heads"],
            head_dim=settings["kv_channels"],
            rms_norm_eps=settings["layer_norm_epsilon"],
            rope_theta=float(settings["rotary_emb_base"]),
            seq_length=settings["seq_length"],
            max_position_embeddings=settings["max_position_embeddings"],
            dynamic_ntk=settings["use_dynamic_ntk"],
            log_n=settings["use_logn_attn"],
            **_ends(visual["image_start_id"]),
        )
    except KeyError as error:
        raise ValueError(f"config.json says nothing of {error}: it is no Monkey and no Qwen-VL.") from error
    canvas = tuple(changes.get("canvas") or ((side, side) if isinstance(side, int) else side[::-1]))
    fields: dict[str, Any] = {
        "vision_config": vision,
        "text_config": text,
        "canvas": canvas,
        "window": _WINDOW,
        "windows": bool(adapters) or max(canvas) > _WINDOW,
        "queries": round(visual.get("n_queries", 256) ** 0.5),
        "connector_heads": visual["output_dim"] // 128,
        "image_token_id": visual["image_start_id"] + 2,
        "context_length": settings["seq_length"],
    }
    fields |= {name: settings[f"foveal_{name}"] for name in _NOTED if f"foveal_{name}" in settings}
    return MonkeyConfig(**(fields | changes))


def published_settings(config: MonkeyConfig) -> dict[str, Any]:
    """The `config.json` of a published layout for one of our configurations: `monkey_config` reads it back as the same.

    Monkey's where there are adapters, else Qwen-VL's. A canvas that is no square becomes (height, width) in place of a side, as in no released
    model. ValueError for a model that this layout cannot hold: another encoder, connector or language model, no overview, and the like.
    """
    for part, kind in ((config.vision_config, QwenVisionConfig), (config.text_config, Qwen7BConfig)):
        if not isinstance(part, kind):
            raise ValueError(f"the published layout holds {kind.model_type} only, and this model has {part.model_type}.")
    settings = _settings(config)
    again = monkey_config(settings)
    settings |= {f"foveal_{name}": getattr(config, name) for name in _NOTED if getattr(config, name) != getattr(again, name)}
    found, wanted = _facts(config), _facts(monkey_config(settings))
    if other := [name for name, value in found.items() if value != wanted[name]]:
        raise ValueError(f"the published layout holds no model with {other[0]}={found[other[0]]!r}; {wanted[other[0]]!r} is wanted.")
    return settings


def _settings(config: MonkeyConfig) -> dict[str, Any]:
    vision: Any = config.vision_config
    words: Any = config.text_config
    width, height = config.canvas
    visual = {
        "heads": vision.num_attention_heads,
        "image_size": width if width == height else [height, width],
        "image_start_id": config.image_token_id - 2,
        "layers": vision.num_hidden_layers,
        "mlp_ratio": math.ceil(vision.intermediate_size / vision.hidden_size * 10**4) / 10**4,
        "output_dim": words.hidden_size,
        "patch_size": vision.patch_size,
        "width": vision.hidden_size,
    }
    visual |= {"lora_repeat_num": vision.adapters} if vision.adapters else {}
    visual |= {"n_queries": config.queries**2} if config.queries != 16 else {}
    return {
        "architectures": ["MonkeyLMHeadModel" if vision.adapters else "QWenLMHeadModel"],
        "model_type": "monkey" if vision.adapters else "qwen",
        "vocab_size": words.vocab_size,
        "hidden_size": words.hidden_size,
        "intermediate_size": 2 * words.intermediate_size,
        "num_hidden_layers": words.num_hidden_layers,
        "num_attention_heads": words.num_attention_heads,
        "kv_channels": words.head_dim,
        "layer_norm_epsilon": words.rms_norm_eps,
        "rotary_emb_base": words.rope_theta,
        "rotary_pct": 1.0,
        "seq_length": words.seq_length,
        "max_position_embeddings": words.max_position_embeddings,
        "use_dynamic_ntk": words.dynamic_ntk,
        "use_logn_attn": words.log_n,
        "no_bias": True,
        "tie_word_embeddings": words.tie_word_embeddings,
        "visual": visual,
    }


def _facts(config: MonkeyConfig) -> dict[str, Any]:
    """All that a configuration and its parts say of the model, by name."""
    parts: dict[str, PreTrainedConfig] = {"": config, "vision_config.": config.vision_config, "text_config.": config.text_config}
    said = {stem: own_fields(type(part), json.loads(part.to_json_string(use_diff=False))) for stem, part in parts.items()}
    own = {f"{stem}{name}": value for stem, fields in said.items() for name, value in fields.items()}
    return {name: value for name, value in own.items() if name.rpartition(".")[2] not in _UNSAID and not name.endswith("_config")}


def _ends(image_start: int) -> dict[str, int]:
    """Qwen's end of text, which also pads: 214 special tokens before the one that begins an image."""
    return {"eos_token_id": image_start - 214, "pad_token_id": image_start - 214}

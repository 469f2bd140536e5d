"""What a published Monkey or Qwen-VL says of itself, as our configuration."""

from collections.abc import Mapping
from typing import Any

from foveal.models.monkey.config import MonkeyConfig
from foveal.models.monkey.language import Qwen7BConfig
from foveal.vision import QwenVisionConfig

__all__ = ["monkey_config"]


def monkey_config(settings: Mapping[str, Any], **changes: Any) -> MonkeyConfig:
    """The configuration of a model from the `config.json` of a published one; `changes` are fields of ours, such as another canvas.

    Qwen-VL's has no adapters: then none are made, unless `visual` asks for some (`lora_repeat_num`). ValueError for what is missing.
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
    fields: dict[str, Any] = {
        "vision_config": vision,
        "text_config": text,
        "canvas": (side, side),
        "window": 448,
        "queries": round(visual.get("n_queries", 256) ** 0.5),
        "connector_heads": visual["output_dim"] // 128,
        "image_token_id": visual["image_start_id"] + 2,
        "context_length": settings["seq_length"],
    }
    return MonkeyConfig(**(fields | changes))


def _ends(image_start: int) -> dict[str, int]:
    """Qwen's end of text, which also pads: 214 special tokens before the one that begins an image."""
    return {"eos_token_id": image_start - 214, "pad_token_id": image_start - 214}

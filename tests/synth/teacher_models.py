"""Tiny teachers with random weights by transformers' own classes, and tokenizers of words and letters, saved as folders."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

__all__ = ["build_teacher"]

VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def words_tokenizer(*control: str) -> PreTrainedTokenizerFast:
    """Single bytes behind the control tokens <pad>, <s> and </s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    entries = ["<pad>", "<s>", "</s>", *control, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({token: place for place, token in enumerate(entries)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", additional_special_tokens=list(control)
    )


def _blip(kind: str, *, image_token: bool) -> tuple[Any, Any, Any]:
    tokenizer = words_tokenizer("<image>")
    text = {"model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    query = {**TEXT, "encoder_hidden_size": 16, "vocab_size": len(tokenizer), "cross_attention_frequency": 1, "max_position_embeddings": 64}
    config = transformers.Blip2Config(
        vision_config=VISION,
        qformer_config=query | {"use_qformer_text_input": kind == "Blip2ForImageTextRetrieval"},
        text_config=text,
        num_query_tokens=4,
        image_text_hidden_size=12,
        image_token_index=3 if image_token else None,
    )
    processor = transformers.BlipImageProcessorPil(size={"height": 32, "width": 32})
    return getattr(transformers, kind)(config), processor, tokenizer


def _clip() -> tuple[Any, Any, Any]:
    tokenizer = words_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return transformers.CLIPModel(config), processor, tokenizer


def _siglip() -> tuple[Any, Any, Any]:
    tokenizer = words_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    return transformers.SiglipModel(config), transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer


def _sam() -> tuple[Any, Any, Any]:
    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8}
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 24, "num_attention_heads": 2, "iou_head_hidden_dim": 16, "num_hidden_layers": 2}
    config = transformers.SamConfig(
        vision_config=vision | {"window_size": 4, "global_attn_indexes": [1], "mlp_dim": 24, "num_pos_feats": 8},
        prompt_encoder_config=prompts,
        mask_decoder_config=decoder,
    )
    processor = transformers.SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return transformers.SamModel(config), processor, None


def build_teacher(kind: str, folder: Path) -> str:
    """A folder with a tiny model of a kind: "captioner", "matcher", "matcher of today", "clip", "siglip" or "sam"."""
    torch.manual_seed(0)
    builders = {
        "captioner": lambda: _blip("Blip2ForConditionalGeneration", image_token=True),
        "matcher": lambda: _blip("Blip2ForImageTextRetrieval", image_token=False),
        "matcher of today": lambda: _blip("Blip2ForImageTextRetrieval", image_token=True),
        "clip": _clip,
        "siglip": _siglip,
        "sam": _sam,
    }
    model, image_processor, tokenizer = builders[kind]()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(std=0.25)
    for part in (model, image_processor, *([tokenizer] if tokenizer else [])):
        part.save_pretrained(folder)
    return str(folder)

"""Tiny models of other families with random weights, and tokenizers of single bytes, saved as folders that `Session.open` opens."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

__all__ = ["BUILDERS", "build_guest"]

QWEN_CONTROL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
]
INTERN_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<ref>", "</ref>", "<box>", "</box>"]
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


def byte_tokenizer(control: Sequence[str], spoken: Sequence[str] = (), *, lstrip: bool = False, **named: str) -> PreTrainedTokenizerFast:
    """Single bytes, lossless, with control tokens first; `spoken` are tokens that are no control tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({token: place for place, token in enumerate([*control, *letters])}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    others = [token for token in control if token not in named.values()]
    made = PreTrainedTokenizerFast(tokenizer_object=words, additional_special_tokens=others, **named)
    made.add_tokens([AddedToken(one, lstrip=lstrip, normalized=False) for one in spoken])
    return made


def word_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's way, with a few words and the letters of all others."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [chr(place) for place in range(33, 127) if not chr(place).isupper()]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cup", "hat", "red", "the", *letters, *(f"##{one}" for one in letters if one.isalnum())]
    made = Tokenizer(models.WordPiece({entry: place for place, entry in enumerate(dict.fromkeys(entries))}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    named = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **named)


def ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What a text configuration says of its tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id or 0,
        "eos_token_id": tokenizer.eos_token_id,
    }


def qwen(kind: str) -> tuple[Any, Any, Any]:
    """Qwen2-VL, Qwen2.5-VL or Qwen3-VL."""
    tokenizer = byte_tokenizer(QWEN_CONTROL, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    text = TEXT | ids(tokenizer) | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if kind == "Qwen2VL":
        vision |= {"embed_dim": 32, "hidden_size": 32, "patch_size": 14, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "patch_size": 14}
    if kind == "Qwen2_5_VL":
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    if kind == "Qwen3VL":
        vision |= {"patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
        text |= {"head_dim": 8}
    tokens = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name.removesuffix('_token_id')}|>") for name in ("vision_start_token_id", "vision_end_token_id")
    }
    places = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision, **tokens, **places)
    processor = transformers.Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 128 * 128}, patch_size=vision["patch_size"])
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), tokenizer, processor


def internvl() -> tuple[Any, Any, Any]:
    """InternVL over a language model of Qwen2's kind."""
    tokenizer = byte_tokenizer(INTERN_CONTROL, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": [28, 28],
        "patch_size": [7, 7],
    }
    config = transformers.InternVLConfig(
        vision_config=vision,
        text_config=TEXT | ids(tokenizer) | {"model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return (
        transformers.InternVLForConditionalGeneration(config),
        tokenizer,
        transformers.GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, max_patches=4),
    )


def paligemma() -> tuple[Any, Any, Any]:
    """PaliGemma over Gemma."""
    tokenizer = byte_tokenizer(
        ["<pad>", "<eos>", "<bos>", "<image>"],
        [*(f"<loc{one:04d}>" for one in range(0, 1024, 64)), *(f"<seg{one:03d}>" for one in range(4))],
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
    )
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 28, "patch_size": 14}
    config = transformers.PaliGemmaConfig(
        vision_config=vision | {"model_type": "siglip_vision_model", "projection_dim": 32},
        text_config=TEXT | ids(tokenizer) | {"model_type": "gemma", "head_dim": 8},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
        tie_word_embeddings=False,
    )
    processor = transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    return transformers.PaliGemmaForConditionalGeneration(config), tokenizer, processor


def kosmos() -> tuple[Any, Any, Any]:
    """Kosmos-2 with four latent queries."""
    tags = ["<image>", "</image>", "<phrase>", "</phrase>", "<object>", "</object>", "</delimiter_of_multi_objects/>", "<grounding>"]
    tokenizer = byte_tokenizer(
        ["<s>", "<pad>", "</s>", "<unk>", "<i>"],
        [*tags, *(f"<patch_index_{one:04d}>" for one in range(0, 1024, 31))],
        lstrip=True,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    config = transformers.Kosmos2Config(
        text_config={
            "embed_dim": 32,
            "layers": 2,
            "ffn_dim": 48,
            "attention_heads": 4,
            "max_position_embeddings": 512,
            "tie_word_embeddings": False,
            **ids(tokenizer),
        },
        vision_config={"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28},
        latent_query_num=4,
        tie_word_embeddings=False,
    )
    size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    return transformers.Kosmos2ForConditionalGeneration(config), tokenizer, transformers.CLIPImageProcessorPil(**size)


def florence() -> tuple[Any, Any, Any]:
    """Florence-2 over BART."""
    tokenizer = byte_tokenizer(
        ["<s>", "<pad>", "</s>", "<unk>", "<image>", "<sep>", "<poly>", "</poly>", *(f"<loc_{one}>" for one in range(0, 1000, 40))],
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    text = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
    }
    text |= {
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 512,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
        "is_encoder_decoder": True,
    }
    stages = {"depths": [1, 1, 1, 1], "embed_dim": [16, 16, 32, 32], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2], "window_size": 2}
    config = transformers.Florence2Config(
        text_config=text | ids(tokenizer) | {"model_type": "bart"},
        vision_config=stages | {"projection_dim": 32},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
    )
    size = {"size": {"height": 64, "width": 64}, "crop_size": {"height": 64, "width": 64}, "do_center_crop": False}
    return transformers.Florence2ForConditionalGeneration(config), tokenizer, transformers.CLIPImageProcessorPil(**size)


def grounding_dino() -> tuple[Any, Any, Any]:
    """Grounding DINO over a small Swin and a small BERT."""
    tokenizer = word_tokenizer()
    backbone = {"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2}
    text = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48}
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone | {"out_features": ["stage2", "stage3", "stage4"]},
        text_config=text | ids(tokenizer),
        d_model=32,
        num_queries=20,
        decoder_ffn_dim=48,
        **layers,
    )
    processor = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    return transformers.GroundingDinoForObjectDetection(config), tokenizer, processor


BUILDERS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "qwen2_vl": lambda: qwen("Qwen2VL"),
    "qwen2_5_vl": lambda: qwen("Qwen2_5_VL"),
    "qwen3_vl": lambda: qwen("Qwen3VL"),
    "internvl": internvl,
    "paligemma": paligemma,
    "kosmos-2": kosmos,
    "florence2": florence,
    "grounding-dino": grounding_dino,
}
"""How each kind of guest is built: its model, tokenizer and image processor."""


def build_guest(kind: str, folder: Path) -> Path:
    """A folder with a tiny model of a kind, whose answers differ from picture to picture and from question to question."""
    torch.manual_seed(0)
    model, tokenizer, image_processor = BUILDERS[kind]()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(std=0.25)
    for part in (model, tokenizer, image_processor):
        part.save_pretrained(folder)
    return folder

"""Parts that many tests share: a tiny Ferret with random weights, and its processor."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tokenizer of single bytes: lossless, one token for each digit, with Ferret's control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control = ["<pad>", "<s>", "</s>", "<image>", "<region_fea>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({token: place for place, token in enumerate(control + letters)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", additional_special_tokens=["<image>", "<region_fea>"]
    )


def build_ferret(tokenizer: Any, **fields: Any) -> Any:
    """A Ferret-v2 of two layers everywhere, and its processor; `fields` change its configuration."""
    import torch

    from foveal.models import FerretConfig, FerretForConditionalGeneration, FerretProcessor

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}
    settings = {
        "vision_config": {**small, "model_type": "clip_vision_model", "intermediate_size": 32, "projection_dim": 16},
        "local_vision_config": {**small, "model_type": "dinov2"},
        "text_config": {
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        "overview_side": 28,
        "tile_side": 28,
        "grids": [[1, 1], [1, 2], [2, 1], [2, 2]],
        "sampler_points": 16,
        "sampler_anchors": [8, 4],
        "sampler_neighbours": 4,
        "position_cells": 4,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "region_token_id": tokenizer.convert_tokens_to_ids("<region_fea>"),
        "template": "plain_chat",
        "context_length": 512,
    }
    torch.manual_seed(0)
    config = FerretConfig(**(settings | fields))
    return FerretForConditionalGeneration(config).eval(), FerretProcessor.from_config(config, tokenizer)


@pytest.fixture(scope="session")
def make_ferret(tokenizer: Any) -> Any:
    """Builds a (model, processor) with other settings: `make_ferret(grids=[])`."""
    from functools import partial

    return partial(build_ferret, tokenizer)


@pytest.fixture(scope="session")
def ferret(make_ferret: Any) -> Any:
    """The tiny (model, processor); not to be changed."""
    return make_ferret()

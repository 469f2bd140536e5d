"""A tiny Monkey with random weights, over Qwen's layout or any other, and its processor."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def rank_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of single bytes and a few merges, in tiktoken's form."""
    import base64

    tokens = [bytes([byte]) for byte in range(256)] + [b" t", b"he", b" the", b"in", b"ing"]
    file: Path = tmp_path_factory.mktemp("qwen") / "tiny.tiktoken"
    file.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    return file


@pytest.fixture(scope="session")
def qwen_tokenizer(rank_file: Path) -> PreTrainedTokenizerFast:
    """Its tokenizer."""
    from foveal.models.monkey.tokens import ranks_tokenizer

    return ranks_tokenizer(rank_file)


def build_monkey(tokenizer: PreTrainedTokenizerFast, **fields: Any) -> Any:
    """A Monkey of two layers everywhere, four windows of 16 px, and its processor; `fields` change its configuration."""
    import torch

    from foveal.models import MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor
    from foveal.models.monkey import Qwen7BConfig
    from foveal.vision import QwenVisionConfig

    end = tokenizer.eos_token_id
    settings = {
        "vision_config": QwenVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=4, position_cells=2, adapters=4
        ),
        "text_config": Qwen7BConfig(
            vocab_size=len(tokenizer),
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=2,
            head_dim=12,
            seq_length=512,
            eos_token_id=end,
            pad_token_id=end,
        ),
        "canvas": (32, 32),
        "window": 16,
        "queries": 2,
        "connector_heads": 2,
        "image_token_id": tokenizer.convert_tokens_to_ids("<imgpad>"),
        "context_length": 512,
    }
    torch.manual_seed(0)
    config = MonkeyConfig(**(settings | fields))
    model = MonkeyForConditionalGeneration(config).eval()
    for name, value in model.named_parameters():
        if "lora" in name and name.endswith("up"):
            torch.nn.init.normal_(value, std=0.3)
    return model, MonkeyProcessor.from_config(config, tokenizer)


@pytest.fixture(scope="session")
def make_monkey(qwen_tokenizer: PreTrainedTokenizerFast) -> Any:
    """Builds a (model, processor) with other settings: `make_monkey(overview=False)`."""
    return partial(build_monkey, qwen_tokenizer)


@pytest.fixture(scope="session")
def monkey(make_monkey: Any) -> Any:
    """The tiny (model, processor); not to be changed."""
    return make_monkey()

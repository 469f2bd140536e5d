"""How much memory the conversion of a PixelLLM takes: some rows of a weight, however large it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from foveal.models import PixelLLMConfig
from foveal.models.pixel_llm.convert import published_shapes
from foveal.models.pixel_llm.flax_file import write_flax
from foveal.models.shards import Weight

SETTLED = """
from foveal.models import PixelLLMConfig, shards
from foveal.models.pixel_llm.convert import convert, publish, published_shapes
published_shapes(PixelLLMConfig(text_config=dict(model_type="t5", feed_forward_proj="gated-gelu"), lora_rank=2))
shards._PIECE = 8 * 2**20
"""
"""What is imported late, PEFT above all, is in memory before the counting begins; and runs of rows are short, so that weights need not be huge."""
ROWS, WIDTH = 32128, 1024


def zeros(name: str, shape: tuple[int, ...]) -> Weight:
    def read(start: int = 0, stop: int | None = None) -> torch.Tensor:
        return torch.zeros(len(range(shape[0])[start:stop]), *shape[1:])

    return Weight(name, torch.float32, shape, read)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_conversion_takes_no_more_memory_than_some_rows_of_a_weight(tmp_path: Path, pieces: PreTrainedTokenizerFast, memory_of: Callable) -> None:
    words = {"model_type": "t5", "vocab_size": ROWS, "d_model": WIDTH, "num_heads": 16, "num_layers": 1, "num_decoder_layers": 1}
    small = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = PixelLLMConfig(
        text_config=words | {"feed_forward_proj": "gated-gelu", "eos_token_id": 3},
        vision_config={"model_type": "eva02_vision", "intermediate_size": 512, **small},
        place_config={"model_type": "sam_vision_model", "global_attn_indexes": [1], **small},
        lora_rank=32,
    )
    (tmp_path / "source").mkdir()
    write_flax(tmp_path / "source/checkpoint_1", [zeros(f"params/{name}", shape) for name, shape in published_shapes(config).items()])
    pieces.save_pretrained(tmp_path / "source")
    largest = ROWS * WIDTH * 4
    assert (tmp_path / "source/checkpoint_1").stat().st_size > 3 * largest
    call = 'convert(folder / "source", folder / "out", licence="mit", shard_bytes=shard, fields={"text_config": {"eos_token_id": 3}})'
    assert (took := memory_of(SETTLED, call, 10**9))["grown"] < largest, took
    assert (took := memory_of(SETTLED, 'publish(folder / "out", folder / "back")', 0))["grown"] < largest, took

"""Memory that conversion takes does not grow with a Monkey, there or back."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.models.monkey.convert import published_shapes
from foveal.models.monkey.published import monkey_config

ROWS, WIDTH = 32000, 2048
SETTINGS = {
    **{"vocab_size": ROWS, "hidden_size": WIDTH, "intermediate_size": 6144, "num_hidden_layers": 6, "num_attention_heads": 16},
    **{"kv_channels": 128, "layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000, "seq_length": 2048, "max_position_embeddings": 8192},
    **{"use_dynamic_ntk": True, "use_logn_attn": True},
}
VISUAL = {"heads": 16, "image_size": 448, "layers": 4, "mlp_ratio": 4.9231, "output_dim": WIDTH, "patch_size": 14, "width": 1664}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_conversion_takes_no_more_memory_than_a_shard_and_a_weight(tmp_path: Path, rank_file: Path, hollow: Callable, memory_of: Callable) -> None:
    start = len(rank_file.read_bytes().splitlines()) + 214
    settings = SETTINGS | {"visual": VISUAL | {"image_start_id": start}}
    hollow(tmp_path / "source", published_shapes(monkey_config(settings)), settings)
    shutil.copyfile(rank_file, tmp_path / "source/qwen.tiktoken")
    shard, largest = 50 * 10**6, ROWS * WIDTH * 2
    there = 'convert(folder / "source", folder / "out", adapters=4, fields={"canvas": (896, 896)}, shard_bytes=shard)'
    for folder, call in (("out", there), ("back", 'publish(folder / "out", folder / "back", shard_bytes=shard)')):
        took = memory_of("from foveal.models.monkey.convert import convert, publish", call, shard)
        written = sum(file.stat().st_size for file in (tmp_path / folder).glob("*.safetensors"))
        assert written > 800 * 10**6
        assert took["grown"] < shard + largest, f"{took} for {written} bytes"

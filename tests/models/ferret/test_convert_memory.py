"""Conversion of large checkpoints: every name and shape at the published sizes, and memory that does not grow with the model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foveal.models.conversion import weight_shapes
from foveal.models.ferret import FerretConfig
from foveal.models.ferret.convert import arrange
from foveal.models.ferret.published import ferret_fields, language_fields
from foveal.models.shards import Weight

Shapes = dict[str, tuple[int, ...]]


def language_shapes(layers: int, width: int, inner: int, rows: int, keys: int) -> Shapes:
    """Llama's and Gemma's names, as their authors publish them; `keys` is the width of keys and values."""
    shapes: Shapes = {"model.embed_tokens.weight": (rows, width), "lm_head.weight": (rows, width), "model.norm.weight": (width,)}
    for layer in range(layers):
        block = f"model.layers.{layer}"
        shapes |= {f"{block}.self_attn.{part}_proj.weight": (width, width) for part in "qo"}
        shapes |= {f"{block}.self_attn.{part}_proj.weight": (keys, width) for part in "kv"}
        shapes |= {f"{block}.mlp.{part}_proj.weight": (inner, width) for part in ("gate", "up")}
        shapes |= {f"{block}.mlp.down_proj.weight": (width, inner)}
        shapes |= {f"{block}.{part}_layernorm.weight": (width,) for part in ("input", "post_attention")}
    return shapes


def sampler_shapes(width: int) -> Shapes:
    shapes: Shapes = {}
    for block in (0, 1):
        shapes |= linear(f"diff_projector_list.{block}", 1026, 1026)
        shapes |= {f"agg_projector_list.{block}.net.0.weight": (1024, 2052, 1), f"agg_projector_list.{block}.net.0.bias": (1024,)}
        shapes |= {f"agg_projector_list.{block}.norm.{part}": (1024,) for part in ("weight", "bias")}
    shapes |= linear("flatten_projector", 1024, 32768) | linear("dim_projector", width, 1024)
    return {f"model.region_geo_sampler.{name}": shape for name, shape in shapes.items()}


def clip_shapes(prefix: str, layers: int = 24) -> Shapes:
    shapes: Shapes = {"embeddings.class_embedding": (1024,), "embeddings.patch_embedding.weight": (1024, 3, 14, 14)}
    shapes |= {"embeddings.position_embedding.weight": (577, 1024), "embeddings.position_ids": (1, 577)}
    shapes |= {f"{norm}.{part}": (1024,) for norm in ("pre_layrnorm", "post_layernorm") for part in ("weight", "bias")}
    for layer in range(layers):
        block = f"encoder.layers.{layer}"
        for part in "qkv":
            shapes |= linear(f"{block}.self_attn.{part}_proj", 1024, 1024)
        shapes |= linear(f"{block}.self_attn.out_proj", 1024, 1024) | linear(f"{block}.mlp.fc1", 4096, 1024) | linear(f"{block}.mlp.fc2", 1024, 4096)
        shapes |= {f"{block}.layer_norm{norm}.{part}": (1024,) for norm in (1, 2) for part in ("weight", "bias")}
    return {f"{prefix}vision_model.{name}": shape for name, shape in shapes.items()}


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def v1_shapes(layers: int, width: int, inner: int) -> Shapes:
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": (64,) for layer in range(layers)}
    return language_shapes(layers, width, inner, 32001, width) | buffers | sampler_shapes(width) | linear("model.mm_projector", width, 1024)


def ui_shapes(layers: int, width: int, inner: int, rows: int, keys: int) -> Shapes:
    projector = linear("model.mm_projector.0", width, 1024) | linear("model.mm_projector.2", width, width)
    return language_shapes(layers, width, inner, rows, keys) | sampler_shapes(width) | projector | clip_shapes("model.vision_tower.vision_tower.")


V1 = {
    "model_type": "ferret",
    "image_aspect_ratio": "square_nocrop",
    "region_geo_sampler": True,
    "sampler_pooler_mode": "max",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
}
UI = V1 | {
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "mm_patch_merge_type": "spatial",
    "mm_projector_type": "mlp2x_gelu",
}


def words(layers: int, width: int, inner: int, heads: int, keys: int, **other: object) -> dict:
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    return dict(zip(names, (layers, width, inner, heads, keys), strict=True)) | {"rms_norm_eps": 1e-6} | other


PUBLISHED = {
    "Ferret-7B": (V1 | words(32, 4096, 11008, 32, 32), v1_shapes(32, 4096, 11008) | clip_shapes("")),
    "Ferret-13B": (V1 | words(40, 5120, 13824, 40, 40), v1_shapes(40, 5120, 13824) | clip_shapes("")),
    "Ferret-UI Gemma-2B": (
        UI | words(18, 2048, 16384, 8, 1, model_type="ferret_gemma", head_dim=256, tie_word_embeddings=False),
        ui_shapes(18, 2048, 16384, 256001, 256),
    ),
    "Ferret-UI Llama-3-8B": (
        UI | words(32, 4096, 14336, 32, 8, model_type="ferret_llama", rope_theta=500000.0, vocab_size=128258),
        ui_shapes(32, 4096, 14336, 128258, 1024),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_name_and_shape_of_the_published_sizes_finds_its_place(name: str) -> None:
    settings, shapes = PUBLISHED[name]
    language = language_fields(settings, shapes["model.embed_tokens.weight"][0])
    config = FerretConfig(text_config=language, **ferret_fields(settings, 336))
    found = arrange({key: unread(key, shape) for key, shape in shapes.items()}, config)
    assert {weight.name: weight.shape for weight in found} == weight_shapes(config)


def test_the_13b_difference_has_as_many_weights_as_a_public_log_shows() -> None:
    assert len(v1_shapes(40, 5120, 13824)) == 421
    assert sum(torch.Size(shape).numel() for shape in sampler_shapes(5120).values()) == 45_119_500


def unread(name: str, shape: tuple[int, ...]) -> Weight:
    def read() -> torch.Tensor:
        raise AssertionError(f"{name} was read")

    return Weight(name, torch.float16, shape, read)


# memory ----------------------------------------------------------------------------------------------------

LAYERS, WIDTH, INNER, TOWER_LAYERS = 4, 2048, 6144, 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_conversion_takes_no_more_memory_than_a_shard_and_a_weight(tmp_path: Path, recordings: Path, hollow: Callable, memory_of: Callable) -> None:
    hollow(tmp_path / "source", v1_shapes(LAYERS, WIDTH, INNER), V1 | words(LAYERS, WIDTH, INNER, 16, 16, im_region_fea_token=560))
    (tmp_path / "source/tokenizer.model").write_bytes((recordings / "text/tokenizer.model").read_bytes())
    hollow(tmp_path / "base", language_shapes(LAYERS, WIDTH, INNER, 32000, WIDTH), {})
    tower = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": TOWER_LAYERS}
    tower |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14}
    hollow(tmp_path / "clip", clip_shapes("", TOWER_LAYERS), tower)
    shard, largest = 50 * 10**6, 32001 * WIDTH * 2
    call = 'convert(folder / "source", folder / "out", base=folder / "base", clip=folder / "clip", shard_bytes=shard)'
    took = memory_of("from foveal.models.ferret.convert import convert", call, shard)
    written = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    assert written > 800 * 10**6
    assert took["grown"] < shard + largest, f"{took} for {written} bytes"

"""PixelLLM's conversion against the recordings: names and shapes of full-size models, and the recorded models there and back as files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from foveal.models import PixelLLMForConditionalGeneration
from foveal.models.conversion import weight_shapes
from foveal.models.pixel_llm.convert import arrange, convert, publish, published_shapes
from foveal.models.pixel_llm.flax_file import open_flax, write_flax
from foveal.models.pixel_llm.layout import as_ours, ours_of
from foveal.models.pixel_llm.released import released_config
from foveal.models.shards import Weight

Shapes = dict[str, tuple[int, ...]]
TOTALS = {
    "git_backbone": 303_268_800,
    "sam_backbone": 637_026_048,
    "prompt_encoder": 1_792,
    "prompt_adapter": 44_030_720,
    "visual_project_layers": 2_103_296,
    "box_decoder": 21_948_560,
    "mask_decoder": 4_058_340,
}
"""Parameters of the parts that all variants share, as the release counts them."""


@pytest.fixture(scope="module")
def trees(parity: Path) -> dict[str, Shapes]:
    folder = parity / "pixelllm" / "param_trees"
    if not folder.is_dir():
        pytest.skip("this set lists no parameters of full-size models")
    return {file.stem: {name: tuple(shape) for name, shape in json.loads(file.read_text()).items()} for file in sorted(folder.glob("*.json"))}


def unread(name: str, shape: tuple[int, ...]) -> Weight:
    def read(*rows: int) -> torch.Tensor:
        raise AssertionError(f"{name} was read")

    return Weight(name, torch.float32, shape, read)


def test_every_name_and_shape_of_the_full_size_finds_its_place(trees: dict[str, Shapes]) -> None:
    for tree, shapes in trees.items():
        config = released_config(shapes)
        found = arrange({name: unread(name, shape) for name, shape in shapes.items()}, config)
        assert {weight.name: weight.shape for weight in found} == weight_shapes(config), tree
        assert published_shapes(config) == shapes, tree
        for part, count in TOTALS.items():
            own = [torch.Size(shape).numel() for name, shape in shapes.items() if name.startswith(f"{part}/")]
            assert not own or sum(own) == count, f"{tree}: {part}"


def test_the_full_size_has_the_heads_and_parts_of_the_release(trees: dict[str, Shapes]) -> None:
    for tree, shapes in trees.items():
        config: Any = released_config(shapes)
        assert (config.vision_config.num_attention_heads, config.place_config.num_attention_heads, config.queries) == (16, 16, 32), tree
        assert (config.place_config.window_size, config.place_config.global_attn_indexes) == (14, [7, 15, 23, 31]), tree
        assert config.text_config.num_attention_heads == (32 if "_t5_" in tree else 12), tree
        assert config.segments == ("refseg" in tree) and (config.detector is not None) == ("densecap" in tree), tree
        assert (config.lora_rank, config.lora_alpha) == ((32, 64.0) if "_t5_" in tree else (0, 64.0)), tree
        assert config.forbid_repeats and not config.fuses_scores and config.uniform_rows == ("_t5_" in tree), tree


def words(folder: Path, count: int, ids: dict[str, int]) -> None:
    """A tokenizer of so many words, of which those that begin, end and pad are numbered as recorded."""
    made = Tokenizer(models.WordLevel({f"word{number}": number for number in range(count)}, unk_token=f"word{count - 1}"))
    named = {name: f"word{number}" for name, number in ids.items()}
    PreTrainedTokenizerFast(tokenizer_object=made, **named).save_pretrained(folder)


@pytest.mark.parametrize("name", ["e2e_trace_bert", "e2e_referring_t5", "e2e_densecap_bert"])
def test_a_recorded_model_is_the_same_there_and_back(parity: Path, tmp_path: Path, name: str) -> None:
    said = json.loads((parity / "pixelllm" / f"{name}.json").read_text())["config"]
    recorded = load_file(parity / "pixelllm" / f"{name}.safetensors")
    params = {key: value for key, value in recorded.items() if key.startswith("params/")}
    ids = {"bos_token_id": said["begin_token_id"], "eos_token_id": said["end_token_id"], "pad_token_id": 0}
    t5 = "num_heads" not in said["text_decoder_args"]
    tokens = {"pad_token": 0, "eos_token": said["end_token_id"]} | (
        {} if t5 else {"cls_token": said["begin_token_id"], "sep_token": said["end_token_id"]}
    )
    fields = {"vision_config": {"num_attention_heads": said["git_backbone_args"]["num_heads"]}, "text_config": ids}
    fields["text_config"] |= (
        {"decoder_start_token_id": said["begin_token_id"]} if t5 else {"num_attention_heads": said["text_decoder_args"]["num_heads"]}
    )

    source = tmp_path / "source"
    source.mkdir()
    words(source, said["vocab_size"], tokens)
    write_flax(source / "checkpoint_1", [Weight(key, value.dtype, tuple(value.shape), of(value)) for key, value in params.items()], chunk_bytes=5000)
    config = convert(source, tmp_path / "ours", licence="for research only", fields=fields)
    ours, info = PixelLLMForConditionalGeneration.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    wanted = as_ours({key.removeprefix("params/"): value for key, value in params.items()})
    found = ours.state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], value) for key, value in wanted.items())

    publish(tmp_path / "ours", tmp_path / "back")
    stored = {key: weight.read() for key, weight in open_flax(tmp_path / "back/checkpoint.msgpack").items()}
    assert stored.keys() == params.keys() and all(torch.equal(stored[key], value) for key, value in params.items())
    assert convert(tmp_path / "back", tmp_path / "again").to_dict() == config.to_dict()


def of(value: torch.Tensor) -> Any:
    return lambda *rows: value[slice(*rows)] if rows else value


def test_every_recorded_parameter_has_a_name_of_ours(parity: Path) -> None:
    for file in sorted((parity / "pixelllm").glob("e2e_*.safetensors")):
        assert not [key for key in load_file(file) if key.startswith("params/") and ours_of(key.removeprefix("params/")) is None], file.stem

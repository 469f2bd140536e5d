"""Laws of PixelLLM's conversion: what Flax wrote is what is opened and what is written again, whole or not at all, under its own licence."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from huggingface_hub.repocard import metadata_load
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from foveal.models import PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.models.pixel_llm.convert import convert, publish
from foveal.models.pixel_llm.flax_file import flax_files, open_flax, parameters
from foveal.models.pixel_llm.layout import PARTS, Axes, as_ours, as_theirs, grouped, separated
from foveal.models.pixel_llm.released import field_differences

BERT, T5 = ("bert", {"detector": {"width": 8, "up": 4, "layers": 1, "groups": 2, "hidden": [5, 6]}}), ("t5", {"lora_rank": 3, "uniform_rows": True})


def as_flax(value: Any) -> Any:
    """A tree as Flax packs it: arrays, and single numbers of NumPy, as msgpack's extensions 1 and 3, arrays row by row."""
    if isinstance(value, Tensor):
        numbers = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return msgpack.ExtType(1, msgpack.packb((tuple(value.shape), str(value.dtype).removeprefix("torch."), numbers), use_bin_type=True))
    if isinstance(value, np.generic):
        return msgpack.ExtType(3, msgpack.packb(((), value.dtype.name, value.tobytes()), use_bin_type=True))
    if isinstance(value, Mapping):
        return {name: as_flax(below) for name, below in value.items()}
    return [as_flax(below) for below in value] if isinstance(value, list) else value


def of_flax(packed: bytes) -> dict[str, Any]:
    """What Flax restores, with names joined: arrays in chunks whole."""

    def array(kind: int, data: bytes) -> Tensor:
        assert kind == 1
        shape, name, numbers = msgpack.unpackb(data)
        return torch.frombuffer(bytearray(numbers), dtype=getattr(torch, name)).reshape(shape)

    def whole(tree: Any, name: str = "") -> dict[str, Any]:
        if not isinstance(tree, dict):
            return {name: tree}
        if "__msgpack_chunked_array__" in tree:
            shape, chunks = ([tree[part][str(number)] for number in range(len(tree[part]))] for part in ("shape", "chunks"))
            return {name: torch.cat(chunks).reshape(shape)}
        return {key: value for word, below in tree.items() for key, value in whole(below, f"{name}/{word}" if name else word).items()}

    return whole(msgpack.unpackb(packed, ext_hook=array))


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in params.items():
        *above, last = name.split("/")
        node = tree
        for word in above:
            node = node.setdefault(word, {})
        node[last] = value
    return tree


def chunked(value: Tensor, size: int) -> dict[str, Any]:
    parts = value.reshape(-1).split(size)
    shape = {str(axis): side for axis, side in enumerate(value.shape)}
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": {str(number): part for number, part in enumerate(parts)}}


class Released:
    """A tiny checkpoint of random parameters, and the model of ours that it came from."""

    def __init__(self, make: Callable, tokenizer: PreTrainedTokenizerFast, kind: str, fields: Mapping[str, Any], folder: Path) -> None:
        self.model, processor = make(kind, **fields)
        self.tokenizer, self.ours = tokenizer, folder / "ours"
        self.model.save_pretrained(self.ours)
        processor.save_pretrained(self.ours)
        self.fields = publish(self.ours, folder / "published", licence="for research only")
        self.params = as_theirs({name: value.detach() for name, value in self.model.state_dict().items()})

    def write(self, folder: Path, tree: Mapping[str, Any] | None = None) -> Path:
        """A train state, and what lies beside it."""
        folder.mkdir(parents=True)
        state = {
            "global_step": 3,
            "opt_state": {"0": {"mu": nested(self.params)}},
            "params": nested(self.params),
            "rng": torch.zeros(2, dtype=torch.int32),
        }
        (folder / "checkpoint_3").write_bytes(msgpack.packb(as_flax(state if tree is None else tree), strict_types=True))
        (folder / "fields.json").write_text(json.dumps(self.fields))
        self.tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text("---\nlicense: other\nlicense_name: some-research-licence\n---\n\n# Weights\n")
        return folder


@pytest.fixture(scope="module", params=[BERT, T5], ids=["bert", "t5"])
def each(request: pytest.FixtureRequest, make_pixel_llm: Callable, pieces: Any, tmp_path_factory: Any) -> Released:
    return Released(make_pixel_llm, pieces, *request.param, tmp_path_factory.mktemp("each"))


@pytest.fixture(scope="module")
def theirs(make_pixel_llm: Callable, pieces: Any, tmp_path_factory: Any) -> Released:
    return Released(make_pixel_llm, pieces, "bert", {"segments": False}, tmp_path_factory.mktemp("theirs"))


def opened(folder: Path) -> PixelLLMForConditionalGeneration:
    model, info = PixelLLMForConditionalGeneration.from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not any(info.values()), info
    return model.eval()


def same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], value) for name, value in wanted.items())


# there and back --------------------------------------------------------------------------------------------


def test_there_and_back_every_bit_and_every_field_is_the_same(each: Released, tmp_path: Path) -> None:
    config = convert(each.write(tmp_path / "source"), tmp_path / "out", shard_bytes=100_000)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert same(opened(tmp_path / "out").state_dict(), each.model.state_dict())
    told = publish(tmp_path / "out", tmp_path / "back", chunk_bytes=1000)
    assert same(of_flax((tmp_path / "back/checkpoint.msgpack").read_bytes()), {f"params/{name}": value for name, value in each.params.items()})
    assert told == each.fields
    assert convert(tmp_path / "back", tmp_path / "again").to_dict() == config.to_dict()
    assert not field_differences(opened(tmp_path / "again").config, each.model.config)


def test_a_converted_model_is_opened_and_writes(each: Released, tmp_path: Path) -> None:
    convert(each.write(tmp_path / "source"), tmp_path / "out")
    processor, model = PixelLLMProcessor.from_pretrained(tmp_path / "out"), opened(tmp_path / "out")
    assert processor.antialias and len(processor.tokenizer) == len(each.tokenizer)
    batch = processor.see([Image.linear_gradient("L").resize((90, 50)).convert("RGB")])
    written = [one.generate(torch.tensor([[0.0, 0, 56, 31]]), max_new_tokens=5, **batch) for one in (model, each.model)]
    assert torch.equal(*written)


def test_old_bare_and_chunked_trees_convert_alike(theirs: Released, tmp_path: Path) -> None:
    tree, wanted = nested(theirs.params), theirs.model.state_dict()
    cut = nested({name: chunked(value, 100) if value.numel() > 1000 else value for name, value in theirs.params.items()})
    axes = {"textual": {"params_axes": {"kernel_axes": torch.zeros(2)}, "embedding": {"words_axes": torch.zeros(1)}}}
    with_axes = {
        **tree,
        "textual": {**tree["textual"], **axes["textual"], "embedding": {**tree["textual"]["embedding"], **axes["textual"]["embedding"]}},
    }
    trees = {
        "old": {"optimizer": {"target": tree, "state": {"step": np.int32(4), "param_states": tree}}},
        "older": {"optimizer": {"target": {"params": tree}}},
        "bare": tree,
        "cut": {"params": cut, "params_axes": axes},
        "axes": {"params": {"params": with_axes}},
    }
    for name, given in trees.items():
        convert(theirs.write(tmp_path / name, given), tmp_path / f"out-{name}")
        assert same(load_file(tmp_path / f"out-{name}/model.safetensors"), wanted), name


def test_in_another_type_the_frequencies_of_places_stay(theirs: Released, tmp_path: Path) -> None:
    convert(theirs.write(tmp_path / "source"), tmp_path / "out", dtype=torch.bfloat16)
    found = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(found.pop("location_prompts.frequencies"), theirs.model.location_prompts.frequencies)
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    stored = {name: value.bfloat16() for name, value in theirs.params.items()}
    convert(theirs.write(tmp_path / "stored", {"params": nested(stored)}), tmp_path / "same")
    assert {value.dtype for name, value in load_file(tmp_path / "same/model.safetensors").items() if "frequencies" not in name} == {torch.bfloat16}


def test_a_model_of_other_parts_is_not_published(make_pixel_llm: Callable, tmp_path: Path) -> None:
    model, processor = make_pixel_llm("llama", segments=False)
    model.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match=r"writer\..* is no parameter of the PixelLLM that was released"):
        publish(tmp_path / "ours", tmp_path / "out", licence="mit")
    assert not (tmp_path / "out").exists()


# layouts ---------------------------------------------------------------------------------------------------


def test_turning_a_parameter_there_and_back_changes_nothing() -> None:
    for axes, shape in (
        (Axes(), (3,)),
        (Axes((1, 0)), (3, 5)),
        (Axes((3, 2, 0, 1)), (2, 3, 4, 5)),
        (Axes((2, 3, 0, 1), (0, 1)), (2, 3, 4, 5)),
        (Axes(ones=2), (1, 1, 3)),
    ):
        given = torch.rand(shape)
        assert axes.theirs(axes.ours(given)).equal(given), axes


def test_some_rows_of_a_parameter_are_rows_of_all_of_it(each: Released, tmp_path: Path) -> None:
    stored = parameters(open_flax(each.write(tmp_path / "source") / "checkpoint_3"), list(PARTS))
    ours, odd = grouped(stored)
    assert not odd
    for weight in (*stored.values(), *ours, *separated(ours)):
        whole = weight.read()
        assert tuple(whole.shape) == weight.shape, weight.name
        last = len(whole) - 1
        assert weight.read(last, last + 1).equal(whole[last:]), weight.name


def test_flipped_kernels_double_a_map_as_the_release_does() -> None:
    stored = torch.rand(2, 2, 3, 4)
    weight = as_ours({"fpn/simfp_3.0/kernel": stored}, "box_decoder")["pyramid.up.weight"]
    given = torch.rand(1, 3, 2, 2)
    found = torch.nn.functional.conv_transpose2d(given, weight, stride=2)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert torch.allclose(found[0, :, row::2, column::2], torch.einsum("iyx,io->oyx", given[0], stored[1 - row, 1 - column]))


# files -----------------------------------------------------------------------------------------------------


def test_arrays_of_every_kind_are_found_and_other_values_are_not(tmp_path: Path) -> None:
    given = {
        "none": None,
        "long name of many letters that does not fit": "text",
        "half": torch.rand(2, 3).half(),
        "brain": torch.rand(3).bfloat16(),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
        "one": np.float32(2.5),
        "list": [torch.arange(3), {"deep": torch.ones(1)}, 7],
        "complex": msgpack.ExtType(2, msgpack.packb((1.0, 2.0))),
        "large": chunked(torch.arange(70_000), 30_000),
        **{f"many{number}": torch.full((1,), float(number)) for number in range(20)},
    }
    file = tmp_path / "file"
    file.write_bytes(msgpack.packb(as_flax(given)))
    found = {name: weight.read() for name, weight in open_flax(file).items()}
    wanted = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    wanted |= {"one": torch.tensor(2.5), "list/0": torch.arange(3), "list/1/deep": torch.ones(1), "large": torch.arange(70_000)}
    assert same(found, wanted) and all(found[name].dtype == value.dtype for name, value in wanted.items())
    large = open_flax(file)["large"]
    for rows in ((0, 5), (29_999, 30_001), (5, 70_000), (70_000, 70_000), (60_000,)):
        assert large.read(*rows).equal(torch.arange(70_000)[slice(*(rows if len(rows) > 1 else (rows[0], None)))])


def test_a_file_that_ends_anywhere_is_refused(tmp_path: Path) -> None:
    whole = msgpack.packb(as_flax({"params": {"net": {"kernel": torch.rand(3, 2), "cut": chunked(torch.rand(5), 2)}, "step": 3}}))
    for length in range(len(whole)):
        (tmp_path / "file").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is broken or no checkpoint of Flax: [^.]*\.$"):
            open_flax(tmp_path / "file")
    (tmp_path / "file").write_bytes(whole + b"\x00")
    with pytest.raises(ValueError, match="1 bytes follow its end"):
        open_flax(tmp_path / "file")


def _deep(levels: int) -> Any:
    tree: Any = 1
    for _ in range(levels):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (msgpack.packb([1, 2]), "no map of names"),
        (b"\x80\x04\x95 a pickle", "follow its end"),
        (msgpack.packb({"a": {3: 4}}), "3 was found where a name is wanted"),
        (msgpack.packb(_deep(70)), "deeper than 64"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[2], "float32", b"1234567"]))}), "not as many bytes"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[-2], "float32", b"12345678"]))}), "not a shape, a type and bytes"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[2], "float32", 5]))}), "has no bytes"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[2], "object", b"12345678"]))}), "a of .* holds object"),
        (msgpack.packb({"a": as_flax(torch.ones(1)), "b": 1})[:-1] + b"\xc1", "broken"),
        (b"\x82" + 2 * (b"\xa1a" + msgpack.packb(as_flax(torch.ones(1)))), "stands in it twice"),
        (msgpack.packb(as_flax({"a": chunked(torch.ones(4), 2) | {"shape": {"0": 5}}})), r"do not make an array of shape \[5\]"),
        (msgpack.packb(as_flax({"a": chunked(torch.ones(4), 2) | {"shape": 4}})), "do not make an array"),
    ],
)
def test_odd_files_are_refused_in_a_sentence(tmp_path: Path, packed: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(packed)
    with pytest.raises(ValueError, match=said) as refusal:
        open_flax(tmp_path / "file")
    assert "\n" not in str(refusal.value)


def test_checkpoints_of_flax_are_known_by_how_they_begin(theirs: Released, tmp_path: Path) -> None:
    import pickle

    folder = theirs.write(tmp_path / "source")
    (folder / "model.bin").write_bytes(pickle.dumps({"params": 1}))
    (folder / "config.json").write_text("{}")
    assert flax_files(folder) == flax_files(folder / "checkpoint_3") == [folder / "checkpoint_3"]
    assert not flax_files(theirs.ours) and not flax_files(theirs.ours / "model.safetensors")


@pytest.mark.parametrize("mark", ["_CHECKPOINT_METADATA", "_METADATA", "default/manifest.ocdbt", "params.textual.output.bias/.zarray"])
def test_a_folder_of_orbax_is_refused_by_its_name(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).write_text("{}")
    with pytest.raises(ValueError, match="is a checkpoint of Orbax, which is not read; one of Flax in a single msgpack file is wanted"):
        convert(tmp_path, tmp_path / "out", licence="mit")


# doors -----------------------------------------------------------------------------------------------------


def test_missing_superfluous_and_odd_parameters_are_named(theirs: Released, tmp_path: Path) -> None:
    params = theirs.params | {"textual/embedding/layer_norm/scale": torch.ones(5), "git_backbone/blocks.1/attn/rope": torch.ones(1)}
    del params["point_predictor/mlp/layers.1/bias"], params["prompt_adapter/output_hypernetworks_mlps.2/layers.0/kernel"]
    with pytest.raises(ValueError) as refusal:
        convert(theirs.write(tmp_path / "source", {"params": nested(params)}), tmp_path / "out")
    said = re.split("missing: |superfluous: |of another shape: ", str(refusal.value))
    assert "mlp/layers.1/bias" in said[1] and "mlps.2/layers.0/kernel" in said[1]
    assert "attn/rope" in said[2] and "layer_norm/scale [5] instead of [32]" in said[3]
    assert not (tmp_path / "out").exists()


def test_what_is_no_pixel_llm_is_refused_by_name(theirs: Released, tmp_path: Path) -> None:
    whole = nested(theirs.params)
    trees = {
        "has no parameters of git_backbone": {"params": {"net": {"kernel": torch.ones(1)}}},
        "hold no textual/embedding/words/embedding": {"params": {name: part for name, part in whole.items() if name != "textual"}},
        "hold no git_backbone/cls_token": {"params": {"prompt_encoder": whole["prompt_encoder"]}},
    }
    for number, (said, tree) in enumerate(trees.items()):
        with pytest.raises(ValueError, match=said):
            convert(theirs.write(tmp_path / f"source{number}", tree), tmp_path / "out")
    with pytest.raises(ValueError, match="is no checkpoint of Flax and holds none"):
        convert(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="in foveal's layout already"):
        convert(theirs.ours, tmp_path / "out")
    source = theirs.write(tmp_path / "several")
    (source / "checkpoint_4").write_bytes((source / "checkpoint_3").read_bytes())
    with pytest.raises(ValueError, match="name one of checkpoint_3, checkpoint_4"):
        convert(source, tmp_path / "out")
    convert(source / "checkpoint_4", tmp_path / "out")


def test_a_tokenizer_that_is_missing_or_another_is_refused(theirs: Released, pieces: Any, tokenizer: Any, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "bytes")
    with pytest.raises(ValueError, match=r"has \d+ tokens, and the weights have \d+ rows"):
        convert(source, tmp_path / "out", tokenizer=tmp_path / "bytes")
    (source / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="--tokenizer"):
        convert(source, tmp_path / "out")
    pieces.save_pretrained(tmp_path / "words")
    with pytest.raises(ValueError, match=r"the model's sep_token is 5, and that of the tokenizer in .* is 3"):
        convert(source, tmp_path / "out", tokenizer=tmp_path / "words", fields={"text_config": {"eos_token_id": 5}})
    convert(source, tmp_path / "out", tokenizer=tmp_path / "words")


def test_a_model_without_a_licence_is_not_converted_and_none_is_made_up(theirs: Released, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source")
    convert(source, tmp_path / "out", origin="https://example.org/weights")
    head, text = metadata_load(tmp_path / "out/README.md"), (tmp_path / "out/README.md").read_text()
    assert head is not None and head["license_name"] == "some-research-licence" and "apache" not in text.lower()
    assert "https://example.org/weights" in text and "a place for every word" in text
    (source / "README.md").unlink()
    with pytest.raises(ValueError, match="--licence"):
        convert(source, tmp_path / "again")
    convert(source / "checkpoint_3", tmp_path / "again", licence="cc-by-nc-4.0")


@pytest.mark.parametrize("way", [convert, publish])
def test_an_interrupted_conversion_leaves_nothing(theirs: Released, tmp_path: Path, way: Callable[..., Any]) -> None:
    source, out = theirs.write(tmp_path / "source") if way is convert else theirs.ours, tmp_path / "made" / "out"
    options: dict[str, Any] = {"licence": "mit"}

    def stop(done: int, total: int) -> None:
        assert not out.exists()
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        way(source, out, watch=stop, **options)
    assert not any(out.parent.iterdir())
    way(source, out, **options)
    with pytest.raises(ValueError, match="exists already"):
        way(source, out, **options)

"""Laws of conversion: what was published is what is opened, whole or not at all, under its own licence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.repocard import metadata_load
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import AutoProcessor, PreTrainedTokenizerFast

from foveal.geometry import Box
from foveal.models import FerretForConditionalGeneration
from foveal.models.ferret.convert import convert
from foveal.models.ferret.layout import foreign_weight, local_copies, published_name
from foveal.models.ferret.publish import convert_projector, publish
from foveal.session import Session

KINDS = ("ui", "v1", "v1_avg")


def opened(folder: Path) -> FerretForConditionalGeneration:
    model, info = FerretForConditionalGeneration.from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not any(info.values()), info
    return model.eval()


def expected(weights: dict[str, Tensor], *, dual: bool = False) -> dict[str, Tensor]:
    """Published weights in our names, all at once."""
    named = {key: published_name(key) for key in weights}
    return {
        copy: foreign_weight(key, weights[key])
        for key, name in named.items()
        if name not in (None, "image_newline")
        for copy in (local_copies(name) if dual else (name,))
    }


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for name, weight in wanted.items():
        assert torch.equal(found[name], weight), name


# whole models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", ["inside", "sub-folder", "elsewhere"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_model_holds_the_published_weights(published: Callable, tmp_path: Path, kind: str, tower: str) -> None:
    theirs = published(kind)
    source = theirs.write(tmp_path / "source", tower=tower)
    clip = theirs.write_tower(tmp_path / "clip") if tower == "elsewhere" else None
    convert(source, tmp_path / "out", clip=clip, shard_bytes=40_000)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert_same(opened(tmp_path / "out").state_dict(), expected(theirs.weights))


def test_the_configuration_is_what_the_weights_were_trained_with(published: Callable, tmp_path: Path) -> None:
    theirs = published("ui")
    config = convert(theirs.write(tmp_path / "ui"), tmp_path / "ui-out")
    side = theirs.said["vision"]["image"]
    assert config.grids == [[width // side, height // side] for width, height in theirs.said["pinpoints"]]
    assert (config.sampler_read, config.region_map, config.projector, config.context_length) == ("transposed", "fused", "mlp2x_gelu", 4096)
    assert (config.template, config.region_token_id, config.image_token_id) == ("ferret_vicuna_v1", theirs.region, theirs.region + 1)
    config = convert(published("v1").write(tmp_path / "v1"), tmp_path / "v1-out", fields={"template": "original_system"})
    assert (config.grids, config.projector, config.region_map, config.template) == ([], "linear", "overview", "original_system")
    assert convert(published("v1_avg").write(tmp_path / "avg"), tmp_path / "avg-out").region_adapter == "average"


def test_a_difference_and_its_base_make_the_whole(published: Callable, tmp_path: Path) -> None:
    theirs = published("v1")
    rows = theirs.region
    base = {name: torch.randn_like(weight).half() for name, weight in theirs.language.items()}
    base |= {name: base[name][:rows].clone() for name in ("model.embed_tokens.weight", "lm_head.weight")}
    base["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
    difference = {name: weight.half() for name, weight in theirs.weights.items()}
    whole = {name: weight.clone() for name, weight in difference.items()}
    for name in theirs.language:
        whole[name][: len(base[name])] += base[name]
    difference |= {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(3) for layer in range(2)}
    save_base(tmp_path / "base", base)
    convert(theirs.write(tmp_path / "source", weights=difference), tmp_path / "out", base=tmp_path / "base")
    found = opened(tmp_path / "out")
    assert found.dtype == torch.float16
    assert_same(found.state_dict(), expected(whole))


def test_a_difference_without_its_base_and_another_base_are_refused(published: Callable, tmp_path: Path) -> None:
    theirs = published("v1")
    small = theirs.weights | {"model.norm.weight": theirs.weights["model.norm.weight"] * 1e-3}
    with pytest.raises(ValueError, match="--base"):
        convert(theirs.write(tmp_path / "small", weights=small), tmp_path / "out")
    source = theirs.write(tmp_path / "source")
    name = "model.layers.1.mlp.up_proj.weight"
    for number, (change, said) in enumerate(
        [({name: None}, "lacks model.layers.1"), ({name: torch.ones(3, 3)}, "to another"), ({"model.layers.2.x": torch.ones(1)}, "as well")]
    ):
        held = {key: weight for key, weight in (theirs.language | change).items() if weight is not None}
        save_base(tmp_path / str(number), held)
        with pytest.raises(ValueError, match=said):
            convert(source, tmp_path / "out", base=tmp_path / str(number))
    assert not (tmp_path / "out").exists()


def save_base(folder: Path, weights: dict[str, Tensor]) -> None:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("case", ["ui_square_regions", "ui_spatial_anyres_regions"])
def test_a_converted_model_sees_what_was_recorded(published: Callable, recordings: Path, tmp_path: Path, case: str, dual: bool) -> None:
    theirs = published("ui")
    config = convert(theirs.write(tmp_path / "source"), tmp_path / "out", dual=dual)
    model, said = opened(tmp_path / "out"), load_file(recordings / f"model/{case}.safetensors")
    facts = json.loads((recordings / f"model/{case}.json").read_text())
    sizes = facts["image_sizes_wh"]
    stacks = list(said["images"]) if "images" in said else [said[f"images.{image}"] for image in range(len(sizes))]
    stacks = [stack[None] if stack.ndim == 3 else stack for stack in stacks]
    plans = [AutoProcessor.from_pretrained(tmp_path / "out").plan((width, height)) for width, height in sizes]
    grids = torch.tensor([(plan.rows, plan.cols) if len(stack) > 1 else (0, 0) for plan, stack in zip(plans, stacks, strict=True)])
    overviews, tiles = torch.stack([stack[0] for stack in stacks]), torch.cat([stack[1:] for stack in stacks])
    with torch.no_grad():
        seen = model.see(overviews, tiles)
        sight = model.project(seen, grids)
    wanted = said["vision_features"].split([len(stack) for stack in stacks])
    close(seen.overview.flatten(1, 2), torch.stack([features[0] for features in wanted]))
    if len(tiles):
        close(seen.tiles.flatten(1, 2), torch.cat([features[1:] for features in wanted]))
    for image in range(len(sizes)):
        if f"region_map.{image}" in said:
            close(sight.maps[image].permute(1, 2, 0).reshape(said[f"region_map.{image}"].shape), said[f"region_map.{image}"])
    blocks = range(len(config.sampler_anchors))
    starts = torch.stack([said[f"stage{block}.fps_idx"][:, 0].long() for block in blocks], dim=1)
    image = torch.tensor([region["sample"] for region in facts["regions"][: len(starts)]])
    near = [said[f"stage{block}.knn_idx"].long() for block in blocks]
    with torch.no_grad():
        found = model.encode_regions(sight, said["points"], image, starts, neighbours=near)
    close(found, torch.cat([said[name] for name in sorted(said) if name.startswith("region_features.")]))
    assert (model.local_tower is not None) == dual
    assert_same(model.state_dict(), expected(theirs.weights, dual=dual))


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_text_becomes_the_recorded_tokens(published: Callable, recordings: Path, tmp_path: Path) -> None:
    convert(published("v1").write(tmp_path / "source"), tmp_path / "out")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    region = processor.tokenizer.convert_tokens_to_ids("<region_fea>")
    assert region == processor.region_token_id
    for case in json.loads((recordings / "text/tokenization.json").read_text()):
        if case["ids"] is not None and "<image>" not in case["text"]:
            assert processor.tokenizer(case["text"]).input_ids == case["ids"], case["text"]


@pytest.mark.parametrize(("family", "rows"), [("gemma", 266), ("llama", 128258)])
def test_models_with_a_fast_tokenizer_convert_with_it(make_ferret: Callable, tokenizer: Any, tmp_path: Path, family: str, rows: int) -> None:
    words = {"model_type": family, "vocab_size": rows, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "head_dim": 12}
    words |= {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": family == "gemma"}
    vision = {"model_type": "clip_vision_model", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    vision |= {"image_size": 28, "intermediate_size": 32}
    fields = {"sampler_points": 512, "sampler_anchors": [128, 32], "sampler_neighbours": 24, "position_cells": 0, "sampler_read": "transposed"}
    fields |= {"text_config": words, "vision_config": vision, "local_vision_config": None, "template": "ferret_vicuna_v1", "image_token_id": rows}
    model, processor = make_ferret(**fields)
    model.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    publish(tmp_path / "ours", tmp_path / "published", licence="mit")
    settings = json.loads((tmp_path / "published/config.json").read_text())
    del settings["foveal_template"]
    (tmp_path / "published/config.json").write_text(json.dumps(settings))
    config = convert(tmp_path / "published", tmp_path / "again")
    assert config.template == {"gemma": "ferret_gemma_instruct", "llama": "ferret_llama_3"}[family]
    assert_same(opened(tmp_path / "again").state_dict(), model.state_dict())
    again = AutoProcessor.from_pretrained(tmp_path / "again")
    assert again.tokenizer("a <region_fea> [1, 2]").input_ids == tokenizer("a <region_fea> [1, 2]").input_ids
    assert (again.region_token_id, again.image_token_id) == (tokenizer.convert_tokens_to_ids("<region_fea>"), rows)


def test_a_tokenizer_that_lacks_the_region_token_gets_it(published: Callable, tokenizer: Any, tmp_path: Path) -> None:
    theirs = published("ui")
    source = theirs.write(tmp_path / "source", im_region_fea_token=None)
    for name in ("tokenizer.model", "added_tokens.json"):
        (source / name).unlink()
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1, "<s>": 2}, unk_token="a")), bos_token="<s>")
    plain.save_pretrained(source)
    assert convert(source, tmp_path / "out").region_token_id == 3
    assert AutoProcessor.from_pretrained(tmp_path / "out").tokenizer("<region_fea>").input_ids == [3]
    large = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 5000}, unk_token="a")))
    large.save_pretrained(source)
    with pytest.raises(ValueError, match="counts to 5000"):
        convert(source, tmp_path / "again")


def test_a_converted_model_is_opened_by_name_and_answers(published: Callable, tmp_path: Path) -> None:
    convert(published("ui").write(tmp_path / "source"), tmp_path / "out")
    scene = Session.open(tmp_path / "out").look(Image.linear_gradient("L").resize((90, 50)).convert("RGB"))
    assert isinstance(scene.ask("What is ", Box(0.1, 0.2, 0.6, 0.7), "?", max_new_tokens=4).text, str)


# doors -----------------------------------------------------------------------------------------------------


def test_pickled_checkpoints_want_leave_and_then_convert_alike(published: Callable, tmp_path: Path) -> None:
    theirs = published("ui")
    source = theirs.write(tmp_path / "source")
    (source / "model.safetensors").unlink()
    names, index = list(theirs.weights), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: theirs.weights[name] for name in part}, source / file)
        index |= dict.fromkeys(part, file)
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(ValueError, match="--allow-pickle"):
        convert(source, tmp_path / "out")
    convert(source, tmp_path / "out", allow_pickle=True)
    assert_same(opened(tmp_path / "out").state_dict(), expected(theirs.weights))


def test_missing_superfluous_and_odd_weights_are_named(published: Callable, tmp_path: Path) -> None:
    theirs = published("ui")
    weights = theirs.weights | {"model.norm.weight": torch.ones(5), "model.layers.9.thing": torch.ones(1), "optimizer.step": torch.ones(1)}
    for name in ("model.region_geo_sampler.agg_projector_list.1.net.0.weight", "model.mm_projector.2.bias"):
        del weights[name]
    with pytest.raises(ValueError) as refusal:
        convert(theirs.write(tmp_path / "source", weights=weights), tmp_path / "out")
    said = str(refusal.value)
    missing, extra, odd = said.index("missing"), said.index("superfluous"), said.index("another shape")
    assert missing < said.index("agg_projector_list.1.net.0.weight") < extra and missing < said.index("model.mm_projector.2.bias") < extra
    assert extra < said.index("model.layers.9.thing") < odd and extra < said.index("optimizer.step") < odd
    assert odd < said.index("model.norm.weight [5] instead of [24]")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llava"}, "model_type 'llava'"),
        ({"model_type": "ferret_nothing"}, "model_type 'ferret_nothing'"),
        ({"image_aspect_ratio": "pad"}, "image_aspect_ratio='pad'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end=True"),
        ({"mm_patch_merge_type": "flat"}, "mm_patch_merge_type='flat'"),
        ({"mm_vision_select_feature": "cls_patch"}, "cls_patch"),
        ({"image_grid_pinpoints": [[100, 56]]}, "pinpoints"),
        ({"image_grid_pinpoints": None}, "pinpoints"),
        ({"im_region_fea_token": 7}, "token 7"),
        ({"num_attention_heads": "many"}, "no model that can be built"),
    ],
)
def test_a_checkpoint_that_is_not_understood_is_refused_by_name(published: Callable, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        convert(published("ui").write(tmp_path / "source", **changes), tmp_path / "out")
    assert [folder.name for folder in tmp_path.iterdir()] == ["source"]


def test_the_misspelt_number_of_heads_is_read(published: Callable, tmp_path: Path) -> None:
    theirs = published("v1")
    heads = theirs.settings()["num_attention_heads"]
    assert (
        convert(
            theirs.write(tmp_path / "source", num_attention_heads=None, num_attention_head=heads), tmp_path / "out"
        ).text_config.num_attention_heads
        == heads
    )


def test_what_must_be_given_is_asked_for(published: Callable, tmp_path: Path) -> None:
    theirs = published("v1")
    with pytest.raises(ValueError, match="--clip"):
        convert(theirs.write(tmp_path / "blind", tower="elsewhere"), tmp_path / "out")
    with pytest.raises(ValueError, match="--clip"):
        convert(theirs.write(tmp_path / "other", tower="elsewhere", mm_vision_tower="other/tower"), tmp_path / "out")
    with pytest.raises(ValueError, match="--dual"):
        convert(theirs.write(tmp_path / "square"), tmp_path / "out", dual=True)
    source = theirs.write(tmp_path / "wordless")
    (source / "tokenizer.model").unlink()
    with pytest.raises(ValueError, match="no tokenizer"):
        convert(source, tmp_path / "out")
    (source / "tokenizer.model").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="no sentencepiece model"):
        convert(source, tmp_path / "out")
    with pytest.raises(ValueError, match="is no folder"):
        convert(tmp_path / "nowhere", tmp_path / "out")


def test_a_model_without_a_licence_is_not_converted_and_none_is_made_up(published: Callable, tmp_path: Path) -> None:
    source = published("ui").write(tmp_path / "source")
    convert(source, tmp_path / "out", origin="https://example.org/weights")
    head, text = metadata_load(tmp_path / "out/README.md"), (tmp_path / "out/README.md").read_text()
    assert head is not None and head["license_name"] == "some-research-licence" and "apache" not in text.lower()
    assert "https://example.org/weights" in text
    (source / "README.md").unlink()
    with pytest.raises(ValueError, match="--licence"):
        convert(source, tmp_path / "again")
    convert(source, tmp_path / "again", licence="cc-by-nc-4.0")
    head = metadata_load(tmp_path / "again/README.md")
    assert head is not None and head["license"] == "cc-by-nc-4.0"


def test_an_interrupted_conversion_leaves_nothing(published: Callable, tmp_path: Path) -> None:
    source, out = published("ui").write(tmp_path / "source"), tmp_path / "made" / "out"

    def stop(done: int, total: int) -> None:
        assert not out.exists() and not any(out.parent.glob(".out*/*.index.json"))
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, out, shard_bytes=40_000, watch=stop)
    assert not any(out.parent.iterdir())
    convert(source, out)
    with pytest.raises(ValueError, match="exists already"):
        convert(source, out)


def test_the_weights_keep_their_type_unless_another_is_asked_for(published: Callable, tmp_path: Path) -> None:
    theirs = published("ui")
    source = theirs.write(tmp_path / "source", weights={name: weight.bfloat16() for name, weight in theirs.weights.items()})
    assert convert(source, tmp_path / "same").dtype == torch.bfloat16 == opened(tmp_path / "same").dtype
    convert(source, tmp_path / "other", dtype=torch.float32)
    assert opened(tmp_path / "other").dtype == torch.float32


@pytest.mark.parametrize("same", [False, True])
def test_a_head_beside_a_tied_embedding_is_kept_only_if_it_differs(published: Callable, tmp_path: Path, same: bool) -> None:
    theirs = published("ui")
    weights = dict(theirs.weights)
    if same:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    config = convert(theirs.write(tmp_path / "source", weights=weights, tie_word_embeddings=True), tmp_path / "out")
    assert config.tie_word_embeddings == same
    model = opened(tmp_path / "out")
    assert torch.equal(model.get_output_embeddings().weight, weights["lm_head.weight"])
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == same


# the other ways --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_where_one_began(published: Callable, tmp_path: Path, kind: str) -> None:
    theirs = published(kind)
    first = convert(theirs.write(tmp_path / "source"), tmp_path / "ours")
    settings = publish(tmp_path / "ours", tmp_path / "theirs", shard_bytes=40_000)
    second = convert(tmp_path / "theirs", tmp_path / "again")
    assert first.to_dict() == second.to_dict()
    assert_same(opened(tmp_path / "again").state_dict(), opened(tmp_path / "ours").state_dict())
    for name in ("hidden_size", "rope_theta", "mm_vision_select_layer", "image_aspect_ratio", "im_region_fea_token", "model_type"):
        assert settings[name] == theirs.settings()[name]
    tokens = [AutoProcessor.from_pretrained(tmp_path / folder).tokenizer("A <region_fea>? 1 2").input_ids for folder in ("ours", "again")]
    assert tokens[0] == tokens[1]


def test_what_the_published_layouts_cannot_hold_is_refused(published: Callable, tmp_path: Path) -> None:
    source = published("ui").write(tmp_path / "source")
    convert(source, tmp_path / "dual", dual=True)
    convert(source, tmp_path / "upright", fields={"sampler_read": "upright"})
    for folder, said in (("dual", "local_vision_config"), ("upright", "sampler_read='upright'")):
        with pytest.raises(ValueError, match=said):
            publish(tmp_path / folder, tmp_path / "out")


@pytest.mark.parametrize("kind", ["ui", "v1"])
def test_a_projector_alone_fits_into_a_model(published: Callable, tmp_path: Path, kind: str) -> None:
    theirs = published(kind)
    model_folder = tmp_path / "model"
    convert(theirs.write(tmp_path / "source"), model_folder, dual=kind == "ui")
    weights = {name: weight + 1 for name, weight in theirs.weights.items() if name.startswith("model.mm_projector.")}
    torch.save(weights, tmp_path / "mm_projector.bin")
    with pytest.raises(ValueError, match="--allow-pickle"):
        convert_projector(tmp_path / "mm_projector.bin", tmp_path / "out", licence="mit")
    convert_projector(tmp_path / "mm_projector.bin", tmp_path / "out", licence="mit", allow_pickle=True, dual=kind == "ui")
    model, found = opened(model_folder), load_file(tmp_path / "out/projector.safetensors")
    assert not model.load_state_dict(found, strict=False).unexpected_keys
    assert_same(model.projector.state_dict(), {key.removeprefix("projector."): value for key, value in expected(weights).items()})
    if kind == "ui":
        assert_same(model.local_projector.state_dict(), model.projector.state_dict())


def test_a_file_that_is_no_projector_is_refused(tmp_path: Path) -> None:
    right = {"model.mm_projector.weight": torch.ones(2, 2), "model.mm_projector.bias": torch.ones(2)}
    wrong = {
        "model.norm.weight too": right | {"model.norm.weight": torch.ones(2)},
        "weight and bias": {"model.mm_projector.weight": torch.ones(2, 2)},
        "one linear map or of two": {"model.mm_projector.4.weight": torch.ones(2, 2), "model.mm_projector.4.bias": torch.ones(2)},
    }
    for said, weights in wrong.items():
        save_file(weights, tmp_path / "projector.safetensors")
        with pytest.raises(ValueError, match=said):
            convert_projector(tmp_path / "projector.safetensors", tmp_path / "out", licence="mit")

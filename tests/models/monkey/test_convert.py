"""Laws of Monkey's conversion: what was published is what is opened and what is published again, whole or not at all, under its own licence."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.repocard import metadata_load
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.models import MonkeyForConditionalGeneration
from foveal.models.monkey.convert import convert, publish, published_shapes
from foveal.models.monkey.published import monkey_config
from foveal.session import Session

FIRST = "transformer.visual.transformer.resblocks.0."


class Published:
    """A tiny checkpoint of random weights as its authors would publish it: a Monkey with `adapters`, a Qwen-VL without."""

    def __init__(self, ranks: Path, adapters: int) -> None:
        tokens = len(ranks.read_bytes().splitlines()) + 217
        visual = {"heads": 2, "image_size": 896 if adapters else 448, "image_start_id": tokens - 3, "layers": 2, "mlp_ratio": 4.9231}
        visual |= {"output_dim": 128, "patch_size": 14, "width": 16, "n_queries": 4}
        visual |= {"lora_repeat_num": adapters} if adapters else {}
        words = {"vocab_size": tokens + 2, "hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
        words |= {"kv_channels": 32, "layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000, "seq_length": 512, "max_position_embeddings": 1024}
        self.settings = words | {"use_dynamic_ntk": True, "use_logn_attn": True, "no_bias": True, "visual": visual}
        self.ranks, draw = ranks, torch.Generator().manual_seed(0)
        shapes = published_shapes(monkey_config(self.settings))
        self.weights = {name: torch.randn(shape, generator=draw) * 0.05 for name, shape in shapes.items()}

    def write(self, folder: Path, weights: dict[str, Tensor] | None = None, **changes: object) -> Path:
        """A whole folder, in one file."""
        folder.mkdir(parents=True)
        save_file(self.weights if weights is None else weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(self.settings | changes))
        shutil.copyfile(self.ranks, folder / "qwen.tiktoken")
        (folder / "README.md").write_text("---\nlicense: other\nlicense_name: some-research-licence\n---\n\n# Weights\n")
        return folder


@pytest.fixture(scope="module")
def theirs(rank_file: Path) -> Published:
    return Published(rank_file, 4)


@pytest.fixture(scope="module")
def qwen(rank_file: Path) -> Published:
    return Published(rank_file, 0)


def opened(folder: Path) -> MonkeyForConditionalGeneration:
    model, info = MonkeyForConditionalGeneration.from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not any(info.values()), info
    return model.eval()


def in_shards(folder: Path, weights: dict[str, Tensor], save: Callable[[dict[str, Tensor], Path], None], stem: str, ending: str) -> None:
    """Puts the weights of a folder into two files and their index."""
    (folder / "model.safetensors").unlink()
    names, index = list(weights), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"{stem}-{number:05}-of-00002.{ending}"
        save({name: weights[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": index}))


def picture() -> Image.Image:
    return Image.linear_gradient("L").resize((90, 50)).convert("RGB")


# there and back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["theirs", "qwen"])
def test_there_and_back_every_bit_is_the_same(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    published = request.getfixturevalue(kind)
    first = convert(published.write(tmp_path / "source"), tmp_path / "ours", shard_bytes=100_000)
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 1
    settings = publish(tmp_path / "ours", tmp_path / "theirs")
    found = load_file(tmp_path / "theirs/model.safetensors")
    assert found.keys() == published.weights.keys()
    assert all(torch.equal(found[name], weight) for name, weight in published.weights.items())
    assert (tmp_path / "theirs/qwen.tiktoken").read_bytes() == published.ranks.read_bytes()
    assert json.loads((tmp_path / "theirs/tokenizer_config.json").read_text())["tokenizer_class"] == "QWenTokenizer"
    assert {name: value for name, value in settings["visual"].items() if name != "mlp_ratio"} == {
        name: value for name, value in published.settings["visual"].items() if name != "mlp_ratio"
    }
    assert convert(tmp_path / "theirs", tmp_path / "again").to_dict() == first.to_dict()


def test_sharded_and_pickled_weights_convert_alike_and_pickles_want_leave(theirs: Published, tmp_path: Path) -> None:
    convert(theirs.write(tmp_path / "source"), tmp_path / "out")
    wanted = opened(tmp_path / "out").state_dict()
    in_shards(theirs.write(tmp_path / "shards"), theirs.weights, save_file, "model", "safetensors")
    in_shards(theirs.write(tmp_path / "pickled"), theirs.weights, torch.save, "pytorch_model", "bin")
    convert(tmp_path / "shards", tmp_path / "out-shards")
    with pytest.raises(ValueError, match="--allow-pickle"):
        convert(tmp_path / "pickled", tmp_path / "out-pickled")
    convert(tmp_path / "pickled", tmp_path / "out-pickled", allow_pickle=True)
    for name in ("out-shards", "out-pickled"):
        found = opened(tmp_path / name).state_dict()
        assert found.keys() == wanted.keys() and all(torch.equal(found[key], weight) for key, weight in wanted.items())


def test_a_converted_model_is_opened_by_name_and_answers(theirs: Published, tmp_path: Path) -> None:
    convert(theirs.write(tmp_path / "source"), tmp_path / "out")
    scene = Session.open(tmp_path / "out").look(picture())
    assert isinstance(scene.ask("What is it?", max_new_tokens=4).text, str)


def test_the_weights_keep_their_type_unless_another_is_asked_for(theirs: Published, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source", {name: weight.bfloat16() for name, weight in theirs.weights.items()})
    assert convert(source, tmp_path / "same").dtype == torch.bfloat16 == opened(tmp_path / "same").dtype
    convert(source, tmp_path / "other", dtype=torch.float32)
    assert opened(tmp_path / "other").dtype == torch.float32


def test_what_was_changed_is_published_too_if_it_can_be(theirs: Published, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source")
    first = convert(source, tmp_path / "wide", adapters=6, fields={"canvas": (1344, 896), "template": "chatml", "context_length": 300})
    assert publish(tmp_path / "wide", tmp_path / "wide-theirs")["visual"]["image_size"] == [896, 1344]
    assert convert(tmp_path / "wide-theirs", tmp_path / "again").to_dict() == first.to_dict()
    convert(source, tmp_path / "blind", fields={"overview": False})
    with pytest.raises(ValueError, match="overview=False; True is wanted"):
        publish(tmp_path / "blind", tmp_path / "out")
    with pytest.raises(ValueError, match="published layout already"):
        publish(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_parts_cannot_be_published(make_monkey: Any, tmp_path: Path) -> None:
    clip = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model, processor = make_monkey(vision_config={**clip, "patch_size": 4, "image_size": 16, "projection_dim": 16}, connector="linear")
    model.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="holds qwen_vision only, and this model has clip_vision_model"):
        publish(tmp_path / "ours", tmp_path / "out", licence="mit")


def test_a_tokenizer_that_is_not_qwens_cannot_be_published(theirs: Published, tokenizer: Any, tmp_path: Path) -> None:
    convert(theirs.write(tmp_path / "source"), tmp_path / "ours")
    tokenizer.save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="tokenizer is not Qwen's"):
        publish(tmp_path / "ours", tmp_path / "out")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["ours", "source"]


# a start for training --------------------------------------------------------------------------------------


def test_a_qwen_vl_sees_one_view_and_converses_if_it_was_taught_to(qwen: Published, tmp_path: Path) -> None:
    source = qwen.write(tmp_path / "source")
    plain = convert(source, tmp_path / "plain")
    assert (plain.views, plain.windows, plain.canvas, plain.vision_config.adapters, plain.template) == (1, False, [448, 448], 0, "monkey")
    (source / "generation_config.json").write_text(json.dumps({"chat_format": "chatml"}))
    assert convert(source, tmp_path / "chat").template == "chatml"
    assert isinstance(Session.open(tmp_path / "chat").look(picture()).ask("What is it?", max_new_tokens=4).text, str)
    assert convert(source, tmp_path / "start", adapters=4, fields={"canvas": (896, 896)}).template == "monkey"


@torch.no_grad()
def test_fresh_adapters_change_nothing_and_come_from_their_seed(qwen: Published, tmp_path: Path) -> None:
    source, canvas = qwen.write(tmp_path / "source"), {"canvas": (896, 896)}
    for name, options in {"none": {}, "four": {"adapters": 4}, "again": {"adapters": 4}, "other": {"adapters": 4, "seed": 1}}.items():
        config = convert(source, tmp_path / name, fields=canvas, **options)
        assert config.views == 5
    models = {name: opened(tmp_path / name) for name in ("none", "four", "again", "other")}
    views, windows = torch.rand(5, 3, 56, 56), torch.arange(4)
    assert torch.equal(models["none"]._look(views, windows), models["four"]._look(views, windows))
    down, again, other = (models[name].vision_tower.blocks[1].qkv_lora.down for name in ("four", "again", "other"))
    assert torch.equal(down, again) and not torch.equal(down, other)
    assert not torch.equal(down[0], down[1]) and not torch.equal(down, models["four"].vision_tower.blocks[0].qkv_lora.down)
    bound = down.shape[2] ** -0.5
    assert 0.9 * bound < down.abs().max() <= bound
    for lora in (module for name, module in models["four"].named_modules() if name.endswith("_lora")):
        assert not lora.up.any() and bool((lora.scale == 1).all())
    assert "untrained" in (tmp_path / "four/README.md").read_text() and "untrained" not in (tmp_path / "none/README.md").read_text()


def test_more_windows_keep_the_adapters_there_are(theirs: Published, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source")
    with pytest.raises(ValueError, match="6 windows, and there are adapters for 4"):
        convert(source, tmp_path / "out", fields={"canvas": (1344, 896)})
    with pytest.raises(ValueError, match="this checkpoint holds 4"):
        convert(source, tmp_path / "out", adapters=2)
    convert(source, tmp_path / "out", adapters=6, fields={"canvas": (1344, 896)})
    up = opened(tmp_path / "out").vision_tower.blocks[0].mlp_lora.up
    kept = torch.stack([theirs.weights[f"{FIRST}mlp_lora.{number}.lora_b.weight"] for number in range(4)])
    assert torch.equal(up[:4], kept) and not up[4:].any()


# doors -----------------------------------------------------------------------------------------------------


def test_missing_superfluous_and_odd_weights_are_named(theirs: Published, tmp_path: Path) -> None:
    odd, extra = f"{FIRST}attn.in_proj_lora.1.lora_a.weight", f"{FIRST}mlp_lora.4.lora_scale"
    weights = theirs.weights | {odd: torch.ones(3, 16), extra: torch.ones(1), "transformer.h.0.attn.c_attn_lora.lora_a.weight": torch.ones(1)}
    for name in ("lm_head.weight", f"{FIRST}mlp_lora.2.lora_b.weight"):
        del weights[name]
    with pytest.raises(ValueError) as refusal:
        convert(theirs.write(tmp_path / "source", weights), tmp_path / "out")
    said = re.split("missing: |superfluous: |of another shape: ", str(refusal.value))
    assert "lm_head.weight" in said[1] and f"{FIRST}mlp_lora.2.lora_b.weight" in said[1]
    assert extra in said[2] and "c_attn_lora" in said[2]
    assert f"{odd} [3, 16] instead of [16, 16]" in said[3]
    assert not (tmp_path / "out").exists()


def test_stored_tables_are_stale(theirs: Published, tmp_path: Path) -> None:
    stale = {"transformer.rotary_emb.inv_freq": torch.ones(16), "transformer.logn_tensor": torch.ones(1, 4, 1, 1)}
    stale |= {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(2)}
    stale |= {f"transformer.h.{layer}.attn.rotary_emb.inv_freq": torch.ones(16) for layer in range(2)}
    convert(theirs.write(tmp_path / "source", theirs.weights | stale), tmp_path / "out")
    convert(theirs.write(tmp_path / "without", theirs.weights), tmp_path / "same")
    kept, wanted = (opened(tmp_path / name).state_dict() for name in ("out", "same"))
    assert list(kept) == list(wanted) and all(torch.equal(kept[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"visual": None}, "no object 'visual'"),
        ({"visual": [1]}, "no object 'visual'"),
        ({"kv_channels": "wide"}, "no model that can be built"),
        ({"visual": {"width": 16}}, "it is no Monkey and no Qwen-VL"),
        ({"seq_length": 512, "hidden_size": 256}, "of another shape"),
    ],
)
def test_a_checkpoint_that_is_not_understood_is_refused_by_name(theirs: Published, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        convert(theirs.write(tmp_path / "source", **changes), tmp_path / "out")
    assert [folder.name for folder in tmp_path.iterdir()] == ["source"]


def test_a_vocabulary_that_is_missing_or_another_is_refused(theirs: Published, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source")
    ranks = (source / "qwen.tiktoken").read_text().splitlines(keepends=True)
    (source / "qwen.tiktoken").write_text("".join(ranks[:-1]))
    with pytest.raises(ValueError, match=r"says that <img> is token 475, and .* makes it 474"):
        convert(source, tmp_path / "out")
    (source / "qwen.tiktoken").unlink()
    with pytest.raises(ValueError, match=r"qwen\.tiktoken is wanted"):
        convert(source, tmp_path / "out")
    with pytest.raises(ValueError, match="is no folder"):
        convert(tmp_path / "nowhere", tmp_path / "out")


def test_a_model_without_a_licence_is_not_converted_and_none_is_made_up(theirs: Published, tmp_path: Path) -> None:
    source = theirs.write(tmp_path / "source")
    convert(source, tmp_path / "out", origin="https://example.org/weights")
    head, text = metadata_load(tmp_path / "out/README.md"), (tmp_path / "out/README.md").read_text()
    assert head is not None and head["license_name"] == "some-research-licence" and "apache" not in text.lower()
    assert "https://example.org/weights" in text
    (source / "README.md").unlink()
    with pytest.raises(ValueError, match="--licence"):
        convert(source, tmp_path / "again")
    convert(source, tmp_path / "again", licence="cc-by-nc-4.0")
    publish(tmp_path / "again", tmp_path / "back")
    head = metadata_load(tmp_path / "back/README.md")
    assert head is not None and head["license"] == "cc-by-nc-4.0"


@pytest.mark.parametrize("way", [convert, publish])
def test_an_interrupted_conversion_leaves_nothing(theirs: Published, tmp_path: Path, way: Callable[..., Any]) -> None:
    source, out = theirs.write(tmp_path / "source"), tmp_path / "made" / "out"
    if way is publish:
        convert(theirs.write(tmp_path / "theirs"), source := tmp_path / "ours")

    def stop(done: int, total: int) -> None:
        assert not out.exists()
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        way(source, out, shard_bytes=40_000, watch=stop)
    assert not any(out.parent.iterdir())
    way(source, out)
    with pytest.raises(ValueError, match="exists already"):
        way(source, out)

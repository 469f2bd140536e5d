"""A PixelLLM put together of trained parts: its weights are theirs, the rest begins by the seed, and the first stage teaches what it should."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BartConfig,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    SamConfig,
    SamModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5ForConditionalGeneration,
)

from foveal import Session
from foveal.cli.sources import from_file
from foveal.grounding import Example, Note, Picture, tied, write_examples
from foveal.models import open_model
from foveal.train import run_stage
from foveal.vision import VisionTower

ROOT = Path(__file__).parents[2]
assembling, pixel_llm = (from_file(ROOT / "recipes" / f"{name}.py") for name in ("assemble_pixel_llm", "pixel_llm"))
EVA = ROOT / "tests/models/pixel_llm/eva02_timm.safetensors"
SMALL = {"extractor_width": 32, "extractor_depth": 2, "extractor_heads": 4, "extractor_mlp": 48, "queries": 4, "visual_dim": 24}
SMALL |= {"location_hidden": 16, "text_length": 24, "detector": {"width": 8, "up": 8, "layers": 1, "groups": 4, "hidden": (8, 8)}}
SETTING = [f"{name}={value}" for name, value in SMALL.items()]
NEW = ("extractor.", "location_head.", "mask_adapter.", "detector.", "visual_projection.", "writer.visual_projection.", "writer.head.")
SIDE = 42
KINDS = [("eva", "bert", 0), ("siglip", "t5", 2), ("eva", "llama", 0)]


@pytest.fixture(scope="module")
def parts(pieces: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each part, as it is published."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(1)
    (folder / "eva").mkdir()
    eva = {name: value for name, value in load_file(EVA).items() if not name.startswith(("views", "features"))}
    save_file(eva, folder / "eva" / "open_clip_model.safetensors")
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 24}
    ids = {"vocab_size": len(pieces) + 3, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    sam = SamConfig(
        vision_config={**small, "mlp_dim": 48, "output_channels": 32, "image_size": 64, "num_pos_feats": 16, "window_size": 2},
        prompt_encoder_config={"hidden_size": 32, "image_size": 64},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 40, "iou_head_hidden_dim": 32},
    )
    t5 = T5Config(**ids, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", decoder_start_token_id=0)
    whole: Mapping[str, Any] = {
        "sam": SamModel(sam),
        "siglip": SiglipVisionModel(SiglipVisionConfig(**small, intermediate_size=40, image_size=28, patch_size=14)),
        "bert": BertForMaskedLM(BertConfig(vocab_size=len(pieces), **(small | {"num_hidden_layers": 7}), intermediate_size=40)),
        "t5": T5ForConditionalGeneration(t5),
        "llama": LlamaForCausalLM(LlamaConfig(**ids, **small, intermediate_size=40, tie_word_embeddings=True)),
    }
    for name, part in whole.items():
        with torch.no_grad():
            for value in part.parameters():  # as some begin, nothing could be told from them
                value.add_(torch.randn_like(value) * 0.1)
        part.save_pretrained(folder / name)
    for name in ("bert", "t5", "llama"):
        pieces.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def made(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], Path]:
    """The folder that the command makes of these parts."""
    folder = tmp_path_factory.mktemp("made")

    def make(things: str, language: str, lora: int) -> Path:
        out = folder / f"{things}-{language}"
        if not out.exists():
            assembling.main(*(str(parts / name) for name in (things, "sam", language)), out, side=SIDE, lora=lora, setting=SETTING)
        return out

    return make


@torch.no_grad()
@pytest.mark.parametrize(("things", "language", "lora"), KINDS)
def test_the_parts_weights_are_the_models(things: str, language: str, lora: int, parts: Path, made: Any) -> None:
    model: Any = open_model(str(made(things, language, lora)), torch.float32)[0]
    assert all(value.isfinite().all() for value in model.parameters())
    config, views = model.config, torch.rand(2, 3, SIDE, SIDE)
    first, second = model.towers.towers
    if things == "eva":
        eva = load_file(parts / "eva" / "open_clip_model.safetensors")
        assert (config.vision_config.rotary_side, config.vision_config.attention_norm, config.vision_colours) == (16, True, "clip")
        assert torch.equal(first.blocks[1].gate_proj.weight, eva["visual.trunk.blocks.1.mlp.fc1_g.weight"].float())
    else:
        tower = VisionTower(SiglipVisionModel.from_pretrained(parts / "siglip"), -1, normed=True)
        assert torch.equal(first(views), tower(views)) and config.vision_colours == "even"
    sam = SamModel.from_pretrained(parts / "sam")
    pixels = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(second(pixels).permute(0, 3, 1, 2), sam.get_image_embeddings(pixels))
    assert second(views).shape == (2, 2, 2, 32)
    assert torch.equal(model.location_prompts.frequencies, sam.shared_image_embedding.positional_embedding)
    assert same(model.mask_decoder, sam.mask_decoder)
    writer, ids = model.writer, torch.tensor([[2, 7, 9, 3]])
    if language == "bert":
        bert = BertForMaskedLM.from_pretrained(parts / "bert").bert
        assert len(writer.layers) == 6 and all(same(*pair) for pair in zip(writer.layers, bert.encoder.layer, strict=False))
        assert torch.equal(writer.words.weight, bert.embeddings.word_embeddings.weight)
    elif language == "t5":
        t5, visual = T5ForConditionalGeneration.from_pretrained(parts / "t5"), torch.rand(1, 4, 16)
        torch.testing.assert_close(writer(visual, ids)[0], t5(inputs_embeds=visual, decoder_input_ids=ids).logits)
        assert (config.lora_rank, config.lora_alpha) == (2, 4) and {
            value.shape[0] for name, value in writer.named_parameters() if "lora_A" in name
        } == {2}
    else:
        llama = LlamaForCausalLM.from_pretrained(parts / "llama")
        assert same(writer.model, llama) and writer.model.lm_head.weight is writer.words.weight


def test_what_is_new_begins_by_the_seed_alone(parts: Path) -> None:
    given = [str(parts / name) for name in ("eva", "sam", "t5")]

    def begun(seed: int) -> Any:
        torch.manual_seed(seed)
        return assembling.assemble(*given, side=SIDE, lora=2, **SMALL)[0]

    model, again, other = begun(0), begun(0).state_dict(), begun(1).state_dict()
    first, fresh = model.state_dict(), type(model)(model.config).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    moved = {name for name, value in first.items() if not torch.equal(value, other[name])}
    new = {name for name in first if "lora_" in name or (name.startswith(NEW) and name != "writer.head.weight")}
    assert moved == {name for name in new if fresh[name].std(correction=0) > 0} and len(moved) > 50
    for name in new:  # as wide as the model begins it
        assert first[name].std(correction=0).item() == pytest.approx(fresh[name].std(correction=0).item(), rel=6 * first[name].numel() ** -0.5), name


@pytest.mark.parametrize(("things", "language", "lora"), KINDS)
def test_what_is_made_opens_and_is_asked(things: str, language: str, lora: int, made: Any) -> None:
    scene = Session.open(str(made(things, language, lora)), "cpu").look(Image.new("RGB", (40, 30), "red"))
    assert scene.caption().text is not None and len(scene.locate("the red cup").regions) == 1
    assert scene.segment("the red cup") and scene.dense_captions() is not None


@pytest.mark.parametrize(("things", "language", "lora"), KINDS)
def test_the_first_stage_teaches_it_what_it_names(things: str, language: str, lora: int, made: Any, tmp_path: Path) -> None:
    start = made(things, language, lora)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(tmp_path / "a.png")
    pairs = [Example(str(number), (Picture(40, 30, str(tmp_path / "a.png")),), notes=(Note(tied("a red cup"), "caption"),)) for number in range(2)]
    write_examples(tmp_path / "image_text.jsonl", pairs)
    stage = pixel_llm.with_t5(pixel_llm.caption) if lora else pixel_llm.caption
    options = {**stage.recipe.options, "disable_tqdm": True}
    short = stage.set(steps=2, batch=2, workers=0, warmup=0.0, learn=dict.fromkeys(stage.recipe.learn, 1e-2), options=options)
    place = run_stage(short, tmp_path / "runs", tmp_path, str(start))
    before, after = (dict(open_model(str(folder), torch.float32)[0].named_parameters()) for folder in (start, place))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    taught = ("towers.towers.0.", "extractor.", *(("visual_projection.", "writer.") if lora else ("writer.",)))
    assert {next((part for part in taught if name.startswith(part)), name) for name in moved} == set(taught)
    assert not lora or all("lora_" in name for name in moved if name.startswith("writer."))


def test_an_untaught_language_model_and_the_releases_rotation_can_be_had(parts: Path) -> None:
    given = [str(parts / name) for name in ("eva", "sam", "bert")]
    few = {name: value for name, value in SMALL.items() if name != "detector"}
    model, processor = assembling.assemble(*given, side=SIDE, segments=False, detector=False, taught=False, rescaled=False, **few)
    words = model.writer.words.weight
    assert abs(words.std().item() - 0.02) < 0.002 and len(model.writer.layers) == 6
    assert model.config.vision_config.rotary_side is None and model.config.detector is None and not hasattr(model, "mask_decoder")
    assert (processor.begin_id, processor.end_id, processor.pad_id, processor.side) == (2, 3, 0, SIDE)


def test_eva_is_found_by_its_name_on_the_hub(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--timm--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots" / ("a" * 40)).mkdir(parents=True)
    kept = repository / "snapshots" / ("a" * 40) / "open_clip_model.safetensors"
    kept.write_bytes((parts / "eva" / "open_clip_model.safetensors").read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert assembling._eva_file("timm/tiny") == kept


REFUSED = [
    ({"things": "nothing"}, "has neither an encoder of transformers nor model.safetensors or open_clip_model.safetensors"),
    ({"things": "nowhere"}, "there is no folder .*nowhere; a part is a folder that is there, or a name on the hub"),
    ({"language": "nowhere"}, "there is no folder .*nowhere; a part is"),
    ({"things": "bert"}, "no vision tower wraps a 'bert'"),
    ({"things": "siglip", "side": 64}, "patches of 14 pixels do not divide a side of 64"),
    ({"places": "siglip"}, "is a siglip_vision_model; a SAM is wanted"),
    ({"language": "bart"}, "is a bart; a BERT, a T5 or a causal language model is wanted"),
    ({"language": "t5", "taught": False}, "is a t5, which is not begun untaught"),
    ({"language": "long"}, "is slow, or has more than the model's 20 tokens"),
    ({"setting": ["colour=red"]}, "a PixelLLM has no 'colour'"),
    ({"setting": ["prompt_dim=16"]}, "a tower for places of width 32; that of prompts, 16, is wanted"),
    ({"lora": 2, "setting": ["location_points=0"]}, "without two points a word"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(changes: Mapping[str, Any], said: str, parts: Path, pieces: Any, tmp_path: Path) -> None:
    (parts / "nothing").mkdir(exist_ok=True)
    BartConfig().save_pretrained(parts / "bart")
    BertForMaskedLM(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)).save_pretrained(
        parts / "long"
    )
    pieces.save_pretrained(parts / "long")
    given = {"things": "eva", "places": "sam", "language": "bert"} | {name: value for name, value in changes.items() if isinstance(value, str)}
    others = {name: value for name, value in changes.items() if name not in given}
    with pytest.raises(typer.BadParameter, match=said) as refused:
        assembling.main(*(str(parts / place) for place in given.values()), tmp_path / "out", **({"side": SIDE} | others))
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_written_over(parts: Path, made: Any) -> None:
    out = made(*KINDS[0])
    settings = json.loads((out / "config.json").read_text())
    assert settings["model_type"] == "pixel_llm" and settings["segments"] and settings["detector"]["width"] == 8
    with pytest.raises(typer.BadParameter, match="is there already"):
        assembling.main(*(str(parts / name) for name in ("eva", "sam", "bert")), out)


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())

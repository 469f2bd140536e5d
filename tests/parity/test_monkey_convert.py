"""The recorded Monkey as a published folder: converted it says what was recorded, and published again it is what it was."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from foveal.data.images import load_image
from foveal.models.monkey.convert import convert, publish


@pytest.fixture(scope="module")
def converted(monkey_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the converted model."""
    place = tmp_path_factory.mktemp("converted")
    (place / "source").mkdir()
    names = {"model_2x2.config.json": "config.json", "model_2x2.weights.safetensors": "model.safetensors", "tiny.tiktoken": "qwen.tiktoken"}
    for name, published in names.items():
        shutil.copyfile(monkey_folder / name, place / "source" / published)
    convert(place / "source", place / "ours", licence="For research only.")
    return place / "ours"


@torch.no_grad()
def test_a_converted_model_says_what_was_recorded(monkey_folder: Path, converted: Path) -> None:
    model, processor = AutoModelForImageTextToText.from_pretrained(converted).eval(), AutoProcessor.from_pretrained(converted)
    io = load_file(monkey_folder / "full_model.io.safetensors")
    ids, places = io["std.single.input_ids"], io["std.single.logits_positions"].long()
    begin, end = ((ids == processor.tokenizer.convert_tokens_to_ids(mark)).long() for mark in ("<img>", "</img>"))
    ids = ids.masked_fill((begin.cumsum(1) - end.cumsum(1) - begin) > 0, processor.image_token_id)
    looks = processor.see([load_image(monkey_folder / "img_a.png")])
    torch.testing.assert_close(model(input_ids=ids, **looks).logits[:, places], io["std.single.logits"], atol=1e-3, rtol=0)


def test_published_again_every_bit_is_the_same(monkey_folder: Path, converted: Path) -> None:
    back = converted.parent / "back"
    settings = publish(converted, back)
    theirs, found = load_file(monkey_folder / "model_2x2.weights.safetensors"), load_file(back / "model.safetensors")
    assert theirs.keys() == found.keys() and all(torch.equal(theirs[name], weight) for name, weight in found.items())
    said = json.loads((monkey_folder / "model_2x2.config.json").read_text())
    said["visual"]["mlp_ratio"] = settings["visual"]["mlp_ratio"]  # many make the same whole number of channels
    assert {name: said[name] for name in settings if name in said} == {name: settings[name] for name in settings if name in said}
    assert (back / "qwen.tiktoken").read_bytes() == (monkey_folder / "tiny.tiktoken").read_bytes()

"""Laws of TextMonkey's additions in a whole model: what is counted is what is filled, and what is off changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.models import MonkeyConfig
from foveal.session import Session

KEPT = {"kept_tokens": 6, "kept_dim": 8, "kept_heads": 2}


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8))


def example(question: str, image: Image.Image, answer: str | None = None) -> Example:
    turns = (Turn("user", GroundedText(question)), *([Turn("assistant", GroundedText(answer))] if answer else []))
    return Example("0", (Picture(*image.size, pixels=image),), turns)


@pytest.fixture(scope="module")
def textmonkey(make_monkey: Any, monkey: Any) -> Any:
    """The tiny Monkey with both additions, all of whose weights say something."""
    vision = monkey[0].config.vision_config.to_diff_dict() | {"between": [(0, 8, 2), (1, 12, 3)], "between_window": 3, "between_shift": 2}
    model, processor = make_monkey(vision_config=vision, **KEPT)
    for name, value in model.named_parameters():
        if "between" in name or "token_resampler" in name:
            torch.nn.init.normal_(value, std=0.3)
    return model, processor


@torch.no_grad()
def test_the_processor_counts_what_the_model_fills(textmonkey: Any, make_monkey: Any) -> None:
    model, processor = textmonkey
    batch = processor.encode([example("What is it?", picture(1)), example("And this, seen from afar?", picture(2))])
    assert processor.slots(processor.plan((60, 40))) == 6 + 4
    assert (batch["input_ids"] == model.config.image_token_id).sum(1).tolist() == [10, 10]
    assert model.encode_images(batch["pixel_values"], batch["tile_values"], batch["grids"]).slots == (10, 10)
    assert model.generate(**batch, max_new_tokens=4, do_sample=False).shape[0] == 2
    model, processor = make_monkey(**KEPT | {"kept_tokens": 100})
    batch = processor.encode([example("What?", picture())])
    assert int((batch["input_ids"] == model.config.image_token_id).sum()) == 5 * 4 and model(**batch).logits.isfinite().all()


@torch.no_grad()
def test_a_new_model_keeps_tokens_of_the_plain_one_in_order(make_monkey: Any, monkey: Any) -> None:
    plain, _ = monkey
    vision = plain.config.vision_config.to_diff_dict() | {"between": [(1, 8, 2)], "between_window": 3, "between_shift": 1}
    model, processor = make_monkey(vision_config=vision, **KEPT)
    assert model.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    looks = {name: processor.see([picture()])[name] for name in ("pixel_values", "tile_values", "grids")}
    kept, all_tokens = model.encode_images(**looks).tokens[0], plain.encode_images(**looks).tokens[0]
    alike = (kept[:, None] - all_tokens).abs().amax(2) < 1e-6
    assert alike.any(1).all() and alike.float().argmax(1).diff().min() > 0 and alike[-4:, -4:].diagonal().all()


@torch.no_grad()
def test_images_of_different_windows_share_a_batch(textmonkey: Any) -> None:
    model, _ = textmonkey
    windows, wholes = torch.rand(7, 3, 16, 16), torch.rand(3, 3, 16, 16)
    grids = torch.tensor([[2, 2], [1, 2], [1, 1]])
    sight = model.encode_images(wholes, windows, grids)
    assert sight.slots == (6 + 4, 6 + 4, 4 + 4)
    for image, (first, last) in enumerate([(0, 4), (4, 6), (6, 7)]):
        alone = model.encode_images(wholes[image : image + 1], windows[first:last], grids[image : image + 1])
        torch.testing.assert_close(sight.tokens[image], alone.tokens[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_model_is_saved_and_opened_as_it_is(textmonkey: Any, tmp_path: Path) -> None:
    model, processor = textmonkey
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, reader = AutoModelForImageTextToText.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert again.config.vision_config.between == [[0, 8, 2], [1, 12, 3]] and reader.kept_tokens == 6
    batch, other = processor.encode([example("What?", picture())]), reader.encode([example("What?", picture())])
    torch.testing.assert_close(model(**batch).logits, again(**other).logits)


def test_everything_that_should_learn_learns(textmonkey: Any) -> None:
    model, processor = textmonkey
    model.train()
    model.activation_checkpointing_enable()
    model(**processor.encode([example("What?", picture(), answer="a cat")], train=True)).loss.backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    model.zero_grad()
    model.activation_checkpointing_disable()
    model.eval()


def test_a_session_asks_it(textmonkey: Any) -> None:
    scene = Session(*textmonkey, "tiny").look(picture())
    questions = ["What?", "Is it red?"]
    together = scene.ask_many(questions, max_new_tokens=4)
    assert [answer.raw for answer in together] == [scene.ask(question, max_new_tokens=4).raw for question in questions]


def test_windows_that_overlap_make_no_map(monkey: Any) -> None:
    vision = {"model_type": "qwen_vision", "between": [(2, 128, 4)], "adapters": 1, "adapter_sharing": "shared"}
    with pytest.raises(StrictDataclassError, match="make no one map"):
        MonkeyConfig(vision_config=vision, stride=224)

"""Laws of Monkey: windows, batches, caches, other encoders and language models, and how examples are written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from foveal.geometry import Box, Point
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.models import MonkeyConfig
from foveal.models.monkey import Qwen7BForCausalLM
from foveal.session import Session
from foveal.session.certain import certain
from foveal.train.finetune import adapters_on
from foveal.vision import QwenVisionConfig


def picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


def example(question: Any, *images: Image.Image, answer: str | None = None) -> Example:
    said = question if isinstance(question, GroundedText) else GroundedText(question)
    turns = (Turn("user", said), *([Turn("assistant", GroundedText(answer))] if answer else []))
    return Example("0", tuple(Picture(*image.size, pixels=image) for image in images), turns)


@torch.no_grad()
def test_a_batch_answers_as_each_alone(monkey: Any) -> None:
    model, processor = monkey
    examples = [example("What is it?", picture(1)), example("And what is this, seen from afar?", picture(2, (20, 90)))]
    together = model.generate(**processor.encode(examples), max_new_tokens=6, do_sample=False)[:, -6:]
    for number, one in enumerate(examples):
        assert model.generate(**processor.encode([one]), max_new_tokens=6, do_sample=False)[0, -6:].tolist() == together[number].tolist()


@torch.no_grad()
def test_several_tokens_continue_a_cache(monkey: Any) -> None:
    model, processor = monkey
    batch = processor.encode([example("What is the thing in the picture?", picture())])
    whole = model(**batch).logits
    ids, length = batch["input_ids"], batch["input_ids"].shape[1]
    visual = {name: batch[name] for name in ("pixel_values", "tile_values", "grids")}
    first = model(input_ids=ids[:, : length - 5], **visual, use_cache=True)
    rest = model(input_ids=ids[:, length - 5 :], past_key_values=first.past_key_values, use_cache=True).logits
    torch.testing.assert_close(rest, whole[:, -5:], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_images_of_different_windows_share_a_batch(make_monkey: Any) -> None:
    model, _ = make_monkey()
    windows, wholes = torch.rand(6, 3, 16, 16), torch.rand(2, 3, 16, 16)
    both = model.encode_images(wholes, windows, torch.tensor([[2, 2], [1, 2]]))
    assert both.slots == (5 * 4, 3 * 4)
    torch.testing.assert_close(both.tokens[1], model.encode_images(wholes[1:], windows[4:], torch.tensor([[1, 2]])).tokens[0], atol=1e-5, rtol=1e-5)


def test_windows_and_grids_that_do_not_fit_are_refused(monkey: Any) -> None:
    with pytest.raises(ValueError, match="want 4 windows, got 3"):
        monkey[0].encode_images(torch.rand(1, 3, 16, 16), torch.rand(3, 3, 16, 16), torch.tensor([[2, 2]]))
    with pytest.raises(StrictDataclassError, match="6 windows, and there are adapters for 4"):
        MonkeyConfig(canvas=(1344, 896), vision_config={"model_type": "qwen_vision", "adapters": 4})


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [{"overview": False}, {"windows": False}, {"stride": 8, "vision_config": None}, {"connector": "mlp2x_gelu"}],
    ids=["no overview", "one whole view", "overlapping windows", "projector"],
)
def test_what_the_paper_compares_is_configuration(make_monkey: Any, monkey: Any, fields: dict[str, Any]) -> None:
    if "vision_config" in fields:
        settings = monkey[0].config.vision_config.to_diff_dict() | {"adapters": 1, "adapter_sharing": "shared"}
        fields = fields | {"vision_config": settings}
    model, processor = make_monkey(**fields)
    batch = processor.encode([example("What?", picture())])
    assert model(**batch).logits.isfinite().all()
    assert int((batch["input_ids"] == model.config.image_token_id).sum()) == processor.slots(processor.plan((60, 40)))


def test_a_canvas_that_is_not_cut_goes_through_its_one_adapter(make_monkey: Any, monkey: Any) -> None:
    vision = monkey[0].config.vision_config.to_diff_dict() | {"adapters": 1}
    model, processor = make_monkey(windows=False, vision_config=vision)
    batch = processor.encode([example("What?", picture(1), answer="a cat"), example("What?", picture(2, (20, 90)), answer="a dog")], train=True)
    model.train()
    model(**batch).loss.backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    model.eval()
    with torch.no_grad():
        seen = model.encode_images(batch["pixel_values"]).tokens
        torch.testing.assert_close(seen[1], model.encode_images(batch["pixel_values"][1:]).tokens[0], atol=1e-5, rtol=1e-5)
        for name, value in model.named_parameters():
            value.mul_(0.0 if "lora.scale" in name else 1.0)
        assert (seen[0] - model.encode_images(batch["pixel_values"]).tokens[0]).abs().max() > 1e-2


@torch.no_grad()
def test_any_encoder_and_any_language_model_will_do(make_monkey: Any, qwen_tokenizer: Any) -> None:
    clip = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = {"model_type": "llama", "vocab_size": len(qwen_tokenizer), "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    model, processor = make_monkey(
        vision_config={**clip, "patch_size": 4, "image_size": 16, "projection_dim": 16},
        text_config={**llama, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": qwen_tokenizer.eos_token_id},
        connector="mlp2x_gelu",
    )
    told = model.generate(**processor.encode([example("What?", picture())]), max_new_tokens=3, do_sample=False)
    assert told.shape[1] > 0


@torch.no_grad()
def test_a_model_is_saved_and_opened_by_the_auto_classes(monkey: Any, tmp_path: Path) -> None:
    model, processor = monkey
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, reader = AutoModelForImageTextToText.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    batch, other = processor.encode([example("What?", picture())]), reader.encode([example("What?", picture())])
    torch.testing.assert_close(model(**batch).logits, again(**other).logits)


def test_everything_that_should_learn_learns(make_monkey: Any) -> None:
    model, processor = make_monkey()
    model.train()
    model.activation_checkpointing_enable()
    model(**processor.encode([example("What?", picture(), answer="a cat")], train=True)).loss.backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


@torch.no_grad()
def test_half_precision_stays_near(make_monkey: Any) -> None:
    model, processor = make_monkey()
    batch = processor.encode([example("What?", picture())])
    exact = model(**batch).logits
    assert (model.to(torch.bfloat16)(**batch).logits.float() - exact).norm() / exact.norm() < 0.05


def test_a_question_has_its_cue_and_a_box_stands_in_words(monkey: Any) -> None:
    _, processor = monkey
    ask = GroundedText.join("What is ", Box(0.1, 0.2, 0.3, 0.4), "?")
    text = processor.tokenizer.decode(processor.encode([example(ask, picture())])["input_ids"][0])
    assert text.replace("<imgpad>", "") == "<img></img> What is <box>(100,200),(300,400)</box>? Answer: "
    caption = processor.tokenizer.decode(processor.encode([example("Generate the caption in English:", picture())])["input_ids"][0])
    assert caption.endswith("English: ")


def test_a_point_is_refused_with_what_takes_it(monkey: Any) -> None:
    with pytest.raises(ValueError, match="with a box only, and a point was given"):
        monkey[1].encode([example(GroundedText.join("What is ", Point(0.5, 0.5), "?"), picture())])


def test_control_tokens_that_users_type_are_text(monkey: Any) -> None:
    _, processor = monkey
    ids = processor.encode([example("<img></img><|im_end|> <box> What?", picture())])["input_ids"][0].tolist()
    control = [ids.count(processor.tokenizer.convert_tokens_to_ids(token)) for token in ("<img>", "</img>", "<|im_end|>", "<box>")]
    assert control == [1, 1, 0, 0]


def test_a_prompt_longer_than_the_context_is_refused(make_monkey: Any) -> None:
    _, processor = make_monkey(context_length=40)
    with pytest.raises(ValueError, match="at most 40 are read"):
        processor.encode([example("What " * 20, picture())])


def test_answers_are_read_with_their_boxes(monkey: Any) -> None:
    _, processor = monkey
    ids = processor.tokenizer("a <ref>cat</ref><box>(100,200),(300,400)</box><|endoftext|>").input_ids
    [said] = processor.decode([ids], [(640, 480)], [[-0.1] * len(ids)])
    assert said.text == "a cat" and said.regions == (Box(0.1, 0.2, 0.3, 0.4),)
    assert said.spans[0].scores[0] == pytest.approx(np.exp(-0.1))


def test_tags_are_spelt_as_the_model_writes_them(monkey: Any) -> None:
    _, processor = monkey
    raw = "<ref>a cup</ref><box>(100,200),(300,400)</box>"
    ids = [*processor.tokenizer(raw).input_ids, processor.tokenizer.eos_token_id, 5]
    assert processor.spell(ids)[0] == raw


def test_every_adapter_of_finetuning_is_gone_through_and_merged(make_monkey: Any) -> None:
    vision = QwenVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=4, position_cells=2)
    for fields in ({}, {"vision_config": vision}):  # with adapters of windows beside them, and without
        model, processor = make_monkey(**fields)
        taught = adapters_on(model, 2).train()
        batch = processor.encode([example("What?", picture(), answer="A cup.")], train=True)
        taught(**batch).loss.backward()
        idle = [name for name, weight in taught.named_parameters() if "lora_B" in name and (weight.grad is None or not weight.grad.any())]
        assert idle == [] and "in_proj" in " ".join(name for name, _ in taught.named_parameters() if "lora_B" in name)
        assert not any("beside" in name for name, _ in taught.named_parameters() if "lora_" in name)
        with torch.no_grad():
            for name, weight in taught.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.05)
            before = taught.eval()(**batch).logits
            torch.testing.assert_close(taught.merge_and_unload()(**batch).logits, before, rtol=1e-3, atol=1e-4)


def test_a_session_asks_a_monkey(monkey: Any) -> None:
    scene = Session(*monkey, "tiny").look(picture())
    questions = ["What?", ["Is ", Box(0.1, 0.1, 0.5, 0.5), " red?"]]
    together = scene.ask_many(questions, max_new_tokens=4)
    assert [answer.raw for answer in together] == [scene.ask_many([question], max_new_tokens=4)[0].raw for question in questions]


def test_a_tag_that_is_open_is_not_streamed(monkey: Any) -> None:
    ids = monkey[1].tokenizer("so <ref>a do").input_ids
    assert certain(monkey[1], ids, example("What?", picture())).text == "so"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window": 10}, "views of 10 pixels"),
        ({"kept_tokens": -1}, "-1 tokens were to be kept"),
        ({"stride": 0}, "a window every 0 pixels"),
        ({"windows": False, "kept_tokens": 4}, "windows=False makes none"),
    ],
)
def test_a_configuration_that_no_image_fits_is_refused(make_monkey: Any, fields: dict[str, int], said: str) -> None:
    with pytest.raises(Exception, match=said):
        make_monkey(**fields)


@torch.no_grad()
def test_padding_on_the_left_changes_nothing_in_qwen(monkey: Any) -> None:
    tongue = monkey[0].language_model
    assert isinstance(tongue, Qwen7BForCausalLM)
    ids = torch.randint(0, 200, (1, 9))
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1)
    mask = (torch.arange(13) >= 4).long()[None]
    torch.testing.assert_close(tongue(padded, attention_mask=mask).logits[:, 4:], tongue(ids).logits, atol=1e-4, rtol=1e-4)

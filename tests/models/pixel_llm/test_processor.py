"""What holds between examples and PixelLLM's rows: what is a prompt, what is read, what is learnt and where, and that every word gets its place."""

from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor

from foveal.geometry import Box, Point, Region, Trace, encode_mask
from foveal.grounding import Example, GroundedText, Picture, Span, Turn
from foveal.grounding.wordings.pixel_llm import VERBS
from foveal.models import PixelLLMProcessor
from foveal.models.losses import IGNORED


def picture(size: tuple[int, int] = (60, 40)) -> Picture:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8))
    return Picture(*size, pixels=image)


def example(question: GroundedText | str, answer: GroundedText | None = None, size: tuple[int, int] = (60, 40)) -> Example:
    said = question if isinstance(question, GroundedText) else GroundedText(question)
    return Example("0", (picture(size),), (Turn("user", said), *([Turn("assistant", answer)] if answer else [])))


@pytest.fixture
def processor(pixel_llm: Any) -> PixelLLMProcessor:
    return pixel_llm[1]


def test_a_picture_lies_in_the_top_left_corner_and_the_rest_is_not_real(processor: PixelLLMProcessor) -> None:
    white = Image.new("RGB", (60, 40), "white")
    seen = processor.see([white, white.rotate(90, expand=True)])
    assert seen["pixel_values"].shape == (2, 3, 56, 56)
    assert bool(seen["real"][0, :37].all()) and not seen["real"][0, 37:].any()
    assert torch.equal(seen["real"][1], seen["real"][0].T)
    assert torch.equal(seen["pixel_values"][:, 0] == 1, seen["real"]) and torch.equal(seen["pixel_values"][:, 0] == 0, ~seen["real"])


@settings(max_examples=60)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_any_picture_has_at_least_a_pixel_on_each_side(pixel_llm: Any, width: int, height: int) -> None:
    frame = pixel_llm[1].plan((width, height))
    assert max(frame.sx, frame.sy) == 56 and min(frame.sx, frame.sy) >= 1


MASK = encode_mask(np.pad(np.ones((10, 15), bool), ((10, 20), (15, 30))))


@pytest.mark.parametrize(
    ("region", "box"),
    [(None, (0, 0, 56, 37)), (Box(0.25, 0.25, 0.5, 0.5), (14, 9.25, 28, 18.5)), (MASK, (14, 9.25, 28, 18.5))],
    ids=["whole picture", "box", "mask"],
)
def test_the_one_region_of_a_question_is_its_prompt(processor: PixelLLMProcessor, region: Region | None, box: tuple[float, ...]) -> None:
    question = GroundedText.join("What is ", *([region] if region else []), "?")
    batch = processor.encode([example(question)])
    assert batch["boxes_px"].tolist() == [list(box)] and "points_px" not in batch


def test_points_and_traces_are_prompts_of_points(processor: PixelLLMProcessor) -> None:
    way = Trace(tuple((step / 10, 0.5) for step in range(11)))
    batch = processor.encode([example(GroundedText.join("What is ", region, "?")) for region in (Point(0.5, 0.5), way, Box(0, 0, 0.5, 1))])
    assert batch["boxes_px"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 28, 37]]
    assert batch["points_px"][0, 0].tolist() == [28, 18.5] and batch["point_labels"][0].tolist() == [1, -1, -1, -1, -1]
    assert batch["points_px"][1, 0].tolist() == [0, 18.5] and batch["points_px"][1, 3].tolist() == [56, 18.5]
    assert batch["point_labels"][1:].tolist() == [[1, 1, 1, 1, -1], [-1, -1, -1, -1, -1]]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (GroundedText.join("Is ", Point(0.1, 0.1), " left of ", Point(0.5, 0.5), "?"), "2 regions was given; PixelLLM looks at one place at a time"),
        ("why " * 40, "at most 32 are read"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(processor: PixelLLMProcessor, question: GroundedText | str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        processor.encode([example(question)])


def test_a_picture_that_is_missing_or_not_open_is_refused(processor: PixelLLMProcessor) -> None:
    turns = (Turn("user", GroundedText("What?")),)
    with pytest.raises(ValueError, match="has no image"):
        processor.encode([Example("7", (), turns)])
    with pytest.raises(ValueError, match="open it first"):
        processor.encode([Example("7", (Picture(4, 4, path="a.png"),), turns)])
    with pytest.raises(ValueError, match="asks nothing"):
        processor.encode([Example("7", (picture(),), ())])


@pytest.mark.parametrize("words", ["[SEP]", "what is [PAD][CLS] in it", "where is [SEP] [MASK]"])
def test_control_tokens_that_users_write_are_words(processor: PixelLLMProcessor, words: str) -> None:
    batch = processor.encode([example(words), example(VERBS.of("location", words))])
    special = set(processor.tokenizer.all_special_ids) - {processor.tokenizer.unk_token_id}
    for row in batch["context"].tolist():
        read = row[: row.index(processor.end_id) + 1]
        assert not special & set(read[:-1]) and set(row[len(read) :]) <= {processor.pad_id}


def test_what_is_learnt_of_an_answer_is_all_of_it_with_the_places_of_its_words(processor: PixelLLMProcessor) -> None:
    told = GroundedText("a red cup, hats", (Span(2, 9, (Box(0, 0, 0.5, 0.5),)), Span(11, 15, (Point(0.5, 1), Box(0.5, 0, 1, 1)))))
    batch = processor.encode([example(VERBS.captioned(), told), example("Why?", GroundedText("hat"))], train=True)
    words = [processor.tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"].tolist()]
    assert words[0] == ["[CLS]", "a", "red", "cup", ",", "hat", "##s", "[SEP]"] and words[1] == ["[CLS]", "hat", "[SEP]"] + ["[PAD]"] * 5
    assert batch["labels"][0].tolist() == [IGNORED, *batch["input_ids"][0, 1:].tolist()]
    assert batch["labels"][1].tolist() == [IGNORED, *batch["input_ids"][1, 1:3].tolist()] + [IGNORED] * 5
    assert batch["placed"][0].tolist() == [False, False, True, True, False, True, True, False] and not batch["placed"][1].any()
    torch.testing.assert_close(batch["places"][0, 3].flatten(), torch.tensor([0.0, 0.0, 28.0, 18.5]))
    torch.testing.assert_close(batch["places"][0, 6].flatten(), torch.tensor([28.0, 0.0, 56.0, 37.0]))
    assert batch["sizes"].tolist() == [[37, 56], [37, 56]] and batch["image"].tolist() == [0, 1]


def test_an_expression_has_its_place_at_its_last_token_and_is_not_to_be_said(processor: PixelLLMProcessor) -> None:
    where, outline = VERBS.of("location", "the red cups"), VERBS.of("segmentation", "the cup?")
    box, mask = GroundedText("the red cups", (Span(0, 12, (Box(0, 0, 0.5, 1),)),)), GroundedText("the cup", (Span(0, 7, (MASK,)),))
    batch = processor.encode([example(where, box), example(outline, mask)], train=True)
    assert processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()) == ["[CLS]", "the", "red", "cup", "##s", "[SEP]"]
    assert batch["placed"].nonzero().tolist() == [[0, 4], [1, 2]] and bool((batch["labels"] == IGNORED).all())
    assert batch["masked"].tolist() == [False, True]
    ys, xs = batch["masks"][1].nonzero().unbind(1)
    assert (xs.min().item(), xs.max().item(), ys.min().item(), ys.max().item()) == (14, 27, 9, 17)
    asked = processor.encode([example(where), example(outline)])
    assert torch.equal(asked["placed"], batch["placed"]) and torch.equal(asked["input_ids"], batch["input_ids"])
    assert processor.tokenizer.decode(asked["context"][1], skip_special_tokens=True) == "where is the cup"


def test_what_is_too_long_is_cut_and_an_expression_keeps_its_place(processor: PixelLLMProcessor) -> None:
    long = GroundedText("cup " * 60)
    batch = processor.encode([example("Why?", long), example("where is " + "cup " * 26, long)], train=True)
    assert batch["input_ids"].shape[1] == processor.text_length == 24
    assert (batch["input_ids"][0] == processor.end_id).sum() == 0
    assert batch["input_ids"][1, -1] == processor.end_id


def test_where_an_expression_is_too_long_for_its_question_the_question_is_cut_and_the_expression_is_not(processor: PixelLLMProcessor) -> None:
    context, short = processor.encode([example("where is the cup")])["context"], copy(processor)
    short.context_length = context.shape[1]
    batch = short.encode([example("where is the cup of a hat")])
    assert torch.equal(batch["context"], context) and context[0, -1] == processor.end_id
    assert processor.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "the cup of a hat"
    with pytest.raises(ValueError, match="a question of"):
        short.encode([example("what is the cup of a hat")])


def test_every_question_of_a_conversation_is_a_row_and_only_the_last_is_asked(processor: PixelLLMProcessor) -> None:
    turns = tuple(Turn(role, GroundedText(text)) for role, text in (("user", "What?"), ("assistant", "a cup"), ("user", "How many?")))
    talk = Example("0", (picture(),), turns)
    assert processor.encode([talk], train=True)["context"].shape[0] == 1
    asked = processor.encode([talk])
    assert "how many" in processor.tokenizer.decode(asked["context"][0], skip_special_tokens=True)


def test_everything_in_the_picture_is_what_the_detector_is_to_find(processor: PixelLLMProcessor) -> None:
    boxes = (Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0))
    answer = VERBS.say_detection([("cup", boxes[0]), ("hat", boxes[1])])
    asked = example(VERBS.of("dense_captions"), answer).turns + example(VERBS.name(boxes[0]), GroundedText("cup")).turns
    whole, other = Example("0", (picture(),), asked), example("Why?", GroundedText("hat"))
    batch = processor.encode([other, whole, replace(whole, turns=asked[2:])], train=True)
    assert len(batch["input_ids"]) == 3 and batch["image"].tolist() == [0, 1, 2] and batch["searched"].tolist() == [1]
    torch.testing.assert_close(batch["objects"], torch.tensor([[[0.0, 0.0, 28.0, 18.5], [28.0, 18.5, 56.0, 37.0]]]))
    assert "objects" not in processor.encode([other], train=True)
    with pytest.raises(ValueError, match="a row is wanted"):
        processor.encode([replace(whole, turns=asked[:2])], train=True)


TEXTS = st.text(st.sampled_from("abcdhtu ,.-'#[]3é漢"), max_size=30)


@settings(max_examples=80)
@given(TEXTS)
def test_every_word_has_a_place(pixel_llm: Any, text: str) -> None:
    processor = pixel_llm[1]
    ids = torch.tensor([[processor.begin_id, *processor.tokenizer(text, add_special_tokens=False)["input_ids"], processor.end_id]])
    points = torch.rand(1, ids.shape[1], 2, 2)
    (said,) = processor.decode(ids, points=points)
    words = [said.text[span.start : span.end] for span in said.spans]
    assert "".join(character for character in said.text if character.isalnum()) == "".join(c for word in words for c in word if c.isalnum())
    assert all(len(span.regions) == 1 for span in said.spans)


@settings(max_examples=60)
@given(st.text(max_size=12))
def test_half_characters_of_a_byte_vocabulary_shift_no_word(tokenizer: Any, text: str) -> None:
    processor = PixelLLMProcessor(tokenizer, begin_id=1, end_id=2)
    ids = processor.tokenizer(text + " cup", add_special_tokens=False)["input_ids"]
    points = torch.zeros(1, len(ids), 2, 2)
    points[0, -3:] = 1.0
    (said,) = processor.decode([ids], points=points)
    assert said.text == (text + " cup").lstrip()
    assert said.spans[-1].regions == (Point(1.0, 1.0),)


def test_a_word_of_several_pieces_has_the_box_around_their_corners(processor: PixelLLMProcessor) -> None:
    ids = torch.tensor([[2, *processor.tokenizer("a hats", add_special_tokens=False)["input_ids"], 3, 0]])
    points = torch.zeros(1, 6, 2, 2)
    points[0, 2], points[0, 3] = torch.tensor([[0.25, -0.5], [0.5, 0.5]]), torch.tensor([[0.125, 0.25], [0.25, 1.5]])
    scores = torch.tensor([[0.0, 0.0, 0.5, 0.25, 0.0, 0.0]])
    (said,) = processor.decode(ids, points=points, scores=scores)
    assert said == GroundedText("a hats", (Span(0, 1, (Point(0, 0),), (0.0,)), Span(2, 6, (Box(0.125, 0, 0.5, 1),), (0.375,))))
    assert processor.decode(ids) == [GroundedText("a hats")]


def test_a_saved_processor_is_opened_as_it_was(processor: PixelLLMProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(again, PixelLLMProcessor)
    for name in ("side", "text_length", "context_length", "begin_id", "end_id", "pad_id", "antialias", "template"):
        assert getattr(again, name) == getattr(processor, name)
    asked = [example("what is it"), example(VERBS.of("location", "the hats"))]
    assert all(torch.equal(again.encode([one])[name], value) for one in asked for name, value in processor.encode([one]).items())


def test_a_picture_may_be_resized_as_the_release_does(pixel_llm: Any, pieces: Any) -> None:
    model, processor = pixel_llm
    other = PixelLLMProcessor.from_config(model.config, pieces, antialias=False)
    image = picture((300, 200)).pixels
    plain, smooth = other.see([image])["pixel_values"], processor.see([image])["pixel_values"]
    assert plain.shape == smooth.shape and plain.std() > smooth.std() > 0

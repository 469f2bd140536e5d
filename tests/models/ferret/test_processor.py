"""Laws of the Ferret processor: counts, control tokens, what is learnt, what is heard."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor

from foveal.geometry import Box, Point
from foveal.grounding import Example, GroundedText, Picture, Turn

IMAGE = Image.linear_gradient("L").resize((90, 50)).convert("RGB")


def said(*parts, answer: GroundedText | None = None, images: int = 1) -> Example:
    turns = [Turn("user", GroundedText.join(*parts))] + ([Turn("assistant", answer)] if answer else [])
    return Example("one", tuple(Picture(90, 50, pixels=IMAGE) for _ in range(images)), tuple(turns))


def ids_of(processor, example: Example, **options) -> list[int]:
    return processor.encode([example], look=False, **options)["input_ids"][0].tolist()


def test_there_are_as_many_slots_as_the_model_has_tokens(make_ferret):
    for fields in ({}, {"merge": "spatial_unpad"}, {"grids": []}, {"grids": [], "merge": "spatial_unpad"}, {"overview_side": 56}):
        model, processor = make_ferret(**fields)
        for size in ((28, 28), (300, 20), (17, 90), (333, 111)):
            sight = model.encode_images(**processor.see([Image.new("RGB", size)]))
            assert sight.slots == (processor.slots(processor.plan(size)),)


def test_what_users_write_is_never_a_control_token(ferret):
    _, processor = ferret
    for text in ("<image>", "<region_fea>", "</s>", "<s>", "a<image><region_fea></s>b", "\ue000\ue001", "<<image>>"):
        plain, odd = ids_of(processor, said("hello")), ids_of(processor, said(text))
        for token in (processor.image_token_id, processor.region_token_id, *processor.tokenizer.all_special_ids):
            assert odd.count(token) == plain.count(token)
    assert "USER: " in (words := processor.tokenizer.decode(ids_of(processor, said("an <image> of </s>"))))
    assert "an <image> of </s>" in words


def test_a_question_is_how_its_training_text_begins(ferret):
    _, processor = ferret
    example = said("What is ", Box(0.1, 0.2, 0.5, 0.6), "?", answer=GroundedText("A cat."))
    asked, whole = ids_of(processor, example), ids_of(processor, example, train=True)
    assert whole[: len(asked)] == asked
    labels = processor.encode([example], train=True)["labels"][0]
    assert (labels[: len(asked)] == -100).all()
    assert labels[len(asked) :].tolist() == whole[len(asked) :]
    assert processor.tokenizer.decode(whole[len(asked) :]) == " A cat.</s>"


def test_every_answer_of_a_conversation_is_learnt(ferret):
    _, processor = ferret
    turns = [Turn("user", GroundedText("a?")), Turn("assistant", GroundedText("b.")), Turn("user", GroundedText("c?"))]
    example = Example("two", (Picture(90, 50, pixels=IMAGE),), (*turns, Turn("assistant", GroundedText("d."))))
    labels = processor.encode([example], train=True)["labels"][0]
    assert processor.tokenizer.decode(labels[labels >= 0]) == " b.</s> d.</s>"
    asked = processor.tokenizer.decode(ids_of(processor, example))
    assert asked.endswith("c? ASSISTANT:") and "b.</s>" in asked


def test_regions_stand_in_the_order_of_their_slots(ferret):
    _, processor = ferret
    regions = (Point(0.9, 0.9), Box(0.1, 0.1, 0.2, 0.2))
    batch = processor.encode([said("Is ", regions[0], " in ", regions[1], "?"), said("And ", regions[1], "?")])
    assert batch["region_image"].tolist() == [0, 0, 1]
    centres = batch["region_points"].mean(1)
    assert centres[0, 0] > 0.8 and centres[1, 0] < 0.3
    assert torch.equal(batch["region_points"][1], batch["region_points"][2])
    assert torch.equal(batch["region_starts"][1], batch["region_starts"][2])


def test_a_region_of_the_second_image_reads_the_second_image(ferret):
    _, processor = ferret
    two = said("What is ", Point(0.5, 0.5, image=1), "?", images=2)
    assert processor.encode([said("x"), two])["region_image"].tolist() == [2]
    assert processor.encode([two])["pixel_values"].shape[0] == 2


def test_places_of_several_images_are_measured_each_in_its_own(ferret):
    _, processor = ferret
    asked = GroundedText.join(Box(0, 0, 1, 1), " or ", Box(0.5, 0.5, 1, 1, image=1), "?")
    pictures = tuple(Picture(*size, pixels=Image.new("RGB", size)) for size in ((32, 32), (1280, 960)))
    ids = processor.encode([Example("two", pictures, (Turn("user", asked),))], look=False)["input_ids"][0]
    assert "[0, 0, 968, 968] <region_fea> or [500, 500, 999, 998]" in processor.tokenizer.decode(ids)


def test_without_an_adapter_of_regions_a_place_is_told_by_its_numbers(make_ferret):
    model, processor = make_ferret(region_adapter="none")
    batch = processor.encode([said("What is ", Box(0.1, 0.1, 0.9, 0.9), "?")])
    assert not model.config.features and processor.region_token_id not in batch["input_ids"]
    assert model(**batch).logits.isfinite().all()


def test_training_draws_points_anew_and_asking_does_not(ferret):
    _, processor = ferret
    example = said("What is ", Box(0.1, 0.1, 0.9, 0.9), "?", answer=GroundedText("x"))
    asked = [processor.encode([example])["region_points"] for _ in range(2)]
    rng = np.random.default_rng(0)
    learnt = [processor.encode([example], train=True, rng=rng)["region_points"] for _ in range(2)]
    assert torch.equal(*asked) and not torch.equal(*learnt)


def test_too_long_a_text_is_cut_in_training_and_refused_in_asking(ferret):
    _, processor = ferret
    long = said("x " * 300, Point(0.5, 0.5), answer=GroundedText("y"))
    batch = processor.encode([long], train=True)
    assert batch["input_ids"].shape[1] == 512 and "region_points" not in batch
    with pytest.raises(ValueError, match="at most 512"):
        processor.encode([long])


def test_the_low_door_counts_placeholders(ferret):
    model, processor = ferret
    batch = processor(images=[IMAGE], text="USER: <image>\nWhat is <region_fea>? ASSISTANT:", regions=[Box(0.1, 0.2, 0.5, 0.6)])
    same = processor(images=[IMAGE], text=["USER: <image>\nWhat is <region_fea>? ASSISTANT:"], regions=[[Box(0.1, 0.2, 0.5, 0.6)]])
    assert all(torch.equal(batch[name], same[name]) for name in batch)
    assert model(**batch).logits.isfinite().all()
    with pytest.raises(ValueError, match="2 <image>"):
        processor(images=[IMAGE], text="<image><image>")
    with pytest.raises(ValueError, match="0 <region_fea>"):
        processor(images=[IMAGE], text="<image>", regions=[Point(0.5, 0.5)])


def test_a_score_is_the_geometric_mean_of_the_digits(ferret):
    _, processor = ferret
    raw = "a cup [100, 200, 300, 400]."
    ids = processor.tokenizer(raw, add_special_tokens=False).input_ids
    chances = [0.9 if letter.isdigit() else 0.1 for letter in raw]
    chances[raw.index("1")] = 0.3
    heard = processor.decode([ids], [(640, 480)], [[math.log(chance) for chance in chances]])[0]
    assert heard.text == "a cup." and heard.regions == (Box(0.1, 0.2, 0.3, 0.4),)
    assert heard.spans[0].scores[0] == pytest.approx((0.3 * 0.9**11) ** (1 / 12))


def test_nothing_behind_the_stop_is_heard(ferret):
    _, processor = ferret
    ids = processor.tokenizer("a cup</s>b [1, 2, 3, 4]", add_special_tokens=False).input_ids
    assert processor.decode([ids]) == [GroundedText("a cup")]
    assert processor.decode(torch.tensor([ids, ids])) == [GroundedText("a cup")] * 2


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(0, 400), max_size=30))
def test_whatever_is_said_is_heard_without_an_error(ferret, ids):
    assert isinstance(ferret[1].decode([ids], None, [[-1.0] * len(ids)])[0], GroundedText)


def test_a_saved_processor_is_the_same(ferret, tmp_path):
    model, processor = ferret
    processor.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is type(processor) and again.to_dict() == processor.to_dict()
    example = said("What is ", Box(0.1, 0.2, 0.5, 0.6), " <image>?", answer=GroundedText("x"))
    old, new = processor.encode([example]), again.encode([example])
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_what_cannot_be_encoded_is_said(ferret, tokenizer):
    _, processor = ferret
    with pytest.raises(ValueError, match="alternate"):
        processor.encode([Example("none")])
    with pytest.raises(ValueError, match="without pixels"):
        processor.encode([Example("path", (Picture(9, 9, path="x.png"),), (Turn("user", GroundedText("a")),))])
    with pytest.raises(ValueError, match="template 'odd'"):
        type(processor)(tokenizer, template="odd")
    with pytest.raises(ValueError, match="PyTorch tensors"):
        processor(images=[IMAGE], text="<image>", regions=[Point(0.5, 0.5)], return_tensors="np")


def test_training_cuts_a_region_to_what_its_record_says(ferret):
    _, processor = ferret
    wide, part = Box(0.1, 0.1, 0.9, 0.9), {"box": [0.1, 0.1, 0.3, 0.3]}
    turns = (Turn("user", GroundedText.join("What is ", wide, "?")), Turn("assistant", GroundedText("x")))
    example = Example("cut", (Picture(90, 50, pixels=IMAGE),), turns, facts={"inside": [part]})
    assert processor.encode([example], train=True)["region_points"].max() <= 0.3
    assert processor.encode([example])["region_points"].max() > 0.3

"""Laws of PixelLLM: prompts in batches, places where words are read, what learns and what does not, other towers and language models, files."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from foveal.geometry import Box, Point, Region, Trace, encode_mask
from foveal.grounding import Example, GroundedText, Picture, Span, Turn
from foveal.grounding.wordings.pixel_llm import VERBS, ask_object
from foveal.models import PixelLLMConfig, PixelLLMForConditionalGeneration
from foveal.models.pixel_llm.detection import DetectionLoss, Samples

KINDS = ("bert", "t5", "llama")
every_kind = pytest.mark.parametrize("kind", KINDS)
MASK = encode_mask(np.pad(np.ones((10, 15), bool), ((10, 20), (15, 30))))
LOCATED = GroundedText("the cup", (Span(0, 7, (Box(0.1, 0.2, 0.4, 0.9),)),))
DETECTOR = {"width": 8, "up": 4, "layers": 1, "groups": 2, "hidden": [6, 6], "peaks": 20, "proposals": 8, "detections": 4, "floor": 0.0}


def picture(seed: int, size: tuple[int, int] = (60, 40)) -> Picture:
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))
    return Picture(*size, pixels=image)


def example(question: GroundedText, seed: int, answer: GroundedText | None = None, size: tuple[int, int] = (60, 40)) -> Example:
    return Example("0", (picture(seed, size),), (Turn("user", question), *([Turn("assistant", answer)] if answer else [])))


def taught(*regions: Region) -> list[Example]:
    """A caption with places, an expression, a mask, an answer without a place, to a question about the whole picture or one region."""
    caption = GroundedText("a cup and a hat", (Span(2, 5, (Box(0, 0, 0.5, 0.5),)), Span(12, 15, (Point(0.9, 0.8),))))
    return [
        example(VERBS.captioned(), 1, caption),
        example(VERBS.of("location", "the cup"), 2, LOCATED, (30, 60)),
        example(VERBS.of("segmentation", "the cup"), 1, GroundedText("the cup", (Span(0, 7, (MASK,)),))),
        example(GroundedText.join("What is ", *regions, "?"), 2, GroundedText("a dog"), (30, 60)),
    ]


def asked() -> list[Example]:
    return [example(VERBS.captioned(), 1), example(ask_object(Box(0.1, 0.1, 0.6, 0.9)), 2, size=(20, 90)), example(GroundedText("How many?"), 3)]


@every_kind
@torch.no_grad()
def test_a_batch_answers_as_each_alone(make_pixel_llm: Any, kind: str) -> None:
    model, processor = make_pixel_llm(kind)
    together = model.generate(**without_sizes(processor.encode(asked())), max_new_tokens=8, return_dict_in_generate=True)
    for number, one in enumerate(asked()):
        alone = model.generate(**without_sizes(processor.encode([one])), max_new_tokens=8, return_dict_in_generate=True)
        length = alone.ids.shape[1]
        assert alone.ids[0].tolist() == together.ids[number, :length].tolist()
        torch.testing.assert_close(alone.features[0], together.features[number, :length], atol=1e-4, rtol=1e-4)


@every_kind
@torch.no_grad()
def test_a_word_that_was_written_lies_where_it_lies_when_it_is_read(make_pixel_llm: Any, kind: str) -> None:
    model, processor = make_pixel_llm(kind)
    batch = without_sizes(processor.encode(asked()))
    found = model.generate(**batch, max_new_tokens=8, return_dict_in_generate=True)
    read = model(**batch, input_ids=found.ids)
    kept = (found.features != 0).any(-1)
    assert kept.sum() > len(kept)
    torch.testing.assert_close(model.location_head(found.features)[0][kept], read.points[kept], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_hundred_prompts_are_encoded_as_each_alone_from_one_map(pixel_llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = pixel_llm
    corners = np.random.default_rng(0).uniform(0, 0.6, (94, 2)).tolist()
    regions: list[Region] = [Box(x, y, x + 0.3, y + 0.2) for x, y in corners]
    regions += [Point(0.1 * step, 0.5) for step in range(3)] + [Trace(((0.1, 0.1), (0.1 * step, 0.8))) for step in range(3)]
    sight = model.encode_images(**processor.see([picture(1).pixels]))
    batch = processor.encode([example(ask_object(region), 1) for region in regions], look=False)
    prompts = {name: batch[name] for name in ("boxes_px", "points_px", "point_labels")}
    sizes: list[tuple[int, ...]] = []
    model.extractor.map_proj.register_forward_hook(lambda part, given, found: sizes.append(tuple(given[0].shape)))
    together = model.encode_prompts(sight, **prompts)
    assert len(together) == 100 and len(sizes) == 1 and sizes[0][0] == 1
    for number in range(0, 100, 9):
        alone = model.encode_prompts(sight, **{name: value[number : number + 1] for name, value in prompts.items()})
        torch.testing.assert_close(alone[0], together[number], atol=1e-5, rtol=1e-4)
    model.extractor.map_proj._forward_hooks.clear()


@torch.no_grad()
def test_an_image_seen_once_answers_as_if_seen_again(pixel_llm: Any) -> None:
    model, processor = pixel_llm
    batch = without_sizes(processor.encode(asked()))
    sight = model.encode_images(batch.pop("pixel_values"), batch.pop("real"))
    with_pixels = model.generate(**without_sizes(processor.encode(asked())), max_new_tokens=6)
    assert torch.equal(model.generate(**batch, sight=sight, max_new_tokens=6), with_pixels)
    batch["image"] = torch.tensor([2, 0, 1])
    assert torch.equal(model.generate(**batch, sight=sight.of(1, 2, 0), max_new_tokens=6), with_pixels)
    with pytest.raises(ValueError, match="either pixel_values or a sight"):
        model.generate(batch["boxes_px"])


@torch.no_grad()
def test_padding_is_not_seen(pixel_llm: Any) -> None:
    model, processor = pixel_llm
    seen = processor.see([picture(1).pixels])
    noisy = torch.where(seen["real"][:, None], seen["pixel_values"], torch.rand(1, 3, 56, 56))
    for one, other in zip(model.encode_images(**seen).maps, model.encode_images(noisy, seen["real"]).maps, strict=True):
        torch.testing.assert_close(one, other)


@every_kind
def test_everything_learns_but_what_is_frozen(make_pixel_llm: Any, kind: str) -> None:
    model, processor = make_pixel_llm(kind)
    model.train()
    found = model(**processor.encode(taught(), train=True))
    parts = [found.text_loss, found.place_loss, found.mask_loss]
    assert all(part.isfinite() and part > 0 for part in parts)
    torch.testing.assert_close(found.loss, found.text_loss + 0.1 * found.place_loss + found.mask_loss)
    found.loss.backward()
    assert [name for name, value in model.named_parameters() if value.requires_grad and (value.grad is None or not value.grad.isfinite().all())] == []
    frozen = {name.split(".")[0] for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {"towers", "location_prompts", "mask_decoder"}
    assert all(value.requires_grad == name.startswith("towers.towers.0") for name, value in model.towers.named_parameters(prefix="towers"))


@pytest.mark.parametrize("region", [Point(0.5, 0.5), Trace(((0.1, 0.1), (0.4, 0.8))), Box(0.1, 0.1, 0.4, 0.9), MASK])
def test_what_is_learnt_may_be_asked_with_any_region(pixel_llm: Any, region: Region) -> None:
    model, processor = pixel_llm
    assert model(**processor.encode(taught(region), train=True)).loss.isfinite()


@pytest.mark.parametrize("fields", [{}, {"lora_rank": 2}], ids=["towers", "language model"])
def test_what_is_frozen_stays_so_when_it_is_opened_again(make_pixel_llm: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    model, _ = make_pixel_llm("t5", **fields)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    learns, learnt = ({name for name, value in one.named_parameters() if value.requires_grad} for one in (again, model))
    assert learns == learnt


def test_with_adapters_the_language_model_is_frozen(make_pixel_llm: Any) -> None:
    model, _ = make_pixel_llm("t5", lora_rank=2)
    learns = {name for name, value in model.writer.named_parameters() if value.requires_grad}
    assert learns and all("lora" in name for name in learns)
    assert all(value.requires_grad for value in model.visual_projection.parameters())


@every_kind
def test_recomputed_activations_give_the_same_gradients(make_pixel_llm: Any, kind: str) -> None:
    model, processor = make_pixel_llm(kind)
    batch = processor.encode(taught(), train=True)
    model.train()
    gradients = []
    for saving in (False, True):
        if saving:
            model.activation_checkpointing_enable()
            assert sum(getattr(part, "gradient_checkpointing", False) for part in model.modules()) > 2
        model.zero_grad()
        model(**batch).loss.backward()
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, atol=1e-4, rtol=1e-2)


@every_kind
@torch.no_grad()
def test_half_precision_stays_near(make_pixel_llm: Any, kind: str) -> None:
    model, processor = make_pixel_llm(kind, detector=DETECTOR)
    batch = processor.encode(taught(), train=True)
    exact = model(**batch)
    rough = model.to(torch.bfloat16)(**batch)
    assert rough.loss.isfinite() and (rough.logits.float() - exact.logits).norm() / exact.logits.norm() < 0.1
    sight = model.encode_images(**processor.see([picture(1).pixels]))
    assert sight.maps[0].dtype == torch.bfloat16
    assert model.generate(torch.tensor([[0.0, 0.0, 56.0, 37.0]]), sight=sight, max_new_tokens=3).shape[1] > 1
    boxes, scores = model.detect(sight, [(56.0, 37.0)])
    assert boxes.isfinite().all() and scores.isfinite().all()


@every_kind
@torch.no_grad()
def test_a_model_is_saved_and_opened_by_the_auto_classes(make_pixel_llm: Any, kind: str, tmp_path: Path) -> None:
    model, processor = make_pixel_llm(kind, detector=DETECTOR, **({"lora_rank": 2} if kind == "t5" else {}))
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    again, reader = AutoModelForImageTextToText.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    batch, other = without_sizes(processor.encode(asked())), without_sizes(reader.encode(asked()))
    assert torch.equal(again.generate(**other, max_new_tokens=5), model.generate(**batch, max_new_tokens=5))


@torch.no_grad()
def test_in_training_words_are_learnt_of_what_is_found(make_pixel_llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = make_pixel_llm(detector=DETECTOR)
    batch = dict(processor.encode(taught()[:2], train=True))
    thing, near = torch.tensor([4.0, 4.0, 30.0, 30.0]), torch.tensor([5.0, 4.0, 30.0, 28.0])
    batch["boxes_px"] = batch["boxes_px"].clone()
    batch["boxes_px"][:2], batch["image"] = thing, batch["image"] * 0
    samples = Samples(near[None, None], torch.tensor([[0]]), torch.tensor([[True]]))
    monkeypatch.setattr("foveal.models.pixel_llm.model.detection_loss", lambda *given: DetectionLoss(*[torch.zeros(())] * 5, samples))
    asked: list[torch.Tensor] = []
    encode = model.encode_prompts
    monkeypatch.setattr(model, "encode_prompts", lambda sight, boxes, *more: asked.append(boxes.clone()) or encode(sight, boxes, *more))
    batch["sizes"] = torch.tensor([[37.0, 56.0]]).expand(len(batch["sizes"]), -1)
    for training, searched in ((True, None), (False, None), (True, torch.tensor([1]))):
        model.train(training)(**batch, objects=thing[None, None], searched=searched)
    whole = torch.tensor([0.0, 0.0, 30.0, 30.0])
    asks_all = {"sizes": torch.full_like(batch["sizes"], 30), "boxes_px": torch.cat([whole.expand(2, -1), batch["boxes_px"][2:]])}
    model.train()(**batch | asks_all, objects=whole[None, None])
    found, used, elsewhere, all_of_it = asked
    assert torch.equal(all_of_it[:2], whole.expand(2, -1)), "what is asked about all of a picture is asked about all of it"
    assert torch.equal(found[:2], near.expand(2, -1)) and torch.equal(found[2:], batch["boxes_px"][2:])
    assert torch.equal(used, batch["boxes_px"]) and torch.equal(elsewhere, batch["boxes_px"])


@pytest.mark.parametrize("half", [False, True])
def test_words_of_what_is_found_reach_the_weights(make_pixel_llm: Any, half: bool) -> None:
    model, processor = make_pixel_llm(detector=DETECTOR)
    box = Box(0.1, 0.1, 0.6, 0.6)
    everything = VERBS.say_detection([("a cup", box)])
    turns = [(VERBS.of("dense_captions"), everything), (VERBS.name(box), GroundedText("a cup")), (VERBS.captioned(), GroundedText("a hat"))]
    said = tuple(turn for asked, answer in turns for turn in (Turn("user", asked), Turn("assistant", answer)))
    batch = processor.encode([Example("0", (picture(1),), said)], train=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = model.train()(**batch)
    found.loss.backward()
    assert found.loss.isfinite() and found.box_loss > 0 and found.text_loss > 0
    for part in (model.detector, model.extractor, model.writer):
        assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in part.parameters())


def test_a_model_is_asked_for_what_it_was_made_with(make_pixel_llm: Any) -> None:
    whole, _ = make_pixel_llm(detector=DETECTOR)
    assert whole.able(VERBS) == VERBS
    for made, gone in (
        ({}, {"dense_captions", "say_detection"}),
        ({"detector": DETECTOR, "segments": False}, {"segmentation"}),
        ({"detector": DETECTOR, "segments": False, "location_points": 0}, {"segmentation", "location"}),
    ):
        able = make_pixel_llm(**made)[0].able(VERBS)
        assert {name for name in (field.name for field in fields(VERBS)) if getattr(VERBS, name) is not None and getattr(able, name) is None} == gone
        assert able.every_word == ("location" not in gone)


@torch.no_grad()
def test_the_detector_learns_from_the_pictures_that_were_searched_alone(make_pixel_llm: Any) -> None:
    model, processor = make_pixel_llm(detector=DETECTOR)
    model.eval()
    batch = dict(processor.encode(taught()[:2], train=True))
    objects = torch.tensor([[[4.0, 4.0, 30.0, 30.0], [0.0, 0.0, 0.0, 0.0]]])
    losses = []
    for number in range(2):
        one = {"pixel_values": batch["pixel_values"][number : number + 1], "real": batch["real"][number : number + 1]}
        rows = {"input_ids": batch["input_ids"][:1], "boxes_px": batch["boxes_px"][:1], "context": batch["context"][:1]}
        torch.manual_seed(0)
        alone = model(**rows, **one, objects=objects).box_loss
        torch.manual_seed(0)
        losses.append((alone, model(**batch, objects=objects, searched=torch.tensor([number])).box_loss))
    for alone, among in losses:
        torch.testing.assert_close(alone, among)
    assert abs(losses[0][0] - losses[1][0]) > 1e-4


def test_what_begins_anew_in_a_whole_model_begins_as_flax_starts_it(make_pixel_llm: Any) -> None:
    model = PixelLLMForConditionalGeneration(make_pixel_llm()[0].config)
    parts = [*model.location_head.layers[1:3], model.mask_adapter.visual_proj, model.extractor.transformer.layers[0].fc, model.extractor.map_proj]
    widths = [float(part.weight.detach().std()) * part.in_features**0.5 for part in parts]
    assert widths == pytest.approx([1.0] * len(parts), abs=0.15)


@torch.no_grad()
def test_one_point_a_word_learns_the_middle_of_its_box(make_pixel_llm: Any) -> None:
    model, processor = make_pixel_llm(location_points=1, segments=False, scored_places=False)
    batch = processor.encode(taught()[:2], train=True)
    found = model(**batch)
    middles = (batch["places"][:, :, 0] + batch["places"][:, :, 1]) / 2
    away = (found.points[:, :, 0] * batch["sizes"][batch["image"]].flip(-1)[:, None] - middles).abs().mean(-1)
    torch.testing.assert_close(found.place_loss, away[batch["placed"]].mean())
    [said] = processor.decode([[2, 8, 9, 3]], points=torch.full((1, 4, 1, 2), 0.5))
    assert {type(region) for region in said.regions} == {Point}


def test_places_and_masks_that_cannot_be_are_refused_in_a_sentence(make_pixel_llm: Any) -> None:
    with pytest.raises(StrictDataclassError, match="3 points a word were given; 2 "):
        PixelLLMConfig(location_points=3)
    with pytest.raises(StrictDataclassError, match="places of width 24; that of prompts, 32, is wanted"):
        make_pixel_llm(place_config=DINO | {"hidden_size": 24})


DINO = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [
        {"vision_config": DINO, "vision_colours": "imagenet"},
        {"vision_config": DINO, "vision_colours": "imagenet", "side": 64},
        {"two_towers": False, "segments": False},
    ],
    ids=["another tower", "a side that its patches do not divide", "one tower"],
)
def test_what_it_is_made_of_is_configuration(make_pixel_llm: Any, fields: dict[str, Any]) -> None:
    model, processor = make_pixel_llm(**fields)
    found = model(**processor.encode(taught()[:2], train=True))
    assert found.loss.isfinite() and found.points.shape[2] == model.config.location_points


@torch.no_grad()
def test_several_beams_write_as_one_where_one_is_best(pixel_llm: Any) -> None:
    model, processor = pixel_llm
    batch = without_sizes(processor.encode(asked()))
    best = model.generate(**batch, num_beams=3, max_new_tokens=4, return_dict_in_generate=True)
    assert len(best.ids) == 3 and best.features.shape[:2] == best.ids.shape


def test_what_a_model_lacks_is_refused_in_a_sentence(make_pixel_llm: Any) -> None:
    model, processor = make_pixel_llm(segments=False)
    sight = model.encode_images(**processor.see([picture(1).pixels]))
    with pytest.raises(ValueError, match="without a detector"):
        model.detect(sight, [(56.0, 37.0)])
    with pytest.raises(ValueError, match="without a detector"):
        model(**processor.encode(taught()[:1], train=True), objects=torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="without a mask decoder"):
        model.draw_masks(sight, torch.tensor([0]), torch.zeros(1, 4), torch.zeros(1, 4, 24), torch.zeros(1, 3, 32))
    with pytest.raises(StrictDataclassError, match="without a tower for places"):
        PixelLLMConfig(segments=True, two_towers=False)


@torch.no_grad()
def test_boxes_that_are_detected_lie_in_the_picture_and_the_surest_is_first(make_pixel_llm: Any) -> None:
    model, processor = make_pixel_llm(detector=DETECTOR)
    sight = model.encode_images(**processor.see([picture(1).pixels, picture(2, (30, 60)).pixels]))
    boxes, scores = model.detect(sight, [(56.0, 37.0), (28.0, 56.0)])
    assert boxes.shape == (2, 4, 4) and bool((scores[:, :-1] >= scores[:, 1:]).all())
    assert (
        bool((boxes >= 0).all())
        and bool((boxes[0] <= torch.tensor([56, 37, 56, 37])).all())
        and bool((boxes[1] <= torch.tensor([28, 56, 28, 56])).all())
    )


def without_sizes(batch: Any) -> dict[str, Any]:
    """What `generate` takes of a batch."""
    return {name: value for name, value in batch.items() if name not in ("sizes", "input_ids", "placed")}


def test_the_mask_of_an_expression_does_not_depend_on_the_padding_behind_it(pixel_llm: Any) -> None:
    model, _ = pixel_llm
    sight = model.encode_images(torch.rand(1, 3, 56, 56))
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3]])
    longer = torch.nn.functional.pad(ids, (0, 3))
    box = torch.tensor([[4.0, 4.0, 40.0, 50.0]]).expand(2, -1)
    torch.nn.init.ones_(model.mask_adapter.gate)
    masks = []
    for some in (ids, longer):
        visual = model.encode_prompts(sight, box)
        features = model.writer.read(visual, some)
        masks.append(model.draw_masks(sight, torch.tensor([0, 0]), box, visual, features, some)[0])
    torch.nn.init.zeros_(model.mask_adapter.gate)
    torch.testing.assert_close(*masks, atol=1e-5, rtol=1e-5)

"""Laws of the Ferret model: what a batch, a cache, padding, a sight and a saved file may not change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from foveal.geometry import Box, Mask, Point, Trace, encode_mask, rasterise
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.models import FerretConfig, Sight
from foveal.train.finetune import adapters_on

GREEDY = {"do_sample": False, "max_new_tokens": 6}


def example(size: tuple[int, int], *parts, answer: str = "a cat", shade: int = 0) -> Example:
    image = Image.linear_gradient("L").resize(size).convert("RGB").point(lambda value: (value + shade) % 256)
    asked = GroundedText.join(*parts)
    return Example(str(size), (Picture(*size, pixels=image),), (Turn("user", asked), Turn("assistant", GroundedText(answer))))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [
        example((90, 50), "What is ", Box(0.1, 0.2, 0.5, 0.6), "?"),
        example((40, 100), "Are ", Point(0.3, 0.7), " and ", Trace(((0.1, 0.1), (0.6, 0.2))), " alike?", shade=90),
        example((60, 60), "What do you see?", shade=30),
    ]


def test_a_batch_answers_as_each_alone(ferret, examples):
    model, processor = ferret
    for side in ("left", "right"):
        batch = processor.encode(examples, padding_side=side)
        together = model.generate(**batch, **GREEDY)[:, -6:]
        for answer, one in zip(together, examples, strict=True):
            assert torch.equal(answer, model.generate(**processor.encode([one]), **GREEDY)[0, -6:])


def test_padding_on_either_side_changes_no_logits(ferret, examples):
    model, processor = ferret
    alone = [model(**processor.encode([one])).logits[0] for one in examples]
    for side in ("left", "right"):
        batch = processor.encode(examples, padding_side=side)
        together = model(**batch).logits
        for row, wanted in enumerate(alone):
            torch.testing.assert_close(together[row][batch["attention_mask"][row].bool()], wanted, rtol=0, atol=1e-5)


def test_an_image_seen_once_gives_the_same_logits(ferret, examples):
    model, processor = ferret
    batch = processor.encode(examples)
    wanted = model(**batch).logits
    seen = {name: batch.pop(name) for name in ("pixel_values", "tile_values", "grids", "image_sizes")}
    assert torch.equal(model(**batch, sight=model.encode_images(**seen)).logits, wanted)
    features = model.see(seen["pixel_values"], seen["tile_values"])
    stored = {"overview_features": features.overview, "tile_features": features.tiles, "grids": seen["grids"]}
    assert torch.equal(model(**batch, **stored).logits, wanted)


def test_the_cache_changes_nothing(ferret, examples):
    model, processor = ferret
    batch = processor.encode(examples)
    generated = model.generate(**batch, **GREEDY)
    length = batch["input_ids"].shape[1]
    mask = torch.cat([batch["attention_mask"], torch.ones(len(examples), 6, dtype=torch.long)], dim=1)
    whole = model(**{**batch, "input_ids": generated, "attention_mask": mask}).logits
    assert torch.equal(whole[:, length - 1 : -1].argmax(-1), generated[:, length:])


def test_a_cached_prefix_answers_as_the_whole_text(ferret, examples):
    model, processor = ferret
    one = examples[0]
    asked = [one, replace(one, turns=(Turn("user", GroundedText.join("Why is ", Point(0.4, 0.4), " here, so far away?")),))]
    wanted = [model.generate(**processor.encode([question]), **GREEDY)[0, -6:] for question in asked]
    batch = processor.encode(asked, look=False, padding_side="right")
    seen = processor.see([one.images[0].pixels])
    sight = model.encode_images(**seen)
    prefix = int((batch["input_ids"][0] == processor.image_token_id).nonzero().max()) + 1
    cache = model(input_ids=batch["input_ids"][:1, :prefix], sight=sight, use_cache=True).past_key_values
    cache.batch_repeat_interleave(2)
    batch["region_image"] = torch.zeros_like(batch["region_image"])
    answers = model.generate(**batch, sight=sight, past_key_values=cache, **GREEDY)
    for answer, same in zip(answers, wanted, strict=True):
        assert torch.equal(answer[-6:], same)


def test_one_beam_of_many_finds_at_least_what_greedy_finds(ferret, examples):
    model, processor = ferret
    batch = processor.encode(examples)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "length_penalty": 0.0}
    length = batch["input_ids"].shape[1]

    def score(rows: torch.Tensor) -> torch.Tensor:
        mask = torch.cat([batch["attention_mask"], torch.ones(len(rows), 6, dtype=torch.long)], dim=1)
        logits = model(**{**batch, "input_ids": rows, "attention_mask": mask}).logits[:, length - 1 : -1]
        return logits.log_softmax(-1).gather(2, rows[:, length:, None]).sum((1, 2))

    wide = model.generate(**batch, num_beams=4, **options)
    assert (score(wide) >= score(model.generate(**batch, **options)) - 1e-4).all()


def test_sampling_follows_its_seed(ferret, examples):
    model, processor = ferret
    batch, answers = processor.encode(examples), []
    for _ in range(2):
        torch.manual_seed(3)
        answers.append(model.generate(**batch, do_sample=True, max_new_tokens=6))
    assert torch.equal(*answers)


def test_several_questions_in_one_row_answer_as_apart(ferret, examples):
    """Training packs questions about one image behind it; a 4-D mask keeps them apart."""
    model, processor = ferret
    one = examples[0]
    asked = [one, replace(one, turns=(Turn("user", GroundedText.join("Where is ", Point(0.4, 0.4), "?")), Turn("assistant", GroundedText("x"))))]
    batches = [processor.encode([question], train=True) for question in asked]
    ids = [batch["input_ids"][0] for batch in batches]
    prefix = int((ids[0] == processor.image_token_id).nonzero().max()) + 1
    owner = torch.cat([torch.zeros(prefix), *[torch.full((len(row) - prefix,), place + 1.0) for place, row in enumerate(ids)]])
    may = (owner[:, None] == owner[None]) | (owner[None] == 0)
    mask = torch.full(may.shape, torch.finfo(torch.float32).min).masked_fill(may.tril(), 0.0)[None, None]
    positions = torch.cat([torch.arange(prefix), *[torch.arange(prefix, len(row)) for row in ids]])[None]
    images = {name: batches[0][name] for name in ("pixel_values", "tile_values", "grids")}
    regions = {name: torch.cat([batch[name] for batch in batches]) for name in ("region_points", "region_starts", "region_image")}
    packed = torch.cat([ids[0], ids[1][prefix:]])[None]
    logits = model(input_ids=packed, attention_mask=mask, position_ids=positions, **images, **regions).logits[0]
    for place, batch in enumerate(batches):
        torch.testing.assert_close(logits[owner == place + 1], model(**batch).logits[0, prefix:], rtol=0, atol=1e-5)


def test_a_saved_model_is_the_same(ferret, examples, tmp_path):
    model, processor = ferret
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert type(again) is type(model) and isinstance(AutoConfig.from_pretrained(tmp_path), FerretConfig)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
    batch = processor.encode(examples)
    torch.testing.assert_close(again(**batch).logits, model(**batch).logits, rtol=0, atol=1e-5)


def test_tied_weights_stay_one(make_ferret, tokenizer, tmp_path):
    text = FerretConfig().text_config.to_dict() | {
        "vocab_size": len(tokenizer), "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    model, _ = make_ferret(text_config=text)
    model.save_pretrained(tmp_path)
    for one in (model, type(model).from_pretrained(tmp_path)):
        assert one.get_output_embeddings().weight is one.get_input_embeddings().weight


def test_every_part_that_is_used_learns(make_ferret, examples):
    model, processor = make_ferret(merge="spatial_unpad", map_adapters=True)
    model.train()
    model(**processor.encode(examples, train=True)).loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # CLIP's last block, its final norm and its class token's output come after the layer that is taken; keys have no use for a bias.
    unused = ("backbone.encoder.layers.1.", "post_layernorm", "k_proj.bias", "key.bias", "mask_token")
    assert [name for name in idle if not any(part in name for part in unused)] == []


def test_adapters_that_cannot_be_put_on_leave_no_trace(make_ferret):
    model, _ = make_ferret()
    with pytest.raises(ValueError, match="is named nope"):
        model.adapt(4, targets=("nope",))
    assert not model.config.lora_rank and not model.config.lora_targets
    model.adapt(4)
    assert model.config.lora_rank == 4


def test_every_adapter_of_finetuning_is_gone_through(make_ferret, examples):
    model, processor = make_ferret()
    taught = adapters_on(model, 2).train()
    taught(**processor.encode(examples, train=True)).loss.backward()
    idle = [name for name, weight in taught.named_parameters() if "lora_B" in name and (weight.grad is None or not weight.grad.any())]
    assert [name for name in idle if "backbone.encoder.layers.1." not in name] == []  # that block comes after the layer that is taken
    with torch.no_grad():
        for name, weight in taught.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
        batch = processor.encode(examples, train=True, rng=np.random.default_rng(0))
        before = taught.eval()(**batch).logits
        torch.testing.assert_close(taught.merge_and_unload()(**batch).logits, before, rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients(make_ferret, examples):
    gradients = []
    for saving in (False, True):
        model, processor = make_ferret()
        model.train()
        if saving:
            model.activation_checkpointing_enable()
        rng = np.random.default_rng(0)
        model(**processor.encode(examples, train=True, rng=rng), use_cache=False).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_bfloat16_answers_nearly_the_same(make_ferret, examples):
    model, processor = make_ferret()
    batch = processor.encode(examples)
    wanted = model(**batch).logits
    got = model.to(torch.bfloat16)(**batch).logits
    assert got.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(got.float().flatten(), wanted.flatten(), dim=0) > 0.99


@pytest.mark.parametrize(
    "fields",
    [
        {"grids": [], "projector": "linear", "local_vision_config": None},
        {"local_vision_config": None},
        {"overview_side": 56},
        {"region_source": "projected"},
        {"map_fusion": "concat"},
        {"map_fusion": "concat", "region_source": "projected"},
        {"region_map": "tiles", "map_adapters": True},
        {"region_map": "overview", "sampler_read": "transposed"},
        {"region_adapter": "average", "sampler_pooling": "mean"},
        {"region_adapter": "none", "features": False},
        {"coordinates": False},
        {"merge": "spatial_unpad", "position_cells": 0},
    ],
    ids=str,
)
def test_every_variant_trains_answers_and_is_saved(make_ferret, examples, tmp_path, fields):
    model, processor = make_ferret(**fields)
    loss = model(**processor.encode(examples, train=True)).loss
    loss.backward()
    assert loss.isfinite()
    batch = processor.encode(examples)
    answers = model.generate(**batch, **GREEDY)
    model.save_pretrained(tmp_path)
    assert torch.equal(type(model).from_pretrained(tmp_path).eval().generate(**batch, **GREEDY), answers)


def test_two_encoders_with_the_same_weights_see_as_one(make_ferret, examples):
    one, processor = make_ferret(local_vision_config=None, position_cells=0)
    two, _ = make_ferret(local_vision_config=one.config.vision_config.to_dict(), local_select_layer=-2, local_normed=False, position_cells=0)
    weights = one.state_dict()
    twins = {name.replace("overview_tower", "local_tower"): weight for name, weight in weights.items() if name.startswith("overview_tower")}
    twins |= {f"local_{name}": weight for name, weight in weights.items() if name.startswith("projector")}
    two.load_state_dict(weights | twins)
    batch = processor.encode(examples)
    torch.testing.assert_close(two(**batch).logits, one(**batch).logits, rtol=0, atol=1e-5)


def test_region_features_depend_on_the_region_alone(ferret, examples):
    model, processor = ferret
    batch = processor.encode(examples)
    sight = model.encode_images(**{name: batch[name] for name in ("pixel_values", "tile_values", "grids")})
    whole = model.encode_regions(sight, batch["region_points"], batch["region_image"], batch["region_starts"])
    for region in range(len(whole)):
        some = slice(region, region + 1)
        alone = model.encode_regions(sight.of(int(batch["region_image"][region])), batch["region_points"][some], None, batch["region_starts"][some])
        torch.testing.assert_close(alone[0], whole[region], rtol=0, atol=1e-5)


def test_miscounts_and_missing_inputs_are_said_in_one_sentence(ferret, examples):
    model, processor = ferret
    batch = processor.encode(examples[:1])
    with pytest.raises(ValueError, match="20 image placeholders in the text for 0 image features"):
        model(input_ids=batch["input_ids"])
    with pytest.raises(ValueError, match="1 region placeholders in the text for 0 region features"):
        model(**{name: value for name, value in batch.items() if not name.startswith("region")})
    with pytest.raises(ValueError, match="want 1 images and 6 tiles"):
        model(**{**batch, "grids": torch.tensor([[2, 3]])})
    with pytest.raises(ValueError, match="points at image 3 of 1"):
        model(**{**batch, "region_image": torch.tensor([3])})
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="use_cache"):
        model.generate(**batch, use_cache=False)


def test_a_config_says_what_is_wrong_with_it():
    with pytest.raises(StrictDataclassClassValidationError, match="grids are"):
        FerretConfig(grids=[[0, 1]])
    with pytest.raises(StrictDataclassClassValidationError, match="at least one grid"):
        FerretConfig(grids=[], region_map="tiles")
    with pytest.raises(StrictDataclassClassValidationError, match="map_adapters"):
        FerretConfig(local_vision_config={"model_type": "dinov2", "hidden_size": 768})


def test_a_config_survives_its_file(tmp_path):
    config = FerretConfig(grids=[(1, 2)], local_vision_config={"model_type": "dinov2", "hidden_size": 1024}, template="plain_chat")
    config.save_pretrained(tmp_path)
    again = FerretConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert again.local_vision_config.model_type == "dinov2" and again.map_dim == 1024


def test_a_sight_of_masks_is_a_sight_of_pixels(ferret):
    """A box and the mask of its pixels draw the same points, so they have the same feature."""
    model, processor = ferret
    box = Box(0.1, 0.1, 0.12, 0.12)
    mask = encode_mask(rasterise(box, (100, 100)))
    assert isinstance(mask, Mask)
    points = [processor.draw(region, (100, 100), np.random.default_rng(0))[0] for region in (box, mask)]
    assert (points[0] == points[1]).all()
    sight = Sight((torch.zeros(1, 24),), (torch.randn(16, 3, 3),))
    features = [model.encode_regions(sight, torch.from_numpy(found)[None].float()) for found in points]
    assert torch.equal(*features)

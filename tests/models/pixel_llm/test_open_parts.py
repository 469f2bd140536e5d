"""Parts as they are published in the open give in a PixelLLM what they give by themselves."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, SamConfig, SamModel, T5Config, T5ForConditionalGeneration

from foveal.models.pixel_llm.encoder_decoder import EncoderDecoderWriter
from foveal.models.pixel_llm.masks import MaskDecoder
from foveal.models.pixel_llm.open_parts import bert_weights, eva_parts, sam_weights, t5_weights
from foveal.models.pixel_llm.prefix import PrefixWriter
from foveal.models.shards import Weight, open_weights
from foveal.vision import EvaVisionConfig, EvaVisionModel, LocationPrompts, SamEncoder

RECORDED = Path(__file__).parent / "eva02_timm.safetensors"
"""A tiny EVA02-CLIP of timm 1.0.31 in OpenCLIP's layout and half precision, with views of 8 and of 10 pixels and timm's features of their patches,
its rotation counted on a length of 16, its table of positions resized by timm for the second."""
AUTHORS = {"q_proj.bias": "q_bias", "v_proj.bias": "v_bias", "attn.norm": "attn.inner_attn_ln", "mlp.norm": "mlp.ffn_ln"} | {
    f"mlp.{theirs}": f"mlp.{ours}" for theirs, ours in (("fc1_g", "w1"), ("fc1_x", "w2"), ("fc2", "w3"))
}
"""What timm calls otherwise than the authors."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return {name: weight.read() for name, weight in open_weights(RECORDED).items()}


def held(values: Mapping[str, Tensor]) -> dict[str, Weight]:
    kept = {name: value for name, value in values.items() if not name.startswith(("views", "features"))}
    return {name: Weight(name, value.dtype, tuple(value.shape), partial(Tensor.clone, value)) for name, value in kept.items()}


def tower(values: Mapping[str, Tensor]) -> tuple[EvaVisionModel, list[str]]:
    config, weights, left = eva_parts(held(values))
    made = EvaVisionModel(config).eval()
    made.load_state_dict(weights)
    return made, left


@torch.no_grad()
@pytest.mark.parametrize("side", [8, 10])
def test_eva_sees_what_it_sees_in_timm(side: int, recorded: Mapping[str, Tensor]) -> None:
    eva, left = tower(recorded)
    torch.testing.assert_close(eva(recorded[f"views.{side}"].float())[0], recorded[f"features.{side}"], atol=2e-5, rtol=1e-5)
    assert left == ["logit_scale", "text.positional_embedding", "visual.trunk.head.bias", "visual.trunk.head.weight"]
    other = EvaVisionModel(EvaVisionConfig(**(eva.config.to_dict() | {"rotary_side": None}))).eval()
    other.load_state_dict(eva.state_dict())
    assert (other(recorded["views.8"].float()) - recorded["features.8"]).abs().max() > 0.1


def test_the_names_of_timm_of_openclip_and_of_the_authors_are_one_eva(recorded: Mapping[str, Tensor]) -> None:
    trunk = {name.removeprefix("visual.trunk."): value for name, value in recorded.items() if name.startswith("visual.")}
    theirs = {}
    for name, value in trunk.items():
        for timm, authors in AUTHORS.items():
            name = name.replace(timm, authors)
        theirs[f"visual.{name}"] = value
    theirs |= {"visual.rope.freqs_cos": torch.zeros(16, 8), "visual.blocks.0.attn.rope.freqs_sin": torch.zeros(16, 8), "logit_scale": torch.zeros(())}
    wanted = tower(recorded)[0].state_dict()
    for values in (trunk, theirs):
        found = tower(values)[0].state_dict()
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], value) for name, value in wanted.items())


def test_where_the_last_norm_is_missing_the_one_before_the_head_takes_its_place(recorded: Mapping[str, Tensor]) -> None:
    trunk = {name.removeprefix("visual.trunk."): value for name, value in recorded.items() if name.startswith("visual.")}
    masked = {f"fc_{name}" if name.startswith("norm.") else name: value for name, value in trunk.items() if ".attn.norm." not in name}
    eva, left = tower(masked)
    assert torch.equal(eva.norm.weight, trunk["norm.weight"].float()) and not eva.config.attention_norm and left == ["head.bias", "head.weight"]
    bare, _ = tower({name: value for name, value in masked.items() if not name.startswith("fc_norm")})
    assert isinstance(bare.norm, nn.Identity)
    _, left = tower(trunk | {"fc_norm.weight": torch.ones(8)})
    assert "fc_norm.weight" in left


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blocks.1.norm1.bias": None}, r"missing: blocks\.1\.norm_1\.bias"),
        ({"blocks.1.gamma_1": torch.ones(8)}, r"superfluous: visual\.trunk\.blocks\.1\.gamma_1"),
        ({"blocks.1.attn.k_proj.bias": torch.ones(8)}, r"superfluous: blocks\.1\.k_proj\.bias"),
        ({"blocks.0.mlp.fc2.weight": torch.ones(21, 8)}, r"of another shape: blocks\.0\.down_proj\.weight"),
        ({"pos_embed": torch.ones(1, 18, 8)}, "of another shape: positions"),
        ({"blocks.0.mlp.fc1_g.weight": None}, "no blocks.0.gate_proj.weight of an EVA-02 that can be read"),
        ({"pos_embed": None}, "hold no pos_embed"),
    ],
)
def test_what_is_no_eva_is_refused_by_name(change: Mapping[str, Tensor | None], said: str, recorded: Mapping[str, Tensor]) -> None:
    changed = {**recorded, **{f"visual.trunk.{name}": value for name, value in change.items()}}
    with pytest.raises(ValueError, match=said):
        eva_parts(held({name: value for name, value in changed.items() if value is not None}))


@torch.no_grad()
def test_sam_sees_reads_prompts_and_draws_as_by_itself() -> None:
    torch.manual_seed(0)
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 24, "mlp_dim": 48, "window_size": 2, "global_attn_indexes": [1]}
    config = SamConfig(
        vision_config={**small, "output_channels": 32, "image_size": 64, "patch_size": 16, "num_pos_feats": 16},
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 40, "iou_head_hidden_dim": 32, "layer_norm_eps": 1e-5},
    )
    sam = shaken(SamModel(config))
    weights = sam_weights(sam)
    parts: dict[str, Any] = {
        "towers.towers.1.": SamEncoder(config.vision_config),
        "location_prompts.": LocationPrompts(32),
        "mask_decoder.": MaskDecoder(32, 40, 32),
    }
    for name, part in parts.items():
        part.eval().load_state_dict({key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)})
    assert all(key.startswith(tuple(parts)) for key in weights)
    encoder, prompts, decoder = parts.values()
    views, box, point = torch.rand(1, 3, 64, 64), torch.tensor([[4.0, 8.0, 40.0, 50.0]]), torch.tensor([[12.0, 30.0]])
    maps = sam.get_image_embeddings(views)
    torch.testing.assert_close(encoder(views).permute(0, 3, 1, 2), maps)
    tokens, _ = sam.prompt_encoder(input_points=None, input_labels=None, input_boxes=box[None], input_masks=None)
    torch.testing.assert_close(prompts.boxes(box, (64, 64)), tokens[0])
    for kind in (-1, 0, 1):
        tokens, _ = sam.prompt_encoder(point[None, None], torch.tensor([[[kind]]]), None, None)
        torch.testing.assert_close(prompts.points(point[None], torch.tensor([[kind]]), (64, 64)), tokens[0, :, :1])
    drawn = sam(image_embeddings=maps, input_boxes=box[None], multimask_output=False)
    codes = prompts.grid(4, 4).permute(2, 0, 1)[None]
    masks, ious = decoder.decide(maps, codes, prompts.boxes(box, (64, 64)), prompts.no_mask[None])
    torch.testing.assert_close(masks, drawn.pred_masks[0])
    torch.testing.assert_close(ious, drawn.iou_scores[0])


@torch.no_grad()
def test_the_first_layers_of_bert_read_forward_as_by_themselves() -> None:
    torch.manual_seed(0)
    small = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    bert = shaken(BertModel(BertConfig(**small, max_position_embeddings=12, is_decoder=True), add_pooling_layer=False))
    writer = PrefixWriter(BertConfig(**(small | {"num_hidden_layers": 2}), max_position_embeddings=12, eos_token_id=3), dim=6).eval()
    weights = {name.removeprefix("writer."): value for name, value in bert_weights(bert, 2).items()}
    found = writer.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys
    assert {name.partition(".")[0] for name in found.missing_keys} == {"visual_projection", "head"}
    ids = torch.randint(20, (2, 7))
    wanted = bert(ids, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(writer.read(torch.zeros(2, 0, 6), ids), wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_t5_writes_as_by_itself(tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = T5Config(vocab_size=20, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", tie_word_embeddings=tied)
    t5 = shaken(T5ForConditionalGeneration(config))
    if not tied:  # as Flan-T5 is published: with two tables
        t5.lm_head.weight = nn.Parameter(torch.randn(20, 16))
    weights = {name.removeprefix("writer."): value for name, value in t5_weights(t5).items()}
    writer = EncoderDecoderWriter(config, None).eval()
    writer.load_state_dict(weights)
    visual, ids = torch.randn(2, 5, 16), torch.cat([torch.zeros(2, 1, dtype=torch.long), torch.randint(2, 20, (2, 6))], dim=1)
    told = t5(inputs_embeds=visual, decoder_input_ids=ids)
    torch.testing.assert_close(writer(visual, ids)[0], told.logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(writer.words.weight, writer.head.weight * 4) == tied


def shaken(model: Any) -> Any:
    """With weights that all matter; norms near one."""
    for name, value in model.named_parameters():
        with torch.no_grad():
            value.normal_(std=0.3)
            if "norm" in name.lower() and name.endswith("weight"):
                value.add_(1)
    return model.eval()

"""What holds for each of PixelLLM's language models: what is written step by step is what is read at once, and nothing looks ahead."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BartConfig, BertConfig, LlamaConfig, PreTrainedConfig, PreTrainedModel, Qwen3Config, T5Config

from foveal.models.lora import add_lora, merge_lora
from foveal.models.monkey.language import Qwen7BConfig
from foveal.models.pixel_llm.language import build_writer
from foveal.models.pixel_llm.writer import Writer

DIM, WORDS = 6, 20
_SMALL = {"vocab_size": WORDS, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
_IDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**_SMALL, **_IDS, max_position_embeddings=16),
    "t5": lambda: T5Config(vocab_size=WORDS, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"),
    "llama": lambda: LlamaConfig(**_SMALL, **_IDS, num_key_value_heads=1),
    "qwen3": lambda: Qwen3Config(**_SMALL, **_IDS, num_key_value_heads=1, head_dim=4),
}
every_kind = pytest.mark.parametrize("kind", CONFIGS)


def _writer(kind: str, **options: object) -> Writer:
    torch.manual_seed(0)
    writer = build_writer(CONFIGS[kind](), DIM, **options).eval()
    with torch.no_grad():
        for value in writer.parameters():
            if value.ndim > 1:
                value.normal_(std=0.4)  # as they begin, they hardly tell one word from another
    return writer


def _given(rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Visual tokens, texts, and contexts of which some are padded."""
    random = torch.Generator().manual_seed(1)
    visual = torch.randn(rows, 4, DIM, generator=random)
    ids, context = (torch.randint(4, WORDS, (rows, length), generator=random) for length in (6, 5))
    ids[:, 0] = 2
    context[0, 2:], context[1, 4:] = 0, 0
    return visual, ids, context


@every_kind
@pytest.mark.parametrize("with_context", [True, False])
@torch.no_grad()
def test_steps_give_what_one_pass_gives(kind: str, with_context: bool) -> None:
    writer, (visual, ids, context) = _writer(kind), _given()
    asked = context if with_context else None
    logits, features = writer(visual, ids, asked)
    torch.testing.assert_close(writer.read(visual, ids, asked), features)
    draft = writer.begin(visual, asked)
    for start, stop in ((0, 1), (1, 2), (2, 5), (5, 6)):
        found_logits, found = writer.step(draft, ids[:, start:stop])
        torch.testing.assert_close(found, features[:, start:stop], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found_logits, logits[:, stop - 1], atol=1e-5, rtol=1e-4)


@every_kind
@torch.no_grad()
def test_rows_go_on_in_any_order(kind: str) -> None:
    writer, (visual, ids, context) = _writer(kind), _given()
    order = torch.tensor([2, 0, 0])
    _, features = writer(visual[order], ids[order], context[order])
    draft = writer.begin(visual, context)
    writer.step(draft, ids[:, :3])
    draft.select(order)
    torch.testing.assert_close(writer.step(draft, ids[order, 3:])[1], features[:, 3:], atol=1e-5, rtol=1e-4)


@every_kind
@torch.no_grad()
def test_a_batch_is_read_as_each_row_alone(kind: str) -> None:
    writer, (visual, ids, context) = _writer(kind), _given()
    together = writer.read(visual, ids, context)
    for row in range(len(visual)):
        some = slice(row, row + 1)
        words = int((context[row] != 0).sum())
        torch.testing.assert_close(writer.read(visual[some], ids[some], context[some, :words])[0], together[row], atol=1e-5, rtol=1e-4)


@every_kind
@torch.no_grad()
def test_no_token_looks_ahead_and_every_token_looks_at_the_image_and_the_context(kind: str) -> None:
    writer, (visual, ids, context) = _writer(kind), _given()
    before = writer.read(visual, ids, context)
    other = ids.clone()
    other[:, 3] = 19 - other[:, 3]
    after = writer.read(visual, other, context)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.isclose(after[:, 3:], before[:, 3:]).all(-1).any()
    for changed in (writer.read(visual.flip(1) + 1, ids, context), writer.read(visual, ids, context.where(context == 0, 23 - context))):
        assert not torch.isclose(changed, before).all(-1).any()


@torch.no_grad()
def test_padding_on_either_side_of_a_context_changes_nothing() -> None:
    writer, (visual, ids, context) = _writer("llama"), _given()
    left = torch.stack([torch.cat([row[row == 0], row[row != 0]]) for row in context])
    torch.testing.assert_close(writer.read(visual, ids, left), writer.read(visual, ids, context), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_uniform_rows_are_those_before_padding_and_no_others() -> None:
    proper, uniform = _writer("t5"), _writer("t5", uniform_rows=True)
    visual, ids, context = _given()
    ids[:, 4], ids[:, 5] = 1, 0  # the end, then padding
    for asked in (context, None):
        one, other = proper.read(visual, ids, asked), uniform.read(visual, ids, asked)
        torch.testing.assert_close(one[:, :4], other[:, :4], atol=1e-5, rtol=1e-4)
        assert not torch.isclose(one[:, 4:], other[:, 4:]).all(-1).any()


@torch.no_grad()
def test_both_ways_to_attend_agree() -> None:
    visual, ids, context = _given()
    ids[:, 5] = 0
    found = []
    for way in ("eager", "sdpa"):
        writer = _writer("t5", uniform_rows=True)
        for stack in (writer.encoder, writer.decoder):
            stack.set_attn_implementation(way)
        found.append(writer.read(visual, ids, context))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


@every_kind
def test_gradients_reach_the_visual_tokens_and_every_weight(kind: str) -> None:
    writer, (visual, ids, context) = _writer(kind).train(), _given()
    visual.requires_grad_(True)
    logits, features = writer(visual, ids, context)
    (logits.square().mean() + features.square().mean()).backward()
    assert visual.grad is not None and visual.grad.isfinite().all() and (visual.grad != 0).any(-1).all()
    odd = [name for name, value in writer.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    assert not odd


@every_kind
def test_with_adapters_they_and_the_projection_learn_alone(kind: str) -> None:
    writer, (visual, ids, context) = _writer(kind, lora_rank=2), _given()
    writer(visual, ids, context)[0].square().mean().backward()
    learnt = {name for name, value in writer.named_parameters() if value.grad is not None}
    assert learnt == {name for name, _ in writer.named_parameters() if "lora_" in name or name.startswith("visual_projection.")}


@every_kind
@torch.no_grad()
def test_fresh_adapters_change_nothing_and_merged_ones_nothing_more(kind: str) -> None:
    plain, (visual, ids, context) = _writer(kind), _given()
    adapted = _writer(kind, lora_rank=2)
    weights = {name.replace(".base_layer", ""): name for name in adapted.state_dict() if "lora_" not in name}
    adapted.load_state_dict({weights[name]: value for name, value in plain.state_dict().items()}, strict=False)
    taught = adapted.read(visual, ids, context)
    assert not torch.allclose(taught, plain.read(visual, ids, context))
    adapted.reset()
    adapted.load_state_dict({weights[name]: value for name, value in plain.state_dict().items()}, strict=False)
    torch.testing.assert_close(adapted.read(visual, ids, context), plain.read(visual, ids, context))
    _teach(adapted)
    taught = adapted.read(visual, ids, context)
    merge_lora(adapted)
    assert list(adapted.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(adapted.read(visual, ids, context), taught, atol=1e-5, rtol=1e-4)


def _teach(writer: Writer) -> None:
    for name, value in writer.named_parameters():
        if "lora_" in name:
            value.data.normal_(std=0.3)


class _Around(PreTrainedModel):
    """The least model that holds a writer."""

    config_class = PreTrainedConfig
    supports_gradient_checkpointing = True
    kind, rank = "bert", 0

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.writer = build_writer(CONFIGS[self.kind](), DIM, lora_rank=self.rank)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        if isinstance(module, Writer):
            module.reset()
        else:
            super()._init_weights(module)


def _around(kind: str, rank: int = 0) -> type[_Around]:
    return type("_Around", (_Around,), {"kind": kind, "rank": rank})


@every_kind
@pytest.mark.parametrize("rank", [0, 2])
@torch.no_grad()
def test_a_saved_writer_comes_back_adapters_and_all(kind: str, rank: int, tmp_path: Path) -> None:
    made, (visual, ids, context) = _around(kind, rank), _given()
    model = made(PreTrainedConfig()).eval()
    _teach(model.writer)
    model.save_pretrained(tmp_path)
    back = made.from_pretrained(tmp_path).eval()
    assert {name: value.tolist() for name, value in back.state_dict().items()} == {n: v.tolist() for n, v in model.state_dict().items()}
    torch.testing.assert_close(back.writer.read(visual, ids, context), model.writer.read(visual, ids, context))
    half = made.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    logits, features = half.writer(visual.bfloat16(), ids, context)
    assert features.dtype == torch.bfloat16 and logits.isfinite().all()


@every_kind
def test_adapters_begin_by_changing_nothing_even_where_a_checkpoint_lacks_them(kind: str, tmp_path: Path) -> None:
    made = _around(kind, 2)
    model = made(PreTrainedConfig())
    model.save_pretrained(tmp_path)
    kept = {name: value for name, value in load_file(tmp_path / "model.safetensors").items() if "lora_" not in name}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    for one in (model, made.from_pretrained(tmp_path)):
        adapters = {name: value for name, value in one.named_parameters() if "lora_" in name}
        assert adapters
        assert all(bool(value.any()) == ("lora_A" in name) for name, value in adapters.items())


@every_kind
def test_checkpointing_gives_the_same_gradients(kind: str) -> None:
    visual, ids, context = _given()
    model, found = _around(kind)(PreTrainedConfig()), []
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    model.train()
    for checkpointed in (False, True):
        if checkpointed:
            model.activation_checkpointing_enable()
        seen = visual.clone().requires_grad_(True)
        model.writer.read(seen, ids, context).square().mean().backward()
        found.append(seen.grad)
    assert any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    torch.testing.assert_close(*found)


@torch.no_grad()
def test_a_model_of_the_house_writes_too() -> None:
    config = Qwen7BConfig(vocab_size=WORDS, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, head_dim=4, **_IDS)
    writer, (visual, ids, _) = build_writer(config, DIM).eval(), _given()
    logits, features = writer(visual, ids)
    torch.testing.assert_close(writer.model.lm_head(features), logits)
    draft = writer.begin(visual)
    torch.testing.assert_close(writer.step(draft, ids)[1], features, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    visual, ids, _ = _given()
    with pytest.raises(ValueError, match="a text of 18 tokens"):
        _writer("bert").read(visual, ids.repeat(1, 3))
    with pytest.raises(ValueError, match="no eos_token_id"):
        build_writer(BertConfig(**_SMALL), DIM)
    with pytest.raises(ValueError, match="bart was given"):
        build_writer(BartConfig(), DIM)
    with pytest.raises(ValueError, match="no layer of PrefixWriter is named nothing"):
        _writer("bert", lora_rank=2, lora_targets=["nothing"])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'foveal\[train\]'"):
        add_lora(torch.nn.Linear(2, 2), 1, 1.0, ["x"])
    _writer("t5")


@every_kind
@torch.no_grad()
def test_a_text_that_joins_later_is_read_as_alone(kind: str) -> None:
    writer, (visual, ids, context) = _writer(kind), _given()
    _, features = writer(visual, ids, context)
    draft, late = writer.begin(visual[:2], context[:2]), writer.begin(visual[2:], context[2:, : int((context[2] != 0).sum())])
    writer.step(draft, ids[:2, :3])
    writer.step(late, ids[2:, :1])
    assert draft.join(late)
    for place in range(3):
        new = torch.cat([ids[:2, 3 + place : 4 + place], ids[2:, 1 + place : 2 + place]])
        found = writer.step(draft, new)[1][:, 0]
        torch.testing.assert_close(found, torch.cat([features[:2, 3 + place], features[2:, 1 + place]]), atol=1e-5, rtol=1e-4)
    draft.select(torch.tensor([2]))
    draft.trim()
    assert draft.text.shape == (1, 4)
    torch.testing.assert_close(writer.step(draft, ids[2:, 4:5])[1][:, 0], features[2:, 4], atol=1e-5, rtol=1e-4)

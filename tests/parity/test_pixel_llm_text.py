"""PixelLLM's language models, their decoding and the text loss against recordings of the original."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, T5Config

from foveal.models.lora import merge_lora
from foveal.models.losses import IGNORED, token_cross_entropy
from foveal.models.pixel_llm.decoding import search, write
from foveal.models.pixel_llm.language import build_writer
from foveal.models.pixel_llm.layout import as_ours
from foveal.models.pixel_llm.writer import Writer


def _settings(parity: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, float]]:
    about = json.loads((parity / "pixelllm" / f"{name}.json").read_text())
    return about["config"], load_file(parity / "pixelllm" / f"{name}.safetensors"), about["tolerance"]


def _bert(parity: Path) -> tuple[Writer, dict[str, Tensor], dict[str, float]]:
    sizes, recorded, tolerance = _settings(parity, "text_bert")
    inner = recorded["params/transformer/encoder/layer.0/intermediate/dense/bias"].shape[0]
    config = BertConfig(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=inner,
        max_position_embeddings=sizes["max_pos"],
        bos_token_id=sizes["bos"],
        eos_token_id=sizes["eos"],
    )
    return _loaded(build_writer(config, sizes["D"]), recorded), recorded, tolerance


def _t5(parity: Path, uniform_rows: bool = True) -> tuple[Writer, dict[str, Tensor], dict[str, float]]:
    sizes, recorded, tolerance = _settings(parity, "text_t5")
    config = T5Config(
        vocab_size=sizes["vocab"],
        d_model=sizes["emb"],
        d_kv=sizes["head_dim"],
        d_ff=sizes["mlp"],
        num_layers=sizes["enc"],
        num_decoder_layers=sizes["dec"],
        num_heads=sizes["heads"],
        feed_forward_proj="gated-gelu",
    )
    targets = [{"query": "q", "key": "k", "value": "v", "out": "o"}.get(one, one) for one in sizes["modules"].split(",")]
    rank = sizes["rank"]
    writer = build_writer(config, None, uniform_rows=uniform_rows, lora_rank=rank, lora_alpha=sizes["scale"] * rank, lora_targets=targets)
    return _loaded(writer, recorded), recorded, tolerance


def _loaded(writer: Writer, recorded: dict[str, Tensor]) -> Writer:
    params = {name.removeprefix("params/"): value for name, value in recorded.items() if name.startswith("params/")}
    writer.load_state_dict(as_ours(params, "textual"))
    return writer.eval()


def _contexts(recorded: dict[str, Tensor]) -> list[tuple[str, Tensor | None]]:
    """The suffix of each case's names, and its context."""
    return [("", recorded["in/context_tokens"].long()), ("_no_context", None)]


@pytest.mark.parametrize("read", [_bert, _t5])
@torch.no_grad()
def test_given_texts_have_the_recorded_logits_and_features(parity: Path, read: Any) -> None:
    writer, recorded, tolerance = read(parity)
    visual, ids = recorded["in/visual_features"], recorded["in/text_tokens"].long()
    for suffix, context in _contexts(recorded):
        logits, features = writer(visual, ids, context)
        for found, name in ((logits, "logits"), (features, "features")):
            torch.testing.assert_close(found, recorded[f"out/{name}{suffix}"], **tolerance)


@torch.no_grad()
def test_the_prefix_has_the_recorded_states(parity: Path) -> None:
    writer, recorded, tolerance = _bert(parity)
    visual, context, ids = recorded["in/visual_features"], recorded["in/context_tokens"].long(), recorded["in/text_tokens"].long()
    states: list[Tensor] = []
    writer.layers[-1].register_forward_hook(lambda _, __, found: states.append(found))
    writer.read(visual, ids, context)
    torch.testing.assert_close(states[0], recorded["out/features_with_prefix"], **tolerance)


@torch.no_grad()
def test_without_the_uniform_rows_all_tokens_that_go_on_are_the_same(parity: Path) -> None:
    writer, recorded, tolerance = _t5(parity, uniform_rows=False)
    valid = recorded["out/decoder_valid_rows"].bool()
    for suffix, context in _contexts(recorded):
        logits, features = writer(recorded["in/visual_features"], recorded["in/text_tokens"].long(), context)
        for found, name in ((logits, "logits"), (features, "features")):
            torch.testing.assert_close(found[valid], recorded[f"out/{name}{suffix}"][valid], **tolerance)


@torch.no_grad()
def test_adapters_folded_into_the_weights_change_nothing(parity: Path) -> None:
    writer, recorded, tolerance = _t5(parity)
    merge_lora(writer)
    assert not [name for name in writer.state_dict() if "lora" in name or "base_layer" in name]
    logits, _ = writer(recorded["in/visual_features"], recorded["in/text_tokens"].long(), recorded["in/context_tokens"].long())
    torch.testing.assert_close(logits, recorded["out/logits"], **tolerance)


@pytest.mark.parametrize("read", [_bert, _t5])
def test_greedy_texts_and_scores_are_as_recorded(parity: Path, read: Any) -> None:
    writer, recorded, tolerance = read(parity)
    for suffix, context in _contexts(recorded):
        wanted = recorded[f"decode{suffix}/greedy_ids"].long()
        found = write(writer, recorded["in/visual_features"], context, limit=wanted.shape[-1] - 2, forbid_repeats=True)
        assert _as_recorded(found.ids, writer, wanted.shape[-1]).tolist() == wanted.tolist()
        torch.testing.assert_close(found.scores, recorded[f"decode{suffix}/greedy_log_prob"], **tolerance)


@pytest.mark.parametrize("read", [_bert, _t5])
def test_beams_and_their_scores_are_as_recorded(parity: Path, read: Any) -> None:
    writer, recorded, tolerance = read(parity)
    for suffix, context in _contexts(recorded):
        cases = (re.fullmatch(rf"decode{suffix}/beam(\d+)x(\d+)_ids", name) for name in recorded)
        for name, beams, per_beam in ((case[0], int(case[1]), int(case[2])) for case in cases if case):
            wanted, scores = recorded[name].long(), recorded[name.replace("ids", "scores")]
            found = search(writer, recorded["in/visual_features"], context, limit=wanted.shape[-1] - 2, beams=beams, per_beam=per_beam)
            there = scores > -1e6
            ids = _as_recorded(found.ids.flip(1), writer, wanted.shape[-1])
            assert ids[there].tolist() == wanted[there].tolist(), name
            torch.testing.assert_close(found.scores.flip(1)[there], scores[there], **tolerance)


def _as_recorded(ids: Tensor, writer: Writer, length: int) -> Tensor:
    """The original fills up with the end; a token that is padding may have been said before it."""
    ended = functional.pad((ids[..., 1:] == writer.eos_token_id).cumsum(-1) > 0, (1, 0))
    return functional.pad(ids.masked_fill(ended, writer.eos_token_id), (0, length - ids.shape[-1]), value=writer.eos_token_id)


def test_the_text_loss_is_as_recorded(parity: Path) -> None:
    sizes, recorded, tolerance = _settings(parity, "losses")
    logits, ids = recorded["text_in/logits"].flatten(0, 1), recorded["text_in/tokens"].long().flatten(0, 1)
    said = recorded["text_in/sample_mask"].flatten() > 0
    learnt = (ids != 0) & (ids[:, 1:2] != sizes["eos"])  # neither padding nor a text whose first token is its end
    cases = [name for name in recorded if name.startswith("text_out/loss_smooth_")]
    assert cases
    for name in cases:
        smoothing, unmasked = re.fullmatch(r"text_out/loss_smooth_(\d[._]\d+)(_no_mask)?", name).groups()
        counted = learnt if unmasked else learnt & said[:, None]
        found = token_cross_entropy(logits, ids.masked_fill(~counted, IGNORED), smoothing=float(smoothing.replace("_", ".")))
        torch.testing.assert_close(found.view(1), recorded[name], **tolerance)

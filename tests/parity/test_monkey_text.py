"""Qwen's tokenizer against recordings: the ids of the original, with placeholders where it spelled paths."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from foveal.models.monkey import MonkeyProcessor
from foveal.models.monkey.tokens import ranks_tokenizer
from foveal.models.processing import IMAGE_MARK, Piece


@pytest.fixture(scope="module", params=["tiny", "real"])
def recorded(request: pytest.FixtureRequest, monkey_folder: Path) -> tuple[PreTrainedTokenizerFast, dict[str, Any]]:
    """A tokenizer and its recordings; the real vocabulary is read where FOVEAL_QWEN_RANKS names its file."""
    about = json.loads((monkey_folder / f"tokenization_{request.param}.json").read_text())
    if request.param == "tiny":
        return ranks_tokenizer(monkey_folder / about["vocabulary"]), about
    if "FOVEAL_QWEN_RANKS" not in os.environ:
        pytest.skip("the real vocabulary is not at hand: FOVEAL_QWEN_RANKS names no file")
    return ranks_tokenizer(Path(os.environ["FOVEAL_QWEN_RANKS"])), about


def _with_placeholders(text: str, span: int) -> str:
    return re.sub(r"<img>.*?</img>", "<img>" + "<imgpad>" * span + "</img>", text, flags=re.DOTALL)


def _ids(runs: list[list[int]], special: dict[str, int]) -> list[int]:
    """Recorded ids, what stands between an image's marks replaced by placeholders."""
    found, inside = [], False
    for token in (token for token, count in runs for _ in range(count)):
        inside = inside and token != special["</img>"]
        found.append(special["<imgpad>"] if inside else token)
        inside = inside or token == special["<img>"]
    return found


def test_control_tokens_follow_the_ranks(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    tokenizer, about = recorded
    assert len(tokenizer) == about["size"]
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in about["special_token_ids"]} == about["special_token_ids"]


def test_texts_have_the_recorded_ids(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    tokenizer, about = recorded
    for case in about["encode_decode"]:
        if "ids_run_length" in case:
            wanted = _ids(case["ids_run_length"], about["special_token_ids"])
            assert tokenizer(_with_placeholders(case["text"], about["image_token_span"])).input_ids == wanted, case["text"]


def test_a_batch_is_padded_on_the_left(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    tokenizer, about = recorded
    batch = about["left_padded_batch"]
    texts = [_with_placeholders(text, about["image_token_span"]) for text in batch["texts"]]
    wanted = [_ids(runs, about["special_token_ids"]) for runs in batch["ids_run_length"]]
    assert tokenizer(texts, padding=True, padding_side="left").input_ids == wanted


def test_chats_have_the_recorded_ids(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    tokenizer, about = recorded
    for case in about["chatml_context"]:
        text = _with_placeholders(case["raw_text"], about["image_token_span"])
        assert tokenizer(text).input_ids == _ids(case["ids_run_length"], about["special_token_ids"]), case["raw_text"]


def test_training_samples_have_the_recorded_labels(monkey_folder: Path) -> None:
    about = json.loads((monkey_folder / "train_samples.json").read_text())
    tokenizer = ranks_tokenizer(monkey_folder / about["vocabulary"])
    special = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<img>", "</img>", "<imgpad>")}
    processor = MonkeyProcessor(tokenizer, tokens=(about["image_token_span"], about["image_token_span"]))
    for sample in about["samples"]:
        marks = re.sub(r"<img>.*?</img>", f"<img>{IMAGE_MARK}</img>", sample["user"], flags=re.DOTALL)
        pieces = [Piece(marks), Piece(sample["assistant"], True), Piece("<|endoftext|>", True)]
        written = processor.write(pieces, [about["image_token_span"]] * marks.count(IMAGE_MARK))
        ids, labels = written.ids[: sample["max_len"]], written.labels[: sample["max_len"]]
        spare = sample["max_len"] - len(ids)
        assert ids + [tokenizer.pad_token_id] * spare == _ids([[token, 1] for token in sample["input_ids"]], special)
        assert labels + [about["ignore_index"]] * spare == sample["labels"]
        assert [1] * len(ids) + [0] * spare == sample["attention_mask"]

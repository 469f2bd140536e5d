"""Qwen's tokenizer against recordings: the ids of the original, with placeholders where it spelled paths."""

import json
import os
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from foveal.grounding.wordings import render
from foveal.grounding.wordings.elements import join_elements, split_elements
from foveal.grounding.wordings.monkey import TEMPLATES
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


def test_ids_are_decoded_as_recorded(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    tokenizer, about = recorded
    for case in about["encode_decode"]:
        if "ids_run_length" in case and "<img>" not in case["text"]:
            ids = _ids(case["ids_run_length"], about["special_token_ids"])
            assert tokenizer.decode(ids) == case["decoded"]
            assert tokenizer.decode(ids, skip_special_tokens=True) == case["decoded_skip_special"]


def test_what_the_whole_model_said_is_decoded_as_recorded(monkey_folder: Path) -> None:
    tokenizer = ranks_tokenizer(monkey_folder / json.loads((monkey_folder / "tokenization_tiny.json").read_text())["vocabulary"])
    about = json.loads((monkey_folder / "full_model.json").read_text())
    said, six = load_file(monkey_folder / "full_model.io.safetensors"), load_file(monkey_folder / "full_model_6tiles.io.safetensors")
    for stem, case in about.items():
        if "generated_text" in case:
            ids = six["greedy_ids"] if stem == "six_tiles" else said[f"{stem}.greedy_ids"]
            assert [tokenizer.decode(row) for row in ids.tolist()] == case["generated_text"]


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
        template = TEMPLATES["chatml"]
        asked = replace(template, opening=template.opening.replace("You are a helpful assistant.", case["system"]))
        assert render(asked, [*chain(*case["history"]), case["query"], None]) == case["raw_text"]


def _numbered(text: str, paths: list[str]) -> str:
    """A recorded string with the numbers of its pictures in place of their paths, which are kept in `paths`."""

    def number(found: re.Match[str]) -> str:
        paths.append(found[1])
        return f"<img>{len(paths)}</img>"

    return re.sub(r"<img>(.*?)</img>", number, text, flags=re.DOTALL)


def test_lists_become_the_recorded_texts(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    for case in recorded[1]["from_list_format"]:
        paths = [element["image"] for element in case["elements"] if "image" in element]
        numbers = iter(range(1, len(paths) + 1))
        given = [{"image": next(numbers)} if "image" in element else element for element in case["elements"]]
        found: list[str] = []
        assert join_elements(given) == _numbered(case["text"], found) and found == paths


def test_texts_become_the_recorded_lists(recorded: tuple[PreTrainedTokenizerFast, dict[str, Any]]) -> None:
    for case in recorded[1]["to_list_format"]:
        paths: list[str] = []
        text = _numbered(case["text"], paths)
        if "error" in case:
            with pytest.raises({"ValueError": ValueError}[case["error"]]):
                split_elements(text)
            continue
        found = [_as_recorded(element, paths) for element in split_elements(text)]
        assert found == case["elements"], case["text"]


def _as_recorded(element: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    [(kind, value)] = element.items()
    if kind == "image":
        return {kind: paths[value - 1]}
    spelled = join_elements([element]) if kind in ("box", "quad") else value
    return {kind: spelled.removeprefix(f"<{kind}>").removesuffix(f"</{kind}>")}


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

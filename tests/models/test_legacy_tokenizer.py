"""Laws of the tokenizer that is made from a Llama sentencepiece file."""

import io
from pathlib import Path
from typing import Any

import pytest

sentencepiece = pytest.importorskip("sentencepiece", reason="the tokenizer is made from a sentencepiece file")

WORDS = "the cup and the dog are on the table near the boat [1, 2, 30, 400] . What is it ? It is a small red cup , and a large dog ."


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, path = io.BytesIO(), tmp_path_factory.mktemp("tokens") / "tokenizer.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 20),
        model_writer=made,
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path.write_bytes(made.getvalue())
    return path


@pytest.fixture(scope="module")
def words(file: Path) -> Any:
    from foveal.models.ferret.tokens import legacy_tokenizer

    return legacy_tokenizer(file, ["<region_fea>"])


@pytest.mark.parametrize("text", [WORDS, "a  cup", " lead", "é☃", "", "table table\ntable", "cup,dog"])
def test_texts_have_the_ids_that_sentencepiece_gives(file: Path, words: Any, text: str) -> None:
    source = sentencepiece.SentencePieceProcessor(model_file=str(file))
    assert words(text).input_ids == [source.bos_id(), *source.encode(text)]
    assert words.decode(words(text).input_ids, skip_special_tokens=True) == text


def test_what_follows_an_added_token_begins_as_a_text_does(file: Path, words: Any) -> None:
    source = sentencepiece.SentencePieceProcessor(model_file=str(file))
    region = words.convert_tokens_to_ids("<region_fea>")
    assert region == source.vocab_size()
    assert words("a cup <region_fea>?").input_ids == [source.bos_id(), *source.encode("a cup "), region, *source.encode("?")]


def test_it_pads_with_the_unknown_token_on_the_right(words: Any) -> None:
    assert (words.pad_token_id, words.padding_side) == (words.unk_token_id, "right")


def test_it_is_kept_without_sentencepiece(words: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    words.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(WORDS).input_ids == words(WORDS).input_ids

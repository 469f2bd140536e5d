"""Qwen's vocabulary, a file of tiktoken ranks, as a fast tokenizer with the same ids, and back."""

import base64
import binascii
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

__all__ = ["SPECIAL", "ranks_tokenizer", "read_ranks", "write_ranks"]

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)),
    "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>",
)  # fmt: skip
"""The control tokens that follow the ranks, in this order."""

_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def ranks_tokenizer(file: Path, length: int = 2048) -> PreTrainedTokenizerFast:
    """The tokenizer of a rank file: byte pairs over NFC text, each digit alone, control tokens behind the ranks.

    ValueError for a file that is none. Every control token that stands in a text becomes one token, as in the original: what a user
    types is broken up before it comes here (`Processor.write`).
    """
    ranks = read_ranks(file)
    letters = _letters()
    spell = {token: "".join(letters[byte] for byte in token) for token in ranks}
    vocabulary = {spell[token]: rank for token, rank in ranks.items()}
    merges = [
        (spell[first], spell[second])
        for token in sorted(ranks, key=ranks.__getitem__)
        if (parts := _parts(token, ranks))
        for first, second in [parts]
    ]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(_PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        model_max_length=length,
        extra_special_tokens={"image_token": "<imgpad>"},
    )


def read_ranks(file: Path) -> dict[bytes, int]:
    """Tokens and their ranks, one line each: the token's bytes in base64, a blank, the rank. ValueError for anything else."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"line {number} of {file} is no token and its rank; a vocabulary of tiktoken's form is wanted.") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError(f"the ranks of {file} do not run from 0 to {len(ranks) - 1}.")
    return ranks


def write_ranks(tokenizer: PreTrainedTokenizerFast, file: Path) -> None:
    """The reverse of `ranks_tokenizer`: writes the rank file that makes this tokenizer.

    ValueError, with no file left, for a tokenizer that no rank file makes: one with other tokens behind the ranks than Qwen's, with merges in
    another order, or one that splits text in another way.
    """
    bytes_of = {letter: byte for byte, letter in _letters().items()}
    vocabulary = tokenizer.get_vocab()
    plain = sorted(set(vocabulary) - set(SPECIAL), key=vocabulary.__getitem__)
    try:
        tokens = [bytes(bytes_of[letter] for letter in token) for token in plain]
        lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
        file.write_text("".join(lines))
        same = _told(ranks_tokenizer(file)) == _told(tokenizer)
    except KeyError:
        same = False
    if not same:
        file.unlink(missing_ok=True)
        raise ValueError("this tokenizer is not Qwen's: no file of tiktoken ranks makes the same tokens of a text.")


def _told(tokenizer: PreTrainedTokenizerFast) -> list[Any]:
    """All that decides which tokens a text becomes."""
    said = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = [(token["id"], token["content"]) for token in said["added_tokens"]]
    return [said["normalizer"], said["pre_tokenizer"], said["model"]["vocab"], said["model"]["merges"], tokens]


def _parts(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts whose merge makes `token`: what byte pairs of lower rank leave of it; None for a single byte."""
    pieces = [token[place : place + 1] for place in range(len(token))]
    while len(pieces) > 2:
        joined = [ranks.get(first + second, len(ranks)) for first, second in pairwise(pieces)]
        best = min(range(len(joined)), key=joined.__getitem__)
        if joined[best] >= ranks[token]:
            return None
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
    return (pieces[0], pieces[1]) if len(pieces) == 2 else None


def _letters() -> dict[int, str]:
    """The letter that stands for each byte in byte-level vocabularies: itself where it prints, else one from behind the first 256."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}

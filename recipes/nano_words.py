"""The small model's tokenizer: every word of the scenes is one piece, every digit is one, anything else is spelled by characters or bytes."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from foveal.data.sources.scenes import COLOURS, Drawing, SceneStyle, draw_scene, vocabulary
from foveal.data.sources.scenes.questions import Question, questions
from foveal.data.sources.scenes.words import plural

__all__ = ["SPACE", "build_tokenizer", "corpus", "name_piece", "pieces_of", "questioned"]

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>", "<region_fea>")
FERRET_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "extra_special_tokens": {"image_token": "<image>", "region_token": "<region_fea>"},
}
SPACE = "▁"
WORD = re.compile(r" ?[A-Za-z]+| ?[^A-Za-z0-9 ]| ")


def corpus(count: int = 3000) -> Iterable[str]:
    """Questions and answers about `count` scenes of training, as plain text."""
    for asked in questioned(count, SceneStyle(sides=((224, 256, 1.0),)), questions, EVEN):
        for question in asked:
            if question.task != "read":
                yield f"USER: {question.ask.text} ASSISTANT: {question.answer.text}"


def questioned(
    count: int, style: SceneStyle, ask: Callable[[Drawing, np.random.Generator, int, Mapping[str, float]], list[Question]], tasks: Mapping[str, float]
) -> Iterable[list[Question]]:
    """A dozen questions about each of `count` scenes of training, all tasks alike."""
    for seed in range(count):
        yield ask(draw_scene(seed, "train", style), np.random.default_rng(seed), 12, dict.fromkeys(tasks, 1.0))


def name_piece(name: str, *, spaced: bool = True) -> str:
    """The one piece that stands for a name, however many words it has."""
    return (SPACE if spaced else "") + name.replace(" ", SPACE)


def pieces_of(texts: Iterable[str], least: int = 3) -> list[str]:
    """Words with the space before them that occur at least `least` times, and every name of the model's, one and many; what can begin a line
    or follow a bracket also stands without its space."""
    counts = Counter(word.replace(" ", SPACE) for text in texts for word in WORD.findall(text))
    names = (*vocabulary(), *COLOURS, "text")
    forms = [name_piece(form) for name in names for form in (name, plural(name))] + [name_piece(name, spaced=False) for name in names]
    kept = sorted(word for word, count in counts.items() if count >= least and len(word) > 1)
    begins = [word.removeprefix(SPACE) for word in kept if word.removeprefix(SPACE)[:1].isupper()]
    return list(dict.fromkeys([*forms, *kept, *begins, f",{SPACE}", f"{SPACE}["]))


def build_tokenizer(pieces: list[str], special: Sequence[str] = SPECIAL, **roles: Any) -> PreTrainedTokenizerFast:
    """A unigram tokenizer in which a whole piece always beats its parts. `special` tokens come first, `roles` say which of them is what.

    >>> tokenizer = build_tokenizer(["▁cat", "▁hot▁dog", ",▁", "▁["])
    >>> tokenizer.tokenize("a cat [12, 3]")
    ['a', '▁cat', '▁[', '1', '2', ',▁', '3', ']']
    """
    characters = [chr(code) for code in range(33, 127)] + [SPACE, "\n"]
    scores = {piece: -4.0 - 0.01 * len(piece) for piece in pieces} | {character: -4.0 for character in characters}
    scores[f",{SPACE}"] = -6.0  # between numbers, where no word begins
    table = [(token, 0.0) for token in special] + [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    table += [(piece, score) for piece, score in scores.items() if piece not in special]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[0-9]"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, model_max_length=4096, **(roles or FERRET_ROLES))


EVEN = dict.fromkeys(
    ("locate", "locate_all", "absent", "ground", "detect", "refer", "count", "present", "caption", "caption_grounded", "colour", "where",
     "name_box", "choice_box", "read"), 1.0,
)  # fmt: skip
"""All tasks alike: a word list wants each of them."""

"""Weights of the released PixelLLM, as Flax keeps them, as ours, and back: in rows, all or nothing, with their own licence on the card."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from foveal.models.card import write_card
from foveal.models.conversion import check_names, refusing_settings, weight_shapes, weights_part, write_model
from foveal.models.pixel_llm.config import PixelLLMConfig
from foveal.models.pixel_llm.flax_file import flax_files, open_flax, parameters, write_flax
from foveal.models.pixel_llm.layout import PARTS, grouped, separated
from foveal.models.pixel_llm.processor import PixelLLMProcessor
from foveal.models.pixel_llm.released import field_differences, joined_fields, released_config
from foveal.models.pixel_llm.writer import special_tokens
from foveal.models.shards import Weight, cast, open_weights, read_json, whole_folder

__all__ = ["arrange", "convert", "publish", "published_shapes"]

_CHECKPOINT, _FIELDS, _TOKENIZER = "checkpoint.msgpack", "fields.json", "tokenizer.json"
_EXACT = ("location_prompts.frequencies",)
"""What stays float32 whatever the others are: a place's code is a sine of many times what these say."""


def convert(
    source: Path,
    out: Path,
    *,
    tokenizer: Path | None = None,
    licence: str | None = None,
    origin: str | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = 5 * 10**9,
    fields: Mapping[str, Any] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> PixelLLMConfig:
    """Makes the folder `out`, which `from_pretrained` and `Session.open` read, of a checkpoint of Flax: the file `source`, or the one in that folder.

    `tokenizer`: the folder of the language model's, bert-base-uncased's or T5's, with a tokenizer.json (default: that of `source`). `licence`: an
    identifier, a sentence or a file, where the folder of `source` states none; `origin`: where the weights come from, for the card. `dtype`: that
    of the weights (default: as they are). `fields` change what shapes do not tell (`released_config`), over those that a fields.json beside the
    checkpoint gives. `watch` hears how many bytes of how many are written. Returns the configuration.

    Neither JAX nor Flax is needed, nothing that the file holds is run, and not more than some rows of a weight are in memory at a time.
    ValueError before anything is written when anything is missing, superfluous or of another shape; when writing is interrupted, nothing is left.
    """
    file = _checkpoint(source)
    weights = parameters(open_flax(file), list(PARTS))
    beside = file.parent / _FIELDS
    told = joined_fields(read_json(beside) if beside.is_file() else {}, fields or {})
    antialias = bool(told.pop("antialias", False))
    with refusing_settings():
        config = released_config({name: weight.shape for name, weight in weights.items()}, told)
        config.validate()
    ours = arrange(weights, config, dtype=dtype)
    processor = PixelLLMProcessor.from_config(config, _tokenizer(tokenizer or file.parent, config), antialias=antialias)
    parts = [weights_part(source, licence, origin)]
    write_model(out, processor, config, ours, parts=parts, words=_described(config), shard_bytes=shard_bytes, watch=watch)
    return config


def publish(
    source: Path,
    out: Path,
    *,
    licence: str | None = None,
    origin: str | None = None,
    chunk_bytes: int = 2**30,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Makes the folder `out`, with a checkpoint of Flax and its tokenizer, of a model of ours in `source`; `convert` undoes it.

    Parameters are under `params`, by the release's names. Returns what is written to fields.json: all that neither names nor shapes tell and the
    release has otherwise. ValueError for a model that the release has no names for: other towers, another language model.
    """
    config = PixelLLMConfig.from_pretrained(source)
    weights = separated(open_weights(source).values())
    shapes = published_shapes(config)
    _check({weight.name: weight for weight in weights}, shapes)
    told = field_differences(config, released_config(shapes))
    processor = PixelLLMProcessor.from_pretrained(source)
    told |= {"antialias": True} if processor.antialias else {}
    part = weights_part(source, licence, origin)
    with whole_folder(out) as folder:
        processor.tokenizer.save_pretrained(folder)
        if told:
            (folder / _FIELDS).write_text(json.dumps(told, indent=2) + "\n")
        write_card(folder, part.origin, "Parameters of a PixelLLM in the layout of its authors, as Flax keeps them.", [part])
        placed = [Weight(f"params/{weight.name}", weight.dtype, weight.shape, weight.read) for weight in weights]
        write_flax(folder / _CHECKPOINT, placed, chunk_bytes=chunk_bytes, watch=watch)
    return told


def arrange(weights: Mapping[str, Weight], config: PixelLLMConfig, *, dtype: torch.dtype | None = None) -> list[Weight]:
    """The release's parameters as the weights of a model of this configuration: in its names, shapes and order, of one element type.

    The frequencies of places stay float32. ValueError that names what is missing, what is superfluous, and what has another shape.
    """
    shapes = weight_shapes(config)
    _check(weights, _theirs(shapes))
    chosen = dtype or next(iter(weights.values())).dtype
    ours, _ = grouped(weights)
    by_name = {weight.name: cast(weight, torch.float32 if weight.name in _EXACT else chosen) for weight in ours}
    return [by_name[name] for name in shapes]


def published_shapes(config: PixelLLMConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's parameters in the release, without any of them being made. ValueError where it has no name for one."""
    return _theirs(weight_shapes(config))


def _theirs(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {weight.name: weight.shape for weight in separated(Weight(name, torch.float32, shape, torch.empty) for name, shape in shapes.items())}


def _check(weights: Mapping[str, Weight], wanted: Mapping[str, tuple[int, ...]]) -> None:
    shared = [(name, weight.shape, wanted[name]) for name, weight in weights.items() if name in wanted]
    check_names(
        "PixelLLM",
        [name for name in wanted if name not in weights],
        [name for name in weights if name not in wanted],
        [f"{name} {list(found)} instead of {list(shape)}" for name, found, shape in shared if found != shape],
    )


def _checkpoint(source: Path) -> Path:
    found = flax_files(source)
    if not found and (source / "config.json").is_file() and read_json(source / "config.json").get("model_type") == PixelLLMConfig.model_type:
        raise ValueError(f"{source} is in foveal's layout already; --to-published makes a checkpoint of Flax of it.")
    if not found:
        raise ValueError(f"{source} is no checkpoint of Flax and holds none; a msgpack file is wanted, such as checkpoint_10000.")
    if len(found) > 1:
        raise ValueError(f"{source} holds {len(found)} checkpoints of Flax: name one of {', '.join(file.name for file in found)}.")
    return found[0]


def _tokenizer(place: Path, config: PixelLLMConfig) -> PreTrainedTokenizerFast:
    if not (place / _TOKENIZER).is_file():
        raise ValueError(f"{place} holds no {_TOKENIZER}: name the folder of the language model's tokenizer (--tokenizer).")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place)
    words: Any = config.text_config
    begin, end, pad = special_tokens(words)
    found = {"pad_token": pad} | ({"eos_token": end} if words.is_encoder_decoder else {"cls_token": begin, "sep_token": end})
    for name, wanted in found.items():
        number = getattr(tokenizer, f"{name}_id")
        if number is not None and number != wanted:
            raise ValueError(f"the model's {name} is {wanted}, and that of the tokenizer in {place} is {number}: it is another language model's.")
    if len(tokenizer) > words.vocab_size:
        raise ValueError(f"the tokenizer in {place} has {len(tokenizer)} tokens, and the weights have {words.vocab_size} rows of vocabulary.")
    return tokenizer


def _described(config: PixelLLMConfig) -> str:
    words: Any = config.text_config
    kind = "a T5" if words.is_encoder_decoder else "a prefix language model"
    able = ["a place for every word"] if config.location_points else []
    able += ["masks of what is named"] if config.segments else []
    able += ["boxes of all things in a picture"] if config.detector is not None else []
    return (
        f"A PixelLLM for the library foveal: its pictures are {config.side} pixels wide or high, its language model is {kind} of width "
        f"{words.hidden_size}. Beside words it gives {' and '.join(able) or 'nothing'}."
    )

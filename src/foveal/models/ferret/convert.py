"""Published Ferret weights as ours: row by row, all or nothing, with the weights' own licence on the card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from foveal.models.card import Part, find_licence
from foveal.models.conversion import check_names, listed, refusing_settings, weight_shapes, weights_part, write_model
from foveal.models.ferret.config import FerretConfig
from foveal.models.ferret.layout import STALE, foreign_weight, local_copies, published_name
from foveal.models.ferret.processor import FerretProcessor
from foveal.models.ferret.published import ferret_fields, known_name, language_fields, vision_fields
from foveal.models.ferret.tokens import legacy_tokenizer
from foveal.models.shards import Weight, cast, open_weights, read_json, summed

__all__ = ["Checkpoint", "arrange", "convert", "open_published"]

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint that is open but not read: its configuration as ours, its weights by their published names, its tokenizer."""

    config: FerretConfig
    weights: Mapping[str, Weight]
    tokenizer: PreTrainedTokenizerBase


def convert(
    source: Path,
    out: Path,
    *,
    base: Path | None = None,
    clip: Path | None = None,
    licence: str | None = None,
    origin: str | None = None,
    dual: bool = False,
    dtype: torch.dtype | None = None,
    shard_bytes: int = 5 * 10**9,
    allow_pickle: bool = False,
    fields: Mapping[str, Any] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> FerretConfig:
    """Makes the folder `out`, which `from_pretrained` and `Session.open` read, of a published Ferret in the folder `source`.

    `base`: the language model that `source` is the difference to (v1). `clip`: the image encoder, where `source` holds none. `licence`: an
    identifier, a sentence or a file, where `source` states none; `origin`: where the weights come from, for the card. `dual`: an encoder
    and a projector of their own for tiles, which start as copies: Ferret-v2's layout, same answers. `dtype`: that of the weights (default:
    as they are). `fields` change any field of the configuration. `watch` hears how many bytes of how many are written. Returns the
    configuration.

    Not more than some rows of a weight are in memory at a time, whatever the model's size. ValueError before anything is written when anything is
    missing, superfluous or of another shape; when writing is interrupted, nothing is left.
    """
    published = open_published(source, base=base, clip=clip, dual=dual, allow_pickle=allow_pickle, fields=fields)
    chosen = dtype or published.weights[_EMBEDDING].dtype
    weights = [cast(weight, chosen) for weight in arrange(published.weights, published.config)]
    parts = _parts(source, base, clip, licence, origin)
    processor = FerretProcessor.from_config(published.config, published.tokenizer)
    words = _described(published.config, base, dual)
    write_model(out, processor, published.config, weights, parts=parts, words=words, shard_bytes=shard_bytes, watch=watch)
    return published.config


def open_published(
    source: Path,
    *,
    base: Path | None = None,
    clip: Path | None = None,
    dual: bool = False,
    allow_pickle: bool = False,
    fields: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Opens a published checkpoint without reading its weights; arguments and errors are those of `convert`."""
    for folder in (source, base, clip):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{folder} is no folder; the folder of a checkpoint is wanted.")
    settings = read_json(source / "config.json")
    weights = open_weights(source, allow_pickle=allow_pickle)
    if _EMBEDDING not in weights:
        raise ValueError(f"{source} holds no {_EMBEDDING}: it is no whole Ferret.")
    if base is not None:
        weights = _added(weights, open_weights(base, allow_pickle=allow_pickle), base)
    elif settings.get("model_type") == "ferret":
        _check_whole(weights, source)
    tower = clip or (source / "vision_tower" if (source / "vision_tower").is_dir() else None)
    if not any("vision_model." in name for name in weights):
        weights |= _tower_weights(tower, settings, allow_pickle)
    config = _config(settings, weights, vision_fields(settings, tower), dual, fields or {})
    tokenizer = _tokenizer(settings, [source, base] if base else [source], weights[_EMBEDDING].shape[0])
    region = settings.get("im_region_fea_token")
    found = tokenizer.get_vocab().get("<region_fea>")
    if region is not None and region != found:
        raise ValueError(f"config.json says that <region_fea> is token {region}, and the tokenizer says {found}.")
    config.region_token_id = config.region_token_id if fields and "region_token_id" in fields else found
    return Checkpoint(config, weights, tokenizer)


def arrange(weights: Mapping[str, Weight], config: FerretConfig) -> list[Weight]:
    """Published weights as the weights of a model of this configuration: in its names, shapes and order.

    ValueError that names what is missing, what is superfluous, and what has another shape.
    """
    wanted = weight_shapes(config)
    ours: dict[str, Weight] = {}
    extra, odd = [], []
    for key, weight in weights.items():
        try:
            name = published_name(key)
        except ValueError:
            extra.append(key)
            continue
        if name is None or (name == "image_newline" and config.merge == "spatial") or (key == _HEAD and config.tie_word_embeddings):
            continue
        if name not in wanted:
            extra.append(key)
            continue
        own = _own(key, weight)
        if own.shape != wanted[name]:
            odd.append(f"{key} {list(own.shape)} instead of {list(wanted[name])}")
        for copy in local_copies(name) if config.local_vision_config is not None else (name,):
            ours[copy] = replace(own, name=copy)
    missing = [known_name(name, config.projector) or name for name in wanted if name not in ours]
    check_names("Ferret", missing, extra, odd)
    return [ours[name] for name in wanted]


def _added(weights: dict[str, Weight], base: Mapping[str, Weight], place: Path) -> dict[str, Weight]:
    """Differences to a base made whole. What is no part of the language model is whole already."""
    language = {name for name in weights if name.startswith(("model.", "lm_head.")) and (published_name(name) or "").startswith("language_model.")}
    lacking = [name for name in weights if name in language - set(base)]
    beyond = [name for name in base if name not in weights and not STALE.fullmatch(name)]
    if lacking or beyond:
        said = [f"{place} lacks {listed(lacking)}"] * bool(lacking) + [f"{place} holds {listed(beyond)} as well"] * bool(beyond)
        raise ValueError(f"the base is not the language model of this checkpoint: {'; '.join(said)}.")
    rows = (_EMBEDDING, _HEAD)
    return {name: summed(weight, base[name], more_rows=name in rows) if name in language else weight for name, weight in weights.items()}


def _check_whole(weights: Mapping[str, Weight], source: Path) -> None:
    """ValueError for a v1 difference taken for a whole model: the scale of its last norm is then next to nothing."""
    norm = weights.get("model.norm.weight")
    if norm is not None and norm.read().float().abs().mean() < 0.02:
        raise ValueError(f"{source} holds the difference to a language model, not a whole one: give the folder of that (--base).")


def _tower_weights(folder: Path | None, settings: Mapping[str, Any], allow_pickle: bool) -> dict[str, Weight]:
    if folder is None:
        raise ValueError(f"the checkpoint holds no image encoder: give the folder of {settings.get('mm_vision_tower', 'its CLIP')} (--clip).")
    found = open_weights(folder, allow_pickle=allow_pickle)
    if any(name.startswith("vision_model.") for name in found):
        return {name: weight for name, weight in found.items() if not STALE.fullmatch(name)}
    return {f"vision_model.{name}": weight for name, weight in found.items()}


def _config(
    settings: Mapping[str, Any], weights: Mapping[str, Weight], tower: dict[str, Any] | None, dual: bool, fields: Mapping[str, Any]
) -> FerretConfig:
    vocabulary = weights[_EMBEDDING].shape[0]
    with refusing_settings():
        plain = FerretConfig(vision_config=tower, text_config=language_fields(settings, vocabulary))
        known = ferret_fields(settings, plain.vision_config.image_size) | {"image_token_id": vocabulary}
        if dual:
            known |= {"local_vision_config": plain.vision_config.to_dict(), "local_select_layer": known["select_layer"], "local_normed": False}
        if _HEAD in weights and plain.text_config.tie_word_embeddings:
            plain.text_config.tie_word_embeddings = _same(weights[_HEAD], weights[_EMBEDDING])
        config = FerretConfig(**({"vision_config": plain.vision_config.to_dict(), "text_config": plain.text_config.to_dict()} | known | dict(fields)))
        config.validate()
    if dual and not config.grids:
        raise ValueError("an encoder for tiles was asked for (--dual), and this checkpoint looks at no tiles; one of any resolution is wanted.")
    return config


def _same(first: Weight, second: Weight) -> bool:
    """Whether a head is the embedding once more: then it is tied, as the configuration says; otherwise both are kept, as transformers does."""
    alike = (first.shape, first.dtype) == (second.shape, second.dtype)
    return alike and all(torch.equal(*pair) for pair in zip(first.pieces(), second.pieces(), strict=True))


def _own(key: str, weight: Weight) -> Weight:
    """A published weight in our shape."""
    if not key.endswith(".net.0.weight") or weight.shape[-1:] != (1,):
        return weight
    return replace(weight, shape=weight.shape[:-1], read=lambda *rows: foreign_weight(key, weight.read(*rows)))


def _tokenizer(settings: Mapping[str, Any], folders: Sequence[Path], vocabulary: int) -> PreTrainedTokenizerBase:
    """The tokenizer of the first folder that has one, with `<region_fea>`. ValueError when ids and the rows of the vocabulary disagree."""
    length = settings.get("tokenizer_model_max_length") or 2048
    for folder in folders:
        model, whole = folder / "tokenizer.model", folder / "tokenizer.json"
        if model.is_file() and settings.get("model_type") in ("ferret", "ferret_llama") and vocabulary < 100_000:
            tokenizer = _legacy(model, _added_tokens(folder), length)
            break
        if whole.is_file():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="right", model_max_length=length)
            break
    else:
        raise ValueError(f"{folders[0]} holds no tokenizer: tokenizer.json is wanted, or tokenizer.model of a Llama or Vicuna.")
    if "<region_fea>" not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": ["<region_fea>"]})
    highest = max(tokenizer.get_vocab().values())
    if highest >= vocabulary:
        raise ValueError(f"the tokenizer in {folder} counts to {highest}, and the weights have {vocabulary} rows of vocabulary.")
    return tokenizer


def _legacy(model: Path, added: Mapping[str, int], length: int) -> PreTrainedTokenizerBase:
    try:
        tokenizer = legacy_tokenizer(model, sorted(added, key=added.__getitem__), length)
    except ImportError as error:
        raise ValueError(f"{model} is read by the sentencepiece package, which is not installed: pip install 'foveal[convert]'.") from error
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{model} is no sentencepiece model: {str(error).splitlines()[0]}") from error
    vocabulary = tokenizer.get_vocab()
    if moved := [token for token, number in added.items() if vocabulary[token] != number]:
        number = vocabulary[moved[0]]
        raise ValueError(f"{model.parent} says that {moved[0]} is token {added[moved[0]]}; added to {model.name} it is {number}.")
    return tokenizer


def _added_tokens(folder: Path) -> dict[str, int]:
    """Tokens that stand beside the sentencepiece model, in the older or the newer of transformers' files."""
    older, newer = folder / "added_tokens.json", folder / "tokenizer_config.json"
    decoder = read_json(newer).get("added_tokens_decoder", {}) if newer.is_file() else {}
    return {token["content"]: int(number) for number, token in decoder.items()} | (read_json(older) if older.is_file() else {})


def _parts(source: Path, base: Path | None, clip: Path | None, licence: str | None, origin: str | None) -> list[Part]:
    parts = [weights_part(source, licence, origin)]
    others = (("language model", base), ("image encoder", clip))
    return parts + [Part(role, folder.resolve().name, find_licence(folder)) for role, folder in others if folder is not None]


def _described(config: FerretConfig, base: Path | None, dual: bool) -> str:
    views = f"the whole image and up to {max(columns * rows for columns, rows in config.grids)} tiles" if config.grids else "the whole image"
    body = (
        f"A Ferret for the library foveal: it sees {views}, each as {config.overview_side} x {config.overview_side} pixels; its language model is a "
        f"{config.text_config.model_type} of width {config.text_config.hidden_size} and {config.text_config.num_hidden_layers} layers. "
        "Regions are read transposed, as these weights were trained."
    )
    body += " The published difference was added to its base." if base else ""
    body += " The tiles' encoder and projector are copies of the overview's: a start for Ferret-v2, not its trained weights." if dual else ""
    return body

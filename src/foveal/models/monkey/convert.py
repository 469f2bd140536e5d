"""Published Monkey and Qwen-VL weights as ours, and back: row by row, all or nothing, with the weights' own licence on the card."""

import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from foveal.models.card import write_card
from foveal.models.conversion import check_names, refusing_settings, weight_shapes, weights_part, write_model
from foveal.models.monkey.config import MonkeyConfig
from foveal.models.monkey.layout import STALE, grouped, published_names, separated
from foveal.models.monkey.processor import MonkeyProcessor
from foveal.models.monkey.published import monkey_config, published_settings
from foveal.models.monkey.tokens import ranks_tokenizer, write_ranks
from foveal.models.shards import Weight, cast, open_weights, read_json, whole_folder, write_shards

__all__ = ["arrange", "convert", "publish", "published_shapes"]

_EMBEDDING, _RANKS = "transformer.wte.weight", "qwen.tiktoken"


def convert(
    source: Path,
    out: Path,
    *,
    adapters: int | None = None,
    seed: int = 0,
    licence: str | None = None,
    origin: str | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = 5 * 10**9,
    allow_pickle: bool = False,
    fields: Mapping[str, Any] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> MonkeyConfig:
    """Makes the folder `out`, which `from_pretrained` and `Session.open` read, of a published Monkey or Qwen-VL in the folder `source`.

    `adapters`: how many windows have one (default: as many as `source` holds, none in a Qwen-VL); those it does not hold are made fresh out
    of `seed`, and change nothing until they are trained. `licence`: an identifier, a sentence or a file, where `source` states none;
    `origin`: where the weights come from, for the card. `dtype`: that of the weights (default: as they are). `fields` change any field of
    the configuration: `{"canvas": (896, 896)}` with four adapters makes of a Qwen-VL what Monkey's training begins with. `watch` hears how
    many bytes of how many are written. Returns the configuration.

    Not more than some rows of a weight are in memory at a time. ValueError before anything is written when anything is missing, superfluous
    or of another shape; when writing is interrupted, nothing is left.
    """
    if not source.is_dir():
        raise ValueError(f"{source} is no folder; the folder of a checkpoint is wanted.")
    settings = read_json(source / "config.json")
    config, held = _config(source, settings, adapters, fields or {})
    weights = arrange(open_weights(source, allow_pickle=allow_pickle), config, held=held, dtype=dtype, seed=seed)
    processor = MonkeyProcessor.from_config(config, _tokenizer(source, config))
    parts = [weights_part(source, licence, origin)]
    write_model(out, processor, config, weights, parts=parts, words=_described(config, held), shard_bytes=shard_bytes, watch=watch)
    return config


def publish(
    source: Path,
    out: Path,
    *,
    licence: str | None = None,
    origin: str | None = None,
    shard_bytes: int = 5 * 10**9,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Makes the folder `out`, in the published layout, of a model of ours in `source`; `convert` undoes it. Returns the `config.json` written.

    Weights are safetensors, a weight for each window's adapter; the tokenizer is `qwen.tiktoken`. The code that the authors' own files
    name (`auto_map`) is not part of it. ValueError for a model that this layout cannot hold, and for a tokenizer that is not Qwen's.
    """
    if "visual" in read_json(source / "config.json"):
        raise ValueError(f"{source} is in the published layout already.")
    config = MonkeyConfig.from_pretrained(source)
    settings = published_settings(config)
    weights = separated(list(open_weights(source).values()))
    _check({weight.name: weight for weight in weights}, published_shapes(config))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
    part = weights_part(source, licence, origin)
    said = {
        "config.json": settings | {"torch_dtype": str(weights[0].dtype).removeprefix("torch.")},
        "tokenizer_config.json": {"tokenizer_class": "QWenTokenizer", "model_max_length": config.context_length},
        "special_tokens_map.json": {"pad_token": "<|endoftext|>"},
    }
    with whole_folder(out) as folder:
        write_ranks(tokenizer, folder / _RANKS)
        for name, values in said.items():
            (folder / name).write_text(json.dumps(values, indent=2) + "\n")
        write_card(folder, part.origin, "Weights of a Monkey in the layout of its authors.", [part])
        write_shards(folder, weights, shard_bytes=shard_bytes, watch=watch)
    return settings


def arrange(
    weights: Mapping[str, Weight], config: MonkeyConfig, *, held: int | None = None, dtype: torch.dtype | None = None, seed: int = 0
) -> list[Weight]:
    """Published weights as the weights of a model of this configuration: in its names, shapes and order, of one element type.

    `held`: how many adapters the weights hold (default: all that the configuration has); the others are made. ValueError that names what is
    missing, what is superfluous, and what has another shape.
    """
    wanted = published_shapes(config)
    windows = {name: place.window for name in wanted if (place := published_names(name)) is not None}
    fresh = {name for name, window in windows.items() if held is not None and window is not None and window >= held}
    found = {name: weight for name, weight in weights.items() if not STALE.fullmatch(name)}
    _check(found, {name: shape for name, shape in wanted.items() if name not in fresh})
    chosen = dtype or found[_EMBEDDING].dtype
    found |= {name: Weight(name, torch.float32, wanted[name], partial(_fresh, name, wanted[name], seed)) for name in fresh}
    ours, _ = grouped({name: cast(weight, chosen) for name, weight in found.items()})
    by_name = {weight.name: weight for weight in ours}
    return [by_name[name] for name in weight_shapes(config)]


def published_shapes(config: MonkeyConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's weights in the published layout, without any of them being made. ValueError where it has no place for one."""
    ours = [Weight(name, torch.float32, shape, torch.empty) for name, shape in weight_shapes(config).items()]
    return {weight.name: weight.shape for weight in separated(ours)}


def _check(weights: Mapping[str, Weight], wanted: Mapping[str, tuple[int, ...]]) -> None:
    shared = [(name, weight.shape, wanted[name]) for name, weight in weights.items() if name in wanted]
    check_names(
        "Monkey",
        [name for name in wanted if name not in weights],
        [name for name in weights if name not in wanted],
        [f"{name} {list(found)} instead of {list(shape)}" for name, found, shape in shared if found != shape],
    )


def _fresh(name: str, shape: tuple[int, ...], seed: int, start: int = 0, stop: int | None = None) -> Tensor:
    """A part of an adapter as training begins with it (`GroupedLora.reset`), the same whenever and in whatever order it is read."""
    if not name.endswith("lora_a.weight"):
        return (torch.ones if name.endswith("lora_scale") else torch.zeros)(shape)[start:stop]
    generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    bound = shape[1] ** -0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)[start:stop]


def _config(source: Path, settings: Mapping[str, Any], adapters: int | None, fields: Mapping[str, Any]) -> tuple[MonkeyConfig, int]:
    """The configuration, and how many adapters the weights hold."""
    visual = settings.get("visual")
    if visual is None and settings.get("model_type") == MonkeyConfig.model_type:
        raise ValueError(f"{source} is in foveal's layout already; --to-published makes the authors' of it.")
    if not isinstance(visual, dict):
        raise ValueError(f"{source / 'config.json'} has no object 'visual': it is no Monkey and no Qwen-VL.")
    counts = {name: visual[name] for name in ("width", "layers", "heads", "patch_size", "lora_repeat_num") if name in visual}
    if odd := [name for name, value in counts.items() if not isinstance(value, int) or value < 0]:
        raise ValueError(f"{source / 'config.json'} says {odd[0]} = {counts[odd[0]]!r}; a whole number is wanted.")
    with refusing_settings():
        held = visual.get("lora_repeat_num", 0)
        wanted = held if adapters is None else adapters
        if wanted < held:
            raise ValueError(f"{wanted} adapters were asked for (--adapters), and this checkpoint holds {held}; as many or more are wanted.")
        known = dict(settings) | ({"visual": dict(visual) | {"lora_repeat_num": wanted}} if wanted else {})
        usual = {"template": "chatml"} if not wanted and _chats(source) else {}
        config = monkey_config(known, **(usual | dict(fields)))
        config.validate()
    return config, held


def _chats(source: Path) -> bool:
    """Whether a Qwen-VL was trained to converse; Monkeys, which start from one, were trained on questions alone."""
    file = source / "generation_config.json"
    return file.is_file() and read_json(file).get("chat_format") == "chatml"


def _tokenizer(source: Path, config: MonkeyConfig) -> PreTrainedTokenizerFast:
    file, rows = source / _RANKS, config.text_config.vocab_size
    if not file.is_file():
        raise ValueError(f"{source} holds no tokenizer: {_RANKS} is wanted.")
    tokenizer = ranks_tokenizer(file, config.context_length)
    found = tokenizer.convert_tokens_to_ids("<imgpad>")
    if found != config.image_token_id:
        raise ValueError(f"config.json says that <img> is token {config.image_token_id - 2}, and {file} makes it {found - 2}.")
    if len(tokenizer) > rows:
        raise ValueError(f"{file} and its control tokens are {len(tokenizer)}, and the weights have {rows} rows of vocabulary.")
    return tokenizer


def _described(config: MonkeyConfig, held: int) -> str:
    width, height = config.canvas
    rows, cols = config.grid
    seen = f"cut into {rows} x {cols} windows of {config.window} pixels" if config.windows else "seen at once"
    words: Any = config.text_config
    body = (
        f"A Monkey for the library foveal: images are stretched over {width} x {height} pixels, {seen}"
        f"{', and seen whole once more' if config.windows and config.overview else ''}; "
        f"its language model is a Qwen of width {words.hidden_size} and {words.num_hidden_layers} layers."
    )
    if fresh := config.vision_config.adapters - held:
        body += f" {fresh} of its {config.vision_config.adapters} adapters are untrained: a start for training, not a trained model."
    return body

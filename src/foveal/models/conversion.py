"""What the converters of all models share: names compared, settings read, a licence found, a whole folder written."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig

from foveal.models.auto import MODELS
from foveal.models.card import Part, find_licence, stated_licence, write_card
from foveal.models.processing import Processor
from foveal.models.shards import Weight, whole_folder, write_shards

__all__ = ["check_names", "listed", "own_fields", "refusing_settings", "weight_shapes", "weights_part", "write_model"]

_SHOWN = 6
"""How many names an error lists."""
_OPENING = '```python\nfrom foveal.session import Session\n\nSession.open("path/of/this/folder")\n```'


@contextmanager
def refusing_settings() -> Iterator[None]:
    """Within it, what a configuration has against its values is a ValueError in one sentence."""
    try:
        yield
    except (StrictDataclassError, TypeError) as error:
        raise ValueError(f"config.json describes no model that can be built: {' '.join(str(error).split())}") from error


def own_fields(kind: type[PreTrainedConfig], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that this kind of configuration adds to what every configuration has."""
    common = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return {field.name: settings[field.name] for field in dataclasses.fields(kind) if field.name not in common and field.name in settings}


def weight_shapes(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's weights as they are saved, in their order: without any of them being made."""
    with torch.device("meta"):
        model: Any = MODELS[config.model_type][1](config)
    tied = set(model.all_tied_weights_keys)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def check_names(model: str, missing: Sequence[str], superfluous: Sequence[str], misshapen: Sequence[str]) -> None:
    """ValueError that names the weights with which a checkpoint is not the `model` its configuration describes; nothing if there are none.

    >>> check_names("Ferret", [], [], [])
    """
    complaints = [("missing", missing), ("superfluous", superfluous), ("of another shape", misshapen)]
    if said := "; ".join(f"{what}: {listed(names)}" for what, names in complaints if names):
        raise ValueError(f"the weights are not those of the {model} that config.json describes. {said}.")


def listed(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are.

    >>> listed("abcdefgh")
    'a, b, c, d, e, f and 2 more'
    """
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def weights_part(source: Path, licence: str | None, origin: str | None) -> Part:
    """What the card says of the weights themselves. ValueError when neither `licence` nor the folder of `source` states a licence."""
    folder = source if source.is_dir() else source.parent
    found = stated_licence(licence) if licence is not None else find_licence(folder)
    if found is None:
        raise ValueError(f"{folder} states no licence of its weights: give the one their source states (--licence), a name, a sentence or a file.")
    return Part("weights", origin or source.resolve().name, found)


def write_model(
    out: Path,
    processor: Processor,
    config: PreTrainedConfig,
    weights: Sequence[Weight],
    *,
    parts: Sequence[Part],
    words: str,
    shard_bytes: int,
    watch: Callable[[int, int], None] | None = None,
) -> None:
    """Makes the folder `out`, which `from_pretrained` and `Session.open` read: all of it or nothing.

    The weights are ours, of one element type and in order. `parts` are what the card names, `words` what it says.
    """
    with whole_folder(out) as folder:
        _check_room(folder, weights)
        config.architectures, config.dtype = [MODELS[config.model_type][1].__name__], weights[0].dtype
        config.save_pretrained(folder)
        processor.save_pretrained(folder)
        _generation(processor).save_pretrained(folder)
        write_card(folder, parts[0].origin, f"{words}\n\n{_OPENING}", parts)
        write_shards(folder, weights, shard_bytes=shard_bytes, watch=watch)


def _check_room(folder: Path, weights: Sequence[Weight]) -> None:
    wanted, free = sum(weight.num_bytes for weight in weights), shutil.disk_usage(folder).free
    if wanted > free:
        raise ValueError(f"the model takes {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free where it is to lie.")


def _generation(processor: Processor) -> GenerationConfig:
    """Answers end with the text's end and with the template's."""
    tokenizer = processor.tokenizer
    ends = dict.fromkeys(token for token in (tokenizer.eos_token_id, processor.stop_id) if token is not None)
    return GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=list(ends), pad_token_id=tokenizer.pad_token_id)

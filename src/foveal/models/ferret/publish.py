"""The other two ways: a model of ours back into a published layout, and a projector that was trained alone into ours."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from foveal.models.card import write_card
from foveal.models.conversion import weight_shapes, weights_part
from foveal.models.ferret.config import FerretConfig
from foveal.models.ferret.layout import local_copies, published_name
from foveal.models.ferret.published import known_name, published_settings
from foveal.models.shards import Weight, cast, open_weights, whole_folder, write_shards

__all__ = ["convert_projector", "publish"]

_INSIDE, _ALONE = "model.vision_tower.vision_tower.vision_model.", "vision_model."


def publish(
    source: Path,
    out: Path,
    *,
    licence: str | None = None,
    origin: str | None = None,
    shard_bytes: int = 5 * 10**9,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Makes the folder `out`, in the layout of ml-ferret v1 (no tiles) or Ferret-UI (tiles), of a model of ours in `source`; `convert` undoes it.

    v1 keeps the image encoder in the sub-folder `vision_tower`, Ferret-UI among the other weights. Returns the `config.json` written.
    ValueError for what these layouts cannot hold: a second encoder, upright regions, learned positions and the like.
    """
    config = FerretConfig.from_pretrained(source)
    settings = published_settings(config)
    weights = [_published(weight, config) for weight in open_weights(source).values()]
    if lost := sorted(set(weight_shapes(config)) ^ {str(published_name(weight.name)) for weight in weights}):
        raise ValueError(f"{source} does not hold the model that its config.json describes: {lost[0]} is missing or superfluous.")
    part = weights_part(source, licence, origin)
    tower = [weight for weight in weights if weight.name.startswith(_INSIDE)] if not config.grids else []
    with whole_folder(out) as folder:
        (folder / "config.json").write_text(json.dumps(settings | {"torch_dtype": str(weights[0].dtype).removeprefix("torch.")}, indent=2) + "\n")
        (folder / "vision_tower").mkdir()
        config.vision_config.save_pretrained(folder / "vision_tower")
        PreTrainedTokenizerFast.from_pretrained(source).save_pretrained(folder)
        write_card(folder, part.origin, "Weights of a Ferret in the layout of its authors.", [part])
        if tower:
            write_shards(folder / "vision_tower", [replace(weight, name=weight.name.replace(_INSIDE, _ALONE)) for weight in tower])
        write_shards(folder, [weight for weight in weights if weight not in tower], shard_bytes=shard_bytes, watch=watch)
    return settings


def convert_projector(
    source: Path,
    out: Path,
    *,
    licence: str | None = None,
    origin: str | None = None,
    dual: bool = False,
    dtype: torch.dtype | None = None,
    allow_pickle: bool = False,
) -> Mapping[str, Weight]:
    """Makes the folder `out` with `projector.safetensors`, in our names, of a file like `mm_projector.bin` that stage I leaves.

    `model.load_state_dict(safetensors.torch.load_file(file), strict=False)` puts it into a model. With `dual` the tiles' projector starts
    as a copy, as stage II of Ferret-v2 does. Returns what was written. ValueError when the file holds anything but one projector.
    """
    found = open_weights(source, allow_pickle=allow_pickle)
    names = {key: published_name(key) if key.startswith("model.mm_projector.") else None for key in found}
    if extra := [key for key, name in names.items() if name is None]:
        raise ValueError(f"{source} holds {extra[0]} too; nothing but weights named model.mm_projector.… is wanted.")
    layers = {(name or "").rpartition(".")[0] for name in names.values()}
    if layers not in ({"projector.0"}, {"projector.0", "projector.2"}) or len(names) != 2 * len(layers):
        raise ValueError(f"{source} holds {', '.join(found) or 'nothing'}; weight and bias of one linear map or of two are wanted.")
    ours: dict[str, Weight] = {}
    for key, weight in found.items():
        for name in local_copies(str(names[key])) if dual else (str(names[key]),):
            ours[name] = replace(cast(weight, dtype or weight.dtype), name=name)
    part = weights_part(source, licence, origin)
    with whole_folder(out) as folder:
        write_card(folder, part.origin, "The projector of a Ferret alone, to start a model from.", [part])
        write_shards(folder, list(ours.values()), stem="projector")
    return ours


def _published(weight: Weight, config: FerretConfig) -> Weight:
    name = known_name(weight.name, config.projector)
    if name is None:
        raise ValueError(f"the published layouts have no place for {weight.name}.")
    if not name.endswith(".net.0.weight"):
        return replace(weight, name=name)
    return replace(weight, name=name, shape=(*weight.shape, 1), read=lambda *rows: weight.read(*rows).unsqueeze(-1))

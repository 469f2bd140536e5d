"""Other people's models as sessions: each family in one file, on transformers' own classes, loaded when a model of it is opened."""

from importlib import import_module

import torch

from foveal.session.guests.guest import Family, Guest

__all__ = ["FAMILIES", "Family", "Guest", "open_guest"]

FAMILIES: dict[str, tuple[str, str]] = {
    "qwen2_vl": ("qwen_vl", "Qwen2VL"),
    "qwen2_5_vl": ("qwen_vl", "Qwen2_5VL"),
    "qwen3_vl": ("qwen_vl", "Qwen3VL"),
    "internvl": ("internvl", "InternVL"),
    "paligemma": ("paligemma", "PaliGemma"),
    "kosmos-2": ("kosmos", "Kosmos"),
    "florence2": ("florence", "Florence"),
    "grounding-dino": ("grounding_dino", "GroundingDino"),
}
"""Each `model_type` of transformers that can be opened as a guest: the file of its family, and the family's name in it."""


def open_guest(place: str, kind: str, device: torch.device, dtype: torch.dtype, name: str = "") -> Guest:
    """The model of a folder or of a name on the hub, of a `kind` in `FAMILIES`; from safetensors only, and none of its code is run.

    ValueError, which calls it `name`, for what cannot be opened.
    """
    file, family = FAMILIES[kind]
    made: type[Family] = getattr(import_module(f"{__name__}.{file}"), family)
    return Guest.of(made, place, device, dtype, name or place)

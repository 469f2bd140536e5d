"""Where a weight of the published Ferret layouts (ml-ferret v1, Ferret-UI) belongs in ours."""

import re

from torch import Tensor

__all__ = ["RULES", "STALE", "foreign_weight", "local_copies", "published_name"]

RULES: tuple[tuple[str, str], ...] = (
    (r"model\.mm_projector\.(weight|bias)", r"projector.0.\1"),
    (r"model\.mm_projector\.(.+)", r"projector.\1"),
    (r"model\.region_geo_sampler\.diff_projector_list\.(\d+)\.(.+)", r"sampler.blocks.\1.difference.\2"),
    (r"model\.region_geo_sampler\.agg_projector_list\.(\d+)\.net\.0\.(.+)", r"sampler.blocks.\1.aggregation.\2"),
    (r"model\.region_geo_sampler\.agg_projector_list\.(\d+)\.norm\.(.+)", r"sampler.blocks.\1.norm.\2"),
    (r"model\.region_geo_sampler\.flatten_projector\.(.+)", r"sampler.flatten.\1"),
    (r"model\.region_geo_sampler\.dim_projector\.(.+)", r"sampler.output.\1"),
    (r"model\.region_fea_adapter\.(.+)", r"sampler.projection.\1"),
    (r"model\.image_newline", r"image_newline"),
    (r"model\.vision_tower\.vision_tower\.vision_model\.(.+)", r"overview_tower.backbone.\1"),
    (r"vision_model\.(.+)", r"overview_tower.backbone.\1"),
    (r"((?:model|lm_head)\..+)", r"language_model.\1"),
)
"""Published name, our name; the first that matches the whole name counts. The sixth from below is CLIP's own checkpoint."""

STALE = re.compile(r".*(rotary_emb\.inv_freq|\.position_ids)|text_model\..*|(visual|text)_projection\..*|logit_scale")
"""Buffers that transformers computes itself, and the parts of a CLIP checkpoint that do not look."""


def published_name(key: str) -> str | None:
    """Our name of a published weight, or None for one that is computed or not needed. Raises ValueError for a name of neither layout.

    >>> published_name("model.region_geo_sampler.agg_projector_list.1.net.0.weight")
    'sampler.blocks.1.aggregation.weight'
    >>> published_name("model.layers.0.self_attn.q_proj.weight")
    'language_model.model.layers.0.self_attn.q_proj.weight'
    """
    if STALE.fullmatch(key):
        return None
    for published, ours in RULES:
        if found := re.fullmatch(published, key):
            return found.expand(ours)
    raise ValueError(f"{key!r} is no weight of a published Ferret; names begin with 'model.', 'lm_head.' or 'vision_model.'.")


def foreign_weight(key: str, weight: Tensor) -> Tensor:
    """A published weight in our shape: the sampler's 1x1 convolutions are linear maps here.

    >>> import torch
    >>> foreign_weight("model.region_geo_sampler.agg_projector_list.0.net.0.weight", torch.zeros(4, 6, 1)).shape
    torch.Size([4, 6])
    """
    return weight.squeeze(-1) if key.endswith(".net.0.weight") else weight


def local_copies(name: str) -> tuple[str, ...]:
    """Names in a dual-encoder model that start from one weight of ours: itself, and the tile encoder's or tile projector's twin.

    >>> local_copies("projector.0.weight")
    ('projector.0.weight', 'local_projector.0.weight')
    """
    if name.startswith("overview_tower."):
        return name, name.replace("overview_tower.", "local_tower.", 1)
    return (name, f"local_{name}") if name.startswith("projector.") else (name,)

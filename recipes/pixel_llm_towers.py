"""The small PixelLLM's two towers, before anything else sees them: they learn what lies under each patch and how far its edges are.

The tower for things comes from ferret-v2-nano's encoder of tiles, the tower for places begins from nothing.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Dinov2Config, SamVisionConfig

from foveal.data.sources.scenes import Drawing, SceneStyle, vocabulary
from foveal.session import Session
from foveal.vision import CLIP_COLOURS, IMAGENET_COLOURS, TowerPair, build_tower, resize_table
from monkey_encoder import named_loss
from monkey_pictures import NOTHING, Shown
from nano_pictures import patch_targets

__all__ = [
    "CELLS",
    "CLASSES",
    "PATCH",
    "PLACES",
    "SIDE",
    "STYLES",
    "THINGS",
    "Pictures",
    "Towers",
    "cells_of",
    "collate_pictures",
    "inputs_of",
    "named_loss",
]

SIDE, PATCH = 256, 16
CELLS = SIDE // PATCH
CLASSES = len(vocabulary()) + 1
"""Every name, or something written."""
EDGES = 3.0
RECOLOURED = 0.3
"""Share of the visits at which red, green and blue are exchanged."""
_STYLE = SceneStyle(
    things=(3, 8), relative_sizes=(0.12, 0.45), small_share=0.1, small_px=(20, 32), sizes_px=(20, 140), shape_share=0.35, text_share=0.15
)
STYLES = {"square": replace(_STYLE, size=(256, 256)), "wide": replace(_STYLE, size=(256, 192)), "tall": replace(_STYLE, size=(192, 256))}
"""Pictures of the input's own size, three shapes."""
THINGS = Dinov2Config(
    hidden_size=192, mlp_ratio=2, num_hidden_layers=6, num_attention_heads=6, image_size=SIDE, patch_size=PATCH, layerscale_value=1.0
)
PLACES = SamVisionConfig(
    hidden_size=96,
    output_channels=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=SIDE,
    patch_size=PATCH,
    mlp_dim=192,
    window_size=8,
    global_attn_indexes=[1, 2],
    initializer_range=0.02,
)
_NAMES = {name: number for number, name in enumerate(vocabulary())}


class Towers(nn.Module):
    """Both towers, the table of everything that may lie under a patch, and heads that are thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = TowerPair([build_tower(THINGS), build_tower(PLACES)], [IMAGENET_COLOURS, CLIP_COLOURS])
        self.words = nn.ModuleList(nn.Embedding(CLASSES + 1, dim) for dim in (192, 64))  # the last: nothing
        self.edges = nn.ModuleList(nn.Linear(dim, 4) for dim in (192, 64))

    @torch.no_grad()
    def begin(self) -> None:
        """Takes the encoder of tiles that ferret-v2-nano ships with; its positions are stretched over the larger input."""
        start = Session.open("ferret-v2-nano").model.local_tower.backbone.float()
        kept = start.state_dict()
        places = kept["embeddings.position_embeddings"]
        stretched = resize_table(places[0, 1:], CELLS, CELLS)
        kept["embeddings.position_embeddings"] = torch.cat([places[:, :1], stretched[None]], 1)
        self.pair.towers[0].backbone.load_state_dict(kept)

    def forward(self, pixel_values: Tensor, real: Tensor, classes: Tensor, edges: Tensor) -> Mapping[str, Tensor]:
        """Losses over all patches of pictures; classes [n cells cells], edges [n cells cells 4] in patches."""
        found: dict[str, Tensor] = {}
        loss = pixel_values.new_zeros(())
        shown = classes >= 0
        for number, (name, seen) in enumerate(zip(("things", "places"), self.pair(pixel_values, real).maps, strict=True)):
            seen = functional.layer_norm(seen, seen.shape[-1:])
            named, right = named_loss(seen, self.words[number].weight, classes)
            error = functional.smooth_l1_loss(self.edges[number](seen)[shown], edges[shown], reduction="none", beta=0.2)
            size = (edges[shown][:, :2] + edges[shown][:, 2:]).amin(-1, keepdim=True).clamp(min=0.5)
            loss = loss + named + EDGES * (error / size.sqrt()).mean()
            found |= {name: right[shown].mean(), f"{name}_edges": error.mean()}
        return {"loss": loss} | found


def cells_of(drawing: Drawing, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What lies in each of cells x cols cells of the padded input: owner (the thing's number, -1: nothing), class, edges in cells."""
    height, width = drawing.labels.shape
    padded = np.zeros((SIDE, SIDE), drawing.labels.dtype)
    padded[:height, :width] = drawing.labels
    owners, _, edges = patch_targets(replace(drawing, labels=padded), np.arange(len(drawing.things)), cells, cells)
    kinds = np.array([_NAMES.get(thing.name, CLASSES - 1) for thing in drawing.things] + [NOTHING])
    return owners.astype(np.int64), kinds[owners], edges.astype(np.float32)


class Pictures(Dataset):
    """Pictures as the towers take them, with what lies under each patch. An index is a visit.

    Some have their colours exchanged: what is known in some colours only (`HELD_OUT`) is then known in others, too.
    """

    def __init__(self, shown: Shown, seed: int = 0) -> None:
        self.shown, self.seed = shown, seed

    def __len__(self) -> int:
        return len(self.shown) * 100

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        pixels, drawing = self.shown[(index * 7919 + self.seed) % len(self.shown)]
        rng = np.random.default_rng([self.seed, index])
        if rng.random() < RECOLOURED:
            pixels = pixels[..., rng.permutation(3)]
        _, classes, edges = cells_of(drawing, CELLS)
        return {"pixels": pixels, "classes": classes, "edges": edges}


def collate_pictures(rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """A batch of padded pictures and their targets."""
    batch = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in ("classes", "edges")}
    return batch | inputs_of([row["pixels"] for row in rows])


def inputs_of(pictures: list[np.ndarray]) -> dict[str, Tensor]:
    """Pictures of the input's size, or narrower, padded at the bottom or on the right."""
    pixels = torch.zeros(len(pictures), 3, SIDE, SIDE)
    real = torch.zeros(len(pictures), SIDE, SIDE, dtype=torch.bool)
    for number, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        pixels[number, :, :height, :width] = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        real[number, :height, :width] = True
    return {"pixel_values": pixels, "real": real}

"""Pretrains the small encoders to say, patch by patch, what is under a patch, its colour and how far its edges are.

A CLIP-style encoder learns it on overviews, a DINOv2-style one on tiles; what a patch is called is contrasted with one table of words for both.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

from foveal.vision import CLIP_COLOURS, IMAGENET_COLOURS
from nano_pictures import PATCH, SIDE, Shard, open_shards

__all__ = ["CLIP_MEAN", "CLIP_STD", "OVERVIEW", "TILE", "TILE_MEAN", "TILE_STD", "WIDTH", "DensePretraining", "Views", "collate", "normalise"]

WIDTH, HEAT, EDGES = 192, 16.0, 3.0
OVERVIEW = CLIPVisionConfig(
    hidden_size=WIDTH, intermediate_size=384, num_hidden_layers=4, num_attention_heads=6, image_size=SIDE, patch_size=PATCH, projection_dim=WIDTH
)
TILE = Dinov2Config(
    hidden_size=WIDTH,
    mlp_ratio=2,
    num_hidden_layers=6,
    num_attention_heads=6,
    image_size=SIDE,
    patch_size=PATCH,
    layerscale_value=1.0,
    drop_path_rate=0.0,
)
CLIP_MEAN, CLIP_STD = CLIP_COLOURS
TILE_MEAN, TILE_STD = IMAGENET_COLOURS


class DensePretraining(nn.Module):
    """Both encoders, the shared table of words, and the heads that are thrown away afterwards."""

    def __init__(self, words: int, colours: int) -> None:
        super().__init__()
        self.overview, self.tile = CLIPVisionModel(OVERVIEW), Dinov2Model(TILE)
        self.words = nn.Embedding(words + 2, WIDTH)  # the names, text, ground
        self.colours, self.edges = nn.Linear(WIDTH, colours), nn.ModuleList([nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4)])

    def features(self, overviews: Tensor, tiles: Tensor, kept: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Features of the `kept` patches of overviews [n side side 3] and tiles [m side side 3], uint8 -> [n kept width], [m kept width]."""
        eye = self.overview
        seen = eye.pre_layrnorm(eye.embeddings(normalise(overviews, CLIP_MEAN, CLIP_STD)))
        seen = functional.layer_norm(through(eye.encoder.layers, seen, kept[0]), (WIDTH,))
        near = self.tile.embeddings(normalise(tiles, TILE_MEAN, TILE_STD))
        return seen, self.tile.layernorm(through(self.tile.encoder.layer, near, kept[1]))

    def forward(self, views: Tensor, is_overview: Tensor, names: Tensor, colours: Tensor, edges: Tensor, kept: Tensor) -> Mapping[str, Tensor]:
        """Losses of a batch of views; every target is per patch. Only the `kept` patches [n kept] of each view are looked at."""
        loss, right = 0.0, {}
        names, colours = names.gather(1, kept), colours.gather(1, kept)
        edges = edges.gather(1, kept[..., None].expand(-1, -1, 4))
        parts = self.features(views[is_overview], views[~is_overview], (kept[is_overview], kept[~is_overview]))
        for kind, (seen, chosen) in enumerate(zip(parts, (is_overview, ~is_overview), strict=True)):
            named, boxes = names[chosen], edges[chosen]
            shown = named >= 0
            logits = functional.normalize(seen, dim=-1) @ functional.normalize(self.words.weight, dim=-1).T * HEAT
            truth = torch.where(shown, named, self.words.num_embeddings - 1).long()
            weight = torch.where(shown, 1.0, 0.25)
            loss = loss + (functional.cross_entropy(logits.mT, truth, reduction="none") * weight).sum() / weight.sum()
            error = functional.smooth_l1_loss(self.edges[kind](seen), boxes, reduction="none", beta=0.2)[shown]
            size = (boxes[..., :2] + boxes[..., 2:])[shown].amin(-1, keepdim=True).clamp(min=0.5)
            loss = loss + EDGES * (error / size.sqrt()).mean()
            loss = loss + 0.5 * functional.cross_entropy(self.colours(seen).mT, colours[chosen].long(), ignore_index=-1)
            right |= {f"named_{kind}": (logits.argmax(-1) == truth)[shown].float().mean(), f"edges_{kind}": error.mean()}
        return {"loss": loss, **right}


def through(blocks: nn.ModuleList, tokens: Tensor, kept: Tensor) -> Tensor:
    """The class token and the `kept` patches of `tokens` through all blocks, then the patches alone."""
    tokens = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))], 1)
    for block in blocks:
        tokens = block(tokens, None)
    return tokens[:, 1:]


def normalise(views: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 [n side side 3] -> float [n 3 side side]."""
    mean_, std_ = (torch.tensor(values, device=views.device) for values in (mean, std))
    return ((views.float() / 255 - mean_) / std_).permute(0, 3, 1, 2).contiguous()


class Views(Dataset):
    """Pictures of the drawn shards, each with all its views and patch targets."""

    def __init__(self, folder: Path, split: str = "train") -> None:
        self.shards: list[Shard] = open_shards(folder, split)
        self.counts = np.cumsum([0] + [len(shard.records) for shard in self.shards])

    def __len__(self) -> int:
        return int(self.counts[-1])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number = int(np.searchsorted(self.counts, index, "right")) - 1
        shard, picture = self.shards[number], index - self.counts[number]
        rows = slice(*shard.first[picture : picture + 2])
        return {name: getattr(shard, name)[rows] for name in ("views", "names", "colours", "edges")}


def collate(pictures: list[dict[str, np.ndarray]], patches: int = (SIDE // PATCH) ** 2) -> dict[str, Tensor]:
    """One batch of all views of some pictures; a tile sees of each box only what lies inside it.

    With fewer than all `patches`, each view keeps those nearest to things, and views without things are left out: most of a picture is ground.
    """
    batch = {name: torch.from_numpy(np.concatenate([picture[name] for picture in pictures])) for name in pictures[0]}
    firsts = np.cumsum([0] + [len(picture["views"]) for picture in pictures])[:-1]
    batch["is_overview"] = torch.zeros(len(batch["views"]), dtype=torch.bool)
    batch["is_overview"][torch.from_numpy(firsts)] = True
    side = SIDE // PATCH
    x = (torch.arange(side) + 0.5).repeat(side)
    y = (torch.arange(side) + 0.5).repeat_interleave(side)
    inside = torch.stack([x, y, side - x, side - y], -1)
    batch["edges"] = torch.minimum(batch["edges"].float(), inside)
    shown = (batch["names"] >= 0).float().view(-1, 1, side, side)
    near = functional.max_pool2d(shown, 3, 1, 1) + shown + 0.9 * torch.rand_like(shown)
    batch["kept"] = near.flatten(1).topk(patches).indices.sort(1).values
    if patches < side * side:
        useful = shown.flatten(1).sum(1) > 1
        batch = {name: value[useful] for name, value in batch.items()}
    return batch

"""The small Monkey's encoder: started from ferret-v2-nano's for tiles, then taught what lies under each patch, things, words and letters alike.

Qwen-VL's layout has no class token, no bias under its patches and a norm before its blocks; everything else of DINOv2's has a place in it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Dinov2Model

from foveal.vision import CLIP_COLOURS, IMAGENET_COLOURS, QwenVisionConfig, QwenVisionModel, cut_windows, normalise, resize_table, shrink
from monkey_pictures import CLASSES, LETTERS, NUMBER, PATCH, WINDOW, Shard

__all__ = ["ENCODER", "HEAT", "Naming", "Pictures", "collate", "from_tiles", "named_loss", "views_of"]

SIDE = WINDOW // PATCH
ENCODER = QwenVisionConfig(
    hidden_size=192, intermediate_size=384, num_hidden_layers=6, num_attention_heads=6, patch_size=PATCH, position_cells=SIDE, adapters=0
)
HEAT = 16.0
_TEXT = NUMBER - 1000  # classes from here on are written


class Naming(nn.Module):
    """The encoder, the table of everything that may lie under a patch, and heads that are thrown away afterwards.

    `norm` is the norm that the resampler begins with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.norm = QwenVisionModel(ENCODER), nn.LayerNorm(ENCODER.hidden_size, eps=1e-6)
        self.words = nn.Embedding(CLASSES + 1, ENCODER.hidden_size)  # the last: nothing
        self.letters, self.middles = nn.Linear(ENCODER.hidden_size, 3 * len(LETTERS)), nn.Linear(ENCODER.hidden_size, 1)

    def features(self, views: Tensor, kept: Tensor | None = None) -> Tensor:
        """Normed features of views [n 3 side side]: of the `kept` patches [n kept], or of all."""
        tower = self.tower
        tokens = tower.patches(views).flatten(2).mT
        tokens = tower.ln_pre(tokens + tower.positions(SIDE, SIDE))
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
        for block in tower.blocks:
            tokens = block(tokens, None)
        return self.norm(tokens)

    def forward(self, views: Tensor, kept: Tensor, classes: Tensor, letters: Tensor, middles: Tensor, is_far: Tensor) -> Mapping[str, Tensor]:
        """Losses over the `kept` patches; `is_far` marks the views of whole pictures."""
        seen = self.features(views, kept)
        classes, middles = classes.gather(1, kept).long(), middles.gather(1, kept)
        letters = letters.gather(1, kept[..., None].expand(-1, -1, 3)).long()
        loss, right = named_loss(seen, self.words.weight, classes)
        spelt = letters[..., 0] > 0
        told = self.letters(seen[spelt]).unflatten(-1, (3, -1))
        loss = loss + functional.cross_entropy(told.flatten(0, 1), letters[spelt].flatten())
        shown = classes >= 0
        loss = loss + 0.5 * functional.binary_cross_entropy_with_logits(self.middles(seen)[..., 0][shown], middles[shown].float())
        near = ~is_far[:, None].expand_as(shown)
        written, first = classes >= _TEXT, (told.argmax(-1) == letters[spelt])[:, 0].float()
        found = {"letters": first[near[spelt]].mean(), "letters_far": first[~near[spelt]].mean()}
        for name, which in (("things", shown & ~written & near), ("texts", written & near), ("things_far", shown & ~written & ~near)):
            found[name] = right[which].mean()
        return {"loss": loss} | found


def named_loss(seen: Tensor, table: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The contrast of features [... dim] with a table whose last row is nothing, nothing counting a quarter; and which are named rightly."""
    logits = functional.normalize(seen, dim=-1) @ functional.normalize(table, dim=-1).T * HEAT
    shown = classes >= 0
    truth = torch.where(shown, classes, len(table) - 1)
    weight = torch.where(shown, 1.0, 0.25)
    loss = functional.cross_entropy(logits.movedim(-1, 1), truth, reduction="none")
    return (loss * weight).sum() / weight.sum(), (logits.argmax(-1) == truth).float()


@torch.no_grad()
def from_tiles(tiles: Dinov2Model, views: Tensor) -> Naming:
    """The encoder before its training, with all that fits of another for tiles; `views` show how large its patches are before the first block."""
    made = Naming()
    tower, weights = made.tower, tiles.embeddings.patch_embeddings.projection
    (mean, std), (their_mean, their_std) = (torch.tensor(colours).unbind(0) for colours in (CLIP_COLOURS, IMAGENET_COLOURS))
    shift = (weights.weight * ((mean - their_mean) / their_std).view(1, 3, 1, 1)).sum((1, 2, 3)) + weights.bias
    tower.patches.weight.copy_(weights.weight * (std / their_std).view(1, 3, 1, 1))
    tower.positions.weight.copy_(resize_table(tiles.embeddings.position_embeddings[0, 1:], SIDE, SIDE) + shift)
    for ours, theirs in zip(tower.blocks, tiles.encoder.layer, strict=True):
        parts = [getattr(theirs.attention, name) for name in ("q_proj", "k_proj", "v_proj")]
        for name, kind in (("weight", (-1,)), ("bias", ())):
            split = [getattr(part, name).unflatten(0, (ENCODER.num_attention_heads, -1)) for part in parts]
            getattr(ours.qkv, name).copy_(torch.cat(split, 1).reshape(3 * ENCODER.hidden_size, *kind))
        _scaled(ours.out, theirs.attention.o_proj, theirs.layer_scale1.lambda1)
        _scaled(ours.fc, theirs.mlp.fc1, torch.ones(()))
        _scaled(ours.proj, theirs.mlp.fc2, theirs.layer_scale2.lambda1)
        ours.ln_1.load_state_dict(theirs.norm1.state_dict())
        ours.ln_2.load_state_dict(theirs.norm2.state_dict())
    made.norm.load_state_dict(tiles.layernorm.state_dict())
    nn.init.constant_(tower.ln_pre.weight, (tower.patches(views).flatten(2).mT + tower.positions.weight).std(-1).mean().item())
    return made


def _scaled(ours: nn.Linear, theirs: nn.Linear, scale: Tensor) -> None:
    ours.weight.copy_(theirs.weight * scale.view(-1, 1) if scale.ndim else theirs.weight)
    ours.bias.copy_(theirs.bias * scale)


def views_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """The windows [n·windows 3 side side] and the shrunk wholes [n 3 side side] of canvases, as the processor makes them."""
    canvas = normalise(pixels, *CLIP_COLOURS)
    return cut_windows(canvas, WINDOW), shrink(canvas, WINDOW)


class Pictures(Dataset):
    """The drawn pictures, each with the targets of its patches."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self.ends = np.cumsum([len(shard.records) for shard in shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number = int(np.searchsorted(self.ends, index, "right"))
        shard, place = self.shards[number], index - (int(self.ends[number - 1]) if number else 0)
        kinds = ("near", "near_middles", "near_letters", "far", "far_middles", "far_letters")
        return {"pixels": shard.pixels[place]} | {kind: getattr(shard, kind)[place] for kind in kinds}


def collate(pictures: list[dict[str, np.ndarray]], patches: int) -> dict[str, Tensor]:
    """One batch of all views of some pictures. Each view keeps the `patches` nearest to things and texts; views with next to nothing are left out."""
    columns = {name: np.stack([picture[name] for picture in pictures]) for name in pictures[0]}
    windows, wholes = views_of(columns["pixels"])
    parts = {
        kind: torch.cat([_cut(torch.from_numpy(columns[f"near{ending}"])), torch.from_numpy(columns[f"far{ending}"]).flatten(1, 2)])
        for kind, ending in (("classes", ""), ("middles", "_middles"), ("letters", "_letters"))
    }
    batch = {"views": torch.cat([windows, wholes]), "is_far": torch.arange(len(windows) + len(wholes)) >= len(windows)} | parts
    shown = (parts["classes"] >= 0).float().view(-1, 1, SIDE, SIDE)
    near = functional.max_pool2d(shown, 3, 1, 1) + shown + 0.9 * torch.rand_like(shown)
    near = near + 2.0 * (parts["classes"] >= _TEXT).view_as(near)
    batch["kept"] = near.flatten(1).topk(patches).indices.sort(1).values
    useful = shown.flatten(1).sum(1) > 1 if patches < SIDE * SIDE else torch.ones(len(shown), dtype=torch.bool)
    return {name: value[useful] for name, value in batch.items()}


def _cut(maps: Tensor) -> Tensor:
    """Patch targets of canvases [n rows cols ...] as those of their windows [n·windows patches ...]."""
    windows = maps.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)  # n rows cols ... side side
    return windows.flatten(0, 2).movedim((-2, -1), (1, 2)).flatten(1, 2)

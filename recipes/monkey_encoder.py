"""The small Monkey's encoder, before the language model sees it: it learns what lies under each patch, things, words and letters alike.

It begins as a convolution would: every head of every block looks at one neighbour, so that nothing but what is there must be learnt.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from foveal.vision import CLIP_COLOURS, QwenVisionConfig, QwenVisionModel, cut_windows, normalise, shrink
from monkey_pictures import CLASSES, LETTERS, LONGEST, NOTHING, NUMBER, PATCH, SIDE, WINDOW, Shown, under

__all__ = ["ENCODER", "HEAT", "Naming", "Views", "collate", "named_loss", "views_of"]

ENCODER = QwenVisionConfig(
    hidden_size=192, intermediate_size=384, num_hidden_layers=6, num_attention_heads=6, patch_size=PATCH, position_cells=SIDE, adapters=0
)
HEAT = 16.0
EDGES, MIDDLES = 2.0, 2.0
_TEXT = NUMBER - 1000  # classes from here on are written
_PLACES = 64  # of a token's numbers, those that begin with its place
_LOOK = 6.0  # how sharply a head begins to look at its neighbour
_NEAR = ((-1, 0), (1, 0), (0, -1), (0, 1))
_NEIGHBOURS = (
    (*_NEAR, (0, 0), (2, 0)),
    (*_NEAR, (-2, 0), (2, 0)),
    (*_NEAR, (-3, 0), (3, 0)),
    (*_NEAR[:2], (-2, 0), (2, 0), (0, -3), (0, 3)),
    (*_NEAR[:2], (-5, 0), (5, 0), (0, -6), (0, 6)),
    (*_NEAR[:2], (-3, 0), (3, 0), (-6, 0), (6, 0)),
)
"""The (x, y) neighbour that each head of each block first looks at."""
_SPELLS_AT = 2
"""Letters are also asked for after so many blocks: what is learnt there first lets the rest follow."""


class Naming(nn.Module):
    """The encoder, the table of everything that may lie under a patch, and heads that are thrown away afterwards.

    `norm` is the norm that the resampler begins with.
    """

    def __init__(self) -> None:
        super().__init__()
        width = ENCODER.hidden_size
        self.tower, self.norm = QwenVisionModel(ENCODER), nn.LayerNorm(width, eps=1e-6)
        self.words = nn.Embedding(CLASSES + 1, width)  # the last: nothing
        self.letters, self.early = nn.Linear(width, len(LETTERS)), nn.Linear(width, len(LETTERS))
        self.spelling, self.edges = nn.Linear(width, LONGEST * len(LETTERS)), nn.Linear(width, 4)
        self.middles = nn.Linear(width, 1)
        self.wholes = 1.0
        """Weight of all but single letters: little at first, since nothing can be read before they can."""

    def features(self, views: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normed features of views [n 3 side side], early and late: of the `kept` patches [n kept], or of all."""
        tower = self.tower
        tokens = tower.patches(views).flatten(2).mT
        tokens = tower.ln_pre(tokens + tower.positions(SIDE, SIDE))
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
        early = tokens
        for number, block in enumerate(tower.blocks, 1):
            tokens = block(tokens, None)
            early = tokens if number == _SPELLS_AT else early
        return functional.layer_norm(early, early.shape[-1:]), self.norm(tokens)

    def forward(
        self, views: Tensor, kept: Tensor, classes: Tensor, letters: Tensor, spelt: Tensor, edges: Tensor, middles: Tensor, is_far: Tensor
    ) -> Mapping[str, Tensor]:
        """Losses over the `kept` patches; `is_far` marks the views of whole pictures."""
        early, seen = self.features(views, kept)
        named, right = named_loss(seen, self.words.weight, classes)
        shown, written = classes >= 0, letters > 0
        told = self.spelling(seen[written]).unflatten(-1, (LONGEST, -1))
        spelling = functional.cross_entropy(told.flatten(0, 1), spelt[written].flatten())
        first, last = self.early(early[written]), self.letters(seen[written])
        single = functional.cross_entropy(first, letters[written]) + functional.cross_entropy(last, letters[written])
        error = functional.smooth_l1_loss(self.edges(seen[shown]), edges[shown], reduction="none", beta=0.2)
        size = (edges[shown][:, :2] + edges[shown][:, 2:]).amin(-1, keepdim=True).clamp(min=0.5)
        middling = functional.mse_loss(self.middles(seen)[..., 0], middles)
        loss = single + self.wholes * (named + spelling + EDGES * (error / size.sqrt()).mean() + MIDDLES * middling)
        near = ~is_far[:, None].expand_as(shown)
        found = {"letters_early": (first.argmax(-1) == letters[written]).float().mean()}
        found |= {"letters": (last.argmax(-1) == letters[written]).float().mean(), "edges": error.mean(), "named": named, "spelling": spelling}
        found["middles"] = 1 - middling / middles.var()
        for name, which in (("things", shown & ~written & near), ("texts", (classes >= _TEXT) & near), ("things_far", shown & ~near)):
            found[name] = right[which].mean()
        return {"loss": loss} | found

    @torch.no_grad()
    def begin(self, views: Tensor, kept: Tensor) -> None:
        """Where training starts: places and contents apart, the patches' contents evened out as some `kept` patches of `views` need it, every
        head on its neighbour, every block's output small."""
        table, waves = _places()
        tower, width = self.tower, ENCODER.hidden_size
        free = width - _PLACES
        tower.positions.weight.copy_(functional.pad(table, (0, free)))
        pixels = functional.unfold(views, PATCH, stride=PATCH).mT
        pixels = pixels.gather(1, kept[..., None].expand(-1, -1, pixels.shape[-1])).flatten(0, 1)
        size, axes = torch.linalg.eigh(pixels.T @ pixels / len(pixels))
        even = (axes / (size + size[-100]).sqrt()).T[-free:]
        turned = torch.linalg.qr(torch.randn(free, free))[0] @ even
        tower.patches.weight.copy_(torch.cat([torch.zeros(_PLACES, turned.shape[1]), turned]).view_as(tower.patches.weight))
        heads = ENCODER.num_attention_heads
        size_of = width // heads
        fine = torch.cat([torch.arange(size_of // 4) + start for start in range(0, _PLACES, _PLACES // 4)])
        for block, neighbours in zip(tower.blocks, _NEIGHBOURS, strict=True):
            qkv = torch.zeros(heads, 3, size_of, width)
            for head, (x, y) in enumerate(neighbours):
                moved = torch.block_diag(_moved(waves, x), _moved(waves, y))
                qkv[head, 0, :, :_PLACES], qkv[head, 1, :, :_PLACES] = _LOOK**0.5 * moved[fine], _LOOK**0.5 * torch.eye(_PLACES)[fine]
            qkv[:, 2, :, _PLACES:].normal_(0, free**-0.5)
            block.qkv.weight.copy_(qkv.view_as(block.qkv.weight))
            block.out.weight.zero_()
            nn.init.orthogonal_(block.out.weight[_PLACES:], 0.7)
            nn.init.xavier_uniform_(block.fc.weight)
            nn.init.xavier_uniform_(block.proj.weight, 0.5)


def _places() -> tuple[Tensor, Tensor]:
    """Sines and cosines of x, then of y, for each patch [patches places], and the angle of each wave from one patch to the next."""
    waves = torch.pi / (1.5 * 2 ** torch.linspace(0, float(np.log2(SIDE / 1.5)), _PLACES // 4))
    angles = torch.arange(SIDE)[:, None] * waves
    line = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.cat([line.repeat(SIDE, 1), line.repeat_interleave(SIDE, 0)], 1), waves


def _moved(waves: Tensor, steps: int) -> Tensor:
    """The matrix that turns the sines and cosines of a place into those of the place some steps on."""
    sine, cosine = torch.diag((waves * steps).sin()), torch.diag((waves * steps).cos())
    return torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)])


def named_loss(seen: Tensor, table: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The contrast of features [... dim] with a table whose last row is nothing, nothing counting a quarter and the unknown not at all; and which
    are named rightly."""
    logits = functional.normalize(seen, dim=-1) @ functional.normalize(table, dim=-1).T * HEAT
    truth = torch.where(classes >= 0, classes, len(table) - 1)
    weight = torch.where(classes >= 0, 1.0, torch.where(classes == NOTHING, 0.25, 0.0))
    loss = functional.cross_entropy(logits.movedim(-1, 1), truth, reduction="none")
    return (loss * weight).sum() / weight.sum(), (logits.argmax(-1) == truth).float()


def views_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """The windows [n·windows 3 side side] and the shrunk wholes [n 3 side side] of canvases, as the processor makes them."""
    canvas = normalise(pixels, *CLIP_COLOURS)
    return cut_windows(canvas, WINDOW), shrink(canvas, WINDOW)


class Views(Dataset):
    """Views of drawn pictures with the targets of their patches: a piece of a page in other colours, a piece of a picture, or a whole picture.

    An index is a visit: the same picture is cut anew each time. Each view keeps the `patches` nearest to some of its things and texts.
    """

    def __init__(self, pages: Shown, pictures: Shown, patches: int, shares: Sequence[float] = (0.5, 0.2, 0.3), seed: int = 0) -> None:
        self.pages, self.pictures, self.patches, self.shares, self.seed = pages, pictures, patches, shares, seed

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, index])
        page, _, far = np.arange(3) == rng.choice(3, p=self.shares)
        shown = self.pages if page else self.pictures
        pixels, drawing = shown[int(rng.integers(len(shown)))]
        height, width = drawing.labels.shape
        left, top = (0, 0) if far else (int(rng.integers(side - WINDOW + 1)) for side in (width, height))
        part = (0, 0, width, height) if far else (left, top, left + WINDOW, top + WINDOW)
        view = pixels[part[1] : part[3], part[0] : part[2]]
        if page:
            view = view[..., rng.permutation(3)] ^ np.uint8(255 * rng.integers(2))
        canvas = normalise(view[None], *CLIP_COLOURS)
        found = under(drawing, part, SIDE, SIDE, legible=not far)
        return {
            "views": (shrink(canvas, WINDOW) if far else canvas)[0].numpy(),
            "kept": _kept(found.owners * ((found.classes >= 0) & (found.written | (not page))), self.patches, rng),
            "classes": found.classes.reshape(-1).astype(np.int64),
            "letters": found.letters.reshape(-1).astype(np.int64),
            "spelt": found.spelt.reshape(SIDE * SIDE, LONGEST).astype(np.int64),
            "edges": found.edges.reshape(-1, 4).astype(np.float32),
            "middles": found.middles.reshape(-1).astype(np.float32),
            "is_far": np.bool_(far),
        }


def _kept(owners: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Patches in and around some of the things of a view: whole things rather than pieces of all."""
    turn = np.append(0.0, rng.uniform(1, 2, int(owners.max())))[owners]
    around = functional.max_pool2d(torch.from_numpy(turn)[None], 3, 1, 1)[0].numpy()
    near = np.maximum(turn, 0.5 * around) + 1e-3 * rng.random(turn.shape)
    return np.sort(np.argpartition(-near.reshape(-1), count - 1)[:count])


def collate(rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """One batch; targets are those of the kept patches."""
    batch = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
    kept = batch["kept"]
    for name in ("classes", "letters", "middles"):
        batch[name] = batch[name].gather(1, kept)
    for name in ("spelt", "edges"):
        batch[name] = batch[name].gather(1, kept[..., None].expand(-1, -1, batch[name].shape[-1]))
    return batch

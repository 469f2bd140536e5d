"""The small Ferret-v2 before its first stage, and the questions its stages learn from, over encoder features kept on disk."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import LlamaConfig, PreTrainedTokenizerFast

from foveal.data.loader import Packed, pack, stack_packed
from foveal.data.sources.scenes import Drawing, vocabulary
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.sources.scenes.questions import Question, questions
from foveal.data.sources.scenes.words import listed
from foveal.geometry import Frame
from foveal.grounding import Example, Picture, Turn, tied
from foveal.grounding.wordings.ferret import TEMPLATES
from foveal.models.ferret import FerretConfig, FerretForConditionalGeneration, FerretProcessor
from foveal.models.losses import IGNORED
from foveal.models.processing import REGION_MARK, Piece, conversation
from nano_encoders import CLIP_MEAN, CLIP_STD, OVERVIEW, TILE, TILE_MEAN, TILE_STD, WIDTH, DensePretraining, normalise
from nano_pictures import SIDE, Shard, drawing_of
from nano_words import name_piece

__all__ = ["Asked", "Layouts", "collate_asked", "collate_layouts", "configuration", "encode", "feature_shard", "new_model"]

SCALE = 0.1
"""Root mean square of an entry of a word's, a patch's and a position's vector as the language model first meets them."""
CELLS = 48
TOKENS = 320
"""Most tokens of the questions packed behind one picture: rows of one length waste no padding."""


def configuration(tokenizer: PreTrainedTokenizerFast, **changes: object) -> FerretConfig:
    """Ferret-v2 in small: CLIP's shape sees the overview, DINOv2's the tiles, 128 px each; four layers speak. `changes` are fields of its own."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        initializer_range=0.04,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},  # slow turns: like finds like at any distance
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    fields: dict[str, object] = {
        "vision_config": OVERVIEW,
        "local_vision_config": TILE,
        "text_config": text,
        "overview_side": SIDE,
        "tile_side": SIDE,
        "select_layer": -1,
        "projector": "linear",
        "position_cells": CELLS,
        "sampler_points": 64,
        "sampler_anchors": [16, 8],
        "sampler_neighbours": 8,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "region_token_id": tokenizer.convert_tokens_to_ids("<region_fea>"),
        "context_length": 4096,
        "template": "plain_chat",
    }
    return FerretConfig(**fields | changes)


@torch.no_grad()
def new_model(
    tokenizer: PreTrainedTokenizerFast, encoders: Sequence[nn.Module], shards: Sequence[tuple[Shard, np.ndarray]], seed: int = 0, **changes: object
) -> FerretForConditionalGeneration:
    """The model before any of its stages: pretrained `encoders`, of overviews and (where it has one) of tiles, and words that start where
    these see the things they name, by the features kept of `shards`. `changes` are fields of its configuration.

    Projectors start as a change of scale, so a patch of a cat begins near the word "cat"; positions start as waves of several
    lengths along each axis; keys start equal to queries, so that like attends to like from the first step.
    """
    torch.manual_seed(seed)
    model = FerretForConditionalGeneration(configuration(tokenizer, **changes))
    for tower, encoder in zip(_present(model.overview_tower, model.local_tower), encoders, strict=True):
        tower.backbone.load_state_dict(encoder.state_dict())
    kinds = measured(shards)
    for projector, kind in zip(_present(model.projector, model.local_projector), kinds, strict=True):
        linear = projector[0]
        linear.weight.copy_(torch.eye(WIDTH) * SCALE / kind.spread)
        linear.bias.copy_(-kind.mean * SCALE / kind.spread)
    embedding = model.get_input_embeddings().weight
    embedding.normal_(0, SCALE)
    for number, name in enumerate((*vocabulary(), "text")):
        seen = nn.functional.normalize(kinds[-1].names[number] - kinds[-1].mean, dim=0) * SCALE * WIDTH**0.5
        for piece in (name_piece(name), name_piece(name, spaced=False)):
            embedding[tokenizer.convert_tokens_to_ids(piece)] = seen
    for table, other in ((model.positions.rows, 0), (model.positions.columns, 1)):
        table.copy_(waves(CELLS, WIDTH, other) * SCALE)
    for layer in model.language_model.model.layers:
        layer.self_attn.q_proj.weight.mul_(2.0)
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
        for narrow in (layer.self_attn.o_proj, layer.mlp.down_proj):
            narrow.weight.mul_(0.5)
    return model


def waves(cells: int, width: int, seed: int) -> Tensor:
    """Smooth positions [cells width] of unit size: sines and cosines of 1/4 to 20 periods, turned at random so that two tables do not collide."""
    places = (torch.arange(cells) + 0.5) / cells
    periods = torch.tensor([0.25, 0.5, 1, 2, 5, 10, 20])  # a first digit is told by the slow, a second by the tenths
    angles = 2 * math.pi * places[:, None] * periods
    basis = torch.cat([angles.sin(), angles.cos()], 1) / periods.repeat(2) ** 0.25
    turned = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0][: basis.shape[1]]
    table = basis @ turned
    return table / table.square().mean().sqrt()


@dataclass(frozen=True)
class Kind:
    """What an encoder's patches look like: their mean [dim], the spread around it of those with things, and the mean of each name's [names dim]."""

    mean: Tensor
    spread: Tensor
    names: Tensor


def measured(shards: Sequence[tuple[Shard, np.ndarray]], most: int = 2) -> list[Kind]:
    """The statistics of the overviews' and (where there are some) the tiles' features, over the first shards."""
    overviews, tiles = [], []
    for shard, features in shards[:most]:
        first = np.isin(np.arange(len(features)), shard.first)
        for parts, chosen in ((overviews, first), (tiles, ~first)):
            parts.append((features[chosen].reshape(-1, features.shape[-1]), shard.names[chosen].ravel()))
    kinds = []
    for parts in (overviews, tiles):
        seen, named = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
        if len(seen):
            seen = seen.float()
            names = [seen[named == number].mean(0) if (named == number).any() else seen.mean(0) for number in range(len(vocabulary()) + 1)]
            spread = (seen[named >= 0] - seen.mean(0)).square().mean().sqrt()
            kinds.append(Kind(seen.mean(0), spread, torch.stack(names)))
    return kinds


def _present(*parts: nn.Module | None) -> list[nn.Module]:
    return [part for part in parts if part is not None]


@torch.no_grad()
def encode(encoders: DensePretraining, overviews: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Features [n patches dim] as the model's towers take them: the overview's last hidden state, the tiles' with its norm."""
    seen = encoders.overview(normalise(overviews, CLIP_MEAN, CLIP_STD)).last_hidden_state[:, 1:]
    return seen, encoders.tile(normalise(tiles, TILE_MEAN, TILE_STD)).last_hidden_state[:, 1:]


def feature_shard(see: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], shard: Shard, path: Path) -> None:
    """Writes a shard's features, overview and tiles in the order of its views, as float16 [views patches dim]; `see` is like `encode`."""
    done = np.zeros((*shard.names.shape, WIDTH), np.float16)
    is_overview = np.zeros(len(done), bool)
    is_overview[shard.first[:-1]] = True
    for start in range(0, len(done), 256):
        some = torch.from_numpy(np.asarray(shard.views[start : start + 256]))
        which = torch.from_numpy(is_overview[start : start + 256])
        overview, tile = see(some[which], some[~which])
        part = torch.zeros(len(some), *done.shape[1:])
        part[which], part[~which] = overview, tile
        done[start : start + 256] = part.numpy()
    partial_path = path.with_suffix(".part.npy")
    np.save(partial_path, done)
    partial_path.rename(path)


class Asked(Dataset):
    """Packed questions about the drawn pictures, with the features kept of them, or with their pixels where none are (None).

    An index is a visit: the same picture is asked anew each time. `ground` is the share kept of the patches with no thing in them, six of seven.
    """

    def __init__(
        self,
        shards: Sequence[tuple[Shard, np.ndarray | None]],
        processor: FerretProcessor,
        tasks: Mapping[str, float],
        count: int,
        visits: int = 100,
        seed: int = 0,
        ground: float = 1.0,
    ) -> None:
        self.shards, self.processor, self.tasks, self.count, self.seed, self.ground = shards, processor, tasks, count, seed, ground
        self.ends = np.cumsum([len(shard.records) for shard, _ in shards])
        self.visits = visits

    def __len__(self) -> int:
        return int(self.ends[-1]) * self.visits

    def __getitem__(self, index: int) -> dict[str, object]:
        rng = np.random.default_rng([self.seed, index])
        picture = index % int(self.ends[-1])
        number = int(np.searchsorted(self.ends, picture, "right"))
        (shard, features), place = self.shards[number], picture - (int(self.ends[number - 1]) if number else 0)
        rows, cols = (int(side) for side in shard.grids[place])
        views = slice(*shard.first[place : place + 2])
        if features is None:
            pixels = torch.from_numpy(shard.views[views])
            seen = {"pixel_values": normalise(pixels[:1], CLIP_MEAN, CLIP_STD), "tile_values": normalise(pixels[1:], TILE_MEAN, TILE_STD)}
        else:
            side = math.isqrt(features.shape[1])
            kept = torch.from_numpy(features[views].astype(np.float32)).unflatten(1, (side, side))
            seen = {"overview_features": kept[:1], "tile_features": kept[1:]}
        drawing = drawing_of(shard.records[place])
        asked = questions(drawing, rng, self.count, self.tasks)
        kept = self.kept(shard.names[views], (rows, cols), rng)
        return {"seen": seen, "grid": (rows, cols), "kept": kept, **self.packed(drawing, asked, kept, rng)}

    def kept(self, names: np.ndarray, grid: tuple[int, int], rng: np.random.Generator) -> Tensor:
        """Which of a picture's image tokens are looked at: those of things, and a share of the others."""
        side = math.isqrt(names.shape[1])
        tiles = names[1:].reshape(*grid, side, side).swapaxes(1, 2) if self.processor.grids else names[:0]
        shown = np.concatenate([names[0], tiles.ravel()]) >= 0
        return torch.from_numpy(shown | (rng.random(len(shown)) < self.ground))

    def packed(self, drawing: Drawing, asked: Sequence[Question], kept: Tensor, rng: np.random.Generator) -> dict[str, object]:
        """As many of the questions as there is room for, behind the `kept` tokens of one image, and the points of their regions."""
        height, width = drawing.labels.shape
        picture = (Picture(width, height, data=b""),)
        texts, regions, room, shared = [], [], TOKENS, 0
        for question in asked:
            turns = (Turn("user", question.ask), Turn("assistant", question.answer))
            written, pointed, _ = self.processor.write_example(Example(drawing.id, picture, turns), train=True)
            shared = shared or len(written.ids) - written.ids[::-1].index(self.processor.image_token_id)
            room -= len(written.ids) - shared
            if texts and room < 0:
                break
            texts.append((written.ids, written.labels))
            regions += pointed
        drawn = [self.processor.draw(region, (width, height), rng) for region in regions]
        packed = thinned(pack(texts, shared), kept, self.processor.image_token_id)
        places = spelt_places(packed, self.processor.tokenizer)
        return {"packed": packed, "places": places, "points": [points for points, _ in drawn], "starts": [starts for _, starts in drawn]}


def thinned(packed: Packed, kept: Tensor, image: int) -> Packed:
    """`packed` without those `image` placeholders that are not `kept`; what stays keeps its position."""
    stays = packed.ids != image
    stays[~stays] = kept
    return Packed(packed.ids[stays], packed.labels[stays], packed.positions[stays], packed.segments[stays])


def spelt_places(packed: Packed, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The box [length 4] that each token helps to spell: from the name before the bracket to the last number, NaN elsewhere and in questions."""
    places = torch.full((len(packed.ids), 4), torch.nan)
    pieces = tokenizer.convert_ids_to_tokens(packed.ids.tolist())
    opened = None
    for index, (piece, learnt) in enumerate(zip(pieces, (packed.labels != IGNORED).tolist(), strict=True)):
        if piece.endswith("[") and learnt:
            opened = index
        elif piece == "]" and opened is not None:
            numbers = re.findall(r"\d+", "".join(pieces[opened:index]))
            if len(numbers) == 4:
                places[opened - (pieces[opened - 1] != "]") : index] = torch.tensor([int(number) / 1000 for number in numbers])
            opened = None
    return places


def collate_asked(rows: list[dict], pad: int, *, tiles: bool = True) -> dict[str, Tensor]:
    """Pictures and their packed questions as the model's inputs; without `tiles`, as the first stage sees them, the overview alone."""
    points = [point for row in rows for point in row["points"]]
    batch = stack_packed([row["packed"] for row in rows], pad)
    batch |= {name: torch.cat([row["seen"][name] for row in rows]) for name in rows[0]["seen"] if tiles or not name.startswith("tile")}
    batch["places"] = pad_sequence([row["places"] for row in rows], batch_first=True, padding_value=torch.nan)
    batch["kept"] = torch.cat([row["kept"] for row in rows])
    if tiles:
        batch["grids"] = torch.tensor([row["grid"] for row in rows])
    if points:
        batch["region_points"] = torch.from_numpy(np.stack(points)).float()
        batch["region_starts"] = torch.tensor([start for row in rows for start in row["starts"]])
        batch["region_image"] = torch.tensor([number for number, row in enumerate(rows) for _ in row["points"]])
    return batch


class Layouts(Asked):
    """The same questions in words alone: a list of the things and their boxes in place of the image, a name in place of a region's feature."""

    def __getitem__(self, index: int) -> dict[str, object]:
        rng = np.random.default_rng([self.seed, index])
        picture = index % int(self.ends[-1])
        number = int(np.searchsorted(self.ends, picture, "right"))
        shard, place = self.shards[number][0], picture - (int(self.ends[number - 1]) if number else 0)
        drawing = drawing_of(shard.records[place])
        return {"packed": self.worded(drawing, questions(drawing, rng, self.count, self.tasks), rng)}

    def worded(self, drawing: Drawing, asked: Sequence[Question], rng: np.random.Generator) -> Packed:
        """The questions' tokens behind a list of the drawing's things in random order."""
        height, width = drawing.labels.shape
        frame, places, view = Frame.stretch((width, height)), self.processor.places, view_of(drawing)
        template = TEMPLATES[self.processor.template]
        listing = listed([tied(view.labels[thing], view.boxes[thing]) for thing in rng.permutation(len(view.boxes))])
        known = places.encode(listing, frame, feature_slots=False) + "\n"
        shared = len(self.processor.write([Piece(template.user_opening + known)], []).ids)
        texts = []
        for question in asked:
            ask = places.encode(question.ask, frame, feature_slots=True)
            for thing in question.things:
                ask = ask.replace(REGION_MARK, view.labels[thing], 1)
            answer = places.encode(question.answer, frame, feature_slots=False)
            written = self.processor.write(conversation(template, [known + ask, answer]), [])
            texts.append((written.ids, written.labels))
        return pack(texts, shared)


def collate_layouts(rows: list[dict], pad: int) -> dict[str, Tensor]:
    """Packed texts as the language model's inputs."""
    return stack_packed([row["packed"] for row in rows], pad)

"""The small PixelLLM's extractor before the language model hears of it: where it begins, and what it learns alone, over kept maps."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from foveal.data.sources.scenes import vocabulary
from foveal.data.sources.scenes.pointing import region_of
from foveal.grounding import GroundedText, Turn
from foveal.models.pixel_llm import PixelLLMProcessor
from foveal.vision import LocationPrompts
from monkey_encoder import named_loss
from nano_boxes import BOXES_SEED, OUTWARD, box_ways
from nano_words import name_piece
from pixel_llm_stages import GRID, Kept, Pupil, example_of
from pixel_llm_towers import CELLS, CLASSES, SIDE, cells_of

__all__ = ["Connecting", "Prompted", "begin", "collate_prompted"]

BOXES, MARKS, RARE = 4.0, 1.0, 8.0
"""Weights of the extractor's losses, and of a cell that a prompt means against one that it does not."""
REACH, LOUD = 1.3, 1.6
"""How far a box's coordinate moves a token along its direction (`nano_boxes`) from the middle to the border; a token's size over a word's."""
NEAR, SURE = 2.5, 4.0
"""How sharply a query looks at its own place, and at a prompt's corners, in the beginning."""
SMOOTH = 0.25
"""Half of the codes' frequencies are as much lower: in them, inside and outside of a box are easily told."""
PROMPTS = 6
"""Things of a picture that the extractor is asked about beside the whole."""


class Connecting(nn.Module):
    """The extractor by itself: each token is to be near the word of what lies in its cell, to know its box, and whether it is what is asked for."""

    def __init__(self, model: Pupil, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.extractor, self.prompts, self.projection = model.extractor, model.location_prompts, model.writer.visual_projection
        words = model.get_input_embeddings().weight.detach()
        self.register_buffer("names", words[[tokenizer.convert_tokens_to_ids(name_piece(name)) for name in vocabulary()]].clone())
        self.words = nn.Embedding(CLASSES + 1 - len(self.names), words.shape[1])
        self.words.weight.data.normal_(0, float(words.std()))
        self.register_buffer("ways", box_ways(words.shape[1], torch.Generator().manual_seed(BOXES_SEED)))
        self.marks = nn.Linear(words.shape[1], 1)

    def forward(
        self, fused: Tensor, boxes_px: Tensor, points_px: Tensor, point_labels: Tensor, image: Tensor, classes: Tensor, boxes: Tensor, marks: Tensor
    ) -> Mapping[str, Tensor]:
        """Losses over all cells of all prompts; classes [images cells], boxes [images cells 4], marks [prompts cells], -1 where all is asked for."""
        maps = fused.permute(0, 2, 3, 1)
        prompts = self.prompts(boxes_px, points_px, point_labels, size=(SIDE, SIDE))
        codes = self.prompts.grid(*maps.shape[1:3])
        tokens = self.projection(self.extractor(maps, codes, self.prompts.no_mask, prompts, image))
        loss, right = named_loss(tokens, torch.cat([self.names, self.words.weight]), classes[image])
        known = functional.layer_norm(tokens, tokens.shape[-1:])
        shown = classes[image] >= 0
        error = (tokens @ self.ways.T / (2 * REACH) + 0.5 - boxes[image]).abs().mean(-1)[shown]
        told, asked = self.marks(known)[..., 0], marks >= 0
        marking = functional.binary_cross_entropy_with_logits(told[asked], marks[asked].float(), pos_weight=told.new_tensor(RARE))
        loss = loss + BOXES * error.mean() + MARKS * marking
        told_so = told > 0
        marked = (told_so & (marks == 1)).sum() / (asked & (told_so | (marks == 1))).sum()
        return {"loss": loss, "things": right[shown].mean(), "boxes": error.mean(), "marking": marking, "marked": marked}


@torch.no_grad()
def begin(connecting: Connecting, kept: Kept) -> None:
    """Where the extractor begins: a query looks at its own place, and what it finds there is already near the word of it.

    Codes of places have half of the width, and the map has the other. From a random beginning, naming took six hundred steps to reach a
    quarter of the cells (docs/log.md).
    """
    prompts, extractor, projection = connecting.prompts, connecting.extractor, connecting.projection
    prompts.frequencies[:, ::2] *= SMOOTH
    for token in prompts.parameters():
        token.mul_(0.5)
    width = extractor.queries.shape[1]
    codes, content = torch.linalg.qr(torch.randn(width, width))[0].split(prompts.frequencies.shape[1] * 2, 1)
    extractor.code_proj.weight.copy_(codes)
    extractor.prompt_proj.weight.copy_(codes)
    extractor.queries.copy_(extractor.code_proj(prompts.grid(GRID, GRID).flatten(0, 1)))
    words = torch.cat([connecting.names, connecting.words.weight])
    mean, read, told, middle = _telling(kept, words, content.shape[1] - 2)
    extractor.map_proj.weight.copy_(content[:, :-2] @ read.T)
    extractor.map_proj.bias.copy_(-content[:, :-2] @ (mean @ read))
    for layer in extractor.transformer.layers:
        _keep_and_ask(layer.among_tokens, prompts, codes, content)
        layer.proj.weight.mul_(0.1)
        layer.to_tokens.out_proj.weight.mul_(0.1)
    for attention in (*(layer.to_image for layer in extractor.transformer.layers), extractor.transformer.last):
        nn.init.orthogonal_(attention.q_proj.weight, NEAR)
        attention.q_proj.weight.copy_(attention.q_proj.weight[:, : codes.shape[1]] @ codes.T)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.v_proj.weight.copy_(content.T)
        attention.out_proj.weight.copy_(content)
    extractor.out_weight.copy_(content.T)
    extractor.out_weight[:, -2:] = 0
    y, x = torch.meshgrid(*[(torch.arange(GRID) + 0.5) / GRID - 0.5] * 2, indexing="ij")
    extractor.out_bias[:, -2:] = torch.stack([x, y], -1).flatten(0, 1)
    ways, far = connecting.ways, 2 * REACH / float(words.std())
    told, edges = told.split([words.shape[1], 4], 1)
    said = torch.cat([told + far / GRID * (edges * OUTWARD) @ ways, far * torch.stack([ways[0] + ways[2], ways[1] + ways[3]])])
    projection[1].weight.mul_(LOUD)
    projection[0].weight.copy_(said.T)
    projection[0].bias.copy_(middle[: words.shape[1]] + far / GRID * (middle[words.shape[1] :] * OUTWARD) @ ways)


def _telling(kept: Kept, words: Tensor, width: int, pictures: int = 600) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `width` directions of maps that tell words and edges apart, by least squares over cells, rarer classes more: the mean of maps,
    how to read the directions of what differs from it [dim width], what they tell of words and edges [width words' dim + 4], and the middle."""
    shown = [kept.of(index) for index in range(0, len(kept.shown), max(1, len(kept.shown) // pictures))]
    cells = torch.cat([functional.avg_pool2d(maps["fused"], CELLS // GRID).flatten(1).T for maps, _ in shown])
    found = [cells_of(drawing, GRID) for _, drawing in shown]
    classes = torch.from_numpy(np.concatenate([kinds.reshape(-1) for _, kinds, _ in found])) % (CLASSES + 1)
    edges = torch.from_numpy(np.concatenate([far.reshape(-1, 4) for *_, far in found]))
    wanted = torch.cat([words[classes] / words.std(), edges], 1)
    share = classes.bincount(minlength=len(words)).clamp(min=1)[classes, None] ** -0.25
    mean, middle = cells.mean(0), (wanted * share**2).sum(0) / (share**2).sum()
    given, told = (cells - mean) * share, (wanted - middle) * share
    weight = torch.linalg.solve(given.T @ given + torch.eye(len(mean)), given.T @ told)
    meant = torch.linalg.svd(given @ weight, full_matrices=False).Vh[:width]
    read = weight @ meant.T
    spread = ((cells - mean) @ read).std(0)
    return mean, read / spread, meant * spread[:, None], middle


def _keep_and_ask(attention: nn.Module, prompts: LocationPrompts, codes: Tensor, content: Tensor) -> None:
    """Half of the heads give each token its own place back; one brings it a prompt's first corner or point, one its last."""
    half = codes.shape[1]
    nn.init.orthogonal_(attention.q_proj.weight[:half], NEAR)
    attention.q_proj.weight[:half] = attention.q_proj.weight[:half, :half] @ codes.T
    attention.k_proj.weight[:half] = attention.q_proj.weight[:half]
    attention.v_proj.weight[:half] = codes.T
    attention.out_proj.weight[:, :half] = codes
    smooth = codes.unflatten(1, (2, -1))[:, :, ::2].flatten(1)
    kinds = [codes @ (corner + prompts.positive) for corner in (prompts.first_corner, prompts.last_corner)]
    attention.q_proj.weight[half:] = 0
    attention.k_proj.weight[half:] = 0
    for head, kind in enumerate(kinds):
        start = half + head * smooth.shape[1]
        attention.q_proj.bias[start] = SURE
        attention.k_proj.weight[start] = kind
        attention.v_proj.weight[start : start + smooth.shape[1]] = smooth.T
    attention.out_proj.weight[:, half:] = content


class Prompted(Dataset):
    """A picture's map, and prompts about it: the whole, and boxes and points of some things."""

    def __init__(self, kept: Kept, processor: PixelLLMProcessor, seed: int = 0) -> None:
        self.kept, self.processor, self.seed = kept, processor, seed

    def __len__(self) -> int:
        return len(self.kept.shown) * 100

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        maps, drawing = self.kept.of(index % len(self.kept.shown))
        owners, classes, edges = cells_of(drawing, GRID)
        things = rng.permutation(len(drawing.things))[:PROMPTS].tolist()
        regions = [region_of(drawing, thing, "box" if rng.random() < 0.6 else "point", rng) for thing in things]
        chosen = [(thing, region) for thing, region in zip(things, regions, strict=True) if region is not None]
        marks = np.stack([np.full(owners.shape, -1), *(owners == thing for thing, _ in chosen)])
        y, x = np.mgrid[:GRID, :GRID] + 0.5
        boxes = np.stack([x - edges[..., 0], y - edges[..., 1], x + edges[..., 2], y + edges[..., 3]], -1) / GRID
        asks = [GroundedText("?"), *(GroundedText.join("?", region) for _, region in chosen)]
        turns = [(Turn("user", ask), Turn("assistant", GroundedText("?"))) for ask in asks]
        rows = self.processor.encode([example_of(drawing, turns)], train=True, look=False)
        prompts = {name: rows[name] for name in ("boxes_px", "points_px", "point_labels") if name in rows}
        if "points_px" not in prompts:
            prompts |= {"points_px": torch.zeros(len(asks), 5, 2), "point_labels": torch.full((len(asks), 5), -1)}
        targets = {"classes": classes.reshape(-1), "boxes": boxes.reshape(-1, 4).astype(np.float32), "marks": marks.reshape(len(marks), -1)}
        return {"fused": maps["fused"], **prompts} | {name: torch.from_numpy(value) for name, value in targets.items()}


def collate_prompted(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """All prompts of some pictures."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in ("fused", "classes", "boxes")}
    batch |= {name: torch.cat([row[name] for row in rows]) for name in ("boxes_px", "points_px", "point_labels", "marks")}
    counts = torch.tensor([len(row["marks"]) for row in rows])
    return batch | {"image": torch.arange(len(rows)).repeat_interleave(counts)}

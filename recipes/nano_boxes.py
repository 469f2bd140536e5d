"""Gives the small model's image tokens a sense of boxes: along four directions, each token says where its encoder thinks its thing begins and ends.

Nothing is added to the model: an encoder's features tell how far the edges of the thing under a patch are, positions tell where the patch
is, and both are linear, so that their sum, the box in fractions of the picture, can be written into the projectors and the positions as
they start. The first layer's values let it through to the words that look.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foveal.models.ferret import FerretForConditionalGeneration
from nano_pictures import Shard

__all__ = ["BOXES_SEED", "OUTWARD", "EdgeReader", "box_ways", "lay_boxes", "read_edges"]

REACH = 1.5
"""How far a box's coordinate moves a token along its direction, from the middle of the picture to its border."""
THROUGH = 0.25
BOXES_SEED = 5
"""The directions that ferret-v2-nano learnt with."""
TILES_ACROSS = 20.0
"""Patches of the tiles across a picture: sixteen or twenty-four, of which the model is told the mean."""
OUTWARD = torch.tensor([-1.0, -1.0, 1.0, 1.0])

EdgeReader = tuple[Tensor, Tensor]
"""Weight [4 dim] and bias [4] that read an encoder's features: left, top, right and bottom distance of the thing's edges, in patches."""


def read_edges(shards: Sequence[tuple[Shard, np.ndarray]], pictures: int = 400) -> list[EdgeReader]:
    """The linear readers of edges, of overview and (where there are some) tile features, by least squares over the first pictures."""
    shard, features = shards[0]
    side, views = math.isqrt(shard.names.shape[1]), slice(0, int(shard.first[min(pictures, len(shard.records))]))
    first = np.isin(np.arange(views.stop), shard.first)
    x, y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    inside = np.stack([x, y, side - x, side - y], -1).reshape(-1, 4)
    edges = np.minimum(shard.edges[views].astype(np.float32), inside)
    readers = []
    for chosen in (first, ~first) if not first.all() else (first,):
        shown = shard.names[views][chosen] >= 0
        seen = torch.from_numpy(features[views][chosen][shown].astype(np.float32))
        found = torch.linalg.lstsq(torch.cat([seen, torch.ones(len(seen), 1)], 1), torch.from_numpy(edges[chosen][shown]).float()).solution
        readers.append((found[:-1].T, found[-1]))
    return readers


def box_ways(width: int, draw: torch.Generator) -> Tensor:
    """The four directions [4 width] along which a token says where its thing's left, top, right and bottom are."""
    return torch.linalg.qr(torch.randn(width, 4, generator=draw))[0].T


@torch.no_grad()
def lay_boxes(model: FerretForConditionalGeneration, readers: Sequence[EdgeReader], heads: Sequence[int], seed: int = BOXES_SEED) -> None:
    """Writes the sense of boxes into projectors, positions, and the values of these heads of the first layer."""
    draw = torch.Generator().manual_seed(seed)
    ways = box_ways(model.config.text_config.hidden_size, draw)
    projectors = [part for part in (model.projector, model.local_projector) if part is not None]
    for projector, (weight, bias), across in zip(projectors, readers, (model.config.overview_cells, TILES_ACROSS)[: len(readers)], strict=True):
        scale = OUTWARD * 2 * REACH / across
        projector[0].weight += ways.T @ (scale[:, None] * weight)
        projector[0].bias += ways.T @ (scale * bias)
    for table, axes in ((model.positions.columns, ways[[0, 2]]), (model.positions.rows, ways[[1, 3]])):
        places = (torch.arange(len(table)) + 0.5) / len(table) - 0.5
        table += 2 * REACH * places[:, None] * axes.sum(0)
    attention = model.language_model.model.layers[0].self_attn
    dim = attention.head_dim
    for head in heads:
        inner = torch.linalg.qr(torch.randn(dim, 4, generator=draw))[0]
        attention.v_proj.weight[head * dim : (head + 1) * dim] += THROUGH * inner @ ways
        attention.o_proj.weight[:, head * dim : (head + 1) * dim] += THROUGH * ways.T @ inner.T

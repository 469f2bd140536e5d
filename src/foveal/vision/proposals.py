"""Boxes of whatever things a feature map shows, with a score each: CenterNet's heatmap proposes, a second look at each region decides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization

from foveal.vision.box_tensors import clip_boxes, decode_boxes
from foveal.vision.nms import Kept, nms
from foveal.vision.pyramid import LEVEL_SCALES, SimplePyramid
from foveal.vision.region_pooling import pool_regions

__all__ = ["NOMINAL_STRIDES", "BoxDecoder", "Cells", "ProposalHead", "RegionHead", "choose_regions", "find_peaks", "propose"]

NOMINAL_STRIDES = (8.0, 16.0, 32.0, 64.0, 128.0)
"""Pixels from cell to cell of each level as the original counts them, whatever the picture's side: for weights that were trained with them."""
_BINS = 7


@dataclass(frozen=True)
class Cells:
    """What a proposal head says of every cell: level after level, from the finest on, row by row."""

    heat: Float[Tensor, "images cells"]
    """Logits that a thing has its centre there."""
    reach: Float[Tensor, "images cells 4"]
    """How far its left, upper, right and lower side lie from the cell's centre, in strides."""
    centres: Float[Tensor, "cells 2"]
    """In pixels, x before y."""
    steps: Float[Tensor, "cells 2"]
    """The strides of each cell's level, in pixels across and down."""
    level: Int[Tensor, " cells"]

    @property
    def boxes(self) -> Float[Tensor, "images cells 4"]:
        """The box in pixels that each cell proposes."""
        before, after = (self.reach * self.steps.repeat(1, 2)).split(2, dim=-1)
        return torch.cat([self.centres - before, self.centres + after], dim=-1)


class BoxDecoder(nn.Module):
    """Class-agnostic detection on a fused feature map: a pyramid, proposals out of it, and one more look at each.

    `strides` of the five levels follow from the picture (its sides by the map's) where none are given; `NOMINAL_STRIDES` are the original's, which
    look beside the thing in a picture of 384 pixels. `up` is the width of the doubled map, `layers` and `groups` are those of the head's tower,
    `hidden` the widths of the second look. The `peaks` hottest cells, less those that overlap a hotter one by `proposal_overlap`, give
    `proposals` boxes at most; of these, `detections` are kept that overlap by less than `detection_overlap` and have a score above `floor`.

    >>> decoder = BoxDecoder(6, width=8, up=4, layers=1, groups=2, hidden=(5, 5), detections=3)
    >>> boxes, scores = decoder(torch.rand(2, 4, 4, 6), (56, 56))
    >>> boxes.shape, scores.shape
    (torch.Size([2, 3, 4]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        dim: int,
        width: int = 256,
        up: int = 384,
        layers: int = 4,
        groups: int = 32,
        hidden: Sequence[int] = (1024, 1024),
        strides: Sequence[float] | None = None,
        peaks: int = 1000,
        proposals: int = 256,
        detections: int = 100,
        proposal_overlap: float = 0.9,
        detection_overlap: float = 0.5,
        floor: float = 0.05,
    ) -> None:
        super().__init__()
        if strides is not None and len(strides) != len(LEVEL_SCALES):
            raise ValueError(f"{len(strides)} strides were given for the {len(LEVEL_SCALES)} levels of a pyramid")
        self.strides = None if strides is None else tuple(strides)
        self.peaks, self.proposals, self.detections = peaks, proposals, detections
        self.proposal_overlap, self.detection_overlap, self.floor = proposal_overlap, detection_overlap, floor
        self.pyramid = SimplePyramid(dim, width, up)
        self.proposal_head = ProposalHead(width, layers, groups, levels=len(LEVEL_SCALES))
        self.region_head = RegionHead(width, hidden)

    def reset(self) -> None:
        """Starts all parts as the original starts them."""
        self.pyramid.reset()
        self.proposal_head.reset()
        self.region_head.reset()

    @torch.no_grad()
    def forward(
        self, maps: Float[Tensor, "images rows cols dim"], size: tuple[int, int]
    ) -> tuple[Float[Tensor, "images detections 4"], Float[Tensor, "images detections"]]:
        """Boxes in pixels of the padded picture, which is `size` (width, height), and scores; best first, zeros where there are fewer."""
        levels, strides = self.levels(maps, size)
        sides = strides.new_tensor([size])
        boxes, scores = propose(self.proposal_head(levels, strides), sides, self.peaks, self.proposals, self.proposal_overlap)
        looked = self.judge(levels, strides, boxes)
        return choose_regions(*looked, boxes, scores, sides, self.detections, self.detection_overlap, self.floor)[:2]

    def levels(
        self, maps: Float[Tensor, "images rows cols dim"], size: tuple[int, int]
    ) -> tuple[list[Float[Tensor, "images width _ _"]], Float[Tensor, "levels 2"]]:
        """The pyramid of a map, and the strides of its levels in pixels across and down."""
        rows, cols = maps.shape[1:3]
        across, down = ([scale * side / cells for scale in LEVEL_SCALES] for side, cells in zip(size, (cols, rows), strict=True))
        strides = torch.tensor([across, down] if self.strides is None else [self.strides] * 2, dtype=torch.float32, device=maps.device)
        return self.pyramid(maps.permute(0, 3, 1, 2)), strides.T

    def judge(
        self, levels: Sequence[Float[Tensor, "images width _ _"]], strides: Float[Tensor, "levels 2"], boxes: Float[Tensor, "images n 4"]
    ) -> tuple[Float[Tensor, "images n 2"], Float[Tensor, "images n 4"]]:
        """The second look at boxes in pixels: logits of nothing and something, and how to mend the box (`decode_boxes`)."""
        return self.region_head(pool_regions(levels, boxes, strides, _BINS))


class ProposalHead(nn.Module):
    """CenterNet's head without classes, one for all levels: convolutions with group norm, then a heatmap and the distances to a box's sides.

    >>> levels, strides = [torch.rand(1, 8, 4, 4), torch.rand(1, 8, 2, 2)], torch.tensor([[8.0, 8.0], [16.0, 16.0]])
    >>> ProposalHead(width=8, layers=1, groups=2, levels=2)(levels, strides).boxes.shape
    torch.Size([1, 20, 4])
    """

    def __init__(self, width: int, layers: int = 4, groups: int = 32, levels: int = 5) -> None:
        super().__init__()
        if width % groups:
            raise ValueError(f"a head of width {width} was asked for {groups} groups, which do not divide it")
        parts = [(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width, eps=1e-6), nn.ReLU()) for _ in range(layers)]
        self.tower = nn.Sequential(*(part for layer in parts for part in layer))
        self.heat, self.reach = nn.Conv2d(width, 1, 3, padding=1), nn.Conv2d(width, 4, 3, padding=1)
        self.scales = nn.ParameterList(torch.ones(1) for _ in range(levels))
        self.reset()

    def reset(self) -> None:
        """Nearly no heat anywhere, and boxes that reach eight strides in every direction."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                initialization.normal_(part.weight, std=0.01)
                initialization.zeros_(part.bias)
        initialization.constant_(self.heat.bias, -4.6)
        initialization.constant_(self.reach.bias, 8.0)
        for scale in self.scales:
            initialization.ones_(scale)

    def forward(self, levels: Sequence[Float[Tensor, "images width _ _"]], strides: Float[Tensor, "levels 2"]) -> Cells:
        """What it says of every cell, in float32. ValueError for another number of levels than it has scales."""
        if len(levels) != len(self.scales):
            raise ValueError(f"{len(levels)} levels were given to a proposal head of {len(self.scales)}")
        heats, reaches, centres, steps = [], [], [], []
        for level, scale, stride in zip(levels, self.scales, strides, strict=True):
            seen = self.tower(level)
            heats.append(self.heat(seen).flatten(1))
            reaches.append(functional.relu(self.reach(seen) * scale).flatten(2))
            rows, cols = (torch.arange(count, device=strides.device) for count in level.shape[2:])
            centres.append((torch.cartesian_prod(rows, cols).flip(-1) + 0.5) * stride)
            steps.append(stride.expand(len(centres[-1]), 2))
        number = torch.tensor([len(some) for some in centres], device=strides.device)
        level = torch.arange(len(levels), device=strides.device).repeat_interleave(number)
        return Cells(torch.cat(heats, 1).float(), torch.cat(reaches, 2).mT.float(), torch.cat(centres), torch.cat(steps), level)


class RegionHead(nn.Module):
    """Two linear layers over a region's bins, then whether it is a thing, and how its box is to be mended.

    >>> logits, deltas = RegionHead(width=8, hidden=(5, 6))(torch.rand(2, 3, 7, 7, 8))
    >>> logits.shape, deltas.shape
    (torch.Size([2, 3, 2]), torch.Size([2, 3, 4]))
    """

    def __init__(self, width: int, hidden: Sequence[int] = (1024, 1024)) -> None:
        super().__init__()
        first, second = hidden
        self.fc1, self.fc2 = nn.Linear(_BINS * _BINS * width, first), nn.Linear(first, second)
        self.classes, self.deltas = nn.Linear(second, 2), nn.Linear(second, 4)
        self.reset()

    def reset(self) -> None:
        """Undecided, and content with every box as it is."""
        for part in (self.fc1, self.fc2):
            bound = math.sqrt(3 / part.in_features)
            initialization.uniform_(part.weight, -bound, bound)
        initialization.normal_(self.classes.weight, std=0.01)
        initialization.normal_(self.deltas.weight, std=0.001)
        for part in (self.fc1, self.fc2, self.classes, self.deltas):
            initialization.zeros_(part.bias)

    def forward(self, regions: Float[Tensor, "images n bins bins width"]) -> tuple[Float[Tensor, "images n 2"], Float[Tensor, "images n 4"]]:
        """Logits of nothing and of something, and differences for `decode_boxes`."""
        seen = functional.relu(self.fc2(functional.relu(self.fc1(regions.flatten(2)))))
        return self.classes(seen), self.deltas(seen)


def find_peaks(cells: Cells, count: int) -> tuple[Float[Tensor, "images peaks 4"], Float[Tensor, "images peaks"]]:
    """The boxes, in pixels, and the scores of the hottest cells of each image, best first: `count`, or one less than there are cells."""
    scores, cell = cells.heat.sigmoid().topk(min(count, cells.heat.shape[1] - 1), dim=1)
    return cells.boxes.gather(1, cell[..., None].expand(-1, -1, 4)), scores


@torch.no_grad()
def propose(
    cells: Cells, sides: Float[Tensor, "#images 2"], peaks: int = 1000, keep: int = 256, threshold: float = 0.9
) -> tuple[Float[Tensor, "images {keep} 4"], Float[Tensor, "images {keep}"]]:
    """Proposals in pixels, clipped to pictures of these sides (width, height), and their scores; best first, zeros where there are fewer."""
    kept = nms(*find_peaks(cells, peaks), threshold, keep)
    return clip_boxes(kept.boxes, sides), kept.scores


@torch.no_grad()
def choose_regions(
    logits: Float[Tensor, "images n 2"],
    deltas: Float[Tensor, "images n 4"],
    proposals: Float[Tensor, "images n 4"],
    scores: Float[Tensor, "images n"],
    sides: Float[Tensor, "#images 2"],
    keep: int = 100,
    threshold: float = 0.5,
    floor: float = 0.05,
) -> Kept:
    """The detections among proposals that were looked at twice: mended, clipped to the picture, those above `floor` that no better one overlaps.

    A detection's score is the root of the product of both looks' (Zhou et al. 2021, "Probabilistic two-stage detection").
    """
    sure = (logits.float().softmax(-1)[..., 1] * scores).sqrt()
    boxes = clip_boxes(decode_boxes(deltas.float(), proposals), sides)
    return nms(boxes, sure.masked_fill(sure <= floor, 0), threshold, keep)

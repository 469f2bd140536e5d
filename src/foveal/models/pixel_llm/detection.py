"""What PixelLLM's box decoder learns from: targets out of the boxes of things, losses, and which thing a region shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foveal.vision.box_tensors import box_areas, encode_boxes, generalized_iou, have_extent, pair_overlaps
from foveal.vision.proposals import Cells, propose

__all__ = [
    "LEVEL_RANGES",
    "CellTargets",
    "DetectionLoss",
    "Samples",
    "cell_targets",
    "detection_loss",
    "heat_losses",
    "match_objects",
    "reach_loss",
    "region_losses",
    "regions_found",
    "sample_regions",
]

LEVEL_RANGES = ((0.0, 40.0), (32.0, 80.0), (64.0, 160.0), (128.0, 320.0), (256.0, 50_000.0))
"""Half diagonals in pixels of the things that each level learns, in a picture of 384: half of those that CenterNet2 has for its larger ones."""
_DELTA = (1 - 0.8) / (1 + 0.8)
"""How far a box may be shifted, in its side, and still overlap by 0.8: the width of a thing's spot of heat."""
_LEAST_SPREAD = 16.0
_SAME = 0.01
"""Pixels by which two boxes of one thing may differ."""


@dataclass(frozen=True)
class CellTargets:
    """What the proposal head shall say of every cell."""

    heat: Float[Tensor, "images cells"]
    """1 where a thing has its centre, falling off around it; on every level."""
    peaks: Bool[Tensor, "images cells"]
    """Where a thing has its centre, on the levels that learn it."""
    reach: Float[Tensor, "images cells 4"]
    """Distances to the sides of the thing's box in strides; zeros where nothing is to be said."""
    reaching: Bool[Tensor, "images cells"]
    """Where something is to be said of them."""


@dataclass(frozen=True)
class Samples:
    """Regions that the second look learns from: those that show a thing first. Rows without extent are filler."""

    boxes: Float[Tensor, "images samples 4"]
    index: Int[Tensor, "images samples"]
    """The object that each region overlaps most, as a row of those given."""
    shows: Bool[Tensor, "images samples"]
    """Whether it overlaps it enough to show it."""


@dataclass(frozen=True)
class DetectionLoss:
    """The parts of a detector's loss, and the regions they are of: the first of them are what captions are learnt of."""

    found: Float[Tensor, ""]
    """Of the heatmap, where things are."""
    imagined: Float[Tensor, ""]
    """Of the heatmap, where none are."""
    reach: Float[Tensor, ""]
    classes: Float[Tensor, ""]
    deltas: Float[Tensor, ""]
    samples: Samples

    @property
    def total(self) -> Float[Tensor, ""]:
        """0.5 (found + imagined) + reach + classes + deltas."""
        return 0.5 * (self.found + self.imagined) + self.reach + self.classes + self.deltas


def detection_loss(
    decoder: Any,
    maps: Float[Tensor, "images rows cols dim"],
    size: tuple[int, int],
    objects: Float[Tensor, "images objects 4"],
    *,
    generator: torch.Generator | None = None,
    ranges: Sequence[Sequence[float]] = LEVEL_RANGES,
    peaks: int = 2000,
    proposals: int = 1000,
    samples: int = 512,
) -> DetectionLoss:
    """The whole loss of a `BoxDecoder` (or of PEFT's copy of one) on a fused map of pictures of `size` (width, height), whose things have the boxes
    `objects` in pixels.

    Rows of `objects` without extent are padding. `generator` draws the regions of the second look.
    """
    if not objects.shape[1]:
        objects = objects.new_zeros(len(objects), 1, 4)
    levels, strides = decoder.levels(maps, size)
    cells = decoder.proposal_head(levels, strides)
    targets = cell_targets(cells, objects, ranges)
    boxes, _ = propose(cells, strides.new_tensor([size]), peaks, proposals, decoder.proposal_overlap)
    drawn = sample_regions(boxes, objects, samples, generator=generator)
    found, imagined = heat_losses(cells.heat, targets)
    logits, deltas = decoder.judge(levels, strides, drawn.boxes)
    return DetectionLoss(found, imagined, reach_loss(cells.reach, targets), *region_losses(logits, deltas, drawn, objects), drawn)


@torch.no_grad()
def cell_targets(cells: Cells, objects: Float[Tensor, "images objects 4"], ranges: Sequence[Sequence[float]] = LEVEL_RANGES) -> CellTargets:
    """CenterNet2's targets (Zhou et al. 2021).

    A thing is learnt by the levels in whose range its half diagonal lies. There the cell of its centre is a peak; around its centre, on every
    level, heat falls off as exp(-distance^2 / r^2), with r^2 = max(2 (delta side)^2, 16); of several things the hottest counts. Cells at most a
    stride from the peak, across and down, and inside the box learn how far its sides are; of several things that which is nearest in its own r.
    """
    real = have_extent(objects)
    learning = _learning(objects, ranges) & real[:, None]  # images levels objects
    centre = (objects[..., :2] + objects[..., 2:]) / 2
    snapped = _snapped(cells, centre)[:, cells.level]  # images cells objects 2
    away = (cells.centres[:, None] - snapped).abs() / cells.steps[:, None]
    here = learning[:, cells.level]
    at_peak = here & (away < 0.5).all(-1)
    spread = (2 * _DELTA**2 * box_areas(objects)).clamp(min=_LEAST_SPREAD)
    far = (cells.centres[:, None] - centre[:, None]).square().sum(-1) / spread[:, None]
    far = far.masked_fill(at_peak, 0).masked_fill(~real[:, None], torch.inf)
    corners = torch.cat([cells.centres[:, None] - objects[:, None, :, :2], objects[:, None, :, 2:] - cells.centres[:, None]], dim=-1)
    reaching = here & (away < 1.5).all(-1) & (corners > 0).all(-1)
    nearest = far.masked_fill(~reaching, torch.inf).argmin(-1)
    reach = corners.gather(2, nearest[..., None, None].expand(-1, -1, -1, 4))[:, :, 0] / cells.steps.repeat(1, 2)
    says = reaching.any(-1)
    return CellTargets((-far.amin(-1)).exp(), at_peak.any(-1), reach * says[..., None], says)


def heat_losses(heat: Float[Tensor, "images cells"], targets: CellTargets) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Focal losses of the heatmap's logits where things have their centres, and elsewhere, less so in the heat around them (CornerNet).

    Both are sums of an image, averaged over the images and divided by the mean number of peaks, of each image one at least.
    """
    sure = heat.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    found = 0.25 * (1 - sure).square() * -sure.log() * targets.peaks
    imagined = 0.75 * sure.square() * -(1 - sure).log() * (1 - targets.heat) ** 4 * ~targets.peaks
    count = _mean_count(targets.peaks)
    return found.sum(1).mean() / count, imagined.sum(1).mean() / count


def reach_loss(reach: Float[Tensor, "images cells 4"], targets: CellTargets) -> Float[Tensor, ""]:
    """1 - GIoU of the boxes around cells that shall say one: summed, averaged over images, divided by their mean number, one at least."""
    away = reach.new_tensor([-1.0, -1.0, 1.0, 1.0])
    lost = (1 - generalized_iou(reach.float() * away, targets.reach * away)) * targets.reaching
    return lost.sum(1).mean() / _mean_count(targets.reaching)


@torch.no_grad()
def sample_regions(
    proposals: Float[Tensor, "images n 4"],
    objects: Float[Tensor, "images objects 4"],
    count: int = 512,
    *,
    share: float = 0.25,
    threshold: float = 0.6,
    generator: torch.Generator | None = None,
) -> Samples:
    """`count` regions of each image, drawn from its proposals and its objects: at most `share` of them show an object, the others none.

    Those that show one come first, either kind in the order of the proposals. Where there are too few, rows of zeros follow.
    """
    boxes = torch.cat([proposals, objects], dim=1)
    index, shows = match_objects(boxes, objects, threshold)
    luck = torch.rand(boxes.shape[:2], generator=generator, device=generator.device if generator else boxes.device).to(boxes.device)
    blank = ~shows & have_extent(boxes)
    shows = shows & (_rank(luck, shows) < int(count * share))
    blank = blank & (_rank(luck, blank) < count - shows.sum(1, keepdim=True))
    order = (2 - 2 * shows.long() - blank.long()).argsort(dim=1, stable=True)[:, :count]
    short = max(0, count - order.shape[1])
    drawn = (shows | blank).gather(1, order)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) * drawn[..., None]
    index, shows = index.gather(1, order) * drawn, shows.gather(1, order)
    return Samples(functional.pad(boxes, (0, 0, 0, short)), functional.pad(index, (0, short)), functional.pad(shows, (0, short)))


def region_losses(
    logits: Float[Tensor, "images samples 2"], deltas: Float[Tensor, "images samples 4"], samples: Samples, objects: Float[Tensor, "images objects 4"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean cross-entropy of thing or nothing over all regions but filler, and L1 of the differences to the things shown, by all samples."""
    real = have_extent(samples.boxes)
    lost = functional.cross_entropy(logits.float().flatten(0, 1), samples.shows.long().flatten(), reduction="none") * real.flatten()
    wanted = objects.gather(1, samples.index[..., None].expand(-1, -1, 4))
    shows = samples.shows & real
    nothing = samples.boxes.new_tensor([0.0, 0.0, 1.0, 1.0])  # has extent, so that no gradient is undefined
    targets = encode_boxes(torch.where(shows[..., None], wanted, nothing), torch.where(shows[..., None], samples.boxes, nothing))
    off = (deltas.float() - targets).abs().sum(-1) * shows
    return lost.sum() / real.sum().clamp(min=1), off.sum() / shows.numel()


@torch.no_grad()
def match_objects(
    regions: Float[Tensor, "images n 4"], objects: Float[Tensor, "images objects 4"], threshold: float = 0.6
) -> tuple[Int[Tensor, "images n"], Bool[Tensor, "images n"]]:
    """The object that each region overlaps most, and whether by `threshold` or more, so that the object's caption is the region's.

    >>> boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [6.0, 0.0, 9.0, 4.0]]])
    >>> match_objects(torch.tensor([[[6.0, 0.0, 9.0, 3.0], [0.0, 0.0, 1.0, 1.0]]]), boxes)
    (tensor([[1, 0]]), tensor([[ True, False]]))
    """
    overlap, index = pair_overlaps(regions, objects).max(-1)
    return index, overlap >= threshold


@torch.no_grad()
def regions_found(
    boxes_px: Float[Tensor, "rows 4"],
    image: Int[Tensor, " rows"],
    objects: Float[Tensor, "images objects 4"],
    samples: Samples,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "rows 4"]:
    """The boxes that rows ask about, each that is an object's exchanged for a region that shows the object, drawn from the `samples` that do.

    So words are learnt of what will be found, as in the release, and not of true boxes alone, which are among the samples. `image` is the row of
    `objects` that each belongs to; below 0, and where no sample shows the object, a box stays as it is.

    >>> thing, near, other = [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [0.0, 0.0, 9.0, 9.0]
    >>> samples = Samples(torch.tensor([[near]]), index=torch.tensor([[0]]), shows=torch.tensor([[True]]))
    >>> regions_found(torch.tensor([thing, other]), torch.tensor([0, 0]), torch.tensor([[thing]]), samples).tolist() == [near, other]
    True
    """
    if not objects.shape[1]:
        return boxes_px
    own = objects[image]
    same = ((boxes_px[:, None] - own).abs().amax(-1) < _SAME) & have_extent(own) & (image >= 0)[:, None]
    fits = samples.shows[image] & (samples.index[image] == same.long().argmax(1)[:, None]) & same.any(1)[:, None]
    luck = torch.rand(fits.shape, generator=generator, device=generator.device if generator else fits.device).to(fits.device)
    drawn = samples.boxes[image, luck.masked_fill(~fits, -1).argmax(1)]
    return torch.where(fits.any(1)[:, None], drawn, boxes_px)


def _learning(objects: Float[Tensor, "images objects 4"], ranges: Sequence[Sequence[float]]) -> Bool[Tensor, "images levels objects"]:
    """Which level learns which object."""
    half = (objects[..., 2:] - objects[..., :2]).square().sum(-1).sqrt() / 2
    low, high = objects.new_tensor(ranges).unbind(1)
    return (half[:, None] >= low[:, None]) & (half[:, None] <= high[:, None])


def _snapped(cells: Cells, centre: Float[Tensor, "images objects 2"]) -> Float[Tensor, "images levels objects 2"]:
    """The centre of the cell that holds each object's centre, on each level; of the last cell for what lies beyond it."""
    number = int(cells.level[-1]) + 1
    first = torch.searchsorted(cells.level, torch.arange(number, device=cells.level.device))
    last = torch.searchsorted(cells.level, torch.arange(number, device=cells.level.device), right=True) - 1
    step = cells.steps[first][:, None]
    inside = ((centre[:, None] / step).floor() + 0.5) * step
    return inside.clamp(min=cells.centres[first][:, None]).minimum(cells.centres[last][:, None])


def _mean_count(chosen: Bool[Tensor, "images cells"]) -> Float[Tensor, ""]:
    return chosen.sum(1).clamp(min=1).float().mean()


def _rank(luck: Float[Tensor, "images n"], chosen: Bool[Tensor, "images n"]) -> Int[Tensor, "images n"]:
    """The place of each chosen one among the chosen, by luck."""
    return luck.masked_fill(~chosen, 2).argsort(dim=1).argsort(dim=1)

"""Ferret's region sampler as its formulas stand: region after region, both linear maps on every pair. The yardstick of `sampler.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.vision import VisualSampler

__all__ = ["plain_regions"]


def plain_regions(sampler: VisualSampler, maps: list[Tensor], points: Tensor, image: Tensor, starts: Tensor) -> Tensor:
    """What `sampler(maps, points, image, starts)` gives, computed with the sampler's own parameters and none of its ways."""
    features = [_region(sampler, maps[int(which)], cloud, start) for cloud, which, start in zip(points, image, starts, strict=True)]
    return sampler.output(torch.stack(features))


def _region(sampler: VisualSampler, grid: Tensor, points: Tensor, starts: Tensor) -> Tensor:
    places = (points.flip(-1) if sampler.read == "transposed" else points) * 2 - 1
    features = F.grid_sample(grid[None], places[None, None].to(grid), align_corners=True)[0, :, 0].T
    for block, count, near, start in zip(sampler.blocks, sampler.anchors, sampler.neighbours, starts, strict=True):
        chosen = _farthest(points, int(start), count)
        nearest = torch.cdist(points[chosen], points, compute_mode="donot_use_mm_for_euclid_dist").topk(near, largest=False).indices
        full = torch.cat([features, points.to(features)], dim=1)
        anchors = full[chosen][:, None].expand(-1, near, -1)
        pairs = torch.cat([block.difference(full[nearest] - anchors), anchors], dim=2)
        pairs = block.norm(F.relu(block.aggregation(pairs)))
        features = pairs.amax(1) if block.pooling == "max" else pairs.mean(1)
        points = points[chosen]
    return sampler.flatten(features.flatten())


def _farthest(points: Tensor, start: int, count: int) -> Tensor:
    nearest, chosen = torch.full((len(points),), 1e10), [start]
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)

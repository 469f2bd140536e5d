"""Features of free-form regions: Ferret's spatial-aware visual sampler, with the work on pairs of points folded into work on points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foveal.vision.adapters import whole_weight
from foveal.vision.points import Distinct, distinct_points, farthest_points, nearest_points
from foveal.vision.reading import corner_cells, read_cells, touched_cells, wide

__all__ = ["AveragePooling", "SamplerBlock", "VisualSampler"]

_FLOATS_AT_ONCE = 1 << 18
"""Pairs are gathered on a CPU in pieces of this many floats for each thread (1 MB), so that a piece stays in the cache while it is worked on."""


@dataclass(frozen=True)
class _Folded:
    """The linear part of one block, in the order that is cheapest for the number of rows at hand."""

    move: tuple[Float[Tensor, "_ _"], ...]
    move_place: Float[Tensor, "dim 2"]
    hold: Float[Tensor, "dim dim"]
    hold_place: Float[Tensor, "dim 2"]
    bias: Float[Tensor, " dim"]


@dataclass(frozen=True)
class _Around:
    """Who is near whom in one block, as rows of a table that holds each distinct point once."""

    places: Float[Tensor, "rows 2"]
    centre: Int[Tensor, " anchors"]
    near: Int[Tensor, "anchors neighbours"]


@dataclass(frozen=True)
class _Arrangement:
    """All that depends on where points lie, for one chunk of regions."""

    rows: Int[Tensor, " rows"]
    blocks: tuple[_Around, ...]
    slots: Int[Tensor, "regions last"]


class SamplerBlock(nn.Module):
    """From a cloud of points to fewer anchors, each of which has seen its neighbours (Ferret, section 3.2; "sampling, gathering, pooling").

    For an anchor a and its neighbour j, with u = [feature, x, y], the paper computes
    max over j of LayerNorm(ReLU(aggregation([difference(u_j - u_a), u_a]))). Both maps are linear, so the inside is
    M u_j + (W - M) u_a + c, where M joins `difference` with the first half of `aggregation` and W is its second half. Hence M is
    applied once to every distinct point instead of once to every pair. The parameters stay those of the paper.
    """

    def __init__(self, dim: int, pooling: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        self.dim = dim
        self.pooling = pooling
        self.difference = nn.Linear(dim + 2, dim + 2)
        self.aggregation = nn.Linear(2 * (dim + 2), dim)
        self.norm = nn.LayerNorm(dim)

    def fold(self, rows: int) -> _Folded:
        """The block's linear maps; multiplied together when they will be applied to more `rows` than that product costs."""
        with torch.autocast(self.norm.weight.device.type, enabled=False):
            first, second = whole_weight(self.aggregation).split(self.dim + 2, dim=1)
            apart = whole_weight(self.difference).split((self.dim, 2), dim=1)
            bias = self.aggregation.bias + first @ self.difference.bias
            move = (first @ apart[0],) if rows > self.dim else (apart[0], first)
            return _Folded(move, first @ apart[1], second[:, : self.dim], second[:, self.dim :], bias)

    def gather(
        self, folded: _Folded, moved: Float[Tensor, "rows dim"], held: Float[Tensor, "anchors dim"], around: _Around
    ) -> Float[Tensor, "anchors dim"]:
        """Pools, for every anchor, what its neighbours have become: `moved` are features of distinct points after M, `held` of anchors after W."""
        dtype = moved.dtype
        with torch.autocast(moved.device.type, enabled=False):
            near = torch.addmm(wide(moved), around.places.to(wide(moved).dtype), wide(folded.move_place).T)
            base = torch.addmm(wide(held), around.places[around.centre].to(near.dtype), wide(folded.hold_place).T)
            base = base + folded.bias - near[around.centre]
            near, base = near.to(dtype), base.to(dtype)
            size = _anchors_at_once(near, *around.near.shape)
            pieces = zip(base.split(size), around.near.split(size), strict=True)
            return torch.cat([self._pool(near, some, neighbours) for some, neighbours in pieces])

    def _pool(
        self, near: Float[Tensor, "rows dim"], base: Float[Tensor, "some dim"], neighbours: Int[Tensor, "some neighbours"]
    ) -> Float[Tensor, "some dim"]:
        pairs = F.embedding(neighbours, near).add_(base[:, None]).relu_()
        norm = self.norm
        pairs = F.layer_norm(pairs, (self.dim,), norm.weight.to(pairs.dtype), norm.bias.to(pairs.dtype), norm.eps)
        return pairs.amax(1) if self.pooling == "max" else pairs.mean(1)


class VisualSampler(nn.Module):
    """One feature for each free-form region: Ferret's spatial-aware visual sampler (section 3.2).

    `dim` is the width of the maps, `width` that of the features; `points` of a region are thinned to `anchors`, block by block, each of
    which pools `neighbours` (one number, or one for each block). `read="transposed"` reads a map at (row, column) = (x, y), as the
    published checkpoints were trained; `"upright"` reads where the point is. `chunk` regions are worked on at a time.

    All regions of all images go through together, positions are handled in float32 whatever the dtype, and nothing is drawn: the first
    anchor of every block is given by `starts`.

    >>> sampler = VisualSampler(dim=8, width=6, points=16, anchors=(8, 4), neighbours=4)
    >>> maps = [torch.rand(8, 3, 3), torch.rand(8, 4, 6)]
    >>> sampler(maps, torch.rand(5, 16, 2), torch.tensor([0, 0, 1, 1, 1]), torch.zeros(5, 2, dtype=torch.long)).shape
    torch.Size([5, 6])
    """

    def __init__(
        self,
        dim: int,
        width: int,
        points: int = 512,
        anchors: Sequence[int] = (128, 32),
        neighbours: int | Sequence[int] = 24,
        pooling: Literal["max", "mean"] = "max",
        read: Literal["upright", "transposed"] = "upright",
        *,
        chunk: int = 16,
    ) -> None:
        super().__init__()
        self.points, self.anchors = points, tuple(anchors)
        self.neighbours = (neighbours,) * len(self.anchors) if isinstance(neighbours, int) else tuple(neighbours)
        self.read, self.chunk = read, chunk
        _check_counts(self.points, self.anchors, self.neighbours)
        self.blocks = nn.ModuleList(SamplerBlock(dim, pooling) for _ in self.anchors)
        self.flatten = nn.Linear(self.anchors[-1] * dim, dim)
        self.output = nn.Linear(dim, width)

    def forward(
        self,
        maps: Sequence[Float[Tensor, "dim _ _"]],
        points: Float[Tensor, "regions points 2"],
        image: Int[Tensor, " regions"],
        starts: Int[Tensor, "regions blocks"],
        *,
        neighbours: Sequence[Int[Tensor, "regions _ _"]] | None = None,
    ) -> Float[Tensor, "regions width"]:
        """The regions' features, in the order given.

        `maps` are one (dim, rows, columns) for each image, of any size; `points` are (x, y) fractions of the image and `image` says which
        map a region's points read; `starts` is, for each block, the first anchor's index among the points that enter it. `neighbours`
        replaces the search for nearest points: for each block (regions, anchors, neighbours) indices of the points that enter it.
        Raises ValueError when counts disagree with the sampler's own.
        """
        self._check_given(maps, points, starts)
        if not len(points):
            return self.output(self.flatten.weight.new_zeros(0, self.flatten.out_features))
        corners, shares = corner_cells(points.float(), image, [(grid.shape[1], grid.shape[2]) for grid in maps], self.read)
        cells, corners = touched_cells(maps, corners, self.flatten.weight.dtype)
        clouds, chosen = self._choose(points.float(), starts)
        # The first block's maps may be applied to the cells of the feature map, before reading, or to what was read: reading is linear too.
        early = 2 * len(cells) <= len(points) * (self.points + self.anchors[0])
        folds = self._folds(len(points), len(cells) if early else len(points) * self.points)
        sources = (_move(folds[0], cells), F.linear(cells, folds[0].hold)) if early else (cells,)
        save = torch.is_grad_enabled() and len(points) > self.chunk
        features = []
        for first in range(0, len(points), self.chunk):
            part = slice(first, first + self.chunk)
            given = None if neighbours is None else [indices[part] for indices in neighbours]
            plan = self._arrange([cloud[part] for cloud in clouds], [indices[part] for indices in chosen], given)
            inputs = (folds, sources, corners[part].flatten(0, 1), shares[part].flatten(0, 1), plan)
            features.append(checkpoint(self._chunk, *inputs, use_reentrant=False, preserve_rng_state=False) if save else self._chunk(*inputs))
        return self.output(self.flatten(torch.cat(features)))

    def _chunk(
        self,
        folds: list[_Folded],
        sources: tuple[Float[Tensor, "cells dim"], ...],
        corners: Int[Tensor, "points 4"],
        shares: Float[Tensor, "points 4"],
        plan: _Arrangement,
    ) -> Float[Tensor, "regions flat"]:
        """Some regions' last anchors side by side. `sources` are the cells after both maps of the first block, or as they are."""
        corners, shares, first = corners[plan.rows], shares[plan.rows], plan.blocks[0]
        if len(sources) == 2:
            moved = read_cells(sources[0], corners, shares)
            held = read_cells(sources[1], corners[first.centre], shares[first.centre])
        else:
            features = read_cells(sources[0], corners, shares)
            moved, held = _move(folds[0], features), F.linear(features[first.centre], folds[0].hold)
        for index, (block, folded, around) in enumerate(zip(self._each(), folds, plan.blocks, strict=True)):
            if index:
                moved, held = _move(folded, features), F.linear(features[around.centre], folded.hold)
            features = block.gather(folded, moved, held, around)
        return features[plan.slots].flatten(1)

    def _folds(self, regions: int, first: int) -> list[_Folded]:
        rows = (first, *(regions * count for count in self.anchors[:-1]))
        return [block.fold(count) for block, count in zip(self._each(), rows, strict=True)]

    def _each(self) -> list[SamplerBlock]:
        return cast(list[SamplerBlock], list(self.blocks))

    @torch.no_grad()
    def _choose(
        self, points: Float[Tensor, "regions points 2"], starts: Int[Tensor, "regions blocks"]
    ) -> tuple[list[Float[Tensor, "regions _ 2"]], list[Int[Tensor, "regions _"]]]:
        """The cloud that enters each block, the last anchors after them, and each block's anchors as indices into its cloud."""
        clouds, chosen = [points], []
        for count, start in zip(self.anchors, starts.unbind(1), strict=True):
            chosen.append(farthest_points(clouds[-1], start, count))
            clouds.append(clouds[-1].gather(1, chosen[-1][..., None].expand(-1, -1, 2)))
        return clouds, chosen

    @torch.no_grad()
    def _arrange(
        self, clouds: list[Float[Tensor, "regions _ 2"]], chosen: list[Int[Tensor, "regions _"]], given: list[Int[Tensor, "regions _ _"]] | None
    ) -> _Arrangement:
        """Points, anchors and neighbours as rows of tables without repeats: points that coincide have the same feature."""
        entering = distinct_points(clouds[0])
        rows, blocks = entering.rows, []
        for index, anchors in enumerate(chosen):
            cloud, leaving = clouds[index], distinct_points(clouds[index + 1])
            near = nearest_points(cloud, clouds[index + 1], self.neighbours[index]) if given is None else given[index]
            blocks.append(_around(cloud, entering, leaving, anchors, near.long()))
            entering = leaving
        return _Arrangement(rows, tuple(blocks), entering.slots)

    def _check_given(self, maps: Sequence[Tensor], points: Tensor, starts: Tensor) -> None:
        if points.shape[1] != self.points:
            raise ValueError(f"{points.shape[1]} points for each region were given to a sampler of {self.points}")
        if starts.shape[1] != len(self.anchors):
            raise ValueError(f"{starts.shape[1]} starts for each region were given to a sampler of {len(self.anchors)} blocks")
        if wrong := {grid.shape[0] for grid in maps} - {self.blocks[0].dim}:
            raise ValueError(f"maps of width {min(wrong)} were given to a sampler of width {self.blocks[0].dim}")


class AveragePooling(nn.Module):
    """One feature for each region: the average of the projected map at the region's points (Ferret's older `region_fea_adapter`).

    Points that repeat count once, so that a region of fewer pixels than points is averaged over its pixels. Takes what `VisualSampler`
    takes, so that either stands in the same place; the average has no first anchor and leaves `starts` unread.

    >>> pooling = AveragePooling(dim=8, width=6)
    >>> pooling([torch.rand(8, 3, 3)], torch.rand(5, 16, 2), torch.zeros(5, dtype=torch.long)).shape
    torch.Size([5, 6])
    """

    def __init__(self, dim: int, width: int, read: Literal["upright", "transposed"] = "upright") -> None:
        super().__init__()
        self.read = read
        self.projection = nn.Linear(dim, width)

    def forward(
        self,
        maps: Sequence[Float[Tensor, "dim _ _"]],
        points: Float[Tensor, "regions points 2"],
        image: Int[Tensor, " regions"],
        starts: Int[Tensor, "regions blocks"] | None = None,
    ) -> Float[Tensor, "regions width"]:
        """The regions' features, in the order given. Averaging comes before the projection: both are linear, and it leaves one row a region."""
        weight = self.projection.weight
        if not len(points):
            return self.projection(weight.new_zeros(0, weight.shape[1]))
        corners, shares = corner_cells(points.float(), image, [(grid.shape[1], grid.shape[2]) for grid in maps], self.read)
        cells, corners = touched_cells(maps, corners, weight.dtype)
        fresh = torch.zeros_like(points[..., 0], dtype=torch.float32)
        fresh.view(-1)[distinct_points(points.float()).rows] = 1
        shares = shares * (fresh / fresh.sum(1, keepdim=True))[..., None]
        return self.projection(read_cells(cells, corners.flatten(1), shares.flatten(1)))


def _move(folded: _Folded, features: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    for weight in folded.move:
        features = F.linear(features, weight)
    return features


def _around(
    cloud: Float[Tensor, "regions points 2"],
    entering: Distinct,
    leaving: Distinct,
    anchors: Int[Tensor, "regions anchors"],
    near: Int[Tensor, "regions anchors neighbours"],
) -> _Around:
    """Anchors and neighbours as rows of the table that enters a block, for those anchors alone that differ."""
    centre = entering.slots.gather(1, anchors).flatten()[leaving.rows]
    rows = entering.slots.gather(1, near.flatten(1)).view(-1, near.shape[2])[leaving.rows]
    return _Around(cloud.flatten(0, 1)[entering.rows], centre, rows)


def _anchors_at_once(near: Float[Tensor, "rows dim"], anchors: int, neighbours: int) -> int:
    if near.device.type != "cpu" or torch.is_grad_enabled():
        return anchors
    return max(1, _FLOATS_AT_ONCE * torch.get_num_threads() // (neighbours * near.shape[1]))


def _check_counts(points: int, anchors: tuple[int, ...], neighbours: tuple[int, ...]) -> None:
    if not anchors or len(anchors) != len(neighbours):
        raise ValueError(f"{len(neighbours)} numbers of neighbours were given for {len(anchors)} blocks of anchors")
    for entering, count in zip((points, *anchors), neighbours, strict=False):
        if not 0 < count <= entering:
            raise ValueError(f"{count} neighbours were asked for among {entering} points")

"""Ferret's own training files: JSON lists of conversations in which `<bbox_location0>` stands for a box of the image."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from foveal.data.reading import Report, array_of, made_of, some_of
from foveal.geometry import Box, Mask, Point, Region, decode_mask, mask_from_coco
from foveal.grounding import Example, GroundedText, Picture, Turn, region_to_json, tie_words
from foveal.grounding.wordings.ferret import BOXES_REQUEST

__all__ = ["Pointing", "ferret_items", "point_in", "random_pointing"]

_BoxPixels = tuple[float, float, float, float]
Pointing = Callable[[Sequence[_BoxPixels], Sequence[Mask | None]], Sequence[tuple[float, float]] | None]
"""How a question refers to its boxes (pixels, each with its mask where known): a point in each, in pixels, or None for the boxes."""

_IMAGE = "<image>"
_PLACE = re.compile(r"<bbox_location(\d{1,6})>")


def ferret_items(
    source: str | PathLike[str] | Iterable[Mapping[str, Any]],
    *,
    images: str | PathLike[str] = "",
    seed: int = 0,
    request_boxes: bool = False,
    licence: str = "",
    pointing: Pointing | None = None,
    report: Report | None = None,
) -> Iterator[Example]:
    """Examples of a JSON file, or of the items of one. Images lie in `images`.

    Questions refer by points or by boxes as `pointing` says, at random from `seed` by default: an item is always the same example.
    Answers give boxes. The object's mask, or for a point its box, is kept as the fact "inside" (see `region_limits`). Grounding
    data of the any-resolution code ask for boxes in words (`request_boxes`). ValueError for an item that names a box it lacks; with `report`
    it is told of this and of whatever else cannot be used, and the rest is read. ValueError for another kind of file.

    >>> item = {"id": 3, "image": "a.jpg", "image_w": 100, "image_h": 50, "box_x1y1x2y2": [[], [[10, 5, 40, 20]]]}
    >>> talk = [{"from": "human", "value": "<image>\\nWhere is it?"}, {"from": "gpt", "value": "The cat <bbox_location0>."}]
    >>> next(ferret_items([item | {"conversations": talk}])).turns[1].said
    GroundedText(text='The cat.', spans=(Span(start=0, end=7, regions=(Box(x0=0.1, y0=0.1, x1=0.4, y1=0.4, image=0),), scores=()),))
    """
    items = array_of(source) if isinstance(source, str | PathLike) else ((f"item {place}", item) for place, item in enumerate(source))
    named = ((name, (place, item)) for place, (name, item) in enumerate(items))

    def example(pair: tuple[int, Any]) -> Example:
        place, item = pair
        return _example(item, images, request_boxes, licence, pointing or random_pointing(np.random.default_rng((seed, place))))

    examples = (example(pair) for _, pair in named) if report is None else made_of(named, example, report)
    return some_of(examples, f"nothing of {source} can be used; it wants a list of items") if isinstance(source, str | PathLike) else examples


def random_pointing(rng: np.random.Generator) -> Pointing:
    """Points (`point_in`) or boxes by the toss of a coin."""

    def points(boxes: Sequence[_BoxPixels], masks: Sequence[Mask | None]) -> list[tuple[float, float]] | None:
        return [point_in(box, mask, rng) for box, mask in zip(boxes, masks, strict=True)] if rng.random() < 0.5 else None

    return points


def point_in(box_px: Sequence[float], mask: Mask | None, rng: np.random.Generator) -> tuple[float, float]:
    """A point in pixels by the rule `segment_mask|center` of the released scripts: with a mask, the one of at most 1000 random pixels nearest to
    the box's centre; without, a normal draw around the centre, with 0.15 of the box's sides as deviation, that lies in the box.

    >>> point_in((10, 10, 12, 12), Mask(20, 20, (11 * 20 + 11, 1, 20 * 20 - 11 * 20 - 12)), np.random.default_rng(0))
    (11, 11)
    """
    low, high = np.minimum(box_px[:2], box_px[2:]), np.maximum(box_px[:2], box_px[2:])
    centre = (low + high) / 2
    rows, columns = np.nonzero(decode_mask(mask)) if mask else (np.empty(0), np.empty(0))
    if len(rows):
        pixels = rng.permutation(np.stack([columns, rows], axis=1))[:1000]
        return tuple(pixels[np.square(pixels - centre).sum(1).argmin()].tolist())
    drawn = rng.normal(centre, 0.15 * (high - low))
    while (drawn < low).any() or (drawn > high).any():
        drawn = rng.normal(centre, 0.15 * (high - low))
    return tuple(drawn.tolist())


def _example(item: Mapping[str, Any], folder: str | PathLike[str], request_boxes: bool, licence: str, pointing: Pointing) -> Example:
    images: tuple[Picture, ...] = ()
    width, height = 1, 1
    if "image" in item:
        width, height = int(item["image_w"]), int(item["image_h"])
        images = (Picture(width, height, str(Path(folder, item["image"]))),)
    talk = item["conversations"]
    boxes = item.get("box_x1y1x2y2") or [[] for _ in talk]
    masks = item.get("masks") or [[] for _ in talk]
    turns, inside = [], []
    for place, entry in enumerate(talk):
        asks = entry["from"] == "human"
        value = entry["value"].replace(_IMAGE, "").strip() if _IMAGE in entry["value"] else entry["value"]
        value += BOXES_REQUEST if request_boxes and asks and not place else ""
        clamped = [_clamped(box, width, height) for box in boxes[place]]
        known = [mask_from_coco(mask) if mask else None for mask in masks[place]] or [None] * len(clamped)
        regions: list[Region] = [Box(x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in clamped]
        limits: list[Region | None] = list(known)
        if asks and clamped and (points := pointing(clamped, known)):
            limits = [mask or box for mask, box in zip(known, regions, strict=True)]
            regions = [Point(x / width, y / height) for x, y in points]
        said, named = _filled(value, regions, tie=not asks, owner=str(item["id"]))
        turns.append(Turn("user" if asks else "assistant", said))
        inside += [limits[index] for index in named] if asks else []
    facts = {"inside": [limit and region_to_json(limit) for limit in inside]} if any(inside) else {}
    return Example(str(item["id"]), images, tuple(turns), licence=licence, facts=facts)


def _clamped(box: Sequence[float], width: int, height: int) -> _BoxPixels:
    x0, y0, x1, y1 = box
    right, bottom = width - 1, height - 1
    return min(max(x0, 0), right), min(max(y0, 0), bottom), min(max(x1, 0), right), min(max(y1, 0), bottom)


def _filled(value: str, regions: Sequence[Region], *, tie: bool, owner: str) -> tuple[GroundedText, list[int]]:
    """The text with its regions, tied to the words before them if so wanted, and which regions it names in which order."""
    pieces = _PLACE.split(value)
    named = [int(number) for number in pieces[1::2]]
    if named and max(named) >= len(regions):
        raise ValueError(f"item {owner} names box {max(named)} in a turn with {len(regions)} boxes")
    if tie:
        return tie_words([(before, regions[index], None) for before, index in zip(pieces[::2], named, strict=False)], pieces[-1]), named
    parts: list[str | Region] = [pieces[0]]
    for index, after in zip(named, pieces[2::2], strict=True):
        parts += [regions[index], after]
    return GroundedText.join(*parts), named

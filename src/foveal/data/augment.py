"""Pictures resized, cut, mirrored and padded for training, and what is said of them with them: a frame says where everything lies afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from foveal.geometry import Box, Frame, Mask, Point, Region, Trace, bounding_box, box_array, decode_mask, encode_mask
from foveal.grounding import Example, GroundedText, Picture, Span, region_limits, region_to_json

__all__ = [
    "Shot",
    "boxes_on",
    "crop",
    "example_on",
    "flip",
    "kept_boxes",
    "masks_on",
    "pad",
    "points_on",
    "random_part",
    "random_shot",
    "region_on",
    "resize",
    "resized_size",
]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """Pixels of (a part of) a picture, and the frame that says where on them a place of the whole picture lies.

    The frame's canvas is the part of the pixels that shows the picture; padding lies to the right of it and below.

    >>> shot = Shot.of(torch.rand(30, 20, 3))
    >>> cut = pad(crop(resize(shot, (40, 60)), (10, 20, 40, 60)), (48, 48))
    >>> cut.pixels.shape, cut.frame.canvas_size, boxes_on(cut.frame, np.array([[0.5, 0.5, 1.0, 1.0]])).tolist()
    (torch.Size([48, 48, 3]), (30, 40), [[10.0, 10.0, 30.0, 40.0]])
    """

    pixels: Float[Tensor, "height width channels"]
    frame: Frame

    @staticmethod
    def of(pixels: Float[Tensor, "height width channels"]) -> "Shot":
        """The whole picture as it is."""
        return Shot(pixels, Frame.stretch((pixels.shape[1], pixels.shape[0])))


def resized_size(size: tuple[int, int], side: int, longest: int | None = None) -> tuple[int, int]:
    """(width, height) of a picture whose shorter side becomes `side`, or whose longer side would thereby pass `longest` and becomes that.

    In that second case the shorter side is rounded down first and the longer one follows from it, so that it can miss `longest` by a pixel or,
    in narrow pictures, some more: so do the released recipes. With `side == longest` the longer side is what is set.

    >>> resized_size((536, 379), 480), resized_size((464, 850), 480, 480)
    ((678, 480), (262, 479))
    """
    if min(*size, side, 1 if longest is None else longest) < 1:
        raise ValueError(f"a picture of {size} was to be resized to {side} with at most {longest}; all must be positive")
    short, long = min(size), max(size)
    if longest is not None and side * long > longest * short:
        side = max(1, longest * short // long)
    longer = side * long // short
    longer = longer if longest is None else min(longer, longest)
    return (side, longer) if size[0] <= size[1] else (longer, side)


def resize(shot: Shot, size: tuple[int, int]) -> Shot:
    """The shot at (width, height): bilinear between pixels' centres, without a wider kernel where it shrinks, as the release does it."""
    _unpadded(shot)
    if size == shot.frame.canvas_size:
        return shot
    pixels = functional.interpolate(shot.pixels.permute(2, 0, 1)[None], size[::-1], mode="bilinear", align_corners=False)
    return Shot(pixels[0].permute(1, 2, 0), shot.frame.then(Frame.stretch(shot.frame.canvas_size, size)))


def crop(shot: Shot, box_px: tuple[int, int, int, int]) -> Shot:
    """The part x0, y0, x1, y1 of the shot, in its pixels; ValueError where it does not lie in it."""
    x0, y0, x1, y1 = box_px
    width, height = shot.frame.canvas_size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"a part {box_px} was to be cut from a picture of {width}x{height} pixels; it must lie in it")
    return Shot(shot.pixels[y0:y1, x0:x1], shot.frame.crop(box_px))


def flip(shot: Shot) -> Shot:
    """The shot mirrored, left for right."""
    _unpadded(shot)
    frame = shot.frame
    return Shot(shot.pixels.flip(1), replace(frame, sx=-frame.sx, dx=frame.canvas_size[0] - frame.dx))


def pad(shot: Shot, size: tuple[int, int]) -> Shot:
    """The shot with zeros to its right and below, (width, height) in all; ValueError where it is larger than that."""
    height, width = shot.pixels.shape[:2]
    if size[0] < width or size[1] < height:
        raise ValueError(f"a picture of {width}x{height} pixels was to be padded to {size[0]}x{size[1]}; it must fit in")
    return Shot(functional.pad(shot.pixels, (0, 0, 0, size[0] - width, 0, size[1] - height)), shot.frame)


def random_shot(
    pixels: Float[Tensor, "height width channels"],
    rng: np.random.Generator,
    side: int,
    *,
    scales: tuple[float, float] = (1.0, 1.0),
    flips: float = 0.0,
) -> Shot:
    """A picture as the release's recipes show it: mirrored by the chance `flips`, its longer side `side` times a factor drawn from `scales`, cut
    at random to at most `side`, and padded to a square of it.

    Referring: scales 0.75 to 1.25, no flips (words say left and right). Dense captions: 0.1 to 2, flips 0.5. Narratives: 1 to 1.
    """
    shot = Shot.of(pixels)
    if rng.random() < flips:
        shot = flip(shot)
    longer = max(1, int(side * rng.uniform(*scales)))
    shot = resize(shot, resized_size(shot.frame.canvas_size, longer, longer))
    width, height = shot.frame.canvas_size
    x, y = int(rng.integers(max(0, width - side) + 1)), int(rng.integers(max(0, height - side) + 1))
    return pad(crop(shot, (x, y, min(x + side, width), min(y + side, height))), (side, side))


def random_part(pixels: UInt8[np.ndarray, "height width channels"], rng: np.random.Generator, *, least: float = 0.5, flips: float = 0.0) -> Shot:
    """A part of a picture and of its shape, at least this share of its area, cut at random and mirrored by the chance `flips`."""
    height, width = pixels.shape[:2]
    side = float(rng.uniform(min(least, 1.0), 1.0)) ** 0.5
    across, down = max(1, round(width * side)), max(1, round(height * side))
    x, y = int(rng.integers(width - across + 1)), int(rng.integers(height - down + 1))
    part = torch.from_numpy(np.array(pixels[y : y + down, x : x + across])).float()
    shot = Shot(part, Frame.stretch((width, height)).crop((x, y, x + across, y + down)))
    return flip(shot) if rng.random() < flips else shot


def points_on(frame: Frame, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
    """Where points of the whole picture (fractions) lie on the canvas, in pixels; those outside go to its nearest edge and none is dropped."""
    return frame.to_array(points).clip(0, frame.canvas_size)


def boxes_on(frame: Frame, boxes: Float[np.ndarray, "boxes 4"]) -> Float[np.ndarray, "boxes 4"]:
    """Where boxes (fractions, x0, y0, x1, y1) lie on the canvas, in pixels, clipped to it. A box outside keeps no area, see `kept_boxes`."""
    corners = points_on(frame, boxes.reshape(-1, 2)).reshape(-1, 2, 2)
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)


def kept_boxes(boxes_px: Float[np.ndarray, "boxes 4"]) -> Bool[np.ndarray, " boxes"]:
    """Which boxes still have an area after a cut. All that belongs to a box (mask, label, words, and the words of its question) stays or
    goes with it: the release forgets the last, so that its questions no longer fit its boxes."""
    return np.all(boxes_px[:, 2:] > boxes_px[:, :2], axis=1)


def masks_on(frame: Frame, masks: Bool[np.ndarray, "masks rows cols"]) -> Bool[np.ndarray, "masks height width"]:
    """Masks of the whole picture on the canvas: each pixel what the mask is at its centre, and unset where the picture does not reach."""
    width, height = frame.canvas_size
    rows = np.floor((np.arange(height) + 0.5 - frame.dy) * masks.shape[1] / frame.sy).astype(int)
    cols = np.floor((np.arange(width) + 0.5 - frame.dx) * masks.shape[2] / frame.sx).astype(int)
    seen = masks[:, rows.clip(0, masks.shape[1] - 1)][:, :, cols.clip(0, masks.shape[2] - 1)]
    within = ((rows >= 0) & (rows < masks.shape[1]))[:, None] & (cols >= 0) & (cols < masks.shape[2])
    return seen & within


def region_on(frame: Frame, region: Region) -> Region | None:
    """The region in fractions of the canvas, or None where nothing of it is left: a point outside, a box without area, a mask without pixels.

    A trace loses its points outside. A box that never had an area is lost where a corner of it is, as a point is.

    >>> left = Frame.stretch((8, 4)).crop((0, 0, 4, 4))
    >>> region_on(left, Box(0.25, 0.0, 0.75, 0.5)), region_on(left, Point(0.9, 0.5))
    (Box(x0=0.5, y0=0.0, x1=1.0, y1=0.5, image=0), None)
    """
    unit = frame.unit()
    match region:
        case Mask():
            bits = masks_on(frame, decode_mask(region)[None])[0]
            return encode_mask(bits, region.image) if bits.any() else None
        case Trace(points, image):
            inside = _inside(unit, points)
            return Trace(tuple((x, y) for x, y in inside), image) if inside else None
        case Point(x, y, image):
            return Point(*inside[0], image=image) if (inside := _inside(unit, [(x, y)])) else None
        case Box(x0, y0, x1, y1, image):
            edges = boxes_on(unit, box_array([region]))
            flat = (x1 <= x0 or y1 <= y0) and len(_inside(unit, [(x0, y0), (x1, y1)])) == 2
            return replace(region, **dict(zip(("x0", "y0", "x1", "y1"), edges[0].tolist(), strict=True))) if flat or kept_boxes(edges)[0] else None


def example_on(example: Example, shot: Shot, *, visible: float = 0.0) -> Example:
    """The example with `shot` (pixels from 0 to 255) as its picture, and with what is still to be seen in it of what was said: regions of
    which at least the share `visible` of their box is left.

    A question goes with its answer when a region of either is lost, and a note when all of its regions are; words of a note that stays,
    a narrative's say, lose their places only. So no words are left that speak of what was cut away. Other facts than "inside" stay as they
    are. ValueError for an example of several pictures, or of turns that are not questions and answers by turns.
    """
    if len(example.images) > 1:
        raise ValueError(f"example {example.id!r} has {len(example.images)} pictures; one is wanted, for there is one shot")
    turns, limits, inside = [], iter(region_limits(example)), []
    for question, answer in zip(example.turns[::2], example.turns[1::2], strict=True):
        asked = [next(limits) for _ in question.said.regions]
        moved = [replace(turn, said=_text_on(turn.said, shot.frame, visible)) for turn in (question, answer)]
        if all(len(new.said.regions) == len(old.said.regions) for new, old in zip(moved, (question, answer), strict=True)):
            turns += moved
            inside += [limit and region_on(shot.frame, limit) for limit in asked]
    moved_notes = ((note, _text_on(note.said, shot.frame, visible)) for note in example.notes)
    notes = [replace(note, said=said) for note, said in moved_notes if said.regions or not note.said.regions]
    facts = dict(example.facts) | ({"inside": [limit and region_to_json(limit) for limit in inside]} if "inside" in example.facts else {})
    width, height = shot.frame.canvas_size
    pixels = shot.pixels[:height, :width].clamp(0, 255).round().to(torch.uint8).numpy()
    return replace(example, images=(Picture(width, height, pixels=pixels),), turns=tuple(turns), notes=tuple(notes), facts=facts)


def _text_on(said: GroundedText, frame: Frame, visible: float) -> GroundedText:
    spans = []
    for span in said.spans:
        left = [_share_left(frame, region) >= visible if visible else True for region in span.regions]
        moved = [(new, span.scores[place : place + 1]) for place, one in enumerate(span.regions) if left[place] and (new := region_on(frame, one))]
        if moved or not span.regions:
            spans.append(Span(span.start, span.end, tuple(new for new, _ in moved), tuple(score for _, scores in moved for score in scores)))
    return GroundedText(said.text, tuple(spans))


def _share_left(frame: Frame, region: Region) -> float:
    """How much of a region's box is on the canvas; 1 for one without area."""
    corners = frame.to_array(box_array([bounding_box(region)]).reshape(-1, 2))
    whole = np.prod(np.ptp(corners, axis=0))
    return float(np.prod(np.ptp(corners.clip(0, frame.canvas_size), axis=0)) / whole) if whole else 1.0


def _inside(frame: Frame, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    places = frame.to_array(np.array(points, dtype=np.float64).reshape(-1, 2))
    return [(x, y) for x, y in places[((places >= 0) & (places <= frame.canvas_size)).all(axis=1)].tolist()]


def _unpadded(shot: Shot) -> None:
    height, width = shot.pixels.shape[:2]
    if (width, height) != shot.frame.canvas_size:
        raise ValueError(f"a padded picture of {width}x{height} pixels was to be changed; pad it last")

"""SAM's automatic masks by transformers' class: a grid of points, many prompts to one image embedding, filters, suppression of doubles."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from foveal.geometry import Mask, bounding_box
from foveal.geometry.boxes import box_array, nms
from foveal.geometry.masks import encode_mask
from foveal.grounding import Example, Note, tied
from foveal.synth.notes import added, refused
from foveal.synth.prompted import prompted_masks
from foveal.synth.stage import Stage
from foveal.synth.teachers import Teacher, open_teacher, pictures_of

__all__ = ["Found", "Sure", "automatic_masks", "segmented"]


@dataclass(frozen=True, slots=True)
class Sure:
    """What a mask must have to stand, and how many are asked for; the defaults are the library's of SAM (arXiv 2304.02643), which Monkey's pipeline
    keeps. ValueError for what is no grid."""

    side: int = 32
    """Points on each side of the grid."""
    at_once: int | None = None
    """Prompts to the decoder at a time, which changes speed and memory, not what is found; None is 64 on a GPU, and 4 on a CPU, whose cache holds no
    more."""
    iou: float = 0.88
    """Least IoU that the model expects of a mask."""
    stability: float = 0.95
    """Least IoU of the mask at a threshold `offset` higher and the one at a threshold as much lower."""
    offset: float = 1.0
    overlap: float = 0.7
    """From this IoU of their boxes on, two masks are one: the surer."""

    def __post_init__(self) -> None:
        if self.side < 1 or (self.at_once is not None and self.at_once < 1):
            raise ValueError(f"a grid of {self.side} points a side, {self.at_once} at once; at least 1 is wanted of both")

    @property
    def name(self) -> str:
        """What tells it apart in the settings of a stage."""
        return f"side {self.side}, iou {self.iou}, stability {self.stability} by {self.offset}, overlap {self.overlap}"


@dataclass(frozen=True, slots=True)
class Found:
    """A mask, the IoU that the model expects of it, and its stability."""

    mask: Mask
    score: float
    stability: float


def segmented(sam: Teacher | str = "facebook/sam-vit-huge", sure: Sure | None = None, *, most: int | None = 20) -> Stage:
    """A stage: the `most` largest of SAM's automatic masks as notes without words and with source "mask"; None keeps all.

    Monkey's pipeline captions the 20 largest (`foveal.synth.blip.segments_captioned`). A mask has the pixels of the picture, or of SAM's view (1,024
    on the longer side) where that has fewer: the decoder knows no more.
    """
    return partial(_segmented, sam=sam, sure=sure or Sure(), most=most)


def automatic_masks(sam: Teacher, image: Image.Image, sure: Sure) -> list[Found]:
    """All masks of an upright RGB image that are sure enough, the largest first. The image is encoded once; crops of it are not looked at."""
    with torch.no_grad():
        inputs = sam.image_processor(images=[image], return_tensors="pt")
        model, (view,) = sam.model, inputs["reshaped_input_sizes"].tolist()
        embedding = model.get_image_embeddings(inputs["pixel_values"].to(model.device, model.dtype))
        points = _grid(sure.side) * torch.tensor([view[1], view[0]])
        size = view if image.width * image.height > view[0] * view[1] else [image.height, image.width]
        at_once = sure.at_once or (64 if embedding.is_cuda else 4)
        masks = prompted_masks(model, embedding, points, at_once, sure.iou)
        found = [one for low, scores in masks for one in _sure(low, scores, view, size, sure)]
    boxes = box_array([bounding_box(one.mask) for one in found])
    kept = [found[row] for row in nms(boxes, np.array([one.score for one in found]), sure.overlap).tolist()]
    return sorted(kept, key=lambda one: -sum(one.mask.counts[1::2]))


def _segmented(examples: Iterable[Example], *, sam: Teacher | str, sure: Sure, most: int | None) -> Iterator[Example]:
    teacher = open_teacher(sam, "SamModel", words=False)
    for ((example, image),) in pictures_of(examples, 1):
        if isinstance(image, ValueError):
            yield refused(example, str(image))
            continue
        found = automatic_masks(teacher, image, sure)[:most]
        yield added(example, *(Note(tied("", one.mask), "mask", one.score, teacher.made_by | {"stability": f"{one.stability:.3f}"}) for one in found))


def _grid(side: int) -> Float[Tensor, "points 2"]:
    """The middles of the cells of a grid, row by row, as fractions (x, y)."""
    middles = (torch.arange(side) + 0.5) / side
    return torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1).flatten(0, 1)


def _sure(low: Float[Tensor, "masks low_h low_w"], scores: Float[Tensor, " masks"], view: list[int], size: list[int], sure: Sure) -> Iterator[Found]:
    """What stands of some masks, at their full size (height, width)."""
    for row in range(len(scores)):
        raw = _enlarged(low[row][None, None].float(), view, size)[0, 0]
        inner, outer = int((raw > sure.offset).sum()), int((raw > -sure.offset).sum())
        bits = (raw > 0).cpu().numpy()
        if bits.any() and inner / outer >= sure.stability:
            yield Found(encode_mask(bits), float(scores[row]), inner / outer)


def _enlarged(low: Float[Tensor, "1 1 low_h low_w"], view: list[int], size: list[int]) -> Float[Tensor, "1 1 height width"]:
    """A mask of the padded square at the size of the picture."""
    side = max(view)
    whole = functional.interpolate(low, (side, side), mode="bilinear", align_corners=False)[..., : view[0], : view[1]]
    return functional.interpolate(whole, size, mode="bilinear", align_corners=False) if size != view else whole

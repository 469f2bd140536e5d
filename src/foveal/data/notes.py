"""What a data set knows of an image: its picture and size; and as notes named boxes and masks, captions, lines of text."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from foveal.data.images import picture_from
from foveal.data.reading import file_within
from foveal.geometry import Box, Mask, Region, mask_from_coco, mask_from_polygons
from foveal.grounding import GroundedText, Note, Picture, tied

__all__ = ["box_in", "box_of_xywh", "mask_in", "note", "pictures_in", "size_of", "words_of_name"]


def note(words: str, *regions: Region, source: str, **made_by: str) -> Note:
    """A note whose words all mean `regions`, or without any are words about the whole. ValueError for empty words.

    What is said to be nowhere is another thing: `Note(tied(words), source)`.

    >>> note("cat", Box(0.1, 0.2, 0.3, 0.4), source="object").said.text
    'cat'
    """
    if not words.strip():
        raise ValueError("it has no words")
    words = words.strip()
    return Note(tied(words, *regions) if regions else GroundedText(words), source, made_by=made_by)


def pictures_in(images: str | PathLike[str] | None, name: str, size: tuple[int, int] | None = None) -> tuple[Picture, ...]:
    """The picture called `name` in the folder `images`, of the (width, height) that is known, else of its header's; without a folder none.

    ValueError where there is no such file (`file_within`).
    """
    if images is None:
        return ()
    path = file_within(images, name)
    return (picture_from(path) if size is None else Picture(*size, path=str(path)),)


def size_of(record: Mapping[str, Any], width: str = "width", height: str = "height") -> tuple[int, int]:
    """The (width, height) that a record states in these fields; KeyError where it lacks one, ValueError where they are no size.

    >>> size_of({"width": 64, "height": 48})
    (64, 48)
    """
    size = record[width], record[height]
    if not all(type(side) is int and side > 0 for side in size):
        raise ValueError(f"a size of {size[0]!r} x {size[1]!r} pixels")
    return size


def box_in(corners_px: Sequence[float], size: tuple[int, int]) -> Box:
    """The box from (x0, y0) to (x1, y1) in pixels of a (width, height) image, cut to the image.

    ValueError for what is no box, or has no area inside the image.

    >>> box_in((-8, 12, 32, 24), (64, 48))
    Box(x0=0.0, y0=0.25, x1=0.5, y1=0.5, image=0)
    """
    if len(corners_px) != 4 or not all(isinstance(value, int | float) and math.isfinite(value) for value in corners_px):
        raise ValueError(f"a box of {corners_px!r}; it wants four numbers")
    width, height = size
    x0, y0, x1, y1 = (min(max(value / side, 0.0), 1.0) for value, side in zip(corners_px, (width, height, width, height), strict=True))
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box {list(corners_px)} has no area inside an image of {width} x {height} pixels")
    return Box(x0, y0, x1, y1)


def box_of_xywh(xywh_px: Sequence[float], size: tuple[int, int]) -> Box:
    """As `box_in`, of left, top, width and height: COCO's boxes.

    >>> box_of_xywh((16, 12, 16, 12), (64, 48))
    Box(x0=0.25, y0=0.25, x1=0.5, y1=0.5, image=0)
    """
    if len(xywh_px) != 4:
        raise ValueError(f"a box of {xywh_px!r}; it wants four numbers")
    x, y, width, height = xywh_px
    return box_in((x, y, x + width, y + height), size)


def mask_in(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask of a COCO `segmentation`: polygons [x, y, x, y, …] in pixels, or run lengths. ValueError for anything else, or one that is empty."""
    if isinstance(segmentation, Mapping):
        mask = mask_from_coco(segmentation)
        if (mask.width, mask.height) != size:
            raise ValueError(f"a mask of {mask.width} x {mask.height} pixels on an image of {size[0]} x {size[1]}")
    elif isinstance(segmentation, list) and segmentation and all(isinstance(polygon, list) and len(polygon) >= 6 for polygon in segmentation):
        shares = [[(x / size[0], y / size[1]) for x, y in zip(polygon[::2], polygon[1::2], strict=True)] for polygon in segmentation]
        mask = mask_from_polygons(shares, size)
    else:
        raise ValueError("a segmentation that is neither polygons of three corners or more nor run lengths")
    if not any(mask.counts[1::2]):
        raise ValueError("a segmentation that sets no pixel")
    return mask


def words_of_name(name: str) -> str:
    """A category's name as words.

    >>> words_of_name("traffic_light"), words_of_name("baseball_glove_(sports)")
    ('traffic light', 'baseball glove (sports)')
    """
    return " ".join(name.replace("_", " ").split())

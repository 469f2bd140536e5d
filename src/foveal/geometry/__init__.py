"""Where things are: regions in fractions of the image, and what numpy can compute of them."""

from foveal.geometry.boxes import box_array, enclosing_box, iou, match, nms
from foveal.geometry.frames import Frame
from foveal.geometry.masks import decode_mask, encode_mask, mask_from_coco, mask_from_polygons, mask_iou, mask_to_coco
from foveal.geometry.raster import points_within, rasterise, region_seed
from foveal.geometry.regions import Box, Mask, Point, Region, Trace, bounding_box

__all__ = [
    "Box",
    "Frame",
    "Mask",
    "Point",
    "Region",
    "Trace",
    "bounding_box",
    "box_array",
    "decode_mask",
    "enclosing_box",
    "encode_mask",
    "iou",
    "mask_from_coco",
    "mask_from_polygons",
    "mask_iou",
    "mask_to_coco",
    "match",
    "nms",
    "points_within",
    "rasterise",
    "region_seed",
]

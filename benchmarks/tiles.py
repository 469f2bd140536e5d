"""Images a second from pixels to normalised tiles, beside transformers' LLaVA-NeXT processor: `python benchmarks/tiles.py`."""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from foveal.vision import CLIP_COLOURS, GRIDS_V2, any_resolution, cut, normalise

__all__ = ["main"]

SIDE = 336
MEAN, STD = CLIP_COLOURS


def main() -> None:
    """Prints images per CPU second of both, over the same image and candidate grids, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=[1344, 896], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (given.size[1], given.size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    theirs = _rate(_llava_next(), image, given.repeats)
    ours = _rate(_foveal, image, given.repeats)
    print(f"{given.size[0]} x {given.size[1]}, tiles of {SIDE}, one thread, best of {given.repeats}")
    print("| | images per CPU second |\n|---|---|")
    print(f"| LlavaNextImageProcessorPil | {theirs:.1f} |\n| foveal | {ours:.1f} |\n| ratio | {ours / theirs:.2f} |")


def _foveal(image: Image.Image) -> torch.Tensor:
    overview, tiles = cut(image, any_resolution(image.size, SIDE, GRIDS_V2))
    return torch.cat([normalise(overview[None], MEAN, STD), normalise(tiles, MEAN, STD)])


def _llava_next() -> Callable[[Image.Image], torch.Tensor]:
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=[[rows * SIDE, cols * SIDE] for cols, rows in GRIDS_V2],
        image_mean=MEAN,
        image_std=STD,
    )
    return lambda image: processor(image, return_tensors="pt")["pixel_values"][0]


def _rate(prepare: Callable[[Image.Image], torch.Tensor], image: Image.Image, repeats: int) -> float:
    best = float("inf")
    shape = prepare(image).shape
    assert shape == (7, 3, SIDE, SIDE) or image.size != (1344, 896), f"views of shape {tuple(shape)}"
    for _ in range(repeats):
        start = time.process_time()
        prepare(image)
        best = min(best, time.process_time() - start)
    return 1 / best


if __name__ == "__main__":
    main()

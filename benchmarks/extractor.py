"""CPU seconds of PixelLLM's visual tokens for many prompts of one image, beside one prompt at a time: `python benchmarks/extractor.py`."""

import argparse

import torch
from torch import Tensor

from foveal.vision import LocationPrompts, PromptExtractor
from plain_pixel_llm import plain_tokens
from ways import print_ways

__all__ = ["main"]

DIM, SIDE, CELLS = 1280, 384, 27
"""Of the released model: the width of both towers together, the input's side in pixels, and the map's in cells."""


def main() -> None:
    """Prints a table for each number of prompts, at the released model's size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    places, extractor, maps = LocationPrompts(), PromptExtractor(DIM), torch.randn(1, CELLS, CELLS, DIM)
    for count in given.prompts:
        corners = torch.rand(count, 2) * 0.6 * SIDE
        boxes = torch.cat([corners, corners + torch.rand(count, 2) * 0.3 * SIDE + 8], dim=1)
        with torch.inference_mode():
            fixed = (places.grid(CELLS, CELLS), places.no_mask)
            prompts = places(boxes, size=(SIDE, SIDE))
            _compare(extractor, maps, *fixed, prompts, given.runs)


def _compare(extractor: PromptExtractor, maps: Tensor, codes: Tensor, no_mask: Tensor, prompts: Tensor, runs: int) -> None:
    def ours(some: Tensor) -> Tensor:
        return extractor(maps, codes, no_mask, some, torch.zeros(len(some), dtype=torch.long))

    first = prompts[:2]
    torch.testing.assert_close(ours(first), plain_tokens(extractor, maps, codes, no_mask, first), atol=1e-4, rtol=1e-3)
    ways = {
        "foveal, one by one": (1, lambda: [ours(one[None]) for one in prompts]),
        "as in the original: a copy of the map for each": (1, lambda: plain_tokens(extractor, maps, codes, no_mask, prompts)),
        "foveal, in one batch": (1, lambda: ours(prompts)),
    }
    print_ways(f"visual tokens of {len(prompts)} prompts of one map of {CELLS}x{CELLS} cells, width 512, 6 layers, float32", ways, runs)


if __name__ == "__main__":
    main()

"""CPU time of suppression beside a plain loop over the boxes kept: `python benchmarks/nms.py`. Both choose the same boxes."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from foveal.vision import nms, pair_overlaps

__all__ = ["main", "measure", "plain_nms", "random_boxes"]

CASES = {"proposals in training": (0.9, 1000), "proposals": (0.9, 256), "detections": (0.5, 100), "without a limit": (0.5, 5000)}
"""Overlap that drops a box, and how many are kept at most."""
SIDE = 384


def plain_nms(boxes: Tensor, scores: Tensor, threshold: float, keep: int) -> list[int]:
    """The rule as it is written down: take the best box, drop all that overlap it, again."""
    left, kept = scores.clone(), []
    for _ in range(keep):
        best = int(left.argmax())
        if left[best] <= 0:
            break
        kept.append(best)
        left[pair_overlaps(boxes[best][None], boxes)[0] >= threshold] = 0
        left[best] = 0
    return kept


def random_boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes of 8 to 108 pixels in a picture of 384, and scores."""
    draw = torch.Generator().manual_seed(seed)
    centre, size = torch.rand(count, 2, generator=draw) * SIDE, torch.rand(count, 2, generator=draw) * 100 + 8
    return torch.cat([centre - size / 2, centre + size / 2], dim=1), torch.rand(count, generator=draw)


def measure(boxes: Tensor, scores: Tensor, threshold: float, keep: int, runs: int) -> dict[str, float]:
    """Median CPU seconds of `runs` runs of each, one after the other in turns, and how many boxes stay."""
    ways: dict[str, Callable[[], list[int]]] = {
        "plain": lambda: plain_nms(boxes, scores, threshold, keep),
        "foveal": lambda: [row for row in nms(boxes[None], scores[None], threshold, keep).row[0].tolist() if row >= 0],
    }
    assert ways["plain"]() == ways["foveal"](), "the two choose different boxes"
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            start = time.process_time()
            kept = way()
            spent[name].append(time.process_time() - start)
    found = {name: statistics.median(times) for name, times in spent.items()}
    return found | {"kept": len(kept), "ratio": found["plain"] / found["foveal"]}


def main() -> None:
    """Prints the table, one row for each use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    given = parser.parse_args()
    boxes, scores = random_boxes(given.boxes, given.seed)
    with torch.inference_mode():
        found = {name: measure(boxes, scores, threshold, keep, given.runs) for name, (threshold, keep) in CASES.items()}
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.boxes} boxes of one picture, float32, {torch.get_num_threads()} threads, median of {given.runs} runs in turns")
    print("| suppression | overlap | kept | plain CPU ms | foveal CPU ms | ratio |\n|---|---|---|---|---|---|")
    for name, row in found.items():
        spent = f"{row['plain'] * 1000:.1f} | {row['foveal'] * 1000:.1f} | {row['ratio']:.1f}"
        print(f"| {name} | {CASES[name][0]} | {row['kept']:.0f} | {spent} |")


if __name__ == "__main__":
    main()

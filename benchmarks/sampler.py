"""CPU seconds and memory of the region sampler beside a plain one: `python benchmarks/sampler.py`. Every figure is of a process of its own."""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial

import torch

from foveal.vision import VisualSampler
from plain_sampler import plain_regions

__all__ = ["main", "measure"]

DIM, WIDTH = 1024, 4096
"""Widths of CLIP ViT-L and of a language model of seven billion parameters."""


def measure(kind: str, regions: int, side: int, repeats: int) -> dict[str, float]:
    """A forward over random boxes of a 640 x 480 image: CPU and wall seconds (best of `repeats`, warmed up on one region), peak memory in GB."""
    torch.manual_seed(0)
    sampler = VisualSampler(DIM, WIDTH).eval()
    maps, points = [torch.randn(DIM, side, side)], random_boxes(regions, sampler.points)
    image, starts = torch.zeros(regions, dtype=torch.long), torch.zeros(regions, 2, dtype=torch.long)
    run = partial(plain_regions, sampler) if kind == "plain" else sampler
    spent = []
    with torch.inference_mode():
        run(maps, points[:1], image[:1], starts[:1])
        for _ in range(repeats):
            cpu, wall = time.process_time(), time.perf_counter()
            found = run(maps, points, image, starts)
            spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = map(min, zip(*spent, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"cpu": cpu, "wall": wall, "peak": peak, "checksum": float(found.double().square().mean())}


def random_boxes(regions: int, count: int) -> torch.Tensor:
    """Pixels drawn inside boxes of a tenth to two fifths of each side, as fractions of the image."""
    size = torch.tensor([640, 480])
    corner, extent = torch.rand(regions, 1, 2) * 0.6, torch.rand(regions, 1, 2) * 0.3 + 0.1
    return ((corner + torch.rand(regions, count, 2) * extent) * size).floor() / size


def main() -> None:
    """Prints the table, one row for each number of regions and side of the map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("KIND", "REGIONS", "SIDE"), help="measure one cell of the table and print it as JSON")
    parser.add_argument("--regions", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--sides", type=int, nargs="+", default=[24, 48])
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), int(given.one[2]), given.repeats)))
        return
    print(f"dim {DIM}, width {WIDTH}, 512 -> 128 -> 32 points, 24 neighbours, float32, {torch.get_num_threads()} threads")
    print("| regions | map | plain CPU s | foveal CPU s | ratio | plain peak GB | foveal peak GB |\n|---|---|---|---|---|---|---|")
    for side in given.sides:
        for regions in given.regions:
            plain, ours = (_in_a_process(kind, regions, side, given.repeats) for kind in ("plain", "foveal"))
            assert abs(plain["checksum"] / ours["checksum"] - 1) < 1e-2, "the two samplers disagree"
            row = (f"{plain['cpu']:.3f}", f"{ours['cpu']:.3f}", f"{plain['cpu'] / ours['cpu']:.1f}", f"{plain['peak']:.2f}", f"{ours['peak']:.2f}")
            print(f"| {regions} | {side}x{side} | {' | '.join(row)} |", flush=True)


def _in_a_process(kind: str, regions: int, side: int, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", kind, str(regions), str(side), "--repeats", str(repeats)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

"""How benchmarks time several ways to the same end: in turns, so that a busy machine is slow for all of them, in a table with ratios."""

import time
from collections.abc import Callable
from statistics import median

import torch

__all__ = ["print_ways", "seconds"]


def print_ways(title: str, ways: dict[str, tuple[float, Callable[[], object]]], runs: int) -> None:
    """A table of what, done so many times, does the same: medians of runs in turn, and how many times faster each is than the first."""
    with torch.inference_mode():
        spent = [[times * seconds(work)[0] for times, work in ways.values()] for _ in range(runs)]
    costs = [median(column) for column in zip(*spent, strict=True)]
    print(f"\n{title}, {torch.get_num_threads()} threads, median of {runs} runs in turn\n| | CPU seconds | times faster |\n|---|---|---|")
    for name, cost in zip(ways, costs, strict=True):
        print(f"| {name} | {cost:.3f} | {costs[0] / cost:.2f} |", flush=True)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of all threads, and seconds by the clock, which on a shared machine say more of what else runs."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall

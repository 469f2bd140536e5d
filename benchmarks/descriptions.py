"""What descriptions cost beside their models: CPU of each stage, memory, doubles among many regions: `python benchmarks/descriptions.py`."""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.geometry import Box
from foveal.geometry.boxes import box_array, first_overlaps, iou
from foveal.grounding import Example, GroundedText, Note, tied
from foveal.synth import Step, composed_by_template, deduped, listed_images, run_pipeline, scored_above
from foveal.synth.notes import added
from foveal.synth.running import folders_of

__all__ = ["main", "noted", "plain_doubles", "random_notes", "run"]

NAMES = ("cup", "hat", "dog", "cat", "bus", "kite", "lamp", "book", "bowl", "chair", "bottle", "clock")
FEW, MANY, REGIONS = 1_000, 10_000, 10_000


def random_notes(count: int, seed: int) -> tuple[Note, ...]:
    """Things with boxes of up to a fifth of the picture's sides, and scores."""
    rng = np.random.default_rng(seed)
    notes = []
    for x, y, across, down in rng.random((count, 4)):
        box = Box(x * 0.8, y * 0.8, x * 0.8 + 0.001 + across * 0.199, y * 0.8 + 0.001 + down * 0.199)
        notes.append(Note(tied(str(rng.choice(NAMES)), box), "object", float(rng.random())))
    return tuple(notes)


KNOWN = (*random_notes(24, 0), *(replace(note, source="text") for note in random_notes(12, 1)), Note(GroundedText("a room with a lamp"), "caption"))


def noted(examples: Iterable[Example]) -> Iterator[Example]:
    """A stage in a model's place: 24 things, 12 lines and a caption, at no cost."""
    return (added(example, *KNOWN) for example in examples)


STEPS = (
    Step("noted", noted),
    Step("sure", scored_above()),
    Step("single", deduped()),
    Step("description", composed_by_template()),
)


def run(count: int) -> dict[str, float]:
    """CPU milliseconds a picture of each stage over `count` pictures, and the most memory that the process has taken, in MiB."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "pictures")
        folder.mkdir()
        Image.new("RGB", (64, 48)).save(folder / "0.jpg")
        for number in range(1, count):
            (folder / f"{number}.jpg").hardlink_to(folder / "0.jpg")
        start = time.process_time()
        run_pipeline(STEPS, listed_images([folder]), Path(place, "out"))
        whole = time.process_time() - start
        spent = {name: sum(one.cpu_seconds for one in kept.records.values()) * 1000 / count for name, kept in folders_of(Path(place, "out")).items()}
    spent["images"] = whole * 1000 / count - sum(spent.values())
    return spent | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def plain_doubles(boxes: np.ndarray, threshold: float) -> list[int]:
    """The rule as it is written down: each box beside every one that stays."""
    stay: list[int] = []
    for row in range(len(boxes)):
        if not stay or iou(boxes[row, None], boxes[stay])[0].max() < threshold:
            stay.append(row)
    return stay


def doubles(runs: int) -> dict[str, float]:
    """Median CPU seconds of the doubles among 10,000 regions of one name, beside the plain loop, and of the stage as a whole."""
    notes = tuple(replace(note, said=tied("cup", *note.said.regions)) for note in random_notes(REGIONS, 2))
    boxes = box_array([note.said.regions[0] for note in notes if isinstance(note.said.regions[0], Box)])
    example = Example("1", notes=notes)
    assert plain_doubles(boxes[:2000], 0.6) == np.flatnonzero(first_overlaps(boxes[:2000], 0.6)[0] < 0).tolist(), "the two choose different boxes"
    ways = {"plain": lambda: plain_doubles(boxes, 0.6), "foveal": lambda: first_overlaps(boxes, 0.6), "stage": lambda: list(deduped()([example]))}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            start = time.process_time()
            way()
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, nargs=2, default=[FEW, MANY])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object instead of the tables")
    given = parser.parse_args()
    costs = {}
    for count in given.pictures:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # whose memory is its own
            costs[count] = alone.submit(run, count).result()
    found = {"costs": costs, "doubles": doubles(given.runs)}
    if given.json:
        print(json.dumps(found))
        return
    print(f"CPU ms a picture of each stage, 37 notes each; models cost nothing here\n| pictures | {' | '.join(costs[given.pictures[0]])} (MiB) |")
    print("|---" * (1 + len(costs[given.pictures[0]])) + "|")
    for count, row in costs.items():
        print(f"| {count:,} | {' | '.join(f'{value:.2f}' if name != 'memory' else f'{value:.0f}' for name, value in row.items())} |")
    shown = found["doubles"]
    print(f"\nDoubles among {REGIONS:,} regions of one name, CPU seconds, median of {given.runs} runs in turns")
    print("| plain loop | foveal | the stage |\n|---|---|---|")
    print(f"| {shown['plain']:.2f} | {shown['foveal']:.2f} | {shown['stage']:.2f} |")


if __name__ == "__main__":
    main()

"""The benchmarks by name. A value of one's own is given as FILE.py:NAME; nothing is registered."""

from collections.abc import Mapping

from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.marked import choices, expressions, names, statements

__all__ = ["BENCHMARKS", "Benchmark", "choices", "expressions", "names", "statements"]

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        *(choices("coco", form) for form in ("box", "mask")),
        *(names(folder) for folder in ("coco", "indoor_scenes", "aquarium", "chess_highres", "playing_cards", "web_screens")),
        expressions("coco"),
        statements("nlvr_boxes"),
    )
}
"""Those that can be run on the real pictures in the form of `annotations.jsonl`."""

"""The benchmarks by name. A value of one's own is given as FILE.py:NAME; nothing is registered."""

from collections.abc import Mapping

from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks import (
    captioned,
    detection,
    documents,
    judged,
    narratives,
    phrases,
    questions,
    referring,
    region_choice,
    regions,
    suites,
)
from foveal.evaluate.benchmarks.marked import choices, detected, expressions, located, names, statements, texts

__all__ = ["BENCHMARKS", "Benchmark", "choices", "detected", "expressions", "located", "names", "statements", "texts"]

_NAMED = ("coco", "scenes", "indoor_scenes", "aquarium", "chess_highres", "playing_cards", "web_screens")
_WRITTEN = ("scenes", "receipts_sroie", "doc_pages")

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        *(choices(folder, form) for folder in ("coco", "scenes") for form in ("box", "mask")),
        *(make(folder) for make in (names, located, detected) for folder in _NAMED),
        *(expressions(folder) for folder in ("coco", "scenes")),
        *(texts(folder) for folder in _WRITTEN),
        *(located(folder, "text") for folder in _WRITTEN),
        statements("nlvr_boxes"),
        *referring.OFFICIAL,
        *region_choice.OFFICIAL,
        *phrases.OFFICIAL,
        *regions.OFFICIAL,
        *narratives.OFFICIAL,
        *detection.OFFICIAL,
        *captioned.OFFICIAL,
        *questions.OFFICIAL,
        *documents.OFFICIAL,
        *suites.OFFICIAL,
        *judged.OFFICIAL,
    )
}
"""Those on pictures in the form of `annotations.jsonl` and on scenes drawn by `foveal data scenes`, then those on official files."""

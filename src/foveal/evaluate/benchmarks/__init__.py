"""The benchmarks by name. A value of one's own is given as FILE.py:NAME; nothing is registered."""

from collections.abc import Mapping

from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.captioned import OFFICIAL as _CAPTIONED
from foveal.evaluate.benchmarks.detection import OFFICIAL as _DETECTION
from foveal.evaluate.benchmarks.documents import OFFICIAL as _DOCUMENTS
from foveal.evaluate.benchmarks.judged import OFFICIAL as _JUDGED
from foveal.evaluate.benchmarks.marked import choices, detected, expressions, located, names, statements, texts
from foveal.evaluate.benchmarks.narratives import OFFICIAL as _NARRATIVES
from foveal.evaluate.benchmarks.phrases import OFFICIAL as _PHRASES
from foveal.evaluate.benchmarks.questions import OFFICIAL as _QUESTIONS
from foveal.evaluate.benchmarks.referring import OFFICIAL as _REFERRING
from foveal.evaluate.benchmarks.region_choice import OFFICIAL as _REGION_CHOICE
from foveal.evaluate.benchmarks.regions import OFFICIAL as _REGIONS
from foveal.evaluate.benchmarks.suites import OFFICIAL as _SUITES

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
        *_REFERRING,
        *_REGION_CHOICE,
        *_PHRASES,
        *_REGIONS,
        *_NARRATIVES,
        *_DETECTION,
        *_CAPTIONED,
        *_QUESTIONS,
        *_DOCUMENTS,
        *_SUITES,
        *_JUDGED,
    )
}
"""Those on pictures in the form of `annotations.jsonl` and on scenes drawn by `foveal data scenes`, then those on official files."""

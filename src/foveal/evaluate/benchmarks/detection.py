"""Object detection on the official files of COCO and LVIS: everything a model finds in a picture, judged by COCO's and LVIS's figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal.data.notes import words_of_name
from foveal.data.reading import LOG, Grouped, Report, array_of, made_of
from foveal.data.sources.coco import coco_instances, lvis
from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.asking import asked_about, named_facts, set_figure
from foveal.evaluate.detection import coco_figures, detection_records, lvis_figures
from foveal.evaluate.kept import Answered
from foveal.evaluate.metrics import spellings, tally_detections, words_found
from foveal.evaluate.regions import Figure
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings.pixel_llm import say_everything
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "coco_detection", "lvis_detection"]


def coco_detection(file: str = "coco/annotations/instances_val2017.json", *, images: str = "coco/val2017", report: Report = LOG.warning) -> Benchmark:
    """Everything in a picture with its name and box (`Verbs.detection`), or in words of its own (`Verbs.dense_captions`): COCO's `AP`.

    The name of a thing is the only one of the set's that its words say; words that say none or several name nothing. `AP` to `AR_large` are
    `coco_figures`; `unnamed/AP` and the like take all things for one kind, as fits a detector that names nothing. Where answers have no scores
    things rank in the order said. The score of an answer is F1 of its picture at IoU 0.5. Any file in COCO's form does.
    """
    return _detection("coco", file, images, report)


def lvis_detection(file: str = "lvis/lvis_v1_val.json", *, images: str = "coco", report: Report = LOG.warning) -> Benchmark:
    """As `coco_detection`, by LVIS's rules and names (`lvis_figures`): a name counts only in pictures for which it is marked or denied.

    Pictures lie in `coco/val2017` and `coco/train2017`.
    """
    return _detection("lvis", file, images, report)


def _detection(kind: str, file: str, images: str, report: Report) -> Benchmark:
    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        ask = verbs.detection or verbs.of("dense_captions")
        names = {entry["id"]: entry for _, entry in array_of(root / file, "categories")}
        marked = Grouped(made_of(array_of(root / file, "annotations"), _kept, report))
        lists = {entry["id"]: _listed(entry) for _, entry in array_of(root / file, "images")} if kind == "lvis" else {}
        read = lvis if kind == "lvis" else coco_instances
        for example in read(root / file, images=root / images, report=report):
            objects = [one for one in marked.of(example.id) if one["category_id"] in names]
            facts = lists.get(int(example.id), {}) if lists else {}
            open_ones = {one["category_id"] for one in objects}.union(*facts.values())
            known = {str(key): [words_of_name(names[key]["name"]), names[key].get("frequency", "")] for key in sorted(open_ones & names.keys())}
            truth = say_everything([note.said for note in example.notes if note.source == "object"])
            yield asked_about(example, "all", ask, truth, objects=objects, names=known, **facts)

    return Benchmark(
        name=f"{kind}-detection",
        about=f"Everything in a picture of {kind.upper()}, each thing with its name and box: average precision.",
        files=(file,),
        questions=questions,
        score=_f1,
        figures=lambda answered: _figures(kind, answered),
        main="AP",
        max_new_tokens=512,
    )


def _kept(entry: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    kept = {"category_id": entry["category_id"], "bbox": list(entry["bbox"]), "iscrowd": entry.get("iscrowd", 0)}
    return entry["image_id"], kept | ({"area": entry["area"]} if "area" in entry else {})


def _listed(entry: Mapping[str, Any]) -> dict[str, list[int]]:
    return {name: list(entry.get(name, ())) for name in ("neg_category_ids", "not_exhaustive_category_ids")}


def _pairs(said: GroundedText, names: Mapping[str, str]) -> list[tuple[str, Box]]:
    """Things said by the only name among spellings in their words; those of none or several keep their words."""
    found = []
    for span in said.spans:
        words = said.text[span.start : span.end].strip().lower()
        meant = {names[spelling] for spelling in words_found(words, list(names))}
        found += [(meant.pop() if len(meant) == 1 else words, bounding_box(region)) for region in span.regions]
    return found


def _spelt(names: Sequence[str]) -> dict[str, str]:
    """What each spelling names; one that several names share (a bow is a weapon, or tied of ribbons) names none."""
    found: dict[str, list[str]] = {}
    for name in names:
        for spelling in {spelling.lower() for spelling in spellings(name)}:
            found.setdefault(spelling, []).append(name)
    return {spelling: of[0] for spelling, of in found.items() if len(of) == 1} | {name.lower(): name for name in names}


def _f1(asked: Example, said: GroundedText) -> float:
    truth = asked.notes[0].said
    there = [(truth.text[span.start : span.end], bounding_box(region)) for span in truth.spans for region in span.regions]
    if not there and not said.regions:
        return 1.0
    return tally_detections(_pairs(said, _spelt([name for name, _ in there])), there).f1


def _figures(kind: str, answered: Sequence[Answered]) -> Mapping[str, Figure]:
    truth, found = _records(answered)
    if not truth["annotations"]:
        return {}
    figures = lvis_figures(truth, found) if kind == "lvis" else coco_figures(truth, found)
    if kind == "coco":
        alike = [{**result, "category_id": truth["categories"][0]["id"]} for result in found]
        figures |= {f"unnamed/{name}": value for name, value in coco_figures(truth, alike, by_name=False).items()}
    return {name: set_figure(value, len(truth["annotations"])) for name, value in figures.items()}


def _records(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All answers as the official annotations, of the names that any picture knows of, and a list of results."""
    kinds: dict[int, tuple[str, str]] = {}
    for asked, _ in answered:
        facts = asked.facts.get("names")
        kinds |= {int(key): (str(name), str(often)) for key, (name, often) in facts.items()} if isinstance(facts, Mapping) else {}
    sizes = [(asked.images[0].width, asked.images[0].height) for asked, _ in answered]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, ((asked, _), (width, height)) in enumerate(zip(answered, sizes, strict=True), 1):
        lists = {name: list(named_facts(asked, name)) for name in ("neg_category_ids", "not_exhaustive_category_ids")}
        images.append({"id": number, "width": width, "height": height, **lists})
        annotations += [{**one, "image_id": number} for one in named_facts(asked, "objects") if isinstance(one, dict)]
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": key, "name": name, "frequency": often} for key, (name, often) in sorted(kinds.items())],
    }
    return truth, _results([said for _, said in answered], sizes, {name: key for key, (name, _) in kinds.items()})


def _results(texts: Sequence[GroundedText], sizes: Sequence[tuple[int, int]], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """What was said as results; what bears no name of the set is of kind 0, which no picture holds."""
    spelt = _spelt(list(numbers))
    said, found = detection_records([(text, GroundedText("")) for text in texts], sizes)
    names = {}
    for entry in said["categories"]:
        meant = {spelt[spelling] for spelling in words_found(entry["name"], list(spelt))}
        names[entry["id"]] = numbers[meant.pop()] if len(meant) == 1 else 0
    return [{**result, "category_id": names[result["category_id"]]} for result in found]


OFFICIAL: tuple[Benchmark, ...] = (coco_detection(), lvis_detection())
"""COCO's and LVIS's validation pictures."""

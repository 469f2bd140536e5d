"""Pictures with all that is marked in them: SA-1B's masks without words, and folders whose `annotations.jsonl` names, reads and tells."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.notes import box_in, mask_in, note, pictures_in, size_of
from foveal.data.reading import LOG, Report, entries_of, made_of, object_of, some_of, text_lines
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Note, Span, tied

__all__ = ["marked_pictures", "sa1b"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]

_MARKED = {
    "regions": ("label", "object"),
    "stuff": ("label", "stuff"),
    "lvis": ("label", "lvis"),
    "expressions": ("text", "expression"),
    "phrases": ("text", "phrase"),
}
_TOLD = {"captions": "caption", "sentence": "caption", "description": "description", "label": "label", "name": "label"}
_APART = ("image", "width", "height", "licence")


def sa1b(folder: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each `sa_*.json` of SA-1B, in `folder` or in folders within it; its picture lies beside it, or in `images`.

    A segment is a note with source "segment" that has a mask and no words, its score the `predicted_iou`; `made_by` gives its "id". The fact
    "stability_scores" has a number for each note. A file that cannot be used is passed over, and `report` is told why; ValueError where none can.
    """
    files = ((f"{path},", path) for path in sorted(Path(folder).glob("**/sa_*.json")))

    def example(path: Path) -> Example:
        record = object_of(path.read_text(encoding="utf-8"))
        about = record["image"]
        size, name = size_of(about), str(about["image_id"])
        entries = entries_of(_objects(record, "annotations"), "segment", f"image {name}")
        found = list(made_of(entries, lambda entry: _segment(entry, size), report))
        pictures = pictures_in(path.parent if images is None else images, about["file_name"], size)
        facts = {"stability_scores": [score for _, score in found]}
        return Example(name, pictures, notes=tuple(one for one, _ in found), licence=licence, facts=facts)

    return some_of(made_of(files, example, report), f"no picture of {folder} can be used; it wants files sa_*.json beside their pictures")


def marked_pictures(
    source: _Path, *, images: _Path | None = None, masks: bool = False, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each line of an `annotations.jsonl` (or of the one in a folder): a picture, its width and height, and what is marked.

    Of `regions`, the `label` is a note with source "object" ("crowd", "ignored" where it says so) and the `text` one with source "text";
    `stuff` and `lvis` have labels too, `expressions` and `phrases` sentences, tied to nothing where the box is null. With `masks` a region
    is its mask, polygon or quad where it has one. What is said of the whole picture (captions, a sentence, a description, its name) are notes
    without places. The rest are facts, and so is a sentence that may be untrue. The licence is the record's own, else `licence`. Pictures
    lie beside the file, or in `images`.
    """
    path = Path(source, "annotations.jsonl") if Path(source).is_dir() else Path(source)

    def example(line: str) -> Example:
        record = dict(object_of(line))
        size, name = size_of(record), record["image"]
        pictures = pictures_in(path.parent if images is None else images, name, size)
        told = {field: source for field, source in _TOLD.items() if field != "sentence" or "truth" not in record}
        notes = [made for field in _MARKED for made in _marked(record, field, lambda entry: _region(entry, size, masks), report)]
        notes += [Note(GroundedText(words), source) for field, source in told.items() for words in _sentences(record, field)]
        facts = {field: value for field, value in record.items() if field not in (*_APART, *_MARKED, *told)}
        return Example(name, pictures, notes=tuple(notes), licence=record.get("licence", licence), facts=facts)

    refusal = f"no picture of {path} can be used; it wants JSON lines with image, width, height and regions"
    return some_of(made_of(text_lines(path), example, report), refusal)


def _segment(entry: _Record, size: tuple[int, int]) -> tuple[Note, float]:
    said = GroundedText("", (Span(0, 0, (mask_in(entry["segmentation"], size),)),))
    known = {"id": str(entry["id"])} if "id" in entry else {}
    return Note(said, "segment", float(entry["predicted_iou"]), known), float(entry["stability_score"])


def _marked(record: _Record, field: str, region_of: Callable[[_Record], Region | None], report: Report) -> Iterator[Note]:
    """The notes of one list of a record: the words of each entry, and the text it shows; one that cannot be made is passed over by itself."""
    words, source = _MARKED[field]

    def notes(entry: _Record) -> list[Note]:
        region = region_of(entry)
        places = () if region is None else (region,)
        meant = "crowd" if entry.get("crowd") else "ignored" if entry.get("ignore") else source
        made_by = {"kind": str(entry["kind"])} if "kind" in entry else {}
        shown = _sentences(entry, "text") if words == "label" else []
        made = note(str(entry[words]), *places, source=meant, **made_by)
        if region is None:
            made = replace(made, said=tied(made.said.text))  # what has no box is known to be nowhere
        return [made, *(note(text, *places, source="text") for text in shown)]

    named = entries_of(_objects(record, field), field, str(record["image"]))
    return (one for made in made_of(named, notes, report) for one in made)


def _region(entry: _Record, size: tuple[int, int], masks: bool) -> Region | None:
    if masks and (outline := entry.get("mask") or entry.get("polygon") or entry.get("quad")):
        return mask_in(outline if isinstance(outline, dict) or isinstance(outline[0], list) else [outline], size)
    return None if entry["box"] is None else box_in(entry["box"], size)


def _sentences(record: _Record, field: str) -> list[str]:
    given = record.get(field) or []
    return [words for entry in ([given] if isinstance(given, str) else given) if (words := str(entry).strip())]


def _objects(record: _Record, field: str) -> list[_Record]:
    entries = record.get(field) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"its {field} are no list of objects")
    return entries

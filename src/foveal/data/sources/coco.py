"""COCO's form: instances, captions and panoptic segments, and the data sets that keep to it (LVIS, Objects365, a team's own export)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from foveal.data.images import load_image
from foveal.data.notes import box_of_xywh, mask_in, note, pictures_in, size_of, words_of_name
from foveal.data.reading import LOG, Grouped, Report, array_of, entries_of, file_within, made_of, some_of
from foveal.geometry import Region, encode_mask
from foveal.grounding import Example, Note, Picture

__all__ = ["coco_captions", "coco_instances", "coco_panoptic", "lvis"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]


def coco_instances(
    annotations: _Path, *, images: _Path | None = None, masks: bool = False, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each image of an instances file (`instances_train2017.json`, Objects365's, Roboflow's …), objects as notes.

    An object is a note with source "object", a crowd one with source "crowd"; its region is its box, or with `masks` its mask where it has one.
    Pictures are looked for in the folder `images`: at their whole name, then at its last two parts, then at its last; without `images` there
    are none. A record that cannot be used is passed over, and `report` is told why. ValueError for a file that is no such JSON.
    """
    names = _names(annotations)
    found = Grouped((entry["image_id"], entry) for _, entry in _entries(annotations, "annotations", ("image_id",), report))

    def example(record: _Record) -> Example:
        size = size_of(record)
        notes = _each(record, found.of(record["id"]), partial(_object, names=names, size=size, masks=masks), report)
        return Example(str(record["id"]), _pictures(record, images), notes=notes, licence=licence)

    return _of_images(annotations, example, report)


def coco_captions(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each image of a captions file (`captions_train2017.json`, TextCaps' and NoCaps' in COCO's form), captions as notes with
    source "caption"."""
    found = Grouped((entry["image_id"], entry) for _, entry in _entries(annotations, "annotations", ("image_id", "caption"), report))

    def example(record: _Record) -> Example:
        notes = _each(record, found.of(record["id"]), lambda entry: note(entry["caption"], source="caption"), report)
        return Example(str(record["id"]), _pictures(record, images), notes=notes, licence=licence)

    return _of_images(annotations, example, report)


def lvis(
    annotations: _Path, *, images: _Path | None = None, masks: bool = False, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each image of an LVIS v1 file, as `coco_instances`.

    The facts "absent" and "not_exhaustive" name the categories that are certainly not in the image, and those of which not every object is
    marked; "synonyms" gives every name of the categories that are marked.
    """
    entries = {entry["id"]: entry for _, entry in _entries(annotations, "categories", ("id", "name"), report)}
    names = {number: words_of_name(entry["name"]) for number, entry in entries.items()}
    synonyms = {names[number]: [words_of_name(word) for word in entry.get("synonyms", ())] for number, entry in entries.items()}
    found = Grouped((entry["image_id"], entry) for _, entry in _entries(annotations, "annotations", ("image_id",), report))

    def example(record: _Record) -> Example:
        notes = _each(record, found.of(record["id"]), partial(_object, names=names, size=size_of(record), masks=masks), report)
        facts = {
            "absent": [names[number] for number in record.get("neg_category_ids", ())],
            "not_exhaustive": [names[number] for number in record.get("not_exhaustive_category_ids", ())],
            "synonyms": {name: synonyms[name] for name in sorted({one.said.text for one in notes})},
        }
        return Example(str(record["id"]), _pictures(record, images), notes=notes, licence=licence, facts=facts)

    return _of_images(annotations, example, report)


def coco_panoptic(
    annotations: _Path, segments: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each image of a panoptic file (`panoptic_train2017.json`) and its folder of segment images, masks as notes.

    Things have the source "object", crowds of them "crowd", and what has no shape of its own (sky, wall, grass) "stuff". A pixel's segment is
    R + 256 G + 65,536 B.
    """
    entries = {entry["id"]: entry for _, entry in _entries(annotations, "categories", ("id", "name"), report)}
    found = Grouped((entry["image_id"], entry) for _, entry in _entries(annotations, "annotations", ("image_id", "file_name"), report))

    def example(record: _Record) -> Example:
        size, notes = size_of(record), list[Note]()
        for entry in found.of(record["id"]):
            numbers = _segment_numbers(file_within(segments, entry["file_name"]), size)
            notes += _each(record, entry["segments_info"], partial(_segment, entries=entries, numbers=numbers), report)
        return Example(str(record["id"]), _pictures(record, images), notes=tuple(notes), licence=licence)

    return _of_images(annotations, example, report)


def _of_images(annotations: _Path, example: Callable[[_Record], Example], report: Report) -> Iterator[Example]:
    refusal = f"no image of {annotations} can be used; it wants COCO's form, an object with images, annotations and categories"
    return some_of(made_of(array_of(annotations, "images"), example, report), refusal)


def _names(annotations: _Path) -> dict[int, str]:
    return {entry["id"]: words_of_name(entry["name"]) for _, entry in _entries(annotations, "categories", ("id", "name"), LOG.warning)}


def _entries(annotations: _Path, name: str, wanted: Sequence[str], report: Report) -> Iterator[tuple[str, _Record]]:
    """The objects of an array that have all that is wanted of them."""
    for place, entry in array_of(annotations, name):
        if not isinstance(entry, dict) or (missing := [field for field in wanted if entry.get(field) is None]):
            report(f"{place} is passed over: it has no {missing[0]!r}" if isinstance(entry, dict) else f"{place} is passed over: it is no object")
            continue
        yield place, entry


def _each(record: _Record, entries: Sequence[Any], make: Any, report: Report) -> tuple[Note, ...]:
    """The notes of an image; one that cannot be made is passed over by itself."""
    return tuple(made_of(entries_of(entries, "annotation", f"image {record['id']}"), make, report))


def _object(entry: _Record, names: Mapping[int, str], size: tuple[int, int], masks: bool) -> Note:
    if entry.get("category_id") not in names:
        raise ValueError(f"there is no category {entry.get('category_id')!r}")
    outlined = masks and entry.get("segmentation")
    region: Region = mask_in(entry["segmentation"], size) if outlined else box_of_xywh(entry["bbox"], size)
    return note(names[entry["category_id"]], region, source="crowd" if entry.get("iscrowd") else "object")


def _segment(entry: _Record, entries: Mapping[int, _Record], numbers: Int[np.ndarray, "height width"]) -> Note:
    if not (bits := numbers == entry["id"]).any():
        raise ValueError("its image has no pixel of it")
    category = entries[entry["category_id"]]
    source = "stuff" if not category.get("isthing", 1) else "crowd" if entry.get("iscrowd") else "object"
    return note(words_of_name(category["name"]), encode_mask(bits), source=source)


def _segment_numbers(path: Path, size: tuple[int, int]) -> Int[np.ndarray, "height width"]:
    pixels = np.asarray(load_image(path)).astype(np.int64)
    if pixels.shape[1::-1] != size:
        raise ValueError(f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, its picture {size[0]} x {size[1]}")
    return pixels @ np.array([1, 256, 65_536])


def _pictures(record: _Record, images: _Path | None) -> tuple[Picture, ...]:
    """The record's picture; LVIS names it by its address on COCO's site only."""
    if images is None:
        return ()
    name = record.get("file_name") or str(record["coco_url"]).split("://")[-1].partition("/")[2]
    return pictures_in(images, name, size_of(record))

"""Visual Genome: objects, attributes, relationships and region descriptions, in its own files and in the COCO form of dense captioning."""

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.notes import box_of_xywh, note, pictures_in, size_of
from foveal.data.reading import LOG, Grouped, Report, array_of, made_of, some_of
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, tied

__all__ = ["dense_captions", "vg_attributes", "vg_objects", "vg_regions", "vg_relationships"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]
_Size = tuple[int, int]
_Make = Callable[[_Record, _Size], list[Note]]

_FOLDERS = ("VG_100K", "VG_100K_2")


def vg_objects(
    objects: _Path, image_data: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each image of `objects.json`, of any version; every name of an object is a note with source "object".

    Sizes are those of `image_data.json`. Pictures are `<image id>.jpg` in the folder `images`, or in its folders `VG_100K` and `VG_100K_2`. What
    cannot be used is passed over, and `report` is told why. ValueError for another kind of file.
    """
    return _examples(objects, "objects", _named, image_data, images, licence, report)


def vg_attributes(
    attributes: _Path, image_data: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """As `vg_objects`, of `attributes.json`: every attribute of an object is a note "green clock" with source "attribute"."""
    return _examples(attributes, "attributes", _attributed, image_data, images, licence, report)


def vg_relationships(
    relationships: _Path, image_data: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """As `vg_objects`, of `relationships.json`: a note "man wearing hat" with source "relation", whose first and last words mean a box each."""
    return _examples(relationships, "relationships", _related, image_data, images, licence, report)


def vg_regions(
    regions: _Path, image_data: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """As `vg_objects`, of `region_descriptions.json`: a phrase is a note with source "region", all of whose words mean the region."""
    return _examples(regions, "regions", _described, image_data, images, licence, report)


def dense_captions(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each image of a file in COCO's form whose annotations have a "caption", as GRiT's `train.json` and `test.json` of Visual
    Genome; captions of boxes are notes with source "region"."""
    found = Grouped(made_of(array_of(annotations, "annotations"), lambda entry: (entry["image_id"], (entry["id"], entry)), report))

    def example(record: _Record) -> Example:
        number, size = record["id"], size_of(record)
        named = ((f"annotation {place} of image {number}", entry) for place, entry in found.of(number))
        notes = tuple(made_of(named, lambda entry: _note(entry["caption"], box_of_xywh(entry["bbox"], size), "region", id=entry["id"]), report))
        return Example(str(number), _pictures(record.get("file_name", f"{number}.jpg"), size, images), notes=notes, licence=licence)

    refusal = f"no image of {annotations} can be used; it wants COCO's form, an object with images and annotations"
    return some_of(made_of(array_of(annotations, "images"), example, report), refusal)


def _examples(annotations: _Path, name: str, make: _Make, image_data: _Path, images: _Path | None, licence: str, report: Report) -> Iterator[Example]:
    """An example for each image of a file that lists what is called `name` of it, each of which becomes the notes that `make` gives."""
    known = Grouped(made_of(array_of(image_data), lambda record: (_either(record, "image_id", "id"), size_of(record)), report))

    def example(record: _Record) -> Example:
        number = _either(record, "image_id", "id")
        if not (sizes := known.of(number)):
            raise ValueError(f"{image_data} has no image {number}")
        size = sizes[0][0], sizes[0][1]
        named = ((f"{name} {place} of image {number}", entry) for place, entry in enumerate(record[name]))
        notes = tuple(one for made in made_of(named, lambda entry: make(entry, size), report) for one in made)
        return Example(str(number), _pictures(f"{number}.jpg", size, images), notes=notes, licence=licence)

    refusal = f"no image of {annotations} can be used; it wants an array of objects with image_id and {name}"
    return some_of(made_of(array_of(annotations), example, report), refusal)


def _named(entry: _Record, size: _Size) -> list[Note]:
    return [_note(name, _box(entry, size), "object", object_id=_either(entry, "object_id", "id")) for name in _names(entry)]


def _attributed(entry: _Record, size: _Size) -> list[Note]:
    """None for an object without attributes, of which some versions list many."""
    number = _either(entry, "object_id", "id")
    return [_note(f"{_word(word)} {_names(entry)[0]}", _box(entry, size), "attribute", object_id=number) for word in entry.get("attributes") or ()]


def _related(entry: _Record, size: _Size) -> list[Note]:
    subject, object_ = (tied(_names(entry[role])[0], _box(entry[role], size)) for role in ("subject", "object"))
    said = GroundedText.join(subject, f" {_word(entry['predicate']).lower()} ", object_)
    return [Note(said, "relation", made_by={"relationship_id": str(_either(entry, "relationship_id", "id"))})]


def _described(entry: _Record, size: _Size) -> list[Note]:
    return [_note(entry["phrase"], _box(entry, size), "region", region_id=_either(entry, "region_id", "id"))]


def _note(words: Any, box: Box, source: str, **made_by: object) -> Note:
    return note(_word(words), box, source=source, **{name: str(value) for name, value in made_by.items()})


def _names(entry: _Record) -> list[str]:
    """What an object is called; versions and files differ in how they say it, sometimes within one record."""
    names = entry["name"] if "name" in entry else _either(entry, "names", "object_names")
    if not names:
        raise ValueError("it has no name")
    return [_word(name) for name in ([names] if isinstance(names, str) else names)]


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} where words are wanted")
    return " ".join(value.split())


def _box(entry: _Record, size: _Size) -> Box:
    return box_of_xywh((entry["x"], entry["y"], _either(entry, "w", "width"), _either(entry, "h", "height")), size)


def _either(record: _Record, name: str, other: str) -> Any:
    return record[other] if name not in record and other in record else record[name]


def _pictures(name: str, size: _Size, images: _Path | None) -> tuple[Picture, ...]:
    places = (f"{folder}/{name}" for folder in _FOLDERS if images is not None and Path(images, folder, name).is_file())
    return pictures_in(images, next(places, name), size)

"""Referring expressions: RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO as they were published, and as MDETR and SeqTR re-packed them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.notes import box_of_xywh, mask_in, note, pictures_in, size_of
from foveal.data.reading import LOG, Grouped, Report, array_of, made_of, read_pickle, some_of
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Note, Span, tied

__all__ = ["mdetr_referring", "refcoco", "uninext_referring"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]
_Size = tuple[int, int]


def refcoco(
    refs: _Path,
    instances: _Path,
    *,
    split: str | None = None,
    images: _Path | None = None,
    masks: bool = False,
    licence: str = "",
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """An example for each image and split of `refs(unc).p`, `refs(google).p`, `refs(umd).p` or `grefs(unc).json`, with its `instances.json`.

    Every sentence is a note with source "expression", whose words mean the object's box, or with `masks` its mask; `made_by` gives its "ref_id"
    and "sent_id", the fact "split" its split. Of gRefCOCO a sentence may mean several objects, or something that is nowhere in the picture.
    Pictures are COCO's `train2014`, in the folder `images`. What cannot be used is passed over, and `report` is told why. ValueError for
    another kind of file, or a `split` that is not in it.
    """

    def chosen(ref: _Record) -> tuple[str, _Record] | None:
        return (f"{ref['image_id']}/{ref['split']}", ref) if split in (None, ref["split"]) else None

    said = Grouped(made_of(_references(refs), chosen, report))
    pictures = _grouped(instances, "images", "id", report)
    objects = _grouped(instances, "annotations", "image_id", report)

    def example(key: str) -> Example | None:
        found = said.of(key)
        number = found[0]["image_id"]
        if not (records := pictures.of(number)):
            raise ValueError(f"{instances} has no image {number}")
        size, known = size_of(records[0]), {entry["id"]: entry for entry in objects.of(number)}

        def expression(pair: tuple[_Record, _Record]) -> Note:
            ref, sentence = pair
            regions = [_region(entry, entry.get("segmentation"), size, masks) for entry in _meant(ref["ann_id"], known)]
            made_by = {"ref_id": str(ref["ref_id"]), "sent_id": str(sentence["sent_id"])}
            return Note(tied(_words(sentence["sent"]), *regions), "expression", made_by=made_by)

        pairs = ((f"sentence {place} of reference {ref['ref_id']}", (ref, one)) for ref in found for place, one in enumerate(ref["sentences"]))
        notes = tuple(made_of(pairs, expression, report))
        facts = {"split": found[0]["split"]}
        return Example(key, pictures_in(images, records[0]["file_name"], size), notes=notes, licence=licence, facts=facts) if notes else None

    wanted = "a list of references" + (f" with some of split {split!r}" if split else "")
    return _made(said, example, refs, wanted, report)


def mdetr_referring(
    annotations: _Path,
    *,
    phrases: bool = False,
    images: _Path | None = None,
    masks: bool = False,
    licence: str = "",
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """An example for each picture of MDETR's re-pack (`finetune_refcoco_train.json`), in which each "image" is one expression.

    An expression is a note with source "expression", all of whose words mean the boxes of its annotations (their masks with `masks`, where
    there are some). With `phrases` its source is "caption", and only the words that `tokens_positive` counts out mean each box, as fits MDETR's
    `final_flickr_…` and `final_mixed_…` files. `made_by` gives the "id" of the expression, and "dataset_name" and "refexp_id" where known. The
    example is called by the picture's file; its number in its data set is the fact "image_id".
    """
    said = _grouped(annotations, "images", "file_name", report)  # numbers of one data set are those of another's pictures too
    places = _grouped(annotations, "annotations", "image_id", report)

    def example(key: str) -> Example | None:
        found = said.of(key)
        size = size_of(found[0])

        def expression(one: _Record) -> Note:
            if not (entries := places.of(one["id"])):
                raise ValueError("it has no annotation")
            marked = [(entry, [] if entry.get("empty") else [_region(entry, entry.get("segmentation"), size, masks)]) for entry in entries]
            made_by = {name: str(one[name]) for name in ("id", "dataset_name", "refexp_id") if name in one}
            if phrases:
                return Note(_phrased(_words(one["caption"]), marked), "caption", made_by=made_by)
            return Note(tied(_words(one["caption"]), *(region for _, regions in marked for region in regions)), "expression", made_by=made_by)

        notes = tuple(made_of(((f"expression {one.get('id')} of image {key}", one) for one in found), expression, report))
        number = found[0].get("original_img_id", found[0].get("original_id"))
        facts = {} if number is None else {"image_id": number}
        return Example(key, pictures_in(images, key, size), notes=notes, licence=licence, facts=facts) if notes else None

    wanted = "MDETR's form, an object with images (each with a caption) and annotations"
    return _made(said, example, annotations, wanted, report)


def uninext_referring(
    annotations: _Path,
    split: str,
    *,
    images: _Path | None = None,
    masks: bool = False,
    licence: str = "",
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """An example for each picture in the array `split` of SeqTR's `instances.json`, the form in which UNINEXT and PixelLLM list expressions.

    Expressions are notes with source "expression" that mean the object's box, or with `masks` its mask where there is one. Where several data
    sets are mixed, ids begin with the fact "data_source". Pictures are called `COCO_train2014_000000000009.jpg` for image 9 of COCO, `9.jpg` for
    one of another source; they lie in the folder `images`, or in its folder of the source's name.
    """

    def keyed(one: _Record) -> tuple[str, _Record]:
        number = one["image_id"]
        return f"{one['data_source']}/{number}" if one.get("data_source") else str(number), one

    said = Grouped(made_of(array_of(annotations, split), keyed, report))

    def example(key: str) -> Example | None:
        found = said.of(key)
        size, source = size_of(found[0]), found[0].get("data_source") or ""

        def expression(pair: tuple[_Record, str]) -> Note:
            return note(_words(pair[1]), _region(pair[0], pair[0].get("mask"), size, masks), source="expression")

        pairs = ((f"an expression of image {key}", (one, words)) for one in found for words in one["expressions"])
        notes = tuple(made_of(pairs, expression, report))
        pictures = () if images is None else pictures_in(images, _seqtr_name(found[0]["image_id"], source, images), size)
        facts = {"split": split} | ({"data_source": source} if source else {})
        return Example(key, pictures, notes=notes, licence=licence, facts=facts) if notes else None

    wanted = f"an object with an array {split!r} of objects with image_id, width, height, bbox and expressions"
    return _made(said, example, annotations, wanted, report)


def _references(refs: _Path) -> Iterator[tuple[str, Any]]:
    if ".json" in Path(refs).suffixes:
        return array_of(refs)
    kept = read_pickle(refs)
    if not isinstance(kept, list):
        raise ValueError(f"{refs} holds a {type(kept).__name__}; it wants a list of references")
    return ((f"{refs}, reference {place},", ref) for place, ref in enumerate(kept))


def _grouped(path: _Path, name: str, key: str, report: Report) -> Grouped:
    return Grouped(made_of(array_of(path, name), lambda entry: (entry[key], entry), report))


def _meant(numbers: int | list[int], known: Mapping[int, _Record]) -> list[_Record]:
    """The annotations that a reference names: one, or in gRefCOCO a list of them, in which -1 is no object."""
    wanted = [number for number in (numbers if isinstance(numbers, list) else [numbers]) if number != -1]
    if missing := [number for number in wanted if number not in known]:
        raise ValueError(f"its image has no annotation {missing[0]}")
    return [known[number] for number in wanted]


def _region(entry: _Record, segmentation: Any, size: _Size, masks: bool) -> Region:
    return mask_in(segmentation, size) if masks and segmentation else box_of_xywh(entry["bbox"], size)


def _phrased(caption: str, marked: Sequence[tuple[_Record, list[Region]]]) -> GroundedText:
    """The caption with what the annotations mark in it; those that mark the same words share a span."""
    found: dict[tuple[int, int], list[Region]] = {}
    for entry, regions in marked:
        for start, end in entry["tokens_positive"]:
            found.setdefault((start, end), []).extend(regions)
    return GroundedText(caption, tuple(Span(start, end, tuple(regions)) for (start, end), regions in sorted(found.items())))


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its words are {value!r}")
    if not value.strip():
        raise ValueError("it has no words")
    return value.strip()


def _seqtr_name(number: int | str, source: str, images: _Path) -> str:
    plain = f"{source}/{number}.jpg" if source else f"{number}.jpg"
    if "coco" not in (source or "coco") or Path(images, plain).is_file():
        return plain
    return f"{source or '.'}/COCO_train2014_{int(number):012d}.jpg"


def _made(said: Grouped, make: Callable[[str], Example | None], path: _Path, wanted: str, report: Report) -> Iterator[Example]:
    """An example for each key."""
    named = ((f"image {key} of {path}", key) for key in said.keys())  # noqa: SIM118
    return some_of(made_of(named, make, report), f"no expression of {path} can be used; it wants {wanted}")

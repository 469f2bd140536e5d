"""Captions whose files are neither COCO's nor TextCaps': Karpathy's splits of COCO and Flickr30k, and NoCaps with its domains.

An example is a picture, captions its notes with source "caption". What cannot be used is passed over, and `report` is told why; ValueError for
another kind of file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

from foveal.data.notes import note, pictures_in
from foveal.data.reading import LOG, Report, array_of, entries_of, made_of, some_of
from foveal.data.sources.coco import coco_captions
from foveal.grounding import Example

__all__ = ["karpathy", "no_caps"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]


def karpathy(dataset: _Path, *, split: str = "", images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """The pictures of `dataset_coco.json` or `dataset_flickr30k.json` (Karpathy and Fei-Fei 2015); with `split` only those of "train", "restval",
    "val" or "test".

    Pictures are `val2014/COCO_val2014_000000391895.jpg` and `1000092795.jpg`. The fact "split" tells the split.
    """

    def example(record: _Record) -> Example | None:
        if split and record["split"] != split:
            return None
        name = f"{record['filepath']}/{record['filename']}" if record.get("filepath") else record["filename"]
        owner = f"picture {record['filename']}"
        said = entries_of(record["sentences"], "sentence", owner)
        notes = tuple(made_of(said, lambda sentence: note(sentence["raw"], source="caption"), report))
        if not notes:
            raise ValueError("it has no caption")
        number = str(record.get("cocoid", record["imgid"]))
        return Example(number, pictures_in(images, name), notes=notes, licence=licence, facts={"split": record["split"]})

    refusal = f"no picture of {dataset}{f', split {split},' if split else ''} can be used; it wants images with split and sentences"
    return some_of(made_of(array_of(dataset, "images"), example, report), refusal)


def no_caps(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """NoCaps' pictures and captions: `nocaps_val_4500_captions.json`, in COCO's form; pictures are Open Images', `0013ea2087020901.jpg`.

    The fact "domain" says how far a picture's objects are from COCO's: "in-domain", "near-domain" or "out-domain".
    """
    domains = {str(record.get("id")): record.get("domain") for _, record in array_of(annotations, "images") if isinstance(record, dict)}
    found = coco_captions(annotations, images=images, licence=licence, report=report)
    return (replace(example, facts={"domain": domain} if (domain := domains.get(example.id)) else {}) for example in found)

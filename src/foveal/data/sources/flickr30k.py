"""Flickr30k Entities: five captions to a picture, whose phrases are tied to boxes, from the official folders Sentences and Annotations."""

import re
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.notes import box_in, pictures_in, size_of
from foveal.data.reading import LOG, Report, file_within, made_of, read_xml, some_of, text_lines
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Span

__all__ = ["flickr30k_entities"]

_Path = str | PathLike[str]
_Boxes = Mapping[str, list[Box]]
_Phrases = list[dict[str, Any]]

_PHRASE = re.compile(r"\[/EN#(\d+)/([^\s\]]+)\s+([^\]]+)\]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def flickr30k_entities(
    folder: _Path, *, images: _Path | None = None, split_file: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each picture of the folder that holds `Sentences` and `Annotations`, or for those that `split_file` (`train.txt`) lists.

    Captions are notes with source "caption"; a phrase means all boxes of its entity. One without a box (an entity that is the scene or not
    marked, and what is "notvisual", entity 0) has no span. The fact "phrases" lists for each note all its phrases: "start", "end", "entity" and
    "types". As in the official reader, 1 is taken off each corner, which the files count from 1. Pictures are `<image id>.jpg` in `images`.
    What cannot be used is passed over, and `report` is told why. ValueError where no picture can be used.
    """

    def example(number: str) -> Example:
        size, boxes = _annotated(file_within(folder, f"Annotations/{number}.xml"), report)
        said = list(made_of(text_lines(file_within(folder, f"Sentences/{number}.txt")), lambda line: _caption(line, boxes), report))
        if not said:
            raise ValueError("it has no caption")
        notes = tuple(Note(words, "caption") for words, _ in said)
        facts = {"phrases": [phrases for _, phrases in said]}
        return Example(number, pictures_in(images, f"{number}.jpg", size), notes=notes, licence=licence, facts=facts)

    refusal = f"no picture of {folder} can be used; it wants Sentences/<image id>.txt and Annotations/<image id>.xml"
    return some_of(made_of(_numbers(folder, split_file), example, report), refusal)


def _numbers(folder: _Path, split_file: _Path | None) -> Iterator[tuple[str, str]]:
    """The ids of the pictures, each with what to call it."""
    if split_file is None:
        return ((f"picture {path.stem} of {folder}", path.stem) for path in sorted(Path(folder, "Sentences").glob("*.txt")))
    return ((name, line.strip()) for name, line in text_lines(split_file))


def _annotated(path: Path, report: Report) -> tuple[tuple[int, int], _Boxes]:
    """The picture's size, and the boxes of each entity; an object may be of several, an entity of several objects."""
    root = read_xml(path)
    size = size_of({side: _whole(root.find("size"), side) for side in ("width", "height")})

    def marked(one: Any) -> tuple[list[str], Box] | None:
        if (corners := one.find("bndbox")) is None:  # the whole scene, or nothing that can be marked
            return None
        return [name.text for name in one.findall("name")], box_in([_whole(corners, side) - 1 for side in _CORNERS], size)

    boxes: dict[str, list[Box]] = {}
    objects = ((f"{path}, object {place},", one) for place, one in enumerate(root.findall("object")))
    for entities, box in made_of(objects, marked, report):
        for entity in entities:
            boxes.setdefault(entity, []).append(box)
    return size, boxes


def _whole(element: Any, name: str) -> int:
    found = None if element is None else element.findtext(name)
    if found is None:
        raise ValueError(f"it has no {name}")
    return int(found)


def _caption(line: str, boxes: _Boxes) -> tuple[GroundedText, _Phrases]:
    """A line without its brackets, and what stood in them.

    >>> said, phrases = _caption("[/EN#7/people/other A man] sits .", {"7": [Box(0.0, 0.0, 0.5, 1.0)]})
    >>> said.text, said.spans[0].end, phrases
    ('A man sits .', 5, [{'start': 0, 'end': 5, 'entity': '7', 'types': ['people', 'other']}])
    """
    before, *parts = _PHRASE.split(line.strip())
    text, spans, phrases = before, list[Span](), _Phrases()
    for entity, types, words, after in zip(*(parts[place::4] for place in range(4)), strict=True):
        start, end = len(text), len(text) + len(words)
        phrases.append({"start": start, "end": end, "entity": entity, "types": types.split("/")})
        if entity in boxes:
            spans.append(Span(start, end, tuple(boxes[entity])))
        text += words + after
    if "[/EN#" in text:
        raise ValueError("it has a bracket that is no phrase")
    return GroundedText(text, tuple(spans)), phrases

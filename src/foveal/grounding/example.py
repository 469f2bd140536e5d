"""The one record of the house: an image and what is said and known of it. Data, training, evaluation and serving all speak it."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from foveal.geometry import Box, Mask, Point, Region, Trace, bounding_box, mask_from_coco, mask_to_coco
from foveal.grounding.text import GroundedText, Span

__all__ = [
    "Example",
    "Note",
    "Picture",
    "Turn",
    "example_from_json",
    "example_from_line",
    "example_to_json",
    "read_examples",
    "region_from_json",
    "region_limits",
    "region_to_json",
    "write_examples",
]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image by `path`, by encoded `data`, or by `pixels` in memory (a PIL image or an array); exactly one is given.

    `width` and `height` are the EXIF-upright size in pixels.
    """

    width: int
    height: int
    path: str | None = None
    data: bytes | None = None
    pixels: object | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture of {self.width} x {self.height} pixels; width and height must be positive")
        given = [name for name in ("path", "data", "pixels") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a picture by {' and '.join(given) or 'nothing'}; give exactly one of path, data and pixels")


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said, by the person or by the model."""

    role: Literal["user", "assistant"]
    said: GroundedText


@dataclass(frozen=True, slots=True)
class Note:
    """Something known of the image: a caption, a named box, a line of text, a mouse trace; and where it comes from."""

    said: GroundedText
    source: str = ""
    score: float | None = None
    made_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """`turns` are the conversation, `notes` what is known, `facts` what only a metric needs (synonyms, negatives, question ids)."""

    id: str
    images: tuple[Picture, ...] = ()
    turns: tuple[Turn, ...] = ()
    notes: tuple[Note, ...] = ()
    licence: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = max(1, len(self.images))  # a conversation may be written before its image is known
        texts = (*(turn.said for turn in self.turns), *(note.said for note in self.notes))
        images = {region.image for said in texts for span in said.spans for region in span.regions}
        if images and not 0 <= min(images) <= max(images) < known:
            odd = next(image for image in sorted(images) if not 0 <= image < known)
            raise ValueError(f"example {self.id!r} has {len(self.images)} images and a region in image {odd}")


def region_to_json(region: Region, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """A region as a JSON object: its kind names its fractions. With the image's (width, height), its enclosing `box` and `box_px` too.

    >>> region_to_json(Point(0.5, 0.25), (640, 480))
    {'point': [0.5, 0.25], 'box': [0.5, 0.25, 0.5, 0.25], 'box_px': [320.0, 120.0, 320.0, 120.0]}
    """
    match region:
        case Box(x0, y0, x1, y1):
            record: dict[str, Any] = {"box": [x0, y0, x1, y1]}
        case Point(x, y):
            record = {"point": [x, y]}
        case Mask():
            record = {"mask": mask_to_coco(region)}
        case Trace(points):
            record = {"trace": [list(point) for point in points]}
    if region.image:
        record["image"] = region.image
    if size is not None:
        box = bounding_box(region)
        record["box"] = [box.x0, box.y0, box.x1, box.y1]
        record["box_px"] = [box.x0 * size[0], box.y0 * size[1], box.x1 * size[0], box.y1 * size[1]]
    return record


def region_from_json(record: Mapping[str, Any], size: tuple[int, int] | None = None) -> Region:
    """The region of a JSON object with `mask`, `trace`, `point` or `box`, or one of the last three with `_px` in pixels of `size`.

    Where several are given, the first of these counts, fractions before pixels. ValueError when there is none, or it is no region.

    >>> region_from_json({"box_px": [64, 48, 320, 240]}, (640, 480))
    Box(x0=0.1, y0=0.1, x1=0.5, y1=0.5, image=0)
    """
    image = _typed(record.get("image", 0), int, "image", "a whole number")
    if "box" in record and len(record) == 1 + ("image" in record):  # by far the most, and so before the others
        return _shape("box", _numbers(record["box"], "box", 4), image)
    if "mask" in record:
        return mask_from_coco(_typed(record["mask"], Mapping, "mask", "a COCO run-length object"), image)
    for kind, wanted in (("trace", None), ("point", 2), ("box", 4)):
        if kind in record:
            return _shape(kind, _numbers(record[kind], kind, wanted), image)
        if f"{kind}_px" in record:
            if size is None:
                raise ValueError(f"a region in pixels ({kind}_px) of an image whose width and height are not given")
            values = _numbers(record[f"{kind}_px"], f"{kind}_px", wanted)
            return _shape(kind, [value / size[place % 2] for place, value in enumerate(values)], image)
    raise ValueError(f"a region with {sorted(record)}; it wants one of point, box, trace (each also with _px) and mask")


def region_limits(example: Example) -> tuple[Region | None, ...]:
    """What each region of the person's turns is cut to before its features are read in training, None where it is read whole.

    A referring data set that knows an object's mask keeps it as the fact "inside", in the order of the regions.

    >>> turn = Turn("user", GroundedText.join("What is ", Point(0.5, 0.5), "?"))
    >>> region_limits(Example("7", turns=(turn,), facts={"inside": [{"box": [0.4, 0.4, 0.6, 0.6]}]}))
    (Box(x0=0.4, y0=0.4, x1=0.6, y1=0.6, image=0),)
    """
    regions = [region for turn in example.turns if turn.role == "user" for region in turn.said.regions]
    limits = example.facts.get("inside", [None] * len(regions))
    if not isinstance(limits, Sequence) or len(limits) != len(regions):
        raise ValueError(f"the fact 'inside' of example {example.id!r} must be a list with an entry for each of its {len(regions)} regions")
    return tuple(None if limit is None else region_from_json(limit) for limit in limits)


def example_to_json(example: Example) -> dict[str, Any]:
    """The example as a JSON object (docs/record.md); ValueError for a picture that is in memory only.

    >>> record = example_to_json(Example("7", (Picture(4, 2, "a.png"),), (Turn("user", GroundedText.join("What is ", Point(0.5, 0.5), "?")),)))
    >>> record["turns"]
    [{'role': 'user', 'text': 'What is ?', 'spans': [{'start': 8, 'end': 8, 'regions': [{'point': [0.5, 0.5]}]}]}]
    """
    record: dict[str, Any] = {"id": example.id, "images": [_picture_to_json(picture, example.id) for picture in example.images]}
    record["turns"] = [{"role": turn.role, **_text_to_json(turn.said)} for turn in example.turns]
    if example.notes:
        record["notes"] = [_note_to_json(note) for note in example.notes]
    if example.licence:
        record["licence"] = example.licence
    if example.facts:
        record["facts"] = dict(example.facts)
    return record


def example_from_json(record: Mapping[str, Any], folder: Path | None = None) -> Example:
    """The example of a JSON object, the paths of its pictures counted from `folder` where one is given; ValueError says what is missing or odd.

    >>> example_from_json({"id": "7", "turns": [{"role": "user", "text": "Hello"}]}).turns[0].said.text
    'Hello'
    """
    unknown = sorted(set(record) - {"id", "images", "turns", "notes", "licence", "facts"})
    if unknown or "id" not in record:
        raise ValueError(f"a record with {sorted(record)}; it wants id, and may have images, turns, notes, licence and facts")
    images = tuple(_picture_from_json(entry, folder) for entry in _list(record, "images"))
    sizes = [(picture.width, picture.height) for picture in images]
    turns = []
    for entry in _list(record, "turns"):
        if entry.get("role") not in ("user", "assistant"):
            raise ValueError(f"a turn by {entry.get('role')!r}; the role must be 'user' or 'assistant'")
        turns.append(Turn(entry["role"], _text_from_json(entry, sizes)))
    notes = tuple([_note_from_json(entry, sizes) for entry in _list(record, "notes")])
    licence = _typed(record.get("licence", ""), str, "licence", "a string")
    facts = _typed(record.get("facts", {}), Mapping, "facts", "an object")
    return Example(str(record["id"]), images, tuple(turns), notes, licence, facts)


def read_examples(path: str | PathLike[str]) -> Iterator[Example]:
    """The examples of a JSON lines file, one after the other. Relative picture paths count from the file's folder.

    ValueError names the file and the line of a record that is none.
    """
    folder = Path(path).resolve().parent
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield example_from_line(line, folder)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error


def example_from_line(line: str, folder: Path) -> Example:
    """The example of a line of a JSON lines file that lies in `folder`; ValueError says what is missing or odd."""
    try:
        return example_from_json(_typed(json.loads(line), Mapping, "record", "an object"), folder)
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]!r}") from error
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def write_examples(path: str | PathLike[str], examples: Iterable[Example]) -> int:
    """Write examples as JSON lines and return how many; pictures that lie beside the file are named relative to it."""
    folder = Path(path).resolve().parent
    count = 0
    with open(path, "w", encoding="utf-8") as lines:
        for count, example in enumerate(examples, start=1):  # noqa: B007
            images = tuple(replace(picture, path=_relative(picture.path, folder)) if picture.path else picture for picture in example.images)
            lines.write(json.dumps(example_to_json(replace(example, images=images)), ensure_ascii=False) + "\n")
    return count


def _picture_to_json(picture: Picture, owner: str) -> dict[str, Any]:
    record: dict[str, Any] = {"width": picture.width, "height": picture.height}
    if picture.path is not None:
        return record | {"path": picture.path}
    if picture.data is not None:
        return record | {"data": b64encode(picture.data).decode("ascii")}
    raise ValueError(f"a picture of example {owner!r} is in memory only; save it and give its path, or give its encoded data")


def _picture_from_json(record: Mapping[str, Any], folder: Path | None) -> Picture:
    width, height = (_typed(record.get(name), int, f"a picture's {name}", "a whole number of pixels") for name in ("width", "height"))
    path, data = record.get("path"), record.get("data")
    if path is not None and folder is not None:
        path = str(folder / path)
    return Picture(width, height, path, None if data is None else b64decode(data, validate=True))


def _text_to_json(said: GroundedText) -> dict[str, Any]:
    spans = []
    for span in said.spans:
        record: dict[str, Any] = {"start": span.start, "end": span.end, "regions": [region_to_json(region) for region in span.regions]}
        if span.scores:
            record["scores"] = list(span.scores)
        spans.append(record)
    return {"text": said.text, "spans": spans} if spans else {"text": said.text}


def _text_from_json(record: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> GroundedText:
    spans = [_span_from_json(entry, sizes) for entry in _list(record, "spans")]
    return GroundedText(_typed(record.get("text"), str, "text", "a string"), tuple(spans))


def _span_from_json(record: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> Span:
    start = _typed(record.get("start"), int, "a span's start", "a whole number")
    end = _typed(record.get("end"), int, "a span's end", "a whole number")
    regions = []
    for region in _list(record, "regions"):
        image = region.get("image", 0)
        regions.append(region_from_json(region, sizes[image] if isinstance(image, int) and 0 <= image < len(sizes) else None))
    return Span(start, end, tuple(regions), tuple([score if score is None else float(score) for score in record.get("scores", ())]))


def _note_to_json(note: Note) -> dict[str, Any]:
    record = _text_to_json(note.said)
    if note.source:
        record["source"] = note.source
    if note.score is not None:
        record["score"] = note.score
    if note.made_by:
        record["made_by"] = dict(note.made_by)
    return record


def _note_from_json(record: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> Note:
    score = record.get("score")
    if score is not None:
        score = score if type(score) is float else float(_typed(score, int | float, "score", "a number"))
    source = _typed(record.get("source", ""), str, "source", "a string")
    return Note(_text_from_json(record, sizes), source, score, _typed(record.get("made_by", {}), Mapping, "made_by", "an object"))


def _shape(kind: str, values: Sequence[float], image: int) -> Region:
    if kind == "point":
        return Point(values[0], values[1], image)
    if kind == "box":
        return Box(values[0], values[1], values[2], values[3], image)
    return Trace(tuple(zip(values[0::2], values[1::2], strict=True)), image)


def _numbers(value: Any, name: str, wanted: int | None) -> list[float]:
    entries = value if type(value) is list else _typed(value, list | tuple, name, "a list")
    if wanted is None:  # a trace: pairs, flattened here and paired again where the region is made
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in entries):
            raise ValueError(f"{name} holds more than pairs; it wants [[x, y], …]")
        entries = [number for pair in entries for number in pair]
    if not set(map(type, entries)) <= {int, float} or wanted not in (None, len(entries)):
        raise ValueError(f"{name} is {value!r}; it wants {wanted or 'pairs of'} numbers")
    return list(map(float, entries))


def _list(record: Mapping[str, Any], name: str) -> list[Any]:
    entries = _typed(record.get(name, []), list, name, "a list")
    for entry in entries:
        if type(entry) is not dict:  # which is what JSON gives
            _typed(entry, Mapping, f"each of {name}", "an object")
    return entries


def _typed(value: Any, kind: Any, name: str, wanted: str) -> Any:
    if type(value) is (dict if kind is Mapping else kind):  # what JSON gives, without asking the abstract class
        return value
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it wants {wanted}")
    return value


def _relative(path: str, folder: Path) -> str:
    full = Path(path).resolve()
    return str(full.relative_to(folder)) if full.is_relative_to(folder) else str(full)

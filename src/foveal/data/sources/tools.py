"""What annotation tools write: labels in YOLO's layout, and the tasks that Label Studio exports."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from foveal.data.images import picture_from
from foveal.data.notes import box_in, mask_in, note, pictures_in, size_of, words_of_name
from foveal.data.reading import LOG, Report, array_of, entries_of, made_of, some_of, text_lines
from foveal.geometry import Point, Region
from foveal.grounding import Example, Note, Picture

__all__ = ["label_studio", "yolo"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]
_Outline = Sequence[tuple[float, float]]

_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_SIDES = ("original_width", "original_height")
_UPLOADED = re.compile(r"^[0-9a-f]{4,}-(?=.)")


def yolo(
    images: _Path,
    labels: _Path,
    names: _Path | Sequence[str] | Mapping[int, str],
    *,
    masks: bool = False,
    licence: str = "",
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """An example for each picture of a data set in Ultralytics' layout (`images/train`, `labels/train`, `data.yaml`), objects as notes.

    `labels` has a text file for each picture, at the same place under the same name: lines "class x y width height" of a box by its centre,
    or "class x1 y1 x2 y2 x3 y3 …" of an outline, in fractions. An outline's region is the box around it, or with `masks` its mask. A
    picture without such a file has no objects. `names` are the classes, or the `data.yaml` that lists them. A line that cannot be used is
    passed over, and `report` is told why; so is a file of labels without a picture. ValueError for labels of key points, and where there
    are no pictures.
    """
    known = _names(names)
    pictures = {path.relative_to(images): path for path in sorted(Path(images).rglob("*")) if path.suffix.lower() in _PICTURES}

    def example(name: Path) -> Example:
        picture = picture_from(pictures[name])
        file = Path(labels, name).with_suffix(".txt")
        lines = text_lines(file) if file.is_file() else iter(())
        size = (picture.width, picture.height)
        notes = tuple(made_of(lines, lambda line: _labelled(line, known, size, masks), report))
        return Example(name.as_posix(), (picture,), notes=notes, licence=licence)

    named = ((f"{path},", name) for name, path in pictures.items())
    yield from some_of(made_of(named, example, report), f"nothing of {images} can be used; it wants pictures")
    for stem in sorted({path.relative_to(labels).with_suffix("") for path in Path(labels).rglob("*.txt")} - {p.with_suffix("") for p in pictures}):
        report(f"{Path(labels, stem)}.txt is passed over: there is no picture {Path(images, stem)}")


def label_studio(
    path: _Path, *, images: _Path | None = None, masks: bool = False, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each task of Label Studio's JSON export, labelled rectangles, polygons and key points as notes with source "object".

    Of a task's annotations the one marked as ground truth counts, else the first that was not cancelled; a task without one has no notes.
    The region of a polygon, and of a rectangle that is turned, is the box around it, or with `masks` its mask; a key point is a point. The
    picture that the task names is looked for in the folder `images`: a file that was uploaded also without the number before its name, a
    file of a local storage by its place there. A result of another kind is passed over, and `report` is told.
    """

    def example(record: Any) -> Example:
        task, name = str(record["id"]), _picture_name(record["data"])
        done = [entry for entry in _objects(record["annotations"]) if not entry.get("was_cancelled")]
        chosen = next((entry for entry in done if entry.get("ground_truth")), done[0] if done else {})
        results = entries_of(_objects(chosen.get("result", [])), "result", f"task {task}")
        notes = tuple(one for made in made_of(results, lambda entry: _result(entry, masks), report) for one in made)
        return Example(task, () if images is None else _pictures(name, images), notes=notes, licence=licence, facts={"image": name})

    return some_of(made_of(array_of(path), example, report), f"nothing of {path} can be used; it wants a list of tasks with data and annotations")


def _labelled(line: str, names: Mapping[int, str], size: tuple[int, int], masks: bool) -> Note:
    first, *rest = line.split()
    numbers, kind = [float(word) for word in rest], int(first)
    if kind not in names:
        raise ValueError(f"there is no class {kind}")
    if len(numbers) == 4:
        x, y, width, height = numbers
        return note(names[kind], box_in((x - width / 2, y - height / 2, x + width / 2, y + height / 2), (1, 1)), source="object")
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"it has {len(numbers)} numbers behind the class; a box has 4, an outline two for each of its three corners or more")
    return note(names[kind], _outlined(list(zip(numbers[::2], numbers[1::2], strict=True)), size, masks), source="object")


def _outlined(corners: _Outline, size: tuple[int, int], masks: bool) -> Region:
    """What lies within the corners, in fractions: a mask, or the box around it."""
    if not all(math.isfinite(value) for corner in corners for value in corner):
        raise ValueError(f"its corners are {list(corners)}")
    across, down = zip(*corners, strict=True)
    box = box_in((min(across), min(down), max(across), max(down)), (1, 1))
    return mask_in([[value * side for corner in corners for value, side in zip(corner, size, strict=True)]], size) if masks else box


def _names(names: _Path | Sequence[str] | Mapping[int, str]) -> Mapping[int, str]:
    listed: Any = _listed(names) if isinstance(names, str | PathLike) else names
    return {int(number): words_of_name(str(name)) for number, name in (listed.items() if isinstance(listed, Mapping) else enumerate(listed))}


def _listed(path: _Path) -> list[str] | dict[int, str]:
    """The names of a `data.yaml`: a list, or an object from numbers to names."""
    import yaml

    try:
        record = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML file that can be read: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("names"), list | dict):
        raise ValueError(f"{path} has no list of names")
    if record.get("kpt_shape"):
        raise ValueError(f"{path} is of labels with key points, which are not read")
    return record["names"]


def _result(entry: Any, masks: bool) -> list[Note]:
    kind, value = entry["type"], entry["value"]
    if entry.get("image_rotation"):
        raise ValueError(f"its picture was turned by {entry['image_rotation']} degrees")
    if kind == "keypointlabels":
        region: Region = Point(_share(value["x"]), _share(value["y"]))
    elif kind == "polygonlabels":
        region = _outlined([(x / 100, y / 100) for x, y in value["points"]], size_of(entry, *_SIDES) if masks else (1, 1), masks)
    elif kind == "rectanglelabels":
        turned = bool(value.get("rotation"))
        size = size_of(entry, *_SIDES) if turned else (1, 1)
        region = _outlined(_corners(value, size), size, masks and turned)
    else:
        raise ValueError(f"results of type {kind!r} are not read")
    return [note(str(label), region, source="object") for label in value[kind]]


def _corners(value: _Record, size: tuple[int, int]) -> _Outline:
    """The corners of a rectangle that is turned clockwise about its top left one: in pixels, where both sides have one unit."""
    x, y, width, height = (value[name] / 100 for name in ("x", "y", "width", "height"))
    turn = math.radians(value.get("rotation") or 0)
    aspect = size[0] / size[1]
    right = (width * math.cos(turn), width * math.sin(turn) * aspect)
    down = (-height * math.sin(turn) / aspect, height * math.cos(turn))
    return [(x + i * right[0] + j * down[0], y + i * right[1] + j * down[1]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]


def _share(percent: float) -> float:
    if not 0 <= percent <= 100:
        raise ValueError(f"a place at {percent} percent of the picture")
    return percent / 100


def _objects(entries: Any) -> list[_Record]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("its annotations are no lists of objects with a result")
    return entries


def _picture_name(data: Any) -> str:
    """The task's picture: what its data calls "image", or the only text there is."""
    if not isinstance(data, dict):
        raise ValueError(f"its data is a {type(data).__name__}; it wants an object")
    texts = [value for value in data.values() if isinstance(value, str)]
    name = data.get("image", texts[0] if len(texts) == 1 else None)
    if not isinstance(name, str):
        raise ValueError(f"its data has no 'image', only {sorted(data)}")
    return name


def _pictures(name: str, images: _Path) -> tuple[Picture, ...]:
    parts = urlsplit(name)
    given = unquote(parts.query.removeprefix("d=") if parts.query.startswith("d=") else parts.path).lstrip("/")
    try:
        return pictures_in(images, given)
    except ValueError:
        if "/upload/" not in f"/{given}" or not _UPLOADED.match(Path(given).name):
            raise
    return pictures_in(images, _UPLOADED.sub("", Path(given).name))

"""Localized Narratives: captions spoken over a picture while a mouse shows what is meant, from the official JSON lines files."""

import glob
import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from foveal.data.images import picture_from
from foveal.data.narration import Alignment, Narration, Utterance, by_words
from foveal.data.reading import LOG, Report, object_of, some_of
from foveal.grounding import Example, Note, Picture

__all__ = ["LICENCE", "localized_narratives", "narration_of", "record_of"]

LICENCE = "CC-BY-4.0"
"""Of the narratives; the photographs have their own."""

_GAP = 0.2  # seconds between two points of a trace at which `record_of` begins a new segment
_IMAGE_OF_LINE = re.compile(rb'"(dataset_id|image_id)"\s*:\s*("(?:[^"\\]|\\.)*"|\d+)')

_Path = str | PathLike[str]
_Line = tuple[str, int, bytes]  # what to call it, the byte at which it starts, and what it says


def localized_narratives(
    source: _Path | Iterable[_Path],
    *,
    images: _Path | None = None,
    align: Alignment = by_words,
    together: bool = False,
    keep_traces: bool = False,
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """Examples of the official files (paths, or patterns like `coco_train_*.jsonl`), read line by line.

    Each narrative is a note with source "narrative", whose words have the places that `align` gives them, and whose `made_by` names the
    annotator. There is one narrative to an example, or with `together` all those of an image (only then the files are read twice, and where
    each line starts is remembered). The fact "traces" keeps each note's mouse trace as [x, y, t] if `keep_traces`. With `images` the
    example has its picture: `000000000139.jpg` for image 139 of COCO, `<image_id>.jpg` of another data set, in it or in its folder `train2017`,
    for narratives of `mscoco_train2017`. A line that cannot be used is passed over, and `report` is given a sentence that says why.
    ValueError where no file is meant, or where no line is a narrative.
    """
    files = _files(source)
    told = _told(files, images, align, together, keep_traces, report)
    return some_of(told, f"no line of {', '.join(files[:3])} can be used; it wants objects with image_id, timed_caption and traces")


def _told(files: list[str], images: _Path | None, align: Alignment, together: bool, keep_traces: bool, report: Report) -> Iterator[Example]:
    for lines in _by_image(files) if together else ([line] for path in files for line in _lines(path)):
        found = [read for name, _, line in lines if (read := _read(name, line, images, report))]
        if found:
            record, _, pictures = found[0]
            notes = tuple(Note(align(narration), "narrative", made_by={"annotator": str(one["annotator_id"])}) for one, narration, _ in found)
            facts = {"traces": [narration.trace.tolist() for _, narration, _ in found]} if keep_traces else {}
            name = f"{record['dataset_id']}/{record['image_id']}" + ("" if together else f"/{record['annotator_id']}")
            yield Example(name, pictures, notes=notes, licence=LICENCE, facts=facts)


def narration_of(record: Mapping[str, Any]) -> Narration:
    """What a record of the official files tells: its segments, however many points each has, joined and sorted by time.

    ValueError for a record that lacks something or has less than two points of a trace.

    >>> way = [[{"x": 0.1, "y": 0.2, "t": 0.0}], [], [{"x": 0.4, "y": 0.2, "t": 0.5}]]
    >>> said = [{"utterance": "A cat", "start_time": 0.0, "end_time": 0.5}]
    >>> names = {"dataset_id": "mscoco_val2017", "image_id": "139", "annotator_id": 7}
    >>> narration_of(names | {"caption": "A cat.", "timed_caption": said, "traces": way}).trace.shape
    (2, 3)
    """
    wanted = ("dataset_id", "image_id", "annotator_id", "caption", "timed_caption", "traces")
    if missing := [name for name in wanted if record.get(name) is None]:
        raise ValueError(f"a record has no {missing[0]}")
    try:
        said = tuple(Utterance(str(part["utterance"]), float(part["start_time"]), float(part["end_time"])) for part in record["timed_caption"])
        trace = _trace([(point["x"], point["y"], point["t"]) for segment in record["traces"] for point in segment])
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("utterances want utterance, start_time and end_time, and points of a trace x, y and t") from error
    return Narration(str(record["caption"]), said, trace)


def record_of(narration: Narration, image_id: str, *, dataset_id: str = "scenes", annotator_id: int = 0) -> dict[str, Any]:
    """The narration in the form of the official files; where its trace rests for longer than a fifth of a second, a new segment begins."""
    breaks = np.flatnonzero(np.diff(narration.trace[:, 2]) > _GAP) + 1
    segments = [[dict(zip("xyt", point, strict=True)) for point in segment.tolist()] for segment in np.split(narration.trace, breaks)]
    said = [{"utterance": part.text, "start_time": part.start, "end_time": part.end} for part in narration.said]
    return {
        "dataset_id": dataset_id,
        "image_id": image_id,
        "annotator_id": annotator_id,
        "caption": narration.caption,
        "timed_caption": said,
        "traces": segments,
        "voice_recording": "",
    }


def _trace(points: list[tuple[float, float, float]]) -> Float[np.ndarray, "points 3"]:
    rows = np.array(points, dtype=np.float64).reshape(-1, 3)
    return rows[rows[:, 2].argsort(kind="stable")]


def _read(name: str, line: bytes, images: _Path | None, report: Report) -> tuple[Mapping[str, Any], Narration, tuple[Picture, ...]] | None:
    try:
        record = object_of(line)
        narration = narration_of(record)
        return record, narration, () if images is None else (picture_from(_image_file(record, Path(images))),)
    except (ValueError, RecursionError) as error:
        report(f"{name} is passed over: {error}")
        return None


def _image_file(record: Mapping[str, Any], folder: Path) -> Path:
    dataset, image = str(record["dataset_id"]), str(record["image_id"])
    name = f"{image.zfill(12) if dataset.startswith('mscoco') else image}.jpg"
    within = folder / dataset.removeprefix("mscoco_") / name
    return within if within.is_file() else folder / name


def _files(source: _Path | Iterable[_Path]) -> list[str]:
    given = [fspath(path) for path in ([source] if isinstance(source, str | PathLike) else source)]
    found = (file for path in given for file in ([path] if Path(path).is_file() else sorted(glob.glob(path))))
    files = [file for file in found if Path(file).is_file()]
    if not files:
        raise ValueError(f"there is no file of narratives at {', '.join(given) or 'no path'}; give a path or a pattern of paths")
    return files


def _lines(path: str) -> Iterator[_Line]:
    start = 0
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{path}, line {number},", start, line
            start += len(line)


def _by_image(files: list[str]) -> Iterator[list[_Line]]:
    """The lines of each image, in the order in which images are first met; a line that names none stands alone."""
    starts: dict[object, list[tuple[str, str, int]]] = {}
    for path in files:
        for name, start, line in _lines(path):
            starts.setdefault(frozenset(_IMAGE_OF_LINE.findall(line)) or name, []).append((path, name, start))
    for found in starts.values():
        yield [(name, start, _line_at(path, start)) for path, name, start in found]


def _line_at(path: str, start: int) -> bytes:
    with open(path, "rb") as lines:
        lines.seek(start)
        return lines.readline()

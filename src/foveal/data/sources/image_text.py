"""Pictures with their captions by the million: WebDataset's archives, and Microsoft's GRIT, whose captions are tied to boxes."""

import glob
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any

from foveal.data.images import picture_from
from foveal.data.notes import box_in, pictures_in
from foveal.data.reading import LOG, Report, entries_of, made_of, needed, object_of, some_of
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Note, Picture, Span

__all__ = ["MAX_MEMBER", "kosmos_grit", "webdataset"]

MAX_MEMBER = 64 * 2**20
"""The most bytes that a member of an archive may have."""

_Path = str | PathLike[str]
_Record = Mapping[str, Any]

_PICTURES = ("jpg", "jpeg", "png", "webp")
_FACTS = ("url", "license", "licence", "clip_similarity_vitb32", "clip_similarity_vitl14")
_COLUMNS = ("key", "id", "url", "caption", "noun_chunks", "ref_exps", "clip_similarity_vitb32", "clip_similarity_vitl14")
_WANTED = {"caption", "noun_chunks", "ref_exps"}
_ROWS = 1024  # of a parquet file that are held in memory
_ENDS = ("EOFHeaderError", "EmptyHeaderError")  # by which `tarfile` knows that an archive is over
_TORN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


def webdataset(
    shards: _Path | Iterable[_Path], *, max_member: int = MAX_MEMBER, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """An example for each sample of WebDataset's archives (paths, or patterns like `cc3m/*.tar`), as img2dataset writes CC3M and LAION.

    A sample is the members that follow each other under one name up to the first dot: a picture (.jpg, .png, .webp), and its caption in .txt
    or in .json, whose address and licence are facts. Where the .json has GRIT's `noun_chunks` and `ref_exps`, notes are those of
    `kosmos_grit`. Archives are read from front to end, nothing is unpacked to disk; members of more than `max_member` bytes are not read.
    Of an archive that is torn, what lies before the tear is used, and `report` is told.
    """
    files = _files(shards)
    samples = (sample for path in files for sample in _samples(path, max_member, report))

    def example(sample: _Sample) -> Example:
        if sample.large:
            raise ValueError(f"its member {sample.large[0]} has more than {max_member:,} bytes")
        record = dict(object_of(sample.parts["json"].decode("utf-8"))) if "json" in sample.parts else {}
        caption = record.get("caption") or sample.parts.get("txt", b"").decode("utf-8", errors="replace")
        pictures = [sample.parts[kind] for kind in _PICTURES if kind in sample.parts]
        if not pictures:
            raise ValueError(f"it has no picture, only {sorted(sample.parts)}")
        notes = _notes(record | {"caption": caption}, sample.name, report)
        return Example(sample.id, (picture_from(pictures[0]),), notes=notes, licence=licence, facts=_facts(record))

    named = ((sample.name, sample) for sample in samples)
    return some_of(made_of(named, example, report), _refusal(files, "a picture with a caption for each name"))


def kosmos_grit(files: _Path | Iterable[_Path], *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each row of GRIT's parquet files (`grit-20m/coyo_0_snappy.parquet`; paths, or patterns), the data of Kosmos-2.

    The caption is a note with source "caption" whose noun chunks are tied to their boxes, and each referring expression in it a note with
    source "expression"; the detector's scores stay with the regions. An example is called by its row's `id`. With `images` there is its
    picture `<key>.jpg`, .png or .webp, also in a folder called by the key's first five digits; a row without is passed over.
    """
    paths = _files(files)

    def example(record: _Record) -> Example:
        notes = _notes(record, f"row {record.get('id', record.get('key'))}", report)
        name = record["id"] if record.get("id") is not None else record["key"]
        return Example(str(name), _pictures(record, images), notes=notes, licence=licence, facts=_facts(record))

    rows = (row for path in paths for row in _rows(path))
    return some_of(made_of(rows, example, report), _refusal(paths, f"parquet with the columns {', '.join(_COLUMNS)}"))


@dataclass(slots=True)
class _Sample:
    """What an archive holds under one name, by ending; and the names of what is too large to be read."""

    archive: str
    key: str
    parts: dict[str, bytes] = field(default_factory=dict)
    large: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.archive}, sample {self.key},"

    @property
    def id(self) -> str:
        """Of many archives the keys begin anew in each."""
        return f"{PurePosixPath(self.archive).name.partition('.')[0]}/{self.key}"


class _Member(tarfile.TarInfo):
    """A member of an archive that does not end silently where its headers are broken."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ in _ENDS:
                raise
            raise tarfile.ReadError(str(error)) from error


def _samples(path: str, max_member: int, report: Report) -> Iterator[_Sample]:
    sample: _Sample | None = None
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                stem, _, kind = base.partition(".")
                kind, key = kind.lower(), f"{folder.removeprefix('./')}/{stem}".lstrip("/")
                if not member.isfile() or kind not in (*_PICTURES, "txt", "json"):
                    continue
                if sample is not None and (sample.key != key or kind in sample.parts):
                    yield sample
                    sample = None
                sample = sample or _Sample(path, key)
                if member.size > max_member:
                    sample.large.append(member.name)
                elif (data := archive.extractfile(member)) is not None:
                    sample.parts[kind] = data.read()
    except _TORN as error:
        report(f"{path} is torn, and what lies behind the tear is passed over: {error}")
        return  # what was being read may lack a part
    if sample is not None:
        yield sample


def _rows(path: str) -> Iterator[tuple[str, _Record]]:
    """The rows of a parquet file, a few at a time."""
    pyarrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            if missing := sorted(_WANTED - set(file.schema_arrow.names)):
                raise ValueError(f"{path} is no file of GRIT: it has no column {missing[0]!r}")
            columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
            start = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                yield from ((f"{path}, row {start + place},", row) for place, row in enumerate(batch.to_pylist()))
                start += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no whole parquet file: {error}") from error


def _notes(record: _Record, name: str, report: Report) -> tuple[Note, ...]:
    """The caption tied to its noun chunks, then the expressions; a chunk that cannot be used is passed over by itself."""
    caption = record["caption"]
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError("it has no caption")
    found = []
    for kind in ("noun_chunks", "ref_exps"):
        entries = entries_of(record.get(kind) or (), kind, name)
        found.append(_spans(made_of(entries, lambda entry: _chunk(entry, caption), report)))
    chunks, expressions = found
    said = [(caption[span.start : span.end], span) for span in expressions]
    told = [Note(GroundedText(words, (Span(0, len(words), span.regions, span.scores),)), "expression") for words, span in said]
    return (Note(GroundedText(caption, tuple(chunks)) if chunks else GroundedText(caption.strip()), "caption"), *told)


def _chunk(entry: Sequence[float], caption: str) -> tuple[int, int, Region, float]:
    if len(entry) != 7:
        raise ValueError(f"it is {list(entry)}; it wants start, end, x0, y0, x1, y1 and score")
    start, end, score = int(entry[0]), int(entry[1]), float(entry[6])
    if not 0 <= start < end <= len(caption) or not caption[start:end].strip():
        raise ValueError(f"it names the characters {start} to {end} of a caption of {len(caption)}")
    return start, end, box_in(entry[2:6], (1, 1)), score


def _spans(chunks: Iterable[tuple[int, int, Region, float]]) -> list[Span]:
    """One stretch of words with all of its boxes, in the order of the words."""
    together: dict[tuple[int, int], list[tuple[Region, float]]] = {}
    for start, end, region, score in chunks:
        together.setdefault((start, end), []).append((region, score))
    return [Span(start, end, *zip(*found, strict=True)) for (start, end), found in sorted(together.items())]


def _facts(record: _Record) -> dict[str, object]:
    return {name: record[name] for name in _FACTS if record.get(name) is not None}


def _pictures(record: _Record, images: _Path | None) -> tuple[Picture, ...]:
    if images is None:
        return ()
    key = str(record["key"])
    for name in (f"{folder}{key}.{kind}" for folder in ("", f"{key[:5]}/") for kind in _PICTURES):
        if Path(images, name).is_file():
            return pictures_in(images, name)
    raise ValueError(f"there is no picture {Path(images, key)}.jpg")


def _files(source: _Path | Iterable[_Path]) -> list[str]:
    given = [fspath(path) for path in ([source] if isinstance(source, str | PathLike) else source)]
    found = [(path, [path] if Path(path).is_file() else sorted(glob.glob(path))) for path in given]
    if missing := [path for path, files in found if not files] or ([] if given else ["no path"]):
        raise ValueError(f"there is no file at {missing[0]}; give a path, a pattern, or several")
    return [file for _, files in found for file in files]


def _refusal(files: Sequence[str], wanted: str) -> str:
    return f"no sample of {', '.join(files[:3])} can be used; it wants {wanted}"

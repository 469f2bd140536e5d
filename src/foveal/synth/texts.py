"""A stage that reads what is written in a picture, with PP-OCR: real models that come inside rapidocr's wheel, on a CPU, without a network."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveal.data.images import load_picture
from foveal.data.notes import box_in
from foveal.data.reading import needed
from foveal.grounding import Example, Note, tied
from foveal.synth.notes import added, refused
from foveal.synth.stage import Stage

__all__ = ["read_text"]

_LONGEST = 8
"""Times its other side that a picture may be long before it is given with white beside it: on longer ones the reader fails, finds nothing, or takes
minutes, since it enlarges the short side."""


def read_text(*, threads: int = 1) -> Stage:
    """A stage: each line of text as a note with source "text", its upright box, and how sure the reader is of the letters.

    Lines that stand on their head are turned. Nothing is left out: `scored_above` says which lines stand (Monkey's pipeline: above 0.85). A process
    reads with `threads` threads; two processes of one thread read more than one of two (benchmarks/descriptions.py). ValueError, when it runs,
    where rapidocr and onnxruntime are not installed.
    """
    return partial(_read, threads=threads)


def _read(examples: Iterable[Example], *, threads: int) -> Iterator[Example]:
    reader, made_by = _reader(threads)
    for example in examples:
        try:
            notes = [note for number in range(len(example.images)) for note in _lines(reader, example, number, made_by)]
        except ValueError as error:
            yield refused(example, str(error))
            continue
        yield added(example, *notes)


def _lines(reader: Any, example: Example, number: int, made_by: dict[str, str]) -> Iterator[Note]:
    """The lines of one picture, from top to bottom."""
    picture = load_picture(example.images[number])
    found = reader(np.ascontiguousarray(np.asarray(_within(picture))[..., ::-1]))  # it wants blue before red
    if found.boxes is None or found.txts is None:
        return
    for corners, words, score in zip(found.boxes, found.txts, found.scores, strict=True):
        if words.strip():
            try:
                box = box_in([float(value) for value in (*np.min(corners, 0), *np.max(corners, 0))], picture.size)
            except ValueError:  # beside the picture
                continue
            yield Note(tied(words.strip(), replace(box, image=number)), "text", float(score), made_by)


def _within(picture: Image.Image) -> Image.Image:
    """The picture, with white below or beside one that is so long and narrow that the reader fails on it."""
    least = math.ceil(max(picture.size) / _LONGEST)
    if min(picture.size) >= least:
        return picture
    whole = Image.new("RGB", (max(picture.width, least), max(picture.height, least)), "white")
    whole.paste(picture, (0, 0))
    return whole


@lru_cache(maxsize=1)
def _reader(threads: int) -> tuple[Any, dict[str, str]]:
    """The reader, and what its notes are made by: one hash of the three models' files."""
    library = _library()
    settings = {
        "Global.log_level": "critical",
        "Global.text_score": 0.0,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    reader = library.RapidOCR(params=settings)
    total = sha256()
    files = sorted((Path(library.__file__).parent / "models").glob("*.onnx"))
    for file in files:
        total.update(file.read_bytes())
    read_with = next((file.stem for file in files if "_rec_" in file.name), "PP-OCR")
    return reader, {"model": f"{read_with} (rapidocr {version('rapidocr')})", "weights": total.hexdigest()[:16]}


def _library() -> Any:
    try:
        needed("onnxruntime")
        return needed("rapidocr")
    except ValueError as error:
        raise ValueError("reading text wants rapidocr and onnxruntime; pip install 'foveal[synth]'") from error

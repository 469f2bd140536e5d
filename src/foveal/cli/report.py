"""What comes out: an answer as text for people, as JSON for programs, as a picture."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal.data.images import load_picture
from foveal.draw import draw, draw_trace, play_trace
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, region_to_json
from foveal.session.answers import Answer

__all__ = ["as_record", "as_text", "check_save", "save_drawing", "sentence_of"]

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff", ".gif")


def as_record(example: Example, answer: Answer, image: str, model: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of an answer, as docs/output.md describes it."""
    picture = example.images[0]
    size = (picture.width, picture.height)
    return {
        **names,
        "image": image,
        "width": picture.width,
        "height": picture.height,
        "model": model,
        "question": example.facts["question"],
        "asked": [_rounded(region_to_json(region, size)) for region in _asked(example)],
        "text": answer.text,
        "spans": _spans(answer.said, size),
        "finish_reason": answer.finish_reason,
    }


def sentence_of(error: Exception) -> str:
    """What went wrong, in one line; what the machine says of a file begins with the file, and has no number.

    >>> sentence_of(NotADirectoryError(20, "Not a directory", "README.md/images")), sentence_of(ValueError("no \\n file"))
    ('README.md/images: Not a directory', 'no file')
    """
    said = str(error)
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return " ".join(said.split())


def as_text(example: Example, answer: Answer, *, wants_place: bool = False) -> str:
    """The words, and under them each place in pixels with its score. Control characters, which could steer a terminal, are left out."""
    size = (example.images[0].width, example.images[0].height)
    rows = []
    for span in _spans(answer.said, size):
        for region in span["regions"]:
            box = ", ".join(f"{value:.0f}" for value in region["box_px"])
            rows.append((span["words"] or "here", box, "" if region["score"] is None else f"score {region['score']:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [answer.text.strip() or ("(no words)" if not rows else "")]
    lines += ["  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if wants_place and not rows:
        lines.append("  (no place)")
    if answer.finish_reason != "stop":
        lines.append("  (ended early: it went in circles)" if answer.finish_reason == "repetition" else "  (cut off at --max-tokens)")
    return _CONTROL.sub("", "\n".join(line for line in lines if line))


def check_save(save: Path | None, *, several: bool) -> None:
    """ValueError when nothing could be saved there, before any work is done."""
    if save is None:
        return
    if several:
        if save.exists() and not save.is_dir():
            raise ValueError(f"--save {save} is a file; of several images a folder is wanted.")
        return
    if save.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"--save {save} names no image format; it ends with one of {', '.join(_SUFFIXES)}.")
    if not save.parent.is_dir():
        raise ValueError(f"--save {save}: there is no folder {save.parent}.")


def save_drawing(example: Example, answer: Answer, save: Path, number: int | None = None, *, trace: bool = False) -> None:
    """Draw the question's and the answer's places and save the picture: as `save`, or as a numbered file in that folder.

    With `trace` the way that the answer's words take is drawn instead, and played where `save` is a .gif.
    """
    picture, question = load_picture(example.images[0]), str(example.facts["question"])
    if number is not None:
        save.mkdir(parents=True, exist_ok=True)
        save = save / f"{number:04d}-{Path(example.images[0].path or 'image').stem}.png"
    if not trace:
        draw(picture, answer.said, asked=_asked(example), question=question).save(save)
    elif save.suffix.lower() != ".gif":
        draw_trace(picture, answer.said, question=question).save(save)
    else:
        frames, shown = zip(*play_trace(picture, answer.said, question=question), strict=True)
        frames[0].save(save, save_all=True, append_images=frames[1:], duration=shown, loop=0)


def _asked(example: Example) -> tuple[Region, ...]:
    """The question's regions in the order of <1>, <2> …"""
    regions = example.facts["regions"]
    assert isinstance(regions, tuple)
    return regions


def _spans(said: GroundedText, size: tuple[int, int]) -> list[dict[str, Any]]:
    spans = []
    for span in said.spans:
        scores = span.scores or (None,) * len(span.regions)
        regions = [_rounded(region_to_json(region, size)) | {"score": score} for region, score in zip(span.regions, scores, strict=True)]
        spans.append({"start": span.start, "end": span.end, "words": said.text[span.start : span.end], "regions": regions})
    return spans


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    """Fractions to a millionth and pixels to a hundredth: what lies beyond is arithmetic, not knowledge."""
    places = {"box": 6, "point": 6, "box_px": 2}
    return {name: [round(number, places[name]) for number in value] if name in places else value for name, value in record.items()}

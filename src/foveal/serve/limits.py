"""What a request may hold at most, and what is refused, in one sentence, before anything large is made of it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from foveal.data.images import ImageError, LargeImageError, load_image
from foveal.geometry import Box, Mask, Point, Region, Trace, mask_from_coco, mask_from_polygons
from foveal.session.questions import check_region

__all__ = ["Limits", "RefusedError", "check_count", "check_id", "check_json", "check_regions", "plain_text", "read_image", "region_from_json"]


class RefusedError(ValueError):
    """A request that is not answered: the HTTP `status`, 400 to 499, and one sentence that says what was given and what is wanted."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a request may hold of each thing."""

    body_bytes: int = 64 * 2**20
    """Bytes of a request's body."""
    values: int = 250_000
    """Numbers, words, lists and objects in a body of JSON: each costs more memory than it has bytes."""
    depth: int = 16
    """Lists and objects within one another."""
    characters: int = 32_768
    """Characters of one text."""
    pixels: int = 120_000_000
    """Pixels that an image may declare."""
    scans: int = 100
    """Passes over its pixels that a JPEG file may make: each takes as long as a picture."""
    images: int = 16
    """Images of a request."""
    regions: int = 256
    """Regions of a request."""
    vertices: int = 2_048
    """Corners of a polygon, and points of a scribble."""
    points: int = 8_192
    """Corners of all polygons and points of all scribbles of a request together: a raster is made of each."""
    runs: int = 131_072
    """Runs of a mask."""
    mask_pixels: int = 2**24
    """Pixels of a mask that has another size than its image."""


_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]|[^"\[\]{}]++', re.DOTALL)
_KINDS = ("box", "point", "polygon", "scribble", "mask")
_NAMES = tuple(name for kind in _KINDS for name in ((kind,) if kind == "mask" else (kind, f"{kind}_px")))
_DRAWN = ("polygon", "polygon_px", "scribble", "scribble_px")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_RASTER = 2_048
_SCAN = b"\xff\xda"
_SHOWN = 40
_TOLERANCE = 1e-6


def check_json(body: bytes, limits: Limits = Limits()) -> Any:
    """What a body of JSON says; `RefusedError` for one that is too large, too deep, holds too much, or is no JSON.

    Size, depth and number of values are counted before anything is made of them. NaN and infinity are no numbers, and no string holds half a
    character, so that whatever is taken from it can be said again.

    >>> check_json(b'{"box": [0, 0, 1, 1]}')
    {'box': [0, 0, 1, 1]}
    """
    if len(body) > limits.body_bytes:
        raise RefusedError(413, f"The body has {len(body):,} bytes; at most {limits.body_bytes:,} are taken.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(400, "The body is not UTF-8; JSON in UTF-8 is wanted.") from error
    _count(text, limits)
    try:
        made = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise RefusedError(400, f"The body nests too deep; at most {limits.depth} lists and objects may lie within one another.") from error
    except ValueError as error:
        raise RefusedError(400, f"The body is not JSON: {_short(str(error), 120)}.") from error
    if "\\u" in text:
        _check_halves(made)
    return made


def check_count(what: str, count: int, most: int) -> None:
    """`RefusedError` where there are more than `most` of something.

    >>> check_count("regions", 2000, 256)
    Traceback (most recent call last):
    foveal.serve.limits.RefusedError: 2,000 regions were given; at most 256 are taken.
    """
    if count > most:
        raise RefusedError(413, f"{count:,} {what} were given; at most {most:,} are taken.")


def check_regions(parts: Iterable[Any], limits: Limits = Limits()) -> None:
    """`RefusedError` where the regions of a request are too many, or have too many points together; to be asked before any of them is made.

    >>> check_regions([{"scribble": [[0, 0]] * 2000}] * 5)
    Traceback (most recent call last):
    foveal.serve.limits.RefusedError: 10,000 points of regions were given; at most 8,192 are taken.
    """
    regions = [part for part in parts if isinstance(part, Mapping)]
    check_count("regions", len(regions), limits.regions)
    drawn = [part.get(name) for part in regions for name in _DRAWN]
    check_count("points of regions", sum(len(points) for points in drawn if isinstance(points, list)), limits.points)


def check_id(given: str, what: str = "scene") -> str:
    """The id itself; `RefusedError` (404) for one that no thing has: anything but letters, digits, "-" and "_".

    >>> check_id("../../etc/passwd")
    Traceback (most recent call last):
    foveal.serve.limits.RefusedError: There is no such scene; an id is what the server gave: letters, digits, - and _.
    """
    if not _ID.fullmatch(given):
        raise RefusedError(404, f"There is no such {what}; an id is what the server gave: letters, digits, - and _.")
    return given


def plain_text(text: Any, limits: Limits = Limits(), *, name: str = "The text") -> str:
    """The text itself; `RefusedError` for what is no text, is too long, or holds half a character, which no tokenizer takes.

    Words that spell control tokens are words: every processor takes them apart when it writes a conversation, so nothing is cut out here.
    """
    if not isinstance(text, str):
        raise RefusedError(400, f"{name} is {_shown(text)}; a string is wanted.")
    if len(text) > limits.characters:
        raise RefusedError(413, f"{name} has {len(text):,} characters; at most {limits.characters:,} are read.")
    if not _is_whole(text):
        raise RefusedError(400, f"{name} holds half a character (a lone surrogate), which stands for nothing.")
    return text


def read_image(data: bytes, limits: Limits = Limits()) -> Image.Image:
    """An encoded image as upright 8-bit RGB; `RefusedError` for one that declares too many pixels (413), is of another kind, or is damaged.

    Pixels are counted before they are decoded, and of several frames only the first is.
    """
    if data.startswith(b"\xff\xd8") and data.count(_SCAN) > limits.scans:
        raise RefusedError(413, f"The JPEG file makes {data.count(_SCAN):,} passes over its pixels; at most {limits.scans} are taken.")
    try:
        return load_image(data, max_pixels=limits.pixels)
    except ImageError as error:
        raise RefusedError(413 if isinstance(error, LargeImageError) else 400, str(error)) from error


def region_from_json(part: Any, sizes: Sequence[tuple[int, int]], limits: Limits = Limits()) -> Region:
    """The region of a content part about images of `sizes`, (width, height) each; `RefusedError` where it is none.

    Exactly one of `box`, `point`, `polygon`, `scribble` (each in fractions, or with `_px` in pixels of its image) and `mask` (a COCO run-length
    record) says where; `image` says in which image, the first unless given. A polygon is the mask of the pixels within, on a raster of the image's
    own size up to 2,048 pixels a side.

    >>> region_from_json({"type": "region", "box_px": [64, 48, 320, 240]}, [(640, 480)])
    Box(x0=0.1, y0=0.1, x1=0.5, y1=0.5, image=0)
    """
    if not isinstance(part, Mapping):
        raise RefusedError(400, f"A region is {_shown(part)}; an object is wanted.")
    given = [name for name in _NAMES if part.get(name) is not None]
    if len(given) != 1:
        raise RefusedError(400, f"A region says where by {', '.join(given) or 'nothing'}; exactly one is wanted of {', '.join(_NAMES)}.")
    image = part.get("image")
    image = 0 if image is None else image
    if not isinstance(image, int) or isinstance(image, bool) or not 0 <= image < len(sizes):
        counted = f"there are {len(sizes)}, counted from 0" if sizes else "there is none"
        raise RefusedError(400, f"A region is in image {_shown(image)}, and {counted}.")
    name, size = given[0], sizes[image]
    kind, scale = name.removesuffix("_px"), size if name.endswith("_px") else (1, 1)
    try:
        if kind == "mask":
            return check_region(_mask(part[name], size, image, limits))
        if kind in ("box", "point"):
            values = [_number(value, name) for value in _entries(part[name], name, 4 if kind == "box" else 2)]
            x, y, *far = [value / scale[place % 2] for place, value in enumerate(values)]
            made = Box(x, y, far[0], far[1], image) if far else Point(x, y, image)
            return check_region(made, size if name.endswith("_px") else None)
        points = _points(part[name], name, scale, limits)
        return Trace(points, image) if kind == "scribble" else _polygon(points, size, image)
    except RefusedError:
        raise
    except ValueError as error:
        said = str(error).rstrip(".")
        raise RefusedError(400, f"{said[0].upper()}{said[1:]}.") from error


def _points(given: Any, name: str, scale: tuple[int, int], limits: Limits) -> tuple[tuple[float, float], ...]:
    pairs = _entries(given, name)
    check_count(f"points of a {name}", len(pairs), limits.vertices)
    least = 3 if name.startswith("polygon") else 1
    if len(pairs) < least:
        raise RefusedError(400, f"{name} has {len(pairs)} points; at least {least} are wanted.")
    points = []
    for pair in pairs:
        x, y = (_number(value, name) for value in _entries(pair, f"A point of {name}", 2))
        point = (x / scale[0], y / scale[1])
        if not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in point):
            wanted = f"the image has {scale[0]}x{scale[1]} pixels" if scale != (1, 1) else "coordinates are fractions of it, from 0 to 1, x before y"
            raise RefusedError(400, f"The point {x:g}, {y:g} of {name} lies outside the image; {wanted}.")
        points.append(point)
    return tuple(points)


def _polygon(points: tuple[tuple[float, float], ...], size: tuple[int, int], image: int) -> Mask:
    return mask_from_polygons([points], (min(size[0], _RASTER), min(size[1], _RASTER)), image)


def _mask(record: Any, size: tuple[int, int], image: int, limits: Limits) -> Mask:
    """The mask of a run-length record whose size, number of runs and length of each are bounded before a number is made of them."""
    if not isinstance(record, Mapping):
        raise RefusedError(400, f"mask is {_shown(record)}; an object with size [height, width] and counts is wanted.")
    height, width = _entries(record.get("size"), "The size of a mask", 2)
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in (height, width)):
        raise RefusedError(400, f"The size of a mask is {_shown(record['size'])}; [height, width] in whole pixels is wanted.")
    if (width, height) != size and width * height > limits.mask_pixels:
        raise RefusedError(
            413, f"A mask declares {_shown(width)}x{_shown(height)} pixels; at most {limits.mask_pixels:,}, or its image's size, are taken."
        )
    counts = record.get("counts")
    if isinstance(counts, list):
        check_count("runs of a mask", len(counts), limits.runs)
        if not all(isinstance(run, int) and not isinstance(run, bool) and 0 <= run <= width * height for run in counts):
            raise RefusedError(400, f"The runs of a mask are whole numbers from 0 to its {width * height:,} pixels.")
    elif isinstance(counts, str):  # a run takes up to seven characters, and one at least
        check_count("characters of a mask's counts", len(counts), 7 * limits.runs)
    else:
        raise RefusedError(400, f"The counts of a mask are {_shown(counts)}; a list of runs or COCO's compressed string is wanted.")
    mask = mask_from_coco({"size": [height, width], "counts": counts}, image)
    check_count("runs of a mask", len(mask.counts), limits.runs)
    return mask


def _entries(given: Any, name: str, count: int | None = None) -> list[Any]:
    if not isinstance(given, list | tuple) or count not in (None, len(given)):
        raise RefusedError(400, f"{name} is {_shown(given)}; a list of {f'{count} numbers' if count else 'points [x, y]'} is wanted.")
    return list(given)


def _number(given: Any, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not -1e9 < given < 1e9:  # NaN is in no range
        raise RefusedError(400, f"A coordinate of {name} is {_shown(given)}; a number is wanted.")
    return float(given)


def _count(text: str, limits: Limits) -> None:
    depth = values = 0
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        first = text[start]
        depth += (first in "[{") - (first in "]}")
        values += 1 if first in '"[]{}' else text.count(",", start, end)
        if depth > limits.depth:
            raise RefusedError(400, f"The body nests too deep; at most {limits.depth} lists and objects may lie within one another.")
        if values > 3 * limits.values:  # a value brings up to three: a comma, a name, and itself
            raise RefusedError(413, f"The body holds too much; at most {limits.values:,} values are taken.")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check_halves(made: Any) -> None:
    waiting = [made]
    while waiting:
        match waiting.pop():
            case str(text):
                if not _is_whole(text):
                    raise RefusedError(400, "A string of the body holds half a character (a lone surrogate), which stands for nothing.")
            case list(entries):
                waiting += entries
            case dict(entries):
                waiting += [*entries.keys(), *entries.values()]


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shown(given: Any) -> str:
    """What was given, so short that a refusal is never large."""
    match given:
        case dict():
            return f"an object with {len(given)} entries"
        case list() | tuple() if len(given) > 8 or any(isinstance(entry, list | tuple | dict) for entry in given):
            return f"a list of {len(given)} entries"
        case list() | tuple():
            return f"[{', '.join(_shown(entry) for entry in given)}]"
        case bool() | None:
            return json.dumps(given)
        case int():
            return str(given) if given.bit_length() < 64 else "a number of more than 64 bits"
        case str():
            return repr(_short(given, _SHOWN))
        case float():
            return f"{given:g}"
    return type(given).__name__


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"

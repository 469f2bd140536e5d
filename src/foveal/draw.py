"""Draws words and places on an image: every region in a colour of its own, its words beside it, the whole answer underneath."""

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foveal.geometry import Box, Mask, Point, Region, Trace, bounding_box, decode_mask
from foveal.geometry.frames import Frame
from foveal.grounding import GroundedText

__all__ = ["colour_of", "draw"]

_Colour = tuple[int, int, int]

_RED, _BLUE, _GREEN, _ORANGE = (230, 57, 70), (29, 130, 220), (42, 157, 83), (244, 140, 6)
_COLOURS: tuple[_Colour, ...] = (_RED, _BLUE, _GREEN, _ORANGE, (142, 68, 173), (0, 150, 160), (214, 51, 132), (120, 94, 60))
_ASKED: _Colour = (30, 30, 30)
_INK: _Colour = (25, 25, 25)
_GREY: _Colour = (110, 110, 110)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A region to draw, with its words and colour."""

    region: Region
    words: str
    colour: _Colour


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of letters of the text under the image; `apart` when a blank stands before it."""

    text: str
    colour: _Colour
    apart: bool


@dataclass(frozen=True, slots=True)
class _Pen:
    """The canvas being drawn on and the measures that follow from its size."""

    canvas: ImageDraw.ImageDraw
    frame: Frame
    size: tuple[int, int]
    line: int
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont


def draw(image: Image.Image, said: GroundedText | Sequence[Region], *, asked: Sequence[Region] = (), question: str = "") -> Image.Image:
    """A new RGB image with the places of `said` drawn on it and its words underneath; `image` is left as it is.

    Each span has a colour, used for its regions, their label and its words in the text. `asked` are the regions of the question, drawn
    dashed with <1>, <2> …; a bare list of regions is drawn with numbers. An image below 640 px on its longer side is enlarged first, so that
    labels can be read; the text strip adds to the height.

    >>> draw(Image.new("RGB", (64, 48)), [Box(0.1, 0.2, 0.5, 0.9)]).width
    640
    """
    if not isinstance(said, GroundedText):
        marks = [_Mark(region, str(number), colour_of(number - 1)) for number, region in enumerate(said, 1)]
        said = GroundedText("", ())
    else:
        marks = [_Mark(region, _words(said, index), colour_of(index)) for index, span in enumerate(said.spans) for region in span.regions]
    marks = [_Mark(region, f"<{number}>", _ASKED) for number, region in enumerate(asked, 1)] + marks
    picture = _enlarged(image.convert("RGB"))
    picture = _shaded(picture, marks)
    line = max(2, round(max(picture.size) / 320))
    font = ImageFont.load_default(max(13, round(max(picture.size) / 48)))
    pen = _Pen(ImageDraw.Draw(picture), Frame.stretch(picture.size, picture.size), picture.size, line, font)
    for mark in marks:
        _outline(pen, mark)
    taken: list[tuple[float, float, float, float]] = []
    for mark in marks:
        _label(pen, mark, taken)
    return _with_strip(picture, said, question, font)


def colour_of(index: int) -> _Colour:
    """The colour of the `index`-th span, from 0: eight that differ well, then around the colour wheel by the golden angle.

    >>> colour_of(0) != colour_of(1) != colour_of(100)
    True
    """
    if index < len(_COLOURS):
        return _COLOURS[index]
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.75, 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def _words(said: GroundedText, index: int) -> str:
    span = said.spans[index]
    return " ".join(said.text[span.start : span.end].split()) or f"{index + 1}"


def _enlarged(picture: Image.Image) -> Image.Image:
    scale = max(1.0, 640 / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS) if scale > 1 else picture.copy()


def _shaded(picture: Image.Image, marks: Sequence[_Mark]) -> Image.Image:
    """Masks lie as a veil of their colour, so that what they cover stays visible."""
    for mark in marks:
        if isinstance(mark.region, Mask):
            veil = Image.fromarray(decode_mask(mark.region).astype(np.uint8) * 110).resize(picture.size, Image.Resampling.NEAREST)
            picture.paste(Image.new("RGB", picture.size, mark.colour), (0, 0), veil)
    return picture


def _outline(pen: _Pen, mark: _Mark) -> None:
    """White below the colour keeps a line visible on a ground of the same colour."""
    for width, colour in ((pen.line + 2, (255, 255, 255)), (pen.line, mark.colour)):
        match mark.region:
            case Point():
                x, y = pen.frame.to(mark.region)
                reach = pen.line * 3 + (width - pen.line)
                pen.canvas.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=width)
            case Trace(points):
                way = [tuple(pen.frame.to(Point(x, y))) for x, y in points]
                pen.canvas.line(way if len(way) > 1 else way * 2, fill=colour, width=width, joint="curve")
            case Mask():
                continue
            case Box():
                _rectangle(pen, mark, colour, width)


def _rectangle(pen: _Pen, mark: _Mark, colour: _Colour, width: int) -> None:
    x0, y0, x1, y1 = pen.frame.to(mark.region)
    x1, y1 = max(x0 + 1, x1), max(y0 + 1, y1)
    if mark.colour != _ASKED:
        pen.canvas.rectangle((x0, y0, x1, y1), outline=colour, width=width)
        return
    dash = pen.line * 5
    for start in np.arange(0, x1 - x0, 2 * dash):
        for y in (y0, y1):
            pen.canvas.line((x0 + start, y, min(x0 + start + dash, x1), y), fill=colour, width=width)
    for start in np.arange(0, y1 - y0, 2 * dash):
        for x in (x0, x1):
            pen.canvas.line((x, y0 + start, x, min(y0 + start + dash, y1)), fill=colour, width=width)


def _label(pen: _Pen, mark: _Mark, taken: list[tuple[float, float, float, float]]) -> None:
    """The words on a plate above the region; moved down as long as another plate is in the way."""
    x0, y0, _, _ = pen.frame.to(bounding_box(mark.region))
    words = mark.words if len(mark.words) <= 40 else mark.words[:39] + "…"
    left, top, right, bottom = pen.canvas.textbbox((0, 0), words, font=pen.font)
    pad = max(2, pen.line)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0.0, x0), max(0.0, pen.size[0] - width))
    y = y0 - height if y0 >= height else y0
    while any(x < b[2] and b[0] < x + width and y < b[3] and b[1] < y + height for b in taken) and y + 2 * height <= pen.size[1]:
        y += height
    y = min(y, max(0.0, pen.size[1] - height))
    taken.append((x, y, x + width, y + height))
    pen.canvas.rectangle((x, y, x + width, y + height), fill=mark.colour)
    light = sum(channel * part for channel, part in zip(mark.colour, (0.299, 0.587, 0.114), strict=True)) < 150
    pen.canvas.text((x + pad - left, y + pad - top), words, font=pen.font, fill=(255, 255, 255) if light else _INK)


def _with_strip(picture: Image.Image, said: GroundedText, question: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> Image.Image:
    """The question in grey and the answer with its grounded words in their colours, wrapped under the image."""
    pieces = _split(question, 0, len(question), _GREY) + ([_Piece("\n", _INK, False)] if question and said.text else []) + _coloured(said)
    if not pieces:
        return picture
    left, top, right, bottom = font.getbbox("Ag")
    step, margin, gap = round((bottom - top) * 1.6), round((right - left) / 2), font.getlength(" ")
    x, y, places = float(margin), margin, []
    for piece in pieces:
        length = 0.0 if piece.text == "\n" else font.getlength(piece.text)
        x += gap if piece.apart and x > margin else 0.0
        if piece.text == "\n" or (x > margin and x + length > picture.width - margin):
            x, y = float(margin), y + step
        if piece.text != "\n":
            places.append((x, y, piece))
            x += length
    page = Image.new("RGB", (picture.width, picture.height + y + step + margin), (255, 255, 255))
    page.paste(picture, (0, 0))
    canvas = ImageDraw.Draw(page)
    for x, y, piece in places:
        canvas.text((x, picture.height + y), piece.text, font=font, fill=piece.colour)
    return page


def _coloured(said: GroundedText) -> list[_Piece]:
    """The words of the text, each with the colour of the span it lies in."""
    pieces: list[_Piece] = []
    position = 0
    for index, span in enumerate(said.spans):
        start = max(position, span.start)
        pieces += _split(said.text, position, start, _INK) + _split(said.text, start, span.end, colour_of(index) if span.regions else _INK)
        position = max(position, span.end)
    return pieces + _split(said.text, position, len(said.text), _INK)


def _split(text: str, start: int, end: int, colour: _Colour) -> list[_Piece]:
    words = re.compile(r"\S+").finditer(text, start, max(start, end))
    return [_Piece(word[0], colour, word.start() == 0 or text[word.start() - 1].isspace()) for word in words]

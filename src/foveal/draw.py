"""Draws words and places on an image: regions with their words beside them, or the way that a sentence takes; the whole answer underneath."""

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from foveal.geometry import Box, Mask, Point, Region, Trace, bounding_box, decode_mask
from foveal.geometry.frames import Frame
from foveal.grounding import GroundedText

__all__ = ["colour_of", "draw", "draw_trace", "play_trace", "sheet"]

_Colour = tuple[int, int, int]

_RED, _BLUE, _GREEN, _ORANGE = (230, 57, 70), (29, 130, 220), (42, 157, 83), (244, 140, 6)
_COLOURS: tuple[_Colour, ...] = (_RED, _BLUE, _GREEN, _ORANGE, (142, 68, 173), (0, 150, 160), (214, 51, 132), (120, 94, 60))
_ASKED: _Colour = (30, 30, 30)
_TRUE: _Colour = (0, 128, 0)
_INK: _Colour = (25, 25, 25)
_GREY: _Colour = (110, 110, 110)
_PALE: _Colour = (205, 205, 205)
_WAY = (_RED, (233, 110, 10), (176, 142, 0), (52, 152, 60), (0, 145, 150), _BLUE, (120, 66, 190), (206, 44, 140))
"""The colours that a sentence runs through from its first word to its last: none is too light for white paper."""
_FUNCTION_WORDS = re.compile(
    r"an?|the|this|that|these|those|and|or|but|of|in|on|at|to|from|by|with|for|as|is|are|was|were|be|there|here|its?|we|can|see|i|some|other|another"
    r"|more|one|which|who|while",
    re.IGNORECASE,
)
_WORD_MS, _SHORT_MS, _LAST_MS = 450, 220, 2500
_FILM_SIDE = 800
_CROWD = 14
"""From more words than so many on, outlines are thin."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A region to draw, with its words and colour."""

    region: Region
    words: str
    colour: _Colour


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of letters of the text under the image; `apart` when a blank stands before it, `lit` when it is white on its colour."""

    text: str
    colour: _Colour
    apart: bool
    lit: bool = False


@dataclass(frozen=True, slots=True)
class _Stop:
    """A word on the way of a sentence: its place, a colour, a dot (x, y) that lies on no other; `faint` words are not what a picture shows."""

    span: int
    region: Region
    colour: _Colour
    dot: tuple[float, float]
    faint: bool


@dataclass(frozen=True, slots=True)
class _Pen:
    """The canvas being drawn on and the measures that follow from its size."""

    canvas: ImageDraw.ImageDraw
    frame: Frame
    size: tuple[int, int]
    line: int
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont


def draw(
    image: Image.Image, said: GroundedText | Sequence[Region], *, asked: Sequence[Region] = (), true: Sequence[Region] = (), question: str = ""
) -> Image.Image:
    """A new RGB image with the places of `said` drawn on it and its words underneath; `image` is left as it is.

    Each span has a colour, used for its regions, their label and its words in the text. `asked` are the regions of the question, drawn
    dashed with <1>, <2> …, those of the `true` answer dashed in green; a bare list of regions is drawn with numbers. An image below 640 px on
    its longer side is enlarged first, so that labels can be read; the text strip adds to the height.

    >>> draw(Image.new("RGB", (64, 48)), [Box(0.1, 0.2, 0.5, 0.9)]).width
    640
    """
    if not isinstance(said, GroundedText):
        marks = [_Mark(region, str(number), colour_of(number - 1)) for number, region in enumerate(said, 1)]
        said = GroundedText("", ())
    else:
        marks = [_Mark(region, _words(said, index), colour_of(index)) for index, span in enumerate(said.spans) for region in span.regions]
    marks = [*(_Mark(region, f"<{n}>", _ASKED) for n, region in enumerate(asked, 1)), *(_Mark(region, "true", _TRUE) for region in true), *marks]
    picture = _enlarged(image.convert("RGB"))
    picture = _shaded(picture, marks)
    line = max(2, round(max(picture.size) / 320))
    font = _font(picture.size)
    pen = _Pen(ImageDraw.Draw(picture), Frame.stretch(picture.size, picture.size), picture.size, line, font)
    for mark in marks:
        _outline(pen, mark)
    taken: list[tuple[float, float, float, float]] = []
    for mark in marks:
        _label(pen, mark, taken)
    return _with_strip(picture, question, _coloured(said, [colour_of(index) for index in range(len(said.spans))]), font)


def draw_trace(image: Image.Image, said: GroundedText, *, question: str = "") -> Image.Image:
    """A new RGB image with the way that the words of `said` take over it, and the sentence in the same colours underneath.

    Colours run from the first word to the last. A word has a dot, words that name something also the outline of their box or mask, and a line joins
    the dots in reading order; a dot is moved aside where another lies. Of several regions of a word the first counts. An image below 640 px
    on its longer side is enlarged first.

    >>> from foveal.grounding import Span
    >>> said = GroundedText("a cup", (Span(0, 1, (Point(0.5, 0.5),)), Span(2, 5, (Box(0.1, 0.1, 0.9, 0.9),))))
    >>> draw_trace(Image.new("RGB", (64, 48)), said).width
    640
    """
    picture = _enlarged(image.convert("RGB"))
    stops = _stops(said, picture.size)
    colours = {stop.span: _paler(stop.colour, 0.4) if stop.faint else stop.colour for stop in stops}
    pieces = _coloured(said, [colours.get(index, _INK) for index in range(len(said.spans))])
    return _with_strip(_travelled(picture, stops), question, pieces, _font(picture.size))


def play_trace(image: Image.Image, said: GroundedText, *, question: str = "") -> list[tuple[Image.Image, int]]:
    """The same as a film: pictures, of one palette and at most 800 px a side, and the milliseconds that each is shown.

    Each adds a word, the last shows the whole way. Save them with `pictures[0].save("way.gif", save_all=True, append_images=pictures[1:],
    duration=milliseconds, loop=0)`.

    >>> said = GroundedText("a cup")
    >>> [milliseconds for _, milliseconds in play_trace(Image.new("RGB", (64, 48)), said)]
    [2500]
    """
    image = image.convert("RGB")
    image.thumbnail((_FILM_SIDE, _FILM_SIDE))
    picture = _enlarged(image)
    stops, font = _stops(said, picture.size), _font(picture.size)
    last = draw_trace(image, said, question=question)
    film = []
    for number, stop in enumerate(stops, 1):
        colours = {earlier.span: earlier.colour for earlier in stops[:number]}
        pieces = _coloured(said, [colours.get(index, _PALE) for index in range(len(said.spans))], _PALE, lit=stop.span)
        frame = _travelled(picture, stops[:number], last=True)
        film.append((_with_strip(frame, question, pieces, font), _SHORT_MS if stop.faint else _WORD_MS))
    palette = last.quantize(255)
    return [(frame.quantize(palette=palette, dither=Image.Dither.NONE), shown) for frame, shown in (*film, (last, _LAST_MS))]


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


def _font(size: tuple[int, int]) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(13, round(max(size) / 48)))


def _enlarged(picture: Image.Image) -> Image.Image:
    scale = max(1.0, 640 / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS) if scale > 1 else picture.copy()


def _shaded(picture: Image.Image, marks: Sequence[_Mark]) -> Image.Image:
    """Masks lie as a veil of their colour, so that what they cover stays visible, with an edge around it."""
    for mark in marks:
        if isinstance(mark.region, Mask):
            bits = Image.fromarray(decode_mask(mark.region).astype(np.uint8) * 255).resize(picture.size, Image.Resampling.NEAREST)
            edge = ImageChops.subtract(bits, bits.filter(ImageFilter.MinFilter(2 * max(1, max(picture.size) // 320) + 1)))
            for veil in (bits.point(lambda value: value * 110 // 255), edge):
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
    if mark.colour not in (_ASKED, _TRUE):
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


def _stops(said: GroundedText, size: tuple[int, int]) -> list[_Stop]:
    """The words that have a place, in reading order, in a picture of `size` pixels."""
    placed = [(index, span) for index, span in enumerate(said.spans) if span.regions]
    reach, frame = _reach(size), Frame.stretch(size)
    stops: list[_Stop] = []
    for number, (index, span) in enumerate(placed):
        x0, y0, x1, y1 = frame.to(bounding_box(span.regions[0]))
        dot = _free_place((x0 + x1) / 2, (y0 + y1) / 2, [stop.dot for stop in stops], 2.1 * reach, size)
        faint = _FUNCTION_WORDS.fullmatch(said.text[span.start : span.end].strip()) is not None
        stops.append(_Stop(index, span.regions[0], _along(number / max(1, len(placed) - 1)), dot, faint))
    return stops


def _reach(size: tuple[int, int]) -> float:
    """The radius of a dot."""
    return max(size) / 130


def _free_place(x: float, y: float, taken: Sequence[tuple[float, float]], apart: float, size: tuple[int, int]) -> tuple[float, float]:
    """A place at (x, y), or as near to it as may be on a spiral, where nothing else lies; always within the picture."""
    edge = min(apart / 2, min(size) / 2)
    for step in range(60):
        turn, away = step * 2.399963, apart * 0.62 * step**0.5  # the golden angle: no two steps lie in one direction
        place = (
            float(np.clip(x + away * np.cos(turn), edge, size[0] - edge)),
            float(np.clip(y + away * np.sin(turn), edge, size[1] - edge)),
        )
        if all((place[0] - a) ** 2 + (place[1] - b) ** 2 >= apart**2 for a, b in taken):
            break
    return place


def _along(share: float) -> _Colour:
    """The colour of a word that stands at `share` of a sentence, from 0 to 1."""
    place = share * (len(_WAY) - 1)
    before = min(int(place), len(_WAY) - 2)
    red, green, blue = (round(a + (b - a) * (place - before)) for a, b in zip(_WAY[before], _WAY[before + 1], strict=True))
    return red, green, blue


def _paler(colour: _Colour, share: float) -> _Colour:
    red, green, blue = (round(channel + (255 - channel) * share) for channel in colour)
    return red, green, blue


def _travelled(picture: Image.Image, stops: Sequence[_Stop], *, last: bool = False) -> Image.Image:
    """The picture with the way over it, drawn at twice its size so that slanting lines are smooth; with the outlines of all words, or the `last`."""
    picture = Image.blend(picture, Image.new("RGB", picture.size, (255, 255, 255)), 0.25)
    shown = [stop for stop in (stops[-1:] if last else stops) if not stop.faint]
    picture = _shaded(picture, [_Mark(stop.region, "", stop.colour) for stop in shown])
    layer = Image.new("RGBA", (2 * picture.width, 2 * picture.height))
    canvas, frame = ImageDraw.Draw(layer), Frame.stretch(picture.size, layer.size)
    line, reach = max(2, round(max(picture.size) / 320)), 2 * _reach(picture.size)
    crowded = len(shown) > _CROWD
    for stop in shown:
        if isinstance(stop.region, Box):
            x0, y0, x1, y1 = frame.to(stop.region)
            edges = ((line, (*stop.colour, 190)),) if crowded else ((2 * line + 4, (255, 255, 255, 200)), (2 * line, (*stop.colour, 255)))
            for width, colour in edges:
                canvas.rectangle((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)), outline=colour, width=width)
    dots = [(2 * stop.dot[0], 2 * stop.dot[1]) for stop in stops]
    for width, inked in ((2 * line + 4, False), (2 * line, True)):
        for before, after, stop in zip(dots, dots[1:], stops[1:], strict=False):
            canvas.line((*before, *after), fill=(*stop.colour, 255) if inked else (255, 255, 255, 200), width=width)
    for (x, y), stop in zip(dots, stops, strict=True):
        radius = 0.6 * reach if stop.faint else reach
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*stop.colour, 255), outline=(255, 255, 255, 255), width=3)
    layer = layer.resize(picture.size, Image.Resampling.BOX)
    picture.paste(layer, (0, 0), layer)
    return picture


def _with_strip(picture: Image.Image, question: str, said: Sequence[_Piece], font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> Image.Image:
    """The question in grey and the answer's pieces, wrapped under the image."""
    pieces = [*_split(question, 0, len(question), _GREY), *([_Piece("\n", _INK, False)] if question and said else []), *said]
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
        if piece.lit:
            x0, y0, x1, y1 = canvas.textbbox((x, picture.height + y), piece.text, font=font)
            canvas.rectangle((x0 - 1, y0 - 2, x1, y1 + 2), fill=piece.colour)
    for x, y, piece in places:
        canvas.text((x, picture.height + y), piece.text, font=font, fill=(255, 255, 255) if piece.lit else piece.colour)
    return page


def _coloured(said: GroundedText, colours: Sequence[_Colour], ink: _Colour = _INK, lit: int = -1) -> list[_Piece]:
    """The words of the text, each with the colour of the span it lies in, others in `ink`; span `lit` stands out."""
    pieces: list[_Piece] = []
    position = 0
    for index, span in enumerate(said.spans):
        start = max(position, span.start)
        own = _split(said.text, start, span.end, colours[index] if span.regions else ink)
        pieces += _split(said.text, position, start, ink) + [replace(piece, lit=index == lit) for piece in own]
        position = max(position, span.end)
    return pieces + _split(said.text, position, len(said.text), ink)


def _split(text: str, start: int, end: int, colour: _Colour) -> list[_Piece]:
    words = re.compile(r"\S+").finditer(text, start, max(start, end))
    return [_Piece(word[0], colour, word.start() == 0 or text[word.start() - 1].isspace()) for word in words]


def sheet(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str] = ()) -> Image.Image:
    """Pictures in rows and columns on white, each as wide as the widest of its column, under the columns' titles.

    >>> sheet([[Image.new("RGB", (64, 48)), Image.new("RGB", (32, 96))]], ("before", "after")).size
    (112, 132)
    """
    gap, top = 16, 36 if titles else 16
    widths = [max((row[column].width for row in rows if column < len(row)), default=0) for column in range(max(map(len, rows), default=0))]
    heights = [max((picture.height for picture in row), default=0) for row in rows]
    whole = Image.new("RGB", (sum(widths) + gap * max(0, len(widths) - 1), top + sum(heights) + gap * max(0, len(rows) - 1)), "white")
    pen, y = ImageDraw.Draw(whole), top
    for row, height in zip(rows, heights, strict=True):
        x = 0
        for column, picture in enumerate(row):
            whole.paste(picture, (x, y))
            x += widths[column] + gap
        y += height + gap
    for column, title in enumerate(titles[: len(widths)]):
        pen.text((sum(widths[:column]) + gap * column, 8), title, fill="black", font=_font((640, 640)))
    return whole

"""A page that shows a run: each picture with every note's region, which notes were dropped and why, and the text with links to its places."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveal.data.images import load_picture
from foveal.draw import colour_of
from foveal.geometry import Box, Mask, Point, Region, Trace, bounding_box, decode_mask
from foveal.grounding import Example, GroundedText, Note
from foveal.synth.notes import DROPPED, is_dropped
from foveal.synth.running import folders_of, read_manifest
from foveal.synth.shards import Folder, read_shard

__all__ = ["write_page"]

_SIDE = 760
_HEAD = "<tr><th></th><th>words</th><th>source</th><th>score</th><th>made by</th></tr>"
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>body{{font:15px/1.5 sans-serif;max-width:1240px;margin:2em auto;padding:0 1em;color:#222}}table{{border-collapse:collapse;font-size:13px}}
td,th{{padding:.15em .7em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}}section{{margin:2.5em 0;border-top:2px solid #ddd}}
h2{{font-size:15px;overflow-wrap:anywhere}}.pair{{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:1.2em}}
.pair>*{{min-width:0}}svg{{width:100%;height:auto;display:block}}.place{{fill:transparent;stroke-width:2;vector-effect:non-scaling-stroke}}
.gone{{stroke-dasharray:5 4;opacity:.55}}.place:hover,g:target .place{{stroke-width:5;fill:rgba(255,220,0,.28);opacity:1}}
.told{{font-size:17px}}.told a{{font-weight:600;text-decoration:none;border-bottom:2px solid}}
td:last-child{{min-width:11em}}text{{paint-order:stroke;stroke:#fff;stroke-width:.25em;font-weight:600;pointer-events:none}}
tr.out td{{color:#888}}tr.out .words{{text-decoration:line-through}}
.words{{overflow-wrap:anywhere}}details{{margin:.4em 0}}tr:target,tr:target td{{background:#fff3b0}}</style></head>
<body><h1>{title}</h1>
<table><tr><th>stage</th><th>examples</th><th>left out</th><th>seconds</th><th>a second</th><th>settings</th></tr>{stages}</table>
{refused}{sections}</body></html>
"""


def write_page(out: Path, file: Path, *, count: int = 40, skip: int = 0) -> int:
    """Writes one HTML file that needs no other, without scripts, of `count` pictures of the run in `out`, and returns how many there are.

    It shows the last stage that has begun. Every region is drawn, of dropped notes dashed; phrases and rows lead to theirs.
    ValueError where `out` holds no run, or no example.
    """
    folders, about = folders_of(out), read_manifest(out)
    shards = int(about.get("shards", 0))
    name, folder = next(((name, one) for name, one in reversed(folders.items()) if one.records), ("images", next(iter(folders.values()))))
    examples = (example for number in sorted(folder.records) if number < shards for example in read_shard(folder.shard(number))[0])
    sections = [_section(number, example) for number, example in enumerate(islice(examples, skip, skip + count))]
    if not sections:
        raise ValueError(f"{out} holds no example to show yet")
    settings = {one["name"]: one["settings"] for one in about["stages"]}
    stages = "".join(_stage_row(stage, one, settings[stage], shards) for stage, one in folders.items())
    title = f"{out.name}: {name}"
    file.write_text(_PAGE.format(title=escape(title), stages=stages, refused=_refused(folders, shards), sections="".join(sections)), encoding="utf-8")
    return len(sections)


def _stage_row(name: str, folder: Folder, settings: Mapping[str, Any], shards: int) -> str:
    records = [record for number, record in folder.records.items() if number < shards]
    examples, left_out, seconds = sum(one.examples for one in records), sum(len(one.refused) for one in records), sum(one.seconds for one in records)
    said = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "function")
    cells = (name, f"{examples:,}", str(left_out), f"{seconds:.1f}", f"{examples / seconds:.3g}" if seconds else "", said)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _refused(folders: Mapping[str, Folder], shards: int) -> str:
    rows = [
        f"<li>{escape(f'{stage}: {name}: {why}')}</li>"
        for stage, folder in folders.items()
        for number, record in sorted(folder.records.items())
        if number < shards
        for name, why in record.refused
    ]
    return f"<h2>Left out</h2><ul>{''.join(rows)}</ul>" if rows else ""


def _section(number: int, example: Example) -> str:
    """One picture: drawn regions, text, notes."""
    told = next((turn.said for turn in reversed(example.turns) if turn.role == "assistant"), None)
    described = next((note for note in reversed(example.notes) if note.source == "description"), None)
    text = told or (described.said if described else None)
    noted = [(place, note) for place, note in enumerate(example.notes, 1) if note is not described]
    words = f'<p class="told">{_linked(number, text, noted)}</p>' if text else "<p>(no text)</p>"
    rows = "".join(_note_row(number, place, note) for place, note in sorted(noted, key=lambda one: is_dropped(one[1])))
    table = f"<details open><summary>{len(noted)} notes</summary><table>{_HEAD}{rows}</table></details>"
    licence = f" · {escape(example.licence)}" if example.licence else ""
    drawn = _drawn(number, example, noted)
    return f'<section><h2>{escape(example.id)}{licence}</h2><div class="pair"><div>{drawn}</div><div>{words}{table}</div></div></section>'


def _drawn(number: int, example: Example, noted: Sequence[tuple[int, Note]]) -> str:
    """The first picture with the regions of all notes on it; or why it cannot be had."""
    if not example.images:
        return "<p>(no picture)</p>"
    try:
        picture = load_picture(example.images[0])
    except (ValueError, OSError) as error:
        return f"<p>{escape(str(error))}</p>"
    width, height = picture.size
    picture.thumbnail((_SIDE, _SIDE))
    image = f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="{_data(picture, "JPEG", quality=80)}"/>'
    order = sorted(noted, key=lambda one: -_area(one[1]))  # small ones lie on top, where they can be pointed at
    marks = "".join(_mark(number, place, note, (width, height)) for place, note in order)
    return f'<svg viewBox="0 0 {width} {height}">{image}{marks}</svg>'


def _mark(number: int, place: int, note: Note, size: tuple[int, int]) -> str:
    shapes = "".join(_shape(region, size, _colour(place), is_dropped(note)) for region in note.said.regions if region.image == 0)
    label = "" if is_dropped(note) or not shapes else _label(place, bounding_box(note.said.regions[0]), size)
    return f'<g id="p{number}-{place}"><title>{escape(f"{place}: {note.said.text}")}</title>{shapes}{label}</g>' if shapes else ""


def _label(place: int, box: Box, size: tuple[int, int]) -> str:
    """The note's number in its top left corner."""
    letter = max(size) / 45
    x, y = box.x0 * size[0] + letter / 4, box.y0 * size[1] + letter
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{letter:.1f}" fill="{_colour(place)}">{place}</text>'


def _shape(region: Region, size: tuple[int, int], colour: str, gone: bool) -> str:
    width, height = size
    kind = f'class="place{" gone" if gone else ""}" stroke="{colour}"'
    match region:
        case Point(x, y):
            return f'<circle {kind} cx="{x * width:.1f}" cy="{y * height:.1f}" r="{max(size) / 120:.1f}"/>'
        case Trace(points):
            return f'<polyline {kind} points="{" ".join(f"{x * width:.1f},{y * height:.1f}" for x, y in points)}"/>'
        case Mask():
            return _painted(region, size, colour) + _rectangle(bounding_box(region), size, kind)
        case Box():
            return _rectangle(region, size, kind)


def _rectangle(box: Box, size: tuple[int, int], kind: str) -> str:
    x, y, across, down = box.x0 * size[0], box.y0 * size[1], (box.x1 - box.x0) * size[0], (box.y1 - box.y0) * size[1]
    return f'<rect {kind} x="{x:.1f}" y="{y:.1f}" width="{max(across, 0):.1f}" height="{max(down, 0):.1f}"/>'


def _painted(mask: Mask, size: tuple[int, int], colour: str) -> str:
    bits = Image.fromarray(decode_mask(mask).astype(np.uint8) * 90)
    bits.thumbnail((_SIDE // 2, _SIDE // 2))
    paint = Image.new("RGBA", bits.size, colour)
    paint.putalpha(bits)
    return f'<image width="{size[0]}" height="{size[1]}" preserveAspectRatio="none" href="{_data(paint, "PNG")}"/>'


def _data(image: Image.Image, kind: str, **how: Any) -> str:
    kept = BytesIO()
    image.save(kept, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(kept.getvalue()).decode('ascii')}"


def _linked(number: int, said: GroundedText, noted: Sequence[tuple[int, Note]]) -> str:
    """The text, in which a phrase leads to the first note that has its region."""
    owner = {region: place for place, note in reversed(noted) for region in note.said.regions}
    pieces, end = [], 0
    for span in said.spans:
        if span.start < end or span.start == span.end:
            continue
        place = next((owner[region] for region in span.regions if region in owner), None)
        words = escape(said.text[span.start : span.end])
        pieces.append(escape(said.text[end : span.start]))
        pieces.append(words if place is None else f'<a href="#p{number}-{place}" style="color:{_colour(place)}">{words}</a>')
        end = span.end
    return "".join([*pieces, escape(said.text[end:])])


def _note_row(number: int, place: int, note: Note) -> str:
    gone, by = is_dropped(note), dict(note.made_by)
    why = by.pop("dropped", "")
    source = note.source.removeprefix(DROPPED)
    made = " · ".join(filter(None, (by.get("model", by.get("composer", "the data")), f"ended by {by['ended']}" if "ended" in by else "")))
    link = f'<a href="#p{number}-{place}">{place}</a>' if note.said.regions else str(place)
    cells = (escape(source), "" if note.score is None else f"{note.score:.2f}", escape(f"dropped: {why}" if gone else made))
    rest = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr{" class=out" if gone else ""}><td>{link}</td><td class="words">{escape(note.said.text)}</td>{rest}</tr>'


def _area(note: Note) -> float:
    boxes = [bounding_box(region) for region in note.said.regions]
    return max(((box.x1 - box.x0) * (box.y1 - box.y0) for box in boxes), default=0.0)


def _colour(place: int) -> str:
    red, green, blue = colour_of(place)
    return f"#{red:02x}{green:02x}{blue:02x}"

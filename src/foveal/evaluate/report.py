"""A page that shows a run: its figures, and pictures of answers that are right, wrong, or could not be read."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from io import BytesIO
from itertools import count
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from foveal.data.images import load_picture
from foveal.draw import draw
from foveal.evaluate.benchmark import Benchmark, score_of
from foveal.evaluate.calibration import reliability_table, scored_boxes
from foveal.evaluate.kept import Answered, is_refused
from foveal.evaluate.metrics import is_unparseable
from foveal.evaluate.regions import Figure
from foveal.grounding import Example, GroundedText, Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["write_report"]

_SHOWN, _SIDE = 6, 480
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>body{{font:15px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}}table{{border-collapse:collapse}}
td,th{{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}}td+td{{text-align:right}}
.cards{{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:1em}}
figure{{margin:0}}img{{max-width:100%}}figcaption{{font-size:13px}}
</style></head><body><h1>{title}</h1><p>{about}</p><table><tr><th></th><th>value</th><th>95 % interval</th><th>n</th></tr>{rows}</table>
{parts}</body></html>
"""


def write_report(path: Path, title: str, benchmark: Benchmark, answered: Sequence[Answered], figures: Mapping[str, Figure], root: Path) -> None:
    """Writes one HTML file that needs no other: answers as they were drawn on their pictures, words escaped, no script.

    Pictures are read below `root`; one that is not there is said.
    """
    scored = [(score_of(benchmark.score, *one), one) for one in answered]
    order = sorted((place for place, (_, one) in enumerate(scored) if not is_refused(one[0])), key=lambda place: -scored[place][0])
    groups = {
        "The best": [scored[place] for place in order[:_SHOWN]],
        "The worst": [scored[place] for place in reversed(order[-_SHOWN:])],
        "Not to be read": [one for one in scored if is_unparseable(one[1][1]) and not is_refused(one[1][0])][:_SHOWN],
        "With several places": [one for one in scored if _says_several(*one[1])][:_SHOWN],
        "Refused": [one for one in scored if is_refused(one[1][0])][:_SHOWN],
    }
    parts = "".join(f'<h2>{escape(name)}</h2><div class="cards">{"".join(_cards(some, root))}</div>' for name, some in groups.items() if some)
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{one.value:.1%}</td><td>{_between(one)}</td><td>{one.count}</td></tr>" for name, one in figures.items()
    )
    if "calibration_error" in figures:
        parts = f"<h2>Scores of boxes, and how many are right</h2>{_reliability(answered)}" + parts
    path.write_text(_PAGE.format(title=escape(title), about=escape(benchmark.about), rows=rows, parts=parts), encoding="utf-8")


def _between(figure: Figure) -> str:
    """Its interval, where it has one."""
    return "" if figure.low != figure.low else f"{figure.low:.1%} – {figure.high:.1%}"


def _reliability(answered: Sequence[Answered]) -> str:
    """A reliability diagram: a bar for each tenth of scores, as high as the share of its boxes that are right; on the line they would be as said."""
    bars = "".join(
        f'<rect x="{200 * one.low:.0f}" y="{200 - 200 * one.accuracy:.1f}" width="19" height="{200 * one.accuracy:.1f}" fill="#4477aa">'
        f"<title>scores {one.low:.1f} to {one.high:.1f}: {one.accuracy:.1%} of {one.count} right, {one.confidence:.1%} said</title></rect>"
        for one in reliability_table(*scored_boxes(answered))
    )
    line = '<rect width="200" height="200" fill="none" stroke="#ccc"/><line x1="0" y1="200" x2="200" y2="0" stroke="#888" stroke-dasharray="4"/>'
    words = '<text x="0" y="215">score 0</text><text x="200" y="215" text-anchor="end">1</text><text x="206" y="10">all right</text>'
    return f'<svg class="plot" viewBox="-4 -4 270 226" width="405" height="339" font-size="11" role="img">{line}{bars}{words}</svg>'


def _says_several(asked: Example, said: GroundedText) -> bool:
    """Whether several places were said where one is true."""
    return len(said.regions) > 1 and bool(asked.notes) and len(asked.notes[0].said.regions) == 1


def _cards(scored: Sequence[tuple[float, Answered]], root: Path) -> Iterator[str]:
    for score, (asked, said) in scored:
        question, truth = asked.turns[-1].said, asked.notes[0].said if asked.notes else GroundedText("")
        told = [("answer", str(asked.facts.get("error") or said.text or "(nothing)")), ("true", truth.text or "(nothing)")]
        words = f"<b>{score:.2f}</b> {escape(_referring(question))}" + "".join(f"<br>{name}: {escape(shorten(text, 300))}" for name, text in told)
        try:
            picture = load_picture(_below(asked, root))
            picture.thumbnail((_SIDE, _SIDE))
            true = [region for region in truth.regions if region not in question.regions]
            shown = f'<img alt="" src="data:image/jpeg;base64,{_jpeg(draw(picture, said, asked=question.regions, true=true))}">'
        except (ValueError, OSError) as error:
            shown = f"<p>{escape(str(error))}</p>"
        yield f"<figure>{shown}<figcaption>{words}</figcaption></figure>"


def _referring(question: GroundedText) -> str:
    """Its words, with <1>, <2> … where a region stands, as they are drawn."""
    numbers, text, end = count(1), "", 0
    for span in question.spans:
        text += question.text[end : span.end] + "".join(f"<{next(numbers)}>" for _ in span.regions)
        end = span.end
    return text + question.text[end:]


def _below(asked: Example, root: Path) -> Picture:
    if not asked.images:
        raise ValueError("The question has no picture.")
    picture = asked.images[0]
    return replace(picture, path=str(root / picture.path)) if picture.path else picture


def _jpeg(image: "Image.Image") -> str:
    kept = BytesIO()
    image.save(kept, "JPEG", quality=80)
    return base64.b64encode(kept.getvalue()).decode("ascii")

"""What a data set holds, in numbers: examples, pictures, notes, turns, regions, names; and as a plot."""

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from foveal.geometry import Point, Region, bounding_box
from foveal.grounding import Example

__all__ = ["check_plot", "count_examples", "plot_counts"]

_SHARES = (5, 50, 95)
_NAMES = 200
_PLOTS = (".png", ".svg", ".pdf")


def count_examples(examples: Iterable[Example]) -> dict[str, Any]:
    """Counts of everything, one pass, constant memory but for the names: quantiles are of the first 100,000 of their kind.

    `region_sides` are square roots of the share of its image that a region's box has (5, 50 and 95 %), points apart; `small_regions` is the share
    of those below a tenth.

    >>> count_examples([Example("1"), Example("2")])["examples"]
    2
    """
    counts: Counter[str] = Counter()
    sources, kinds, names = Counter[str](), Counter[str](), Counter[str]()
    widths, heights, sides, words = list[float](), list[float](), list[float](), list[float]()
    for example in examples:
        counts.update(examples=1, pictures=len(example.images), turns=len(example.turns), notes=len(example.notes))
        for picture in example.images:
            _keep(widths, picture.width)
            _keep(heights, picture.height)
        sources.update(note.source for note in example.notes)
        names.update(note.said.text for note in example.notes if note.source == "object")
        for said in (*(turn.said for turn in example.turns), *(note.said for note in example.notes)):
            _keep(words, len(said.text.split()))
            for region in said.regions:
                kinds[type(region).__name__.lower()] += 1
                if (side := _side(region)) is not None:
                    _keep(sides, side)
    found: dict[str, Any] = {name: counts[name] for name in ("examples", "pictures", "turns", "notes")}
    found |= {"notes_by_source": dict(sources.most_common()), "regions": dict(kinds.most_common()), "different_names": len(names)}
    found |= {"names": dict(names.most_common(_NAMES)), "picture_widths": _quantiles(widths), "picture_heights": _quantiles(heights)}
    return found | {
        "region_sides": _quantiles(sides),
        "small_regions": float(np.mean(np.array(sides) < 0.1)) if sides else 0.0,
        "words_in_a_text": _quantiles(words),
    }


def check_plot(save: Path) -> None:
    """ValueError where no plot could be saved, before anything is counted: matplotlib, the folder, or a known ending is missing."""
    if find_spec("matplotlib") is None:
        raise ValueError("a plot wants matplotlib; pip install matplotlib")
    if save.suffix.lower() not in _PLOTS:
        raise ValueError(f"a plot ends with one of {', '.join(_PLOTS)}, not as {save}")
    if not save.parent.is_dir():
        raise ValueError(f"there is no folder {save.parent} for the plot {save.name}")


def plot_counts(counts: Mapping[str, Any], save: Path) -> None:
    """Bars of the commonest names and of the notes' sources; `check_plot` says whether they can be drawn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=(3, 1))
    for place, (title, bars) in zip(axes, (("names", dict(list(counts["names"].items())[:40])), ("notes", counts["notes_by_source"])), strict=True):
        place.barh(range(len(bars)), list(bars.values()))
        place.set_yticks(range(len(bars)), list(bars), fontsize=7)
        place.invert_yaxis()
        place.set(title=title, xlabel="count")
        place.grid(axis="x", alpha=0.3)
    figure.savefig(save, dpi=120)


def _side(region: Region) -> float | None:
    """None for a point, and for what is nowhere."""
    try:
        box = bounding_box(region)
    except ValueError:
        return None
    return None if isinstance(region, Point) else max(0.0, (box.x1 - box.x0) * (box.y1 - box.y0)) ** 0.5


def _keep(values: list[float], value: float) -> None:
    if len(values) < 100_000:
        values.append(value)


def _quantiles(values: list[float]) -> dict[str, float]:
    return {f"{share}%": round(float(value), 3) for share, value in zip(_SHARES, np.percentile(values, _SHARES), strict=True)} if values else {}

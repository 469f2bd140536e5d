"""What a comparison of variants found: shares with their intervals, paired differences; kept as JSON and shown as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from foveal.evaluate import interval

__all__ = ["gain", "report"]


def gain(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Mean paired difference and its 95 % interval.

    >>> gain([False, False, True, True], [True, True, True, True])[0]
    0.5
    """
    difference = np.asarray(after, float) - np.asarray(before, float)
    mean, margin = difference.mean(), 1.96 * difference.std() / len(difference) ** 0.5
    return float(mean), float(mean - margin), float(mean + margin)


def report(found: Mapping[str, Sequence[bool]], title: str, steps: int, file: Path) -> None:
    """Writes and prints the share that is right of each variant's answers to the same questions, and what each has over the first."""
    first, *others = found
    rows = {name: (sum(right) / len(right), *interval(sum(right), len(right))) for name, right in found.items()}
    rows |= {f"{name} over {first}": gain(found[first], found[name]) for name in others}
    count = len(found[first])
    kept = {name: {"value": value, "low": low, "high": high, "n": count, "steps": steps} for name, (value, low, high) in rows.items()}
    file.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    table = Table("variant", "right", "95 % interval", title=f"{title}; n = {count}, {steps} steps", title_justify="left")
    for name, (value, low, high) in rows.items():
        table.add_row(name, f"{value:.1%}", f"{low:.1%} – {high:.1%}")
    Console(width=100).print(table)

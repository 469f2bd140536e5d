"""How far a figure can be trusted: intervals by drawing the items again, and whether one system beats another on the same items."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from foveal.evaluate.regions import Figure

__all__ = ["Difference", "bootstrap", "paired_bootstrap"]

_AT_ONCE = 4_000_000
"""Numbers drawn in one step: enough to be fast, few enough to need no memory worth mentioning."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One system's figure less another's, over the same `count` items, with the interval from `low` to `high`.

    `chance` is how often so large a difference comes of nothing but the choice of items: twice the share of draws on the other side of zero,
    zero itself counted on both, and one draw more; at most 1. It reads like a p-value and is one only roughly.
    """

    value: float
    count: int
    low: float
    high: float
    chance: float


def _mean(drawn: np.ndarray) -> np.ndarray:
    return drawn.mean(1)


def bootstrap(
    values: Float[np.ndarray, "items ..."],
    statistic: Callable[[np.ndarray], np.ndarray] = _mean,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Figure:
    """A statistic of items with its percentile interval, from items drawn again with replacement (Efron and Tibshirani 1993, chapter 13).

    `values` has one row for each item; `statistic` takes many sets of items at once, an array (sets, items, fields), and gives one number for
    each set; without it, the mean. Items that belong together (questions about one picture) must be one row, or the interval is too narrow.
    ValueError for no items, and for a level not between 0 and 1.

    >>> scores = np.array([1.0, 0.0, 1.0, 1.0] * 25)
    >>> figure = bootstrap(scores)
    >>> figure.value, round(figure.low, 2), round(figure.high, 2)
    (0.75, 0.67, 0.84)
    >>> tallies = np.array([[1.0, 2.0], [3.0, 4.0]])  # right ones and all of each picture
    >>> round(bootstrap(tallies, lambda drawn: drawn[..., 0].sum(1) / drawn[..., 1].sum(1)).value, 3)
    0.667
    """
    drawn = np.concatenate([statistic(values[rows]) for rows in _drawn(values, draws, level, seed)])
    low, high = _bounds(drawn, level)
    return Figure(float(statistic(values[None])[0]), len(values), low, high)


def paired_bootstrap(
    ours: Float[np.ndarray, "items ..."],
    theirs: Float[np.ndarray, "others ..."],
    statistic: Callable[[np.ndarray], np.ndarray] = _mean,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """`ours` less `theirs`, where row i of both is the same item: each draw takes the same items of both (Koehn 2004).

    What makes an item hard for both cancels out, so a difference is seen that two single intervals would hide. Arguments are those of
    `bootstrap`; ValueError, too, where both have not as many items.

    >>> theirs = np.linspace(0.0, 1.0, 50)
    >>> gain = paired_bootstrap(theirs + 0.01, theirs)
    >>> round(gain.value, 3), round(gain.low, 3), gain.chance < 0.01
    (0.01, 0.01, True)
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"values of shape {ours.shape} and {theirs.shape}: wanted one row for each item in both")
    drawn = np.concatenate([statistic(ours[rows]) - statistic(theirs[rows]) for rows in _drawn(ours, draws, level, seed)])
    low, high = _bounds(drawn, level)
    value = float(statistic(ours[None])[0] - statistic(theirs[None])[0])
    other_side = min(int(np.sum(drawn <= 0)), int(np.sum(drawn >= 0)))
    return Difference(value, len(ours), low, high, min(1.0, 2 * (1 + other_side) / (1 + draws)))


def _drawn(values: np.ndarray, draws: int, level: float, seed: int) -> Iterator[Int[np.ndarray, "sets items"]]:
    if not len(values) or draws < 1 or not 0 < level < 1:
        raise ValueError(f"{draws} draws of {len(values)} items at level {level}: wanted one or more of both, and a level between 0 and 1")
    rng, step = np.random.default_rng(seed), max(1, _AT_ONCE // values.size)
    for start in range(0, draws, step):
        yield rng.integers(len(values), size=(min(step, draws - start), len(values)))


def _bounds(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

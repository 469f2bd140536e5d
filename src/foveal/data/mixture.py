"""What a run learns from, in which order: sources mixed by weight, each example the same at the same visit whatever process asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from foveal.data.images import load_picture
from foveal.data.reading import LOG, Report
from foveal.grounding import Example, Picture

__all__ = ["Examples", "Mixture", "Part", "Task"]

Task = Callable[[Example, np.random.Generator], Example | None]
"""Makes what is known of an image into what is learnt from it; None where the image does not give it."""


@runtime_checkable
class Examples(Protocol):
    """Examples by number: a list, a `Stored` file, any map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A source of a mixture: its share is its `weight` over the sum of weights, whatever its size."""

    examples: Examples
    weight: float = 1.0
    task: Task | None = None


class Mixture:
    """`visits` examples, drawn from its parts by weight; a part is gone through in a new order each time, to its end.

    What a visit shows follows from its number and `seed` alone, so that workers, ranks and resumed runs agree without keeping anything: the
    position of a run is the number of its visits. Trainer takes visits in their order (`in_order`), shares each batch among ranks and skips
    those that a checkpoint has seen. With `together` that many visits in a row come from one part (PixelLLM draws each batch from one source).

    With `key` and `group`, visits are put into batches of `group` with alike keys (length, grid) among each `span` batches, in a new order:
    no more than `span` batches are looked at ahead, and what is seen stays the same. An example that cannot be read (with `look`: nor its
    pictures, which are then read here), or of which a task makes None, gives its place to the next of its part; `report` is told of the
    former. ValueError where none of a part's examples can be used.

    >>> cats, dogs = ([Example(f"{name} {n}") for n in range(3)] for name in ("cat", "dog"))
    >>> mixed = Mixture([Part(cats, 3.0), Part(dogs)], visits=8)
    >>> [mixed[visit].id.split()[0] for visit in range(8)].count("cat")
    6
    """

    in_order = True
    _tries = 1000

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        visits: int,
        seed: int = 0,
        together: int = 1,
        key: Callable[[Example], object] | None = None,
        group: int = 1,
        span: int = 32,
        look: bool = False,
        report: Report = LOG.warning,
    ) -> None:
        if not parts or any(part.weight <= 0 or not len(part.examples) for part in parts):
            raise ValueError("a mixture wants at least one part, each with a weight above 0 and with at least one example")
        if key and together > 1:
            raise ValueError("visits are either drawn together from one part or grouped by a key, not both")
        self.parts, self.visits, self.seed, self.together = tuple(parts), visits, seed, together
        self.key, self.group, self.span, self.look, self.report = key, group, span, look, report

    def __len__(self) -> int:
        return self.visits

    def __getitem__(self, visit: int) -> Example:
        if not 0 <= visit < self.visits:
            raise IndexError(f"visit {visit} of {self.visits}")
        return self.planned(self._placed(visit) if self.key else visit, look=self.look)

    def planned(self, visit: int, *, look: bool = False) -> Example:
        """The example of a visit before visits are grouped; with `look`, its pictures are read."""
        number = int(self.choices[visit // self.together])
        part, rng = self.parts[number], np.random.default_rng([self.seed, visit])
        for further in range(self._tries):
            epoch, place = divmod(int(self.counts[visit]), len(part.examples))
            index = self._order(number, epoch)[(place + further) % len(part.examples)]
            try:
                example = part.examples[int(index)]
                made = part.task(example, rng) if part.task else example
                if made is not None and look:
                    pictures = (Picture(picture.width, picture.height, pixels=load_picture(picture)) for picture in made.images)
                    made = replace(made, images=tuple(pictures))
            except (ValueError, OSError) as error:
                self.report(f"example {index} of part {number} is passed over: {error}")
                continue
            if made is not None:
                return made
        raise ValueError(f"none of {self._tries} examples of part {number} in a row can be used for visit {visit}")

    @cached_property
    def choices(self) -> Int[np.ndarray, " draws"]:
        """The part of each draw: by weight as evenly as can be among every hundred draws, in random order."""
        draws, rng = -(-self.visits // self.together), np.random.default_rng([self.seed, 1])
        weights = np.array([part.weight for part in self.parts])
        due = np.floor(np.outer(np.arange(draws + 1), weights / weights.sum()) + rng.random(len(weights)))
        found = np.repeat(np.tile(np.arange(len(weights)), draws), np.diff(due, axis=0).astype(int).ravel())
        filled = np.concatenate([found, rng.choice(len(weights), max(0, draws - len(found)), p=weights / weights.sum())])[:draws]
        blocks = [rng.permutation(filled[start : start + 100]) for start in range(0, draws, 100)]
        return np.concatenate(blocks).astype(np.int16) if blocks else filled

    @cached_property
    def counts(self) -> Int[np.ndarray, " visits"]:
        """How often each visit's part was visited before."""
        chosen = np.repeat(self.choices, self.together)[: self.visits]
        found = np.zeros(self.visits, np.int64)
        for number in range(len(self.parts)):
            found[chosen == number] = np.arange((chosen == number).sum())
        return found

    def _order(self, number: int, epoch: int) -> Int[np.ndarray, " examples"]:
        return _shuffled(len(self.parts[number].examples), (self.seed, number, epoch))

    def _placed(self, visit: int) -> int:
        """Which of the planned visits takes the place of `visit`, so that those of a batch have alike keys."""
        window, place = divmod(visit, self.group * self.span)
        return int(self._window(window)[place])

    def _window(self, window: int) -> Int[np.ndarray, " visits"]:
        if self._kept[0] != window:
            start = window * self.group * self.span
            visits = np.arange(start, min(start + self.group * self.span, self.visits))
            keys = [self.key(self.planned(int(visit))) for visit in visits] if self.key else []
            ordered = visits[sorted(range(len(visits)), key=lambda place: keys[place])]  # type: ignore[arg-type, return-value]
            whole = len(visits) // self.group * self.group
            batches = np.random.default_rng([self.seed, 2, window]).permutation(ordered[:whole].reshape(-1, self.group))
            self._kept = (window, np.concatenate([batches.ravel(), ordered[whole:]]))
        return self._kept[1]

    _kept: tuple[int, Int[np.ndarray, " visits"]] = (-1, np.empty(0, np.int64))


@lru_cache(maxsize=16)
def _shuffled(count: int, seed: tuple[int, int, int]) -> Int[np.ndarray, " examples"]:
    return np.random.default_rng([*seed, 3]).permutation(count)

"""What a training run is: a value. A stage of training is a recipe; a variant is derived from it with `dataclasses.replace`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from foveal.train.schedule import LayerDecay

__all__ = ["Recipe", "check_settings"]

_KINDS: Mapping[object, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
}
_OTHERS = {
    "learn": "a rate for each component, like {'projector': 1e-3},",
    "betas": "a pair of numbers, like (0.9, 0.999),",
    "options": "an object of names and values, like {'tf32': True},",
    "layers": "what only a recipe in Python can say",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stage of training: which components learn, how fast, for how long.

    >>> from dataclasses import replace
    >>> align = Recipe(name="align", learn={"projector": 1e-3}, steps=100, batch=8)
    >>> replace(align, name="align-longer", steps=400).warmup
    0.03
    """

    name: str
    """What the run is called; its folder carries this name."""
    learn: Mapping[str, float]
    """Learning rate of each component that learns, by the name of its module, or by a pattern over the names of its parameters, like
    `vision_tower.*_lora.*`; a component not named is frozen."""
    steps: int
    """How many updates."""
    batch: int
    """Examples per update, all processes and accumulated passes together."""
    accumulate: int = 1
    """Passes whose gradients are summed up to one update, where a batch does not fit at once."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises from nothing."""
    weight_decay: float = 0.0
    """Decay of what `decay_rule` lets decay."""
    decay_rule: str = "trainer"
    """"trainer": all but biases and norms, transformers' rule; "rank": all but vectors, whatever they are, PixelLLM's."""
    layers: LayerDecay | None = None
    """A stack of blocks of which the deeper learn more slowly; without it all of a component learns at its rate."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of its two moments."""
    schedule: str = "cosine"
    """Course of the learning rate after the warm-up, by transformers' name: cosine, linear, constant_with_warmup …"""
    bf16: bool = False
    """Whether matrix products run in bfloat16 (weights stay float32)."""
    workers: int = 1
    """Processes that prepare batches beside the training."""
    save_every: int = 200
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints that are kept; older ones are removed once a newer is whole."""
    seed: int = 0
    """Seeds the order of examples and everything drawn in training."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of transformers' TrainingArguments, by their names there."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"recipe {self.name!r} has warmup={self.warmup}; a share of the steps is wanted, from 0 to 1")
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"recipe {self.name!r} has {self.steps} steps of {self.batch} examples; both must be at least 1")
        if self.accumulate < 1:
            raise ValueError(f"recipe {self.name!r} accumulates {self.accumulate} passes; it must be at least 1")
        if self.keep < 1 or self.save_every < 1:
            raise ValueError(f"recipe {self.name!r} keeps {self.keep} checkpoints, one every {self.save_every} steps; both must be at least 1")
        if self.decay_rule not in ("trainer", "rank"):
            raise ValueError(f"recipe {self.name!r} has decay_rule={self.decay_rule!r}; 'trainer' or 'rank' is wanted")
        if not self.learn:
            raise ValueError(f"recipe {self.name!r} names no component that learns")

    def at_once(self, processes: int = 1) -> int:
        """Examples of one pass of one process. ValueError where the batch cannot be shared out evenly.

        >>> Recipe(name="a", learn={"eye": 1e-3}, steps=1, batch=128, accumulate=4).at_once(8)
        4
        """
        share, rest = divmod(self.batch, processes * self.accumulate)
        if rest or not share:
            raise ValueError(
                f"recipe {self.name!r} has batches of {self.batch}; {processes} processes with {self.accumulate} passes each cannot share them evenly"
            )
        return share


def check_settings(settings: Mapping[str, Any]) -> None:
    """ValueError for a setting that a recipe does not have, or of another kind than is wanted there: one of the command line can be any text.

    >>> check_settings({"steps": 2, "clip": 1})
    >>> check_settings({"steps": "two"})
    Traceback (most recent call last):
    ValueError: steps='two' is not understood; a whole number is wanted
    """
    kinds = {one.name: one.type for one in fields(Recipe)}
    if odd := sorted(set(settings) - set(kinds)):
        raise ValueError(f"a recipe has no {odd[0]!r}; it has {', '.join(kinds)}")
    for name, value in settings.items():
        if not _fits(name, value, kinds[name]):
            wanted = _OTHERS.get(name) or _KINDS.get(kinds[name], ((), "another value"))[1]
            raise ValueError(f"{name}={value!r} is not understood; {wanted} is wanted")


def _fits(name: str, value: Any, kind: object) -> bool:
    match name:
        case "learn":
            return isinstance(value, Mapping) and all(map(_is_number, value.values()))
        case "betas":
            return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_number, value))
        case "options":
            return isinstance(value, Mapping)
        case "layers":
            return value is None or isinstance(value, LayerDecay)
    kinds, _ = _KINDS[kind]
    return isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

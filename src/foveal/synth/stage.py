"""What a pipeline is made of: stages, which take examples and give them back with more known about them."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from foveal.grounding import Example, GroundedText

__all__ = ["Stage", "Step", "Stopped", "pipeline_of", "settings_of"]

Stage = Callable[[Iterable[Example]], Iterator[Example]]
"""Gives each example back, in order, with notes added (`foveal.synth.notes`); of nothing it gives nothing, once its models are open."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Stopped(ValueError):
    """Raised by a stage that cannot go on for now, whatever it is given: the run ends in its sentence, and the same command goes on at that shard."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stage in a pipeline, its name there, and how it may be run; that changes speed, never what comes out.

    >>> Step("Read text", iter)
    Traceback (most recent call last):
    ValueError: a stage called 'Read text'; small letters, digits, - and _ make a name
    """

    name: str
    stage: Stage
    processes: int = 1
    """How many processes of one machine may share it; of a cluster, how many each machine of two cores is thought to carry."""
    gpus: float = 0.0
    """Of each process, on a cluster."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a stage called {self.name!r}; small letters, digits, - and _ make a name")
        if self.processes < 1 or self.gpus < 0:
            raise ValueError(f"stage {self.name!r} wants {self.processes} processes and {self.gpus} GPUs; at least 1 and 0 are wanted")


def pipeline_of(entries: Iterable[Any]) -> tuple[Step, ...]:
    """The steps of a recipe's list: each is a `Step`, or a name and a stage. ValueError for anything else, and for a name that stands twice.

    >>> [step.name for step in pipeline_of([("first", iter), Step("second", iter)])]
    ['first', 'second']
    """
    steps = []
    for entry in entries:
        parts = (entry.name, entry.stage) if isinstance(entry, Step) else entry
        if not (isinstance(parts, tuple) and 2 <= len(parts) <= 4 and isinstance(parts[0], str) and callable(parts[1])):
            raise ValueError(f"a pipeline holds {entry!r}; a name and a stage are wanted")
        steps.append(entry if isinstance(entry, Step) else Step(*parts))
    names = ["images", *(step.name for step in steps)]
    if not steps or len(set(names)) < len(names):
        raise ValueError(f"a pipeline of {', '.join(names[1:]) or 'no stages'}; stages with different names are wanted, none of them 'images'")
    return tuple(steps)


def settings_of(stage: Stage) -> dict[str, Any]:
    """What a stage is, as JSON: its function, what that was given, and, of a function that is not this library's, the hash of its source.

    >>> settings_of(partial(sorted, reverse=True))
    {'function': 'builtins.sorted', 'reverse': True}
    """
    function = stage.func if isinstance(stage, partial) else stage
    given = {} if not isinstance(stage, partial) else {**{str(place): value for place, value in enumerate(stage.args)}, **stage.keywords}
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    found = {"function": name, **{key: _as_json(value) for key, value in given.items()}}
    if not name.startswith(("foveal.", "builtins.")):
        with suppress(OSError, TypeError):  # typed at a prompt, or no function
            found["source"] = sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    return found


def _as_json(value: Any) -> Any:
    match value:
        case str() | bool() | int() | float() | None:
            return value
        case GroundedText():
            return value.text
        case Mapping():
            return {str(key): _as_json(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            entries = [_as_json(one) for one in value]
            return sorted(entries, key=str) if isinstance(value, set | frozenset) else entries
    if isinstance(value, partial) or (callable(value) and hasattr(value, "__qualname__")):
        return settings_of(value)
    return getattr(value, "name", "") or type(value).__qualname__

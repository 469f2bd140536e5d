"""Bars on standard error where somebody watches it, and a line now and then where it goes to a file."""

import sys
import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

__all__ = ["bar", "is_watched"]

_EVERY = 60.0  # seconds between two lines


def bar(*columns: ProgressColumn, stays: bool = False, quiet: bool = False) -> Progress:
    """A bar of these columns, gone at the end unless it `stays`. Where no one watches, each minute a line says how far it is; nothing if `quiet`.

    >>> bar(quiet=True).disable
    True
    """
    if quiet or is_watched():
        return Progress(*columns, console=Console(stderr=True), transient=not stays, disable=quiet)
    return _Lines(disable=True, speed_estimate_period=60 * _EVERY)


def is_watched() -> bool:
    """Whether standard error is a terminal, and takes more than lines."""
    return Console(stderr=True).is_terminal and sys.stderr.isatty()


class _Lines(Progress):
    """What a bar would show, in words."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._said = time.monotonic()

    def update(self, task_id: TaskID, **how: Any) -> None:
        """As a bar's, and a line where it is time for one."""
        super().update(task_id, **how)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As a bar's, and a line where it is time for one."""
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        if time.monotonic() - self._said < _EVERY:
            return
        self._said, task = time.monotonic(), self.tasks[self.task_ids.index(task_id)]
        of = f" of {task.total:,.0f}" if task.total else ""
        rate = f", {task.speed:.3g} a second" if task.speed else ""
        left = f", {timedelta(seconds=round(task.time_remaining))} left" if task.time_remaining else ""
        print(f"{task.description}: {task.completed:,.0f}{of}{rate}{left}", file=sys.stderr, flush=True)

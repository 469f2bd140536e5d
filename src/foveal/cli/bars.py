"""Bars on standard error, where somebody watches it."""

import sys

from rich.console import Console
from rich.progress import Progress, ProgressColumn

__all__ = ["bar", "is_watched"]


def bar(*columns: ProgressColumn, stays: bool = False, quiet: bool = False) -> Progress:
    """A bar of these columns, of which nothing is shown where no one watches, or `quiet`; gone at the end, unless it `stays`.

    >>> bar(quiet=True).disable
    True
    """
    return Progress(*columns, console=Console(stderr=True), transient=not stays, disable=quiet or not is_watched())


def is_watched() -> bool:
    """Whether standard error is a terminal, and takes more than lines."""
    return Console(stderr=True).is_terminal and sys.stderr.isatty()

"""How far a figure can be trusted: intervals by drawing the items again, and whether one system beats another on the same items."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foveal.evaluate.regions import Figure

__all__ = ["Difference", "bootstrap", "paired_bootstrap"]

Statistic = Callable[[Float[np.ndarray, "draws items *fields"]], Float[np.ndarray, " draws"]]

"""What every spelling of places can do: write words tied to places for a model, and read whatever the model says back."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from foveal.geometry import Frame
from foveal.grounding.text import GroundedText

__all__ = ["LocationFormat"]


@runtime_checkable
class LocationFormat(Protocol):
    """Turns words tied to places into the string a model reads, and the string it says back into words tied to places."""

    def encode(self, said: GroundedText, frame: Frame, *, feature_slots: bool = False) -> str:
        """The string for `said`; `frame` knows the image's size and the model's canvas. With slots, each region gets its placeholder."""
        ...

    def decode(self, raw: str, frame: Frame, score: Callable[[int, int], float | None] | None = None) -> GroundedText:
        """The words and places of any string; never raises. `score` tells the confidence of a range of characters of `raw`."""
        ...

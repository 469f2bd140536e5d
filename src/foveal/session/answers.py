"""What a session is asked with and what it gives back: options of generation, and an answer with its places."""

from dataclasses import dataclass
from typing import Literal

from foveal.geometry import Region
from foveal.grounding import GroundedText, Span

__all__ = ["Answer", "Options", "Reason"]

Reason = Literal["stop", "length", "repetition", "error"]
"""Why an answer ended: see `Answer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an answer is generated; the defaults are greedy and so always the same.

    >>> Options(max_new_tokens=0)
    Traceback (most recent call last):
    ValueError: max_new_tokens is 0; at least 1 is wanted.
    """

    max_new_tokens: int = 512
    """The longest answer, in tokens."""
    temperature: float = 0.0
    """0 takes the likeliest token; above 0 tokens are drawn at random, with `seed`."""
    seed: int = 0
    """What random draws start from."""
    constrain: bool = True
    """Inside a bracket only what can still become a place is allowed: digits, commas, the close."""
    stop_repetition: bool = True
    """An answer that says the same words with the same box three times in a row, or one box four times, is ended."""
    merge_repeats: bool = True
    """In a numbered list, a thing named again at the same place (IoU of 0.5 or more) is one thing: only the first keeps its place."""
    stop: tuple[str, ...] = ()
    """Texts before the first of which an answer ends."""
    batch: int = 32
    """How many questions are answered at once; it changes speed and memory, not what is answered."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is wanted.")
        if not all(self.stop):
            raise ValueError("a text to stop at is empty; characters are wanted.")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; 0 or more is wanted.")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said: words tied to places, each place with a score, and why the answer ended.

    `finish_reason` is "stop" when the model ended it, "length" at `max_new_tokens`, "repetition" when it went in circles, and "error" when an
    item of a batch could not be asked; then `error` says why in one sentence. `raw` is the model's own spelling.
    """

    said: GroundedText
    finish_reason: Reason = "stop"
    raw: str = ""
    error: str | None = None

    @property
    def text(self) -> str:
        """The words alone."""
        return self.said.text

    @property
    def spans(self) -> tuple[Span, ...]:
        """The stretches of the text that have places, or are said to have none."""
        return self.said.spans

    @property
    def regions(self) -> tuple[Region, ...]:
        """The places alone, in the order in which they were said."""
        return self.said.regions

    @property
    def scores(self) -> tuple[float | None, ...]:
        """A score for each of `regions`, from 0 to 1: the geometric mean of the probabilities of the tokens that spell it; where places are not
        spelt, the chance that it is right, of a mask the IoU that is expected of it.
        """
        return tuple(score for span in self.said.spans for score in (span.scores or (None,) * len(span.regions)))

    def __str__(self) -> str:
        return self.error or self.said.text

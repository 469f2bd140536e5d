"""Follows answers while they are generated: keeps brackets well formed, notes probabilities, and ends what goes in circles."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from foveal.session.answers import Reason
from foveal.session.grammar import PlaceGrammar, is_circling

__all__ = ["Follow", "Steer", "Steering", "Track", "lead"]


class Track:
    """The state of one answer: its tokens, each token's log-probability, the open bracket, and why it has been ended.

    Probabilities are the model's own, before anything is forbidden: a place the model was led to is no more certain for that.
    """

    def __init__(self, grammar: PlaceGrammar, ends: Sequence[int], *, constrain: bool = True, stop_repetition: bool = True) -> None:
        self.grammar = grammar
        self.ends = frozenset(ends)
        self.constrain = constrain
        self.stop_repetition = stop_repetition
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.reason: Reason | None = None
        self._open: str | None = None
        self._text = ""

    @property
    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """Which tokens may come next, where the answer is led."""
        return self.grammar.allowed(self._open)

    def take(self, token: int, logprob: float) -> None:
        """Takes in the chosen token; the one that ends the answer is not kept."""
        if token in self.ends:
            self.reason = "stop"
            return
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self._text += self.grammar.spellings[token] if token < len(self.grammar.spellings) else ""
        was_open, self._open = self._open, self.grammar.open_bracket(self._open, token)
        closed = was_open is not None and self._open is None
        if closed and self.stop_repetition and is_circling(self._text[: self._text.rfind("]") + 1]):
            self.reason = "repetition"


def lead(tracks: Sequence[Track], scores: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
    """The scores of every next token, with those that would break a bracket at minus infinity in rows that are led."""
    if not any(track.constrain for track in tracks):
        return scores
    allowed = torch.stack([track.allowed for track in tracks])
    spare = scores.shape[1] - allowed.shape[1]  # a vocabulary may be padded beyond the tokenizer's
    if spare > 0:
        allowed = torch.cat([allowed, allowed.new_zeros(len(allowed), spare)], dim=1)
    allowed |= torch.tensor([not track.constrain for track in tracks])[:, None]
    return scores.masked_fill(~allowed[:, : scores.shape[1]].to(scores.device), -torch.inf)


class Steering:
    """The tracks of `rows` answers that transformers' `generate` makes.

    `on_token` hears the tokens of the first row after each step, and ends all by returning False.
    """

    def __init__(
        self,
        rows: int,
        grammar: PlaceGrammar,
        ends: Sequence[int],
        *,
        constrain: bool = True,
        stop_repetition: bool = True,
        on_token: Callable[[list[int]], bool] | None = None,
    ) -> None:
        self.tracks = [Track(grammar, ends, constrain=constrain, stop_repetition=stop_repetition) for _ in range(rows)]
        self.on_token = on_token
        self._last: Tensor | None = None

    @property
    def tokens(self) -> list[list[int]]:
        """What was said in each row."""
        return [track.tokens for track in self.tracks]

    @property
    def logprobs(self) -> list[list[float]]:
        """The log-probability of each token of each row."""
        return [track.logprobs for track in self.tracks]

    @property
    def reasons(self) -> list[Reason | None]:
        """Why each row has been ended; None for those that have not."""
        return [track.reason for track in self.tracks]

    def before(self, scores: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """Note what the model thinks of every next token, and forbid those that break a bracket."""
        self._last = scores.log_softmax(-1)
        return lead(self.tracks, scores)

    def after(self, token: Int[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        """Take in the chosen tokens; True for each row that is at its end."""
        assert self._last is not None
        chosen = token.tolist()
        logprobs = self._last.gather(1, token[:, None].to(self._last.device))[:, 0].tolist()
        for track, one, logprob in zip(self.tracks, chosen, logprobs, strict=True):
            if track.reason is None:
                track.take(one, logprob)
        goes_on = self.on_token is None or self.on_token(self.tracks[0].tokens)
        return torch.tensor([track.reason is not None or not goes_on for track in self.tracks], device=token.device)


class Steer(LogitsProcessor):
    """`Steering.before`, as `generate` wants it."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores with forbidden tokens at minus infinity."""
        return self.steering.before(scores)


class Follow(StoppingCriteria):
    """`Steering.after`, as `generate` wants it."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **kwargs: object) -> Tensor:
        """True for each row that is at its end."""
        return self.steering.after(input_ids[:, -1])

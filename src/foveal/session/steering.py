"""Follows a batch of answers while they are generated: keeps brackets well formed, notes probabilities, and ends what goes in circles."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from foveal.session.answers import Reason
from foveal.session.grammar import PlaceGrammar, is_circling

__all__ = ["Follow", "Steer", "Steering"]


class Steering:
    """The state of `rows` answers: their tokens, each token's log-probability, the open bracket of each, and which have been ended.

    Probabilities are the model's own, before anything is forbidden: a place the model was led to is no more certain for that.
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
        self.grammar = grammar
        self.ends = frozenset(ends)
        self.constrain = constrain
        self.stop_repetition = stop_repetition
        self.on_token = on_token
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.logprobs: list[list[float]] = [[] for _ in range(rows)]
        self.reasons: list[Reason | None] = [None] * rows
        self._open: list[str | None] = [None] * rows
        self._texts = [""] * rows
        self._last: Tensor | None = None

    def before(self, scores: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """Note what the model thinks of every next token, and forbid those that break a bracket."""
        self._last = scores.log_softmax(-1)
        if not self.constrain:
            return scores
        allowed = torch.stack([self.grammar.allowed(open_bracket) for open_bracket in self._open])
        spare = scores.shape[1] - allowed.shape[1]  # a vocabulary may be padded beyond the tokenizer's
        if spare > 0:
            allowed = torch.cat([allowed, allowed.new_zeros(len(allowed), spare)], dim=1)
        return scores.masked_fill(~allowed[:, : scores.shape[1]].to(scores.device), -torch.inf)

    def after(self, token: Int[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        """Take in the chosen tokens; True for each row that is at its end."""
        assert self._last is not None
        chosen = token.tolist()
        logprobs = self._last.gather(1, token[:, None].to(self._last.device))[:, 0].tolist()
        for row, (one, logprob) in enumerate(zip(chosen, logprobs, strict=True)):
            if self.reasons[row] is None:
                self._take(row, one, logprob)
        goes_on = self.on_token is None or self.on_token(self.tokens[0])
        return torch.tensor([reason is not None or not goes_on for reason in self.reasons], device=token.device)

    def _take(self, row: int, token: int, logprob: float) -> None:
        if token in self.ends:
            self.reasons[row] = "stop"
            return
        self.tokens[row].append(token)
        self.logprobs[row].append(logprob)
        self._texts[row] += self.grammar.spellings[token] if token < len(self.grammar.spellings) else ""
        was_open, self._open[row] = self._open[row], self.grammar.open_bracket(self._open[row], token)
        closed = was_open is not None and self._open[row] is None
        if closed and self.stop_repetition and is_circling(self._texts[row][: self._texts[row].rfind("]") + 1]):
            self.reasons[row] = "repetition"


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

"""How a writer writes: the likeliest token, one drawn at random, or the best of several beams; always with the state of every token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foveal.models.pixel_llm.writer import Writer

__all__ = ["Written", "forbid", "search", "write"]

_NEVER = -1e7
"""The score of a beam that is not there."""
_FORBIDDEN = -1e4
"""The logit of a token that may not be said."""


@dataclass(frozen=True)
class Written:
    """Texts that were written; `*rows` are the rows given, or the rows and their beams, the best first."""

    ids: Int[Tensor, "*rows length"]
    """What begins a text, its tokens, what ends it, and padding up to the longest."""
    features: Float[Tensor, "*rows length width"]
    """The state of the place that has read each token, as `Writer.read` gives it for the finished text; zero for the end and for padding."""
    scores: Float[Tensor, "*rows"]
    ended: Bool[Tensor, "*rows"]
    """Whether the writer ended the text itself, and not the limit."""

    def of_beam(self, number: int) -> "Written":
        """One beam of each row: 0 is the best."""
        return Written(self.ids[:, number], self.features[:, number], self.scores[:, number], self.ended[:, number])


@torch.no_grad()
def write(
    writer: Writer,
    visual: Float[Tensor, "rows slots dim"],
    context: Int[Tensor, "rows context"] | None = None,
    *,
    limit: int,
    temperature: float = 0.0,
    seed: int = 0,
    forbid_repeats: bool = False,
    on_token: Callable[[Int[Tensor, " rows"], Float[Tensor, "rows width"]], None] | None = None,
) -> Written:
    """At most `limit` tokens for each row, the end among them; a row that has ended is no longer read.

    The likeliest token is taken, or with a `temperature` one is drawn. Draws depend on `seed` and on a token's place, not on the other rows,
    so a batch says what each would say alone. `forbid_repeats` is the release's rule that no token follows itself, which breaks numbers such
    as "11": for released weights only. `on_token` gets every token with its feature as soon as it has been read, one step after it was
    said; rows that have ended get padding and zeros, and the end is never read. A score is the sum of the tokens' log-probabilities, that of
    the end too, by the number of tokens without it.

    transformers' `generate` has no place for the state of each token but to keep those of all layers, and does not drop ended rows: hence
    this loop. ValueError for a limit below 1 or a temperature below 0.
    """
    if limit < 1 or temperature < 0:
        raise ValueError(f"a limit of {limit} tokens and a temperature of {temperature} were given; at least 1, and 0 or more, are wanted.")
    if not len(visual):
        return _nothing(writer, visual, 0)
    rows, live = len(visual), torch.arange(len(visual), device=visual.device)
    draft, random = writer.begin(visual, context), torch.Generator().manual_seed(seed)
    ids = torch.full((rows, limit + 1), writer.pad_token_id, device=visual.device)
    ids[:, 0] = writer.bos_token_id
    total, words, features = torch.zeros(rows, device=visual.device), torch.zeros(rows, device=visual.device), []
    for place in range(limit + 1):
        last = ids[live, place]
        logits, found = writer.step(draft, last[:, None])
        features.append(found.new_zeros(rows, writer.width).index_copy(0, live, found[:, 0]))
        if place and on_token is not None:
            on_token(torch.full_like(ids[:, 0], writer.pad_token_id).index_copy(0, live, last), features[place])
        if place == limit:
            break
        said, log_prob = _chosen(logits.float(), last if forbid_repeats else None, temperature, random)
        goes_on = said != writer.eos_token_id
        ids[live, place + 1] = said
        total[live] += log_prob
        words[live] += goes_on
        live = live[goes_on]
        if not len(live):
            break
        if len(live) < len(said):
            draft.select(goes_on.nonzero()[:, 0])
    ended = torch.ones(rows, dtype=torch.bool, device=visual.device).index_fill(0, live, False)
    ids = ids[:, : place + 2]
    states = torch.stack(features, dim=1)
    return Written(ids, functional.pad(states, (0, 0, 0, ids.shape[1] - states.shape[1])), total / words.clamp(min=1), ended)


@torch.no_grad()
def search(
    writer: Writer,
    visual: Float[Tensor, "rows slots dim"],
    context: Int[Tensor, "rows context"] | None = None,
    *,
    limit: int,
    beams: int = 4,
    per_beam: int = 2,
) -> Written:
    """The `beams` best texts of at most `limit` tokens for each row, as the release searches and scores them.

    Of all continuations of a row's live beams the best `beams * per_beam` are kept; those that end are scored by
    log-probability / ((5 + n) / 6) ** 0.6 for n tokens, the end among them, and the best `beams` of all that ended stay. It stops when in no
    row a live beam can still beat the worst of them. Where nothing ended within the limit, the live beams are returned with their plain
    log-probability. A beam that is not there has a score near -1e7 and means nothing. Features are those of each beam's own tokens.

    ValueError for fewer than one token, beam or continuation.
    """
    if min(limit, beams, per_beam) < 1:
        raise ValueError(f"a limit of {limit} tokens, {beams} beams and {per_beam} continuations of each were given; at least 1 of each is wanted.")
    if not len(visual):
        return _nothing(writer, visual, 0, beams)
    rows, slots = len(visual), torch.arange(beams, device=visual.device)
    first = torch.arange(rows, device=visual.device)[:, None] * beams
    draft, states = writer.begin(visual, context), []
    draft.select((first // beams).expand(-1, beams).flatten())
    done = _Beams.none(rows, beams, limit + 1, writer.pad_token_id, visual.device)
    live = done.pick(slots.expand(rows, -1), torch.where(slots == 0, 0.0, done.scores))
    live.ids[..., 0] = writer.bos_token_id
    for place in range(limit + 1):
        logits, found = writer.step(draft, live.ids[..., place].reshape(-1, 1))
        states.append(found.unflatten(0, (rows, beams))[:, :, 0])
        live.slots[..., place] = slots
        if place == limit:
            break
        parents, grown = live.grow(logits.float().log_softmax(-1).unflatten(0, (rows, beams)), place + 1, beams * per_beam)
        ends = grown.ids[..., place + 1] == writer.eos_token_id
        done = done.best_with(grown, grown.scores / _penalty(place + 1) + ~ends * _NEVER)
        kept = (grown.scores + ends * _NEVER).topk(beams)
        live = grown.pick(kept.indices, kept.values)
        hopes = live.scores[:, 0]
        if bool(((done.scores[:, -1] > hopes / _penalty(limit)) | (hopes < _NEVER / 100)).all()):
            break
        draft.select((first + parents.gather(1, kept.indices)).flatten())
    ended = (done.scores > _NEVER / 100).any(dim=1)
    return _finished(writer, done.where(ended, live), ended[:, None].expand(-1, beams), torch.stack(states, dim=2))


@dataclass
class _Beams:
    """Texts of each row with their scores, the best first."""

    ids: Int[Tensor, "rows beams length"]
    slots: Int[Tensor, "rows beams length"]
    """In which of the live beams each token was read: there its state is found."""
    scores: Float[Tensor, "rows beams"]

    @staticmethod
    def none(rows: int, beams: int, length: int, pad: int, device: torch.device) -> "_Beams":
        ids = torch.full((rows, beams, length), pad, device=device)
        return _Beams(ids, torch.zeros_like(ids), torch.full((rows, beams), _NEVER, device=device))

    def pick(self, order: Int[Tensor, "rows kept"], scores: Float[Tensor, "rows kept"]) -> "_Beams":
        """These beams of each row, under these scores."""
        index = order[..., None].expand(-1, -1, self.ids.shape[-1])
        return _Beams(self.ids.gather(1, index), self.slots.gather(1, index), scores)

    def grow(self, log_probs: Float[Tensor, "rows beams vocabulary"], place: int, count: int) -> tuple[Int[Tensor, "rows grown"], "_Beams"]:
        """The `count` best continuations of all beams of a row by one token, and which beam each continues."""
        sums = (self.scores[..., None] + log_probs).flatten(1)
        best = sums.topk(min(count, sums.shape[1]))
        parents = best.indices // log_probs.shape[-1]
        grown = self.pick(parents, best.values)
        grown.ids[..., place] = best.indices % log_probs.shape[-1]
        return parents, grown

    def best_with(self, others: "_Beams", scores: Float[Tensor, "rows others"]) -> "_Beams":
        """As many of these and of the others, under these scores, as there are here."""
        both = _Beams(*(torch.cat(pair, dim=1) for pair in ((self.ids, others.ids), (self.slots, others.slots), (self.scores, scores))))
        best = both.scores.topk(self.scores.shape[1])
        return both.pick(best.indices, best.values)

    def where(self, chosen: Bool[Tensor, " rows"], others: "_Beams") -> "_Beams":
        """These in the rows that are chosen, the others elsewhere."""
        ids, slots = (torch.where(chosen[:, None, None], *pair) for pair in ((self.ids, others.ids), (self.slots, others.slots)))
        return _Beams(ids, slots, torch.where(chosen[:, None], self.scores, others.scores))


def _nothing(writer: Writer, visual: Float[Tensor, "rows slots dim"], *rows: int) -> Written:
    """The texts of no rows."""
    scores = torch.zeros(rows, device=visual.device)
    return Written(scores[..., None].long(), visual.new_zeros(*rows, 1, writer.width), scores, scores > 0)


def _finished(writer: Writer, beams: _Beams, ended: Bool[Tensor, "rows beams"], states: Float[Tensor, "rows beams places width"]) -> Written:
    """The beams as texts, and the states of their tokens gathered from the live beams in which they were read."""
    places = torch.arange(states.shape[2], device=states.device)
    ids = beams.ids[..., : len(places) + 1]
    row = torch.arange(len(states), device=states.device)[:, None, None]
    found = states[row, beams.slots[..., : len(places)], places]
    over = functional.pad((ids[..., 1:] == writer.eos_token_id).cumsum(-1) > 0, (1, 0))[..., : len(places)]
    there = beams.scores > _NEVER / 100
    features = found.masked_fill((over | ~there[..., None])[..., None], 0.0)
    return Written(ids, functional.pad(features, (0, 0, 0, ids.shape[-1] - len(places))), beams.scores, ended & there)


def forbid(logits: Float[Tensor, "rows vocabulary"], last: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocabulary"]:
    """The logits of next tokens where the token that was said last may not be said again."""
    return logits.scatter(1, last[:, None], _FORBIDDEN)


def _chosen(
    logits: Float[Tensor, "live vocabulary"], last: Int[Tensor, " live"] | None, temperature: float, random: torch.Generator
) -> tuple[Int[Tensor, " live"], Float[Tensor, " live"]]:
    """The next token of each row and its log-probability; `last` may not follow itself. All rows share the noise of a draw (Gumbel's trick)."""
    if last is not None:
        logits = forbid(logits, last)
    log_probs = logits.log_softmax(-1)
    scores = log_probs
    if temperature:
        noise = torch.empty(logits.shape[-1]).exponential_(generator=random).log_()
        scores = log_probs / temperature - noise.to(logits.device)
    said = scores.argmax(-1)
    return said, log_probs.gather(1, said[:, None])[:, 0]


def _penalty(length: int) -> float:
    """What the log-probability of a text of so many tokens is divided by, so that longer ones have a chance."""
    return ((5 + length) / 6) ** 0.6

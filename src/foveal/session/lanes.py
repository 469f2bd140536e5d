"""A shared prefix: rows about one image share a lane of the cache, where the beginning of their prompts is kept, and read, once for all."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache

from foveal.models.base import ConversationModel
from foveal.models.caches import RoomyLayer, change_cache, is_joinable, join_caches, left_padding, padded

__all__ = ["Lanes", "width_of"]

_WIDEST = 8
"""The most rows in a lane: a token looks at what the others of its lane have said, too, before that is masked."""
_BLANK = 1.25
"""The most slots for each row: those that are left over are read, too."""
_BEGINNING, _FIRST = 1, 2


class Lanes:
    """What a language model has read of some rows, `width` of them side by side in each lane; a row's place is a slot of a lane.

    `owner` says of each column of a lane whose it is: 0 nobody's, 1 the beginning that all have, 2 and more that of slot 0 and more. With one row in
    each lane this is a batch as any other, padded on the left.
    """

    def __init__(self, model: ConversationModel, beginnings: Sequence[Cache], width: int = 1, more: int = 0) -> None:
        """One lane for each of `beginnings`, a cache of one row, with room for `more` tokens. ValueError for several that do not keep columns."""
        self._model, self.width = model, width
        self._cache = _together(beginnings, more + RoomyLayer.room)
        lengths = [cache.get_seq_length() for cache in beginnings]
        self.owner = _filled(lengths, model.device).long() * _BEGINNING

    @property
    def is_joinable(self) -> bool:
        """Whether lanes of another can be put below these."""
        return is_joinable(self._cache)

    @torch.no_grad()
    def read(self, ids: Int[Tensor, "slots new"], real: Bool[Tensor, "slots new"], **visual: Any) -> Float[Tensor, "slots vocabulary"]:
        """Reads tokens of each slot, lane by lane: those that are `real`, which end at the last. What comes next is told."""
        width, new = self.width, ids.shape[1]
        ids, real = (some.unflatten(0, (-1, width)) for some in (ids, real))
        slots = torch.arange(_FIRST, _FIRST + width, device=ids.device)
        columns = torch.where(real, slots[:, None], 0).flatten(1)
        if width == 1:
            mask = torch.cat([self.owner, columns], dim=1) > 0
            named: dict[str, Any] = {"attention_mask": mask.long(), "logits_to_keep": 1}
        else:
            begun = (self.owner == _BEGINNING).sum(1)[:, None] + (self.owner[:, None] == slots[:, None]).sum(2)
            positions = (begun[:, :, None] + real.cumsum(2) - 1).clamp(min=0).flatten(1)
            last = torch.arange(width, device=ids.device) * new + new - 1
            named = {"attention_mask": self._mask(columns, slots, new), "position_ids": positions, "logits_to_keep": last}
        found = self._model(input_ids=ids.flatten(1), past_key_values=self._cache, use_cache=True, **named, **visual)
        self.owner = torch.cat([self.owner, columns], dim=1)
        return found.logits[:, -width:].flatten(0, 1).float()

    def _mask(self, columns: Int[Tensor, "lanes new"], slots: Int[Tensor, " width"], new: int) -> Float[Tensor, "lanes 1 new all"]:
        """What is added to the scores of new tokens: each sees the beginning and, of what its own row has said, what comes before it."""
        owner, past = torch.cat([self.owner, columns], dim=1), self.owner.shape[1]
        asks = slots.repeat_interleave(new)[None, :, None]
        order = torch.arange(past + columns.shape[1], device=owner.device)
        sees = (owner[:, None] == _BEGINNING) | ((owner[:, None] == asks) & (order <= order[past:, None]))
        dtype = self._model.dtype
        return torch.zeros(sees.shape, dtype=dtype, device=owner.device).masked_fill_(~sees, torch.finfo(dtype).min)[:, None]

    def arrange(self, kept: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Goes on with these lanes, each a lane that was with those of its slots that are kept, in their new order; a lane may be kept in parts."""
        lanes = torch.tensor([lane for lane, _ in kept], dtype=torch.long, device=self.owner.device)
        if self.width == 1:
            self._cache.batch_select_indices(lanes)
            self.owner = self.owner[lanes]
            if (blank := left_padding(self.owner > 0)) and self.is_joinable:
                change_cache(self._cache, lambda values: values[:, :, blank:])
                self.owner = self.owner[:, blank:]
            return
        table = torch.zeros(len(kept), _FIRST + self.width, dtype=torch.long)
        table[:, _BEGINNING] = _BEGINNING
        for lane, (_, slots) in enumerate(kept):
            table[lane, torch.tensor(slots, dtype=torch.long) + _FIRST] = torch.arange(_FIRST, _FIRST + len(slots))
        owner = table.to(lanes.device).gather(1, self.owner[lanes])
        most = int((owner > 0).sum(1).max()) if kept else 0
        order = (owner > 0).byte().argsort(dim=1, stable=True)[:, owner.shape[1] - most :]
        change_cache(self._cache, lambda values: values[lanes[:, None], :, order].transpose(1, 2))
        self.owner, self.width = owner.gather(1, order), max((len(slots) for _, slots in kept), default=1)

    def join(self, other: "Lanes") -> None:
        """Puts the lanes of another, of the same width, below these."""
        most = max(self.owner.shape[1], other.owner.shape[1])
        own, theirs = [(self.owner.shape[1], most)], [(other.owner.shape[1], most)]
        join_caches(self._cache, other._cache, own, theirs)
        self.owner = torch.cat([padded(self.owner, 1, own), padded(other.owner, 1, theirs)])


def width_of(model: ConversationModel, beginnings: Sequence[Cache], counts: Sequence[int], longest: int) -> int:
    """How many rows a lane is to have, where so many rows begin with each of `beginnings` and go on with at most `longest` tokens: 1 for few rows,
    for long ones, and for a model that does not take positions and masks of this kind.
    """
    config = model.language_model.config.get_text_config(decoder=True)
    takes = config._attn_implementation in ("sdpa", "eager") and not getattr(model.language_model, "counts_columns", False)
    if not takes or not all(is_joinable(cache) for cache in beginnings):
        return 1
    most = min(_WIDEST, *(cache.get_seq_length() // longest for cache in beginnings))
    slots = {width: width * sum(-(-count // width) for count in counts) for width in range(1, most + 1)}
    return max((width for width, taken in slots.items() if taken <= _BLANK * sum(counts)), default=1)


def _together(caches: Sequence[Cache], more: int) -> Cache:
    """One cache of the rows of several, padded on the left, with room for so many more tokens."""
    if not all(is_joinable(cache) for cache in caches):
        if len({id(cache) for cache in caches}) > 1:
            raise ValueError("this model's cache does not keep columns; questions about one image at a time are wanted.")
        cache = copy.deepcopy(caches[0])
        cache.batch_repeat_interleave(len(caches))
        return cache
    most = max(cache.get_seq_length() for cache in caches)
    whole = DynamicCache()
    for number in range(len(caches[0].layers)):
        keys, values = (_spread([getattr(cache.layers[number], name) for cache in caches], most, most + more) for name in ("keys", "values"))
        whole.layers.append(RoomyLayer(keys, values, most))
    return whole


def _spread(parts: Sequence[Float[Tensor, "1 heads _ dim"]], most: int, room: int) -> Float[Tensor, "lanes heads {room} dim"]:
    """Lanes that end at column `most`, with zeros before them and room behind."""
    made = parts[0].new_empty(len(parts), parts[0].shape[1], room, parts[0].shape[3])
    for lane, part in enumerate(parts):
        made[lane, :, : most - part.shape[2]] = 0
        made[lane, :, most - part.shape[2] : most] = part[0]
    return made


def _filled(lengths: Sequence[int], device: torch.device) -> Bool[Tensor, "lanes columns"]:
    """Rows of so many columns that count, padded on the left."""
    columns = torch.arange(max(lengths), device=device)
    return columns >= max(lengths) - torch.tensor(lengths, device=device)[:, None]

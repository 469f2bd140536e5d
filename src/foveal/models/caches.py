"""Rows of a cache that leave, and rows of another that join, while texts are written: columns are padded and cut, and no number is changed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

__all__ = ["Parts", "RoomyLayer", "change_cache", "is_joinable", "join_caches", "left_padding", "padded"]

Parts = Sequence[tuple[int, int]]
"""What the columns of a cache consist of, part after part: (how many columns a part has, how many it is to have)."""


def is_joinable(cache: Cache) -> bool:
    """Whether every layer keeps all it has read, column by column; a sliding window does not."""
    if isinstance(cache, EncoderDecoderCache):
        return is_joinable(cache.self_attention_cache) and is_joinable(cache.cross_attention_cache)
    return isinstance(cache, DynamicCache) and all(type(layer) in (DynamicLayer, RoomyLayer) for layer in cache.layers)


class RoomyLayer(DynamicLayer):
    """What one layer keeps, with room for what is to come: transformers' own copies all of it for every token.

    The first `length` columns of `keys` and `values` are what is kept; the others are the room.
    """

    room = 32
    """For how many more tokens there is room when it is made anew."""

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._hold(keys, values, length)

    def _hold(self, keys: Tensor, values: Tensor, length: int) -> None:
        self._held = keys, values
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes down what was read, and gives all that is kept."""
        length, new = self.keys.shape[2], key_states.shape[2]
        if not self._is_held() or self._held[0].shape[2] < length + new:
            self._hold(_roomier(self.keys, new + self.room), _roomier(self.values, new + self.room), length)
        for held, read in zip(self._held, (key_states, value_states), strict=True):
            held[:, :, length : length + new] = read
        self._hold(*self._held, length + new)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Goes on with these rows."""
        if self._is_held():
            self._hold(self._held[0][indices], self._held[1][indices], self.keys.shape[2])
        else:
            super().batch_select_indices(indices)

    def _is_held(self) -> bool:
        """Whether what is kept still stands where the room is: columns may have been cut, and rows joined."""
        return self._held[0].data_ptr() == self.keys.data_ptr() and len(self._held[0]) == len(self.keys)


def _roomier(values: Tensor, more: int) -> Tensor:
    rows, heads, length, dim = values.shape
    made = values.new_empty(rows, heads, length + more, dim)
    made[:, :, :length] = values
    return made


def change_cache(cache: Cache, change: Callable[[Tensor], Tensor]) -> None:
    """Puts `change` of every layer's keys and values, "rows heads columns dim", in their place."""
    for layer in cache.layers:
        layer.keys, layer.values = change(layer.keys), change(layer.values)


def join_caches(cache: Cache, other: Cache, own: Parts, theirs: Parts) -> None:
    """Puts the rows of `other` below those of `cache`, both padded as their `Parts` say."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        layer.keys = torch.cat([padded(layer.keys, 2, own), padded(more.keys, 2, theirs)])
        layer.values = torch.cat([padded(layer.values, 2, own), padded(more.values, 2, theirs)])


def padded(values: Tensor, dim: int, parts: Parts) -> Tensor:
    """A tensor whose parts along `dim` are padded at their beginning with zeros (false).

    >>> padded(torch.tensor([[1, 2, 3]]), 1, ((1, 2), (2, 3)))
    tensor([[0, 1, 0, 2, 3]])
    """
    if all(have == want for have, want in parts):
        return values
    pieces, start = [], 0
    for have, want in parts:
        blank = list(values.shape)
        blank[dim] = want - have
        pieces += [values.new_zeros(blank), values.narrow(dim, start, have)]
        start += have
    return torch.cat(pieces, dim=dim)


def left_padding(mask: Bool[Tensor, "rows columns"]) -> int:
    """How many columns at the left are padding in every row.

    >>> left_padding(torch.tensor([[False, False, True], [False, True, True]]))
    1
    """
    used = mask.any(0)
    return int(used.int().argmax()) if bool(used.any()) else mask.shape[1]

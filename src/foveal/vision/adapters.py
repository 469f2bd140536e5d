"""Low-rank adapters, one for each window of an image, applied to all windows of all images at once (Monkey, arXiv 2311.06607, 3.1)."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization

__all__ = ["AdapterHost", "GroupedLora", "whole_weight"]


class GroupedLora(nn.Module):
    """`count` low-rank maps side by side; each view goes through the one its number names: x -> B_k(A_k(dropout(x))) * scale_k.

    There is no alpha / rank factor: the scale is learned, and starts at 1; B starts at 0, so that a new adapter changes nothing.

    >>> lora = GroupedLora(8, 6, count=4, rank=2)
    >>> lora(torch.rand(5, 3, 8), torch.tensor([0, 1, 2, 3, 1])).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, dim: int, out: int, count: int, rank: int, dropout: float = 0.05) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(count, rank, dim))
        self.up = nn.Parameter(torch.zeros(count, out, rank))
        self.scale = nn.Parameter(torch.ones(count))
        self.dropout = dropout
        self.reset()

    def reset(self) -> None:
        """Kaiming-uniform with a = √5 for A, as one linear layer each; zeros for B; 1 for the scales."""
        bound = self.down.shape[2] ** -0.5
        initialization.uniform_(self.down, -bound, bound)
        initialization.zeros_(self.up)
        initialization.ones_(self.scale)

    def forward(self, views: Float[Tensor, "views tokens dim"], adapter: Int[Tensor, " views"]) -> Float[Tensor, "views tokens out"]:
        """What the adapters add for each view; `adapter` holds the number of each view's."""
        inner = torch.bmm(functional.dropout(views, self.dropout, self.training), self.down[adapter].mT)
        return torch.bmm(inner * self.scale[adapter, None, None], self.up[adapter].mT)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        count, rank, dim = self.down.shape
        return f"{dim}, {self.up.shape[1]}, count={count}, rank={rank}"


class AdapterHost(nn.Linear):
    """A linear map that is not there: zeros for whatever it is given, no parameter, nothing in a checkpoint.

    It stands where Monkey's third adapter lies beside a whole MLP, so that PEFT, which puts adapters on linear layers, finds one. An adapter
    on it cannot be merged: there is no weight.

    >>> host = AdapterHost(8)
    >>> host(torch.rand(2, 3, 8)).abs().max(), list(host.state_dict())
    (tensor(0.), [])
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width, bias=False, device="meta")
        del self.weight
        # PEFT reads from it where an adapter lives and in what numbers; an empty one follows the tower and costs nothing.
        self.register_buffer("weight", torch.empty(0, width, device="cpu"), persistent=False)

    def forward(self, hidden: Float[Tensor, "views tokens dim"]) -> Float[Tensor, "views tokens dim"]:
        """Zeros of the given shape."""
        return hidden.new_zeros(()).expand_as(hidden)


def whole_weight(layer: Any) -> Float[Tensor, "out in"]:
    """The weight by which a linear layer multiplies, with what PEFT's adapters beside it add (but for their dropout): for what multiplies by
    weights itself, past the layer's own forward.

    >>> whole_weight(nn.Linear(3, 2)).shape
    torch.Size([2, 3])
    """
    weight: Tensor = layer.weight
    if not hasattr(layer, "get_delta_weight") or layer.merged or layer.disable_adapters:
        return weight
    for name in layer.active_adapters:
        weight = weight + layer.get_delta_weight(name)
    return weight

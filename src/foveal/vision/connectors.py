"""From the width of vision features to the width of the language model."""

from torch import nn

__all__ = ["Projector"]


class Projector(nn.Sequential):
    """`linear` is one linear map (Ferret v1), `mlp2x_gelu` two with a GELU between (Ferret-v2). It acts on the last axis.

    Parameters are named by their place in the sequence (`0`, `2`), as in the published checkpoints of the two-layer kind.

    >>> import torch
    >>> Projector("mlp2x_gelu", 8, 6)(torch.rand(2, 3, 3, 8)).shape
    torch.Size([2, 3, 3, 6])
    """

    def __init__(self, kind: str, dim: int, width: int) -> None:
        match kind:
            case "linear":
                super().__init__(nn.Linear(dim, width))
            case "mlp2x_gelu":
                super().__init__(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, width))
            case _:
                raise ValueError(f"projector of kind {kind!r} was asked for; there are 'linear' and 'mlp2x_gelu'")

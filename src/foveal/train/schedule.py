"""How fast each parameter learns: slower the deeper its layer lies; and which parameters are frozen, and which decay.

The course over time, a straight rise and half a cosine, is transformers' schedule "cosine".
"""

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

__all__ = ["LayerDecay", "decayed_names", "frozen_names", "parameter_groups"]


@dataclass(frozen=True, kw_only=True)
class LayerDecay:
    """The blocks of a stack learn by `factor` more slowly with every block that lies above them, as in BEiT and its followers (EVA-02).

    Layer 0 is the stem, layer i + 1 block i, and layer `blocks` + 1 all else, which learns at the full rate; a layer's rate is
    factor ** (blocks + 1 - layer) of it.

    >>> decay = LayerDecay(prefix="eye.blocks.", blocks=2, stem=("eye.patches",), factor=0.5)
    >>> [decay.scale(name) for name in ("eye.patches.weight", "eye.blocks.0.weight", "eye.blocks.1.bias", "eye.norm.bias", "tongue.weight")]
    [0.125, 0.25, 0.5, 1.0, 1.0]
    """

    prefix: str
    """What the name of a block's parameter begins with, up to the block's number."""
    blocks: int
    """How many blocks there are."""
    stem: tuple[str, ...]
    """Parts of names that belong to the parameters below the blocks alone."""
    factor: float = 0.8
    """The rate of a block as a share of that of the block above it."""

    def layer(self, name: str) -> int:
        """The layer of a parameter. ValueError for a block beyond the last, which means that `blocks` is miscounted."""
        if any(part in name for part in self.stem):
            return 0
        if not (found := re.match(re.escape(self.prefix) + r"(\d+)\b", name)):
            return self.blocks + 1
        if int(found[1]) >= self.blocks:
            raise ValueError(f"{name} lies in block {found[1]} of {self.blocks}; give the number of blocks that the model has")
        return int(found[1]) + 1

    def scale(self, name: str) -> float:
        """The share of the full rate at which a parameter learns."""
        return self.factor ** (self.blocks + 1 - self.layer(name))


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], rate: float, weight_decay: float, decayed: Container[str], layers: LayerDecay | None = None
) -> list[dict[str, object]]:
    """The parameters of a component as groups for an optimiser: those that decay first, and the deepest layers of `layers` first in each.

    >>> groups = parameter_groups(nn.Linear(2, 2).named_parameters(), 1e-3, 0.1, {"weight"})
    >>> [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups]
    [(0.001, 0.1, 1), (0.001, 0.0, 1)]
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, value in named:
        groups.setdefault((name not in decayed, layers.scale(name) if layers else 1.0), []).append(value)
    return [
        {"params": values, "lr": rate * scale, "weight_decay": 0.0 if spared else weight_decay}
        for (spared, scale), values in sorted(groups.items(), key=lambda item: item[0])
    ]


def decayed_names(named: Iterable[tuple[str, nn.Parameter]]) -> set[str]:
    """The parameters that decay in PixelLLM's recipes (`decay_rule="rank"`): all but vectors, whatever they are called.

    >>> sorted(decayed_names(nn.Linear(2, 2).named_parameters()))
    ['weight']
    """
    return {name for name, value in named if value.ndim != 1}


def frozen_names(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """The names that any of the regular expressions matches from their beginning: what PixelLLM's recipes freeze.

    >>> sorted(frozen_names(["eye.weight", "tongue.weight", "tongue.lora.weight"], ["eye", "^(?!.*lora).*tongue"]))
    ['eye.weight', 'tongue.weight']
    """
    return {name for name in names if any(re.match(pattern, name) for pattern in patterns)}

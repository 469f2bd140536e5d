"""Low-rank adapters on a language model's layers, by PEFT, under names that do not change from save to load."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from transformers import initialization

__all__ = ["add_lora", "linear_layers", "merge_lora", "reset_lora"]


def add_lora(model: nn.Module, rank: int, alpha: float, targets: Sequence[str], dropout: float = 0.0) -> None:
    """Put an adapter beside each linear layer whose name ends with one of `targets`, and freeze all else: W' = W + alpha / rank · B A. In
    training, `dropout` of what an adapter reads is left out.

    It is done when the model is built, as its configuration says, so that `layer.base_layer.weight`, `layer.lora_A.default.weight` and
    `layer.lora_B.default.weight` are names of its own, which transformers saves and loads like any other. ImportError, saying what to
    install, where PEFT is missing; ValueError where no layer has such a name.

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False))
    >>> add_lora(model, rank=2, alpha=4, targets=["0"])
    >>> sorted(model.state_dict())
    ['0.base_layer.weight', '0.lora_A.default.weight', '0.lora_B.default.weight']
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError("a language model with adapters needs PEFT: pip install 'foveal[train]'") from error
    if not any(f".{name}".endswith(f".{target}") for name, _ in model.named_modules() for target in targets):
        raise ValueError(f"no layer of {type(model).__name__} is named {', '.join(targets)}; names of linear layers are wanted for adapters.")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets)), model)


def linear_layers(model: Any) -> tuple[str, ...]:
    """The names that a language model's linear layers end with, but for its output's."""
    output = model.get_output_embeddings()
    return tuple(sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not output}))


def merge_lora(model: nn.Module) -> None:
    """Fold the adapters into the layers beside which they are; what is left is plain and needs no PEFT, nor a rank in its configuration.

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False))
    >>> add_lora(model, rank=2, alpha=4, targets=["0"])
    >>> merge_lora(model)
    >>> list(model.state_dict())
    ['0.weight']
    """
    for name, layer in list(_adapted(model)):
        layer.merge()
        plain = layer.get_base_layer()
        model.set_submodule(name, plain.requires_grad_(True))
    model.__dict__.pop("peft_config", None)  # or PEFT warns that adapters come upon adapters


def reset_lora(model: nn.Module) -> None:
    """Begin the adapters anew, B at zero, so that they change nothing; A is uniform, as a linear layer."""
    for _, layer in _adapted(model):
        for down, up in zip(layer.lora_A.values(), layer.lora_B.values(), strict=True):
            bound = down.in_features**-0.5
            initialization.uniform_(down.weight, -bound, bound)
            initialization.zeros_(up.weight)


def _adapted(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_A") and hasattr(module, "base_layer"))

"""What models are trained to lower. Each loss is a function of tensors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["IGNORED", "token_cross_entropy"]

IGNORED = -100
"""The label of a token that is not to be predicted."""


def token_cross_entropy(
    logits: Float[Tensor, "batch length vocabulary"],
    labels: Int[Tensor, "batch length"],
    num_items: int | Tensor | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of each label under the logits one place before it; labels of -100 do not count.

    `num_items` divides the sum instead of the number of labels here: the number of labels of a whole accumulated batch. With `smoothing`
    e, 1 - e of the mass is wanted on the label and e / (vocabulary - 1) on each other token; PyTorch's own share goes to the label too.
    Without any label the loss is 0, and still has a gradient.

    >>> token_cross_entropy(torch.zeros(1, 3, 4), torch.tensor([[0, 1, -100]]))
    tensor(1.3863)
    """
    targets = labels[:, 1:].flatten()
    kept = targets != IGNORED
    # Only supervised places are widened to float32: of a conversation with an image they are a small part.
    chosen = logits[:, :-1].flatten(0, 1)[kept].float()
    size = chosen.shape[1]
    total = functional.cross_entropy(chosen, targets[kept], reduction="sum", label_smoothing=smoothing * size / (size - 1) if smoothing else 0.0)
    count = kept.sum().clamp(min=1) if num_items is None else torch.as_tensor(num_items, device=total.device)
    return total / count

"""Boxes with captions, ranked by both: how sure the detector is of a box, and how likely the caption is."""

from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["best_captioned", "fused_scores"]


def fused_scores(scores: Float[Tensor, "*boxes"], said: Float[Tensor, "*boxes"]) -> Float[Tensor, "*boxes"]:
    """sqrt(score · exp(said)) of boxes' scores, none below 0, and the scores of their captions, which are mean log-probabilities.

    The release can do so, and its recipe for dense captions does not; sessions do unless the configuration says otherwise (`fuses_scores`).

    >>> import torch
    >>> fused_scores(torch.tensor([0.25, -1.0]), torch.tensor([0.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    return (scores.clamp(min=0) * said.exp()).sqrt()


def best_captioned(
    scores: Float[Tensor, "images boxes"], said: Float[Tensor, "images boxes beams"], count: int
) -> tuple[Float[Tensor, "images {count}"], Int[Tensor, "images {count}"], Int[Tensor, "images {count}"]]:
    """All beams of all boxes of an image compete: the fused scores of the best `count`, the surest first, and of each its box and its beam.

    A box may be among them more than once, with another caption each time.

    >>> import torch
    >>> best_captioned(torch.tensor([[0.9, 0.4]]), torch.tensor([[[0.0, -0.1], [0.0, -9.0]]]), 2)[1:]
    (tensor([[0, 0]]), tensor([[0, 1]]))
    """
    fused = fused_scores(scores[..., None].expand_as(said), said).flatten(1)
    best = fused.topk(count)
    return best.values, best.indices // said.shape[2], best.indices % said.shape[2]

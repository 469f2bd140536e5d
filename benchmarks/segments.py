"""SAM's prompts to one image at its decoder's real width, many at once and one by one: `python benchmarks/segments.py`. All find the same masks.

The weights are random, which changes no cost but one: no mask is left out for its expected IoU, so that all are drawn.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import SamConfig, SamModel

from foveal.synth.prompted import prompted_masks
from ways import print_ways

__all__ = ["library", "main", "model_of_width", "ours"]


def model_of_width(seed: int = 0, **decoder: int) -> SamModel:
    """SAM with the real prompt encoder and decoder (fields of `decoder` change it), and next to no image encoder."""
    torch.manual_seed(seed)
    vision = {"num_hidden_layers": 1, "global_attn_indexes": [0], "hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 32}
    model = SamModel(SamConfig(vision_config=vision, mask_decoder_config=decoder)).eval()
    with torch.no_grad():
        for value in model.mask_decoder.parameters():
            value.normal_(std=value[0].numel() ** -0.5) if value.ndim > 1 else value.add_(torch.randn_like(value) * 0.1)
    return model


def library(model: SamModel, embedding: Tensor, points: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """Masks and expected IoUs by transformers' forward, the image's embedding given."""
    found = [model(image_embeddings=embedding, input_points=some[None, :, None], multimask_output=True) for some in points.split(at_once)]
    return torch.cat([one.pred_masks.flatten(0, 2) for one in found]), torch.cat([one.iou_scores.flatten() for one in found])


def ours(model: SamModel, embedding: Tensor, points: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """The same by `prompted_masks`."""
    masks, scores = zip(*prompted_masks(model, embedding, points, at_once), strict=True)
    return torch.cat(masks), torch.cat(scores)


def main() -> None:
    """Checks that the masks are the same, and prints the table, one row for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    model, embedding, points = model_of_width(), torch.randn(1, 256, 64, 64), torch.rand(given.prompts, 2) * 1024
    ways: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "the library, one by one": lambda: library(model, embedding, points, 1),
        "the library, many at once": lambda: library(model, embedding, points, given.at_once),
        "many at once": lambda: ours(model, embedding, points, given.at_once),
    }
    with torch.inference_mode():
        alone, _, together = (way() for way in ways.values())
    torch.testing.assert_close(together[0], alone[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(together[1], alone[1], atol=1e-4, rtol=0)
    title = f"{given.prompts} prompts to one embedded image, {given.at_once} at once"
    print_ways(title, {name: (1.0, way) for name, way in ways.items()}, given.runs)


if __name__ == "__main__":
    main()

"""PixelLLM's mask branch against the recording: box tokens bent by words, SAM's decoder, its losses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foveal.models.pixel_llm.layout import as_ours
from foveal.models.pixel_llm.masks import MaskAdapter, MaskDecoder, mask_losses

Recording = tuple[dict, dict[str, Tensor]]


@pytest.fixture(scope="module")
def recorded(parity: Path) -> Recording:
    folder = parity / "pixelllm"
    return json.loads((folder / "mask.json").read_text()), load_file(folder / "mask.safetensors")


def _close(found: Tensor, wanted: Tensor, about: dict) -> None:
    torch.testing.assert_close(found.float(), wanted.reshape(found.shape).float(), **about["tolerance"])


def _weights(kept: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The recorded weights of a part under our names."""
    return as_ours({name.removeprefix(f"params/{part}/"): value for name, value in kept.items() if name.startswith(f"params/{part}/")}, part)


@pytest.fixture(scope="module")
def adapter(recorded: Recording) -> MaskAdapter:
    about, kept = recorded
    config = about["config"]
    made = MaskAdapter(config["D1"], config["D2"], config["embed_dim"], config["mlp_dim"], config["heads"])
    made.load_state_dict(_weights(kept, "mask_adapter"))
    return made.eval()


@pytest.fixture(scope="module")
def decoder(recorded: Recording) -> MaskDecoder:
    about, kept = recorded
    config = about["config"]
    made = MaskDecoder(config["embed_dim"], config["mlp_dim"], config["iou_hidden"], config["heads"])
    made.load_state_dict(_weights(kept, "mask_decoder"))
    return made.eval()


def test_box_tokens_are_bent_as_recorded(recorded: Recording, adapter: MaskAdapter) -> None:
    about, kept = recorded
    boxes = kept["out/box_tokens"]
    found = adapter(kept["in/visual_features"].flatten(0, 1), kept["in/text_feats"].flatten(0, 1), boxes.flatten(0, 1))
    _close(found, kept["out/adapted_box_tokens"], about)


def test_masks_are_the_recorded_ones(recorded: Recording, decoder: MaskDecoder) -> None:
    about, kept = recorded
    boxes = kept["out/adapted_box_tokens"]
    rows = boxes.shape[1]
    maps = kept["in/sam_embeddings"].permute(0, 3, 1, 2)
    places, no_mask = _grid(kept, *maps.shape[-2:]), kept["params/prompt_encoder/no_mask_embed.weight"]
    masks, ious = decoder.decide(maps.repeat_interleave(rows, 0), places, boxes.flatten(0, 1), no_mask)
    _close(masks[:, 0], kept["out/low_res_masks"].flatten(0, 1), about)
    _close(ious[:, 0], kept["out/iou"].flatten(), about)
    for name, several in (("multi", True), ("single", False)):
        masks, ious = decoder.decide(maps[:1].expand(rows, -1, -1, -1), places, boxes[0], no_mask, several)
        _close(masks, kept[f"out/{name}_masks_image0"], about)
        _close(ious, kept[f"out/{name}_iou_image0"], about)


def test_the_losses_of_masks_are_the_recorded_ones(recorded: Recording) -> None:
    about, kept = recorded
    real = kept["loss_in/gt_valid"].bool()
    truth = kept["loss_in/gt_masks"].bool()
    shown = kept["loss_in/padding_mask"][:, None].expand(-1, truth.shape[1], -1, -1)
    for group, masks in (("loss_out", slice(None)), ("loss_out_single", slice(0, 1))):
        logits, ious = kept["loss_in/pred_masks"][:, :, masks], kept["loss_in/pred_ious"][:, :, masks]
        found = dict(mask_losses(logits[real], ious[real], truth[real], shown[real]))
        found["focal"] = 20 * found["focal"]  # recorded with its weight
        for ours, theirs in {"focal": "mask_focal_loss", "dice": "mask_dice_loss", "iou": "mask_iou_pred_loss", "loss": "mask_loss"}.items():
            _close(found[ours], kept[f"{group}/{theirs}"], about)


def _grid(kept: dict[str, Tensor], rows: int, cols: int) -> Tensor:
    """SAM's code of a grid, from the recorded matrix."""
    x, y = (torch.arange(cols) + 0.5) / cols, (torch.arange(rows) + 0.5) / rows
    at = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    turned = 2 * torch.pi * ((2 * at - 1) @ kept["params/prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"])
    return torch.cat([turned.sin(), turned.cos()], -1).permute(2, 0, 1)[None]

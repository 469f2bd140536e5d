"""PixelLLM's encoders, their fusion, location prompts and the extractor against recordings of the original."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import SamVisionConfig

from foveal.models.pixel_llm.layout import as_ours
from foveal.vision import (
    CLIP_COLOURS,
    IMAGENET_COLOURS,
    EvaVisionConfig,
    EvaVisionModel,
    LocationPrompts,
    PromptExtractor,
    SamEncoder,
    TowerPair,
    box_corners,
    coloured,
    resize_line,
    resize_maps,
)


def _filled(module: Any, recorded: Mapping[str, Tensor], part: str, released: str) -> Any:
    """A module with the recorded parameters of a part, which the release calls otherwise."""
    prefix = f"params/{part}/"
    own = {name.removeprefix(prefix): value for name, value in recorded.items() if name.startswith(prefix)}
    module.load_state_dict(as_ours(own, released))
    return module.eval()


def _eva(about: Mapping[str, Any]) -> EvaVisionModel:
    config = EvaVisionConfig(
        hidden_size=about["embed_dim"],
        intermediate_size=int(about["embed_dim"] * about["mlp_ratio"]),
        num_hidden_layers=about["depth"],
        num_attention_heads=about["num_heads"],
        patch_size=about["patch_size"],
        position_cells=about["pretrain_img_size"] // about["patch_size"],
        final_norm=about["use_ln_post"],
    )
    return EvaVisionModel(config)


def _sam(about: Mapping[str, Any], mlp: int) -> SamEncoder:
    config = SamVisionConfig(
        hidden_size=about["embed_dim"],
        mlp_dim=mlp,
        num_hidden_layers=about["depth"],
        num_attention_heads=about["num_heads"],
        patch_size=about["patch_size"],
        image_size=about["img_size"],
        output_channels=about["out_chans"],
        window_size=about["window_size"],
        global_attn_indexes=[block for block in range(about["depth"]) if block not in about["window_block_indexes"]],
    )
    return SamEncoder(config)


class Recording:
    """A file of tensors with its settings; `close` compares within its tolerance."""

    def __init__(self, folder: Path, name: str) -> None:
        about = json.loads((folder / "pixelllm" / f"{name}.json").read_text())
        self.config, self.tolerance = about["config"], about["tolerance"]
        self.tensors = load_file(folder / "pixelllm" / f"{name}.safetensors")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def close(self, found: Tensor, name: str) -> None:
        torch.testing.assert_close(found, self.tensors[name], **self.tolerance, msg=lambda text: f"{name}: {text}")


@pytest.fixture(scope="module")
def encoders(parity: Path) -> Recording:
    return Recording(parity, "image_encoders")


@pytest.fixture(scope="module")
def prompt(parity: Path) -> Recording:
    return Recording(parity, "prompt")


@pytest.fixture(scope="module")
def eva(encoders: Recording) -> EvaVisionModel:
    return _filled(_eva(encoders.config["eva"]), encoders.tensors, "eva", "git_backbone")


@pytest.fixture(scope="module")
def sam(encoders: Recording) -> SamEncoder:
    mlp = encoders["params/sam/blocks.0/mlp/lin1/bias"].shape[0]
    return _filled(_sam(encoders.config["sam"], mlp), encoders.tensors, "sam", "sam_backbone")


@pytest.fixture(scope="module")
def pixels(encoders: Recording) -> tuple[Tensor, Tensor]:
    """Images from 0 to 1, channels first, and which of their pixels are real."""
    return encoders["in/images"].permute(0, 3, 1, 2) / 255, encoders["in/padding_mask"] > 0


def test_resizing(encoders: Recording) -> None:
    for name in [name for name in encoders.tensors if re.match(r"resize/(bicubic|bilinear)_", name)]:
        kernel, size = name.removeprefix("resize/").split("_")
        encoders.close(resize_maps(encoders["resize/src2d"], *map(int, size.split("x")), kernel), name)
    for name in [name for name in encoders.tensors if name.startswith("resize/linear1d_")]:
        encoders.close(resize_line(encoders["resize/src1d"], int(name.rpartition("_")[2])), name)


def test_colours(encoders: Recording, pixels: tuple[Tensor, Tensor]) -> None:
    images, real = pixels
    rows, cols = encoders["out/preprocessed_sam_resized"].shape[1:3]
    for name, colours, size in (("clip", CLIP_COLOURS, None), ("sam", IMAGENET_COLOURS, None), ("sam_resized", IMAGENET_COLOURS, (cols, rows))):
        encoders.close(coloured(images, colours, real, size).permute(0, 2, 3, 1), f"out/preprocessed_{name}")


@torch.no_grad()
def test_encoders_alone(encoders: Recording, eva: EvaVisionModel, sam: SamEncoder) -> None:
    views = encoders["out/preprocessed_clip"].permute(0, 3, 1, 2)
    encoders.close(eva.tokens(views), "out/eva_tokens")
    encoders.close(eva(views), "out/eva_grid")
    encoders.close(sam(encoders["out/preprocessed_sam"].permute(0, 3, 1, 2)), "out/sam_grid")


@torch.no_grad()
def test_both_encoders_and_their_fusion(encoders: Recording, eva: EvaVisionModel, sam: SamEncoder, pixels: tuple[Tensor, Tensor]) -> None:
    seen = TowerPair([eva, sam], [CLIP_COLOURS, IMAGENET_COLOURS])(*pixels)
    encoders.close(seen.fused, "out/fused")
    encoders.close(seen.maps[0], "out/eva_grid")
    encoders.close(seen.maps[1], "out/sam_grid")
    turned = TowerPair([sam, eva], [IMAGENET_COLOURS, CLIP_COLOURS], grid="first")(*pixels)
    encoders.close(turned.fused, "out/fused_first")


@pytest.fixture(scope="module")
def location(prompt: Recording) -> LocationPrompts:
    return _filled(LocationPrompts(prompt.config["embed_dim"]), prompt.tensors, "prompt_encoder", "prompt_encoder")


@pytest.fixture(scope="module")
def extractor(prompt: Recording) -> PromptExtractor:
    about = prompt.config
    extractor = PromptExtractor(
        about["cin"],
        prompt_dim=about["embed_dim"],
        width=about["tdim"],
        depth=about["depth"],
        heads=about["heads"],
        mlp=about["mlp_dim"],
        downsample=about["attention_downsample"],
        queries=about["nout"],
        out=about["odim"],
        dense=any("dense_output_mlp" in name for name in prompt.tensors),
    )
    return _filled(extractor, prompt.tensors, "prompt_adapter", "prompt_adapter")


@torch.no_grad()
def test_prompt_tokens(prompt: Recording, location: LocationPrompts) -> None:
    height, width = prompt.config["image_size"]
    points, labels = prompt["in/raw_points"], prompt["in/raw_labels"]
    prompt.close(location.points(points, labels, (width, height)), "out/points_embed")
    padded = nn.functional.pad(points, (0, 0, 0, 1)), nn.functional.pad(labels, (0, 1), value=-1)
    prompt.close(location.points(*padded, (width, height)), "out/points_embed_padded")
    prompt.close(location.boxes(prompt["in/prompt_boxes"][0], (width, height)), "out/box_embed")
    corners, _ = box_corners(prompt["in/prompt_boxes"].flatten(0, 1))
    prompt.close(corners[:, :-1].unflatten(0, prompt["in/prompt_boxes"].shape[:2]), "out/prompt_points")
    rows, cols = prompt.config["h"], prompt.config["w"]
    prompt.close(location.grid(rows, cols), "out/dense_pe")
    for name in [name for name in prompt.tensors if name.startswith("out/dense_pe_")]:
        prompt.close(location.grid(*prompt[name].shape[:2]), name)


@torch.no_grad()
def test_visual_tokens_of_prompts(prompt: Recording, location: LocationPrompts, extractor: PromptExtractor) -> None:
    height, width = prompt.config["image_size"]
    maps, boxes = prompt["in/image_embeddings"], prompt["in/prompt_boxes"]
    images, count = boxes.shape[:2]
    given = (maps, location.grid(*maps.shape[1:3]), location.no_mask)
    image = torch.arange(images).repeat_interleave(count)
    as_boxes = location(boxes.flatten(0, 1), size=(width, height))
    as_points = location(boxes.flatten(0, 1), size=(width, height), as_box=False)
    prompt.close(extractor(*given, as_boxes, image).unflatten(0, (images, count)), "out/visual_features")
    prompt.close(extractor(*given, as_points, image).unflatten(0, (images, count)), "out/visual_features_points_only")
    if extractor.dense_out is not None:
        prompt.close(extractor.dense(*given, as_boxes, image).unflatten(0, (images, count)), "out/visual_features_dense")
    boxed = (as_boxes != as_points).flatten(1).any(1).view(images, count, 1, 1)
    torch.testing.assert_close(boxed.to(torch.uint8), prompt["out/box_valid_mask"])

"""Whole Ferret models against recorded ones: features, embeddings, logits, loss, gradients and greedy tokens, at the recorded tolerances."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foveal.models.ferret import FerretConfig, FerretForConditionalGeneration
from foveal.models.ferret.layout import foreign_weight, local_copies, published_name

FOLDER = Path(os.environ.get("FOVEAL_PARITY", Path(__file__).parents[3] / "shared/parity")) / "ferret/model"
if not FOLDER.is_dir() and "FOVEAL_PARITY" not in os.environ:
    pytest.skip(f"no recorded models at {FOLDER}; set FOVEAL_PARITY", allow_module_level=True)

CASES = (
    "v1_square_noregion",
    "v1_square_regions",
    "v1_average_regions",
    "ui_square_regions",
    "ui_spatial_anyres_regions",
    "ui_spatial_anyres_wide_tall",
    "ui_spatial_unpad",
    "ui_text_only_left_cropped",
    "ui_length_cap",
)
WITH_TWO_ENCODERS = [(case, dual) for case in CASES for dual in (False, True) if case.startswith("ui") or not dual]


class Recorded:
    """One recorded forward, in our inputs, and our model with its weights."""

    def __init__(self, case: str, dual: bool) -> None:
        self.facts, self.tensors = json.loads((FOLDER / f"{case}.json").read_text()), load_file(FOLDER / f"{case}.safetensors")
        self.config, self.image_token = _config(self.facts, dual)
        self.model = _model(self.config, load_file(FOLDER / f"{self.facts['weights']}.safetensors"), dual)
        self._images()
        self._regions()
        # Neighbours at equal distances were chosen at random, so the recorded choice is used wherever regions are encoded.
        self.model.encode_regions = partial(self.model.encode_regions, neighbours=self.neighbours)
        self._text()

    def _images(self) -> None:
        if "images" in self.tensors:
            stacks = list(self.tensors["images"])
        else:
            stacks = [self.tensors[f"images.{image}"] for image in range(len(self.facts["image_sizes_wh"]))]
        stacks = [stack[None] if stack.ndim == 3 else stack for stack in stacks]
        side, sizes = stacks[0].shape[-1], self.facts["image_sizes_wh"]
        grids = [_grid(size, len(stack) - 1, self.facts, side) for stack, size in zip(stacks, sizes, strict=True)]
        self.visual = {
            "pixel_values": torch.stack([stack[0] for stack in stacks]),
            "tile_values": torch.cat([stack[1:] for stack in stacks]),
            "grids": torch.tensor(grids),
            "image_sizes": torch.tensor(sizes),
        }
        self.tile_order = torch.cat([stack for stack in stacks])

    def _regions(self) -> None:
        used, found = self.facts.get("regions_used", 0), self.facts.get("regions", [])
        self.neighbours = None
        self.image = torch.tensor([region["sample"] for region in found[:used]], dtype=torch.long)
        if not used:
            return
        if "points" in self.tensors:
            blocks = range(len(self.config.sampler_anchors))
            points = self.tensors["points"]
            starts = torch.stack([self.tensors[f"stage{block}.fps_idx"][:, 0].long() for block in blocks], dim=1)
            self.neighbours = [self.tensors[f"stage{block}.knn_idx"].long() for block in blocks]
        else:
            drawn = [self.tensors[f"points.{region}"] for region in range(used)]
            count = max(len(points) for points in drawn)
            points, starts = torch.stack([torch.cat([some, some[:1].expand(count - len(some), 2)]) for some in drawn]), None
        self.visual |= {"region_points": points, "region_image": self.image, "region_starts": starts}

    def _text(self) -> None:
        """Each image placeholder as many times as the image has slots, then cut and padded as recorded."""
        with torch.no_grad():
            names = ("pixel_values", "tile_values", "grids", "image_sizes")
            self.sight = self.model.encode_images(**{name: self.visual[name] for name in names})
        self.kept = tuple(bool((row == self.image_token).any()) for row in self.tensors["input_ids"])
        rows = []
        for row, (ids, mask) in enumerate(zip(self.tensors["input_ids"], self.tensors["attention_mask"], strict=True)):
            labels, fill = self.tensors["labels"][row][mask], self.config.image_token_id
            repeats = torch.where(ids[mask] == self.image_token, self.sight.slots[row], 1)
            ids = ids[mask].masked_fill(ids[mask] == self.image_token, fill).repeat_interleave(repeats)
            labels = labels.repeat_interleave(repeats).masked_fill(ids == fill, -100)
            cap = self.facts.get("tokenizer_model_max_length")
            rows.append((ids[:cap], labels[:cap]))
        shape, left = self.tensors["out_labels"].shape, self.facts.get("tokenizer_padding_side") == "left"
        self.input_ids, self.mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        self.labels = torch.full(shape, -100)
        for row, (ids, labels) in enumerate(rows):
            place = slice(shape[1] - len(ids), None) if left else slice(len(ids))
            self.input_ids[row, place], self.labels[row, place], self.mask[row, place] = ids, labels, 1
        if not all(self.kept):  # a text without an image still had one in the recorded batch
            self.sight = self.sight.of(*(row for row, kept in enumerate(self.kept) if kept))
            self._drop_images()

    def _drop_images(self) -> None:
        kept = torch.tensor(self.kept)
        tiles = self.visual["grids"].prod(1)
        self.visual["tile_values"] = self.visual["tile_values"][kept.repeat_interleave(tiles)]
        for name in ("pixel_values", "grids", "image_sizes"):
            self.visual[name] = self.visual[name][kept]
        self.visual["region_image"] = self.image = (kept.cumsum(0) - 1)[self.image]

    def forward(self):
        positions = torch.arange(self.input_ids.shape[1])[None].expand_as(self.input_ids)
        embeds, sight = self.model.embed(self.input_ids, **self.visual)
        embeds = embeds * self.mask[..., None]
        output = self.model(inputs_embeds=embeds, attention_mask=self.mask, position_ids=positions, labels=self.labels)
        return embeds, sight, output


@pytest.fixture(scope="module", params=WITH_TWO_ENCODERS, ids=lambda case: f"{case[0]}{'-dual' * case[1]}")
def recorded(request) -> Recorded:
    torch.set_num_threads(1)
    return Recorded(*request.param)


def test_encoder_features_are_the_recorded_ones(recorded):
    with torch.no_grad():
        features = recorded.model.see(recorded.tile_order)
    close(features.overview.flatten(1, 2), recorded.tensors["vision_features"], 2e-5)
    close(recorded.model.projector(features.overview).flatten(1, 2), recorded.tensors["projected_features"], 2e-5)


def test_region_maps_are_the_recorded_ones(recorded):
    if recorded.facts["weights"].endswith("avg"):
        pytest.skip("recorded after the projection, which here comes after the average")
    for image in range(len(recorded.sight)):
        if (wanted := recorded.tensors.get(f"region_map.{image}")) is not None:
            got = recorded.sight.maps[image].permute(1, 2, 0)
            close(got.reshape(wanted.shape), wanted, 2e-5)


def test_embeddings_logits_and_loss_are_the_recorded_ones(recorded):
    with torch.no_grad():
        embeds, _, output = recorded.forward()
    there = recorded.mask.bool()
    assert torch.equal(recorded.mask, recorded.tensors["out_attention_mask"].long())
    assert torch.equal(recorded.labels, recorded.tensors["out_labels"])
    close(embeds[there], recorded.tensors["inputs_embeds"][there], 2e-5)
    close(output.logits[there], recorded.tensors["logits"][there], 1e-4)
    close(output.loss, recorded.tensors["loss"][0], 1e-5)


def test_region_features_are_the_recorded_ones(recorded):
    if not len(recorded.image):
        pytest.skip("no regions")
    visual = recorded.visual
    with torch.no_grad():
        found = recorded.model.encode_regions(recorded.sight, visual["region_points"], visual["region_image"], visual["region_starts"])
    wanted = [recorded.tensors[key] for key in sorted(recorded.tensors) if key.startswith("region_features.")]
    close(found, torch.cat(wanted), 2e-5)


def test_gradient_norms_are_the_recorded_ones(recorded):
    recorded.model.zero_grad()
    recorded.forward()[2].loss.backward()
    parameters, shared = dict(recorded.model.named_parameters()), recorded.model.local_tower is None
    for key, wanted in recorded.facts["grad_l2"].items():
        names = [published_name(key)] if shared else local_copies(published_name(key))
        gradients = [parameters[name].grad for name in names if parameters[name].grad is not None]
        norm = torch.stack(gradients).sum(0).norm() if gradients else torch.tensor(0.0)
        torch.testing.assert_close(norm, torch.tensor(wanted), rtol=1e-3, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")


def test_greedy_tokens_are_the_recorded_ones(recorded):
    count = recorded.tensors["greedy_tokens"].shape[1]
    generated = recorded.model.generate(
        input_ids=recorded.input_ids, attention_mask=recorded.mask, max_new_tokens=count, do_sample=False, **recorded.visual
    )
    assert torch.equal(generated[:, -count:], recorded.tensors["greedy_tokens"])


def close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got, wanted, rtol=0, atol=tolerance)


def _grid(size: list[int], num_tiles: int, facts: dict, side: int) -> list[int]:
    """Rows and columns that the recorded images were cut into."""
    if not num_tiles:
        return [0, 0]
    from foveal.vision import any_resolution

    pinpoints = json.loads((FOLDER / f"{facts['weights']}.json").read_text())["config"]["pinpoints"]
    plan = any_resolution((size[0], size[1]), side, [(width // side, height // side) for width, height in pinpoints])
    assert plan.rows * plan.cols == num_tiles
    return [plan.rows, plan.cols]


def _config(facts: dict, dual: bool) -> tuple[FerretConfig, int]:
    said = json.loads((FOLDER / f"{facts['weights']}.json").read_text())["config"]
    vision, words, sampler = said["vision"], said["llm"], said["sampler"]
    clip = {
        "model_type": "clip_vision_model",
        "hidden_size": vision["hidden"],
        "intermediate_size": vision["intermediate"],
        "num_hidden_layers": vision["layers"],
        "num_attention_heads": vision["heads"],
        "image_size": vision["image"],
        "patch_size": vision["patch"],
        "hidden_act": vision["act"],
        "layer_norm_eps": vision["layer_norm_eps"],
    }
    language = {
        "model_type": words["type"],
        "vocab_size": words["vocab"],
        "hidden_size": words["hidden"],
        "intermediate_size": words["intermediate"],
        "num_hidden_layers": words["layers"],
        "num_attention_heads": words["heads"],
        "num_key_value_heads": words["kv_heads"],
        "rms_norm_eps": words["rms_norm_eps"],
        "rope_theta": words["rope_theta"],
        "tie_word_embeddings": words["tie"],
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    neighbours = set(sampler["num_neighbor"])
    assert len(neighbours) == 1
    config = FerretConfig(
        vision_config=clip,
        local_vision_config=clip if dual else None,
        text_config=language,
        overview_side=vision["image"],
        tile_side=vision["image"],
        select_layer=vision["select_layer"],
        local_select_layer=vision["select_layer"],
        local_normed=False,
        projector=said["projector"],
        merge=facts.get("mm_patch_merge_type", "spatial"),
        region_adapter="average" if "average" in said.get("region", "") else "sampler",
        sampler_points=sampler["num_init_point"],
        sampler_anchors=sampler["num_sub_point"],
        sampler_neighbours=neighbours.pop(),
        sampler_pooling=sampler["pooler"],
        sampler_read="transposed",
        image_token_id=words["vocab"],
        region_token_id=said["region_token_id"],
    )
    return config, said["image_token_index"]


def _model(config: FerretConfig, weights: dict[str, Tensor], dual: bool) -> FerretForConditionalGeneration:
    model = FerretForConditionalGeneration(config).eval()
    ours = {}
    for key, weight in weights.items():
        name = published_name(key)
        for copy in local_copies(name) if dual else (name,):
            ours[copy] = foreign_weight(key, weight)
    if config.merge == "spatial":
        ours.pop("image_newline", None)
    missing, extra = model.load_state_dict(ours, strict=False)
    assert not extra
    assert all("position_ids" in name for name in missing), missing
    return model

"""The whole PixelLLM against recordings of the original: captions with places, expressions, dense captions; losses and gradients."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from foveal.models import PixelLLMForConditionalGeneration
from foveal.models.losses import IGNORED
from foveal.models.pixel_llm import boxes_of_points
from foveal.models.pixel_llm.decoding import Written, search, write
from foveal.models.pixel_llm.layout import as_ours, as_theirs
from foveal.models.pixel_llm.masks import mask_losses
from foveal.models.pixel_llm.places import grid_in_boxes, placed_tokens
from foveal.models.pixel_llm.ranking import best_captioned, fused_scores
from foveal.models.pixel_llm.released import released_config
from foveal.models.pixel_llm.sight import PixelSight


def recorded_fields(about: dict[str, Any], side: int) -> dict[str, Any]:
    """What the recording says of its model and parameters do not tell."""
    said = about["config"]
    words = said["text_decoder_args"]
    text = {"bos_token_id": said["begin_token_id"], "eos_token_id": said["end_token_id"], "pad_token_id": 0}
    if "num_heads" in words:
        text["num_attention_heads"] = words["num_heads"]
    else:
        text |= {"decoder_start_token_id": said["begin_token_id"], "dropout_rate": words["dropout_rate"]}
    fields = {
        "side": side,
        "vision_config": {"num_attention_heads": said["git_backbone_args"]["num_heads"]},
        "text_config": text,
        "place_weight": said["point_loss_weight"],
        "frozen_places": False,
        "text_length": said["max_caption_length"],
    }
    if said["box_decoder_name"] != "none":
        boxes = said["box_decoder_args"]
        fields["detector"] = {
            "strides": boxes["strides"],
            "peaks": boxes["pre_nms_topk_test"],
            "proposals": boxes["post_nms_topk_test"],
            "detections": boxes["roi_post_nms_num_detections"],
            "proposal_overlap": boxes["iou_thresh"],
            "detection_overlap": boxes["roi_nms_threshold"],
        }
    return fields | ({"lora_alpha": float(words["decoder_lora_scale"] * words["decoder_lora_rank"])} if "decoder_lora_rank" in words else {})


class Whole:
    """A recording and its model. Rows are all prompts of the first image, then those of the next."""

    def __init__(self, parity: Path, name: str) -> None:
        folder = parity / "pixelllm"
        self.about = json.loads((folder / f"{name}.json").read_text())
        self.kept = load_file(folder / f"{name}.safetensors")
        theirs = self.group("params")
        images, shown = self.kept["in/images"], self.kept["in/padding_mask"]
        config = released_config({name: tuple(value.shape) for name, value in theirs.items()}, recorded_fields(self.about, images.shape[1]))
        self.model = PixelLLMForConditionalGeneration(config).requires_grad_(True).eval()
        self.model.load_state_dict(as_ours(theirs))
        self.looks = {"pixel_values": images.permute(0, 3, 1, 2) / 255, "real": shown > 0}
        self.sizes = torch.stack([shown.amax(2).sum(1), shown.amax(1).sum(1)], -1)
        self.context = self.kept["in/context_tokens"].long().flatten(0, 1)
        self.images, self.rows = self.kept["in/context_tokens"].shape[:2]
        self.image = torch.arange(self.images).repeat_interleave(self.rows)

    @property
    def sight(self) -> PixelSight:
        return self.model.encode_images(**self.looks)

    def group(self, group: str) -> dict[str, Tensor]:
        return {name.removeprefix(f"{group}/"): value for name, value in self.kept.items() if name.startswith(f"{group}/")}

    def close(self, found: Tensor, name: str) -> None:
        wanted = self.kept[name]
        torch.testing.assert_close(found.reshape(wanted.shape).to(wanted), wanted, **self.about["tolerance"], msg=lambda text: f"{name}: {text}")

    def ids(self, found: Tensor, name: str) -> None:
        assert found.reshape(self.kept[name].shape).tolist() == self.kept[name].tolist(), name

    def in_px(self, points: Tensor) -> Tensor:
        return points * self.sizes[self.image].flip(-1)[:, None, None]

    def placed(self, ids: Tensor) -> Tensor:
        """Which tokens have a place, by the recording's rule."""
        said = self.about["config"]
        return placed_tokens(ids, said["begin_token_id"], said["end_token_id"], said["point_output_ignore"])

    def as_recorded(self, ids: Tensor) -> Tensor:
        """The original fills up with the end; a token that is padding may have been said before it."""
        end, length = self.about["config"]["end_token_id"], self.about["config"]["max_caption_length"]
        ended = functional.pad((ids[..., 1:] == end).cumsum(-1) > 0, (1, 0))
        return functional.pad(ids.masked_fill(ended, end), (0, length - ids.shape[-1]), value=end)

    def cleaned(self, ids: Tensor) -> Tensor:
        """Padding behind the first end, as the original reads a finished text once more."""
        ids = self.as_recorded(ids)
        return ids.masked_fill((ids == self.about["config"]["end_token_id"]).cumsum(-1) > 1, 0)

    def check_losses(self, parts: dict[str, Tensor], total: Tensor) -> None:
        for name, value in parts.items():
            self.close(value, f"train_out/{name}")
        self.close(total, "train_out/total_loss")
        total.backward()
        params = dict(self.model.named_parameters())
        params |= {name: value for name, value in self.model.state_dict().items() if name not in params}  # what never learns has no gradient
        grads = as_theirs({name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in params.items()})
        self.model.zero_grad()
        for name in self.group("train_grad"):
            self.close(grads[name], f"train_grad/{name}")
        lengths = self.about["grad_l2"]
        assert set(lengths) == set(grads)
        for name, length in lengths.items():
            torch.testing.assert_close(
                grads[name].norm(), torch.tensor(length), **self.about["tolerance"], msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.fixture(scope="module", params=["e2e_trace_bert"])
def trace(parity: Path, request: pytest.FixtureRequest) -> Whole:
    return Whole(parity, request.param)


@pytest.fixture(scope="module")
def referring(parity: Path) -> Whole:
    return Whole(parity, "e2e_referring_t5")


@pytest.fixture(scope="module")
def dense(parity: Path) -> Whole:
    return Whole(parity, "e2e_densecap_bert")


def texts(whole: Whole, visual: Tensor, name: str) -> Written:
    """Texts of a decoding that a group of the recording is named after, every beam of each row, compared with it."""
    limit = whole.about["config"]["max_caption_length"] - 2
    case = re.match(r"beam(\d+)x(\d+)", name)
    if case is None:
        found = write(whole.model.writer, visual, whole.context, limit=limit, forbid_repeats=True)
        return Written(found.ids[:, None], found.features[:, None], found.scores[:, None], found.ended[:, None])
    return search(whole.model.writer, visual, whole.context, limit=limit, beams=int(case[1]), per_beam=int(case[2]))


def compare_texts(whole: Whole, found: Written, name: str) -> None:
    best = found.of_beam(0)
    whole.ids(whole.cleaned(best.ids) if name.startswith("beam") else whole.as_recorded(best.ids), f"{name}/text_tokens")
    whole.close(best.scores, f"{name}/log_probs")
    scores = whole.kept[f"{name}/beam_log_probs"].flatten(0, 1)
    there = scores > -1e6
    ids = whole.as_recorded(found.ids.flip(1))
    assert ids[there].tolist() == whole.kept[f"{name}/beam_text_tokens"].flatten(0, 1)[there].tolist(), name
    torch.testing.assert_close(found.scores.flip(1)[there], scores[there], **whole.about["tolerance"])


@torch.no_grad()
def test_captions_and_the_places_of_their_words(trace: Whole) -> None:
    model, sight = trace.model, trace.sight
    boxes = trace.kept["in/prompt_boxes"].flatten(0, 1)
    visual = model.encode_prompts(sight, boxes, trace.image)
    groups = {name.split("/")[0] for name in trace.kept if name.endswith("/beam_text_tokens")}
    assert groups
    for name in sorted(groups):
        if f"{name}/visual_features" in trace.kept:
            trace.close(visual, f"{name}/visual_features")
        found = texts(trace, visual, name)
        compare_texts(trace, found, name)
        ids = trace.cleaned(found.of_beam(0).ids)
        points = trace.in_px(model.location_head(model.writer.read(visual, ids, trace.context))[0])
        placed = trace.placed(ids)
        trace.close(points, f"{name}/point_coords")
        trace.ids(placed.int(), f"{name}/point_valid_mask")
        trace.close(boxes_of_points(points, placed), f"{name}/detection_boxes")
        # the states of the words as they were written, without reading them again
        again = trace.in_px(model.location_head(found.of_beam(0).features)[0])
        told = placed[:, : again.shape[1]]
        torch.testing.assert_close(again[told], points[:, : again.shape[1]][told], **trace.about["tolerance"])


@torch.no_grad()
def test_generate_writes_what_was_recorded(trace: Whole) -> None:
    limit = trace.about["config"]["max_caption_length"] - 2
    ask = partial(trace.model.generate, trace.kept["in/prompt_boxes"].flatten(0, 1), trace.image, trace.context, max_new_tokens=limit, **trace.looks)
    trace.ids(trace.as_recorded(ask()), "greedy/text_tokens")
    for name in {name.split("/")[0] for name in trace.kept if name.startswith("beam")}:
        beams, per_beam = map(int, name.removeprefix("beam").split("x"))
        trace.ids(trace.cleaned(ask(num_beams=beams, per_beam=per_beam)), f"{name}/text_tokens")


def learnt(whole: Whole, ids: Tensor) -> Tensor:
    """Labels of the texts that are captions: neither padding nor empty."""
    said = (whole.kept["train_in/labels"].flatten() > 0)[:, None] & (ids[:, 1:2] != whole.about["config"]["end_token_id"])
    return ids.masked_fill((ids == 0) | ~said, IGNORED)


def test_losses_of_captions_and_their_gradients(trace: Whole) -> None:
    ids = trace.kept["train_in/text_tokens"].long().flatten(0, 1)
    found = trace.model(
        ids,
        trace.kept["in/prompt_boxes"].flatten(0, 1),
        trace.image,
        trace.context,
        labels=learnt(trace, ids),
        places=trace.kept["train_in/points"].flatten(0, 1),
        placed=trace.placed(ids) & (trace.kept["train_in/labels"].flatten() > 0)[:, None],
        sizes=trace.sizes,
        **trace.looks,
    )
    parts = {"text_loss": found.text_loss, "point_loss": found.place_loss, "text_loss_scaled": found.text_loss}
    parts["point_loss_scaled"] = trace.model.config.place_weight * found.place_loss
    trace.check_losses(parts, found.loss)


@torch.no_grad()
def test_expressions_are_found_and_outlined(referring: Whole) -> None:
    model, sight, kept = referring.model, referring.sight, referring.kept
    ids = kept["in/text_tokens"].long().flatten(0, 1)
    visual = model.encode_prompts(sight, kept["in/prompt_boxes"].flatten(0, 1), referring.image)
    features = model.writer.read(visual, ids, referring.context)
    points = referring.in_px(model.location_head(features)[0])
    placed = referring.placed(ids)
    boxes = boxes_of_points(points, placed)
    masks, ious = model.draw_masks(sight, referring.image, boxes, visual, features)
    referring.ids(ids, "out/text_tokens")
    referring.close(torch.stack(sight.fine).permute(0, 2, 3, 1), "out/sam_image_embeddings")
    referring.close(visual, "out/visual_features")
    referring.close(points, "out/point_coords")
    referring.ids(placed.int(), "out/point_valid_mask")
    referring.close(boxes, "out/detection_boxes")
    referring.close(masks, "out/detection_masks")
    referring.close(ious, "out/iou_predictions")


def test_losses_of_expressions_and_their_gradients(referring: Whole) -> None:
    model, kept = referring.model, referring.kept
    ids, real = kept["in/text_tokens"].long().flatten(0, 1), kept["train_in/labels"].flatten() > 0
    corners = grid_in_boxes(kept["train_in/gt_boxes"].flatten(0, 1))[:, None].expand(-1, ids.shape[1], -1, -1)
    truth = kept["train_in/gt_masks"].flatten(0, 1) > 0
    found = model(
        ids,
        kept["in/prompt_boxes"].flatten(0, 1),
        referring.image,
        referring.context,
        places=corners,
        placed=referring.placed(ids) & real[:, None],
        sizes=referring.sizes,
        masks=truth,
        masked=real,
        **referring.looks,
    )
    parts = {"point_loss": found.place_loss, "mask_loss": found.mask_loss, "mask_loss_scaled": found.mask_loss}
    parts["point_loss_scaled"] = model.config.place_weight * found.place_loss
    with torch.no_grad():
        visual = model.encode_prompts(found.sight, kept["in/prompt_boxes"].flatten(0, 1), referring.image)
        boxes = boxes_of_points(referring.in_px(found.points), referring.placed(ids))
        masks, ious = model.draw_masks(found.sight, referring.image, boxes, visual, found.features)
        shown = kept["in/padding_mask"][referring.image]
        each = mask_losses(masks[real], ious[real], truth[real], shown[real])
        parts |= {"mask_focal_loss": 20 * each["focal"], "mask_dice_loss": each["dice"], "mask_iou_pred_loss": each["iou"]}
        words = model(
            ids, kept["in/prompt_boxes"].flatten(0, 1), referring.image, referring.context, labels=learnt(referring, ids), **referring.looks
        )
    referring.check_losses(parts | {"text_loss": words.text_loss}, found.loss)


def detected(dense: Whole, sight: PixelSight) -> tuple[Tensor, Tensor]:
    """Boxes and scores, clipped to the padded picture as in the recording."""
    return dense.model.detect(sight, [sight.size] * dense.images)


@torch.no_grad()
def test_things_are_detected_and_told(dense: Whole) -> None:
    sight = dense.sight
    boxes, scores = detected(dense, sight)
    dense.close(boxes, "greedy/detection_boxes")
    dense.close(scores, "greedy/detection_scores")
    dense.ids((scores > 0).sum(1), "greedy/num_detections")
    dense.ids((scores > 0).float(), "greedy/detection_classes")
    visual = dense.model.encode_prompts(sight, boxes.flatten(0, 1), dense.image)
    dense.close(visual, "greedy/visual_features")
    for name in ("greedy", "greedy_fused_score"):
        found = texts(dense, visual, name)
        compare_texts(dense, found, name)
        said = found.of_beam(0).scores.view_as(scores)
        dense.close(boxes, f"{name}/detection_boxes")
        dense.close(fused_scores(scores, said) if "fused" in name else scores, f"{name}/detection_scores")


@torch.no_grad()
def test_all_captions_of_all_boxes_compete(dense: Whole) -> None:
    sight = dense.sight
    boxes, scores = detected(dense, sight)
    visual = dense.model.encode_prompts(sight, boxes.flatten(0, 1), dense.image)
    names = {name.split("/")[0] for name in dense.kept if re.match(r"beam\d+x\d+_fused_score/", name)}
    assert names
    for name in names:
        found = texts(dense, visual, name)
        rows = (dense.images, dense.rows)
        count = dense.about["config"]["num_detections"]
        fused, box, beam = best_captioned(scores, found.scores.unflatten(0, rows), count)
        image = torch.arange(dense.images)[:, None]
        dense.close(fused, f"{name}/detection_scores")
        dense.close(boxes[image, box], f"{name}/detection_boxes")
        dense.ids(dense.cleaned(found.ids.unflatten(0, rows)[image, box, beam]), f"{name}/text_tokens")
        dense.close(visual.unflatten(0, rows)[image, box], f"{name}/visual_features")


@torch.no_grad()
def test_given_boxes_are_told(dense: Whole) -> None:
    name, sight = "given_boxes", dense.sight
    boxes = dense.kept["in/given_boxes"]
    visual = dense.model.encode_prompts(sight, boxes.flatten(0, 1), dense.image)
    dense.close(visual, f"{name}/visual_features")
    compare_texts(dense, texts(dense, visual, name), name)
    dense.close(boxes, f"{name}/detection_boxes")

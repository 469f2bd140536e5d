"""Coordinates, conversations, tokens, training samples and evaluation questions are those that the reference code made."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.data.sources.ferret import ferret_items
from foveal.geometry import Box, Frame, Mask, Point, Region, encode_mask, mask_from_coco, rasterise
from foveal.grounding import Example, GroundedText, region_limits
from foveal.grounding.formats import BracketFormat, bins_to_pixels
from foveal.grounding.wordings import Template, header_template, plain_template, render, two_separator_template
from foveal.grounding.wordings.ferret import TEMPLATES, ask_choice, gemma_template, instruct_template

LISTED = 400  # longer masks are recorded as sums


def read(parity: Path, name: str) -> Any:
    return json.loads((parity / "ferret" / "text" / f"{name}.json").read_text(encoding="utf-8"))


def whole(size: tuple[int, int]) -> Frame:
    return Frame.stretch(size)


# coordinates -----------------------------------------------------------------------------------------------


def test_boxes_and_points_fall_into_the_recorded_bins(parity: Path) -> None:
    cases = read(parity, "coordinates")
    for case in cases["boxes"]:
        width, height = case["image_w"], case["image_h"]
        x0, y0, x1, y1 = case["box"]
        said = GroundedText.join(Box(x0 / width, y0 / height, x1 / width, y1 / height))
        assert BracketFormat().encode(said, whole((width, height))) == case["text"], case
    for case in cases["points"]:
        width, height = case["image_w"], case["image_h"]
        said = GroundedText.join(Point(case["point"][0] / width, case["point"][1] / height))
        assert BracketFormat().encode(said, whole((width, height))) == case["text"], case


def test_bins_come_back_as_the_recorded_pixels(parity: Path) -> None:
    for case in read(parity, "coordinates")["back"]:
        assert bins_to_pixels(case["bins"], (case["image_w"], case["image_h"])) == case["pixels"], case


# conversations ---------------------------------------------------------------------------------------------


def template_of(name: str, fields: Mapping[str, Any]) -> Template:
    system, (user, assistant) = fields["system"], fields["roles"]
    match fields["sep_style"]:
        case "TWO":
            return two_separator_template(name, system, user, assistant, fields["sep"], fields["sep2"])
        case "MPT":
            return header_template(name, system, user, assistant, fields["sep"])
        case "GEMMA":
            return gemma_template(name, system, user, assistant, fields["sep2"])
        case "PLAIN":
            return plain_template(name, fields["sep"])
        case "LLAMA_2":
            return instruct_template(name, fields["sep2"])
    raise AssertionError(f"an unknown style: {fields['sep_style']}")


def test_conversations_are_rendered_as_recorded(parity: Path) -> None:
    recorded = read(parity, "prompts")
    for case in recorded["cases"]:
        template = template_of(case["template"], recorded["templates"][f"{case['family']}/{case['template']}"])
        assert render(template, case["messages"]) == case["prompt"], case
        # Two styles have no stop string in the recordings: there, generation stopped at the end token's id.
        assert case["stop"] in (template.stop, ""), case


def test_our_named_templates_are_the_recorded_ones(parity: Path) -> None:
    same_as = {"ferret_llama_plain": "plain"}
    for key, fields in read(parity, "prompts")["templates"].items():
        name = same_as.get(key.split("/")[1], key.split("/")[1])
        assert TEMPLATES[name] == template_of(name, fields), key


# tokens ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(parity: Path) -> Any:
    pytest.importorskip("sentencepiece", reason="the recorded tokenizer is a sentencepiece file")
    from foveal.models.ferret.tokens import legacy_tokenizer

    recorded = read(parity, "training_items")["tokenizer"]
    tokenizer = legacy_tokenizer(parity / "ferret" / "text" / recorded["file"], ["<region_fea>"])
    assert tokenizer.convert_tokens_to_ids("<region_fea>") == recorded["region_token_id"]
    return tokenizer


def processor(tokenizer: Any, **settings: Any) -> Any:
    """One placeholder for an image, with the recorded id."""
    from foveal.models.ferret.processor import FerretProcessor

    return FerretProcessor(tokenizer, overview_cells=1, tile_cells=1, image_token_id=-200, **settings)


def test_texts_around_images_have_the_recorded_ids(parity: Path, tokenizer: Any) -> None:
    from foveal.models.processing import IMAGE_MARK, REGION_MARK, Piece

    for case in read(parity, "tokenization"):
        if case["ids"] is not None:  # where the recorded code failed, there is nothing to equal
            marked = Piece(case["text"].replace("<image>", IMAGE_MARK).replace("<region_fea>", REGION_MARK))
            assert processor(tokenizer).write([marked], [1] * marked.text.count(IMAGE_MARK)).ids == case["ids"], case


# training samples ------------------------------------------------------------------------------------------


def same_pixels(bits: np.ndarray, recorded: Any) -> bool:
    """Whether a [height width] raster is the recorded one, whose pixels are listed column by column or summed up."""
    pixels = np.argwhere(bits.T)
    if isinstance(recorded, list):
        return pixels.tolist() == recorded
    ours = {
        "count": len(pixels),
        "size_wh": [bits.shape[1], bits.shape[0]],
        "first": pixels[0].tolist(),
        "last": pixels[-1].tolist(),
        "sum_x": int(pixels[:, 0].sum()),
        "sum_y": int(pixels[:, 1].sum()),
    }
    return ours == recorded


class RecordedPointing:
    """Refers by points or boxes as a recorded sample did: read from its text, and from its masks where the text leaves pixels open."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        self.size = (case["item"]["image_w"], case["item"]["image_h"])
        self.masks = iter(case["region_masks"] or [])
        self.places = iter([text for role, text in case["turns"] if role == "human"])
        self.coordinates = not case["no_coordinates"]
        self.with_masks = bool(case["region_masks"])

    def __call__(self, boxes: Sequence[tuple[float, ...]], masks: Sequence[Mask | None]) -> list[tuple[float, float]] | None:
        recorded = [next(self.masks) if self.with_masks else None for _ in boxes]
        numbers = self._numbers(len(boxes)) if self.coordinates else [None] * len(boxes)
        if self.coordinates and len(numbers[0]) == 4:
            return None
        if not self.coordinates and all(self._fits(self._box(box), mask, pixels) for box, mask, pixels in zip(boxes, masks, recorded, strict=True)):
            return None
        return [self._point(*known) for known in zip(boxes, masks, numbers, recorded, strict=True)]

    def _numbers(self, count: int) -> list[list[int]]:
        """The numbers of the brackets of the next question that has any."""
        for text in self.places:
            found = [[int(number) for number in part.split("]")[0].split(",")] for part in text.split("[")[1:]]
            if found:
                assert len(found) == count
                return found
        raise AssertionError("no recorded question is left")

    def _box(self, box: Sequence[float]) -> Box:
        width, height = self.size
        return Box(box[0] / width, box[1] / height, box[2] / width, box[3] / height)

    def _fits(self, region: Region, inside: Region | None, recorded: Any) -> bool:
        return recorded is None or same_pixels(rasterise(region, self.size, inside=inside), recorded)

    def _point(self, box: Sequence[float], mask: Mask | None, numbers: list[int] | None, recorded: Any) -> tuple[float, float]:
        for x, y in product(*(self._pixels(axis, box, numbers) for axis in (0, 1))):
            if self._fits(Point(x / self.size[0], y / self.size[1]), mask or self._box(box), recorded):
                return x, y
        raise AssertionError(f"no point in {box} has the recorded text {numbers} and mask")

    def _pixels(self, axis: int, box: Sequence[float], numbers: list[int] | None) -> Iterator[float]:
        """Pixels to try: in the middle of every whole pixel of the box, or of what lies on each side of a pixel's edge in the recorded bin."""
        if numbers is None:
            yield from (pixel + 0.5 for pixel in range(math.floor(box[axis]), math.floor(box[axis + 2]) + 1))
            return
        step = 1000 / self.size[axis]
        low, high = numbers[axis] / step, (numbers[axis] + 1) / step
        edges = [low, *range(math.ceil(low), math.ceil(high)), high]
        for pixel in [*((first + last) / 2 for first, last in pairwise(edges)), *edges]:
            if int(pixel * step) == numbers[axis]:
                yield pixel


def example_of(case: Mapping[str, Any]) -> Example:
    request = case["family"] == "ui" and case["dataset"] == "refexp"
    [example] = ferret_items([case["item"]], request_boxes=request, pointing=RecordedPointing(case))
    return example


def messages_of(example: Example, places: BracketFormat) -> list[str]:
    size = (example.images[0].width, example.images[0].height)
    messages = [places.encode(turn.said, whole(size), feature_slots=turn.role == "user") for turn in example.turns]
    return ["<image>\n" + messages[0], *messages[1:]]


def test_training_items_become_the_recorded_turns_and_masks(parity: Path) -> None:
    for case in read(parity, "training_items")["items"]:
        example = example_of(case)
        places = BracketFormat(coordinates=not case["no_coordinates"], features=case["add_region_feature"])
        assert messages_of(example, places) == [text for _, text in case["turns"]], case["item"]["id"]
        recorded = case["region_masks"] or []
        regions = [region for turn in example.turns if turn.role == "user" for region in turn.said.regions]
        assert len(recorded) == (len(regions) if case["add_region_feature"] else 0)
        size = (case["item"]["image_w"], case["item"]["image_h"])
        for region, limit, pixels in zip(regions, region_limits(example), recorded, strict=False):
            assert same_pixels(rasterise(region, size, inside=limit), pixels), case["item"]["id"]


def test_training_items_have_the_recorded_ids_and_labels(parity: Path, tokenizer: Any) -> None:
    for case in read(parity, "training_items")["items"]:
        settings = {"coordinates": not case["no_coordinates"], "features": case["add_region_feature"], "template": case["template"]}
        written, _, _ = processor(tokenizer, **settings).write_example(example_of(case), train=True)
        assert written.ids == case["input_ids"], case["item"]["id"]
        assert case["warned"] or written.labels == case["labels"], case["item"]["id"]


# evaluation questions --------------------------------------------------------------------------------------


def referred(record: Mapping[str, Any], form: str) -> tuple[Region, Region]:
    """The region that an object's record names in words, and the one that its pixels are read from: its box is cut to whole pixels there."""
    width, height = record["width"], record["height"]
    if form == "point":
        point = Point(record["sample_point"][0] / width, record["sample_point"][1] / height)
        return point, point
    if form == "box":
        x0, y0, x1, y1 = record["bbox_norm"]
        return Box(x0, y0, x1, y1), Box(int(x0 * width) / width, int(y0 * height) / height, int(x1 * width) / width, int(y1 * height) / height)
    bits = np.zeros((height, width), dtype=bool)
    x, y = np.array(record["free_shape_pixels_xy"]).T
    bits[y, x] = True
    return encode_mask(bits), encode_mask(bits)


def test_object_classification_questions_are_the_recorded_ones(parity: Path) -> None:
    recorded = read(parity, "eval_questions")["object_classification"]
    for case in recorded["cases"]:
        record = recorded["records"][case["index"]]
        size = (record["width"], record["height"])
        named, seen = referred(record, case["region_format"])
        classes = (record["name"], record["neg_class"])
        places = BracketFormat(coordinates=not case["no_coordinates"], features=case["add_region_feature"], arithmetic="fraction")
        question = places.encode(ask_choice(named, *classes[:: -1 if case["index"] % 2 else 1]), whole(size), feature_slots=True)
        # Without coordinates the recorded code leaves the blank after them standing.
        assert question == case["question"].replace("  ", " "), case
        assert case["region_masks"] is None or same_pixels(rasterise(seen, size), case["region_masks"][0]), case


def test_bench_questions_are_the_recorded_ones(parity: Path) -> None:
    recorded = read(parity, "eval_questions")["bench"]
    for case in recorded["cases"]:
        record = recorded["records"][case["index"]]
        size = (record["width"], record["height"])
        head, *others = record["text"].split("[")
        parts: list[str | Region] = [head]
        for other in others:
            numbers, after = other.split("]")
            parts += [Box(*(float(number) for number in numbers.split(","))), after]
        question = GroundedText.join(*parts)
        places = BracketFormat(features=case["add_region_feature"], arithmetic="fraction")
        assert places.encode(question, whole(size), feature_slots=True) == case["question"], case
        for region, pixels in zip(question.regions, case["region_masks"] or [], strict=False):
            assert same_pixels(rasterise(region, size), pixels), case


def test_screen_questions_are_the_recorded_ones(parity: Path) -> None:
    recorded = read(parity, "eval_questions")["screen"]
    for case in recorded["cases"]:
        item = recorded["records"][case["index"]]
        [example] = ferret_items([item], pointing=lambda boxes, masks: None)
        size = (item["image_w"], item["image_h"])
        assert messages_of(example, BracketFormat())[0] == "<image>\n" + case["question"], case
        for region, pixels in zip(example.turns[0].said.regions, case["region_masks"], strict=True):
            assert same_pixels(rasterise(region, size), pixels), case


def test_compressed_masks_are_read(parity: Path) -> None:
    masks = [mask for case in read(parity, "training_items")["items"] for turn in case["item"].get("masks", []) for mask in turn if mask]
    for mask in masks:
        read_mask = mask_from_coco(mask)
        assert [read_mask.height, read_mask.width] == mask["size"]

"""Laws of the reader of Ferret's own training files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.data.sources.ferret import ferret_items, random_pointing
from foveal.geometry import Box, Point, decode_mask, encode_mask, mask_to_coco
from foveal.grounding import example_from_json, example_to_json, region_limits

MASK = np.zeros((50, 100), dtype=bool)
MASK[10:20, 30:35] = True


def item(**other: Any) -> dict[str, Any]:
    talk = [
        {"from": "human", "value": "<image>\nWhat is <bbox_location1> beside <bbox_location0>?"},
        {"from": "gpt", "value": "A dog <bbox_location0>, it seems."},
    ]
    boxes = [[[-5, 5, 40, 200], [30, 10, 34, 19]], [[10, 10, 20, 20]]]
    return {"id": 3, "image": "a.jpg", "image_w": 100, "image_h": 50, "conversations": talk, "box_x1y1x2y2": boxes} | other


def by_box(boxes: Any, masks: Any) -> None:
    return None


def test_placeholders_become_regions_in_the_order_in_which_they_are_named() -> None:
    [example] = ferret_items([item()], images="pictures", pointing=by_box)
    question, answer = (turn.said for turn in example.turns)
    assert question.text == "What is  beside ?"
    assert question.regions == (Box(0.3, 0.2, 0.34, 0.38), Box(0.0, 0.1, 0.4, 0.98))
    assert answer.text == "A dog, it seems." and (answer.spans[0].start, answer.spans[0].end) == (0, 5)
    assert example.images[0].path == "pictures/a.jpg"


def test_an_item_is_the_same_example_whenever_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([item(id=place) for place in range(40)]))
    examples = list(ferret_items(path, seed=1))
    assert list(ferret_items(str(path), seed=1)) == examples != list(ferret_items(path, seed=2))
    kinds = {type(example.turns[0].said.regions[0]) for example in examples}
    assert kinds == {Point, Box}


def test_points_lie_in_their_mask_or_box_and_keep_it_as_their_limit() -> None:
    masked = item(masks=[[None, mask_to_coco(encode_mask(MASK))], []])
    for example in ferret_items([masked] * 40):
        regions, limits = example.turns[0].said.regions, region_limits(example)
        assert example_from_json(example_to_json(example)) == example
        if isinstance(regions[0], Point):
            assert MASK[round(regions[0].y * 50), round(regions[0].x * 100)]
            assert limits == (encode_mask(MASK), Box(0.0, 0.1, 0.4, 0.98))
            assert isinstance(regions[1], Point) and 0 <= regions[1].x <= 0.4 and 0.1 <= regions[1].y <= 0.98
        else:
            assert limits == (encode_mask(MASK), None)


def test_a_masks_point_is_its_pixel_nearest_to_the_boxs_centre() -> None:
    draw = random_pointing(np.random.default_rng(0))
    drawn = [draw([(25.0, 5.0, 45.0, 25.0)], [encode_mask(MASK)]) for _ in range(20)]
    assert {tuple(points[0]) for points in drawn if points} == {(34.0, 15.0)}
    assert decode_mask(encode_mask(MASK))[15, 34]


def test_a_box_without_extent_or_turned_over_still_has_a_point() -> None:
    draw = random_pointing(np.random.default_rng(0))
    drawn = [draw([(5.0, 5.0, 5.0, 5.0), (9.0, 9.0, 2.0, 2.0)], [None, None]) for _ in range(20)]
    assert all(points[0] == (5.0, 5.0) and 2 <= points[1][0] <= 9 for points in drawn if points)


def test_boxes_are_requested_once_and_in_words() -> None:
    talk = item()["conversations"] * 2
    boxes = item()["box_x1y1x2y2"] * 2
    [example] = ferret_items([item(conversations=talk, box_x1y1x2y2=boxes)], request_boxes=True)
    assert [turn.said.text.endswith("\nProvide the bounding boxes of the mentioned objects.") for turn in example.turns] == [
        True,
        False,
        False,
        False,
    ]


def test_items_without_boxes_or_image_are_plain_conversations() -> None:
    talk = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Yes?"}]
    [example] = ferret_items([{"id": "1", "conversations": talk}])
    assert not example.images and [turn.said.text for turn in example.turns] == ["Hello", "Yes?"]


def test_an_item_that_names_a_box_it_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="item 3 names box 1 in a turn with 1 boxes"):
        list(ferret_items([item(box_x1y1x2y2=[[[1, 1, 2, 2]], [[1, 1, 2, 2]]])]))

"""Laws of narrated scenes: what is said is true, its words are known, and the mouse is on a thing when its name is said."""

import json
import re

import numpy as np
import pytest

from foveal.data.narration import Alignment, by_position, by_words
from foveal.data.sources.localized_narratives import narration_of, record_of
from foveal.data.sources.scenes import COLOURS, Drawing, SceneStyle, draw_scene, vocabulary
from foveal.data.sources.scenes.narrated import NARRATED_WORDS, Narrated, Order, narrated
from foveal.data.sources.scenes.phrases import stands, view_of
from foveal.geometry import Box, bounding_box

STYLE = SceneStyle(size=(256, 256), things=(3, 9))
DRAWINGS = [draw_scene(seed, "validation", STYLE) for seed in range(40)]


def told(seed: int, align: Alignment = by_words, order: Order | None = None) -> Narrated:
    found = narrated(DRAWINGS[seed], np.random.default_rng(seed), align=align, order=order)
    assert found is not None
    return found


def placed_share(align: Alignment) -> float:
    """The share of the words that name a thing whose place by the mouse, its middle, lies in the thing's box."""
    placed: list[bool] = []
    for seed in range(len(DRAWINGS)):
        one = told(seed, align)
        for span, thing in zip(one.told.spans, one.things, strict=True):
            if thing is not None:
                box, place = bounding_box(span.regions[0]), bounding_box(span.regions[-1])
                x, y = (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2
                placed.append(len(span.regions) == 2 and box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1)
    return float(np.mean(placed))


def test_by_words_the_mouse_is_on_a_thing_far_more_often_than_by_position() -> None:
    words, position = placed_share(by_words), placed_share(by_position)
    print(f"names placed in their thing's box: {words:.1%} by words, {position:.1%} by position")
    assert words > 0.85 and words > position + 0.3


def test_the_same_number_tells_the_same() -> None:
    for seed in range(4):
        one, other = told(seed), told(seed)
        assert one.told == other.told and one.narration.said == other.narration.said and (one.narration.trace == other.narration.trace).all()
    assert len({told(seed).narration.caption for seed in range(4)}) == 4


@pytest.mark.parametrize("seed", range(12))
def test_every_word_of_a_name_has_the_true_box_of_its_thing(seed: int) -> None:
    one, view = told(seed), view_of(DRAWINGS[seed])
    names: dict[int, list[str]] = {}
    for span, thing in zip(one.told.spans, one.things, strict=True):
        if thing is not None:
            assert span.regions[0] == view.boxes[thing]
            names.setdefault(thing, []).append(one.told.text[span.start : span.end])
        assert all(isinstance(region, Box) for region in span.regions)
    assert len(names) == len(view.boxes)
    assert all(" ".join(said) == view.labels[thing] for thing, said in names.items())


def test_captions_are_made_of_known_words() -> None:
    known = set(NARRATED_WORDS) | {word for name in (*vocabulary(), *COLOURS, "grey", "text") for word in name.split()}
    for seed in range(len(DRAWINGS)):
        caption = told(seed).narration.caption
        assert set(re.findall(r"\w+", caption.lower())) <= known, caption
        assert caption[0].isupper() and caption.endswith(".") and 1 <= caption.count(".") <= 4


def test_what_is_said_to_lie_beside_lies_there() -> None:
    sides = {"left of": "o the left of it|n its left", "right of": "o the right of it|n its right", "above": "Above it", "below": "Below it"}
    checked = 0
    for seed in range(len(DRAWINGS)):
        one, boxes = told(seed), view_of(DRAWINGS[seed]).boxes
        order = [(span.start, thing) for span, thing in zip(one.told.spans, one.things, strict=True) if thing is not None]
        for side, words in sides.items():
            for found in re.finditer(words, one.told.text):
                before = [thing for start, thing in order if start < found.start()][-1]
                after = next(thing for start, thing in order if start > found.start())
                assert stands(side, boxes[after], boxes[before])
                checked += 1
    assert checked > 5


@pytest.mark.parametrize(("order", "measure"), [("left", lambda box: box.x0), ("size", lambda box: -(box.x1 - box.x0) * (box.y1 - box.y0))])
def test_things_are_named_in_the_order_asked_for(order: Order, measure: object) -> None:
    assert callable(measure)
    for seed in range(8):
        one, boxes = told(seed, order=order), view_of(DRAWINGS[seed]).boxes
        things = list(dict.fromkeys(thing for thing in one.things if thing is not None))
        values = [measure(boxes[thing]) for thing in things]
        assert values == sorted(values)


def test_a_narration_in_the_official_form_is_read_back() -> None:
    for seed in range(4):
        one = told(seed)
        again = narration_of(json.loads(json.dumps(record_of(one.narration, DRAWINGS[seed].id))))
        assert (again.caption, again.said) == (one.narration.caption, one.narration.said)
        assert (again.trace == one.narration.trace).all()
        assert by_words(again) == by_words(one.narration)


def test_no_more_things_are_named_than_wanted_and_an_empty_drawing_is_not_narrated() -> None:
    one = narrated(DRAWINGS[0], np.random.default_rng(0), most=1)
    assert one is not None and len({thing for thing in one.things if thing is not None}) == 1
    empty = Drawing("empty", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int16), (), "plain blue")
    assert narrated(empty, np.random.default_rng(0)) is None

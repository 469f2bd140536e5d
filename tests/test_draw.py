"""Drawing: every word and place is to be seen, in a colour of its own, and the image is left as it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.draw import colour_of, draw
from foveal.geometry import Box, Mask, Point, Region, Trace, encode_mask
from foveal.grounding import GroundedText, Span

SIDE = st.floats(0.0, 1.0)


def page(size: tuple[int, int] = (800, 600)) -> Image.Image:
    return Image.new("RGB", size, (128, 128, 128))


def mask() -> Mask:
    bits = np.zeros((30, 40), bool)
    bits[10:20, 10:30] = True
    return encode_mask(bits)


def has(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image) == colour).all(-1).any())


def test_each_span_has_its_colour_on_the_image_and_in_the_text() -> None:
    said = GroundedText("a cup and a hat", (Span(0, 5, (Box(0.1, 0.1, 0.3, 0.3),)), Span(10, 15, (Box(0.5, 0.5, 0.9, 0.9),))))
    drawn = draw(page(), said)
    top, strip = drawn.crop((0, 0, 800, 600)), drawn.crop((0, 600, *drawn.size))
    for index in (0, 1):
        assert has(top, colour_of(index)) and has(strip, colour_of(index))
    assert not has(drawn, colour_of(2))


@pytest.mark.parametrize("region", [Point(0.5, 0.5), Box(0.2, 0.2, 0.6, 0.6), Trace(((0.1, 0.1), (0.5, 0.9))), Trace(((0.5, 0.5),)), mask()])
def test_every_kind_of_region_is_seen_where_it_is(region: Region) -> None:
    before, after = np.asarray(page(), np.int32), np.asarray(draw(page(), [region]), np.int32)
    changed = np.abs(after[:600] - before).sum(-1) > 0
    assert changed.any()
    assert not changed[:, 700:].any() and not changed[560:].any()


def test_the_image_is_left_as_it_was() -> None:
    image = page()
    before = image.tobytes()
    draw(image, [mask(), Box(0.1, 0.1, 0.9, 0.9)], asked=[Point(0.5, 0.5)], question="What?")
    assert image.tobytes() == before


def test_a_small_image_is_enlarged_until_labels_can_be_read() -> None:
    assert draw(page((16, 8)), [Box(0.0, 0.0, 1.0, 1.0)]).size == (640, 320)
    assert draw(page((1000, 500)), [Box(0.0, 0.0, 1.0, 1.0)]).size == (1000, 500)
    assert draw(page((3, 900)), [Box(0.0, 0.0, 1.0, 1.0)]).size == (3, 900)


def test_labels_do_not_lie_on_each_other() -> None:
    same = Box(0.1, 0.3, 0.4, 0.6)
    one, three = draw(page(), [same]), draw(page(), [same, same, same])
    assert all(has(three, colour_of(index)) for index in range(3))
    assert np.abs(np.asarray(three, np.int32) - np.asarray(one, np.int32)).sum() > 0


def test_the_regions_asked_about_are_drawn_apart_from_the_answers() -> None:
    drawn = draw(page(), GroundedText("yes"), asked=[Box(0.1, 0.1, 0.5, 0.5)], question="Is <1> red?")
    assert has(drawn, (30, 30, 30)) and not has(drawn, colour_of(0))
    assert drawn.height > 600


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=5), st.text(max_size=60), st.integers(1, 300), st.integers(1, 300))
def test_whatever_a_model_says_can_be_drawn(places: list[tuple[float, float, float, float]], text: str, width: int, height: int) -> None:
    spans = tuple(Span(0, len(text), (Box(min(a, c), min(b, d), max(a, c), max(b, d)),)) for a, b, c, d in places)
    drawn = draw(page((width, height)), GroundedText(text, spans), question=text)
    assert drawn.width >= width and drawn.height >= height


def test_the_first_hundred_colours_differ() -> None:
    assert len({colour_of(index) for index in range(100)}) == 100

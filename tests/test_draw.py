"""Drawing: every word and place is to be seen, in a colour of its own, and the image is left as it was."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.draw import colour_of, draw, draw_trace, play_trace
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


SENTENCE = "a red cup stands on the old table, and the cup is near a hat."


def told(boxes: int = 3) -> GroundedText:
    """A sentence whose every word has a place, of which some share one."""
    words = list(re.finditer(r"\w+", SENTENCE))
    corners = [(0.1 + 0.2 * (number % boxes), 0.1 + 0.15 * (number % boxes)) for number in range(len(words))]
    return GroundedText(
        SENTENCE, tuple(Span(word.start(), word.end(), (Box(x, y, x + 0.2, y + 0.2),)) for word, (x, y) in zip(words, corners, strict=True))
    )


def colours_in(image: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for _, colour in image.getcolors(maxcolors=1 << 24)}  # type: ignore[misc,union-attr]


def test_a_way_has_the_colours_of_its_words_in_the_order_of_the_sentence() -> None:
    image = page()
    before = image.tobytes()
    drawn = draw_trace(image, told(), question="A photo of ")
    top, strip = drawn.crop((0, 0, 800, 600)), drawn.crop((0, 600, *drawn.size))
    first, last = (230, 57, 70), (206, 44, 140)  # a way runs from red to purple
    assert last in colours_in(top) & colours_in(strip) and image.tobytes() == before
    assert first not in colours_in(strip)  # "a" is faint
    assert len(colours_in(strip)) > len(SENTENCE.split())


def test_words_at_one_place_have_dots_beside_each_other() -> None:
    here = (Point(0.5, 0.5),)
    spans = tuple(Span(start, start + 1, here) for start in range(0, 79, 2))
    drawn = np.asarray(draw_trace(page(), GroundedText(" ".join("b" * 40), spans)), np.int32)[:600]
    changed = np.abs(drawn - drawn[0, 0]).sum(-1) > 30
    ys, xs = changed.nonzero()
    assert changed.sum() > 40 * 60 and max(np.ptp(xs), np.ptp(ys)) < 240


@pytest.mark.parametrize("region", [Point(0.0, 0.0), Point(1.0, 1.0), Box(0.9, 0.9, 1.0, 1.0)])
def test_a_dot_at_the_edge_is_not_cut(region: Region) -> None:
    inner, corner = (draw_trace(page(), GroundedText("cup", (Span(0, 3, (one,)),))) for one in (Point(0.5, 0.5), region))
    inked = [int((np.asarray(one.crop((0, 0, 800, 600)))[..., 0] > 225).sum()) for one in (inner, corner)]
    assert inked[1] >= 0.9 * inked[0] > 0


def test_a_film_adds_word_after_word_and_ends_with_the_whole_way() -> None:
    film = play_trace(page((1600, 1200)), told())
    assert len(film) == len(told().spans) + 1
    pictures, shown = zip(*film, strict=True)
    assert len({picture.size for picture in pictures}) == 1 and max(pictures[0].width, 600) == 800
    assert shown[-1] == max(shown) and min(shown) > 100
    inked = [int((np.abs(np.diff(np.asarray(picture.convert("L"), np.int32)[:590])) > 20).sum()) for picture in pictures]
    assert inked[0] < inked[-2] < inked[-1]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=5), st.text(min_size=1, max_size=40), st.integers(1, 300), st.integers(1, 300))
def test_whatever_a_model_says_has_a_way(places: list[tuple[float, float, float, float]], text: str, width: int, height: int) -> None:
    spans = tuple(Span(0, len(text), (Box(min(a, c), min(b, d), max(a, c), max(b, d)),)) for a, b, c, d in places)
    said = GroundedText(text, spans)
    drawn = draw_trace(page((width, height)), said, question=text)
    assert drawn.width >= width and drawn.height >= height
    assert [picture.size for picture, _ in play_trace(page((width, height)), said)]


def test_words_without_a_place_or_with_a_mask_are_in_a_way_too() -> None:
    said = GroundedText("no cup here", (Span(0, 2), Span(3, 6, (mask(),)), Span(7, 11, (Trace(((0.1, 0.1), (0.2, 0.9))),))))
    drawn = draw_trace(page(), said)
    assert drawn.height > 600 and len(play_trace(page(), said)) == 3

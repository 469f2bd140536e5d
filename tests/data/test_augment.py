"""Laws of augmentation: what is done to a picture is done to all that is said of it, and what was cut away is not spoken of."""

import numpy as np
import pytest
import torch

from foveal.data.augment import (
    Shot,
    boxes_on,
    crop,
    example_on,
    flip,
    kept_boxes,
    masks_on,
    pad,
    points_on,
    random_shot,
    region_on,
    resize,
    resized_size,
)
from foveal.data.images import load_picture
from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.data.sources.scenes.questions import questions
from foveal.data.sources.scenes.source import example_of
from foveal.geometry import Box, Frame, Mask, Point, Trace, bounding_box, encode_mask
from foveal.grounding import Example, GroundedText, Note, Span, Turn


def marked(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (64, 48)) -> tuple[torch.Tensor, Box, Mask]:
    """A black picture with a white rectangle, its box and its mask."""
    pixels = torch.zeros(size[1], size[0], 3)
    pixels[y0:y1, x0:x1] = 255
    return pixels, Box(x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1]), encode_mask(pixels[..., 0].numpy() > 0)


@pytest.mark.parametrize("seed", range(12))
def test_a_box_and_a_mask_stay_on_their_thing_whatever_is_done(seed: int) -> None:
    pixels, box, mask = marked(24, 12, 44, 30)
    shot = random_shot(pixels, np.random.default_rng(seed), 40, scales=(0.75, 1.5), flips=0.5)
    assert shot.pixels.shape == (40, 40, 3)
    width, height = shot.frame.canvas_size
    white = shot.pixels[:height, :width, 0].numpy() > 127
    found = boxes_on(shot.frame, np.array([[box.x0, box.y0, box.x1, box.y1]]))[0]
    rows, cols = np.nonzero(white)
    np.testing.assert_allclose(found, [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], atol=1.0)
    assert (masks_on(shot.frame, pixels[None, ..., 0].numpy() > 0)[0] != white).mean() < 0.04
    moved = region_on(shot.frame, mask)
    assert isinstance(moved, Mask) and (moved.width, moved.height) == (width, height)
    assert not shot.pixels[height:].any() and not shot.pixels[:, width:].any()


def test_mirrored_twice_is_as_before() -> None:
    shot = Shot.of(torch.rand(5, 7, 3))
    twice = flip(flip(shot))
    assert twice.frame == shot.frame and torch.equal(twice.pixels, shot.pixels)
    assert region_on(flip(shot).frame, Box(0.0, 0.2, 0.25, 0.4)) == Box(0.75, 0.2, 1.0, 0.4)


def test_steps_in_any_order_end_in_the_same_places() -> None:
    shot = Shot.of(torch.rand(20, 30, 3))
    one = flip(crop(resize(shot, (60, 40)), (10, 0, 40, 40)))
    other = crop(resize(flip(shot), (60, 40)), (20, 0, 50, 40))
    boxes = np.random.default_rng(0).uniform(size=(9, 4))
    np.testing.assert_allclose(boxes_on(one.frame, boxes), boxes_on(other.frame, boxes), atol=1e-9)
    torch.testing.assert_close(one.pixels, other.pixels)


def test_points_are_kept_at_the_edge_and_boxes_outside_are_told_apart() -> None:
    left = Frame.stretch((8, 8)).crop((0, 0, 4, 8))
    assert points_on(left, np.array([[0.9, 0.5]])).tolist() == [[4.0, 4.0]]
    boxes = boxes_on(left, np.array([[0.0, 0.0, 0.9, 0.5], [0.6, 0.1, 0.9, 0.2]]))
    assert kept_boxes(boxes).tolist() == [True, False]


def test_only_what_is_seen_of_a_region_is_left() -> None:
    left = Frame.stretch((8, 8)).crop((0, 0, 4, 8))
    assert region_on(left, Trace(((0.25, 0.5), (0.75, 0.5)))) == Trace(((0.5, 0.5),))
    assert region_on(left, Trace(((0.75, 0.5),))) is None
    assert region_on(left, Box(0.25, 0.5, 0.25, 0.5)) == Box(0.5, 0.5, 0.5, 0.5)
    assert region_on(left, Box(0.75, 0.5, 0.75, 0.5)) is None
    right = np.zeros((8, 8), dtype=bool)
    right[:, 5] = True
    assert region_on(left, encode_mask(right)) is None


def test_sizes_keep_their_shape_and_their_limit() -> None:
    rng = np.random.default_rng(0)
    for width, height, side in rng.integers(1, 900, (300, 3)).tolist():
        size = resized_size((width, height), side, side)
        assert max(size) <= side and min(size) >= 1
        assert max(resized_size((width, height), side)) >= min(resized_size((width, height), side)) == side


def test_what_does_not_fit_is_refused() -> None:
    shot = Shot.of(torch.rand(4, 6, 3))
    with pytest.raises(ValueError, match="must lie in it"):
        crop(shot, (0, 0, 7, 4))
    with pytest.raises(ValueError, match="must fit in"):
        pad(shot, (5, 9))
    with pytest.raises(ValueError, match="pad it last"):
        resize(pad(shot, (8, 8)), (4, 4))
    with pytest.raises(ValueError, match="must be positive"):
        resized_size((4, 6), 0)


def test_a_question_goes_with_the_answer_whose_box_is_cut_away() -> None:
    def spoken(text: str, *regions: Box | Point) -> GroundedText:
        return GroundedText(text, (Span(0, len(text), regions),) if regions else ())

    here, there = Box(0.1, 0.1, 0.3, 0.3), Box(0.7, 0.1, 0.9, 0.3)
    talk = [("where is the cat", (), "the cat", (here,)), ("where is the dog", (), "the dog", (there,)), ("what is", (Point(0.8, 0.2),), "a dog", ())]
    turns = [turn for ask, at, answer, found in talk for turn in (Turn("user", spoken(ask, *at)), Turn("assistant", spoken(answer, *found)))]
    story = GroundedText("a cat and a dog", (Span(2, 5, (here,)), Span(12, 15, (there,))))
    notes = (Note(spoken("cat", here)), Note(spoken("dog", there)), Note(spoken("indoors")), Note(story, "narrative"))
    example = Example("1", turns=tuple(turns), notes=notes, facts={"inside": [{"box": [0.7, 0.1, 0.9, 0.3]}]})
    left = example_on(example, crop(Shot.of(torch.rand(10, 10, 3) * 255), (0, 0, 5, 10)))
    assert [turn.said.text for turn in left.turns] == ["where is the cat", "the cat"]
    assert left.turns[1].said.regions == (Box(0.2, 0.1, 0.6, 0.3),)
    assert [note.said.text for note in left.notes] == ["cat", "indoors", "a cat and a dog"] and len(left.notes[2].said.spans) == 1
    assert left.facts == {"inside": []} and (left.images[0].width, left.images[0].height) == (5, 10)


@pytest.mark.parametrize("seed", range(4))
def test_a_scene_cut_at_random_is_still_described_truly(seed: int) -> None:
    drawing = draw_scene(seed, style=SceneStyle(size=(160, 120), things=(3, 5)))
    example = example_of(drawing, questions(drawing, np.random.default_rng(seed), 6))
    shot = random_shot(torch.from_numpy(drawing.pixels).float(), np.random.default_rng(seed), 96, scales=(1.0, 1.6))
    cut = example_on(example, shot)
    assert load_picture(cut.images[0]).size == shot.frame.canvas_size
    labels = masks_on(shot.frame, np.stack([drawing.labels == index + 1 for index in range(len(drawing.things))]))
    seen = {note.said.regions[0] for note in cut.notes}
    assert len(cut.notes) <= len(example.notes)
    for index in np.flatnonzero(labels.any((1, 2))):
        inner = bounding_box(encode_mask(labels[index]))
        assert any(box.x0 <= inner.x0 + 0.02 and inner.x1 <= box.x1 + 0.02 for box in map(bounding_box, seen))

"""The nano benchmark's figures of models whose words have places: what is right counts, what is not does not."""

import sys
from pathlib import Path

import pytest

from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, Span, Turn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from nano_places import LEAST, place_figures, placed_scene

FROG, DOG = Box(0.1, 0.1, 0.3, 0.3), Box(0.5, 0.5, 0.9, 0.9)


def _said(*parts: str | tuple[str, Box, float | None]) -> GroundedText:
    pieces = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(GroundedText(part))
        else:
            words, box, score = part
            pieces.append(GroundedText(words, (Span(0, len(words), (box,), () if score is None else (score,)),)))
    return GroundedText.join(*pieces)


TRUTH = _said(("frog", FROG, None), ", ", ("dog", DOG, None))
NOTHING = GroundedText("")


def _asked(task: str, said: GroundedText, true: GroundedText = TRUTH, besides: GroundedText = NOTHING) -> Example:
    turns = (Turn("user", GroundedText(task)), Turn("assistant", said))
    notes = (Note(true, source="truth"), Note(besides, source="small"))
    return Example(task, (Picture(256, 256, data=b""),), turns, notes=notes, facts={"scene": "one", "task": task})


def test_words_count_where_their_middle_lies_in_the_thing_and_other_words_do_not() -> None:
    inner = Box(0.15, 0.15, 0.25, 0.25)
    said = _said("a ", ("frog", inner, None), " and ", ("two", FROG, None), " ", ("dogs", FROG, None), " and a ", ("ship", DOG, None))
    found = place_figures([_asked("narrate", said)])
    assert found["words_placed"].value == pytest.approx(0.5)
    assert found["words_placed_centre"].value == pytest.approx(0.5)  # the centre lies on the dog's corner
    assert found["words_absent"].value == pytest.approx(1 / 3)


def test_referring_wants_half_an_overlap_and_naming_the_name() -> None:
    near, far = Box(0.1, 0.1, 0.3, 0.28), Box(0.3, 0.3, 0.5, 0.5)
    about = [_asked("locate", _said(("the frog", box, 0.9)), _said(("the frog", FROG, None))) for box in (near, far)]
    about += [_asked("describe", GroundedText(words), _said(("dog", DOG, None))) for words in ("dog", "a frog")]
    found = place_figures(about)
    assert found["refer_p50"].value == found["region_named"].value == 0.5
    assert found["place_calibration_error"].value == pytest.approx(0.4)


def test_the_score_of_a_words_place_is_held_to_how_near_its_corners_are() -> None:
    near, half = Box(0.12, 0.1, 0.3, 0.34), Box(0.5, 0.5, 0.9, 0.8)
    said = _said("a ", ("frog", near, 0.7), " and two ", ("dogs", half, 0.5), " beside a ", ("ship", DOG, 0.9))
    assert place_figures([_asked("narrate", said)])["word_calibration_error"].value == pytest.approx((2 * 0.3 + 0) / 4)
    two = _said(("frog", FROG, None), ", ", ("frog", DOG, None), ", ", ("dog", DOG, None))
    assert place_figures([_asked("narrate", said, two)])["word_calibration_error"].count == 2, "of two frogs, which is meant is not known"
    assert "word_calibration_error" not in place_figures([_asked("narrate", _said("a ", ("frog", near, None)))])


def test_detections_are_ranked_and_a_second_box_of_a_thing_is_wrong() -> None:
    all_right = _said(("frog", FROG, 0.9), "; ", ("dog", DOG, 0.8))
    twice = _said(("frog", FROG, 0.9), "; ", ("frog", FROG, 0.85), "; ", ("frog", DOG, 0.8))
    assert place_figures([_asked("dense", all_right)])["detect_named_map"].value == pytest.approx(1)
    found = place_figures([_asked("dense", twice)])
    assert 0.5 < found["detect_map"].value < 1
    assert found["detect_named_map"].value == pytest.approx(51 / 101)


def test_what_is_too_small_to_be_asked_about_counts_neither_way() -> None:
    said = _said("a ", ("frog", FROG, None), " and a ", ("chick", Box(0.3, 0.8, 0.32, 0.82), None), " and a ", ("ship", DOG, None))
    chick = _said(("chick", Box(0.4, 0.8, 0.42, 0.82), None))
    assert place_figures([_asked("narrate", said)])["words_absent"].value == pytest.approx(2 / 3)
    assert place_figures([_asked("narrate", said, besides=chick)])["words_absent"].value == pytest.approx(1 / 2)
    found = _said(("chick", Box(0.4, 0.8, 0.42, 0.82), 0.95), "; ", ("frog", FROG, 0.9), "; ", ("dog", DOG, 0.8))
    assert place_figures([_asked("dense", found)])["detect_map"].value < 0.7
    assert place_figures([_asked("dense", found, besides=chick)])["detect_map"].value == pytest.approx(1)


def test_scenes_are_as_large_as_a_small_model_sees_and_hold_things_to_ask_about() -> None:
    drawings = [placed_scene(0, number) for number in range(5)]
    assert all(192 <= side <= 256 for drawing in drawings for side in drawing.labels.shape)
    assert any(min(x1 - x0, y1 - y0) >= LEAST for drawing in drawings for x0, y0, x1, y1 in (thing.box_px for thing in drawing.things))

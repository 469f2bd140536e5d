"""Laws of narrations: a word lies where the mouse was while it was said, however it was heard."""

from typing import Any

import numpy as np
import pytest

from foveal.data.narration import Narration, Utterance, by_position, by_words, match_words, place_windows
from foveal.grounding import GroundedText

# The mouse goes from left to right in ten seconds: x is a tenth of the time.
ACROSS = np.array([[0.0, 0.5, 0.0], [1.0, 0.5, 10.0]])


def told(caption: str, *said: tuple[str, float, float], trace: np.ndarray = ACROSS) -> Narration:
    return Narration(caption, tuple(Utterance(*part) for part in said), trace)


def places(text: GroundedText) -> dict[str, tuple[float, float]]:
    boxes: list[Any] = [span.regions[0] for span in text.spans]
    return {text.text[span.start : span.end]: (round(box.x0, 6), round(box.x1, 6)) for span, box in zip(text.spans, boxes, strict=True)}


def test_a_word_lies_where_the_mouse_was_while_it_was_said() -> None:
    said = by_words(told("A cat. A dog's bed!", ("a", 0.0, 1.0), ("cat", 2.0, 3.0), ("a", 5.0, 5.5), ("dog's bed", 6.0, 9.0)))
    assert [said.text[span.start : span.end] for span in said.spans] == ["A", "cat", "A", "dog's", "bed"]
    assert places(said) == {"A": (0.5, 0.55), "cat": (0.2, 0.3), "dog's": (0.6, 0.766667), "bed": (0.8, 0.9)}


def test_case_marks_and_fillers_change_no_place() -> None:
    clear = by_words(told("A cat, a bus.", ("A cat, a", 0.0, 3.0), ("bus.", 4.0, 5.0)))
    heard = by_words(told("A cat, a bus.", ("A CAT. a", 0.0, 3.0), ("um", 3.2, 3.8), ("bus,", 4.0, 5.0)))
    assert places(clear) == places(heard) == places(clear) | {"bus": (0.4, 0.5)}


def test_what_was_said_in_another_order_keeps_its_own_place() -> None:
    said = by_words(told("two red kites above a house", ("above a house", 0.0, 3.0), ("two red kites", 6.0, 9.0)))
    assert places(said)["house"][1] == 0.3 and places(said)["two"][0] == 0.6


def test_a_word_heard_a_little_differently_is_found() -> None:
    assert match_words(["a", "tshirt", "is", "grey"], ["a", "tee", "shirt", "is", "gray"]).tolist() == [0, 2, 3, 4]
    assert match_words(["cats"], ["xylophone"]).tolist() == [-1]


def test_a_word_not_heard_lies_on_the_way_between_its_neighbours_and_at_an_end_nowhere() -> None:
    said = places(by_words(told("Look, dogs chasing cats here", ("dogs", 1.0, 2.0), ("cats", 4.0, 5.0))))
    assert said["dogs"] == (0.1, 0.2) and said["cats"] == (0.4, 0.5)
    assert 0.2 < said["chasing"][0] < said["chasing"][1] < 0.4
    assert set(said) == {"dogs", "chasing", "cats"}


def test_a_word_between_neighbours_said_in_another_order_lies_nowhere() -> None:
    said = places(by_words(told("two red kites xyz above a house", ("above a house", 0.0, 3.0), ("two red kites", 6.0, 9.0))))
    assert "xyz" not in said and len(said) == 6


def test_by_position_only_the_number_of_words_counts() -> None:
    parts = (("um", 0.0, 1.0), ("a cat and a dog", 2.0, 6.0), (" ", 6.0, 7.0), ("so", 8.0, 9.0))
    said = by_position(told("one two three four", *parts))
    assert list(places(said).values()) == [(0.0, 0.1), (0.2, 0.6), (0.2, 0.6), (0.8, 0.9)]
    assert [span.regions for span in by_position(told("cat dog red hat", *parts)).spans] == [span.regions for span in said.spans]


def test_without_speech_or_words_there_are_no_places() -> None:
    for align in (by_words, by_position):
        assert not align(told("A cat.")).spans
        assert not align(told("...", ("a cat", 0.0, 1.0))).spans
        assert not align(told("", ("", 0.0, 1.0))).spans


def test_outside_its_time_the_mouse_rests_or_goes_straight_on() -> None:
    windows = np.array([[-2.0, -1.0], [11.0, 12.0]])
    resting, _ = place_windows(ACROSS, windows)
    straight, _ = place_windows(ACROSS, windows, extend=True)
    assert resting[:, 0].tolist() == [0.0, 1.0] and straight[:, 0] == pytest.approx([-0.15, 1.15])
    assert places(by_words(told("cat", ("cat", 11.0, 12.0)))) == {"cat": (1.0, 1.0)}


def test_a_place_does_not_leave_the_picture() -> None:
    outside = np.array([[-0.5, 0.5, 0.0], [1.5, 0.5, 10.0]])
    assert places(by_words(told("cat", ("cat", 0.0, 10.0), trace=outside))) == {"cat": (0.0, 1.0)}


def test_points_of_one_moment_do_no_harm() -> None:
    still = np.array([[0.2, 0.5, 1.0], [0.4, 0.5, 1.0], [0.4, 0.5, 1.0]])
    for extend in (False, True):
        centres, boxes = place_windows(still, np.array([[0.0, 2.0], [1.0, 1.0]]), extend=extend)
        assert np.isfinite(centres).all() and np.isfinite(boxes).all()


def test_what_is_no_narration_is_refused() -> None:
    with pytest.raises(ValueError, match="1 points; at least 2"):
        told("cat", trace=ACROSS[:1])
    with pytest.raises(ValueError, match="no numbers"):
        told("cat", trace=ACROSS * np.nan)
    with pytest.raises(ValueError, match="backwards"):
        told("cat", trace=ACROSS[::-1])
    with pytest.raises(ValueError, match="in this order"):
        Utterance("cat", 2.0, 1.0)
    with pytest.raises(ValueError, match="must be numbers"):
        Utterance("cat", 0.0, float("nan"))

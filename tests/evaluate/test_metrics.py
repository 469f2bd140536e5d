"""Laws of the measures: they agree with hand-counted cases, with the original's recorded verdicts, and with chance."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate import (
    Tally,
    boxes_agree,
    calibration_error,
    f1_interval,
    first_box,
    interval,
    is_unparseable,
    match_named,
    names_object,
    names_placed,
    phrases_found,
    says_absent,
    spellings,
    tally_detections,
    words_found,
)
from foveal.geometry import Box, Point
from foveal.grounding import GroundedText, Span

LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)


@given(st.integers(1, 500), st.floats(0, 1))
def test_an_interval_holds_its_share_and_stays_within_zero_and_one(count: int, share: float) -> None:
    successes = round(share * count)
    low, high = interval(successes, count)
    assert 0 <= low <= successes / count + 1e-12 and successes / count - 1e-12 <= high <= 1


def test_more_cases_make_a_narrower_interval() -> None:
    widths = [high - low for low, high in (interval(9 * n, 10 * n) for n in (1, 10, 100))]
    assert widths == sorted(widths, reverse=True)


def test_intervals_hold_the_truth_about_95_times_of_100() -> None:
    drawn = np.random.default_rng(0).binomial(60, 0.9, size=2000)
    held = np.mean([low <= 0.9 <= high for low, high in (interval(int(n), 60) for n in drawn)])
    assert 0.93 <= held <= 0.98


@pytest.mark.parametrize(("successes", "count"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes of {count}"):
        interval(successes, count)


def test_the_first_box_is_the_one_that_counts() -> None:
    said = GroundedText("a cat and a dog", (Span(0, 5, (LEFT, RIGHT)), Span(10, 15, (RIGHT,))))
    assert first_box(said) == LEFT


def test_a_missing_box_is_wrong_and_the_threshold_itself_is_right() -> None:
    assert boxes_agree([None, Box(0.0, 0.0, 0.5, 0.5)], [LEFT, LEFT], threshold=0.5) == [False, True]
    assert boxes_agree([Box(0.0, 0.0, 0.5, 0.5)], [LEFT], threshold=0.75) == [False]


def test_as_many_boxes_as_truths_are_wanted() -> None:
    with pytest.raises(ValueError, match="1 predicted boxes for 2 true ones"):
        boxes_agree([None], [LEFT, RIGHT])


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is a cat.", True),
        ("A CAT", True),
        ("cat", True),
        ("a dog", False),
        ("", False),
        ("a caterpillar", False),
        ("It is a cat, not a dog.", True),
        ("It is a dog, not a cat.", False),
        ("It is a dog not a cat", False),
        ("It is not a dog but a cat.", True),
        ("No, it is a cat.", True),
        ("There is no dog here. It is a cat.", True),
        ("It is neither a dog nor a cat.", False),
        ("Note: it is now a cat", True),
        ("It is a cat or a dog.", False),
    ],
)
def test_a_verdict_is_by_whole_words_that_are_not_denied(answer: str, right: bool) -> None:
    assert names_object(answer, ["cat"], ["dog"]) is right


def test_a_longer_name_is_not_taken_for_the_shorter_one_in_it() -> None:
    assert names_object("a cat face", ["cat face"], ["cat"]) and not names_object("a cat face", ["cat"], ["cat face"])
    assert words_found("a cat face and a cat", ["cat", "cat face"]) == ["cat face", "cat"]


def test_names_may_hold_any_character() -> None:
    assert names_object("It says C++ (new).", ["c++ (new)"]) and words_found("anything", ["", ""]) == []


def test_the_original_verdicts_are_reproduced_on_request() -> None:
    path = _parity("metrics/object_classification.json")
    recorded = json.loads(path.read_text())
    for record, correct in zip(recorded["records"], recorded["correct"], strict=True):
        names = [record["name"].replace("_", " "), *(spelling for name in record["synonyms"] for spelling in spellings(name))]
        assert names_object(record["text"], names, original=True) is bool(correct), record


def test_a_phrase_is_found_by_its_own_words_only() -> None:
    said = GroundedText("A Man, and a dog", (Span(0, 5, (LEFT,)), Span(11, 16, (RIGHT,))))
    assert phrases_found(said, [("a man", [LEFT]), ("a  dog.", [RIGHT]), ("a man", [RIGHT]), ("a bird", [LEFT])]) == [True, True, False, False]


def test_recall_of_more_boxes_is_never_smaller_and_merged_golds_are_one_box() -> None:
    said = GroundedText("two cats", (Span(0, 8, (LEFT, Box(0.0, 0.0, 1.0, 1.0))),))
    both = [("two cats", [LEFT, RIGHT])]
    assert phrases_found(said, both) == [True], "half of the merged box is the threshold itself"
    assert phrases_found(said, both, threshold=0.6) == [False]
    assert phrases_found(said, both, threshold=0.6, first=2) == [True]
    assert phrases_found(said, both, threshold=0.9, merged=False) == [True]


def test_absence_is_an_answer_without_a_region() -> None:
    assert says_absent(GroundedText("There is no cup.", (Span(12, 15),)))
    assert not says_absent(GroundedText("a cup", (Span(2, 5, (Point(0.5, 0.5),)),)))


@pytest.mark.parametrize(
    ("said", "odd"),
    [
        (GroundedText("a cat"), False),
        (GroundedText("", (Span(0, 0, (LEFT,)),)), False),
        (GroundedText("  "), True),
        (GroundedText("a cat [12, 30"), True),
        (GroundedText("a cat 12, 30]"), True),
        (GroundedText("a cat [1, 2, 3]"), True),
        (GroundedText("see [note]"), False),
        (GroundedText("a cat", (Span(0, 5, (Box(0.5, 0.0, 0.2, 1.0),)),)), True),
    ],
)
def test_brackets_left_in_the_text_and_boxes_inside_out_are_counted(said: GroundedText, odd: bool) -> None:
    assert is_unparseable(said) is odd


def test_each_object_is_found_once_by_the_most_confident_of_its_name() -> None:
    near = Box(0.0, 0.0, 0.5, 0.9)
    assert match_named([("cat", near), ("Cat", LEFT)], [("cat", LEFT)]) == [0, None]
    assert match_named([("cat", near), ("cat", LEFT)], [("cat", LEFT)], scores=[0.1, 0.9]) == [None, 0]
    assert match_named([("dog", LEFT)], [("cat", LEFT)]) == [None]
    assert match_named([], [("cat", LEFT)]) == [] and match_named([("cat", LEFT)], []) == [None]


def test_the_best_overlap_is_taken_first() -> None:
    assert match_named([("cat", LEFT)], [("cat", Box(0.0, 0.0, 0.5, 0.8)), ("cat", LEFT)]) == [1]


def test_objects_that_do_not_count_neither_help_nor_harm() -> None:
    objects = [("cat", LEFT), ("dog", RIGHT)]
    assert tally_detections(objects, objects, counts=LEFT.__eq__) == Tally(1, 1, 1)
    assert tally_detections(objects[:1], objects, counts=LEFT.__eq__) == Tally(1, 1, 1)
    assert tally_detections([("cup", RIGHT)], objects, counts=LEFT.__eq__) == Tally(0, 0, 1)
    assert tally_detections([("cup", LEFT)], objects, counts=LEFT.__eq__) == Tally(0, 1, 1)


def test_f1_is_one_only_when_all_is_said_and_nothing_else() -> None:
    objects = [("cat", LEFT), ("dog", RIGHT)]
    assert tally_detections(objects, objects).f1 == 1
    assert tally_detections(objects[:1], objects).f1 == pytest.approx(2 / 3)
    assert tally_detections([*objects, ("cat", RIGHT)], objects).f1 == pytest.approx(4 / 5)
    assert Tally().f1 == 0


def test_the_interval_of_an_f1_holds_it_and_is_the_same_each_time() -> None:
    tallies = [Tally(int(n), 4, 4) for n in np.random.default_rng(1).integers(0, 5, size=80)]
    low, high = f1_interval(tallies)
    assert low < sum(tallies, Tally()).f1 < high and (low, high) == f1_interval(tallies)
    assert f1_interval([]) == (0.0, 1.0)


def test_scores_that_are_shares_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    hits = (rng.random(20_000) < scores).tolist()
    assert calibration_error(scores.tolist(), hits) < 0.02
    assert calibration_error([1.0] * 4, [False] * 4) == 1
    assert calibration_error([], []) == 0


def _parity(name: str) -> Path:
    given_folder = os.environ.get("FOVEAL_PARITY")
    root = Path(given_folder) if given_folder else Path(__file__).parents[2].parent / "shared" / "parity"
    for path in (root / "ferret" / name, root / name):
        if path.exists():
            return path
    if given_folder:
        pytest.fail(f"FOVEAL_PARITY is set to {given_folder}, and there is no {name} in it")
    pytest.skip(f"the recorded results are not at hand: no {root / 'ferret' / name}")


def test_a_name_is_placed_where_its_last_word_is_in_any_thing_so_called() -> None:
    forms = {"boxing glove": "boxing glove", "boxing gloves": "boxing glove", "glove": "glove", "dog": "dog"}
    things = GroundedText("boxing glove, boxing glove, dog", (Span(0, 12, (LEFT,)), Span(14, 26, (RIGHT,)), Span(28, 31, (LEFT,))))
    said = GroundedText(
        "Boxing gloves, a dog, a glove", (Span(0, 6, (Point(2.0, 2.0),)), Span(7, 13, (Point(0.9, 0.5),)), Span(17, 20, (Point(0.9, 0.5),)))
    )
    assert names_placed(said, things, forms) == [True, False, None]
    assert names_placed(said, things, forms, besides=["dog", "glove"]) == [True]
    assert names_placed(GroundedText(said.text), things, forms) == [False, False, None]  # without a place a word is nowhere
    assert names_placed(said, things, {}) == words_found("a dog", []) == []

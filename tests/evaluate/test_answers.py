"""Laws of the measures of short answers: they agree with hand-counted cases, with each other, and with their definitions on any text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.answers import (
    anls,
    best_choice,
    choice_said,
    contains_answer,
    edit_distance,
    exact_match,
    gqa_answer,
    gqa_match,
    mean_by_kind,
    questions_of_rank,
    relaxed_match,
)

TEXT = st.text(max_size=30)
WORDS = st.text(st.sampled_from("abAB \té.3"), max_size=12)


def by_hand(one: str, other: str) -> int:
    """The textbook's table of distances."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before, row[0] = row[0], place
        for at, another in enumerate(other, 1):
            before, row[at] = row[at], min(before + (letter != another), row[at] + 1, row[at - 1] + 1)
    return row[-1]


@given(WORDS, WORDS, WORDS)
def test_edit_distance_is_the_textbooks_and_a_metric(one: str, other: str, third: str) -> None:
    assert edit_distance(one, other) == by_hand(one, other) == edit_distance(other, one)
    assert (edit_distance(one, other) == 0) is (one == other)
    assert edit_distance(one, third) <= edit_distance(one, other) + edit_distance(other, third)


@given(TEXT, TEXT)
def test_anls_is_one_for_the_same_words_and_never_between_zero_and_its_threshold(said: str, gold: str) -> None:
    assert anls(f" {said} ", [gold, said]) == 1 and exact_match(f" {said} ", [gold, said])
    score = anls(said, gold)
    assert score == 0 or 0.5 <= score <= 1
    assert anls(said, [gold, "x"]) >= score
    assert anls(said, gold, threshold=0.0) == pytest.approx(anls(gold, said, threshold=0.0))


def test_anls_keeps_the_threshold_itself_and_apart_from_it_what_the_scripts_count() -> None:
    assert anls("ab", "ac") == 0.5 and anls("ab", "ac", threshold=0.51) == 0
    assert anls("", "") == 1 and anls("", "x") == 0 and anls("  ", "", as_published="monkey") == 1
    assert anls("abcd", "  abce", as_published="monkey") == pytest.approx(1 - 1 / 6) and anls("abcd", "  abce") == 0.75
    assert anls("a   bc", "a bc", as_published="infographics") == 1 and anls("a   bc", "a bc", as_published="monkey") == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("said", "gold", "right", "published"),
    [
        ("95", "100", True, False),
        ("105", "100", True, True),
        ("94.9", "100", False, False),
        ("105.2", "100", False, True),  # 5.2 is less than 5 % of 105.2
        ("-21", "-20", True, True),
        ("20", "-20", False, False),
        ("0.0", "0", False, False),
        ("0", "0", True, True),
        ("50%", "0.5", True, True),
        ("1000", "1,000", False, False),
        ("YES", "yes", True, True),
        ("yes ", "yes", False, True),
        ("nan", "nan", False, False),
        ("", "5", False, False),
    ],
)
def test_five_percent_are_of_the_true_number_and_of_what_was_said_in_the_scripts(said: str, gold: str, right: bool, published: bool) -> None:
    assert relaxed_match(said, gold) is right
    assert relaxed_match(said, [gold], as_published=True) is published


@given(st.floats(0.01, 1e6), st.floats(-0.2, 0.2))
def test_a_number_is_right_within_the_tolerance(gold: float, off: float) -> None:
    said = gold * (1 + off)
    if not math.isclose(abs(off), 0.05, rel_tol=1e-6):
        assert relaxed_match(repr(said), repr(gold)) is (abs(off) < 0.05)
        assert relaxed_match(repr(said), [repr(-gold), repr(gold)]) is (abs(off) < 0.05)


@given(TEXT, TEXT)
def test_any_text_can_be_judged(said: str, gold: str) -> None:
    verdicts = [exact_match(said, gold), relaxed_match(said, gold), contains_answer(said, gold), gqa_match(said, gold)]
    assert not exact_match(said, gold) or verdicts[2]
    assert isinstance(gqa_answer(said), str) and choice_said(said, [gold, "x"]) in (None, 0, 1)
    assert contains_answer(gold, gold) and exact_match(gold, gold) and gqa_match(gold.rstrip(". \n"), gold.rstrip(". \n"))


@pytest.mark.parametrize(
    ("said", "gold", "right", "published"),
    [
        ("The answer is 3.5", "3.5", True, False),
        ("3.5", "35", False, True),
        ("13.5", "3.5", False, False),
        ("3.52", "3.5", False, False),
        ("1,000", "000", False, True),
        ("at 7.", "7", True, True),
        ("Paris.", "paris", True, True),
        ("concatenate", "cat", False, True),
        ("new   york city", "New York", True, False),
        ("x", "", False, True),
        ("", "", True, True),
        ("$12 in all", "$12", True, True),
    ],
)
def test_an_answer_stands_whole_in_what_was_said(said: str, gold: str, right: bool, published: bool) -> None:
    assert contains_answer(said, gold) is right
    assert contains_answer(said, [gold], as_published="monkey") is published


def test_places_are_no_words_of_a_document() -> None:
    assert contains_answer("Total <point>(1,2)</point>3.5 <box>(1,2),(3,4)</box>", "3.5", as_published="textmonkey")
    assert not contains_answer("<box>a</box>", "a", as_published="textmonkey")


def test_gqa_takes_the_answer_itself_and_the_script_one_within_a_sentence() -> None:
    assert gqa_match("Left.", "left") and gqa_match(" left\n", "left") and not gqa_match("not left", "left")
    assert gqa_match("It is on the left, I think.", "left", as_published=True) and not gqa_match("It is a cat.", "dog", as_published=True)
    assert gqa_match("leftover", "left", as_published=True)


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("B", 1),
        ("b.", 1),
        (" (C) ", 2),
        ("[A]", 0),
        ("C: the moon", 2),
        ("The answer is B", 1),
        ("Answer: C.", 2),
        ("I choose option B because it shines.", 1),
        ("A star", None),
        ("The answer is A star", None),
        ("the SUN", 0),
        ("It is the sun, not the moon", None),
        ("D", None),
        ("", None),
        ("E. the moon", 2),
    ],
)
def test_an_option_is_chosen_by_its_letter_or_its_words(answer: str, chosen: int | None) -> None:
    assert choice_said(answer, ["the sun", "the sea", "the moon"]) == chosen


def test_options_that_are_letters_are_chosen_by_their_words_where_no_letters_are_asked() -> None:
    assert choice_said("A", ["B", "A"]) == 0 and choice_said("A", ["B", "A"], letters=False) == 1
    assert choice_said("a cat face", ["cat", "cat face"]) == 1


def test_the_likeliest_option_is_that_of_the_smallest_mean_loss() -> None:
    assert best_choice([[3.0], [1.0, 1.5, 1.0, 1.5], [1.3]]) == 1 and best_choice([[1.0], [1.0]]) == 0
    for losses in ([], [[1.0], []]):
        with pytest.raises(ValueError, match="wanted at least one"):
            best_choice(losses)


def test_means_by_kind_are_those_of_their_questions() -> None:
    assert mean_by_kind([1.0, 0.0, 1.0, 0.5], ["b", "a", "b", "a"]) == {"b": 1.0, "a": 0.25} and mean_by_kind([], []) == {}


@given(st.integers(0, 200), st.integers(1, 17))
def test_ranks_answer_each_question_once_in_order(count: int, ranks: int) -> None:
    runs = [questions_of_rank(count, rank, ranks) for rank in range(ranks)]
    assert [place for run in runs for place in run] == list(range(count))
    assert [len(run) for run in runs] == sorted(map(len, runs), reverse=True) and len(runs[0]) - len(runs[-1]) <= 1


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="2 scores for 1 kinds"):
        mean_by_kind([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="rank 3 of 3"):
        questions_of_rank(5, 3, 3)
    for judged in (exact_match, anls, relaxed_match, contains_answer):
        with pytest.raises(ValueError, match="no answers"):
            judged("a", [])

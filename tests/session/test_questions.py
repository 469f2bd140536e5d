"""Questions: regions stand where the words name or point at them, and what makes no sense is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Box, Mask, Point, Trace
from foveal.grounding import GroundedText
from foveal.session.questions import check_question, check_region, question_from

A, B = Point(0.1, 0.1), Box(0.2, 0.2, 0.4, 0.4)


def shown(question: GroundedText) -> str:
    text = question.text
    for span in reversed(question.spans):
        text = text[: span.start] + {A: "A", B: "B"}[span.regions[0]] + text[span.end :]
    return text


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("What is this?", "What is this A?"),
        ("What is this thing for?", "What is this thing A for?"),
        ("Is this a cat or a dog?", "Is this A a cat or a dog?"),
        ("Is it red?", "Is it A red?"),
        ("Who is here?", "Who is here A?"),
        ("What colour?", "What colour A?"),
        ("Describe", "Describe A"),
        ("What is <1>?", "What is A?"),
        ("<1>", "A"),
        ("Is <1> <1>?", "Is A A?"),
    ],
)
def test_a_region_stands_where_the_words_point(words: str, wanted: str) -> None:
    assert shown(question_from(words, [A])) == wanted


def test_regions_that_are_not_named_are_joined() -> None:
    assert shown(question_from("Are these alike?", [A, B])) == "Are these alike A and B?"
    assert shown(question_from("Is <2> red?", [A, B])) == "Is B red A?"
    assert shown(question_from("What do you see?", [])) == "What do you see?"


@pytest.mark.parametrize(("words", "said"), [("", "empty"), (" \n", "empty"), ("<2>?", "<2>, but only 1 region is"), ("<0>?", "<0>")])
def test_a_question_that_makes_no_sense_is_refused(words: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        question_from(words, [A])


@given(st.text(), st.integers(0, 3))
def test_any_words_become_a_question_with_all_its_regions_or_are_refused(words: str, count: int) -> None:
    regions = [Point(0.1 * index, 0.1) for index in range(count)]
    try:
        question = question_from(words, regions)
    except ValueError:
        return
    assert set(question.regions) == set(regions)


@pytest.mark.parametrize(
    "region", [Point(0.0, 1.0), Box(0.0, 0.0, 1.0, 1.0), Trace(((0.5, 0.5),)), Mask(2, 2, (0, 4)), Box(0.0, 0.0, 1.0000001, 1.0)]
)
def test_what_lies_in_the_image_is_a_region(region: Point | Box | Trace | Mask) -> None:
    assert check_region(region) is region


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (Point(1.1, 0.5), "The point 1.1, 0.5 reaches outside"),
        (Point(float("nan"), 0.5), "not a finite number"),
        (Point(0.5, float("inf")), "not a finite number"),
        (Box(-0.1, 0.0, 0.5, 0.5), "reaches outside"),
        (Box(0.5, 0.0, 0.5, 0.5), "is empty"),
        (Box(0.6, 0.0, 0.5, 0.5), "is empty"),
        (Trace(()), "no points"),
        (Trace(((0.5, 3.0),)), "The scribble 0.5, 3 reaches outside"),
        (Mask(2, 2, (4,)), "marks no pixel"),
    ],
)
def test_what_does_not_is_refused(region: Point | Box | Trace | Mask, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_region(region)
    with pytest.raises(ValueError, match=said):
        check_question(GroundedText.join("What is ", region, "?"))


def test_errors_speak_of_pixels_where_pixels_were_given() -> None:
    with pytest.raises(ValueError, match=r"The box 10, 20, 900, 40 .* the image has 640x480 pixels"):
        check_region(Box(10 / 640, 20 / 480, 900 / 640, 40 / 480), (640, 480))

"""Laws of VQA accuracy: it is the mean over people left out, and both sides are spelled officially."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.vqa import digits_and_articles, normalise_answer, strip_punctuation, vqa_accuracy

SHORT = st.sampled_from(["yes", "no", "red", "dark red"])


@given(st.lists(SHORT, min_size=1, max_size=12), SHORT)
def test_vqa_accuracy_is_the_mean_over_people_left_out(people: list[str], said: str) -> None:
    others = [people[:place] + people[place + 1 :] for place in range(len(people))]
    by_definition = sum(min(1.0, rest.count(said) / 3) for rest in others) / len(people)
    assert vqa_accuracy(said.upper(), people) == pytest.approx(by_definition)
    assert vqa_accuracy(said, people, as_published=True) == pytest.approx(by_definition)


@pytest.mark.parametrize(("agreed", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_by_how_many_of_ten_agree(agreed: int, accuracy: float) -> None:
    assert vqa_accuracy("Two", ["2"] * agreed + ["the other"] * (10 - agreed)) == pytest.approx(accuracy)


def test_what_people_wrote_is_spelled_as_the_prediction_is_but_not_in_the_script() -> None:
    people = ["Two"] * 9 + ["a pair"]
    assert vqa_accuracy("two", people) == 1 and vqa_accuracy("two", people, as_published=True) == 0
    assert vqa_accuracy("coca cola", ["Coca-Cola"] * 10) == 1 and vqa_accuracy("coca-cola", ["coca-cola"] * 10, as_published=True) == 0


def test_records_of_one_answer_vanish_together_in_the_script_unless_something_tells_them_apart() -> None:
    people, sure = ["yes"] * 6 + ["no"] * 4, ["yes", "maybe"] * 5
    assert vqa_accuracy("yes", people, as_published=True) == 1
    assert vqa_accuracy("yes", people, ids=[None] * 10, as_published=True) == pytest.approx(0.4)
    assert vqa_accuracy("yes", people, ids=sure, as_published=True) == 1
    assert vqa_accuracy("yes", people, ids=[None] * 10) == 1


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        ("The Two dogs!", "2 dogs"),
        ("none", "0"),
        ("it's 10:30", "it's 10:30"),
        ("$1,000", "$1000"),
        ("1.5 U.S. dollars.", "1.5 us dollars"),
        ("Im sure he'dve", "i'm sure he'd've"),
        ("hed've couldnt've couldn'tve", "he'd've couldn't've couldn't've"),
        ("an eleven", "eleven"),
        ("left/right", "left right"),
        ("left\nright", "left right"),
        ("yall'll ow's'at", "y'all'll 'ow's'at"),
    ],
)
def test_answers_are_spelled_officially(raw: str, spelled: str) -> None:
    assert normalise_answer(raw) == spelled


def test_all_dots_go_but_32_in_the_script() -> None:
    assert strip_punctuation("." * 60) == "" and strip_punctuation("." * 60, as_published=True) == "." * 28
    assert digits_and_articles("Ive", as_published=True) == "ive"


@given(st.text(max_size=40))
def test_any_text_can_be_spelled(said: str) -> None:
    words = normalise_answer(said).split(" ")
    assert words == [""] or (all(words) and not {"a", "an", "the", "two"} & set(words))
    assert not set(";?![]{}@,") & set(strip_punctuation(said))
    assert vqa_accuracy(said, [said] * 4) == 1


def test_what_is_no_list_of_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="1 ids for 2 answers"):
        vqa_accuracy("a", ["a", "b"], ids=[1])
    for answers in ([], "yes"):
        with pytest.raises(ValueError, match="wanted a list"):
            vqa_accuracy("yes", answers)

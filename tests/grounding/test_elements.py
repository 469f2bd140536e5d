"""Laws of Qwen-VL's lists: what is joined splits into the same, and an example made of a list gives it back."""

from typing import Any

import pytest

from foveal.geometry import Box, Trace
from foveal.grounding import Example, GroundedText, Picture, Span, Turn
from foveal.grounding.wordings.elements import elements_to_example, example_to_elements, join_elements, split_elements

PICTURES = (Picture(4, 2, "a.png"), Picture(2, 4, "b.png"))
LISTS: list[list[dict[str, Any]]] = [
    [{"image": 1}, {"text": "What is this?"}],
    [{"image": 1}, {"image": 2}, {"text": "Compare."}],
    [{"image": 1}, {"text": "\nIs "}, {"ref": "the dog", "box": [(100, 200, 300, 400), (0, 0, 999, 999)]}, {"text": " here?"}],
    [{"text": "What is in "}, {"box": [(1, 2, 3, 4)]}, {"text": "?"}],
    [{"image": 1}, {"ref": "a sign", "quad": [(1, 2, 30, 4, 30, 40, 1, 40)]}, {"text": "\n"}],
    [{"text": "no picture"}],
]


@pytest.mark.parametrize("elements", LISTS, ids=range(len(LISTS)))
def test_a_list_is_an_example_and_back(elements: list[dict[str, Any]]) -> None:
    example = elements_to_example("7", elements, PICTURES)
    assert len(example.images) == sum("image" in element for element in elements)
    assert example_to_elements(example) == elements


@pytest.mark.parametrize("elements", LISTS, ids=range(len(LISTS)))
def test_a_string_is_the_example_that_its_list_is(elements: list[dict[str, Any]]) -> None:
    text = join_elements(elements)
    assert elements_to_example("7", split_elements(text), PICTURES) == elements_to_example("7", elements, PICTURES)
    assert join_elements(example_to_elements(elements_to_example("7", split_elements(text), PICTURES))) == text


def test_pictures_are_counted_and_named_by_number() -> None:
    text = join_elements([{"image": 2}, {"image": 1}, {"text": "Which?"}])
    assert text == "Picture 1:<img>2</img>\nPicture 2:<img>1</img>\nWhich?"
    assert [picture.path for picture in elements_to_example("7", split_elements(text), PICTURES).images] == ["b.png", "a.png"]


def test_tags_that_stand_in_words_are_words() -> None:
    example = elements_to_example("7", [{"text": "<box>(1,2),(3,4)</box> "}, {"ref": "<ref>x</ref>", "box": [(100, 100, 200, 200)]}])
    assert example.turns[0].said == GroundedText("<box>(1,2),(3,4)</box> <ref>x</ref>", (Span(23, 35, (Box(0.1, 0.1, 0.2, 0.2),)),))


def test_what_is_no_pair_stays_text() -> None:
    for text in ("<ref>a dog", "</img> stray end", "<box>(1,2)</box>", "<box>(1,2),(3,4),(5,6)</box>", "<quad>(1,2),(3,4)</quad>", "<box></box>"):
        assert split_elements(text) == [{"text": text}]
    assert split_elements("a<box>1</box><box>(1,2),(3,4)</box>") == [{"text": "a<box>1</box>"}, {"box": [(1, 2, 3, 4)]}]


def test_regions_are_spelled_as_places_are() -> None:
    said = GroundedText.join("Is ", Trace(((0.1, 0.1), (0.2, 0.3), (0.3, 0.1))), " red?")
    assert example_to_elements(Example("7", turns=(Turn("user", said),)))[1] == {"box": [(100, 100, 300, 300)]}
    nowhere = GroundedText("a dog", (Span(2, 5),))
    assert example_to_elements(Example("7", turns=(Turn("user", nowhere),))) == [{"text": "a dog"}]


@pytest.mark.parametrize(
    "element",
    [
        {},
        {"image": "a.png"},
        {"image": 1, "text": "a"},
        {"text": "a", "box": []},
        {"ref": "a", "mask": []},
        {"box": [(1, 2, 3)]},
        {"box": [(0.1, 0.2, 0.3, 0.4)]},
    ],
)
def test_what_is_no_element_is_refused(element: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no element|is not 4 whole numbers"):
        join_elements([element])
    with pytest.raises(ValueError, match=r"is no element|is not 4 whole numbers|shows the pictures"):
        elements_to_example("7", [element], PICTURES)


def test_lists_that_are_no_example_are_refused() -> None:
    with pytest.raises(ValueError, match="behind words"):
        elements_to_example("7", [{"text": "Is"}, {"image": 1}], PICTURES)
    with pytest.raises(ValueError, match=r"shows the pictures \[3\], and 2 were given"):
        elements_to_example("7", [{"image": 3}], PICTURES)
    for box in ((300, 200, 100, 400), (1, 2, 3, 4000)):
        with pytest.raises(ValueError, match="beyond 1000, or a box whose corners are the wrong way round"):
            elements_to_example("7", [{"box": [box]}])
    with pytest.raises(ValueError, match=r"<\|im_start\|> stands in a list"):
        split_elements("<|im_start|>user")
    with pytest.raises(ValueError, match="refers to pictures by number"):
        split_elements("<img>a.png</img>")
    with pytest.raises(ValueError, match="has 2 turns"):
        example_to_elements(Example("7", turns=(Turn("user", GroundedText("a")), Turn("assistant", GroundedText("b")))))


def test_what_is_no_element_is_refused_whatever_it_is() -> None:
    for odd in ({"box": (1, 2, 3, 4)}, {"box": 5}, {"image": 0}, {"image": True}, {"ref": 5}):
        with pytest.raises(ValueError, match="is no element of a list"):
            join_elements([odd])


def test_tags_that_never_close_cost_no_more_than_their_length() -> None:
    text = "<ref>" * 100_000 + "<box>" + "1" * 5000 + "</box>"
    assert split_elements(text) == [{"text": text}]

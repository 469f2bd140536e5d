"""Laws of conversations and questions."""

import pytest

from foveal.geometry import Box, Point
from foveal.grounding import GroundedText
from foveal.grounding.wordings import Template, render
from foveal.grounding.wordings.ferret import (
    PLAIN_CAPTION,
    PLAIN_CHAT,
    TEMPLATES,
    ask_caption,
    ask_choice,
    ask_count,
    ask_detection,
    ask_name,
    ask_names,
    ask_presence,
    ask_text,
    say_detection,
    say_locations,
    with_coordinates,
)

LEFT, RIGHT = Box(0.0, 0.1, 0.4, 0.5), Box(0.5, 0.1, 0.9, 0.5)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_an_open_conversation_is_the_beginning_of_every_answer(template: Template) -> None:
    asked = render(template, ["Who?", None])
    assert render(template, ["Who?", "Me."]).startswith(asked)
    assert render(template, ["Who?", "Me.", "Why?", None]).startswith(asked)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_an_answer_is_closed_by_what_stops_the_model(template: Template) -> None:
    assert template.stop and template.stop in template.answer_closing
    assert render(template, ["Who?", "Me."]).endswith("Me." + template.answer_closing)


@pytest.mark.parametrize("messages", [[None], ["Who?", None, "Why?"], ["Who?", "Me.", None]])
def test_only_the_last_answer_can_be_missing(messages: list[str | None]) -> None:
    with pytest.raises(ValueError, match="only the last"):
        render(PLAIN_CHAT, messages)


def test_a_small_models_conversation_is_roles_and_words() -> None:
    assert render(PLAIN_CHAT, ["<image>\nWho?", "Me."]) == "USER: <image>\nWho? ASSISTANT: Me.</s>"
    assert render(PLAIN_CAPTION, ["<image>", "a cat"]) == "<image>a cat\n"


def test_templates_are_found_by_their_name() -> None:
    assert all(template.name == name for name, template in TEMPLATES.items())


def test_questions_carry_their_regions() -> None:
    assert ask_choice(LEFT, "cat", "dog") == GroundedText.join("Is the object ", LEFT, " of the image a cat or a dog?")
    assert ask_name(Point(0.5, 0.5)).regions == (Point(0.5, 0.5),)
    assert ask_text(LEFT).text == "What does the text  say?"
    assert ask_names([LEFT, RIGHT]).regions == (LEFT, RIGHT)


def test_detected_things_come_in_reading_order() -> None:
    below = Box(0.0, 0.6, 0.1, 0.7)
    said = say_detection([("c", below), ("b", RIGHT), ("a", LEFT)])
    assert said.text == "The objects are: 1: a, 2: b, 3: c."
    assert said.regions == (LEFT, RIGHT, below)
    assert [said.text[span.start : span.end] for span in said.spans] == ["a", "b", "c"]
    higher, beside = Box(0.5, 0.1001, 0.6, 0.2), Box(0.2, 0.1009, 0.3, 0.2)
    assert say_detection([("right", higher), ("left", beside)]).regions == (beside, higher), "both begin in row 100 as they are written"


def test_phrases_keep_all_their_boxes() -> None:
    said = say_locations([("two dogs", [LEFT, RIGHT]), ("a cat", [])])
    assert said.text == "two dogs, a cat."
    assert [len(span.regions) for span in said.spans] == [2, 0]


def test_the_request_for_coordinates_follows_the_question() -> None:
    assert with_coordinates(ask_caption()).text == "Describe the image. Include the coordinates for each mentioned object."
    assert with_coordinates(ask_name(LEFT)).regions == (LEFT,)


def test_plain_questions_name_what_they_ask_for() -> None:
    assert ask_presence("cat").text == "Is there a cat in the image?"
    assert ask_count("cats").text == "How many cats are there in the image?"
    assert "raster scan order" in ask_detection().text

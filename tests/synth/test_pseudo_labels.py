"""Laws of pseudo-labels: words stay, places are those of the grounding model or of lines that were read, and nothing without one is made up."""

import random
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, Turn, tied
from foveal.grounding.wordings.ferret import COORDINATES_REQUEST
from foveal.session import Session
from foveal.synth.notes import REFUSED
from foveal.synth.nouns import groundable
from foveal.synth.pseudo_labels import things_placed, tie_texts, tie_things, writing_placed

sys.path.insert(0, str(Path(__file__).parents[1] / "session"))
from guest_models import build_guest

PICTURE = Picture(60, 44, pixels=Image.fromarray(np.random.default_rng(0).integers(0, 255, (44, 60, 3), np.uint8)))
CUP = Box(0.1, 0.1, 0.4, 0.5)


def talk(*said: str | GroundedText, **fields: object) -> Example:
    """Questions and answers in turn."""
    texts = [GroundedText(one) if isinstance(one, str) else one for one in said]
    turns = [Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]
    return Example("talk", (PICTURE,), tuple(turns), **fields)  # type: ignore[arg-type]


def phrases(said: GroundedText) -> list[str]:
    return [said.text[span.start : span.end] for span in said.spans]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A man riding a brown horse is next to the old wooden fence.", ["A man", "a brown horse", "the old wooden fence"]),
        ("There are two dogs, and some kids on a bench.", ["two dogs", "some kids", "a bench"]),
        ("The image shows the left side of a room.", ["a room"]),
        ("Yes", []),
        ("Yes, it is.", []),
        ("12", []),
        ("red", []),
        ("3 pm", []),
        ("unanswerable", []),
        ("teddy bear", ["teddy bear"]),
        ("Traffic lights.", ["Traffic lights"]),
        ("", []),
    ],
)
def test_phrases_that_may_name_a_thing_are_told_by_the_words_around_them(text: str, wanted: list[str]) -> None:
    assert [text[start:end] for start, end in groundable(text)] == wanted


def test_phrases_of_any_text_are_apart_and_in_order() -> None:
    chance = random.Random(0)
    words = ["the", "a", "dog", "red", "riding", "of", "image", ",", ".", "two", "7", "é", "\n", "this", "is", "-", "an"]
    for _ in range(400):
        text = " ".join(chance.choices(words, k=chance.randrange(14)))
        found = groundable(text)
        assert all(0 <= start < end <= len(text) for start, end in found)
        assert all(one[1] <= other[0] for one, other in pairwise(found))


def test_things_get_the_places_that_were_found_and_keep_their_own() -> None:
    own = GroundedText.join("A cup beside ", tied("a hat", Box(0.5, 0.5, 1, 1)), " and a dog; the cup is red.")
    found = tie_things(own, {"a cup": [(CUP, 0.9), (Box(0, 0, 1, 1), 0.4)], "a hat": [(CUP, 0.9)], "a dog": [], "the cup": [(CUP, None)]})
    assert found.text == own.text and phrases(found) == ["A cup", "a hat", "the cup"]
    assert [span.scores for span in found.spans] == [(0.9, 0.4), (), ()]
    assert found.spans[1] == own.spans[0] and tie_things(own, {}) == own


def test_a_grounding_model_places_what_answers_mention(tmp_path: Path) -> None:
    session = Session.open(build_guest("grounding-dino", tmp_path), "cpu")
    examples = [
        talk("What is it?", "The red cup on a hat.", "How many?", "2"),
        talk("Is it?", "Yes."),
        Example("broken", (Picture(9, 9, path="nowhere.png"),), (Turn("user", GroundedText("What?")), Turn("assistant", GroundedText("A cup.")))),
    ]
    found, plain, broken = things_placed(session, least=0.0)(iter(examples))
    said = [turn.said for turn in found.turns]
    scene = session.look(PICTURE.pixels)  # type: ignore[arg-type]
    answer = scene.ask(session.verbs.of("locations", "the red cup", "a hat"))
    assert phrases(said[1]) == ["The red cup", "a hat"][: len(said[1].spans)] and said[1].spans
    assert [region for span in answer.spans for region in span.regions] == list(said[1].regions)
    assert said[0].text == "What is it?" + COORDINATES_REQUEST and said[2].text == "How many?" and said[3].text == "2"
    assert plain == examples[1] and REFUSED in broken.facts
    (none,) = things_placed(session, least=1.0)(iter(examples[:1]))
    assert none == examples[0]
    (quiet,) = things_placed(session, least=0.0, request=False)(iter(examples[:1]))
    assert quiet.turns[0] == examples[0].turns[0] and quiet.turns[1] == found.turns[1]


def test_a_family_that_is_never_asked_for_places_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="Monkey was not trained to be asked for location"):
        list(things_placed("monkey-nano")(iter(())))


LINES = (
    Note(tied("Drink Coca Cola!", Box(0.1, 0.1, 0.5, 0.2)), "text", 0.99),
    Note(tied("ICE", Box(0.1, 0.3, 0.5, 0.4)), "text", 0.9),
    Note(tied("ice", Box(0.6, 0.3, 0.9, 0.4)), "text", 0.9),
    Note(tied("ICE COLD", Box(0.1, 0.6, 0.5, 0.7)), "text", 0.9),
    Note(tied("dropped", Box(0.1, 0.8, 0.5, 0.9)), "dropped text", 0.2),
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("coca cola.", [("coca cola", [0])]),
        ("It says “Ice-cold” and ice.", [("Ice-cold", [3]), ("ice", [1, 2])]),
        ("Nicely done", []),
        ("dropped", []),
        ("", []),
        ("cola drink", []),
    ],
)
def test_quoted_text_gets_the_places_of_its_lines(text: str, wanted: list[tuple[str, list[int]]]) -> None:
    said = tie_texts(GroundedText(text), LINES[:4])
    assert [(text[span.start : span.end], list(span.regions)) for span in said.spans] == [
        (words, [LINES[place].said.regions[0] for place in places]) for words, places in wanted
    ]


def test_answers_about_text_are_placed_and_the_rest_stays() -> None:
    asked = talk("What brand is it?", "Coca Cola", "Is it open?", "yes", notes=LINES)
    (found,) = writing_placed()(iter([asked]))
    assert [turn.said.text for turn in found.turns] == ["What brand is it?" + COORDINATES_REQUEST, "Coca Cola", "Is it open?", "yes"]
    assert found.turns[1].said.regions == LINES[0].said.regions and found.notes == LINES
    (again,) = writing_placed()(iter([found]))
    assert again == found

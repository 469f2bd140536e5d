"""In a list one thing is one thing; in running text it may be spoken of twice."""

from foveal.geometry import Box
from foveal.grounding import GroundedText, Span
from foveal.session.repeats import without_repeats


def said(*things: tuple[str, Box], numbered: bool = True) -> GroundedText:
    parts: list[str | GroundedText] = ["The objects are: "]
    for number, (name, box) in enumerate(things, 1):
        parts += [f"{number}: " if numbered else " and ", GroundedText(name, (Span(0, len(name), (box,), (0.5,)),)), ", "]
    return GroundedText.join(*parts)


HERE, NEAR, FAR = Box(0.1, 0.1, 0.5, 0.5), Box(0.1, 0.12, 0.5, 0.52), Box(0.6, 0.6, 0.9, 0.9)


def test_the_first_of_a_repeated_thing_keeps_its_place_and_the_words_stay() -> None:
    answer = said(("cat", HERE), ("cat", NEAR), ("dog", FAR))
    merged = without_repeats(answer)
    assert merged.text == answer.text
    assert merged.regions == (HERE, FAR)


def test_other_names_and_other_places_are_other_things() -> None:
    answer = said(("cat", HERE), ("dog", NEAR), ("cat", FAR))
    assert without_repeats(answer) == answer


def test_running_text_may_speak_of_a_thing_twice() -> None:
    answer = said(("cat", HERE), ("cat", NEAR), numbered=False)
    assert without_repeats(answer) == answer

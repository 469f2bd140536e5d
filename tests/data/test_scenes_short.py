"""Laws of short questions: answers are true of the drawing, texts are told as they are written, and letters lie where they are."""

import numpy as np
import pytest

from foveal.data.sources.scenes import COLOURS, SHAPE_NAMES, SceneStyle, draw_scene, vocabulary
from foveal.data.sources.scenes.short import SHORT_STYLE, SHORT_TASKS, ask_shortly, place_of, short_questions
from foveal.data.sources.scenes.stamps import COMMON_WORDS, FONTS, letter_edges
from foveal.data.sources.scenes.words import plural
from foveal.geometry import Box

WORDS = (*vocabulary(), *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPE_NAMES))
SCENES = [draw_scene(seed, "validation", SHORT_STYLE) for seed in range(12)]


def test_a_thousand_different_words_can_be_written() -> None:
    assert len(set(COMMON_WORDS)) == 1000
    assert all(word.isascii() and word.islower() and 3 <= len(word) <= 9 for word in COMMON_WORDS)


def test_short_scenes_have_the_size_and_the_texts_that_windows_want() -> None:
    for drawing in SCENES:
        assert drawing.pixels.shape == (448, 448, 3)
        for thing in drawing.things:
            if thing.kind == "text":
                assert thing.font in FONTS and thing.said is not None
                assert thing.said.isdigit() or thing.said.lower() in COMMON_WORDS
                assert 8 <= thing.box_px[3] - thing.box_px[1] <= 19


@pytest.mark.parametrize("seed", range(12))
def test_what_is_answered_is_true(seed: int) -> None:
    drawing = SCENES[seed]
    names = [thing.name for thing in drawing.things]
    labels = [f"{thing.colour} {thing.name}" for thing in drawing.things if thing.kind == "shape"]
    for question in short_questions(drawing, np.random.default_rng(seed), 20):
        ask, answer = question.ask.text, question.answer.text
        match question.task:
            case "count":
                asked = [word for word in WORDS if plural(word) in ask]
                longest = max(asked, key=len, default="")
                assert int(answer) == [*names, *labels].count(longest)
            case "present":
                asked = max((word for word in WORDS if f" {word}" in ask), key=len)
                assert answer == ("Yes" if asked in names or asked in labels else "No")
            case "caption":
                assert all(name in answer or plural(name) in answer for name in names if name != "text")
                assert not any(f" {word} " in answer for word in vocabulary() if word not in names and " " not in word)
            case "read":
                texts = sorted((thing.box_px[1] // 0.448, thing.said) for thing in drawing.things if thing.said)
                assert answer == ", ".join(str(said).lower() for _, said in texts)
            case "side":
                x0, y0, x1, y1 = (edge / 448 for edge in drawing.things[question.things[0]].box_px)
                assert answer == place_of(Box(x0, y0, x1, y1))
            case "colour":
                assert answer == drawing.things[question.things[0]].colour
            case "detailed":
                assert all(str(thing.said).lower() in answer for thing in drawing.things if thing.said)


def test_no_question_of_these_tasks_speaks_of_coordinates() -> None:
    asked = [question for seed, drawing in enumerate(SCENES) for question in short_questions(drawing, np.random.default_rng(seed), 30)]
    assert {question.task for question in asked} == set(SHORT_TASKS)
    assert not any(question.ask.spans or question.answer.spans for question in asked)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match="no task 'sing' with a short answer"):
        ask_shortly(SCENES[0], np.random.default_rng(0), "sing")


def test_letters_lie_side_by_side_and_wide_ones_are_wider() -> None:
    for font in FONTS:
        edges = letter_edges("will", font)
        assert edges[0] == 0 and edges[-1] == 1 and (np.diff(edges) > 0).all()
    assert np.diff(letter_edges("wi", "DejaVuSans.ttf"))[0] > 2 * np.diff(letter_edges("wi", "DejaVuSans.ttf"))[1]


def test_a_style_of_one_size_draws_that_size() -> None:
    assert draw_scene(1, style=SceneStyle(size=(320, 240))).pixels.shape == (240, 320, 3)

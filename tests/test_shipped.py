"""The models that ship do what their cards say: a handful of scenes that nothing was trained on, and far less than is measured on a thousand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from foveal.data.sources.scenes import Drawing, SceneStyle, draw_scene, thing_mask, vocabulary
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.sources.scenes.questions import Question, ask_about
from foveal.data.sources.scenes.short import SHORT_STYLE, ask_shortly
from foveal.data.sources.scenes.words import name_forms
from foveal.evaluate import boxes_agree, first_box, names_object, names_placed
from foveal.geometry import Mask, mask_iou
from foveal.grounding import Example, GroundedText, Picture, Turn, tied
from foveal.session import Session
from foveal.zoo import list_models

SCENES = 40
ONE_WORD = replace(SHORT_STYLE, texts=(1, 1), number_share=0.0)
pytestmark = pytest.mark.slow


def shipped(name: str) -> Session:
    if name not in list_models():
        pytest.skip(f"{name} is not in this checkout")
    return Session.open(name)


def right(session: Session, asked: Sequence[tuple[Drawing, Question | None]]) -> float:
    """The share of questions answered word for word."""
    questions = [(drawing, question) for drawing, question in asked if question]
    examples = [
        Example(drawing.id, (Picture(drawing.pixels.shape[1], drawing.pixels.shape[0], pixels=drawing.pixels),), (Turn("user", question.ask),))
        for drawing, question in questions
    ]
    said = [answer.said.text for answer in session.answer(examples)]
    return sum(text.strip() == question.answer.text for text, (_, question) in zip(said, questions, strict=True)) / len(questions)


def test_ferret_v2_nano_tells_two_names_apart_at_a_box() -> None:
    session, style = shipped("ferret-v2-nano"), SceneStyle(sides=((224, 448, 1.0),), small_share=0.0, text_share=0.0)
    drawings = [draw_scene(seed, "test", style) for seed in range(7_000_000, 7_000_000 + SCENES)]
    asked = [(drawing, ask_about(drawing, np.random.default_rng(1), "choice_box")) for drawing in drawings]
    assert right(session, asked) >= 0.8


@pytest.mark.parametrize(("task", "least"), [("read", 0.3), ("present", 0.65)])
def test_monkey_nano_reads_and_knows_what_is_there(task: str, least: float) -> None:
    session = shipped("monkey-nano")
    drawings = [draw_scene(seed, "test", ONE_WORD) for seed in range(7_000_000, 7_000_000 + SCENES)]
    asked = [(drawing, ask_shortly(drawing, np.random.default_rng(1), task)) for drawing in drawings]
    assert right(session, asked) >= least


def test_pixelllm_nano_names_places_finds_and_outlines_things() -> None:
    session = shipped("pixelllm-nano")
    style = SceneStyle(sides=((192, 256, 1.0),), things=(3, 5), relative_sizes=(0.25, 0.45), small_share=0.0, text_share=0.0)
    placed: list[bool | None] = []
    found, named, outlined = [], [], []
    for drawing in (draw_scene(seed, "test", style) for seed in range(7_000_000, 7_000_000 + SCENES // 2)):
        view, scene = view_of(drawing), session.look(drawing.pixels)
        truth = GroundedText.join(*(tied(name, box) for name, box in zip(view.names, view.boxes, strict=True)))
        placed += names_placed(scene.caption(detailed=True).said, truth, name_forms())
        alone = [thing for thing, name in enumerate(view.names) if view.names.count(name) == 1]
        named += [
            names_object(answer.text, [view.names[thing]], vocabulary())
            for thing, answer in zip(alone, scene.describe([view.boxes[thing] for thing in alone]), strict=True)
        ]
        phrases = [f"the {view.names[thing]}" for thing in alone]
        found += boxes_agree([first_box(answer.said) for answer in scene.locate(phrases)], [view.boxes[thing] for thing in alone])
        masks = [next((region for region in answer.regions if isinstance(region, Mask)), None) for answer in scene.segment(phrases)]
        outlined += [mask_iou(mask, thing_mask(drawing, thing)) if mask else 0.0 for mask, thing in zip(masks, alone, strict=True)]
    there = [verdict for verdict in placed if verdict is not None]
    assert len(there) >= SCENES and len(named) >= SCENES
    assert np.mean(there) >= 0.75 and np.mean(named) >= 0.7 and np.mean(found) >= 0.7 and np.mean(outlined) >= 0.5

"""What the template says, the notes say, and each phrase is tied to the regions of the notes whose words it has."""

from dataclasses import replace

import numpy as np
import pytest

from foveal.data.sources.scenes.words import NUMBERS
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, tied
from foveal.synth import composed_by_template, describe, standing
from foveal.synth.checks import same_words
from foveal.synth.phrases import many, the


def _spans(said: GroundedText) -> list[tuple[str, int]]:
    return [(said.text[span.start : span.end], len(span.regions)) for span in said.spans]


def test_the_whole_of_a_description(kitchen: Example) -> None:
    said = describe(standing(kitchen))
    assert said.text == ("Two cups and a kettle. There is a kettle at the bottom right and two cups at the bottom left. The text reads “TEA”.")
    assert _spans(said) == [("Two cups", 2), ("a kettle", 1), ("a kettle", 1), ("two cups", 2), ("TEA", 1)]
    assert said.spans[0].scores == (0.9, 0.8) and said.spans[1].scores == ()


def test_it_is_a_note_and_a_turn_behind_what_was_there(kitchen: Example) -> None:
    (made,) = composed_by_template()(iter([kitchen]))
    assert made.notes[:-1] == kitchen.notes and made.notes[-1].source == "description" and made.notes[-1].made_by["composer"] == "template"
    assert [turn.role for turn in made.turns] == ["user", "assistant"] and made.turns[1].said == made.notes[-1].said
    assert made.turns[0].said.text == "Generate the detailed caption in English:"
    (asked,) = composed_by_template(GroundedText("What is there?"))(iter([kitchen]))
    assert asked.turns[0].said.text == "What is there?"


def test_of_what_nothing_is_known_nothing_is_said(kitchen: Example) -> None:
    bare = replace(kitchen, notes=kitchen.notes[-2:])  # a letter that says nothing is left, and a note that was dropped
    assert next(composed_by_template()(iter([replace(bare, notes=kitchen.notes[-1:])]))) == replace(bare, notes=kitchen.notes[-1:])


def test_a_models_caption_is_said_where_the_data_has_none(kitchen: Example) -> None:
    assert describe([note for note in kitchen.notes if note.made_by]).text == "A wrong caption."


def test_a_phrase_that_may_be_any_of_several_is_tied_to_none() -> None:
    notes = [Note(GroundedText("a cup beside a hat"), "caption"), *(Note(tied("cup", Box(x, 0.1, x + 0.2, 0.3)), "object") for x in (0.1, 0.5))]
    assert _spans(describe(notes)) == [("two cups", 2)]


@pytest.mark.parametrize("seed", range(20))
def test_every_phrase_has_the_words_and_all_the_regions_of_its_notes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["cup", "a red cup", "person", "traffic lights", "bus", "potted plant"]
    notes = []
    for x, y in rng.random((int(rng.integers(1, 12)), 2)) * 0.8:
        notes.append(Note(tied(str(rng.choice(names)), Box(x, y, x + 0.15, y + 0.15)), "object", float(rng.random())))
    notes.append(Note(GroundedText(f"a {rng.choice(names)} near the {rng.choice(names)} and some buses"), "caption"))
    said = describe(notes)
    alike: dict[str, list[Note]] = {}
    for note in notes[:-1]:
        alike.setdefault(same_words(note.said.text), []).append(note)
    assert said.spans
    for span in said.spans:
        words = same_words(said.text[span.start : span.end])
        bare = words.removeprefix(f"{words.split()[0]} ") if words.split()[0] in NUMBERS else words
        kind = next(kind for kind in alike if bare in (kind, many(kind), same_words(the(kind))))
        assert set(span.regions) == {note.said.regions[0] for note in alike[kind]} and len(span.regions) == len(alike[kind])
        assert len(alike[kind]) == 1 or bare == many(kind)
    told = [span for span in said.spans if span.start > said.text.index(".")]
    assert {region for span in told for region in span.regions} == {note.said.regions[0] for note in notes[:-1]}


def test_how_two_things_lie_to_each_other_is_said_where_it_is_plain() -> None:
    notes = [Note(tied("a cup", Box(0.1, 0.1, 0.4, 0.5)), "object"), Note(tied("hat", Box(0.6, 0.1, 0.9, 0.4)), "object")]
    assert describe(notes).text == "There is a cup at the top left and a hat at the top right. The cup is left of the hat."
    notes[1] = Note(tied("hat", Box(0.2, 0.2, 0.45, 0.4)), "object")
    assert "left of" not in describe(notes).text


def test_what_is_more_than_enough_is_called_more() -> None:
    lines = [Note(tied(f"line {number}", Box(0.1, number / 40, 0.9, (number + 1) / 40)), "text") for number in range(30)]
    things = [Note(tied(f"thing {letter}", Box(0.1, 0.1, 0.2, 0.2)), "region") for letter in "abcdefghijk"]
    said = describe([*lines, *things], most_things=3, most_lines=2)
    assert said.text.endswith("The text reads “line 0”, “line 1” and more.") and "a thing c at the top left and more." in said.text

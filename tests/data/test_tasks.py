"""Laws of tasks: what is known becomes what is asked and answered, by the family's own words, and what is not known is not asked."""

from dataclasses import replace

import numpy as np
import pytest

from foveal.data.mixture import Task
from foveal.data.tasks import (
    absent,
    caption,
    converse,
    detect,
    each,
    followed_by,
    grounded,
    joined,
    locate,
    name_all,
    of_some,
    of_split,
    refer,
    relate,
    requested,
    spoken,
    zoomed,
)
from foveal.geometry import Box, Mask, Point, bounding_box, decode_mask, encode_mask
from foveal.grounding import Example, GroundedText, Note, Picture, Turn, region_limits, tied
from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.ferret import COORDINATES_REQUEST

FERRET, MONKEY, PIXEL = (VERBS[name] for name in ("ferret", "monkey", "pixel_llm"))
BITS = np.zeros((48, 64), bool)
BITS[10:30, 40:60] = True
BITS[10:20, 40:50] = False
SHAPE = encode_mask(BITS)
LEFT, RIGHT, LOW = Box(0.0, 0.1, 0.3, 0.6), Box(0.5, 0.0, 0.9, 0.5), Box(0.2, 0.7, 0.4, 0.9)
KNOWN = Example(
    "7",
    (Picture(64, 48, "a.png"),),
    notes=(
        Note(tied("dog", LOW), "object"),
        Note(tied("cat", LEFT), "object"),
        Note(tied("cat", RIGHT), "object"),
        Note(tied("moon", SHAPE), "object"),
        Note(tied("people", LOW), "crowd"),
        Note(GroundedText("A dog and two cats."), "caption"),
    ),
)
BARE = Example("8", (Picture(64, 48, "a.png"),))


def drawn(task: Task, count: int = 80, example: Example = KNOWN) -> list[Example]:
    rng = np.random.default_rng(0)
    return [made for _ in range(count) if (made := task(example, rng)) is not None]


@pytest.mark.parametrize("form", ["box", "point", "mask"])
def test_a_thing_is_pointed_at_and_named(form: str) -> None:
    found = drawn(refer(FERRET, forms={form: 1.0}))
    regions = {(made.turns[1].said.text, region) for made in found for region in made.turns[0].said.regions}
    assert {name for name, _ in regions} == {"dog", "cat", "moon"}
    for name, region in regions:
        boxes = {"dog": [LOW], "cat": [LEFT, RIGHT], "moon": [bounding_box(SHAPE)]}[name]
        if form == "point":
            assert isinstance(region, Point) and any(box.x0 <= region.x <= box.x1 and box.y0 <= region.y <= box.y1 for box in boxes)
            if name == "moon":  # on the mask, not only in its box
                assert decode_mask(SHAPE)[int(region.y * 48), int(region.x * 64)]
        else:
            assert region == SHAPE if form == "mask" and name == "moon" else region in boxes
    for made in found:
        [limit] = region_limits(made)
        expected = SHAPE if made.turns[1].said.text == "moon" else None
        assert limit == expected or (form == "point" and isinstance(limit, Box))


def test_a_name_is_located_at_all_its_things_in_reading_order() -> None:
    answers = {made.turns[1].said for made in drawn(locate(FERRET))}
    assert answers == {tied("dog", LOW), tied("cat", RIGHT, LEFT), tied("moon", bounding_box(SHAPE))}
    assert {made.turns[1].said.text for made in drawn(locate(PIXEL, several=False))} == {"dog", "moon"}
    [masked] = {made.turns[1].said.regions for made in drawn(locate(PIXEL, several=False)) if made.turns[1].said.text == "moon"}
    assert isinstance(masked[0], Mask)  # a family that outlines learns outlines


def test_everything_is_found_in_reading_order() -> None:
    [said] = {made.turns[1].said for made in drawn(detect(FERRET), 5)}
    assert said.text == "The objects are: 1: cat, 2: cat, 3: moon, 4: dog."
    assert said.regions == (RIGHT, LEFT, bounding_box(SHAPE), LOW)
    assert all(len(made.turns[1].said.regions) == 2 for made in drawn(detect(FERRET, most=2)))
    [said] = {made.turns[1].said for made in drawn(detect(PIXEL), 5)}
    assert (said.text, said.regions) == ("dog; cat; cat; moon", (LOW, LEFT, RIGHT, bounding_box(SHAPE)))  # a detector's have no order
    assert not drawn(detect(MONKEY))


def test_several_tasks_become_one_conversation_about_the_same_notes() -> None:
    whole = joined(detect(PIXEL), caption(PIXEL, source="nothing"), each(refer(PIXEL, forms={"box": 1.0}), sources=("object",), most=9))
    for made in drawn(of_some(whole, sources=("object",), most=2)):
        found, *pairs = zip(made.turns[::2], made.turns[1::2], strict=True)
        assert {region for asked, _ in pairs for region in asked.said.regions} == set(found[1].said.regions)
        assert len(pairs) == 2 and [note.source for note in made.notes].count("object") == 2 and "crowd" in {note.source for note in made.notes}
    assert not drawn(joined(caption(PIXEL, source="nothing")))


def test_a_zoomed_task_speaks_of_what_is_left_of_the_picture() -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[5:28, :19] = pixels[:24, 32:57] = (255, 0, 0)  # the two cats
    shown = replace(KNOWN, images=(Picture(64, 48, pixels=pixels),), notes=tuple(note for note in KNOWN.notes if note.said.text == "cat"))
    made = drawn(zoomed(locate(FERRET), least=0.3, flips=0.5), 200, shown)
    sizes = [(one.images[0].width, one.images[0].height) for one in made]
    assert min(width * height for width, height in sizes) < 0.4 * 64 * 48 and max(sizes)[0] > 60
    for one in made:
        height, width = one.images[0].height, one.images[0].width
        for box in one.turns[1].said.regions:
            inner = np.asarray(one.images[0].pixels)[round(box.y0 * height) : round(box.y1 * height), round(box.x0 * width) : round(box.x1 * width)]
            assert (inner[..., 0] > 0).mean() > 0.85
    parts = [zoomed(locate(FERRET), least=0.3, visible=share)(shown, np.random.default_rng(seed)) for seed in range(60) for share in (0.1, 0.9)]
    whole, most = ([len(one.turns[1].said.regions) if one else 0 for one in parts[start::2]] for start in (0, 1))
    assert sum(whole) > sum(most) > 0


def test_what_is_absent_is_said_to_be() -> None:
    assert {made.turns[1].said.text for made in drawn(absent(FERRET, ["Dog", "fox", "the owl"]))} == {
        "There is no fox in the image.",
        "There is no owl in the image.",
    }
    told = Example("9", notes=KNOWN.notes, facts={"absent": ["zebra"]})
    assert {made.turns[0].said.text for made in drawn(absent(FERRET, ["fox"]), example=told)} == {"What is the location of zebra in the image?"}
    nowhere = Note(tied("a blue bus"), "expression")
    for names, asked in ((["fox"], {"fox", "a blue bus"}), ([], {"a blue bus"})):
        made = drawn(absent(FERRET, names), example=replace(KNOWN, notes=(*KNOWN.notes, nowhere)))
        assert {one.turns[0].said.text for one in made} == {f"What is the location of {name} in the image?" for name in asked}
    assert made[0].turns[1].said.text == "There is no blue bus in the image."


def test_what_a_part_of_a_picture_shows_too_little_of_is_not_said_to_be_absent() -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    shown = replace(KNOWN, images=(Picture(64, 48, pixels=pixels),))
    made = drawn(zoomed(absent(FERRET, ["dog", "cat", "moon", "fox"]), least=0.2), 200, shown)
    assert {one.turns[0].said.text for one in made} == {"What is the location of fox in the image?"}
    assert all(set(one.facts) == set(KNOWN.facts) for one in made)


def test_a_thing_that_is_known_by_a_point_is_not_cut_to_it() -> None:
    pointed = replace(KNOWN, notes=(Note(tied("cat", Point(0.3, 0.4)), "object"),))
    for made in drawn(refer(FERRET), 20, pointed):
        assert made.turns[0].said.regions == (Point(0.3, 0.4),) and list(region_limits(made)) == [None]
    assert not drawn(refer(MONKEY), 20, pointed)  # which takes a box alone


def test_captions_answer_the_familys_request() -> None:
    for verbs in (FERRET, MONKEY, PIXEL):
        [made] = drawn(caption(verbs), 1)
        assert (made.turns[0].said, made.turns[1].said.text) == (verbs.caption, "A dog and two cats.")


def test_a_conversation_asks_each_question_once_and_keeps_its_limits() -> None:
    task = converse({refer(FERRET): 0.5, locate(FERRET): 0.4, detect(FERRET): 0.1}, 5)
    for made in drawn(task, 30):
        asked = [turn.said for turn in made.turns[::2]]
        assert 2 <= len(asked) <= 5 and len(set(asked)) == len(asked) and len(made.turns) == 2 * len(asked)
        assert len(region_limits(made)) == sum(len(said.regions) for said in asked)


@pytest.mark.parametrize("verbs", [FERRET, MONKEY, PIXEL], ids=lambda verbs: verbs.family)
def test_what_is_not_known_or_not_asked_of_a_family_gives_nothing(verbs: object) -> None:
    tasks = [refer(verbs), locate(verbs), detect(verbs), caption(verbs), converse({refer(verbs): 1.0}, 3)]  # type: ignore[arg-type]
    assert not any(drawn(task, 3, BARE) for task in tasks)
    if verbs is MONKEY:
        assert not any(drawn(task, 3) for task in (locate(MONKEY), detect(MONKEY), absent(MONKEY, ["fox"])))


@pytest.mark.parametrize("form", ["box", "point", "mask"])
def test_all_things_are_named_in_the_order_in_which_they_are_pointed_at(form: str) -> None:
    [made] = drawn(name_all(forms={form: 1.0}), 1)
    asked, answer = (turn.said for turn in made.turns)
    assert asked.text == "Please classify the objects in the following locations. 1: , 2: , 3: , 4: ."
    assert answer == GroundedText("Here are the categories: 1: cat, 2: cat, 3: moon, 4: dog.")
    whole = (RIGHT, LEFT, SHAPE, LOW)
    for region, thing, limit in zip(asked.regions, whole, region_limits(made), strict=True):
        box = bounding_box(thing)
        assert region == {"box": box, "mask": thing}.get(form, region)
        assert form != "point" or (isinstance(region, Point) and box.x0 <= region.x <= box.x1 and box.y0 <= region.y <= box.y1)
        assert limit == (SHAPE if thing == SHAPE else box if form == "point" else None)
    assert all(len(made.turns[0].said.regions) == 2 for made in drawn(name_all(most=2)))


def test_a_relation_is_asked_by_its_two_things() -> None:
    said = GroundedText.join(tied("man", LEFT), " wearing ", tied("hat", LOW))
    one = replace(BARE, notes=(Note(said, "relation"), Note(tied("man", LEFT), "object")))
    [made] = drawn(relate(lambda a, b: GroundedText.join("How is ", a, " to ", b, "?")), 1, one)
    assert made.turns[0].said.regions == (LEFT, LOW) and made.turns[1].said == GroundedText("man wearing hat")


def test_what_was_said_is_said_again_and_only_the_questions_take_a_request() -> None:
    talk = (Turn("user", GroundedText("Who?")), Turn("assistant", GroundedText("A dog.")), Turn("user", GroundedText.join("And ", LEFT, "?")))
    one = replace(BARE, turns=(*talk, Turn("assistant", GroundedText("A cat."))), facts={"split": "train"})
    assert drawn(spoken, 1, one) == [one] and not drawn(spoken, 1, replace(one, turns=talk[:1])) and not drawn(spoken, 1, BARE)
    for task, questions in (
        (followed_by(spoken, " Be brief."), ["Who? Be brief.", "And ? Be brief."]),
        (grounded(spoken), [f"{words}{COORDINATES_REQUEST}" for words in ("Who?", "And ?")]),
    ):
        [made] = drawn(task, 1, one)
        assert [turn.said.text for turn in made.turns[::2]] == questions and made.turns[1::2] == one.turns[1::2]
        assert made.turns[2].said.regions == (LEFT,)
    assert {made.turns[0].said.text for made in drawn(requested(caption(PIXEL), ["a: ", "b: "]))} == {"a: ", "b: "}
    assert drawn(of_split(spoken), 1, one) and drawn(of_split(spoken), 1, replace(one, facts={}))
    assert not drawn(of_split(spoken, "val"), 1, one)


def test_each_note_is_asked_about_by_itself_and_once() -> None:
    every = each(refer(FERRET, forms={"point": 1.0}), sources=("object",), most=9)
    [made] = drawn(every, 1)
    assert [turn.said.text for turn in made.turns[1::2]] == ["dog", "cat", "cat", "moon"]
    assert region_limits(made) == (LOW, LEFT, RIGHT, SHAPE)
    [made] = drawn(each(locate(PIXEL), sources=("object",), most=2), 1)
    assert len(made.turns) == 4 and "inside" not in made.facts
    assert not drawn(every, 1, BARE)


def test_a_thing_is_pointed_at_as_the_family_takes_it() -> None:
    assert all(isinstance(region, Box) for made in drawn(refer(MONKEY)) for region in made.turns[0].said.regions)
    with pytest.raises(ValueError, match="Monkey takes a region as box, not as point"):
        refer(MONKEY, forms={"point": 1.0})

"""Laws of the questions about drawn scenes: what is answered is so, what is asked means one thing, all words come from one list."""

import re
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from foveal.data.sources.scenes.atlas import COLOURS, SHAPE_NAMES, vocabulary
from foveal.data.sources.scenes.drawing import HELD_OUT, Drawing, SceneStyle, draw_scene
from foveal.data.sources.scenes.pointing import mask_on
from foveal.data.sources.scenes.questions import DEFAULT_TASKS, Question, ask_about, questions
from foveal.data.sources.scenes.source import scenes
from foveal.data.sources.scenes.words import ASKS, NUMBERS, WORDS, fill, pieces, plural, with_article
from foveal.geometry import Box, Mask, Point, Region, Trace, decode_mask, encode_mask
from foveal.grounding import GroundedText
from foveal.grounding.wordings import ferret

STYLE = SceneStyle(sides=((160, 260, 1.0),), things=(4, 10), repeat_share=0.7, shape_share=0.5, text_share=0.5)
DRAWINGS = [draw_scene(seed, "test", STYLE) for seed in range(30)]
ASKED = [
    (drawing, question)
    for number, drawing in enumerate(DRAWINGS)
    for task in DEFAULT_TASKS
    for repeat in range(3)
    if (question := ask_about(drawing, np.random.default_rng([number, repeat]), task)) is not None
]
SINGULAR = {plural(word): word for word in (*vocabulary(), "text", *(f"{colour} {name}" for colour in COLOURS for name in SHAPE_NAMES))}


def about(*tasks: str) -> list[tuple[Drawing, Question]]:
    found = [(drawing, question) for drawing, question in ASKED if question.task in tasks]
    assert {question.task for _, question in found} == set(tasks)
    return found


def boxes_of(drawing: Drawing) -> list[Box]:
    height, width = drawing.labels.shape
    return [Box(x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in (thing.box_px for thing in drawing.things)]


def meant(drawing: Drawing, words: str) -> list[int]:
    """The things that `words` (a name, with or without a colour) can mean, counted thing by thing."""
    return [
        index
        for index, thing in enumerate(drawing.things)
        if words == thing.name or (thing.kind == "shape" and words == f"{thing.colour} {thing.name}")
    ]


def singled_out(drawing: Drawing, phrase: str) -> list[int]:
    """All things a whole phrase can mean, by brute force and in the loosest sense: centres are compared, whatever the distance."""
    if said := re.fullmatch(r"the text (\S+)", phrase):
        return [index for index, thing in enumerate(drawing.things) if thing.said and thing.said.upper() == said[1]]
    boxes = boxes_of(drawing)
    middle = {index: ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for index, box in enumerate(boxes)}
    parts = re.fullmatch(r"the (?:(\w+est|\w+most) )?(.+?)(?: (left of|right of|above|below) the (.+))?", phrase)
    assert parts
    superlative, words, relation, anchor_words = parts.groups()
    found = meant(drawing, words)
    if superlative:
        area = {index: (boxes[index].x1 - boxes[index].x0) * (boxes[index].y1 - boxes[index].y0) for index in found}
        rank = {
            "largest": lambda index: -area[index],
            "smallest": lambda index: area[index],
            "leftmost": lambda index: middle[index][0],
            "rightmost": lambda index: -middle[index][0],
            "topmost": lambda index: middle[index][1],
            "bottommost": lambda index: -middle[index][1],
        }[superlative]
        least = min(map(rank, found))
        return [index for index in found if rank(index) <= least + 1e-3]
    if relation:
        (anchor,) = meant(drawing, anchor_words)
        axis, sign = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}[relation]
        return [index for index in found if sign * middle[index][axis] < sign * middle[anchor][axis]]
    return found


def covers_only(drawing: Drawing, region: Region, thing: int) -> bool:
    height, width = drawing.labels.shape
    seen = drawing.labels == thing + 1
    match region:
        case Box():
            return region == boxes_of(drawing)[thing]
        case Point(x, y):
            return bool(seen[int(y * height), int(x * width)])
        case Mask():
            return bool((decode_mask(region) == seen).all())
        case Trace(points):
            ends = np.array(points) * (width, height)
            way = [start + step * (end - start) for start, end in pairwise(ends) for step in np.linspace(0, 1, 30)] or [*ends]
            near = np.pad(seen, 1)
            grown = np.any([near[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0)
            on = all(seen[int(y), int(x)] for x, y in ends)
            return on and all(grown[int(y), int(x)] for x, y in way)


def test_every_task_is_asked_somewhere() -> None:
    assert {question.task for _, question in ASKED} == set(DEFAULT_TASKS)
    assert sum(DEFAULT_TASKS.values()) == pytest.approx(1)


def test_every_word_comes_from_the_closed_list() -> None:
    words = set(WORDS)
    for _, question in ASKED:
        for said in (question.ask.text, question.answer.text):
            assert set(pieces(said)) <= words
            spelled = {word for word in re.findall(r"[A-Za-z]+", said) if word.lower() not in words}
            assert all(word.isupper() for word in spelled), said


def test_the_usual_wordings_are_those_of_the_model_family() -> None:
    box = Box(0.1, 0.2, 0.3, 0.4)
    assert fill(ASKS["name"][0], region=box) == ferret.ask_name(box)
    assert fill(ASKS["choice"][0], region=box, first="cat", second="dog") == ferret.ask_choice(box, "cat", "dog")
    assert fill(ASKS["locate"][0], phrase="the cat") == ferret.ask_location("the cat")
    assert fill(ASKS["ground"][0], names="cat, dog") == ferret.ask_locations(["cat", "dog"])
    assert fill(ASKS["refer"][0], places=GroundedText.join("1: ", box)) == ferret.ask_names([box])
    assert fill(ASKS["read"][0], region=box) == ferret.ask_text(box)
    assert ASKS["detect"][0] == ferret.ask_detection().text
    assert fill(ASKS["count"][0], names="cats") == ferret.ask_count("cats")
    assert fill(ASKS["present"][0], a_name="a cat") == ferret.ask_presence("cat")
    assert ASKS["caption"][0] == ferret.ask_caption().text
    assert ASKS["caption_grounded"][0] == ferret.with_coordinates(ferret.ask_caption()).text


def test_every_place_in_an_answer_is_the_box_of_what_its_words_say() -> None:
    for drawing, question in ASKED:
        boxes = boxes_of(drawing)
        for span in question.answer.spans:
            words = re.sub(rf"^(an?|some|the|many|{'|'.join(NUMBERS)}) ", "", question.answer.text[span.start : span.end])
            if question.task == "locate":
                assert [boxes.index(region) for region in span.regions] == list(question.things)
                continue
            found = [index for index, box in enumerate(boxes) if box in span.regions]
            wanted = meant(drawing, words) or meant(drawing, SINGULAR.get(words, words))
            assert len(found) == len(span.regions)
            assert found == wanted or (question.task == "detect" and set(found) < set(wanted)), question


def test_a_located_phrase_means_one_thing_alone() -> None:
    located = about("locate")
    for drawing, question in located:
        (span,) = question.answer.spans
        phrase = question.answer.text[span.start : span.end]
        assert phrase in question.ask.text
        assert singled_out(drawing, phrase) == list(question.things), phrase
    told = " ".join(question.answer.text for _, question in located)
    assert any(word in told for word in ("largest", "smallest")) and "most" in told and ("left of" in told or "above" in told)


def test_every_region_asked_about_lies_on_its_thing() -> None:
    kinds = Counter()
    for drawing, question in ASKED:
        for thing, region in zip(question.things, question.ask.regions, strict=False):
            assert covers_only(drawing, region, thing), question
            kinds[type(region)] += 1
    assert set(kinds) == {Box, Point, Mask, Trace}


def test_a_mask_is_that_of_the_whole_raster() -> None:
    for drawing in DRAWINGS:
        for thing in range(len(drawing.things)):
            assert mask_on(drawing, thing) == encode_mask(drawing.labels == thing + 1)


def test_a_mask_at_the_edges_of_the_picture_is_that_of_the_whole_raster() -> None:
    labels = np.zeros((9, 8), np.int16)
    labels[:, 0:2] = labels[4:, 5:] = 1
    thing = type(DRAWINGS[0].things[0])("cat", "cutout", (0.0, 0.0, 8.0, 9.0), None, None)
    drawing = Drawing("", np.zeros((9, 8, 3), np.uint8), labels, (thing,), "plain red")
    assert mask_on(drawing, 0) == encode_mask(labels == 1)


def test_names_are_those_of_the_thing_pointed_at() -> None:
    for drawing, question in about("name_box", "name_point", "name_mask"):
        thing = drawing.things[question.things[0]]
        label = f"{thing.colour} {thing.name}" if thing.kind == "shape" else thing.name
        assert question.answer.text == f"{with_article(label)}."


def test_a_choice_is_between_the_name_and_one_that_is_not_in_the_picture() -> None:
    firsts = Counter()
    for drawing, question in about("choice_box", "choice_point", "choice_mask"):
        asked = re.fullmatch(r"Is the object  of the image a (.+) or a (.+)\?", question.ask.text)
        name = drawing.things[question.things[0]].name
        assert asked and name in asked.groups() and question.answer.text == f"It is a {name}."
        (other,) = set(asked.groups()) - {name}
        assert not meant(drawing, other)
        firsts[asked[1] == name] += 1
    assert min(firsts.values()) > 0.3 * sum(firsts.values())


def test_what_is_said_to_be_absent_is_not_there_and_no_held_out_pair() -> None:
    for drawing, question in about("absent"):
        (span,) = question.answer.spans
        label = question.answer.text[span.start : span.end]
        assert not span.regions and not meant(drawing, label) and label in question.ask.text
        assert tuple(label.split(" ", 1)) not in HELD_OUT


def test_all_of_one_name_are_located() -> None:
    for drawing, question in about("locate_all"):
        names = question.answer.text.removesuffix(".")
        assert len(question.answer.regions) == len(meant(drawing, SINGULAR[names])) > 1


def test_every_phrase_asked_for_is_answered_in_order() -> None:
    for drawing, question in about("ground"):
        asked = re.fullmatch(r"What are the locations of (.+)\?", question.ask.text)
        assert asked
        wanted = [f"no {label}" if not meant(drawing, label) else label for label in asked[1].split(", ")]
        assert question.answer.text == ", ".join(wanted) + "."


def test_detection_names_everything_in_raster_order() -> None:
    for drawing, question in about("detect"):
        corners = [(int(box.y0 * 1000), int(box.x0 * 1000)) for box in question.answer.regions]
        assert corners == sorted(corners)
        assert set(question.answer.regions) == set(boxes_of(drawing))
        assert re.findall(r"(\d+):", question.answer.text) == [str(number) for number in range(1, len(drawing.things) + 1)]


def test_referred_things_are_named_in_the_order_asked() -> None:
    for drawing, question in about("refer"):
        named = re.findall(r"\d+: ([a-z ]+)", question.answer.text)
        assert len(named) == len(question.things) == len(question.ask.regions)
        assert all(thing in meant(drawing, label) for thing, label in zip(question.things, named, strict=True))


def test_counts_and_presence_are_true() -> None:
    for drawing, question in about("count"):
        asked = re.search(r"(?:How many|Count the) (.+?)(?: are there.*)?[?.]", question.ask.text)
        assert asked and question.answer.text == f"{len(meant(drawing, SINGULAR[asked[1]]))}."
    for drawing, question in about("present"):
        asked = re.search(r"Is there (?:an?|some) (.+?)(?: in the image)?\?", question.ask.text)
        assert asked and question.answer.text.startswith("Yes, " if meant(drawing, asked[1]) else "No.")


def test_texts_are_read_and_colours_told() -> None:
    for drawing, question in about("read"):
        said = drawing.things[question.things[0]].said
        assert said and question.answer.text == f"It says {said.upper()}."
    for drawing, question in about("colour"):
        assert question.answer.text == f"It is {drawing.things[question.things[0]].colour}."


def test_sides_are_true() -> None:
    for drawing, question in about("where"):
        first, second = (boxes_of(drawing)[thing] for thing in question.things)
        side = question.answer.text.removeprefix("It is ").removesuffix(".")
        assert {"left": first.x1 <= second.x0, "right": first.x0 >= second.x1, "above": first.y1 <= second.y0, "below": first.y0 >= second.y1}[side]


def test_captions_with_places_are_the_captions_without() -> None:
    for drawing in DRAWINGS:
        plain, grounded = (ask_about(drawing, np.random.default_rng(0), task) for task in ("caption", "caption_grounded"))
        assert plain and grounded and plain.answer.text == grounded.answer.text and not plain.answer.spans


def test_questions_of_one_scene_differ_and_go_round_the_things() -> None:
    for drawing in DRAWINGS:
        asked = questions(drawing, np.random.default_rng(0), 8)
        assert len({question.ask for question in asked}) == len(asked) == 8
        named = sum(thing.kind != "text" for thing in drawing.things)
        pointed = questions(drawing, np.random.default_rng(0), named, {"name_box": 1.0})
        assert len({question.things for question in pointed}) == named


def test_only_tasks_with_weight_are_asked_in_their_shares() -> None:
    drawn = [
        question
        for seed in range(60)
        for question in questions(DRAWINGS[0], np.random.default_rng(seed), 4, {"locate": 3.0, "absent": 1.0, "count": 0.0})
    ]
    shares = Counter(question.task for question in drawn)
    assert set(shares) == {"locate", "absent"} and 0.6 < shares["locate"] / len(drawn) < 0.85


def test_a_task_may_be_asked_about_given_things_and_names_alone() -> None:
    drawing = DRAWINGS[0]
    thing = next(index for index, thing in enumerate(drawing.things) if thing.kind != "text")
    question = ask_about(drawing, np.random.default_rng(0), "choice_box", things=[thing], names=["zebra crossing"])
    assert question and question.things == (thing,) and "zebra crossing" in question.ask.text


def test_a_number_gives_the_same_scene_and_questions_each_time() -> None:
    first, again = (list(scenes("validation", start=3, count=3, style=STYLE)) for _ in range(2))
    assert [example.turns for example in first] == [example.turns for example in again]
    assert [example.notes for example in first] == [example.notes for example in again]
    assert first[1].turns == next(iter(scenes("validation", start=4, style=STYLE))).turns
    assert first[0].turns != next(iter(scenes("train", start=3, style=STYLE))).turns


def test_a_scene_is_an_example_whose_turns_alternate_and_whose_notes_name_all_things() -> None:
    for example in islice(scenes(style=STYLE), 3):
        (picture,) = example.images
        assert picture.pixels.shape == (picture.height, picture.width, 3)
        assert [turn.role for turn in example.turns] == ["user", "assistant"] * len(example.facts["tasks"])
        assert [note.said.text for note in example.notes] == example.facts["labels"]
        assert all(note.source == "scene" and len(note.said.regions) == 1 for note in example.notes)


def test_what_is_not_known_is_refused_with_what_is() -> None:
    with pytest.raises(ValueError, match=r"no task 'sing' .*locate"):
        ask_about(DRAWINGS[0], np.random.default_rng(0), "sing")
    with pytest.raises(ValueError, match=r"no split 'dev' .*validation"):
        next(iter(scenes("dev")))

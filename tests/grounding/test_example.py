"""Laws of the record and its JSON lines."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import foveal.grounding
from foveal.geometry import Box, Mask, Point, Region, Trace
from foveal.grounding import (
    Example,
    GroundedText,
    Note,
    Picture,
    Span,
    Turn,
    example_from_json,
    example_to_json,
    read_examples,
    region_from_json,
    region_limits,
    region_to_json,
    write_examples,
)

# beartype picks at random which item of a tuple it looks at, and hypothesis minds.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

NUMBERS = st.floats(0, 1)
REGIONS = st.one_of(
    st.builds(Point, NUMBERS, NUMBERS, st.integers(0, 1)),
    st.builds(Box, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 1)),
    st.builds(Trace, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple), st.integers(0, 1)),
    st.just(Mask(2, 3, (1, 4, 1), 1)),
)
TEXTS = st.lists(st.one_of(st.text(max_size=6), REGIONS), max_size=4).map(lambda parts: GroundedText.join(*parts))
EXAMPLES = st.builds(
    Example,
    id=st.text(max_size=4),
    images=st.just((Picture(8, 6, "/pictures/a.png"), Picture(3, 2, data=b"\x89PNG"))),
    turns=st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), TEXTS), max_size=3).map(tuple),
    notes=st.lists(st.builds(Note, TEXTS, st.text(max_size=3), st.none() | NUMBERS, st.just({"model": "x"})), max_size=2).map(tuple),
    licence=st.sampled_from(["", "CC BY 4.0"]),
    facts=st.just({}) | st.just({"synonyms": ["a", "b"], "width": 3}),
)


@given(EXAMPLES)
def test_examples_round_trip_through_json(example: Example) -> None:
    assert example_from_json(json.loads(json.dumps(example_to_json(example)))) == example


@given(st.lists(EXAMPLES, max_size=3))
def test_examples_round_trip_through_a_file(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> None:
    path = tmp_path_factory.mktemp("records") / "examples.jsonl"
    assert write_examples(path, examples) == len(examples)
    assert list(read_examples(path)) == examples


def test_scores_round_trip() -> None:
    said = GroundedText("a cup", (Span(0, 5, (Point(0.5, 0.5), Point(0.1, 0.1)), (0.5, None)),))
    example = Example("1", turns=(Turn("assistant", said),))
    assert example_from_json(example_to_json(example)) == example


def test_pictures_beside_the_file_move_with_it(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write_examples(here / "examples.jsonl", [Example("1", (Picture(2, 2, str(here / "pictures" / "a.png")),))])
    here.rename(there)
    [example] = read_examples(there / "examples.jsonl")
    assert example.images[0].path == str(there / "pictures" / "a.png")


@given(REGIONS)
def test_a_region_names_its_fractions_and_its_pixels(region: Region) -> None:
    if isinstance(region, Trace) and not region.points:
        return
    record = region_to_json(region, (640, 480))
    assert record["box_px"] == pytest.approx([value * extent for value, extent in zip(record["box"], (640, 480) * 2, strict=True)])
    assert region_from_json(json.loads(json.dumps(record))) == region


def test_pixels_are_taken_with_the_images_size() -> None:
    record = {"id": "1", "images": [{"width": 100, "height": 50, "path": "a.png"}]}
    turn = {"role": "user", "text": "?", "spans": [{"start": 0, "end": 0, "regions": [{"box_px": [10, 10, 50, 25]}, {"point_px": [50, 25]}]}]}
    example = example_from_json(record | {"turns": [turn]})
    assert example.turns[0].said.regions == (Box(0.1, 0.2, 0.5, 0.5), Point(0.5, 0.5))
    with pytest.raises(ValueError, match="width and height are not given"):
        region_from_json({"box_px": [10, 10, 50, 25]})


@pytest.mark.parametrize(
    "record, message",
    [
        ({}, "wants id"),
        ({"id": "1", "turn": []}, "wants id"),
        ({"id": "1", "turns": {}}, "a list"),
        ({"id": "1", "turns": [{"role": "system", "text": ""}]}, "'user' or 'assistant'"),
        ({"id": "1", "turns": [{"role": "user"}]}, "text is None"),
        ({"id": "1", "turns": [{"role": "user", "text": "a", "spans": [{"start": 0, "end": 5}]}]}, "behind the 1 characters"),
        ({"id": "1", "turns": [{"role": "user", "text": "a", "spans": [{"start": 0, "end": 1, "regions": [{"circle": 3}]}]}]}, "it wants one of"),
        ({"id": "1", "turns": [{"role": "user", "text": "a", "spans": [{"start": 0, "end": 1, "regions": [{"box": [1, 2]}]}]}]}, "4 numbers"),
        ({"id": "1", "images": [{"width": 3, "path": "a.png"}]}, "height"),
        ({"id": "1", "images": [{"width": 3, "height": 3}]}, "exactly one"),
        ({"id": "1", "images": [{"width": 3, "height": 3, "path": "a", "data": "aaaa"}]}, "exactly one"),
        ({"id": "1", "images": [{"width": 0, "height": 3, "path": "a"}]}, "positive"),
    ],
)
def test_records_that_are_none_are_refused_with_their_line(tmp_path: Path, record: dict, message: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"id": "0"}\n\n' + json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        list(read_examples(path))
    assert "line 3" in str(caught.value)


def test_lines_that_are_no_json_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("{\n")
    with pytest.raises(ValueError, match="line 1"):
        list(read_examples(path))


def test_a_picture_in_memory_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="in memory only"):
        example_to_json(Example("1", (Picture(2, 2, pixels=object()),)))


def test_a_region_lies_in_one_of_the_images() -> None:
    with pytest.raises(ValueError, match="region in image 1"):
        Example("1", (Picture(2, 2, "a.png"),), (Turn("user", GroundedText.join(Point(0.5, 0.5, 1))),))


def test_limits_are_as_many_as_regions() -> None:
    turns = (Turn("user", GroundedText.join(Point(0.5, 0.5), Point(0.1, 0.1))), Turn("assistant", GroundedText.join(Point(0.2, 0.2))))
    assert region_limits(Example("1", turns=turns)) == (None, None)
    assert region_limits(Example("1", turns=turns, facts={"inside": [None, {"box": [0, 0, 1, 1]}]})) == (None, Box(0.0, 0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="an entry for each of its 2 regions"):
        region_limits(Example("1", turns=turns, facts={"inside": [None]}))


def test_the_schema_knows_every_field_that_is_written() -> None:
    schema = json.loads((Path(foveal.grounding.__file__).parent / "example.schema.json").read_text())
    regions = (Point(0.5, 0.5, 1), Box(0.0, 0.0, 1.0, 1.0), Mask(2, 2, (4,)), Trace(((0.1, 0.1),)))
    said = GroundedText("ab", (Span(0, 1, regions, (0.1, None, None, None)),))
    pictures = (Picture(2, 2, "a.png"), Picture(2, 2, data=b"a"))
    example = Example("1", pictures, (Turn("user", said),), (Note(said, "caption", 0.5, {"model": "x"}),), "CC0", {"width": 3})
    _within(example_to_json(example), schema, schema["$defs"])


def _within(value: object, schema: dict, definitions: dict) -> None:
    schema = definitions[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    if isinstance(value, dict) and schema.get("additionalProperties") is False:
        assert set(value) <= set(schema["properties"]) and set(schema.get("required", [])) <= set(value)
        for name, part in value.items():
            _within(part, schema["properties"][name], definitions)
    if isinstance(value, list) and "items" in schema:
        for part in value:
            _within(part, schema["items"], definitions)

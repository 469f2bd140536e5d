"""Laws of other families' spellings of places: each is read as its authors read it, whatever a model says is read, and what is written comes back."""

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.geometry import Box, Frame, Mask, Point, Region, Trace, decode_mask
from foveal.grounding import GroundedText, Span
from foveal.grounding.formats import (
    FlorenceFormat,
    InternFormat,
    KosmosFormat,
    LocationFormat,
    MolmoFormat,
    PaliGemmaFormat,
    Qwen2Format,
    QwenJsonFormat,
)

FRAME = Frame.stretch((640, 480))
RESIZED = Frame.stretch((640, 480), (1400, 700))
FORMATS: dict[str, LocationFormat] = {
    "qwen2": Qwen2Format(),
    "qwen2.5": QwenJsonFormat(),
    "qwen3": QwenJsonFormat(1000),
    "florence": FlorenceFormat(),
    "florence-polygon": FlorenceFormat("polygon"),
    "florence-quad": FlorenceFormat("quad"),
    "kosmos": KosmosFormat(),
    "paligemma": PaliGemmaFormat(),
    "molmo": MolmoFormat(),
    "internvl": InternFormat(),
}
SPELT = [
    "<|object_ref_start|>a cup<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
    '```json\n[\n\t{"bbox_2d": [10, 20, 300, 400], "label": "a cup"},\n\t{"point_2d": [5, 6], "label": "hat"}\n]\n```',
    "cup<loc_1><loc_2><loc_30><loc_40>two hats<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>",
    "<poly><loc_1><loc_1><loc_500><loc_1><loc_500><loc_500><sep><loc_7><loc_7><loc_9><loc_7><loc_9><loc_9></poly>",
    "<grounding> A <phrase>cup</phrase><object><patch_index_0044><patch_index_0863></object>.",
    "<object><patch_index_0001><patch_index_0900></delimiter_of_multi_objects/><patch_index_0002><patch_index_0900></object>",
    "<loc0100><loc0200><loc0500><loc1000><seg001><seg127> cat ; <loc0000><loc0000><loc0512><loc0512> dog",
    'a <point x="10.5" y="20.1" alt="cup">cup</point> and <points x1="1" y1="2" x2="3.5" y2="4" alt="hats">hats</points>',
    "<ref>a cup</ref><box>[[100, 200, 300, 400], [1, 2, 3, 4]]</box>",
]
SNIPPETS = [
    *("<ref>", "</ref>", "<box>", "</box>", "[[1, 2, 3, 4]]", "[", "]", "{", "}", '{"bbox_2d": [9, 9, 1, 1]}', '{"bbox_2d": [1e999, 0, 1, NaN]}'),
    *("<phrase>", "</phrase>", "<object>", "</object>", "<patch_index_1023>", "<loc_7>", "<loc1023>", "<seg001>", "<poly>", "</poly>", "<sep>", ";"),
    *(
        '<point x="1"',
        ' y="200">',
        "</point>",
        "<points",
        '{"label": "\\ud800", "bbox_2d": [0, 0, 1, 1]}',
        "<|box_start|>(1,2),(3,4)<|box_end|>",
        "٣",
    ),
    '{"point_2d": [' + "9" * 5000 + ", 1]}",
]


def pairs(said: GroundedText) -> list[tuple[str, tuple[Region, ...]]]:
    return [(said.text[span.start : span.end], span.regions) for span in said.spans]


@pytest.mark.parametrize("name", FORMATS)
def test_each_is_a_location_format(name: str) -> None:
    assert isinstance(FORMATS[name], LocationFormat)


READ: list[tuple[str, Frame, str, str, list[tuple[str, tuple[Region, ...]]]]] = [
    ("qwen2", FRAME, "A " + SPELT[0] + ".", "A a cup.", [("a cup", (Box(0.1, 0.2, 0.3, 0.4),))]),
    ("qwen2", FRAME, "<|box_start|>(100,200),(300,400)<|box_end|>", "", [("", (Box(0.1, 0.2, 0.3, 0.4),))]),
    ("qwen2.5", RESIZED, '[{"bbox_2d": [140, 70, 700, 350], "label": "cup"}]', "cup", [("cup", (Box(0.1, 0.1, 0.5, 0.5),))]),
    (
        "qwen2.5",
        RESIZED,
        'Here:\n```json\n[\n\t{"bbox_2d": [140, 70, 700, 350], "label": "cup"},\n\t{"point_2d": [700, 350], "label": "hat"}\n]\n```',
        "Here:\ncup, hat",
        [("cup", (Box(0.1, 0.1, 0.5, 0.5),)), ("hat", (Point(0.5, 0.5),))],
    ),
    ("qwen2.5", RESIZED, '{"label": "a {b} c", "bbox_2d": [140.0, 70, 700, 350]} is it', "a {b} c is it", [("a {b} c", (Box(0.1, 0.1, 0.5, 0.5),))]),
    ("qwen2.5", RESIZED, '[{"bbox_2d": [0, 0, 1400, 700], "text_content": "STOP"}] there', "STOP there", [("STOP", (Box(0, 0, 1, 1),))]),
    ("qwen2.5", RESIZED, "```json\n[]\n```", "", []),
    ("qwen3", RESIZED, '[{"bbox_2d": [100, 100, 500, 500], "label": "cup"}]', "cup", [("cup", (Box(0.1, 0.1, 0.5, 0.5),))]),
    ("florence", FRAME, "cup<loc_0><loc_99><loc_999><loc_499>", "cup", [("cup", (Box(0.0005, 0.0995, 0.9995, 0.4995),))]),
    (
        "florence",
        FRAME,
        "cup<loc_0><loc_0><loc_9><loc_9><loc_1><loc_1><loc_2><loc_2>red hat<loc_3><loc_3><loc_4><loc_4>",
        "cup, red hat",
        [("cup", (Box(0.0005, 0.0005, 0.0095, 0.0095), Box(0.0015, 0.0015, 0.0025, 0.0025))), ("red hat", (Box(0.0035, 0.0035, 0.0045, 0.0045),))],
    ),
    ("florence", FRAME, "<loc_0><loc_0><loc_9><loc_9>", "", [("", (Box(0.0005, 0.0005, 0.0095, 0.0095),))]),
    (
        "florence-quad",
        FRAME,
        "EXIT<loc_0><loc_0><loc_9><loc_0><loc_9><loc_9><loc_0><loc_9>",
        "EXIT",
        [("EXIT", (Trace(((0.0005, 0.0005), (0.0095, 0.0005), (0.0095, 0.0095), (0.0005, 0.0095))),))],
    ),
    (
        "kosmos",
        FRAME,
        "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> by<phrase> a fire</phrase>"
        "<object><patch_index_0005><patch_index_0911></object>.",
        "An image of a snowman by a fire.",
        [(" a snowman", (Box(0.390625, 0.046875, 0.984375, 0.828125),)), (" a fire", (Box(0.171875, 0.015625, 0.484375, 0.890625),))],
    ),
    ("kosmos", FRAME, "<object><patch_index_0033><patch_index_0033></object>", "", [("", (Box(1 / 32, 1 / 32, 2 / 32, 2 / 32),))]),
    ("kosmos", FRAME, "<object><patch_index_0001><patch_index_0031></object>", "", [("", (Box(1 / 32, 0.0, 1.0, 1 / 32),))]),
    ("paligemma", FRAME, "<loc0256><loc0128><loc0768><loc0512> cat", "cat", [("cat", (Box(0.125, 0.25, 0.5, 0.75),))]),
    (
        "paligemma",
        FRAME,
        "<loc0256><loc0128><loc0768><loc0512><seg090><seg127> cat ; <loc0000><loc0000><loc0512><loc0512> dog\n",
        "cat ; dog\n",
        [("cat", (Box(0.125, 0.25, 0.5, 0.75),)), ("dog", (Box(0.0, 0.0, 0.5, 0.5),))],
    ),
    ("molmo", FRAME, 'a <point x="10.5" y="20.1" alt="cup">cup</point>', "a cup", [("cup", (Point(0.105, 0.201),))]),
    (
        "molmo",
        FRAME,
        '<points x1="10" y1="20" x2="30" y2="40.5" alt="cups">Cups</points>',
        "Cups",
        [("Cups", (Point(0.1, 0.2), Point(0.3, 0.405)))],
    ),
    ("internvl", FRAME, SPELT[8], "a cup", [("a cup", (Box(0.1, 0.2, 0.3, 0.4), Box(0.001, 0.002, 0.003, 0.004)))]),
    ("internvl", FRAME, "It is <box>[[0, 0, 1000, 1000]]</box>", "It is ", [("", (Box(0.0, 0.0, 1.0, 1.0),))]),
]


@pytest.mark.parametrize("name, frame, raw, text, wanted", READ)
def test_places_are_read_as_the_authors_read_them(
    name: str, frame: Frame, raw: str, text: str, wanted: Sequence[tuple[str, tuple[Region, ...]]]
) -> None:
    said = FORMATS[name].decode(raw, frame)
    assert said.text == text
    for (words, regions), (right, truth) in zip(pairs(said), wanted, strict=True):
        assert words == right and len(regions) == len(truth)
        for region, true in zip(regions, truth, strict=True):
            assert type(region) is type(true)
            corners = region.points if isinstance(region, Trace) else [frame.unit().to(region)]
            right_corners = true.points if isinstance(true, Trace) else [frame.unit().to(true)]
            assert [pytest.approx(corner, abs=1e-9) for corner in corners] == list(right_corners)


@pytest.mark.parametrize(
    "name, raw",
    [
        ("qwen2", "<|box_start|>(9,9),(1,1)<|box_end|>"),
        ("qwen2", "<|box_start|>(1,2),(1001,3)<|box_end|>"),
        ("qwen2", "<|object_ref_start|>a cup<|box_start|>(1,2)"),
        ("qwen2.5", '[{"bbox_2d": [10, 20, 5, 30], "label": "cup"}]'),
        ("qwen2.5", '{"bbox_2d": [0, 0, 641, 5]}'),
        ("qwen2.5", '{"bbox_2d": [0, 0, true, 5]}'),
        ("qwen2.5", '[{"bbox_2d": [1, 2, 3'),
        ("qwen3", '{"bbox_2d": [0, 0, 1001, 5]}'),
        ("florence", "cup<loc_5><loc_5><loc_1><loc_9>"),
        ("florence", "cup<loc_5><loc_5><loc_9>"),
        ("florence-polygon", "cup<loc_5><loc_5><loc_9><loc_9>"),
        ("kosmos", "<object><patch_index_0863><patch_index_0044></object>"),
        ("kosmos", "<object><patch_index_0003><patch_index_1024></object>"),
        ("kosmos", "<phrase>a cup"),
        ("paligemma", "<loc0768><loc0128><loc0256><loc0512> cat"),
        ("paligemma", "<loc0768><loc0128><loc0256> cat"),
        ("molmo", '<point x="101" y="3">cup</point>'),
        ("molmo", '<point x="10">cup</point>'),
        ("molmo", '<point x="1" y="2">cup'),
        ("internvl", "<box>[[1, 2, 3]]</box>"),
        ("internvl", "<ref>cup</ref><box>[[1, 2, 3, 4]"),
    ],
)
def test_a_place_that_is_none_stays_text(name: str, raw: str) -> None:
    said = FORMATS[name].decode(raw, FRAME)
    assert not said.regions
    assert sum(map(str.isdigit, said.text)) == sum(map(str.isdigit, raw)) and "cup" in said.text + "cup" * ("cup" not in raw)


@given(st.sampled_from(sorted(FORMATS)), st.one_of(st.text(), st.lists(st.sampled_from([*SNIPPETS, *SPELT, "a", " "]), max_size=12).map("".join)))
def test_any_string_is_read_without_error(name: str, raw: str) -> None:
    _holds(name, raw)


@given(st.sampled_from(sorted(FORMATS)), st.sampled_from(SPELT), st.integers(0, 2**32), st.integers(1, 6))
def test_spellings_with_slips_are_read_without_error(name: str, raw: str, seed: int, slips: int) -> None:
    drawn = random.Random(seed)
    for _ in range(slips):
        place = drawn.randrange(len(raw) + 1)
        raw = (
            raw[:place] + drawn.choice(["", raw[place : place + 9] * 2, drawn.choice('<>[]{}(),;"0123456789 _é')]) + raw[place + drawn.randrange(3) :]
        )
    _holds(name, raw)


def _holds(name: str, raw: str) -> None:
    heard: list[tuple[int, int]] = []

    def score(start: int, end: int) -> float:
        heard.append((start, end))
        return 0.5

    said = FORMATS[name].decode(raw, FRAME, score)
    assert said.spans == FORMATS[name].decode(raw, FRAME, score).spans and all(span.regions for span in said.spans)
    assert all(0 <= start < end <= len(raw) for start, end in heard)
    assert all(len(span.scores) == len(span.regions) for span in said.spans)
    said.text.encode()
    for region in said.regions:
        if isinstance(region, Mask):
            decode_mask(region)
        else:
            assert all(-1e-9 <= value <= 1 + 1e-9 for value in FRAME.unit().to(region))


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_what_is_written_comes_back(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int]) -> None:
    frame = Frame.stretch(size, (1204, 896))
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    first, pali, patches = (f"<loc_{x0}><loc_{y0}><loc_{x1}><loc_{y1}>", [f"<loc{one:04d}>" for one in (y0, x0, y1, x1)], [x0 % 32, y0 % 32])
    spelt = {
        "qwen2": f"two <|object_ref_start|>cups<|object_ref_end|><|box_start|>({x0},{y0}),({x1},{y1})<|box_end|><|box_start|>(0,0),(1,1)<|box_end|>.",
        "qwen2.5": f'[{{"bbox_2d": [{x0}, {y0 // 2}, {x1}, {y1 // 2}], "label": "cup"}}, {{"point_2d": [{x0}, {y1 // 2}], "label": "a hat"}}]',
        "qwen3": f'Two: {{"bbox_2d": [{x0}, {y0}, {x1}, {y1}], "label": "cup"}} and {{"point_2d": [{x0}, {y1}], "label": "a hat"}}.',
        "florence": f"cup{first}{first}, red hat{first}",
        "kosmos": f"two <phrase>cups</phrase><object><patch_index_{32 * patches[1] + patches[0]:04d}><patch_index_{1023:04d}></object>.",
        "paligemma": f"{''.join(pali)} cat ; {''.join(pali)} red dog",
        "molmo": f'a <point x="{x0 / 10}" y="{y0 / 10}" alt="cup">cup</point>, '
        f'<points x1="0.0" y1="1.5" x2="{x1 / 10}" y2="5.0" alt="hats">hats</points>.',
        "internvl": f"two <ref>cups</ref><box>[[{x0}, {y0}, {x1}, {y1}], [0, 0, 1000, 1000]]</box>.",
    }
    for name, raw in spelt.items():
        said = FORMATS[name].decode(raw, frame)
        assert len(said.regions) >= 1 and FORMATS[name].encode(said, frame) == raw, name


def test_a_box_comes_back_within_a_bin() -> None:
    said = GroundedText("a cup.", (Span(2, 5, (Box(0.213, 0.324, 0.671, 0.815),)),))
    for name, near in (
        ("qwen2", 1e-3),
        ("qwen2.5", 1 / 480),
        ("qwen3", 1e-3),
        ("florence", 1e-3),
        ("kosmos", 1 / 32),
        ("paligemma", 1e-3),
        ("internvl", 1e-3),
    ):
        [region] = FORMATS[name].decode(FORMATS[name].encode(said, FRAME), FRAME).regions
        assert FRAME.unit().to(region) == pytest.approx((0.213, 0.324, 0.671, 0.815), abs=near), name
    assert FORMATS["molmo"].decode(FORMATS["molmo"].encode(said, FRAME), FRAME).regions == (Point(0.442, 0.57),)  # y0 + y1 is 1.139


def test_scores_are_those_of_the_numbers_alone() -> None:
    heard: list[str] = []
    for name, raw in (("qwen2.5", '[{"label": "3 cups", "bbox_2d": [1, 2, 3, 4]}]'), ("florence", "3 cups<loc_1><loc_2><loc_3><loc_4>")):
        FORMATS[name].decode(raw, FRAME, lambda start, end, raw=raw: heard.append(raw[start:end]))
    assert heard == ["[1, 2, 3, 4]", "<loc_1><loc_2><loc_3><loc_4>"]


def test_questions_say_their_regions_where_they_stand() -> None:
    asked = GroundedText.join("What is ", Box(0.25, 0.25, 0.5, 0.75), "?")
    spelt = {
        "qwen2": "What is <|box_start|>(250,250),(500,750)<|box_end|>?",
        "qwen2.5": "What is [160, 120, 320, 360]?",
        "qwen3": "What is [250, 250, 500, 750]?",
        "florence": "What is <loc_250><loc_250><loc_500><loc_750>?",
        "kosmos": "What is <object><patch_index_0264><patch_index_0751></object>?",
        "paligemma": "What is <loc0256><loc0256><loc0768><loc0512>?",
        "molmo": 'What is <point x="37.5" y="50.0" alt=""></point>?',
        "internvl": "What is <box>[[250, 250, 500, 750]]</box>?",
    }
    assert {name: FORMATS[name].encode(asked, FRAME) for name in spelt} == spelt
    assert QwenJsonFormat(1000).encode(GroundedText.join("Here: ", Point(0.5, 0.1)), FRAME) == "Here: [500, 100]"


def test_outlines_are_masks_of_the_image_and_holes_of_words_are_kept() -> None:
    outline = "<loc_0><loc_0><loc_499><loc_0><loc_499><loc_999><loc_0><loc_999>"
    [mask] = FlorenceFormat("polygon").decode(outline, FRAME).regions
    assert isinstance(mask, Mask) and (mask.width, mask.height) == (640, 480)
    assert decode_mask(mask)[:, :319].mean() > 0.99 and not decode_mask(mask)[:, 321:].any()
    apart = FlorenceFormat("polygon").decode(f"cups<poly>{outline}</poly><poly>{outline}<sep>{outline}</poly>", FRAME)
    assert pairs(apart)[0][0] == "cups" and len(apart.regions) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_long_nonsense_takes_no_longer_than_its_length(name: str) -> None:
    units = [*SNIPPETS[:-1], *SPELT, "<points" + ' x1="1"', '{"a', '{"a\\"', '{"a":[', "<ref>a</ref>", "<poly><loc_1>", " ", ","]
    for unit in units:
        started = time.process_time()
        FORMATS[name].decode(unit * (15_000 // len(unit)), Frame.stretch((16, 12)))
        assert time.process_time() - started < 1, unit

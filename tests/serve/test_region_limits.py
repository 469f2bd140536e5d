"""Regions of a request: exactly one place in an image that is there, of bounded size, or a refusal."""

import tracemalloc
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusing import SENTENCE, refused

from foveal.geometry import Box, Mask, Point, Trace, decode_mask, encode_mask, mask_to_coco, points_within
from foveal.serve.limits import Limits, RefusedError, check_count, check_regions, region_from_json

# beartype picks at random which item of a tuple it looks at, and hypothesis minds.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

SIZES = [(640, 480), (12_000, 9_000)]


def test_regions_in_pixels_and_in_fractions_are_the_same() -> None:
    corners = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]
    for name, values in (("box", [0.1, 0.2, 0.5, 0.5]), ("point", [0.1, 0.2]), ("polygon", corners), ("scribble", corners)):
        pixels = [[x * 640, y * 480] for x, y in values] if isinstance(values[0], list) else [v * (640, 480)[i % 2] for i, v in enumerate(values)]
        made, same = region_from_json({name: values}, SIZES), region_from_json({f"{name}_px": pixels, "image": 0, "type": "region"}, SIZES)
        assert type(made) is type(same) and made.image == 0
        if isinstance(made, Mask):
            assert made == same and (made.width, made.height) == SIZES[0]
        else:
            assert np.allclose(numbers_of(made), numbers_of(same))
    assert region_from_json({"box": [0, 0, 1, 1], "image": 1}, SIZES) == Box(0, 0, 1, 1, 1)
    assert region_from_json({"point_px": [6000, 4500], "image": 1}, SIZES) == Point(0.5, 0.5, 1)
    mask = encode_mask(np.eye(480, 640, dtype=bool), 1)
    assert region_from_json({"mask": mask_to_coco(mask), "image": 1}, SIZES) == mask
    assert region_from_json({"mask": {"size": [480, 640], "counts": list(mask.counts)}, "image": 1}, SIZES) == mask


def numbers_of(region: Any) -> list[float]:
    return [value for pair in region.points for value in pair] if isinstance(region, Trace) else list(astuple(region))[:-1]


def test_a_polygon_on_a_large_image_is_the_same_place_on_a_smaller_raster() -> None:
    corners = [[0.1, 0.2], [0.6, 0.2], [0.6, 0.7], [0.1, 0.7]]
    made = region_from_json({"polygon": corners, "image": 1}, SIZES)
    assert isinstance(made, Mask) and (made.width, made.height) == (2048, 2048)
    points = points_within(made, SIZES[1], 512, np.random.default_rng(0))
    assert points.min(0) == pytest.approx([0.1, 0.2], abs=0.01) and points.max(0) == pytest.approx([0.6, 0.7], abs=0.01)


@pytest.mark.parametrize(
    "part",
    [
        None, [], "box", {}, {"type": "region"}, {"box": None}, {"box": [0, 0, 1, 1], "point": [0, 0]}, {"box": [0, 0, 1, 1], "box_px": [0, 0, 1, 1]},
        {"box": [0, 0, 1]}, {"box": "0,0,1,1"}, {"box": [0, 0, 1, "1"]}, {"box": [0, 0, 1, True]}, {"box": [0, 0, 1, None]},
        {"box": [[0, 0], [1, 1]]},
        {"box": [0.5, 0, 0.1, 1]}, {"box": [0, 0, 2, 1]}, {"box": [0, 0, float("nan"), 1]}, {"box": [0, 0, float("inf"), 1]},
        {"box": [0, 0, 10**400, 1]},
        {"box_px": [0, 0, 641, 480]}, {"box_px": [-1, 0, 10, 10]}, {"point": [1e308, 0]}, {"point": {"x": 1, "y": 2}}, {"point": []},
        {"box": [0, 0, 1, 1], "image": 2}, {"box": [0, 0, 1, 1], "image": -1}, {"box": [0, 0, 1, 1], "image": "0"},
        {"box": [0, 0, 1, 1], "image": True},
        {"box": [0, 0, 1, 1], "image": 10**400}, {"box": [0, 0, 1, 1], "image": 0.0}, {"box": [0, 0, 1, 1], "image": ["a" * 10**6]},
        {"polygon": []}, {"polygon": [[0, 0], [1, 1]]}, {"polygon": [0, 0, 1, 1, 1, 0]}, {"polygon": [[0, 0], [1, 1], [2, 0]]},
        {"polygon": [[0, 0], [1, 1], [0, float("nan")]]}, {"polygon": "M0 0"}, {"polygon": [[0, 0], [1, 1], [0, [1]]]},
        {"polygon_px": [[0, 0], [641, 0], [0, 9]]},
        {"scribble": []}, {"scribble": [[0]]}, {"scribble": [[0, 1, 2]]}, {"scribble_px": [[0, -5]]}, {"scribble": [{"x": 0}]}, {"mask_px": {}},
    ],
)  # fmt: skip
def test_what_is_no_region_is_refused(part: Any) -> None:
    refused(lambda: region_from_json(part, SIZES), status=400)
    refused(lambda: region_from_json(part, []), status=400)


@pytest.mark.parametrize(
    "mask",
    [
        None, "22", [], {"size": [2, 2]}, {"counts": "22"}, {"size": [2], "counts": "22"}, {"size": "22", "counts": "22"},
        {"size": [2, 2], "counts": 4},
        {"size": [2, 2], "counts": {}}, {"size": [2.0, 2.0], "counts": [2, 2]}, {"size": [True, 4], "counts": [2, 2]}, {"size": [0, 0], "counts": []},
        {"size": [-2, -2], "counts": [2, 2]}, {"size": [2, 2], "counts": [2, 3]}, {"size": [2, 2], "counts": [2, 1]}, {"size": [2, 2], "counts": []},
        {"size": [2, 2], "counts": [4]}, {"size": [2, 2], "counts": [5, -1]}, {"size": [2, 2], "counts": [2.5, 1.5]},
        {"size": [2, 2], "counts": ["2", "2"]},
        {"size": [2, 2], "counts": [None, 4]}, {"size": [2, 2], "counts": [2**62] * 4 + [4]}, {"size": [2, 2], "counts": [10**400, 4 - 10**400]},
        {"size": [2, 2], "counts": [2**63 - 1, 2**63 - 1, 6]}, {"size": [10**400, 1], "counts": [1]}, {"size": [2**31, 2**31], "counts": [2**62]},
        {"size": [100_000, 100_000], "counts": [0, 10**10]}, {"size": [2**40, 1], "counts": "0" * 9}, {"size": [2, 2], "counts": "\u00e9\u00e9"},
        {"size": [2, 2], "counts": "o" * 900_000}, {"size": [2, 2], "counts": "2 2"}, {"size": [2, 2], "counts": "22" + "P" * 20},
        {"size": [2, 2], "counts": "o" * 13 + "0"},
        {"size": [2, 2], "counts": "oooooooooooO"}, {"size": [2, 2], "counts": ""},
    ],
)  # fmt: skip
def test_a_mask_that_lies_of_its_size_is_refused_and_never_unrolled(mask: Any) -> None:
    refused(lambda: region_from_json({"mask": mask}, SIZES), most_mb=10)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_no_run_lengths_bring_another_error(counts: str, width: int, height: int) -> None:
    try:
        made = region_from_json({"mask": {"size": [height, width], "counts": counts}}, SIZES)
    except RefusedError as error:
        assert SENTENCE.fullmatch(str(error))
    else:
        assert isinstance(made, Mask) and decode_mask(made).shape == (height, width)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=5) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), values, max_size=3),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["box", "box_px", "point", "point_px", "polygon", "polygon_px", "scribble", "mask", "image", "type"]), JSON, max_size=3
    )
)
def test_no_part_brings_another_error(part: dict[str, Any]) -> None:
    try:
        region_from_json(part, SIZES[:1])
    except RefusedError as error:
        assert error.status in (400, 413) and SENTENCE.fullmatch(str(error)), str(error)


@pytest.mark.parametrize("name", ["polygon", "polygon_px", "scribble", "scribble_px"])
def test_a_million_vertices_are_refused_unread(name: str) -> None:
    points = [[0.5, 0.5]] * 1_000_000
    assert "2,048" in refused(lambda: region_from_json({name: points}, SIZES), status=413, most_mb=10)


def test_too_many_runs_are_refused() -> None:
    runs: dict[str, Any] = {"size": [64, 64], "counts": [1] * 64 * 64}
    refused(lambda: region_from_json({"mask": runs}, SIZES, Limits(runs=1000)), status=413)
    runs["counts"] = mask_to_coco(encode_mask(np.indices((64, 64)).sum(0) % 2 == 1))["counts"]
    refused(lambda: region_from_json({"mask": runs}, SIZES, Limits(runs=1000)), status=413)
    refused(lambda: region_from_json({"mask": runs | {"counts": "1" * 10_000}}, SIZES, Limits(runs=1000)), status=413)


def test_regions_and_their_points_are_counted_before_any_is_made() -> None:
    assert "2,000 regions" in refused(lambda: check_count("regions", 2000, Limits().regions), status=413)
    assert "300 regions" in refused(lambda: check_regions([{"box": [0, 0, 1, 1]}] * 300), status=413)
    assert "points" in refused(lambda: check_regions([{"polygon_px": [[0, 0]] * 2048}] * 5), status=413)
    check_regions([{"polygon": [[0, 0]] * 2048}, {"scribble": 7}, None, "a", *[{"point": [0, 0]}] * 200])


def test_the_largest_regions_that_are_taken_need_little_memory() -> None:
    zigzag = [[place / 511, float(place % 2)] for place in range(512)]
    stripes = np.zeros((4096, 4096), dtype=bool)
    stripes[:, ::300] = stripes[::300] = True
    parts = [
        {"polygon": zigzag, "image": 1},
        {"scribble": zigzag, "image": 1},
        {"mask": mask_to_coco(encode_mask(stripes)), "image": 1},
        {"mask": {"size": [9000, 12_000], "counts": [0, 9000 * 12_000]}, "image": 1},
        {"box": [0, 0, 1, 1], "image": 1},
    ]

    def draw(part: dict[str, Any]) -> None:
        region = region_from_json(part, SIZES)
        assert points_within(region, SIZES[1], 512, np.random.default_rng(0)).shape == (512, 2)

    for part in parts:
        tracemalloc.start()
        draw(part)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        assert peak < 130, f"{next(iter(part))}: {peak:.0f} MB for a picture of 108 million pixels"

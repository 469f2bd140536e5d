"""Checks mark notes and say why; what is a double is decided by a right IoU."""

import time
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.geometry import Box
from foveal.geometry.boxes import first_overlaps, iou, nms
from foveal.grounding import Example, Note, Picture, tied
from foveal.synth import deduped, is_dropped, scored_above, standing

_corner = st.floats(0, 0.9)
_box = st.tuples(_corner, _corner, st.floats(0.01, 0.5), st.floats(0.01, 0.5)).map(lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3]))


def box_note(words: str, *corners: float, source: str = "object", score: float | None = None) -> Note:
    """A note of one box."""
    return Note(tied(words, Box(*corners)), source, score)


def known(notes: list[Note]) -> Example:
    """An example with a picture that is not looked at."""
    return Example("1", (Picture(64, 48, path="/nowhere.png"),), notes=tuple(notes))


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(_box, max_size=40), st.sampled_from([0.1, 0.3, 0.6, 0.9]))
def test_first_overlaps_chooses_as_suppression_does(boxes: list[tuple[float, ...]], threshold: float) -> None:
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    found, shared = first_overlaps(array, threshold)
    strict = nms(array, -np.arange(len(array), dtype=np.float64), np.nextafter(threshold, 0))  # it drops what is above, not what is equal
    assert np.flatnonzero(found < 0).tolist() == sorted(strict.tolist())
    for row in np.flatnonzero(found >= 0):
        assert found[row] < row and found[found[row]] < 0 and iou(array[row, None], array[found[row], None])[0, 0] == shared[row] >= threshold


def _only(example: Example) -> Example:
    return next(deduped()(iter([example])))


def test_a_double_is_the_same_words_at_the_same_place_and_the_surest_stands() -> None:
    notes = [
        box_note("A red cup", 0.1, 0.1, 0.5, 0.5, score=0.5),
        box_note("red cup", 0.1, 0.1, 0.5, 0.52, score=0.9),
        box_note("blue cup", 0.1, 0.1, 0.5, 0.5, score=0.4),
        box_note("red cup", 0.6, 0.6, 0.9, 0.9, score=0.1),
    ]
    found = _only(known(notes)).notes
    assert [is_dropped(note) for note in found] == [True, False, False, False]
    assert found[0].source == "dropped object" and "note 2 again" in found[0].made_by["dropped"]
    assert (found[0].said, found[0].score) == (notes[0].said, notes[0].score)


def test_things_side_by_side_are_two_though_a_pixel_added_to_fractions_makes_them_one() -> None:
    left, right = (0.1, 0.1, 0.3, 0.9), (0.35, 0.1, 0.55, 0.9)
    width, height = min(left[2], right[2]) - max(left[0], right[0]) + 1, 0.8 + 1
    assert width * height / (2 * 1.2 * 1.8 - width * height) > 0.6  # the original's measure
    assert not any(map(is_dropped, _only(known([box_note("cup", *left), box_note("cup", *right)])).notes))


def test_what_the_data_knows_stands_before_what_a_model_is_sure_of() -> None:
    found = _only(known([box_note("cup", 0.1, 0.1, 0.5, 0.5, score=0.99), box_note("cup", 0.1, 0.1, 0.5, 0.5)]))
    assert [is_dropped(note) for note in found.notes] == [True, False]


def test_checking_twice_is_checking_once() -> None:
    rng = np.random.default_rng(0)
    notes = [box_note(str(rng.choice(["cup", "hat"])), x, y, x + 0.3, y + 0.3, score=float(rng.random())) for x, y in rng.random((60, 2)) * 0.7]
    once = _only(known(notes))
    assert _only(once) == once and 2 <= len(standing(once)) < 60
    assert [replace(note, source="object", made_by={}) for note in once.notes] == notes


def test_a_score_stands_above_that_of_its_source_and_a_note_without_one_stands() -> None:
    notes = [box_note("a", 0, 0, 1, 1, source="text", score=0.85), box_note("b", 0, 0, 1, 1, source="text", score=0.86)]
    notes += [box_note("c", 0, 0, 1, 1, source="text"), box_note("d", 0, 0, 1, 1, source="object", score=0.01)]
    (found,) = scored_above()(iter([known(notes)]))
    assert [note.source for note in found.notes] == ["dropped text", "text", "text", "object"]
    assert found.notes[0].made_by["dropped"] == "its score 0.85 is not above 0.85"


def test_ten_thousand_regions_are_gone_through_in_a_second() -> None:
    rng = np.random.default_rng(0)
    notes: list[Note] = []
    for x, y, across, down in rng.random((10_000, 4)):
        notes.append(box_note("cup", x * 0.8, y * 0.8, x * 0.8 + across * 0.2 + 1e-3, y * 0.8 + down * 0.2 + 1e-3, score=float(across)))
    start = time.process_time()
    found = _only(known(notes))
    assert time.process_time() - start < 3  # a second of a machine that does nothing else (benchmarks/descriptions.py)
    assert 3_000 < len(standing(found)) < 9_999

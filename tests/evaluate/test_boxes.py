"""Laws of judging boxes: the choice is blind to the truth, recall grows with the boxes that count, and nothing is the answer to nothing."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.evaluate.boxes import Phrase, chosen_box, generalised_figures, pair_overlaps, phrase_recall, place_error, referring_figures
from foveal.evaluate.metrics import boxes_agree, first_box
from foveal.geometry import Box, Frame
from foveal.grounding import GroundedText, Span, tied

LEFT, RIGHT, WHOLE = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0), Box(0.0, 0.0, 1.0, 1.0)
EXPRESSIONS = Path(__file__).parents[3] / "shared" / "data" / "fixtures" / "referring" / "refcocos.json.gz"

corners = st.tuples(*[st.integers(0, 8)] * 4)
boxes = corners.map(lambda four: Box(min(four[0], four[2]) / 8, min(four[1], four[3]) / 8, max(four[0], four[2]) / 8, max(four[1], four[3]) / 8))


def test_the_first_box_or_the_surest_is_judged_and_never_the_best() -> None:
    said = GroundedText("cups", (Span(0, 4, (LEFT, RIGHT, WHOLE), (0.2, 0.9, None)),))
    assert chosen_box(said) == LEFT == first_box(said) and chosen_box(said, "score") == RIGHT
    assert referring_figures([(said, WHOLE)], thresholds=[0.6]) == {"precision@0.6": 0.0, "mean_iou": 0.5}


def test_equal_scores_and_none_leave_the_first_box() -> None:
    assert chosen_box(GroundedText("cups", (Span(0, 4, (LEFT, RIGHT), (0.5, 0.5)),)), "score") == LEFT
    assert chosen_box(tied("cups", LEFT, RIGHT), "score") == LEFT
    assert chosen_box(GroundedText("cups"), "score") is None and chosen_box(GroundedText("cups")) is None


@settings(max_examples=30)
@given(st.lists(st.tuples(st.one_of(st.none(), boxes), boxes), max_size=150), st.sampled_from([0.25, 0.5, 0.75]))
def test_overlaps_of_pairs_are_those_of_each_pair(pairs: list[tuple[Box | None, Box]], threshold: float) -> None:
    predicted, truth = [box for box, _ in pairs], [box for _, box in pairs]
    assert (pair_overlaps(predicted, truth) >= threshold).tolist() == boxes_agree(predicted, truth, threshold=threshold)


@settings(max_examples=30)
@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=20))
def test_precision_falls_with_the_threshold_and_the_best_box_bounds_every_choice(pairs: list[tuple[Box, Box]]) -> None:
    answered = [(tied("it", first, WHOLE), true) for first, true in pairs]
    levels = (0.25, 0.5, 0.75)
    shares = [referring_figures(answered, thresholds=levels)[f"precision@{level:g}"] for level in levels]
    assert shares == sorted(shares, reverse=True)
    best = referring_figures(answered, as_published="best")
    for choice in ("first", "score"):
        assert all(value <= best[name] for name, value in referring_figures(answered, choice=choice).items())


def test_the_threshold_itself_counts_unless_strict() -> None:
    half = [(tied("it", LEFT), WHOLE)]
    assert referring_figures(half, thresholds=[0.5])["precision@0.5"] == 1
    assert referring_figures(half, thresholds=[0.5], strict=True)["precision@0.5"] == 0
    with pytest.raises(ValueError, match="no expressions"):
        referring_figures([])
    with pytest.raises(ValueError, match="1 predicted boxes for 0 true ones"):
        pair_overlaps([LEFT], [])


def test_published_rows_judge_the_mean_box_and_the_best() -> None:
    answered = [(tied("it", LEFT, Box(0.5, 0.0, 1.5, 1.0)), RIGHT)]  # their mean is (0.25, 0, 1, 1)
    assert referring_figures(answered)["mean_iou"] == 0
    assert referring_figures(answered, as_published="mean")["mean_iou"] == pytest.approx(2 / 3)
    assert referring_figures(answered, as_published="best")["mean_iou"] == 0.5


def test_every_thing_has_its_own_box_and_nothing_has_none() -> None:
    nothing, both = GroundedText("there is no cup"), [LEFT, RIGHT]
    cases = {"right": (tied("cups", RIGHT, LEFT), both), "one missing": (tied("cup", LEFT), both), "twice the same": (tied("cups", LEFT, LEFT), both)}
    assert {name: generalised_figures([case])["precision"] for name, case in cases.items()} == {"right": 1, "one missing": 0, "twice the same": 0}
    assert generalised_figures([(tied("cups", LEFT, RIGHT, WHOLE), both)])["precision"] == 0
    assert generalised_figures([(nothing, [])]) == {"precision": 1, "n_acc": 1}
    assert generalised_figures([(nothing, [LEFT])]) == {"precision": 0, "t_acc": 0}
    assert generalised_figures([(tied("cup", LEFT), [])]) == {"precision": 0, "n_acc": 0}


def test_boxes_below_a_score_are_not_said() -> None:
    said = GroundedText("cups", (Span(0, 4, (LEFT, RIGHT), (0.9, 0.3)),))
    assert generalised_figures([(said, [LEFT])])["precision"] == 0
    assert generalised_figures([(said, [LEFT])], above=0.7)["precision"] == 1
    assert generalised_figures([(said, [])], above=0.95) == {"precision": 1, "n_acc": 1}


@given(st.lists(boxes.filter(lambda box: box.x1 > box.x0 and box.y1 > box.y0), unique=True, max_size=4), st.randoms())
def test_the_order_of_boxes_does_not_matter(things: list[Box], random: object) -> None:
    said = list(things)
    random.shuffle(said)  # type: ignore[attr-defined]
    assert generalised_figures([(tied("them", *said), things)])["precision"] == 1


def test_expressions_of_people_with_things_that_are_absent_are_counted_apart() -> None:
    if not EXPRESSIONS.exists():
        pytest.skip(f"the expressions are not at hand: no {EXPRESSIONS}")
    records = json.loads(gzip.decompress(EXPRESSIONS.read_bytes()))
    truths = [[Frame.stretch((record["width"], record["height"])).back(record["box"])] if record["box"] else [] for record in records]
    absent = sum(not truth for truth in truths)
    perfect = [(tied(record["text"], *truth), truth) for record, truth in zip(records, truths, strict=True)]
    assert 0 < absent < len(records) and generalised_figures(perfect) == {"precision": 1, "n_acc": 1, "t_acc": 1}
    silent = generalised_figures([(GroundedText(record["text"]), truth) for record, truth in zip(records, truths, strict=True)])
    assert silent == {"precision": absent / len(records), "n_acc": 1, "t_acc": 0}
    eager = generalised_figures([(tied(record["text"], WHOLE), truth) for record, truth in zip(records, truths, strict=True)])
    large = pair_overlaps([WHOLE] * (len(records) - absent), [truth[0] for truth in truths if truth]) >= 0.5
    assert eager == {"precision": large.sum() / len(records), "n_acc": 0, "t_acc": 1}


def test_a_phrase_of_several_boxes_is_judged_by_all_or_by_any() -> None:
    phrase = Phrase("two cats", (LEFT, RIGHT), ("animals", "other"))
    answered = [(tied("Two cats", LEFT), [phrase, Phrase("a cup", (LEFT,), ("other",)), Phrase("the party", (), ("scene",))])]
    merged, either = (phrase_recall(answered, threshold=0.6, firsts=[1], protocol=protocol) for protocol in ("merged", "any"))
    assert merged == dict.fromkeys(merged, 0.0)
    assert either == {
        "recall@1": 0.5,
        "recall@1/animals": 1.0,
        "recall@1/other": 0.5,
        "upper_bound": 0.5,
        "upper_bound/animals": 1.0,
        "upper_bound/other": 0.5,
    }
    with pytest.raises(ValueError, match="no phrases with boxes"):
        phrase_recall([(GroundedText("a party"), [Phrase("the party", ())])])


def test_recall_grows_with_the_boxes_that_count() -> None:
    answered = [(tied("a cup", *[LEFT] * before, RIGHT), [Phrase("a cup", (RIGHT,))]) for before in range(8)]
    assert phrase_recall(answered, firsts=[1, 2, 5]) == {"recall@1": 1 / 8, "recall@2": 2 / 8, "recall@5": 5 / 8, "upper_bound": 1.0}


def test_places_of_words_are_measured_to_the_nearest_true_point() -> None:
    truth = np.array([[[0.0, 0.0], [1.0, 1.0]]] * 3)
    near = np.array([[[0.0, 0.2], [0.9, 1.0]]] * 3)
    assert place_error(near, truth, np.array([True, True, False])) == pytest.approx(0.075)
    assert place_error(truth, truth, np.array([True] * 3)) == 0 == place_error(near, truth, np.array([False] * 3))

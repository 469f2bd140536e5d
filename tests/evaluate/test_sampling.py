"""Laws of drawing again: intervals hold the truth as often as they say, pairs see what single intervals hide, scores mean shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.calibration import reliability_table
from foveal.evaluate.metrics import Tally, calibration_error, f1_interval, interval
from foveal.evaluate.sampling import bootstrap, paired_bootstrap


def _f1(drawn: np.ndarray) -> np.ndarray:
    right, said, there = np.moveaxis(drawn.sum(1), -1, 0)
    return 2 * right / np.maximum(1, said + there)


def test_a_mean_lies_in_its_interval_and_a_seed_gives_it_again() -> None:
    scores = np.random.default_rng(0).random(200)
    figure = bootstrap(scores)
    assert figure.value == pytest.approx(scores.mean()) and figure.count == 200
    assert figure.low < figure.value < figure.high and figure == bootstrap(scores) != bootstrap(scores, seed=1)


def test_intervals_hold_the_truth_about_95_times_of_100() -> None:
    rng = np.random.default_rng(1)
    figures = [bootstrap(rng.normal(size=80), draws=400, seed=seed) for seed in range(400)]
    assert 0.91 <= np.mean([figure.low <= 0 <= figure.high for figure in figures]) <= 0.98


def test_of_many_shares_the_interval_is_wilsons() -> None:
    figure = bootstrap(np.array([1.0] * 700 + [0.0] * 300), draws=4000)
    assert np.allclose((figure.low, figure.high), interval(700, 1000), atol=0.003)


def test_a_lower_level_is_a_narrower_interval() -> None:
    scores = np.random.default_rng(2).random(50)
    widths = [figure.high - figure.low for figure in (bootstrap(scores, level=level) for level in (0.5, 0.8, 0.95))]
    assert widths == sorted(widths) and widths[0] > 0


def test_any_statistic_of_items_has_an_interval() -> None:
    tallies = [Tally(int(n), 4, 4) for n in np.random.default_rng(3).integers(0, 5, size=80)]
    figure = bootstrap(np.array([[tally.right, tally.said, tally.there] for tally in tallies], dtype=float), _f1)
    assert figure.value == pytest.approx(sum(tallies, Tally()).f1)
    assert np.allclose((figure.low, figure.high), f1_interval(tallies), atol=0.02)
    median = bootstrap(np.arange(101.0), lambda drawn: np.median(drawn, 1))
    assert median.value == 50 and 35 < median.low < 50 < median.high < 65


def test_many_items_are_drawn_in_steps_with_one_result() -> None:
    scores = np.random.default_rng(4).random(30_000)
    figure = bootstrap(scores, draws=300)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * scores.std() / np.sqrt(len(scores)), rel=0.15)


@pytest.mark.parametrize(("values", "options"), [([], {}), ([1.0], {"level": 1.0}), ([1.0], {"level": 0.0}), ([1.0], {"draws": 0})])
def test_nothing_to_draw_is_refused(values: list[float], options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="wanted one or more of both"):
        bootstrap(np.array(values, dtype=float), **options)


def test_pairs_see_a_small_gain_that_single_intervals_hide() -> None:
    rng = np.random.default_rng(5)
    theirs = rng.random(100)
    ours = theirs + 0.02 + 0.01 * rng.normal(size=100)
    gain = paired_bootstrap(ours, theirs)
    assert 0 < gain.low < gain.value < gain.high and gain.chance < 0.01
    assert bootstrap(ours).low < bootstrap(theirs).value, "each alone says nothing"
    loss = paired_bootstrap(theirs, ours)
    assert loss.value == pytest.approx(-gain.value) and loss.high == pytest.approx(-gain.low) and loss.chance == gain.chance


def test_a_system_does_not_beat_itself() -> None:
    scores = np.random.default_rng(6).random(40)
    same = paired_bootstrap(scores, scores)
    assert (same.value, same.low, same.high, same.chance, same.count) == (0, 0, 0, 1, 40)


def test_without_a_difference_the_chance_is_below_a_twentieth_one_time_in_twenty() -> None:
    rng = np.random.default_rng(7)
    chances = [paired_bootstrap(*rng.normal(size=(2, 60)), draws=300, seed=seed).chance for seed in range(400)]
    assert 0.02 <= np.mean(np.array(chances) < 0.05) <= 0.10


def test_a_difference_of_ratios_is_of_the_same_items() -> None:
    rng = np.random.default_rng(8)
    theirs = np.stack([rng.integers(0, 4, 90), np.full(90, 4), np.full(90, 4)], 1).astype(float)
    ours = theirs + np.array([1.0, 0.0, 0.0])
    gain = paired_bootstrap(ours, theirs, _f1)
    assert gain.value == pytest.approx(0.25) and gain.low == pytest.approx(0.25) == gain.high
    with pytest.raises(ValueError, match=r"shape \(90, 3\) and \(89, 3\)"):
        paired_bootstrap(ours, theirs[1:], _f1)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.integers(1, 12))
def test_the_table_of_scores_adds_up_to_the_calibration_error(answers: list[tuple[float, bool]], bins: int) -> None:
    scores, hits = [score for score, _ in answers], [hit for _, hit in answers]
    table = reliability_table(scores, hits, bins=bins)
    assert sum(row.count for row in table) == len(answers)
    gap = sum(row.count * abs(row.confidence - row.accuracy) for row in table) / max(1, len(answers))
    assert gap == pytest.approx(calibration_error(scores, hits, bins=bins), abs=1e-9)
    assert all(row.low - 1e-9 <= row.confidence <= row.high + 1e-9 and row.count for row in table)


def test_scores_that_are_no_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted shares"):
        reliability_table([1.5], [True])
    with pytest.raises(ValueError, match="wanted as many"):
        reliability_table([0.5], [])

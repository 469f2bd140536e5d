"""Laws of the counts: everything is counted once, sizes are of what has one, and a plot is drawn or refused before the work."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from foveal.data.statistics import check_plot, count_examples, plot_counts
from foveal.geometry import Box, Mask, Point
from foveal.grounding import Example, GroundedText, Note, Picture, Turn, tied

EXAMPLES = [
    Example(
        str(number),
        (Picture(100 + number, 50, "a.png"),),
        (Turn("user", GroundedText.join("What is ", Point(0.5, 0.5), "?")), Turn("assistant", GroundedText("a cat"))),
        (
            Note(tied("cat", Box(0.0, 0.0, 0.5, 0.5)), "object"),
            Note(tied("dog" if number else "cat", Box(0.1, 0.1, 0.15, 0.15), Mask(4, 2, (8,))), "object"),
            Note(GroundedText("A cat and a dog."), "caption"),
        ),
    )
    for number in range(3)
]


def test_everything_is_counted() -> None:
    counts = count_examples(iter(EXAMPLES))
    assert {name: counts[name] for name in ("examples", "pictures", "turns", "notes")} == {"examples": 3, "pictures": 3, "turns": 6, "notes": 9}
    assert counts["notes_by_source"] == {"object": 6, "caption": 3} and counts["names"] == {"cat": 4, "dog": 2} and counts["different_names"] == 2
    assert counts["regions"] == {"box": 6, "point": 3, "mask": 3}
    assert counts["picture_widths"] == {"5%": 100.1, "50%": 101.0, "95%": 101.9} and counts["picture_heights"]["50%"] == 50.0
    assert counts["words_in_a_text"]["50%"] == 2.0


def test_points_and_empty_masks_have_no_size() -> None:
    counts = count_examples(EXAMPLES)
    assert counts["region_sides"]["95%"] == 0.5 and counts["region_sides"]["5%"] == 0.05 and counts["small_regions"] == 0.5


def test_of_nothing_there_are_counts_too(tmp_path: Path) -> None:
    counts = count_examples([])
    assert (counts["examples"], counts["region_sides"], counts["small_regions"]) == (0, {}, 0.0)
    plot_counts(counts, tmp_path / "plot.png")


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    for name in ("plot.png", "plot.svg"):
        check_plot(tmp_path / name)
        plot_counts(count_examples(EXAMPLES), tmp_path / name)
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width > 1000


def test_a_plot_that_cannot_be_saved_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"ends with one of \.png, \.svg, \.pdf"):
        check_plot(tmp_path / "plot.jsonl")
    with pytest.raises(ValueError, match="there is no folder"):
        check_plot(tmp_path / "nowhere" / "plot.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        check_plot(tmp_path / "plot.png")

"""Text is read by real models that need no network, each line a note with its box, in any number of processes the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from foveal.data.images import picture_from
from foveal.geometry import Box, bounding_box
from foveal.geometry.boxes import box_array, iou
from foveal.grounding import Example, GroundedText, Note
from foveal.synth import Step, listed_images, read_text, run_pipeline
from foveal.synth.notes import REFUSED
from foveal.synth.running import folders_of

pytest.importorskip("rapidocr", reason="pip install 'foveal[synth]' brings rapidocr")


def test_a_line_is_a_note_with_its_letters_its_place_and_its_reader(draw_page: Callable[[str, str], Path]) -> None:
    own = Note(GroundedText("a page"), "caption")
    example = Example("1", (picture_from(draw_page("a.png", "Open daily 10 to 4")),), notes=(own,))
    (found,) = read_text()(iter([example]))
    assert found.notes[0] == own and found.images == example.images
    (line,) = found.notes[1:]
    assert line.said.text == "Open daily 10 to 4" and line.source == "text" and line.score is not None and line.score > 0.85
    drawn = Box(20 / 400, 30 / 300, 250 / 400, 58 / 300)
    assert iou(box_array([bounding_box(line.said.regions[0])]), box_array([drawn]))[0, 0] > 0.5
    assert "rapidocr" in line.made_by["model"] and len(line.made_by["weights"]) == 16


def test_every_picture_of_an_example_is_read_and_a_missing_one_is_refused(draw_page: Callable[[str, str], Path]) -> None:
    pictures = tuple(picture_from(draw_page(f"{name}.png", name)) for name in ("first", "second"))
    gone = replace(pictures[0], path="/nowhere/x.png")
    found = list(read_text()(iter([Example("two", pictures), Example("gone", (gone,)), Example("none")])))
    assert [(note.said.text, note.said.regions[0].image) for note in found[0].notes] == [("first", 0), ("second", 1)]
    assert "no image file" in str(found[1].facts[REFUSED]) and found[2] == Example("none")


@pytest.mark.slow
def test_two_processes_read_what_one_reads(draw_page: Callable[[str, str], Path], tmp_path: Path) -> None:
    pages = [draw_page(f"{number}.png", f"page {number} of two") for number in range(2)]
    for name, processes in (("one", 1), ("two", 2)):
        run_pipeline([Step("text", read_text(), processes=processes)], listed_images(pages), tmp_path / name, shard=1)
    one, two = (folders_of(tmp_path / name)["text"] for name in ("one", "two"))
    assert [one.shard(number).read_bytes() for number in (0, 1)] == [two.shard(number).read_bytes() for number in (0, 1)]
    assert b"page 1 of two" in one.shard(1).read_bytes()


def test_a_picture_that_is_far_longer_than_broad_is_read_as_any_other(tmp_path: Path) -> None:
    image = Image.new("RGB", (1900, 30), "white")
    ImageDraw.Draw(image).text((20, 2), "NORTH GARDEN", fill="black", font=ImageFont.load_default(22))
    image.save(tmp_path / "line.png")
    for name, size in (("wide", (4000, 20)), ("high", (20, 4000))):
        Image.new("RGB", size, "white").save(tmp_path / f"{name}.png")
    found, *bare = read_text()(Example(name, (picture_from(tmp_path / f"{name}.png"),)) for name in ("line", "wide", "high"))
    (line,) = found.notes
    (box,) = line.said.regions
    assert line.said.text.upper().replace(" ", "") == "NORTHGARDEN" and isinstance(box, Box)
    assert box.x0 < 0.02 and 0.05 < box.x1 < 0.2 and 0 <= box.y0 < 0.5 < box.y1 <= 1
    assert not any(REFUSED in example.facts or example.notes for example in bare)

"""Pictures and examples that the tests of data generation share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, tied


def box_note(words: str, *corners: float, source: str = "object", score: float | None = None) -> Note:
    """A note of one box."""
    return Note(tied(words, Box(*corners)), source, score)


@pytest.fixture
def draw_page(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a picture of 400 x 300 with a line of letters 28 pixels high, and returns its path."""

    def draw(name: str, words: str) -> Path:
        image = Image.new("RGB", (400, 300), "white")
        ImageDraw.Draw(image).text((20, 24), words, fill="black", font=ImageFont.load_default(28))
        image.save(tmp_path / name)
        return tmp_path / name

    return draw


@pytest.fixture
def kitchen() -> Example:
    """Notes of every kind, with the data's own caption and a model's."""
    notes = (
        Note(GroundedText("a wrong caption"), "caption", made_by={"model": "captioner"}),
        Note(GroundedText("two cups and a kettle"), "caption"),
        box_note("cup", 0.0, 0.6, 0.1, 0.8, score=0.9),
        box_note("cup", 0.2, 0.6, 0.3, 0.8, score=0.8),
        box_note("kettle", 0.5, 0.5, 0.95, 0.95, source="region"),
        box_note("TEA", 0.6, 0.6, 0.7, 0.65, source="text", score=0.95),
        box_note("x", 0.1, 0.1, 0.12, 0.12, source="text", score=0.99),
        box_note("ghost", 0.3, 0.1, 0.5, 0.3, source="dropped object", score=0.2),
    )
    return Example("kitchen", (Picture(64, 48, path="/nowhere/kitchen.png"),), notes=notes)

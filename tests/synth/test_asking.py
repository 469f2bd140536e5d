"""What a session says is added as notes that tell which model said it, asked what; what the data knew stays, and a bad picture is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.data.images import picture_from
from foveal.geometry import bounding_box
from foveal.geometry.boxes import box_array
from foveal.grounding import Example, GroundedText, Note
from foveal.session import Session
from foveal.session.weights import weights_hash
from foveal.synth import captioned, regions_captioned
from foveal.synth.notes import REFUSED

OWN = Note(GroundedText("what people said"), "caption")


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Two pictures, and one between them that is cut short behind its header."""
    found = []
    for number, colour in enumerate(["red", "green", "blue"]):
        Image.effect_noise((120, 90), 60).convert("RGB").save(tmp_path / f"{colour}.png")
        picture = picture_from(tmp_path / f"{colour}.png")
        found.append(Example(str(number), (picture,), notes=(OWN,)))
    (tmp_path / "green.png").write_bytes((tmp_path / "green.png").read_bytes()[:600])
    return found


def test_a_caption_stands_beside_the_datas_own_and_a_cut_picture_is_refused(pixel_llm: Any, examples: list[Example]) -> None:
    session = Session(*pixel_llm, name="tiny")
    found = list(captioned(session, max_new_tokens=6)(iter(examples)))
    assert [example.id for example in found] == ["0", "1", "2"] and all(example.notes[0] == OWN for example in found)
    assert "damaged" in str(found[1].facts[REFUSED]) and found[1].notes == (OWN,)
    for example in (found[0], found[2]):
        (made,) = example.notes[1:]
        alone = session.look(example.images[0].path or "").caption(max_new_tokens=6).said
        assert made.source == "caption" and made.said.text == alone.text
        boxes = [box_array([bounding_box(region) for region in said.regions]) for said in (made.said, alone)]
        np.testing.assert_allclose(*boxes, atol=1e-5)
        by = dict(made.made_by)
        assert by.pop("ended", "length") == "length"
        assert by == {"model": "tiny", "weights": weights_hash(session.model)[:16], "prompt": "A photo of "}
    assert all(REFUSED not in example.facts for example in (found[0], found[2]))


def test_everything_seen_is_a_note_each_with_its_own_place_and_score(make_pixel_llm: Any, examples: list[Example]) -> None:
    detector = {"width": 8, "up": 4, "layers": 1, "groups": 2, "hidden": [6, 6], "peaks": 20, "proposals": 8, "detections": 4, "floor": 0.0}
    session = Session(*make_pixel_llm(detector=detector), name="tiny")
    (found,) = regions_captioned(session, max_new_tokens=4)(iter(examples[:1]))
    said = session.look(examples[0].images[0].path or "").dense_captions(max_new_tokens=4)
    told = [(said.text[span.start : span.end].strip(), span.regions[0], span.scores[0]) for span in said.spans]
    notes = found.notes[1:]
    assert [(note.said.text, note.said.regions[0], note.score) for note in notes] == [one for one in told if one[0]]
    assert notes and all(note.source == "region" and note.made_by["prompt"] == "everything in the picture" for note in notes)


def test_a_family_that_names_things_is_asked_for_detection(ferret: Any, examples: list[Example]) -> None:
    session = Session(*ferret, name="tiny")
    (found,) = regions_captioned(session, max_new_tokens=40)(iter(examples[:1]))
    assert {note.source for note in found.notes[1:]} <= {"object"} and REFUSED not in found.facts


def test_a_family_that_knows_neither_is_refused_before_a_picture_is_asked_for() -> None:
    with pytest.raises(ValueError, match="Monkey was not trained to be asked for dense captions"):
        next(regions_captioned("monkey-nano")(iter(())), None)

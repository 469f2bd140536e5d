"""Laws of matching: a note's score is that of its own crop and words, in a batch as alone; what is too low is marked, and nothing is lost."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, tied
from foveal.synth.checks import PUBLISHED
from foveal.synth.crops import crop
from foveal.synth.matching import LEAST, matched, matches
from foveal.synth.notes import REFUSED, is_dropped
from foveal.synth.teachers import Teacher, open_teacher

sys.path.insert(0, str(Path(__file__).parent))
from teacher_models import build_teacher

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (44, 60, 3), np.uint8))
NOTES = (
    Note(tied("a cup", Box(0.1, 0.1, 0.4, 0.6)), "region", 0.77),
    Note(tied("a long red hat", Box(0.5, 0.2, 0.9, 0.9)), "segment"),
    Note(tied("EXIT", Box(0.5, 0.2, 0.9, 0.9)), "text", 0.9),
    Note(tied("ghost", Box(0.0, 0.0, 0.9, 0.9)), "dropped region", 0.1),
    Note(GroundedText("a dog"), "region"),
)
EXAMPLE = Example("one", (Picture(60, 44, pixels=PICTURE),), notes=NOTES)


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Teacher]:
    """Opens a tiny model of a kind, once."""
    known: dict[str, Teacher] = {}

    def of(kind: str) -> Teacher:
        if kind not in known:
            folder = build_teacher(kind, tmp_path_factory.mktemp("matcher"))
            known[kind] = open_teacher(folder, "Blip2ForImageTextRetrieval", "CLIPModel", "SiglipModel")
        return known[kind]

    return of


@pytest.mark.parametrize("kind", ["matcher", "matcher of today", "clip", "siglip"])
def test_a_batch_of_pairs_scores_as_each_alone(kind: str, matcher: Callable[[str], Teacher]) -> None:
    crops = [crop(PICTURE, Box(place / 9, 0.1, place / 9 + 0.3, 0.9)) for place in range(5)]
    words = ["a cup", "a", "a long red hat beside a dog", "dog", "a cup and a hat"]
    together, alone = (matches(matcher(kind), crops, words, batch=batch) for batch in (5, 1))
    assert together == pytest.approx(alone, abs=1e-5) and len(set(together)) == 5
    assert matches(matcher(kind), crops[::-1], words, batch=5) != pytest.approx(together, abs=1e-5)


def test_weights_with_and_without_image_tokens_agree(matcher: Callable[[str], Teacher]) -> None:
    old, new = (matches(matcher(kind), [PICTURE], ["a cup"]) for kind in ("matcher", "matcher of today"))
    assert old == pytest.approx(new, abs=1e-6)


def test_the_score_is_the_chance_of_the_matching_head(matcher: Callable[[str], Teacher]) -> None:
    teacher = matcher("matcher")
    read = teacher.tokenizer(["a cup"], return_tensors="pt")
    given = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"], "pixel_values": teacher.pixels([PICTURE])}
    with torch.no_grad():
        found = teacher.model(**given, use_image_text_matching_head=True).logits_per_image.softmax(dim=1)[0, 1]
    assert matches(teacher, [PICTURE], ["a cup"]) == pytest.approx([float(found)], abs=1e-6)


@pytest.mark.parametrize("kind", ["matcher", "clip", "siglip"])
def test_notes_are_scored_in_place_and_none_is_lost(kind: str, matcher: Callable[[str], Teacher]) -> None:
    teacher = matcher(kind)
    shown = [crop(PICTURE, NOTES[0].said.regions[0]), crop(PICTURE, NOTES[1].said.regions[0]), PICTURE]
    scores = matches(teacher, shown, ["a cup", "a long red hat", "a dog"])
    (found,) = matched(teacher, {"region": (scores[0] + scores[2]) / 2})(iter([EXAMPLE]))
    assert [note.said for note in found.notes] == [note.said for note in NOTES] and found.notes[2:4] == NOTES[2:4]
    assert [found.notes[place].score for place in (0, 1, 4)] == pytest.approx(scores, abs=1e-5)
    low = 0 if scores[0] < scores[2] else 4
    assert [place for place, note in enumerate(found.notes) if is_dropped(note)] == sorted([3, low])
    assert found.notes[low].source == "dropped region" and "which is not above" in found.notes[low].made_by["dropped"]
    assert found.notes[0].made_by["score_before"] == "0.77" and "score_before" not in found.notes[1].made_by
    assert found.notes[0].made_by["matched_by"] == teacher.name and "matched_by" not in found.notes[2].made_by


def test_thresholds_are_the_published_ones_unless_others_are_given(matcher: Callable[[str], Teacher]) -> None:
    assert LEAST["blip-2"] == {"region": PUBLISHED["region"], "segment": PUBLISHED["segment"]} == {"region": 0.4, "segment": 0.5}
    for kind in ("matcher", "siglip"):
        teacher = matcher(kind)
        (found,) = matched(teacher)(iter([EXAMPLE]))
        for note in found.notes:
            least = LEAST[teacher.model.config.model_type].get(note.source.removeprefix("dropped "), -1.0)
            assert "matched_by" not in note.made_by or is_dropped(note) == (note.score is not None and note.score <= least)


def test_a_bad_picture_and_a_foreign_model_are_said_in_sentences(tmp_path: Path, matcher: Callable[[str], Teacher]) -> None:
    broken, whole = matched(matcher("clip"), {})(iter([Example("x", (Picture(3, 3, path="nowhere.png"),), notes=NOTES), EXAMPLE]))
    assert REFUSED in broken.facts and REFUSED not in whole.facts
    sam = open_teacher(build_teacher("sam", tmp_path), "SamModel", words=False)
    with pytest.raises(ValueError, match="a model of kind 'sam' compares no pictures with words; blip-2, clip, siglip do"):
        matches(sam, [PICTURE], ["a cup"])

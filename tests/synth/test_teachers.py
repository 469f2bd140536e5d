"""Laws of the teachers: their real classes at tiny sizes say the same in a batch as alone, and what they find becomes notes with places."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.geometry import Box, Mask, bounding_box
from foveal.geometry.boxes import box_array, iou
from foveal.geometry.masks import decode_mask, encode_mask, mask_iou
from foveal.grounding import Example, Note, Picture, tied
from foveal.session import Session
from foveal.synth import regions_captioned
from foveal.synth.blip import blip_captioned, said_of, segments_captioned
from foveal.synth.crops import crop
from foveal.synth.named import found_by_name
from foveal.synth.notes import REFUSED
from foveal.synth.prompted import prompted_masks
from foveal.synth.segments import Sure, automatic_masks, segmented
from foveal.synth.stage import settings_of
from foveal.synth.teachers import Teacher, open_teacher

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "session"))
from guest_models import build_guest
from teacher_models import build_teacher

ALL = Sure(side=4, at_once=3, iou=-99.0, stability=0.0, overlap=1.0)


def drawn(seed: int = 0, size: tuple[int, int] = (60, 44)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


def example(seed: int = 0, size: tuple[int, int] = (60, 44), *notes: Note) -> Example:
    return Example(f"picture {seed}", (Picture(*size, pixels=drawn(seed, size)),), notes=notes)


BROKEN = Example("broken", (Picture(8, 6, path="nowhere.png"),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a tiny teacher, made once."""
    made: dict[str, str] = {}

    def of(kind: str) -> str:
        if kind not in made:
            made[kind] = build_teacher(kind, tmp_path_factory.mktemp("teacher"))
        return made[kind]

    return of


@pytest.fixture(scope="module")
def captioner(folder: Callable[[str], str]) -> Teacher:
    return open_teacher(folder("captioner"), "Blip2ForConditionalGeneration")


@pytest.fixture(scope="module")
def sam(folder: Callable[[str], str]) -> Teacher:
    return open_teacher(folder("sam"), "SamModel", words=False)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_of_pictures_is_captioned_as_each_alone(captioner: Teacher, beams: int) -> None:
    pictures = [drawn(seed, (40 + seed, 50)) for seed in range(5)]
    together, alone = (said_of(captioner, pictures, beams=beams, max_new_tokens=6, batch=batch) for batch in (5, 1))
    assert together == alone and len(set(together)) > 1
    assert all("<" not in words for words in together)


def test_the_words_are_those_behind_the_prompt(captioner: Teacher) -> None:
    (said,) = said_of(captioner, [drawn()], beams=1, max_new_tokens=1, batch=1)
    model = captioner.model
    prompt = torch.tensor([[model.config.image_token_index] * model.config.num_query_tokens + [model.config.text_config.bos_token_id]])
    with torch.no_grad():
        likeliest = model(pixel_values=captioner.pixels([drawn()]), input_ids=prompt).logits[0, -1].argmax()
    assert said == captioner.tokenizer.decode([likeliest], skip_special_tokens=True).strip()


def test_captions_are_notes_and_a_bad_picture_hinders_no_other(folder: Callable[[str], str]) -> None:
    stage = blip_captioned(folder("captioner"), beams=1, max_new_tokens=6, batch=2)
    first, broken, last = stage(iter([example(0), BROKEN, example(1)]))
    assert [note.source for note in (*first.notes, *last.notes)] == ["caption", "caption"] and REFUSED in broken.facts
    made_by = first.notes[0].made_by
    assert made_by["model"] == folder("captioner") and len(made_by["weights"]) == 16
    assert list(stage(iter(()))) == []


def test_what_cannot_be_opened_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the teacher .* cannot be opened"):
        list(blip_captioned(str(tmp_path))(iter(())))


def test_only_the_largest_segments_are_captioned_cut_out(captioner: Teacher) -> None:
    bits = np.zeros((3, 44, 60), bool)
    bits[0, :4, :4], bits[1, 10:40, 5:50], bits[2, 20:30, 20:30] = True, True, True
    notes = [Note(tied("", encode_mask(one)), "mask", 0.9) for one in bits]
    (found,) = segments_captioned(captioner, most=2, max_new_tokens=5)(iter([example(0, (60, 44), *notes)]))
    said = found.notes[3:]
    assert [note.said.regions[0] for note in said] == [notes[1].said.regions[0], notes[2].said.regions[0]]
    crops = [crop(drawn(), note.said.regions[0], cut_out=True) for note in said]
    assert [note.said.text for note in said] == said_of(captioner, crops, beams=1, max_new_tokens=5, batch=2)
    assert all(note.source == "segment" for note in said)


def test_a_crop_is_what_lies_in_the_region_with_white_around_a_mask() -> None:
    picture = drawn(3, (20, 10))
    bits = np.zeros((10, 20), bool)
    bits[2:6, 4:10] = True
    bits[2, 4] = False
    cut, whole = (np.asarray(crop(picture, encode_mask(bits), cut_out=cut_out)) for cut_out in (True, False))
    assert cut.shape == (4, 6, 3) and (cut[0, 0] == 255).all()
    assert (cut[bits[2:6, 4:10]] == np.asarray(picture)[2:6, 4:10][bits[2:6, 4:10]]).all()
    assert (whole == np.asarray(picture)[2:6, 4:10]).all()
    coarse = encode_mask(bits[::2, ::2])
    assert crop(picture, coarse, cut_out=True).size == crop(picture, bounding_box(coarse)).size
    assert crop(picture, Box(0.5, 0.5, 0.5, 0.5)).size == (1, 1) and crop(picture, Box(1.0, 1.0, 1.0, 1.0)).size == (1, 1)
    assert crop(picture, None) is picture


def test_many_prompts_find_what_each_finds_alone(sam: Teacher) -> None:
    together, alone = (automatic_masks(sam, drawn(), replace(ALL, at_once=count)) for count in (16, 1))
    assert len(together) == len(alone) > 3
    for one, other in zip(together, alone, strict=True):
        assert abs(one.score - other.score) < 1e-4 and mask_iou(one.mask, other.mask) > 0.99


@torch.no_grad()
def test_prompts_share_the_image_and_find_what_the_library_finds(sam: Teacher) -> None:
    embedding, points = torch.randn(1, 16, 8, 8), torch.rand(7, 2) * 64
    seen = sam.model(image_embeddings=embedding, input_points=points[None, :, None], multimask_output=True)
    wanted, scores = seen.pred_masks.flatten(0, 2), seen.iou_scores.flatten()
    middle = scores.sort().values[9:11].mean()
    for least in (-99.0, float(middle)):
        masks, sure = (torch.cat(some) for some in zip(*prompted_masks(sam.model, embedding, points, 3, least), strict=True))
        torch.testing.assert_close(masks, wanted[scores > least], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(sure, scores[scores > least], atol=1e-5, rtol=1e-5)


def test_masks_are_those_of_the_library_at_the_pictures_size(sam: Teacher) -> None:
    picture = drawn(1, (50, 30))
    found = automatic_masks(sam, picture, Sure(side=1, iou=-99.0, stability=0.0, overlap=1.0))
    inputs = sam.image_processor(images=[picture], return_tensors="pt")
    with torch.no_grad():
        middle = inputs["reshaped_input_sizes"][0].flip(0) / 2
        seen = sam.model(pixel_values=inputs["pixel_values"], input_points=middle[None, None, None].float(), multimask_output=True)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    raw = sam.image_processor.post_process_masks(seen.pred_masks, *sizes, binarize=False)[0][0]
    wanted = {encode_mask((one > 0).numpy()): float((one > 1).sum() / (one > -1).sum()) for one in raw if (one > 0).any()}
    scores = dict(zip(wanted, [float(score) for one, score in zip(raw, seen.iou_scores[0, 0], strict=True) if (one > 0).any()], strict=True))
    assert {one.mask for one in found} == set(wanted)
    for one in found:
        assert one.stability == pytest.approx(wanted[one.mask], abs=1e-6) and one.score == pytest.approx(scores[one.mask], abs=1e-5)


def test_masks_are_sure_and_apart_the_largest_first(sam: Teacher) -> None:
    everything = automatic_masks(sam, drawn(), ALL)
    middle = sorted(one.score for one in everything)[len(everything) // 2]
    steady = sorted(one.stability for one in everything)[len(everything) // 4]
    some = automatic_masks(sam, drawn(), replace(ALL, iou=middle, stability=steady, overlap=0.3))
    assert 0 < len(some) < len(everything)
    assert all(one.score > middle and one.stability >= steady for one in some)
    shared = iou(*[box_array([bounding_box(one.mask) for one in some])] * 2)
    assert (shared[~np.eye(len(some), dtype=bool)] <= 0.3).all()
    sizes = [int(decode_mask(one.mask).sum()) for one in some]
    assert sizes == sorted(sizes, reverse=True)
    assert automatic_masks(sam, drawn(), replace(ALL, iou=99.0)) == []


def test_a_mask_has_no_more_pixels_than_the_view(sam: Teacher) -> None:
    found, broken = segmented(sam, ALL, most=2)(iter([example(2, (300, 200)), BROKEN]))
    assert len(found.notes) == 2 and REFUSED in broken.facts
    for note in found.notes:
        (region,) = note.said.regions
        assert isinstance(region, Mask) and (region.width, region.height) == (64, 43) and note.source == "mask" and not note.said.text
    with pytest.raises(ValueError, match="at least 1"):
        Sure(side=0)


def test_florence_gives_regions_with_words_through_its_guest(tmp_path: Path) -> None:
    session = Session.open(build_guest("florence2", tmp_path), "cpu")
    (found,) = regions_captioned(session, max_new_tokens=12)(iter([example()]))
    assert REFUSED not in found.facts and all(note.source == "region" for note in found.notes)
    assert settings_of(regions_captioned(session))["session"] == str(tmp_path)


def test_names_are_looked_for_many_in_a_question(tmp_path: Path) -> None:
    session = Session.open(build_guest("grounding-dino", tmp_path), "cpu")
    names = ("cup", "hat", "the red cup")
    stage = found_by_name(session, names, least=0.0, at_once=2)
    one, other = stage(iter([example(0), example(1)]))
    for found, seed in ((one, 0), (other, 1)):
        scene = session.look(drawn(seed))
        asked = [session.verbs.of("locations", *names[:2]), session.verbs.of("locations", *names[2:])]
        wanted = [
            (answer.text[span.start : span.end], region) for answer in map(scene.ask, asked) for span in answer.spans for region in span.regions
        ]
        assert [note.said.text for note in found.notes] == [name for name, _ in wanted] and wanted
        got = box_array([bounding_box(note.said.regions[0]) for note in found.notes])
        assert np.abs(got - box_array([bounding_box(region) for _, region in wanted])).max() < 1e-4
        assert all(note.source == "object" and note.score is not None and note.said.text in names for note in found.notes)
    least = sorted(note.score or 0.0 for note in one.notes)[-1]
    (few,) = found_by_name(session, names, least=least, at_once=2)(iter([example(0)]))
    assert len(few.notes) < len(one.notes) and few.notes
    with pytest.raises(ValueError, match="at least 1"):
        found_by_name(session, ())

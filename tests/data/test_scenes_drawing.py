"""What holds for every scene that is drawn: it repeats, its boxes and labels agree, and no thing is lost under another."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.sources.scenes import COLOURS, CUTOUT_NAMES, HELD_OUT, SHAPE_NAMES, Drawing, SceneStyle, cutout, draw_scene, thing_mask, vocabulary
from foveal.data.sources.scenes.atlas import ASSETS
from foveal.data.sources.scenes.canvas import LEAST_VISIBLE, Canvas
from foveal.data.sources.scenes.grounds import draw_ground
from foveal.data.sources.scenes.stamps import FONTS, SHORTEST_SIDE, WORDS, contrast, cutout_stamp, shape_stamp, text_stamp
from foveal.geometry import bounding_box, decode_mask


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return [draw_scene(seed, ("train", "validation", "test")[seed % 3]) for seed in range(60)]


def test_the_same_numbers_give_the_same_scene() -> None:
    first, again = draw_scene(11, "test"), draw_scene(11, "test")
    assert first.things == again.things and first.ground == again.ground and first.id == again.id == "test-11"
    assert np.array_equal(first.pixels, again.pixels) and np.array_equal(first.labels, again.labels)


def test_splits_and_seeds_share_no_scene() -> None:
    scenes = [draw_scene(seed, split) for split in ("train", "validation", "test") for seed in range(8)]
    assert len({scene.pixels.tobytes() for scene in scenes}) == len({scene.id for scene in scenes}) == 24


def test_a_box_holds_the_visible_pixels_tightly(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        assert set(np.unique(drawing.labels)) - {0} == set(range(1, len(drawing.things) + 1))
        for label, thing in enumerate(drawing.things, start=1):
            rows, cols = np.nonzero(drawing.labels == label)
            assert thing.box_px == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)


def test_sizes_and_counts_keep_to_the_style(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        height, width, _ = drawing.pixels.shape
        assert min(width, height) >= 224 and max(width, height) <= 1344 and max(width, height) <= 2 * min(width, height)
        assert 3 <= len(drawing.things) <= 9
        for thing in drawing.things:
            sides = (thing.box_px[2] - thing.box_px[0], thing.box_px[3] - thing.box_px[1])
            assert min(sides) >= SHORTEST_SIDE
            assert thing.kind == "text" or max(sides) <= 201


def test_things_say_what_their_kind_has_to_say(drawings: list[Drawing]) -> None:
    for thing in (thing for drawing in drawings for thing in drawing.things):
        match thing.kind:
            case "text":
                assert thing.name == "text" and thing.colour in COLOURS
                assert str(thing.said).isdigit() or str(thing.said).lower() in WORDS
            case "shape":
                assert thing.name in SHAPE_NAMES and thing.colour in COLOURS and thing.said is None
            case "cutout":
                assert thing.name in vocabulary() and thing.colour is None and thing.said is None


def test_the_mixture_has_texts_repeats_small_things_and_every_ground(drawings: list[Drawing]) -> None:
    names = [Counter(thing.name for thing in drawing.things if thing.kind != "text") for drawing in drawings]
    assert 0.1 < np.mean([max(counts.values()) > 1 for counts in names]) < 0.45
    assert 0.2 < np.mean([any(thing.kind == "text" for thing in drawing.things) for drawing in drawings]) < 0.55
    assert {drawing.ground.split()[0] for drawing in drawings} == {"plain", "gradient", "texture"}
    assert {drawing.ground.split()[1] for drawing in drawings} <= {*COLOURS, "grey"}


def test_held_out_pairs_are_met_in_the_test_split_alone() -> None:
    assert len(HELD_OUT) == round(0.1 * len(COLOURS) * len(SHAPE_NAMES))
    style = SceneStyle(names=SHAPE_NAMES, sides=((224, 256, 1.0),), text_share=0.0)
    met = {
        split: {(thing.colour, thing.name) for seed in range(40) for thing in draw_scene(seed, split, style).things} for split in ("train", "test")
    }
    assert not met["train"] & HELD_OUT
    assert met["test"] & HELD_OUT


def test_shapes_and_texts_stand_out_from_their_ground(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        for label, thing in enumerate(drawing.things, start=1):
            if thing.kind == "shape":
                x0, y0, x1, y1 = (int(value) for value in thing.box_px)
                around = drawing.labels[max(0, y0 - 4) : y1 + 4, max(0, x0 - 4) : x1 + 4]
                pixels = drawing.pixels[max(0, y0 - 4) : y1 + 4, max(0, x0 - 4) : x1 + 4]
                if (around == 0).any():
                    inside, outside = (tuple(int(value) for value in np.median(pixels[around == number], axis=0)) for number in (label, 0))
                    assert contrast(inside, outside) > 90, (drawing.id, thing)


def test_no_thing_hides_too_much_of_another() -> None:
    canvas = Canvas(Image.new("RGB", (100, 100)))
    block = Image.new("RGBA", (40, 40), "red")
    assert canvas.lay(block, 10, 10, apart=False)
    assert not canvas.lay(block, 20, 12, apart=False)
    assert canvas.lay(block, 40, 10, apart=False)
    assert (canvas.labels == 1).sum() == 1200 >= LEAST_VISIBLE * 1600 and canvas.box(1) == (10, 10, 40, 50)
    assert not canvas.lay(block, 10, 38, apart=False), "two coverings may not add up to too much"


def test_nothing_lies_under_or_over_a_text() -> None:
    canvas = Canvas(Image.new("RGB", (100, 100)))
    block = Image.new("RGBA", (30, 30), "red")
    assert canvas.lay(block, 10, 10, apart=True)
    assert not canvas.lay(block, 35, 35, apart=False)
    assert canvas.lay(block, 50, 50, apart=False)
    assert not canvas.lay(block, 25, 70, apart=True) or not (canvas.labels[68:, 23:57] == 2).any()


def test_a_mask_is_where_the_thing_is_seen(drawings: list[Drawing]) -> None:
    drawing = drawings[0]
    height, width = drawing.labels.shape
    for index, thing in enumerate(drawing.things):
        mask = thing_mask(drawing, index)
        assert np.array_equal(decode_mask(mask), drawing.labels == index + 1)
        box = bounding_box(mask)
        assert np.allclose([box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height], thing.box_px)


def test_cut_outs_have_names_that_differ_and_pictures_that_fill_their_box() -> None:
    assert 250 <= len(set(CUTOUT_NAMES)) == len(CUTOUT_NAMES) <= 320 and not set(CUTOUT_NAMES) & set(SHAPE_NAMES)
    for name in CUTOUT_NAMES:
        picture = cutout(name)
        assert max(picture.shape) <= 108 and picture[..., 3].max() > 200
        assert picture[0, :, 3].any() and picture[-1, :, 3].any() and picture[:, 0, 3].any() and picture[:, -1, 3].any()


def test_a_vocabulary_is_fixed_by_its_seed() -> None:
    assert vocabulary(3, 40) == vocabulary(3, 40) != vocabulary(4, 40)
    assert len(vocabulary()) == len(set(vocabulary())) == 112 and set(SHAPE_NAMES) <= set(vocabulary())


@pytest.mark.parametrize("name", SHAPE_NAMES)
@pytest.mark.parametrize("longer", [12, 60, 200])
def test_a_shape_is_as_large_as_asked(name: str, longer: int) -> None:
    stamp = shape_stamp(np.random.default_rng(0), name, "red", longer)
    assert abs(max(stamp.size) - longer) <= 3 and min(stamp.size) >= SHORTEST_SIDE


def test_a_cut_out_is_as_large_as_asked_and_has_no_rim() -> None:
    for longer in (16, 50, 200):
        stamp = cutout_stamp(np.random.default_rng(0), "wolf", longer)
        assert abs(max(stamp.size) - longer) <= 3
        pixels = np.asarray(stamp)
        edge = pixels[(pixels[..., 3] > 60) & (pixels[..., 3] < 200)][:, :3]
        assert abs(float(edge.mean()) - float(pixels[pixels[..., 3] > 250][:, :3].mean())) < 50


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("said", ["1", "go", "EVEN", "735"])
def test_a_text_has_the_height_asked_unless_it_were_too_thin(font: str, said: str) -> None:
    stamp = text_stamp(said, font, (0, 0, 0), 40)
    assert abs(stamp.height - 40) <= 3 and min(text_stamp(said, font, (0, 0, 0), 12).size) >= SHORTEST_SIDE


def test_grounds_show_only_the_colours_they_name() -> None:
    for seed in range(40):
        ground = draw_ground(np.random.default_rng(seed), (90, 70))
        low, high = (bound(ground.colours, axis=0) for bound in (np.min, np.max))
        pixels = np.asarray(ground.image)
        assert pixels.shape == (70, 90, 3) and (pixels >= low - 1).all() and (pixels <= high + 1).all()


@pytest.mark.parametrize(
    ("wrong", "wanted"),
    [
        (lambda: draw_scene(-1), "seed of 0 or more"),
        (lambda: SceneStyle(names=("cat", "gryphon")), "'gryphon'"),
        (lambda: SceneStyle(names=()), "at least one"),
        (lambda: vocabulary(0, 5), "between 8 and"),
        (lambda: cutout("gryphon"), "one of CUTOUT_NAMES"),
        (lambda: shape_stamp(np.random.default_rng(0), "blob", "red", 30), "one of circle"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(wrong, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        wrong()


def test_what_is_shipped_is_small_and_carries_its_licences() -> None:
    folder = Path(ASSETS)
    assert (folder / "cutouts.webp").stat().st_size + (folder / "cutouts.json").stat().st_size < 3_000_000
    assert {"NOTICE.txt", "LICENCE.NotoColorEmoji.txt", "LICENCE.DejaVu.txt", "LICENCE.Arev.txt", *FONTS} <= {path.name for path in folder.iterdir()}

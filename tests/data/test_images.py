"""Every image enters as the same upright RGB, or is refused in one sentence."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.images import MAX_PIXELS, ImageError, load_image, load_mask, load_picture, picture_from, upright_size
from foveal.grounding import Picture


def scene(width: int = 40, height: int = 24) -> Image.Image:
    """Four quarters of plain colour, so that turns and swaps show and lossy formats stay close."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (200, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 200, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 200)
    pixels[height // 2 :, width // 2 :] = (240, 240, 240)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def far(a: Image.Image, b: Image.Image) -> float:
    """The mean difference: what chroma subsampling does along an edge is no fault."""
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_format_gives_the_same_picture(kind, tmp_path):
    path = tmp_path / f"scene.{kind.lower()}"
    path.write_bytes(encoded(scene(), kind))
    assert load_image(path).mode == "RGB"
    assert far(load_image(path), scene()) < 8
    assert load_image(path).tobytes() == load_image(path.read_bytes()).tobytes() == load_image(str(path)).tobytes()


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "L", "1", "LA", "PA", "YCbCr", "HSV", "RGBX", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode):
    grey = mode in ("L", "1", "LA", "I;16", "I", "F")
    wanted = scene().convert("L").convert("RGB") if grey else scene()
    if mode in ("I;16", "I"):
        image = Image.fromarray(np.asarray(wanted.convert("L")).astype(np.uint16) * 257)
        image = image if mode == "I;16" else image.convert("I")
    elif mode == "F":
        image = Image.fromarray(np.asarray(wanted.convert("L")).astype(np.float32) / 255)
    elif mode == "1":
        image = wanted.convert("1", dither=Image.Dither.NONE)
        wanted = image.convert("RGB")
    elif mode in ("P", "PA"):
        image = scene().quantize(8).convert(mode)
    else:
        image = scene().convert(mode)
    assert load_image(image).mode == "RGB"
    assert far(load_image(image), wanted) < 4


def test_a_cmyk_jpeg_and_a_16_bit_png_read_from_file():
    assert far(load_image(encoded(scene().convert("CMYK"), "JPEG")), scene()) < 12
    deep = Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257)
    assert load_image(encoded(deep, "PNG")).tobytes() == scene().convert("L").convert("RGB").tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = scene() if orientation == 1 else scene().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "PNG", exif=exif)
    assert load_image(data).tobytes() == scene().tobytes()
    assert upright_size(data) == (40, 24)
    assert (picture_from(data).width, picture_from(data).height) == (40, 24)


def test_transparent_parts_are_white():
    image = scene().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert load_image(encoded(image, "PNG")).getextrema() == ((255, 255),) * 3
    palette = scene().quantize(8)
    assert load_image(encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))).getpixel((1, 1)) == (255, 255, 255)


def test_the_first_frame_of_an_animation_is_taken():
    data = encoded(scene(), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 24), "black")])
    assert far(load_image(data), scene()) < 8


@pytest.mark.parametrize("shape", [(24, 40), (24, 40, 1), (24, 40, 3), (24, 40, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.bool_])
def test_arrays_of_every_kind_are_images(shape, kind):
    array = np.ones(shape, kind) * (np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1)
    assert load_image(array.astype(kind)).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8), np.full((2, 2), np.nan), np.zeros((2, 2), np.int32)],
)
def test_arrays_that_are_no_images_are_refused(array):
    with pytest.raises(ImageError, match="image array"):
        load_image(array)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)


@pytest.mark.parametrize("size", [(20_000, 10_000), (60_000, 60_000), (2_000_000_000, 2)])
def test_pixels_are_counted_before_decoding(size):
    assert size[0] * size[1] > MAX_PIXELS
    with pytest.raises(ImageError, match="pixels"):
        load_image(bomb(*size))
    with pytest.raises(ImageError, match="pixels"):
        upright_size(bomb(*size))
    with pytest.raises(ImageError, match="more than the 100 "):
        load_image(scene(), max_pixels=100)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_refused(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError, match=r"^The image data .*\.$"):
            load_image(data[: int(len(data) * part)])


def test_no_damage_brings_another_error():
    rng = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        data = bytearray(encoded(scene(), kind))
        for _ in range(40):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 4):
                broken[place] = rng.integers(0, 256)
            with suppress(ImageError):
                assert load_image(bytes(broken), max_pixels=1_000_000).mode == "RGB"


def test_what_is_no_image_file_is_named_in_the_error(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    for source, words in [(text, "notes.png"), (tmp_path / "none.png", "There is no image file"), (tmp_path, "is not a file"), (b"", "may be PNG")]:
        with pytest.raises(ImageError, match=words):
            load_image(source)
    for source in (tmp_path / "empty.png", "a\0b", "x" * 5000):
        with pytest.raises(ImageError):
            load_image(source)


def test_formats_beyond_the_list_are_refused(tmp_path):
    scene().save(tmp_path / "scene.ppm")
    with pytest.raises(ImageError, match="PNG, JPEG"):
        load_image(tmp_path / "scene.ppm")


def test_a_picture_is_read_from_wherever_it_lies(tmp_path):
    scene().save(tmp_path / "scene.png")
    sources = (str(tmp_path / "scene.png"), encoded(scene(), "PNG"), scene(), np.asarray(scene()), Path(tmp_path / "scene.png"))
    for source in sources:
        assert load_picture(picture_from(source)).tobytes() == scene().tobytes()
    with pytest.raises(ImageError, match="not 24x40 as stated"):
        load_picture(Picture(24, 40, data=encoded(scene(), "PNG")))


@pytest.mark.parametrize("top", [1, 128, 255])
def test_masks_mean_the_same_at_any_brightness(top, tmp_path):
    bits = np.zeros((24, 40), np.uint8)
    bits[3:9, 5:20] = top
    Image.fromarray(bits).save(tmp_path / "mask.png")
    assert (load_mask(tmp_path / "mask.png", (40, 24)) == (bits > 0)).all()
    cut = scene().convert("RGBA")
    cut.putalpha(Image.fromarray((bits > 0).astype(np.uint8) * 255))
    assert (load_mask(encoded(cut, "PNG"), (40, 24)) == (bits > 0)).all()


def test_a_mask_of_another_size_or_without_a_pixel_is_refused():
    with pytest.raises(ImageError, match="both must be the same"):
        load_mask(encoded(scene(), "PNG"), (24, 40))
    with pytest.raises(ImageError, match="marks no pixel"):
        load_mask(encoded(Image.new("L", (8, 8)), "PNG"), (8, 8))

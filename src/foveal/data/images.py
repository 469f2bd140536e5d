"""The one door through which an image file enters: formats, size limits, orientation and colour are settled here and nowhere else."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

from foveal.data.remote import RefusedUrlError, UrlPolicy, is_url, read_url
from foveal.grounding import Picture

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "ImageError",
    "ImageSource",
    "LargeImageError",
    "load_image",
    "load_mask",
    "load_picture",
    "picture_from",
    "upright_size",
]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The kinds of image file that are read; anything else is refused by its first bytes, whatever its name ends with."""

MAX_PIXELS = 178_956_970
"""The most pixels an image may declare (half a gigabyte as RGB), checked on the header before anything is decoded."""

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


class ImageError(ValueError):
    """An image that cannot be used, said in one sentence that names it and what is wanted."""


class LargeImageError(ImageError):
    """An image that declares more pixels than are accepted."""


ImageSource = str | os.PathLike | bytes | Image.Image | ndarray


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, urls: UrlPolicy | None = None) -> Image.Image:
    """Read an image as upright 8-bit RGB.

    `source` is a path, encoded bytes, a PIL image, or an array "height width", "height width 1", "... 3" or "... 4" of uint8, uint16,
    bool, or floats in 0..1. The first frame of several is taken; EXIF rotation is applied; transparent parts are laid on white; of 16 bits
    the upper eight are kept. An address ("https://…") is refused unless `urls` allows it. Raises `ImageError` for a missing, foreign, damaged or
    oversized image.

    >>> load_image(np.zeros((2, 3), np.uint8)).size
    (3, 2)
    """
    if urls is not None and isinstance(source, str) and is_url(source):
        try:
            source = read_url(source, urls)
        except RefusedUrlError as error:
            raise ImageError(str(error)) from error
    with _opened(source, max_pixels) as (image, _):
        return _to_rgb(ImageOps.exif_transpose(image))


def load_mask(source: str | os.PathLike | bytes, size: tuple[int, int], *, max_pixels: int = MAX_PIXELS) -> Bool[ndarray, "height width"]:
    """Read a mask drawn as an image of exactly `size` = (width, height) pixels.

    Where the file has transparency, its opaque part is the mask; otherwise it is what is brighter than half the brightest pixel, so that
    0/1 and 0/255 files mean the same. Raises `ImageError` for another size, or when nothing is marked.
    """
    with _opened(source, max_pixels) as (image, name):
        upright = ImageOps.exif_transpose(image)
        if upright.size != size:
            raise ImageError(f"The mask {name} has {_sized(upright.size)} pixels, and the image {_sized(size)}; both must be the same.")
        grey = np.asarray(_to_rgb(upright).convert("L")).astype(np.int32)
        if upright.mode in _WITH_ALPHA or "transparency" in upright.info:
            alpha = np.asarray(upright.convert("RGBA").getchannel("A")).astype(np.int32)
            grey = alpha if alpha.min() < alpha.max() else grey
    bits = grey * 2 > grey.max()
    if not bits.any():
        raise ImageError(f"The mask {name} marks no pixel; paint the region white on black.")
    return bits


def load_picture(picture: Picture, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the image of a `Picture`, from wherever it lies; raises `ImageError` also when its size is not the one it states."""
    source: Any = picture.path if picture.path is not None else picture.data if picture.data is not None else picture.pixels
    image = load_image(source, max_pixels=max_pixels)
    if image.size != (picture.width, picture.height):
        name = picture.path or "The picture"
        raise ImageError(f"{name} has {_sized(image.size)} pixels upright, not {_sized((picture.width, picture.height))} as stated.")
    return image


def picture_from(source: ImageSource) -> Picture:
    """Make the `Picture` of an image, reading no more than its header."""
    width, height = upright_size(source)
    match source:
        case bytes():
            return Picture(width, height, data=source)
        case str() | os.PathLike():
            return Picture(width, height, path=os.fspath(source))
        case _:
            return Picture(width, height, pixels=source)


def upright_size(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) in pixels once EXIF rotation is applied, from the header alone."""
    with _opened(source, max_pixels, decode=False) as (image, _):
        return image.size[::-1] if image.getexif().get(_ORIENTATION) in _TURNED else image.size


@contextmanager
def _opened(source: ImageSource, max_pixels: int, *, decode: bool = True) -> Iterator[tuple[Image.Image, str]]:
    """The first frame of an image, its pixels counted before they are decoded, and what to call it in an error. Pillow's warnings are dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, name = _open(source, max_pixels)
        try:
            if decode:
                image.seek(0)
                image.load()
            yield image, name
        except ImageError:
            raise
        except Exception as error:  # decoders meet damage with errors of many kinds
            raise ImageError(f"{name} cannot be decoded, it is damaged or cut short ({error}).") from error
        finally:
            if image is not source:
                image.close()


def _open(source: ImageSource, max_pixels: int) -> tuple[Image.Image, str]:
    """The image, not yet decoded, its pixels counted; and what to call it in an error."""
    match source:
        case Image.Image():
            image, name = source, "The image"
        case ndarray():
            image, name = _from_array(source), "The array"
        case bytes():
            name = "The image data"
            image = _open_file(io.BytesIO(source), name, max_pixels)
        case str() | os.PathLike():
            name = os.fspath(source)
            if is_url(name):
                raise ImageError(f"{name[:80]} is an address, and nothing is fetched; the path of a file is wanted.")
            image = _open_file(_existing(Path(source)), name, max_pixels)
        case _:
            raise ImageError(f"An image is a path, bytes, a PIL image or an array, not {type(source).__name__}.")
    if min(image.size) < 1:
        raise ImageError(f"{name} is empty: it has {_sized(image.size)} pixels.")
    if image.width * image.height > max_pixels:
        raise LargeImageError(f"{name} has {_sized(image.size)} pixels, more than the {max_pixels:,} that are accepted.")
    return image, name


def _existing(path: Path) -> Path:
    try:
        if path.is_file():
            return path
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise ImageError(f"{os.fspath(path)!r} is not a usable path ({error}).") from error
    raise ImageError(f"{path} is not a file, and an image file is wanted." if exists else f"There is no image file {path}.")


def _open_file(file: Path | io.BytesIO, name: str, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that can be read, or its start is damaged; it may be {', '.join(FORMATS)}.") from error
    except Image.DecompressionBombError as error:
        raise LargeImageError(f"{name} has far more pixels than the {max_pixels:,} that are accepted.") from error
    except Exception as error:  # a header can be broken in as many ways as there are formats
        raise ImageError(f"{name} cannot be opened as an image ({error}).") from error


def _from_array(array: ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise ImageError(f"An image array has the shape (height, width) or (height, width, 1, 3 or 4), not {array.shape}.")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError("An image array of floats holds values from 0 to 1.")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"An image array holds uint8, uint16, bool, or floats from 0 to 1, not {array.dtype}.")
    return Image.fromarray(np.ascontiguousarray(array))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), posinf=0.0, neginf=0.0)
        values = values * 255 if values.max() <= 1 else values
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _sized(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"

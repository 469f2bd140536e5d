"""What a request may hold: more is refused in one sentence, before memory is taken for it."""

import ast
import io
import json
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusing import SENTENCE, bmp_of, encoded, gif_of, peak_mb, png_of, refused, tiff_of

import foveal.serve
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.models import open_model
from foveal.serve.limits import Limits, RefusedError, check_id, check_json, plain_text, read_image
from foveal.zoo import find_model

# beartype picks at random which item of a tuple it looks at, and hypothesis minds.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

MODELS = ["ferret-v2-nano", "monkey-nano", "pixelllm-nano"]


# -- JSON ---------------------------------------------------------------------------------------------------------------------


WORDS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda values: st.lists(values) | st.dictionaries(WORDS, values),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_what_it_says(value: Any) -> None:
    for ascii_only in (True, False):
        assert check_json(json.dumps(value, ensure_ascii=ascii_only).encode(), Limits(depth=50)) == value


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0d8 \n', max_size=60).map(str.encode))
def test_no_body_brings_another_error(body: bytes) -> None:
    try:
        made = check_json(body)
    except RefusedError as error:
        assert error.status in (400, 413) and SENTENCE.fullmatch(str(error))
    else:
        json.dumps(made, ensure_ascii=False).encode("utf-8")


def test_a_body_that_is_too_large_is_refused_unread() -> None:
    said = refused(lambda: check_json(b"[" * 1001, Limits(body_bytes=1000)), status=413)
    assert "1,001" in said and "1,000" in said


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":', b"[[],"])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    for count in (17, 1000, 1_000_000):
        assert "deep" in refused(lambda count=count: check_json(opening * count), status=400, most_mb=20)
    assert check_json(b"[" * 16 + b"]" * 16) == json.loads("[" * 16 + "]" * 16)
    assert check_json(json.dumps("[" * 1000 + '\\"{' * 1000).encode())  # in words, brackets are words


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"1,", b'"",', b'"a",', b"null,", b'{"a":1},'])
def test_many_small_values_are_refused_before_they_are_made(piece: bytes) -> None:
    body = b"[" + piece * 100_000 + b"1]"
    assert "too much" in refused(lambda: check_json(body, Limits(values=20_000)), status=413)
    assert check_json(b"[" + piece * 15_000 + b"1]", Limits(values=60_000))


@pytest.mark.parametrize(
    "body", [b'"' + b'\\"' * 2_000_000, b'"' + b"\\" * 4_000_001, b'["' + b"a" * 5_000_000, b"9" * 1_000_000, b" " * 5_000_000 + b"!"]
)
def test_counting_takes_time_in_proportion_to_the_body(body: bytes) -> None:
    refused(lambda: check_json(body), status=400, most_mb=20)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nan",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"\xff\xfe[\x00",
        '"é"'.encode("latin-1"),
        "[1]".encode("utf-16"),
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf[]",
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    refused(lambda: check_json(body), status=400)


@pytest.mark.parametrize("body", [b'"\\ud800"', b'{"a": ["\\udfff"]}', b'{"\\ud83d": 1}', b'{"model": "x\\uD83Dy"}'])
def test_half_a_character_is_refused(body: bytes) -> None:
    assert "half a character" in refused(lambda: check_json(body), status=400)
    assert check_json(b'"\\ud83d\\ude00"') == "\U0001f600"


# -- words --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, 7, ["a"], {"a": 1}, "a" * 32_769, "a\ud800", True])
def test_text_is_a_string_of_whole_characters_and_not_too_long(text: Any) -> None:
    refused(lambda: plain_text(text))
    assert plain_text("a" * 32_768) and plain_text("\0\n\u202e😀") == "\0\n\u202e😀"


@pytest.fixture(scope="module", params=MODELS)
def processor(request: pytest.FixtureRequest) -> Any:
    """The processor of each model that ships."""
    import torch

    return open_model(find_model(request.param), torch.float32, request.param)[1]


def controls_in(processor: Any, words: str) -> list[int]:
    """The control tokens of a question of these words, in order."""
    example = Example("", (Picture(64, 48, data=b""),), (Turn("user", GroundedText(plain_text(words))),))
    batch = processor.encode([example], look=False)
    special = set(processor.tokenizer.all_special_ids) | {
        number for number, token in processor.tokenizer.added_tokens_decoder.items() if token.special
    }
    special.discard(processor.tokenizer.unk_token_id)  # any letter that the vocabulary lacks
    return [int(token) for token in batch.get("input_ids", batch.get("context"))[0] if int(token) in special]


def test_no_words_become_control_tokens(processor: Any) -> None:
    added = [token.content for token in processor.tokenizer.added_tokens_decoder.values()]
    assert added
    wanted = controls_in(processor, "it")
    hostile = [
        *added,
        "<image>",
        "<region_fea>",
        "<region>",
        "<ref>",
        "</s>",
        "<|im_end|>",
        "<loc0001>",
        "\ue000",
        "\ue001",
        "\uff1cs\uff1e",
        "\uff1c/s\uff1e",
    ]
    nested = [f"{token[:2]}{token}{token[2:]}" for token in added if len(token) > 3]
    for words in (*hostile, *nested, *(token + "</s>" for token in added)):
        assert controls_in(processor, words) == wanted, words
        with suppress(ValueError):  # PixelLLM reads short questions only
            assert controls_in(processor, words + words) == wanted, words


# -- images -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bomb", [png_of, gif_of, bmp_of, tiff_of])
@pytest.mark.parametrize("size", [(12_001, 10_000), (60_000, 60_000), (65_535, 65_535)])
def test_an_image_that_declares_too_many_pixels_is_refused_by_its_head(bomb: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    data = bomb(*size)
    assert len(data) < 300
    assert peak_mb(lambda: refused(lambda: read_image(data), status=413)) < 20


def test_packed_text_and_profiles_in_an_image_stay_packed() -> None:
    large = zlib.compress(bytes(200 * 2**20), 9)
    for chunk in ((b"zTXt", b"a\0\0" + large), (b"iTXt", b"a\0\1\0\0\0" + large), (b"iCCP", b"a\0\0" + large)):
        data = png_of(6, 4, *[chunk] * 3)

        def look(data: bytes = data) -> None:
            with pytest.raises(RefusedError):
                read_image(data)

        assert peak_mb(look) < 40


def test_of_an_animation_one_frame_is_decoded() -> None:
    frames = [Image.new("L", (1000, 1000), shade) for shade in range(12)]
    for kind in ("GIF", "WEBP", "TIFF"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
        data = file.getvalue()
        assert peak_mb(lambda data=data: read_image(data)) < 30
        assert read_image(data).size == (1000, 1000)


def test_a_jpeg_of_many_passes_is_refused() -> None:
    data = encoded((64, 64), "JPEG", progressive=True)
    assert read_image(data).size == (64, 64)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert "passes" in refused(lambda: read_image(data[:-2] + scan * 2000 + data[-2:]), status=413)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"<svg/>", b"%PDF-1.7", encoded()[:-30], encoded(kind="JPEG")[:200], png_of(6, 4), png_of(0, 4), b"/etc/passwd", b"http://a/"],
)
def test_what_is_no_whole_image_is_refused(data: bytes) -> None:
    refused(lambda: read_image(data), status=400)


# -- names --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["", ".", "..", "../a", "a/b", "a\\b", "%2e%2e", "a.png", "a\0", "a\n", "-a", "a" * 129, "é", "\ud800", "C:", "a b"]
)
def test_an_id_is_no_path(given: str) -> None:
    refused(lambda: check_id(given), status=404)
    assert check_id("scene-0123abc") == "scene-0123abc"


# -- the house ----------------------------------------------------------------------------------------------------------------

SERVE = sorted(Path(foveal.serve.__file__).parent.rglob("*.py"))
FORBIDDEN = re.compile(
    r"Image\.open|urlopen|urlretrieve|urllib\.request|(requests|httpx2?|aiohttp|urllib3)\.\w+|socket\.create_connection|http\.client|pickle\.|torch\.load|eval|exec|os\.system|subprocess\.\w+"
)
MODULES = {
    "requests",
    "httpx",
    "httpx2",
    "aiohttp",
    "urllib3",
    "urllib.request",
    "http.client",
    "pickle",
    "socket",
    "ftplib",
    "subprocess",
    "PIL.ImageFile",
}


@pytest.mark.parametrize("path", SERVE, ids=lambda path: path.name)
def test_the_server_opens_no_image_and_no_address_but_by_the_one_door(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=called):
                assert not FORBIDDEN.fullmatch(ast.unparse(called)), f"{ast.unparse(called)} in line {node.lineno}"
            case ast.Import(names=names):
                assert not {alias.name for alias in names} & MODULES, f"line {node.lineno}"
            case ast.ImportFrom(module=module, names=names):
                assert module not in MODULES and not any(f"{module}.{alias.name}" in MODULES | {"PIL.Image.open"} for alias in names), (
                    f"line {node.lineno}"
                )

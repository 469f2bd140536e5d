"""What tests of the server's doors share: what a refusal is, how much memory it may take, and files that declare more than they hold."""

import io
import re
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.serve.limits import RefusedError

SENTENCE = re.compile(r"[A-Za-z0-9][^\n]{10,300}\.")


def refused(work: Callable[[], Any], *, status: int | None = None, most_mb: float = 2.0, seconds: float = 2.0) -> str:
    """The sentence with which `work` is refused: a short one, soon, and without memory being taken."""
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError) as found:
            work()
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    said = str(found.value)
    assert 400 <= found.value.status < 500 and status in (None, found.value.status), found.value.status
    assert SENTENCE.fullmatch(said), said
    assert peak < most_mb, f"{peak:.1f} MB"
    assert time.process_time() - began < seconds
    return said


def peak_mb(work: Callable[[], Any]) -> float:
    """How much more memory than before the process holds at most while it works, that of C libraries too."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the highest use of memory cannot be reset here; Linux's /proc is wanted")

    def held(name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    before = held("VmRSS")
    work()
    return held("VmHWM") - before


def encoded(size: tuple[int, int] = (6, 4), kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(file, kind, **options)
    return file.getvalue()


def png_of(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of a few bytes that declares any size, with chunks of one's own."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *more, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)


def gif_of(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02L\x01\x00;"


def bmp_of(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 200, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(100)


def tiff_of(width: int, height: int) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 2**31)]
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        + bytes(4)
    )

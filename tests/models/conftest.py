"""Checkpoints of any size that take no room on the disk, and how much memory their conversion takes."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

RUN = """
import json, sys
from pathlib import Path
import torch
{imported}

def resident(which):
    return int(next(line for line in open("/proc/self/status") if line.startswith(which)).split()[1]) * 1024

folder, shard = Path(sys.argv[1]), int(sys.argv[2])
torch.zeros(8, 8) @ torch.zeros(8, 8)
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
{call}
print(json.dumps(dict(grown=resident("VmHWM") - before, peak=resident("VmHWM"))))
"""


@pytest.fixture
def hollow() -> Callable[..., None]:
    """`hollow(folder, shapes, settings)` writes a checkpoint of zeros, in two files and their index, with a licence."""

    def write(folder: Path, shapes: Mapping[str, tuple[int, ...]], settings: dict) -> None:
        folder.mkdir()
        names, index = list(shapes), {}
        for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
            file = folder / f"model-{number:05}-of-00002.safetensors"
            index |= dict.fromkeys(part, file.name)
            header, end = {}, 0
            for name in part:
                size = 2
                for side in shapes[name]:
                    size *= side
                header[name] = {"dtype": "F16", "shape": list(shapes[name]), "data_offsets": [end, end + size]}
                end += size
            text = json.dumps(header).encode()
            with file.open("wb") as opened:
                opened.write(len(text).to_bytes(8, "little") + text)
                opened.truncate(8 + len(text) + end)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "LICENSE").write_text("Some research licence\n\nFor research only.\n")

    return write


@pytest.fixture
def memory_of(tmp_path: Path) -> Callable[[str, str, int], dict[str, int]]:
    """Bytes by which a process `grown` while it ran a call on `folder` and `shard`; skipped where Linux's /proc does not say."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read from Linux's /proc")

    def run(imported: str, call: str, shard: int) -> dict[str, int]:
        words = [sys.executable, "-c", RUN.format(imported=imported, call=call), str(tmp_path), str(shard)]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=580)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run

"""`foveal doctor`: versions, device, and whether the shipped model answers here."""

import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import typer

from foveal import __version__
from foveal.cli.settings import DEFAULT_MODEL, Device, Model, open_session

__all__ = ["doctor"]

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "pillow", "numpy", "accelerate", "peft", "sentencepiece")


def doctor(model: Model = DEFAULT_MODEL, device: Device = None) -> None:
    """Report versions and the device, and let the model answer about a drawn picture. Exit code 1 when something does not work."""
    print(f"foveal {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    print(_device())
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("image formats", _check_images),
        (f"model {model}", lambda: _check_model(model, device)),
    )
    failed = 0
    for name, check in checks:
        try:
            print(f"ok    {name}: {check()}")
        except Exception as error:  # whatever it is, it is what this command is to report
            failed += 1
            print(f"FAIL  {name}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"GPU: {torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        return "GPU: Apple (mps)"
    return f"no GPU; {torch.get_num_threads()} CPU threads"


def _check_images() -> str:
    import io

    from PIL import Image

    from foveal.data.images import FORMATS, load_image

    for kind in FORMATS:
        file = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(file, kind)
        load_image(file.getvalue())
    return ", ".join(FORMATS)


def _check_model(model: str, device: str | None) -> str:
    from foveal.data.sources.scenes import SceneStyle, draw_scene
    from foveal.data.sources.scenes.pointing import box_of

    started = time.perf_counter()
    session = open_session(model, device)
    opened = time.perf_counter()
    drawing = draw_scene(0, "test", SceneStyle(names=("crocodile",), things=(1, 1), text_share=0.0, small_share=0.0))
    scene = session.look(drawing.pixels)
    named = scene.describe(box_of(drawing, 0), max_new_tokens=32)
    if session.processor.verbs.location is None:
        told = f"captions the picture {scene.caption(max_new_tokens=64).text!r}"
    else:
        told = f"finds it in {len(scene.locate('the crocodile', max_new_tokens=64).regions)} place(s)"
    seconds = f"opened in {opened - started:.1f} s, two answers in {time.perf_counter() - opened:.1f} s on {session.model.device}"
    return f"{seconds}; of a drawn crocodile it says {named.text!r}, and {told}"

"""`foveal convert`: published Ferret, Monkey, Qwen-VL and PixelLLM weights into a folder that foveal opens, or back."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from foveal.cli.bars import bar

__all__ = ["convert"]

_TYPES = ("float16", "bfloat16", "float32")

_Source = Annotated[
    Path, typer.Argument(help="Folder of published weights; or a file like mm_projector.bin or a Flax checkpoint.", show_default=False)
]
_Out = Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)]
_Base = Annotated[Path | None, typer.Option("--base", help="Folder of the language model that the weights are the difference to (v1: Vicuna v1.3).")]
_Clip = Annotated[Path | None, typer.Option("--clip", help="Folder of the CLIP image encoder, where the weights hold none (v1).")]
_LicenceOf = Annotated[str | None, typer.Option("--licence", help="The weights' licence, where their folder states none: a name or a file.")]
_Origin = Annotated[str | None, typer.Option("--origin", help="Where the weights come from, for the model card; without it, the folder's name.")]
_Dual = Annotated[bool, typer.Option("--dual", help="Give tiles their own encoder and projector, copies at first: Ferret-v2's layout.")]
_Canvas = Annotated[str | None, typer.Option("--canvas", help="Pixels that a Monkey stretches images over, like 1344x896; without it, as trained.")]
_Adapters = Annotated[int | None, typer.Option("--adapters", min=0, help="How many windows of a Monkey have one; new ones are untrained.")]
_Tokenizer = Annotated[Path | None, typer.Option("--tokenizer", help="Folder of a PixelLLM's tokenizer: bert-base-uncased's, or T5's.")]
_Type = Annotated[str | None, typer.Option("--dtype", help=f"{', '.join(_TYPES)}; without it, as the weights are.")]
_Size = Annotated[str, typer.Option("--shard-size", help="The largest file, like 5GB or 500MB.")]
_Pickle = Annotated[bool, typer.Option("--allow-pickle", help="Read pickled checkpoints (.bin) too: tensors only, no code of theirs runs.")]
_Words = Annotated[str | None, typer.Option("--template", help="Name of the conversation template; without it, the one of the model's kind.")]
_Published = Annotated[bool, typer.Option("--to-published", help="The other way: a model of foveal into the published layout.")]


def convert(
    source: _Source,
    out: _Out,
    base: _Base = None,
    clip: _Clip = None,
    licence: _LicenceOf = None,
    origin: _Origin = None,
    dual: _Dual = False,
    canvas: _Canvas = None,
    adapters: _Adapters = None,
    tokenizer: _Tokenizer = None,
    dtype: _Type = None,
    shard_size: _Size = "5GB",
    allow_pickle: _Pickle = False,
    template: _Words = None,
    to_published: _Published = False,
) -> None:
    """Convert published weights (Ferret v1, Ferret-UI, Monkey, Qwen-VL, PixelLLM) for foveal, bit by bit: memory does not grow with the model."""
    if dtype not in (None, *_TYPES):
        raise ValueError(f"--dtype {dtype} was given; {', '.join(_TYPES)} are known.")
    if not source.exists():
        raise ValueError(f"{source} does not exist; the folder of a checkpoint is wanted.")
    import torch
    from transformers.utils import logging

    from foveal.models.ferret import convert as ferret
    from foveal.models.ferret import publish as ferret_back
    from foveal.models.monkey import convert as monkey
    from foveal.models.pixel_llm import convert as pixel_llm
    from foveal.models.shards import size_in_bytes

    logging.set_verbosity_error()
    is_monkey, is_pixel_llm, kind = _is_monkey(source), _is_pixel_llm(source), getattr(torch, dtype) if dtype else None
    fields = {name: value for name, value in (("canvas", _pixels(canvas)), ("template", template)) if value}
    with _progress() as progress:
        task = progress.add_task("bytes", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        stated: dict[str, Any] = {"licence": licence, "origin": origin}
        back = stated | {"shard_bytes": size_in_bytes(shard_size), "watch": watch}
        whole = back | {"dtype": kind, "allow_pickle": allow_pickle, "fields": fields or None}
        if to_published:
            _refuse("--to-published", base=base, clip=clip, dual=dual, canvas=canvas, adapters=adapters, dtype=dtype, template=template)
            _refuse("--to-published", tokenizer=tokenizer)
            if is_pixel_llm:
                pixel_llm.publish(source, out, **stated, watch=watch)
            else:
                (monkey if is_monkey else ferret_back).publish(source, out, **back)
        elif is_pixel_llm:
            _refuse("a PixelLLM", base=base, clip=clip, dual=dual, canvas=canvas, adapters=adapters, allow_pickle=allow_pickle)
            pixel_llm.convert(source, out, tokenizer=tokenizer, **{name: value for name, value in whole.items() if name != "allow_pickle"})
        elif source.is_file():
            _refuse("a projector alone", base=base, clip=clip, canvas=canvas, adapters=adapters, template=template)
            _refuse("a projector alone", tokenizer=tokenizer)
            ferret_back.convert_projector(source, out, **stated, dual=dual, dtype=kind, allow_pickle=allow_pickle)
        elif is_monkey:
            _refuse("a Monkey", base=base, clip=clip, dual=dual, tokenizer=tokenizer)
            monkey.convert(source, out, adapters=adapters, **whole)
        else:
            _refuse("a Ferret", canvas=canvas, adapters=adapters, tokenizer=tokenizer)
            ferret.convert(source, out, base=base, clip=clip, dual=dual, **whole)
    print(
        f"{out} is ready." if to_published or (source.is_file() and not is_pixel_llm) else f"{out} is ready: foveal ask IMAGE QUESTION --model {out}"
    )


def _is_monkey(source: Path) -> bool:
    """Whether a folder holds a Monkey or a Qwen-VL, published or ours, by its configuration."""
    from foveal.models.shards import read_json

    settings = read_json(source / "config.json") if (source / "config.json").is_file() else {}
    return "visual" in settings or settings.get("model_type") == "monkey"


def _is_pixel_llm(source: Path) -> bool:
    """Whether it is a checkpoint of Flax, or a folder that holds one, or a PixelLLM of ours."""
    from foveal.models.pixel_llm.flax_file import flax_files
    from foveal.models.shards import read_json

    settings = read_json(source / "config.json") if (source / "config.json").is_file() else {}
    return settings.get("model_type") == "pixel_llm" or bool(flax_files(source))


def _pixels(canvas: str | None) -> tuple[int, int] | None:
    if canvas is None:
        return None
    if not (found := re.fullmatch(r"(\d+)[x×](\d+)", canvas.strip())):
        raise ValueError(f"--canvas {canvas} was given; width and height in pixels are wanted, like 1344x896.")
    return int(found[1]), int(found[2])


def _refuse(what: str, **options: object) -> None:
    if given := [name for name, value in options.items() if value is not None and value is not False]:
        raise ValueError(f"--{given[0]} does not go with {what}.")


def _progress() -> Progress:
    return bar(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())

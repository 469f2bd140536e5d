"""`foveal convert`: published Ferret weights into a folder that foveal opens, or back."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

__all__ = ["convert"]

_TYPES = ("float16", "bfloat16", "float32")

_Source = Annotated[Path, typer.Argument(help="Folder of published weights; or a file like mm_projector.bin.", show_default=False)]
_Out = Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)]
_Base = Annotated[Path | None, typer.Option("--base", help="Folder of the language model that the weights are the difference to (v1: Vicuna v1.3).")]
_Clip = Annotated[Path | None, typer.Option("--clip", help="Folder of the CLIP image encoder, where the weights hold none (v1).")]
_LicenceOf = Annotated[str | None, typer.Option("--licence", help="The weights' licence, where their folder states none: a name or a file.")]
_Origin = Annotated[str | None, typer.Option("--origin", help="Where the weights come from, for the model card; without it, the folder's name.")]
_Dual = Annotated[bool, typer.Option("--dual", help="Give tiles their own encoder and projector, copies at first: Ferret-v2's layout.")]
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
    dtype: _Type = None,
    shard_size: _Size = "5GB",
    allow_pickle: _Pickle = False,
    template: _Words = None,
    to_published: _Published = False,
) -> None:
    """Convert published Ferret weights (ml-ferret v1, Ferret-UI) for foveal, little by little: memory does not grow with the model."""
    if dtype not in (None, *_TYPES):
        raise ValueError(f"--dtype {dtype} was given; {', '.join(_TYPES)} are known.")
    if not source.exists():
        raise ValueError(f"{source} does not exist; the folder of a checkpoint is wanted.")
    import torch
    from transformers.utils import logging

    from foveal.models.ferret import convert as whole
    from foveal.models.ferret import publish as other
    from foveal.models.shards import size_in_bytes

    logging.set_verbosity_error()
    kind, size = getattr(torch, dtype) if dtype else None, size_in_bytes(shard_size)
    with _progress() as progress:
        task = progress.add_task("", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        if to_published:
            _refuse("--to-published", base=base, clip=clip, dual=dual, dtype=dtype, template=template)
            other.publish(source, out, licence=licence, origin=origin, shard_bytes=size, watch=watch)
        elif source.is_file():
            _refuse("a projector alone", base=base, clip=clip, template=template)
            other.convert_projector(source, out, licence=licence, origin=origin, dual=dual, dtype=kind, allow_pickle=allow_pickle)
        else:
            whole.convert(
                source,
                out,
                base=base,
                clip=clip,
                licence=licence,
                origin=origin,
                dual=dual,
                dtype=kind,
                shard_bytes=size,
                allow_pickle=allow_pickle,
                fields={"template": template} if template else None,
                watch=watch,
            )
    print(f"{out} is ready." if to_published or source.is_file() else f"{out} is ready: foveal ask IMAGE QUESTION --model {out}")


def _refuse(what: str, **options: object) -> None:
    if given := [name for name, value in options.items() if value]:
        raise ValueError(f"--{given[0]} does not go with {what}.")


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (console.is_terminal and sys.stderr.isatty()), transient=True)

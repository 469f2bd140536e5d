"""The command line: one verb a file. Wrong input is answered with one sentence on standard error and exit code 2."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from foveal import __version__
from foveal.cli.ask import ask
from foveal.cli.caption import caption
from foveal.cli.compare import compare
from foveal.cli.convert import convert
from foveal.cli.data import data
from foveal.cli.dense import dense
from foveal.cli.detect import detect
from foveal.cli.doctor import doctor
from foveal.cli.evaluate import evaluate
from foveal.cli.finetune import finetune
from foveal.cli.locate import locate
from foveal.cli.models import models
from foveal.cli.regions import RegionCommand
from foveal.cli.report import sentence_of as _sentence_of
from foveal.cli.rescore import rescore
from foveal.cli.segment import segment
from foveal.cli.serve import serve
from foveal.cli.synth import synth
from foveal.cli.train import train

__all__ = [
    "RegionCommand",
    "app",
    "ask",
    "caption",
    "compare",
    "convert",
    "data",
    "dense",
    "detect",
    "doctor",
    "evaluate",
    "finetune",
    "locate",
    "main",
    "models",
    "rescore",
    "segment",
    "serve",
    "synth",
    "train",
]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
app.command(cls=RegionCommand)(ask)
for _verb in (locate, segment, detect, dense, caption, finetune, train, evaluate, rescore, compare, serve, models, doctor, convert):
    app.command()(_verb)

app.add_typer(data, name="data")
app.add_typer(synth, name="synth")

_EXTRAS = {
    "accelerate": "train",
    "peft": "train",
    "ijson": "data",
    "pyarrow": "data",
    "defusedxml": "data",
    "msgpack": "convert",
    "sentencepiece": "convert",
    "faster_coco_eval": "evaluate",
    "openai": "endpoint",
    "rapidocr": "synth",
    "onnxruntime": "synth",
    "orjson": "synth",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "multipart": "serve",
}
"""What a verb may want beside the core, and the extra that brings it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 something of a batch was refused, 2 wrong input."""
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # whoever reads our output has read enough
        sys.stderr.close()
        return 1


def _run(arguments: Sequence[str]) -> int:
    try:
        code = app(args=list(arguments), prog_name="foveal", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        return _report(error)


def _report(error: Exception) -> int:
    """One sentence for whatever went wrong; a fault of ours is raised as it is under `python -X dev`."""
    said = getattr(error, "format_message", None)  # the parser's own complaints
    if said is not None:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(said())
            return 2
        sentence = said()
    elif isinstance(error, ImportError) and (extra := next((extra for part, extra in _EXTRAS.items() if part in str(error)), None)):
        sentence = f"What this verb wants is not installed ({str(error).splitlines()[0]}); pip install 'foveal[{extra}]' brings it."
    elif isinstance(error, ValueError | OSError | FloatingPointError):
        sentence = _sentence_of(error)
    else:
        if sys.flags.dev_mode:
            raise error
        sentence = f"This is a fault of foveal, not of what you gave: {type(error).__name__}: {error}"
    print(f"foveal: {' '.join(sentence.split())}", file=sys.stderr)
    return 2 if said is not None or isinstance(error, ValueError | OSError | ImportError | FloatingPointError) else 70


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"foveal {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _start(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Point at anything in an image and ask; name a thing and get its box."""

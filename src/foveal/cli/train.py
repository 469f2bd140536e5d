"""`foveal train`: a stage of a recipe, and what it begins with, by one command."""

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.sources import from_file

if TYPE_CHECKING:
    from foveal.train.stage import Stage

__all__ = ["train"]

_LOGS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}
"""The packages of which one is wanted for a log."""


def train(
    stage: Annotated[str, typer.Argument(metavar="FILE.py:STAGE", help="A stage in a recipe, like recipes/ferret_v2.py:dense.")],
    data_root: Annotated[Path, typer.Option("--data-root", help="The folder of all data sets; each recipe says how they lie in it.")],
    out: Annotated[Path, typer.Option("--out", help="Where stages keep checkpoints and finished models; a run begun there goes on.")] = Path("runs"),
    start: Annotated[str | None, typer.Option("--start", help="The model that the first stage begins with: a folder, or a name on the hub.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the stage's recipe, like steps=100.")] = None,
    report_to: Annotated[str, typer.Option(help="Where the log goes too: tensorboard, wandb, or none.")] = "none",
    show: Annotated[bool, typer.Option("--show", help="Print the stage's settings, and those of the stages before it, and train nothing.")] = False,
) -> None:
    """Run a stage of training, and the stages before it that are not finished. Under torchrun or accelerate, all processes share its batches."""
    chosen = _changed(_stage(stage), setting or [], report_to)
    if show:
        print(json.dumps(_settings(chosen), indent=1))
        return
    if not data_root.is_dir():
        raise ValueError(f"--data-root {data_root} is no folder.")
    from foveal.train import run_stage

    print(f"The model is {run_stage(chosen, out, data_root, start)}.")


def _stage(named: str) -> "Stage":
    from foveal.train import Stage

    place, colon, name = named.rpartition(":")
    if not colon or not place.endswith(".py"):
        raise ValueError(f"{named!r} names no stage; FILE.py:STAGE is wanted, like recipes/ferret_v2.py:dense.")
    module = from_file(Path(place))
    known = [key for key, value in vars(module).items() if isinstance(value, Stage)]
    if name not in known:
        raise ValueError(f"{place} has no stage {name!r}; it has {', '.join(known) or 'none'}.")
    found: Stage = getattr(module, name)
    return found


def _changed(stage: "Stage", settings: list[str], report_to: str) -> "Stage":
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting} has no =; NAME=VALUE is wanted.")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[name] = {"true": True, "false": False, "none": None}.get(value.lower(), value)
    if not isinstance(more := changes.pop("options", {}), dict):
        raise ValueError(f"--set options={more!r} is not understood; names and values are wanted, like \"options={{'tf32': True}}\".")
    if report_to in _LOGS and not any(find_spec(name) for name in _LOGS[report_to]):
        raise ValueError(f"--report-to {report_to} wants a package that is not installed; pip install {report_to}.")
    return stage.set(**changes, options={**stage.recipe.options, **more, "report_to": report_to})


def _settings(stage: "Stage") -> list[dict[str, Any]]:
    """Of a stage and of those before it, first to last; what it begins with stands first."""
    from foveal.train import Stage

    before = _settings(stage.start) if isinstance(stage.start, Stage) else [{"start": stage.start}] if stage.start else []
    recipe = {name: value for name, value in vars(stage.recipe).items() if value not in (None, {})}
    return [*before, {key: dict(value) if key in ("learn", "options") else str(value) if key == "layers" else value for key, value in recipe.items()}]

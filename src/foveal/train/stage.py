"""A stage of training as a value: from which model it starts, what it learns from, which recipe it follows; and how one is run."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

from foveal.data.loader import Encoding
from foveal.data.mixture import Mixture, Part
from foveal.data.reading import LOG, Report
from foveal.data.whole import alone_in, check_same_run, write_whole
from foveal.models import GroundedModel, Processor, open_model
from foveal.train.checkpoint import aside, is_whole, last_whole_checkpoint, newest_first
from foveal.train.recipe import Recipe, check_settings
from foveal.train.trainer import train
from foveal.zoo import find_model

__all__ = ["Stage", "run_stage"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a published training, or of one's own.

    >>> align = Stage(recipe=Recipe(name="align", learn={"projector": 1e-3}, steps=1, batch=1), data=lambda root: [])
    >>> replace(align, start=align).start.recipe.name
    'align'
    """

    recipe: Recipe
    """What learns, how fast, for how long."""
    data: Callable[[Path], Sequence[Part]]
    """The parts of its mixture, given the folder of all data sets."""
    start: "str | Stage | None" = None
    """Where it begins: the stage before, a model's folder or name; None where the caller says it."""
    prepare: Callable[[GroundedModel], None] = field(default=lambda model: None)
    """What is done to the model before it learns, as to copy a projector."""
    seen: Mapping[str, object] = field(default_factory=dict)
    """Values of its processor that are others while it learns, as no grids where no tiles are to be seen."""
    finish: Callable[[GroundedModel], None] = field(default=lambda model: None)
    """What is done to the model that has learnt before it is written, as to merge adapters."""
    alike: bool = False
    """Whether examples of like length share a batch, so that less of it is padding; for families whose processor knows lengths."""
    together: bool = False
    """Whether each batch comes from one part alone."""

    def set(self, **changes: Any) -> "Stage":
        """The stage with other settings of its recipe. ValueError for one that a recipe does not have, or of another kind (`check_settings`)."""
        check_settings(changes)
        return replace(self, recipe=replace(self.recipe, **changes))


def run_stage(stage: Stage, folder: Path, data_root: Path, start: str | None = None, report: Report = LOG.warning) -> Path:
    """Runs a stage, and those before it that are not finished; returns the folder of its finished model.

    Everything is kept in `folder`, in a folder for each stage: its checkpoints, and "model" once it is finished, which is whole or not there.
    A stage that is finished is not run again, one that was stopped goes on. Examples that cannot be used are told of, counted, and listed in
    "passed_over.txt". `start` takes the place of the first stage's own start. ValueError where a stage is to begin with nothing, and where its
    folder holds a run of other settings.
    """
    place = folder / stage.recipe.name
    _check(stage, folder, start)
    if is_whole(place / "model"):
        return place / "model"
    with alone_in(place):
        _check(stage, folder, start)
        return _run(stage, folder, data_root, start, report)


def _run(stage: Stage, folder: Path, data_root: Path, start: str | None, report: Report) -> Path:
    place = folder / stage.recipe.name
    if is_whole(place / "model"):
        return place / "model"
    if int(os.environ.get("RANK", "0")) == 0:
        write_whole(place / "settings.json", json.dumps(_settings(stage, start), indent=1))
    parts = stage.data(data_root)  # what is missing is said before the stages before it are run for days
    before = run_stage(stage.start, folder, data_root, start, report) if isinstance(stage.start, Stage) else start or stage.start
    if before is None:
        raise ValueError(f"stage {stage.recipe.name!r} wants a model to begin with: a folder, or a name on the hub.")
    model, processor = open_model(find_model(str(before)), torch.float32)
    stage.prepare(model)
    recipe = stage.recipe
    together = recipe.batch if stage.together else 1
    reader, noted = _reading(processor, stage.seen), _Noted(report, place / "passed_over.txt")
    if stage.alike and not hasattr(reader, "length"):
        raise ValueError(f"stage {stage.recipe.name!r} wants batches of like length (alike), and a {type(processor).__name__} knows no lengths.")
    grouping: dict[str, Any] = {"key": reader.length, "group": recipe.batch} if stage.alike else {}
    mixture = Mixture(parts, visits=recipe.steps * recipe.batch, seed=recipe.seed, together=together, look=True, report=noted, **grouping)
    train(recipe, model, mixture, Encoding(reader, noted), place)
    if count := noted.count():
        report(f"{count} examples were passed over in stage {recipe.name!r}; {noted.file} says which and why.")
    _finish(stage, model, processor, place)
    return place / "model"


class _Noted:
    """Tells of what is passed over, and notes it in a file that all processes share."""

    def __init__(self, report: Report, file: Path) -> None:
        self.report, self.file = report, file

    def __call__(self, sentence: str) -> None:
        self.report(sentence)
        with suppress(OSError), open(self.file, "a", encoding="utf-8") as lines:
            lines.write(" ".join(sentence.split()) + "\n")

    def count(self) -> int:
        """How many different ones were noted; a run that goes on meets some again."""
        return len(set(self.file.read_text(encoding="utf-8").splitlines())) if self.file.is_file() else 0


def _reading(processor: Processor, seen: Mapping[str, object]) -> Any:
    """The processor with other values. ValueError for one that it does not have."""
    reader = copy(processor)
    for name, value in seen.items():
        if not hasattr(processor, name):
            raise ValueError(f"a {type(processor).__name__} has no {name!r} that a stage could change.")
        setattr(reader, name, value)
    return reader


def _check(stage: Stage, folder: Path, start: str | None) -> None:
    """ValueError where a run of other settings lies in the folder of a stage or of one before it, of which something is kept. What changes no weight
    may differ, and a setting that a run did not know of yet is what it is by itself."""
    if isinstance(stage.start, Stage):
        _check(stage.start, folder, start)
    place = folder / stage.recipe.name
    if (file := place / "settings.json").is_file() and (newest_first(place) or (place / "model").is_dir()):
        usual = {one.name: one.default for one in fields(Recipe) if one.default is not MISSING}
        settings = {name: value for name, value in _settings(stage, start).items() if (name, value) != ("start", None)}
        check_same_run(place, json.loads(json.dumps(usual)) | json.loads(file.read_text()), settings)


def _settings(stage: Stage, start: str | None) -> dict[str, Any]:
    begin = None if isinstance(stage.start, Stage) else start or stage.start
    given = {name: value for name, value in vars(stage.recipe).items() if name not in ("workers", "keep", "save_every", "options")}
    found: dict[str, Any] = json.loads(json.dumps(given | {"start": begin}, default=str))
    return found


def _finish(stage: Stage, model: GroundedModel, processor: Processor, place: Path) -> None:
    """The first process writes the finished model; the others wait for it. Where each holds a part of the weights, all are in the last checkpoint."""
    if int(os.environ.get("RANK", "0")) == 0:
        if any(isinstance(value, DTensor) or hasattr(value, "ds_id") for value in model.parameters()):
            model = type(model).from_pretrained(str(last_whole_checkpoint(place)), dtype=torch.float32)
        stage.finish(model)
        with aside(place / "model") as new:
            model.save_pretrained(new)
            processor.save_pretrained(new)
    if distributed.is_initialized():
        distributed.barrier()

"""Runs a recipe on transformers' Trainer: one learning rate per component, the rest frozen, resumed from the last whole checkpoint."""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput

from foveal.data.whole import alone_in
from foveal.train.checkpoint import forget_after, last_whole_checkpoint, place_aside, prune, seal
from foveal.train.recipe import Recipe
from foveal.train.schedule import decayed_names, parameter_groups
from foveal.train.stopping import StopWhenAsked

__all__ = ["RecipeTrainer", "Rows", "freeze", "train"]


@runtime_checkable
class Rows(Protocol):
    """What is learnt from, by number: a `Mixture`, a list, any map-style data set of torch's."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def train(
    recipe: Recipe,
    model: nn.Module,
    examples: Rows,
    collate: Callable[[list], Mapping[str, object]],
    folder: Path,
    *,
    resume: bool = True,
    looks: Mapping[int, Callable[[], object]] | None = None,
) -> TrainOutput:
    """Trains `model` in place on `examples`, keeping checkpoints, `losses.json` and a plot of the loss in `folder`.

    A run that was stopped goes on from its last whole checkpoint, with the same order of examples, when `resume`: on a CPU bit for bit as if
    it had not been stopped; one that is finished is not run again. Examples that say so themselves (`in_order`, as a `Mixture` does) are
    taken in their own order, others are shuffled by the recipe's seed. What `looks` has for an update is done after it, as to ask how far the
    model is, and changes nothing of what follows. SIGTERM, or Ctrl-C, ends the run with a checkpoint after the step that is under way
    (SystemExit); a second one at once. ValueError when another run is at work in `folder`, or the recipe names a component that the model does
    not have, or an option that Trainer does not, FloatingPointError for a loss that is no number, OSError when a checkpoint cannot be written;
    in each case what was kept before stays.
    """
    freeze(model, recipe.learn)
    arguments = _arguments(recipe, folder, in_order=getattr(examples, "in_order", False))
    trainer = RecipeTrainer(recipe=recipe, model=model, args=arguments, train_dataset=examples, data_collator=collate)
    trainer.add_callback(_Looking(looks or {}))
    with alone_in(folder):
        start = last_whole_checkpoint(folder) if resume else None
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            forget_after(folder, start)
        if start and (done := TrainerState.load_from_json(str(start / "trainer_state.json"))).global_step >= recipe.steps:
            trainer._load_from_checkpoint(str(start))  # Trainer would take one step more
            return TrainOutput(done.global_step, math.nan, {})
        with StopWhenAsked(trainer) as stop:
            output = trainer.train(resume_from_checkpoint=str(start) if start else None)
        _save_losses(folder, trainer.state.log_history)
        stop.exit_if_asked()
        return output


def _arguments(recipe: Recipe, folder: Path, *, in_order: bool) -> TrainingArguments:
    """What Trainer is told of a recipe. ValueError for options that it does not know, or that a recipe says otherwise."""
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": recipe.steps,
        "per_device_train_batch_size": recipe.at_once(int(os.environ.get("WORLD_SIZE", "1"))),
        "gradient_accumulation_steps": recipe.accumulate,
        "learning_rate": max(recipe.learn.values()),
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": math.ceil(recipe.warmup * recipe.steps),
        "max_grad_norm": recipe.clip,
        "bf16": recipe.bf16,
        "dataloader_num_workers": recipe.workers,
        "save_steps": recipe.save_every,
        "seed": recipe.seed,
        "train_sampling_strategy": "sequential" if in_order else "random",
    }
    if twice := sorted(set(given) & set(recipe.options)):
        raise ValueError(f"recipe {recipe.name!r} says {twice[0]} in its options; the recipe's own settings say it")
    usual: dict[str, Any] = {"save_total_limit": None, "logging_steps": 20, "remove_unused_columns": False, "report_to": "none"}
    usual |= {"use_cpu": not torch.accelerator.is_available(), "dataloader_pin_memory": torch.accelerator.is_available()}
    try:
        arguments = TrainingArguments(**given, **{**usual, **recipe.options})
    except TypeError as error:
        raise ValueError(f"recipe {recipe.name!r} has options that TrainingArguments does not take: {error}") from error
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # several are used by as many processes; Trainer would take one process's batch times their number
    return arguments


class RecipeTrainer(Trainer):
    """transformers' Trainer with a learning rate per component, and every scalar that the model returns beside its loss in the log."""

    def __init__(self, recipe: Recipe, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.optimizer: torch.optim.Optimizer | None
        self.model_accepts_loss_kwargs = False
        self.seen: dict[str, torch.Tensor] = {}
        self.saving_in: Path | None = None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW whose groups are the recipe's components, each with and without weight decay, and by layers where the recipe says so."""
        if self.optimizer is None:
            by_rank = self.recipe.decay_rule == "rank"
            decayed = decayed_names(self.model.named_parameters()) if by_rank else set(self.get_decay_parameter_names(self.model))
            groups: list[dict[str, object]] = []
            for component, rate in self.recipe.learn.items():
                groups += parameter_groups(_parameters_of(self.model, component), rate, self.recipe.weight_decay, decayed, self.recipe.layers)
            self.optimizer = torch.optim.AdamW(groups, betas=self.recipe.betas)
        return self.optimizer

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """As Trainer's, but a model of transformers' reads its own checkpoint: some classes are saved under other names than they live by."""
        target = model if model is not None else self.model
        if not isinstance(target, PreTrainedModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        target.load_state_dict(type(target).from_pretrained(resume_from_checkpoint, dtype=target.dtype).state_dict())

    def _get_output_dir(self, trial: object) -> str:
        return str(self.saving_in) if self.saving_in else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """As Trainer's, but written aside by all processes, and then sealed and renamed by the first (`foveal.train.checkpoint`)."""
        run = Path(self.args.output_dir)
        learnt = ((name, value) for name, value in self.model.named_parameters() if value.requires_grad)
        if odd := next((name for name, value in learnt if not torch.isfinite(value).all()), None):
            raise FloatingPointError(f"{odd} is no number after step {self.state.global_step}. What was learnt up to {_last(run)} is kept.")
        kept = run / f"checkpoint-{self.state.global_step}"
        self.saving_in, first = place_aside(kept), self.is_world_process_zero()
        if first:
            shutil.rmtree(self.saving_in, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if first:
                seal(self.saving_in / kept.name, kept)
                prune(run, self.recipe.keep)
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # what torch says of a file it cannot write
                raise
            raise OSError(f"{kept} could not be written ({error}); make room and run again: it goes on from {_last(run)}") from error
        finally:
            if first:
                shutil.rmtree(self.saving_in, ignore_errors=True)
            self.saving_in = None
        self.accelerator.wait_for_everyone()

    def compute_loss(self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch: object = None) -> object:
        """The model's own loss; what else it returns as scalars is logged with it."""
        outputs = model(**inputs)
        if not torch.isfinite(outputs["loss"]):
            step, run = self.state.global_step + 1, Path(self.args.output_dir)
            raise FloatingPointError(
                f"the loss of step {step} is {outputs['loss'].item()}, no number; a lower learning rate, more warm-up or other examples are wanted. "
                f"What was learnt up to {_last(run)} is kept."
            )
        self.seen = {name: value.detach() for name, value in outputs.items() if torch.is_tensor(value) and value.ndim == 0 and name != "loss"}
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As Trainer's, with the model's scalars of the last step."""
        super().log(logs | {name: round(float(value), 4) for name, value in self.seen.items()}, start_time)


class _Looking(TrainerCallback):
    """Does something after some updates, and leaves the random numbers as they were."""

    def __init__(self, looks: Mapping[int, Callable[[], object]]) -> None:
        self.looks = looks

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        if look := self.looks.get(state.global_step):
            with torch.random.fork_rng():
                look()


def _last(run: Path) -> str:
    """The newest checkpoint, or how it stands without one, for a sentence."""
    kept = last_whole_checkpoint(run)
    return str(kept) if kept else "the start"


def _parameters_of(model: nn.Module, component: str) -> list[tuple[str, nn.Parameter]]:
    """The named parameters that a component of a recipe means: those of a direct child, itself, or those whose names match a pattern."""
    pattern = component if "*" in component else f"{component}.*"
    return [(name, value) for name, value in model.named_parameters() if name == component or fnmatchcase(name, pattern)]


def freeze(model: nn.Module, learn: Mapping[str, float]) -> None:
    """Lets exactly the components named in `learn` learn.

    >>> model = nn.ModuleDict({"eye": nn.Linear(2, 2), "tongue": nn.Linear(2, 2)})
    >>> freeze(model, {"tongue": 1e-3})
    >>> [name for name, value in model.named_parameters() if value.requires_grad]
    ['tongue.weight', 'tongue.bias']
    >>> freeze(model, {"*.bias": 1e-3})
    >>> [name for name, value in model.named_parameters() if value.requires_grad]
    ['eye.bias', 'tongue.bias']
    """
    learnt = {component: _parameters_of(model, component) for component in learn}
    if unknown := sorted(component for component, found in learnt.items() if not found):
        known = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
        raise ValueError(f"the recipe trains {', '.join(unknown)}; the model has {', '.join(known)}")
    every = [name for found in learnt.values() for name, _ in found]
    if twice := sorted({name for name in every if every.count(name) > 1}):
        raise ValueError(f"the recipe gives {twice[0]} more than one learning rate")
    model.requires_grad_(False)
    for found in learnt.values():
        for _, value in found:
            value.requires_grad_(True)


def _save_losses(folder: Path, history: list[dict]) -> None:
    """Writes the log as JSON and, where matplotlib is installed, as a plot."""
    rows = [row for row in history if "loss" in row]
    (folder / "losses.json").write_text(json.dumps(rows))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows])
    axes.set(xlabel="step", ylabel="loss", title=folder.name)
    axes.grid(alpha=0.3)
    figure.savefig(folder / "losses.png", dpi=120)

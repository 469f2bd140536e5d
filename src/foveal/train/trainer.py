"""Runs a recipe on transformers' Trainer: one learning rate per component, the rest frozen, resumed from the last whole checkpoint."""

import json
import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput

from foveal.train.recipe import Recipe
from foveal.train.schedule import parameter_groups

__all__ = ["RecipeTrainer", "freeze", "last_whole_checkpoint", "train"]


def train(
    recipe: Recipe, model: nn.Module, examples: Dataset, collate: Callable[[list], Mapping[str, object]], folder: Path, *, resume: bool = True
) -> TrainOutput:
    """Trains `model` in place on `examples`, keeping checkpoints, `losses.json` and a plot of the loss in `folder`.

    A run that was stopped goes on from its last whole checkpoint, with the same order of examples, when `resume`.
    Raises ValueError when the recipe names a component that the model does not have.
    """
    freeze(model, recipe.learn)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=max(recipe.learn.values()),
        lr_scheduler_type=recipe.schedule,
        warmup_steps=math.ceil(recipe.warmup * recipe.steps),
        max_grad_norm=recipe.clip,
        bf16=recipe.bf16,
        dataloader_num_workers=recipe.workers,
        save_steps=recipe.save_every,
        seed=recipe.seed,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.accelerator.is_available(),
        **{"save_total_limit": 2, "logging_steps": 20, "remove_unused_columns": False, "report_to": "none", **recipe.options},
    )
    trainer = RecipeTrainer(recipe=recipe, model=model, args=arguments, train_dataset=examples, data_collator=collate)
    start = last_whole_checkpoint(folder) if resume else None
    output = trainer.train(resume_from_checkpoint=str(start) if start else None)
    _save_losses(folder, trainer.state.log_history)
    return output


class RecipeTrainer(Trainer):
    """transformers' Trainer with a learning rate per component, and every scalar that the model returns beside its loss in the log."""

    def __init__(self, recipe: Recipe, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.optimizer: torch.optim.Optimizer | None
        self.model_accepts_loss_kwargs = False
        self.seen: dict[str, torch.Tensor] = {}

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW whose groups are the recipe's components, each with and without weight decay, and by layers where the recipe says so."""
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self.model))
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

    def compute_loss(self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch: object = None) -> object:
        """The model's own loss; what else it returns as scalars is logged with it."""
        outputs = model(**inputs)
        self.seen = {name: value.detach() for name, value in outputs.items() if torch.is_tensor(value) and value.ndim == 0 and name != "loss"}
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As Trainer's, with the model's scalars of the last step."""
        super().log(logs | {name: round(float(value), 4) for name, value in self.seen.items()}, start_time)


def _parameters_of(model: nn.Module, component: str) -> list[tuple[str, nn.Parameter]]:
    """The named parameters that a component of a recipe means: those of a direct child, or those whose names match a pattern."""
    pattern = component if "*" in component else f"{component}.*"
    return [(name, value) for name, value in model.named_parameters() if fnmatchcase(name, pattern)]


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


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of `folder` that was written to its end, or None.

    Trainer writes its state last; a checkpoint without it, or whose weights do not open, was torn and is passed over.
    """
    numbered = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[-1]), reverse=True)
    return next((path for path in numbered if _is_whole(path)), None)


def _is_whole(checkpoint: Path) -> bool:
    weights = sorted(checkpoint.glob("*.safetensors"))
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
        for path in weights:
            with safe_open(path, "pt") as opened:
                opened.keys()
    except (OSError, ValueError, SafetensorError):
        return False
    return bool(weights)


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

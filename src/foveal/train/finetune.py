"""Teaching a model one's own things: what is asked about marked pictures, through adapters of low rank or whole, and a model folder in the end."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foveal.data.loader import Encoding
from foveal.data.mixture import Examples, Mixture, Part, Task
from foveal.data.reading import LOG, Report
from foveal.data.tasks import absent, converse, detect, joined, locate, refer, zoomed
from foveal.grounding.wordings.verbs import Verbs
from foveal.models import GroundedModel, Processor
from foveal.train.checkpoint import aside
from foveal.train.recipe import Recipe
from foveal.train.trainer import train

__all__ = ["Finetuning", "adapters_on", "finetune", "rates_of", "region_tasks"]


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """How a model is taught one's own things."""

    steps: int = 200
    """How many updates."""
    batch: int = 8
    """Pictures per update."""
    questions: int = 6
    """Questions about a picture, at most; a model that takes one question at a time gets one."""
    rank: int = 16
    """Of the adapters on every linear map (LoRA); 0 teaches the whole model."""
    rate: float = 1e-3
    """Learning rate of the adapters, and of a detector; of the whole model a fifth of it, of its image encoders a twentieth."""
    seed: int = 0
    save_every: int = 50
    """Steps between checkpoints."""
    least: float = 0.5
    """Smallest share of a picture that is shown at a time; 1: always all of it."""
    flips: float = 0.5
    """How often pictures are mirrored."""
    workers: int = 1
    """Processes that prepare batches."""


def finetune(
    model: GroundedModel,
    processor: Processor,
    examples: Examples,
    names: Sequence[str],
    folder: Path,
    how: Finetuning,
    report: Report = LOG.warning,
    looks: Mapping[int, Callable[[], object]] | None = None,
) -> Path:
    """Teaches `model` what the notes of `examples` say: what a region is, where a name is, all things, and that `names` not marked are absent.

    A run that was stopped goes on where it stopped. Returns the folder of the finished model; beside it lies "adapter" in PEFT's form
    where there are adapters. `looks` is done after these updates, while `model` has what was learnt so far. ValueError for an example that has no
    picture.
    """
    single = processor.template == "monkey"
    task = converse(region_tasks(model.able(processor.verbs), names), 1 if single else how.questions)
    if how.least < 1 or how.flips:
        task = zoomed(task, least=how.least, flips=how.flips)
    mixture = Mixture([Part(examples, 1.0, task)], visits=how.steps * how.batch, seed=how.seed, look=True, report=report)
    if how.rank and getattr(model.config, "lora_rank", 0):
        model.merge()  # its own adapters would be dissolved with those that are put on, and be missed when the model is opened
    taught: Any = adapters_on(model, how.rank, how.seed) if how.rank else model
    recipe = Recipe(
        name="finetune",
        learn=_learnt(taught, how.rate) if how.rank else rates_of(model, how.rate),
        steps=how.steps,
        batch=how.batch,
        save_every=how.save_every,
        workers=how.workers,
        seed=how.seed,
        betas=(0.9, 0.98),
        options={"logging_steps": 10},
    )
    train(recipe, taught, mixture, Encoding(processor, report), folder / "run", looks=looks)
    if how.rank:
        with aside(folder / "adapter") as place:
            taught.save_pretrained(str(place))
        model = taught.merge_and_unload()
    with aside(folder / "model") as place:
        model.save_pretrained(place)
        processor.save_pretrained(place)
    return folder / "model"


def region_tasks(verbs: Verbs, names: Sequence[str]) -> Mapping[Task, float]:
    """What is asked about marked pictures, with shares: only what can be asked. What a detector is to find is no question, and comes with one."""
    named = refer(verbs)
    tasks: dict[Task, float] = {named: 0.4}
    if verbs.location:
        tasks[locate(verbs, several=verbs.detection is not None)] = 0.25
    if verbs.say_detection:
        found = detect(verbs, most=100)
        tasks[found if verbs.detection else joined(found, named)] = 0.25
    if verbs.say_absent:
        tasks[absent(verbs, names)] = 0.1
    return tasks


def adapters_on(model: GroundedModel, rank: int, seed: int = 0) -> Any:
    """The model with PEFT's adapters of low rank on each of its linear maps but the output, and with a copy of its detector that learns as a
    whole, since its maps are convolutions; all else is frozen."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name that it will drop
        whole = ["detector"] if hasattr(model, "detector") else None
        hosts = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and not part.weight.numel()]  # they cannot merge
        settings = LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear", exclude_modules=hosts or None, modules_to_save=whole
        )
        return get_peft_model(model, settings)


def _learnt(taught: Any, rate: float) -> dict[str, float]:
    """The learning rates of adapters, and of what learns as a whole beside them."""
    whole = "*modules_to_save*"
    return {"*lora_*": rate} | ({whole: rate} if any("modules_to_save" in name for name, _ in taught.named_parameters()) else {})


def rates_of(model: GroundedModel, rate: float) -> dict[str, float]:
    """A learning rate for each part of a model: `rate` for a detector, a twentieth for those whose name says that they are towers, and a fifth
    for the others."""
    parts = [name for name, part in model.named_children() if next(part.parameters(), None) is not None]
    slower = {name: 1 if name == "detector" else 20 if "tower" in name else 5 for name in parts}
    alone = {name: 5 for name, _ in model.named_parameters(recurse=False)}
    return {name: rate / times for name, times in (slower | alone).items()}

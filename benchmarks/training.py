"""What a step of training costs: time, tokens a second, arithmetic against the machine's own best, and how long it waits for its batches."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from foveal.data.loader import Encoding
from foveal.data.mixture import Mixture, Part
from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.tasks import converse
from foveal.grounding import Example, Note, Picture, tied
from foveal.models import GroundedModel
from foveal.session import Session
from foveal.train.finetune import region_tasks

__all__ = ["main"]

MODELS = ["ferret-v2-nano", "monkey-nano", "pixelllm-nano"]
LANGUAGE = {"ferret": "language_model", "monkey": "language_model", "pixel_llm": "writer"}
"""Which part of each family is its language model."""


def main(
    model: Annotated[list[str] | None, typer.Option(help="A shipped name or a folder; may be given several times.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps that are timed; the median counts.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Pictures of a step.")] = 8,
) -> None:
    """Time whole steps (forward, backward, update) on drawn scenes with questions, the language model alone, and the loader beside them."""
    kind = "GPU" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    columns = (
        "model",
        "a step",
        "tokens a second",
        "of the step is waiting",
        "peak, GFLOP/s",
        "step, of it",
        "language model, of it",
        "padding",
        "of like length",
    )
    table = Table(*columns, title=f"training, batches of {batch}, {kind}; peak: large float32 products, beside each model", title_justify="left")
    for name in model or MODELS:
        table.add_row(name, *_measured(name, steps, batch))
    Console(width=170).print(table)


def _measured(name: str, steps: int, batch: int) -> tuple[str, ...]:
    session = Session.open(name, dtype="float32")
    model, kind = session.model.train(), session.model.config.model_type
    loader = iter(_loader(session, steps + 2, batch))
    learner = torch.optim.AdamW(model.parameters(), lr=1e-5)
    first = _on(model, next(loader))
    with FlopCounterMode(display=False) as counter:
        _step(model, learner, first)
    part, given = getattr(model, LANGUAGE[kind]), _heard(model, LANGUAGE[kind], first)
    with FlopCounterMode(display=False) as inner:
        _alone(part, given)
    peaks = [best_products()]
    alone = statistics.median(_seconds(lambda: _alone(part, given)) for _ in range(steps))
    peaks.append(best_products())
    waits, works, tokens, real = _timed(model, learner, loader, steps)
    peak, whole = max(*peaks, best_products()), waits + works
    return (
        f"{whole:.2f} s",
        f"{tokens / whole:,.0f}",
        f"{waits / whole:.0%}",
        f"{peak / 1e9:.0f}",
        f"{counter.get_total_flops() / works / peak:.0%}",
        f"{inner.get_total_flops() / alone / peak:.0%}",
        f"{1 - real:.0%}",
        " → ".join(f"{share:.1%}" for share in _paddings(session, batch)),
    )


def best_products(side: int = 2048) -> float:
    """Operations a second in products of large float32 matrices: the most that this machine gives now."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    one = torch.randn(side, side, device=device)
    torch.mm(one, one)
    return 2 * side**3 / min(_seconds(lambda: torch.mm(one, one)) for _ in range(5))


def _loader(session: Session, batches: int, batch: int) -> DataLoader:
    """Batches as finetuning makes them, prepared by one process beside the training."""
    tasks = converse(region_tasks(session.processor.verbs, ["unicorn"]), 1 if session.processor.template == "monkey" else 6)
    mixture = Mixture([Part(_Drawn(), 1.0, tasks)], visits=batches * batch)
    return DataLoader(mixture, batch, collate_fn=Encoding(session.processor), num_workers=1, prefetch_factor=2)


def _paddings(session: Session, batch: int, batches: int = 32) -> list[float]:
    """How much of batches of scenes of all sizes is padding: as they come, and where examples of like length share a batch (`Stage.alike`)."""
    processor: Any = session.processor
    if not hasattr(processor, "length"):
        return []
    tasks = converse(region_tasks(processor.verbs, ["unicorn"]), 1 if processor.template == "monkey" else 6)
    shares, visits = [], batch * batches
    kinds: list[dict[str, Any]] = [{}, {"key": processor.length, "group": batch}]
    for grouping in kinds:
        mixture = Mixture([Part(_Drawn(SceneStyle()), 1.0, tasks)], visits=visits, **grouping)
        lengths = np.array([processor.length(mixture[visit]) for visit in range(visits)]).reshape(batches, batch)
        shares.append(1 - float(lengths.sum() / (lengths.max(1) * batch).sum()))
    return shares


class _Drawn:
    """Scenes drawn when they are asked for, with their things as notes."""

    def __init__(self, style: SceneStyle | None = None) -> None:
        self.style = style or SceneStyle(sides=((448, 448, 1.0),))

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> Example:
        drawing = draw_scene(index, "train", self.style)
        height, width = drawing.labels.shape
        view = view_of(drawing)
        notes = tuple(Note(tied(name, box), "object") for name, box in zip(view.names, view.boxes, strict=True))
        return Example(drawing.id, (Picture(width, height, pixels=drawing.pixels),), notes=notes)


def _step(model: GroundedModel, learner: torch.optim.Optimizer, batch: dict[str, Any]) -> None:
    model(**batch)["loss"].backward()
    learner.step()
    learner.zero_grad()


def _heard(model: GroundedModel, name: str, batch: dict[str, Any]) -> dict[str, Any]:
    """What the model gives to its language model for a batch."""
    kept: dict[str, Any] = {}

    def keep(part: nn.Module, places: tuple[Any, ...], names: dict[str, Any]) -> None:
        if not kept:
            kept.update(names | {"": places})

    hook = getattr(model, name).register_forward_pre_hook(keep, with_kwargs=True)
    model(**batch)
    hook.remove()
    return kept


def _alone(part: nn.Module, given: dict[str, Any]) -> None:
    """The language model forward and backward, down to what it is given."""
    leaves = {key: tuple(map(_leaf, value)) if key == "" else _leaf(value) for key, value in given.items()}
    made = part(*leaves.pop(""), **leaves)
    logits = made if isinstance(made, torch.Tensor) else made["logits"] if "logits" in made else made[0]
    logits.float().square().mean().backward()
    part.zero_grad()


def _leaf(value: Any) -> Any:
    """A value cut off from what made it; numbers are to have gradients."""
    return value.detach().clone().requires_grad_(value.is_floating_point()) if isinstance(value, torch.Tensor) else value


def _timed(model: GroundedModel, learner: torch.optim.Optimizer, loader: Iterator[dict[str, Any]], steps: int) -> tuple[float, float, float, float]:
    """Medians of the seconds that a step waits and works, tokens of a step, and the share of them that is no padding."""
    waits, works, tokens, real = list[float](), list[float](), list[int](), list[float]()
    for _ in range(steps):
        start = time.perf_counter()
        batch = next(loader)
        waits.append(time.perf_counter() - start)
        mask = batch["attention_mask"] if "attention_mask" in batch else batch["input_ids"] != 0
        tokens.append(int(mask.sum()))
        real.append(float(mask.float().mean()))
        given = _on(model, batch)
        works.append(_seconds(lambda given=given: _step(model, learner, given)))
    return statistics.median(waits), statistics.median(works), statistics.median(tokens), float(np.mean(real))


def _on(model: GroundedModel, batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.to(model.device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)

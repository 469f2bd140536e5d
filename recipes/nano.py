"""ferret-v2-nano, the small model that ships, from nothing to checkpoint: encoders, language model, then Ferret-v2's three stages.

    python recipes/nano.py                      # every phase in turn; one that is done is not done again, one that was stopped goes on
    python recipes/nano.py --phases align,dense # only these
    python recipes/nano.py --longer 4           # four times the steps, where a GPU is at hand

What it reached stands in docs/log.md, with dates and commits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import track
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from foveal.data.sources.scenes import COLOURS, vocabulary
from foveal.data.sources.scenes.questions import DEFAULT_TASKS
from foveal.models.ferret import FerretForConditionalGeneration, FerretProcessor
from foveal.train import Recipe, train
from nano_boxes import lay_boxes, read_edges
from nano_encoders import DensePretraining, Views, collate
from nano_pictures import SHARD, build, open_shards
from nano_pupil import Pupil
from nano_stages import Asked, Layouts, collate_asked, collate_layouts, encode, feature_shard, new_model
from nano_words import build_tokenizer, corpus, pieces_of

__all__ = ["ALIGN", "DENSE", "EDGES", "ENCODERS", "INSTRUCT", "LANGUAGE", "WHOLE", "WIDE", "Run", "main", "run_phases"]

PICTURES = 24_000
WORTH_COMPILING = 200
"""Steps from which a minute of compiling pays: it takes a fifth off each."""
BF16 = torch.accelerator.is_available() or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
"""Where a processor has no products of its own for bfloat16, they take fifty times as long as in float32."""
ENCODERS = Recipe(
    name="encoders",
    learn=dict.fromkeys(("overview", "tile", "words", "colours", "edges"), 1.5e-3),
    steps=2400,
    batch=32,
    weight_decay=0.02,
    betas=(0.9, 0.98),
    clip=5.0,
)
"""Both encoders on the patches near things, which are a third of a view and nearly all there is to learn."""
EDGES = replace(ENCODERS, name="encoders-whole", learn=dict.fromkeys(ENCODERS.learn, 2e-4), steps=60, batch=24)
"""The same on whole views, as they will be looked at."""
LANGUAGE = Recipe(name="language", learn={"language_model": 1e-3}, steps=120, batch=16, bf16=BF16, betas=(0.9, 0.98), weight_decay=0.01)
"""The language model alone on listed things: how questions and answers are worded, and that a place stands behind a name."""
ALIGN = replace(LANGUAGE, name="align", learn={"projector": 1e-4}, steps=40, batch=32)
"""Stage I: captions; the overview alone; only its projector learns (arXiv 2404.07973, 3.3)."""
DENSE = replace(ALIGN, name="dense", learn={"projector": 1e-4, "local_projector": 1e-4, "sampler": 1e-3, "positions": 1e-4, "places": 1e-3}, steps=60)
"""Stage II: dense referring and dense detection at high resolution; projectors and sampler learn. Faster projectors outgrow the positions."""
INSTRUCT = replace(
    DENSE,
    name="instruct",
    learn={"projector": 3e-4, "local_projector": 3e-4, "sampler": 1e-3, "positions": 3e-4, "language_model": 1.2e-3, "places": 1.2e-3},
    steps=2600,
    batch=16,
)
"""Stage III: all tasks, mostly names and their places; the language model learns too. Of the patches without a thing few are seen."""
WIDE = replace(INSTRUCT, name="wide", learn={name: rate / 3 for name, rate in INSTRUCT.learn.items()}, steps=100, seed=2)
"""Stage III over all patches, as they will be seen; the rate falls to nothing."""
WHOLE = replace(WIDE, name="whole", learn={**WIDE.learn, "overview_tower": 5e-5, "local_tower": 5e-5}, steps=200, seed=21, save_every=50)
"""The end of stage III, in which nothing is frozen: the encoders learn too, from pixels."""


@dataclass(frozen=True)
class Run:
    """A training under way: where its files lie, and how many times the steps of the recipe it takes."""

    folder: Path
    longer: float = 1.0
    pictures: int = PICTURES

    def at_length(self, recipe: Recipe) -> Recipe:
        return replace(recipe, steps=max(1, round(recipe.steps * self.longer)))

    def model(self, name: str) -> tuple[FerretForConditionalGeneration, FerretProcessor]:
        path = self.folder / f"{name}-model"
        model, processor = Pupil.from_pretrained(path), FerretProcessor.from_pretrained(path)
        model.digits = torch.tensor(processor.tokenizer.convert_tokens_to_ids(list("0123456789")))
        return model, processor

    def keep(self, name: str, model: FerretForConditionalGeneration, processor: FerretProcessor) -> None:
        model.save_pretrained(self.folder / f"{name}-model")
        processor.save_pretrained(self.folder / f"{name}-model")

    def encoders(self, name: str | None) -> DensePretraining:
        encoders = DensePretraining(len(vocabulary()), len(COLOURS))
        if name is not None:
            encoders.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        return encoders

    def features(self) -> list:
        """The shards whose features have been kept so far."""
        kept = [(shard, self.folder / "features" / f"{number:04d}.npy") for number, shard in enumerate(open_shards(self.folder / "pictures"))]
        return [(shard, np.load(path, mmap_mode="r")) for shard, path in kept if path.exists()]


def draw(run: Run) -> None:
    """Draws the pictures that everything learns from."""
    for _ in track(build(run.folder / "pictures", run.pictures), total=-(-run.pictures // SHARD), description="drawing"):
        pass


def pretrain(run: Run, recipe: Recipe, before: str | None, patches: int) -> None:
    """Trains the encoders to name the thing under a patch, its colour and its edges."""
    torch.manual_seed(recipe.seed)
    encoders = run.encoders(before)
    train(run.at_length(recipe), encoders, Views(run.folder / "pictures"), partial(collate, patches=patches), run.folder / recipe.name)
    save_file({name: value.contiguous() for name, value in encoders.state_dict().items()}, run.folder / f"{recipe.name}.safetensors")


def speak(run: Run) -> None:
    """Makes the tokenizer and the model, and trains its language model alone."""
    tokenizer: PreTrainedTokenizerFast = build_tokenizer(pieces_of(corpus()))
    encoders = run.encoders(EDGES.name).eval()
    model = new_model(tokenizer, (encoders.overview, encoders.tile), run.features())
    lay_boxes(model, read_edges(run.features()), range(model.config.text_config.num_attention_heads))
    processor = FerretProcessor.from_config(model.config, tokenizer)
    tasks = {task: share for task, share in DEFAULT_TASKS.items() if task.endswith("_box") or task in WORDS_ALONE}
    shards = [(shard, None) for shard in open_shards(run.folder / "pictures")]
    pad = partial(collate_layouts, pad=tokenizer.pad_token_id)
    train(run.at_length(LANGUAGE), model, Layouts(shards, processor, tasks, 6), pad, run.folder / LANGUAGE.name)
    run.keep(LANGUAGE.name, model, processor)


def look(run: Run) -> None:
    """Keeps the encoders' features of all pictures: the stages in which encoders are frozen read them instead of looking again."""
    (run.folder / "features").mkdir(exist_ok=True)
    encoders = run.encoders(EDGES.name).eval()
    for number, shard in enumerate(track(open_shards(run.folder / "pictures"), description="looking")):
        if not (path := run.folder / "features" / f"{number:04d}.npy").exists():
            feature_shard(partial(encode, encoders), shard, path)


def stage(run: Run, recipe: Recipe, before: str, tasks: Mapping[str, float], count: int, ground: float = 1.0) -> None:
    """One of the paper's stages on kept features, or on pixels where an encoder learns; the first sees the overview alone, all see `ground`,
    a share, of the patches without a thing."""
    model, processor = run.model(before)
    tiles = recipe.name != ALIGN.name
    asked = FerretProcessor.from_config(model.config, processor.tokenizer, **({} if tiles else {"grids": []}))
    learns_to_see = "local_tower" in recipe.learn
    shards = [(shard, None) for shard in open_shards(run.folder / "pictures")] if learns_to_see else run.features()
    examples = Asked(shards, asked, tasks, count, seed=len(recipe.name), ground=ground)
    if recipe.steps * run.longer > WORTH_COMPILING:
        model.layers = torch.compile(model.layers, dynamic=True)
    train(run.at_length(recipe), model, examples, partial(collate_asked, pad=processor.tokenizer.pad_token_id, tiles=tiles), run.folder / recipe.name)
    run.keep(recipe.name, model, processor)


def ship(run: Run) -> None:
    """Writes the finished model as it ships: bfloat16, with its processor and its card."""
    model = FerretForConditionalGeneration.from_pretrained(run.folder / f"{WHOLE.name}-model", dtype=torch.bfloat16)
    processor = FerretProcessor.from_pretrained(run.folder / f"{WHOLE.name}-model")
    model.save_pretrained(run.folder / "ferret-v2-nano")
    processor.save_pretrained(run.folder / "ferret-v2-nano")
    (run.folder / "ferret-v2-nano" / "README.md").write_text((Path(__file__).parent / "nano_card.md").read_text())


def run_phases(run: Run, phases: Mapping[str, Callable[[Any], None]], wanted: str) -> None:
    """Runs the `wanted` phases, comma-separated and in that order, but for those that the run's folder says are done.

    typer.BadParameter for one that is none of `phases`.
    """
    names = wanted.split(",")
    if unknown := sorted(set(names) - set(phases)):
        raise typer.BadParameter(f"{', '.join(unknown)}; the phases are {', '.join(phases)}")
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (done := run.folder / f"{name}.done").exists():
            phases[name](run)
            done.touch()


WORDS_ALONE = ("locate", "ground", "absent", "detect", "count", "present", "refer", "locate_all")
TASKS = {**DEFAULT_TASKS, "locate": 0.35, "absent": 0.3, "ground": 0.15, "caption_grounded": 0.02, "detect": 0.4}
TRUSTING = {**TASKS, "locate": 0.45, "absent": 0.22}
"""At last, fewer questions about what is not there: with as many as before, one thing in six that is there is denied."""
GROUND = 0.1

PHASES: Mapping[str, Callable[[Run], None]] = {
    "draw": draw,
    "encoders": partial(pretrain, recipe=ENCODERS, before=None, patches=24),
    "encoders-whole": partial(pretrain, recipe=EDGES, before=ENCODERS.name, patches=64),
    "features": look,
    "language": speak,
    "align": partial(stage, recipe=ALIGN, before=LANGUAGE.name, tasks={"caption": 1.0}, count=2, ground=GROUND),
    "dense": partial(stage, recipe=DENSE, before=ALIGN.name, tasks={"detect": 0.5, "refer": 0.5}, count=3, ground=GROUND),
    "instruct": partial(stage, recipe=INSTRUCT, before=DENSE.name, tasks=TASKS, count=10, ground=GROUND),
    "wide": partial(stage, recipe=WIDE, before=INSTRUCT.name, tasks=TASKS, count=10),
    "whole": partial(stage, recipe=WHOLE, before=WIDE.name, tasks=TRUSTING, count=10),
    "ship": ship,
}


def main(
    folder: Annotated[Path, typer.Option(help="Where pictures, features and checkpoints are kept.")] = Path("runs/nano"),
    phases: Annotated[str, typer.Option(help="Comma-separated names of phases, in order.")] = ",".join(PHASES),
    longer: Annotated[float, typer.Option(min=0.001, help="Times the steps of each phase.")] = 1.0,
    pictures: Annotated[int, typer.Option(min=SHARD, help="Pictures to learn from; they come in shards of 500.")] = PICTURES,
) -> None:
    """Train the small model that ships, phase by phase."""
    run_phases(Run(folder, longer, pictures), PHASES, phases)


if __name__ == "__main__":
    typer.run(main)

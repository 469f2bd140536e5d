"""monkey-nano, a small Monkey, from a new encoder and ferret-v2-nano's language model to checkpoint.

    python recipes/monkey_nano.py                      # every phase in turn; one that is done is not done again, one that was stopped goes on
    python recipes/monkey_nano.py --phases draw,letters # only these
    python recipes/monkey_nano.py --longer 4           # four times the steps, where a GPU is at hand

How far it came, and how long each phase takes, stands in docs/log.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track
from safetensors.torch import load_file, save_file

from foveal.data.sources.scenes.short import SHORT_STYLE, SHORT_TASKS
from foveal.models.monkey import MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from monkey_encoder import Naming, Views, collate
from monkey_pictures import PAGE_STYLE, SHARD, SIDE, Shard, Shown, build, open_shards
from monkey_reader import Written, add_reader, collate_written
from monkey_stages import (
    Asked,
    Connecting,
    Pupil,
    Seen,
    collate_asked,
    collate_seen,
    keep_shard,
    new_model,
    new_tokenizer,
    take_words,
)
from nano import BF16, WORTH_COMPILING, run_phases
from nano import Run as Training

__all__ = ["ADAPT", "CONNECT", "ENCODER", "INSTRUCT", "LETTERS", "PRACTISE", "WHOLE", "Run", "main"]

PICTURES, PAGES = 10_000, 2_000
SINGLES = 1_000
"""Pictures with one word each, and one to five of one name: as the others have it, a model says a word twice and counts to one."""
SINGLE_STYLE = replace(SHORT_STYLE, texts=(1, 1), repeat_share=1.0, repeats=(1, 5))
LOOKED_AT = 500
"""Pages, and pictures, whose features are kept patch by patch, for the resampler."""
TOLD = 1_500
"""Pictures beside those whose tokens are kept, for the language model."""
LETTERS = Recipe(
    name="letters",
    learn={"tower": 1.5e-3, "norm": 1.5e-3} | dict.fromkeys(("words", "letters", "early", "spelling", "edges", "middles"), 3e-3),
    steps=1200,
    batch=16,
    weight_decay=0.02,
    betas=(0.9, 0.98),
    clip=5.0,
    schedule="constant_with_warmup",
)
"""The encoder on pieces of pages, nearly only on letters. Small batches: it takes some four thousand pieces before the first letter is told."""
ENCODER = replace(LETTERS, name="encoder", steps=4000, seed=1, schedule="cosine")
"""The encoder on everything that may lie under a patch of a page, a picture, a whole."""
COUNTING = replace(ENCODER, name="counting", learn={name: rate / 2 for name, rate in ENCODER.learn.items()}, steps=3000, seed=4)
"""The same for longer, on more patches of a view and more of things up close: how many things there are is seen last."""
WHOLE = replace(ENCODER, name="encoder-whole", learn=dict.fromkeys(ENCODER.learn, 2e-4), steps=100, batch=12, seed=2)
"""The same on all patches of a view, as it will be looked at."""
CONNECT = Recipe(name="connect", learn={"connector": 1e-3, "words": 3e-4, "middles": 3e-3}, steps=700, batch=12, betas=(0.9, 0.98), bf16=BF16)
"""The resampler alone: each token near the word of what lies in its cell."""
INSTRUCT = Recipe(name="instruct", learn={"language_model": 1e-3}, steps=700, batch=16, betas=(0.9, 0.98), weight_decay=0.01, bf16=BF16)
"""The language model on questions."""
PRACTISE = replace(INSTRUCT, name="practise", learn={"language_model.model.layers": 8e-4, "language_model.model.norm": 8e-4}, steps=450, seed=3)
"""The same behind the layer that reads; words stay where their tokens are."""
ADAPT = replace(
    PRACTISE,
    name="adapt",
    learn={"vision_tower.blocks.*_lora.*": 1e-3, "connector": 1e-4, "language_model.model.layers": 1e-4},
    steps=30,
    batch=8,
    seed=1,
)
"""The windows' adapters and the resampler with it, through the encoder."""
PRACTISED = {"count": 0.4, "present": 0.15, "read": 0.3, "side": 0.05, "colour": 0.03, "caption": 0.04, "detailed": 0.03}
"""Shares of the tasks towards the end: what is still missed comes more often."""
QUESTIONS = 10
"""About a picture, at most; fewer fit behind it."""


class Run(Training):
    """A training under way: where its files lie, and how many times the steps of the recipe it takes."""

    def model(self, name: str) -> tuple[Pupil, MonkeyProcessor]:
        path = self.folder / f"{name}-model"
        return Pupil.from_pretrained(path), MonkeyProcessor.from_pretrained(path)

    def naming(self, name: str) -> Naming:
        naming = Naming()
        naming.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        return naming

    def shown(self, kind: str = "pictures") -> Shown:
        return Shown(open_shards(self.folder / kind))

    def kept(self, kind: str) -> list[np.ndarray]:
        """What has been kept of the pictures of each shard, as far as it goes."""
        return [np.load(path, mmap_mode="r") for path in sorted((self.folder / kind).glob("[0-9]*[0-9].npy"))]

    def shards(self, kind: str, count: int) -> list[Shard]:
        """As many shards of pages or pictures as hold `count`."""
        return open_shards(self.folder / kind)[: -(-count // SHARD)]

    def look(self, kind: str, at: Callable[[torch.Tensor], torch.Tensor], shards: list[Shard]) -> None:
        """Keeps what `at` makes of the views of some pictures: later phases read that instead of looking again."""
        (self.folder / kind).mkdir(exist_ok=True)
        for number, shard in enumerate(track(shards, description=kind)):
            if not (path := self.folder / kind / f"{number:04d}.npy").exists():
                keep_shard(at, shard, path)


def draw(run: Run) -> None:
    """Draws the pages and the pictures that everything learns from."""
    pages = build(run.folder / "pages", min(PAGES, run.pictures), style=PAGE_STYLE)
    singles = build(run.folder / "singles", min(SINGLES, run.pictures), style=SINGLE_STYLE)
    pictures = build(run.folder / "pictures", run.pictures)
    for shards, count in ((pages, min(PAGES, run.pictures)), (singles, min(SINGLES, run.pictures)), (pictures, run.pictures)):
        for _ in track(shards, total=-(-count // SHARD), description="drawing"):
            pass


def pretrain(run: Run, recipe: Recipe, before: str | None, patches: int, shares: tuple[float, float, float], wholes: float = 1.0) -> None:
    """Trains the encoder to say what lies under `patches` patches of a view."""
    torch.manual_seed(recipe.seed)
    views = Views(run.shown("pages"), run.shown(), patches, shares, recipe.seed)
    naming = run.naming(before) if before else Naming()
    if before is None:
        first = collate([views[index] for index in range(64)])
        naming.begin(first["views"], first["kept"])
    naming.wholes = wholes
    train(run.at_length(recipe), naming, views, collate, run.folder / recipe.name)
    save_file({name: value.contiguous() for name, value in naming.state_dict().items()}, run.folder / f"{recipe.name}.safetensors")


def see(run: Run) -> None:
    """Keeps what the plain encoder sees of some pages and pictures."""
    run.look("features", run.naming(WHOLE.name).eval().tower, looked_at(run))


def told(run: Run) -> list[Shard]:
    """What the language model is asked about."""
    return [*run.shards("singles", SINGLES), *run.shards("pictures", TOLD)]


def looked_at(run: Run) -> list[Shard]:
    """What the resampler learns from."""
    return [*run.shards("pages", LOOKED_AT), *run.shards("pictures", LOOKED_AT)]


def connect(run: Run, recipe: Recipe) -> None:
    """Makes the tokenizer and the model, trains its resampler alone."""
    spoken = Session.open("ferret-v2-nano")
    tokenizer = new_tokenizer()
    model = new_model(tokenizer, run.naming(WHOLE.name), spoken.model, spoken.processor.tokenizer)
    connecting, seen = Connecting(model, tokenizer), Seen(Shown(looked_at(run)), run.kept("features"))
    connecting.begin(collate_seen([seen[number] for number in range(start, start + 10)]) for start in range(0, len(seen) - 9, 10))
    train(run.at_length(recipe), connecting, seen, collate_seen, run.folder / recipe.name)
    take_words(model, connecting, tokenizer)
    model.save_pretrained(run.folder / f"{recipe.name}-model")
    MonkeyProcessor.from_config(model.config, tokenizer).save_pretrained(run.folder / f"{recipe.name}-model")


def tell(run: Run) -> None:
    """Keeps the tokens that encoder and resampler make of many more pictures."""
    model, _ = run.model(CONNECT.name)
    run.look("tokens", lambda views: model.connector(model.vision_tower(views)), told(run))


def stage(run: Run, recipe: Recipe, before: str, frozen: bool, tasks: Mapping[str, float] = SHORT_TASKS) -> None:
    """Trains on questions: over kept tokens where the encoder is `frozen`, through it where its adapters learn."""
    model, processor = run.model(before)
    shards = told(run)
    asked = Asked(list(zip(shards, run.kept("tokens") if frozen else [None] * len(shards), strict=True)), processor, QUESTIONS, recipe.seed, tasks)
    if recipe.steps * run.longer > WORTH_COMPILING:
        model.layers = torch.compile(model.layers, dynamic=True)
    pad = partial(collate_asked, pad=processor.tokenizer.pad_token_id)
    train(run.at_length(recipe), model, asked, pad, run.folder / recipe.name)
    model.save_pretrained(run.folder / f"{recipe.name}-model")
    processor.save_pretrained(run.folder / f"{recipe.name}-model")


def read(run: Run, before: str) -> None:
    """Gives the language model the layer that reads, from what it sees in a few hundred pictures."""
    model, processor = run.model(before)
    asked = Written(list(zip(told(run), run.kept("tokens"), strict=True)), processor, QUESTIONS, seed=5)
    pad = processor.tokenizer.pad_token_id
    batches = (collate_written([asked[index] for index in range(start, start + 16)], pad) for start in range(0, 640, 16))
    made = add_reader(model.eval(), batches)
    made.save_pretrained(run.folder / "reader-model")
    processor.save_pretrained(run.folder / "reader-model")


def ship(run: Run) -> None:
    """Writes the finished model as it is to ship: bfloat16, with its processor and its card."""
    model = MonkeyForConditionalGeneration.from_pretrained(run.folder / f"{ADAPT.name}-model", dtype=torch.bfloat16)
    model.save_pretrained(run.folder / "monkey-nano")
    MonkeyProcessor.from_pretrained(run.folder / f"{ADAPT.name}-model").save_pretrained(run.folder / "monkey-nano")
    (run.folder / "monkey-nano" / "README.md").write_text((Path(__file__).parent / "monkey_card.md").read_text())


PHASES: Mapping[str, Callable[[Run], None]] = {
    "draw": draw,
    "letters": partial(pretrain, recipe=LETTERS, before=None, patches=96, shares=(1.0, 0.0, 0.0), wholes=0.1),
    "encoder": partial(pretrain, recipe=ENCODER, before=LETTERS.name, patches=112, shares=(0.5, 0.2, 0.3)),
    "counting": partial(pretrain, recipe=COUNTING, before=ENCODER.name, patches=160, shares=(0.3, 0.4, 0.3)),
    "encoder-whole": partial(pretrain, recipe=WHOLE, before=COUNTING.name, patches=SIDE * SIDE, shares=(0.1, 0.55, 0.35)),
    "features": see,
    "connect": partial(connect, recipe=CONNECT),
    "tokens": tell,
    "instruct": partial(stage, recipe=INSTRUCT, before=CONNECT.name, frozen=True),
    "reader": partial(read, before=INSTRUCT.name),
    "practise": partial(stage, recipe=PRACTISE, before="reader", frozen=True, tasks=PRACTISED),
    "adapt": partial(stage, recipe=ADAPT, before=PRACTISE.name, frozen=False, tasks=PRACTISED),
    "ship": ship,
}


def main(
    folder: Annotated[Path, typer.Option(help="Where pictures, features and checkpoints are kept.")] = Path("runs/monkey"),
    phases: Annotated[str, typer.Option(help="Comma-separated names of phases, in order.")] = ",".join(PHASES),
    longer: Annotated[float, typer.Option(min=0.001, help="Times the steps of each phase.")] = 1.0,
    pictures: Annotated[int, typer.Option(min=SHARD, help="Pictures to learn from; they come in shards of 500.")] = PICTURES,
) -> None:
    """Train the small Monkey, phase by phase."""
    run_phases(Run(folder, longer, pictures), PHASES, phases)


if __name__ == "__main__":
    typer.run(main)

"""monkey-nano, a small Monkey, from ferret-v2-nano's encoder and language model to checkpoint.

    python recipes/monkey_nano.py                      # every phase in turn; one that is done is not done again, one that was stopped goes on
    python recipes/monkey_nano.py --phases draw,encoder # only these
    python recipes/monkey_nano.py --longer 4           # four times the steps, where a GPU is at hand

How far it came stands in docs/log.md: it names things, and does not read yet.
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
from torch.utils.data import Dataset

from foveal.models.monkey import MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from monkey_encoder import Naming, Pictures, collate, from_tiles, views_of
from monkey_pictures import CLASSES, SHARD, build, open_shards
from monkey_stages import Asked, Connecting, Pupil, collate_asked, feature_shard, new_model, new_tokenizer, take_words
from nano import BF16, WORTH_COMPILING
from nano import Run as Training

__all__ = ["ADAPT", "CONNECT", "ENCODER", "INSTRUCT", "WHOLE", "Run", "main"]

PICTURES = 10_000
ENCODER = Recipe(
    name="encoder",
    learn={"tower": 6e-4, "norm": 6e-4, "words": 1.5e-3, "letters": 1.5e-3, "middles": 1.5e-3},
    steps=900,
    batch=24,
    weight_decay=0.02,
    betas=(0.9, 0.98),
    clip=5.0,
)
"""The encoder on the patches near things and texts, which are a quarter of a view and nearly all there is to learn."""
WHOLE = replace(ENCODER, name="encoder-whole", learn=dict.fromkeys(ENCODER.learn, 1e-4), steps=60, batch=12)
"""The same on whole views, as they will be looked at."""
CONNECT = Recipe(name="connect", learn={"connector": 1e-3, "words": 3e-4, "middles": 3e-3}, steps=400, batch=48, betas=(0.9, 0.98), bf16=BF16)
"""The resampler alone: each token near the word of what lies in its cell."""
INSTRUCT = Recipe(
    name="instruct", learn={"connector": 3e-4, "language_model": 1e-3}, steps=1200, batch=16, betas=(0.9, 0.98), weight_decay=0.01, bf16=BF16
)
"""Resampler and language model on questions, the encoder frozen, as Monkey trains them."""
ADAPT = replace(INSTRUCT, name="adapt", learn={"vision_tower.blocks.*_lora.*": 1e-3, "connector": 1e-4, "language_model": 3e-4}, steps=120, seed=1)
"""The windows' adapters with them, through the encoder."""
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

    def shown(self) -> Pictures:
        return Pictures(open_shards(self.folder / "pictures"))

    def features(self) -> list:
        """The shards whose features have been kept so far."""
        kept = [(shard, self.folder / "features" / f"{number:04d}.npy") for number, shard in enumerate(open_shards(self.folder / "pictures"))]
        return [(shard, np.load(path, mmap_mode="r")) for shard, path in kept if path.exists()]


def draw(run: Run) -> None:
    """Draws the pictures that everything learns from."""
    for _ in track(build(run.folder / "pictures", run.pictures), total=-(-run.pictures // SHARD), description="drawing"):
        pass


@torch.no_grad()
def begin(run: Run) -> Naming:
    """ferret-v2-nano's encoder of tiles in Monkey's layout; everything that has a name starts where that encoder sees it."""
    shown = run.shown()
    views = torch.cat(views_of(np.stack([shown[number]["pixels"] for number in range(8)])))
    naming = from_tiles(Session.open("ferret-v2-nano").model.local_tower.backbone, views)
    sums, counts = torch.zeros(CLASSES + 1, naming.words.embedding_dim), torch.zeros(CLASSES + 1)
    for start in range(0, min(600, len(shown)), 20):
        batch = collate([shown[number] for number in range(start, start + 20)], 48)
        classes = batch["classes"].gather(1, batch["kept"]).flatten().long() % (CLASSES + 1)
        sums.index_add_(0, classes, naming.features(batch["views"], batch["kept"]).flatten(0, 1))
        counts += torch.bincount(classes, minlength=CLASSES + 1)
    naming.words.weight.copy_(torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), naming.words.weight))
    return naming


def pretrain(run: Run, recipe: Recipe, before: str | None, patches: int) -> None:
    """Trains the encoder to say what lies under a patch."""
    torch.manual_seed(recipe.seed)
    naming = run.naming(before) if before else begin(run)
    train(run.at_length(recipe), naming, run.shown(), partial(collate, patches=patches), run.folder / recipe.name)
    save_file({name: value.contiguous() for name, value in naming.state_dict().items()}, run.folder / f"{recipe.name}.safetensors")


def look(run: Run) -> None:
    """Keeps what the plain encoder sees of all pictures: the stages in which it is frozen read that instead of looking again."""
    (run.folder / "features").mkdir(exist_ok=True)
    naming = run.naming(WHOLE.name).eval()
    for number, shard in enumerate(track(open_shards(run.folder / "pictures"), description="looking")):
        if not (path := run.folder / "features" / f"{number:04d}.npy").exists():
            feature_shard(naming, shard, path)


class Seen(Dataset):
    """The kept features of each picture, with what lies in each cell of the resampler's grid."""

    def __init__(self, shards: list) -> None:
        self.features = [features for _, features in shards]
        self.pictures = Pictures([shard for shard, _ in shards])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number = int(np.searchsorted(self.pictures.ends, index, "right"))
        features = self.features[number][index - (int(self.pictures.ends[number - 1]) if number else 0)]
        return self.pictures[index] | {"features": features}


def connect(run: Run, recipe: Recipe) -> None:
    """Makes the tokenizer and the model, and trains its resampler alone."""
    spoken = Session.open("ferret-v2-nano")
    tokenizer = new_tokenizer()
    model = new_model(tokenizer, run.naming(WHOLE.name), spoken.model, spoken.processor.tokenizer)
    connecting, shown = Connecting(model, tokenizer), Seen(run.features())
    connecting.begin(connecting.collate([shown[number] for number in range(start, start + 25)]) for start in range(0, min(2000, len(shown)), 25))
    train(run.at_length(recipe), connecting, shown, connecting.collate, run.folder / recipe.name)
    take_words(model, connecting, tokenizer)
    model.save_pretrained(run.folder / f"{recipe.name}-model")
    MonkeyProcessor.from_config(model.config, tokenizer).save_pretrained(run.folder / f"{recipe.name}-model")


def stage(run: Run, recipe: Recipe, before: str, frozen: bool) -> None:
    """Trains on questions: over kept features where the encoder is `frozen`, through it where its adapters learn."""
    model, processor = run.model(before)
    shards = run.features() if frozen else [(shard, None) for shard in open_shards(run.folder / "pictures")]
    if recipe.steps * run.longer > WORTH_COMPILING:
        model.layers = torch.compile(model.layers, dynamic=True)
    pad = partial(collate_asked, pad=processor.tokenizer.pad_token_id)
    train(run.at_length(recipe), model, Asked(shards, processor, QUESTIONS, recipe.seed), pad, run.folder / recipe.name)
    model.save_pretrained(run.folder / f"{recipe.name}-model")
    processor.save_pretrained(run.folder / f"{recipe.name}-model")


def ship(run: Run) -> None:
    """Writes the finished model as it is to ship: bfloat16, with its processor and its card."""
    model = MonkeyForConditionalGeneration.from_pretrained(run.folder / f"{ADAPT.name}-model", dtype=torch.bfloat16)
    model.save_pretrained(run.folder / "monkey-nano")
    MonkeyProcessor.from_pretrained(run.folder / f"{ADAPT.name}-model").save_pretrained(run.folder / "monkey-nano")
    (run.folder / "monkey-nano" / "README.md").write_text((Path(__file__).parent / "monkey_card.md").read_text())


PHASES: Mapping[str, Callable[[Run], None]] = {
    "draw": draw,
    "encoder": partial(pretrain, recipe=ENCODER, before=None, patches=48),
    "encoder-whole": partial(pretrain, recipe=WHOLE, before=ENCODER.name, patches=196),
    "features": look,
    "connect": partial(connect, recipe=CONNECT),
    "instruct": partial(stage, recipe=INSTRUCT, before=CONNECT.name, frozen=True),
    "adapt": partial(stage, recipe=ADAPT, before=INSTRUCT.name, frozen=False),
    "ship": ship,
}


def main(
    folder: Annotated[Path, typer.Option(help="Where pictures, features and checkpoints are kept.")] = Path("runs/monkey"),
    phases: Annotated[str, typer.Option(help="Comma-separated names of phases, in order.")] = ",".join(PHASES),
    longer: Annotated[float, typer.Option(min=0.001, help="Times the steps of each phase.")] = 1.0,
    pictures: Annotated[int, typer.Option(min=SHARD, help="Pictures to learn from; they come in shards of 500.")] = PICTURES,
) -> None:
    """Train the small Monkey, phase by phase."""
    names = phases.split(",")
    if unknown := sorted(set(names) - set(PHASES)):
        raise typer.BadParameter(f"{', '.join(unknown)}; the phases are {', '.join(PHASES)}")
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, longer, pictures)
    for name in names:
        if not (done := folder / f"{name}.done").exists():
            PHASES[name](run)
            done.touch()


if __name__ == "__main__":
    typer.run(main)

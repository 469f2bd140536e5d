"""pixelllm-nano, a small PixelLLM, from ferret-v2-nano's encoder and language model to checkpoint.

    python recipes/pixel_llm_nano.py                       # every phase in turn; one that is done is not done again, one that was stopped goes on
    python recipes/pixel_llm_nano.py --phases draw,towers  # only these
    python recipes/pixel_llm_nano.py --longer 4            # four times the steps, where a GPU is at hand

How far it came, and how long each phase takes, stands in docs/log.md.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track
from safetensors.torch import load_file, save_file

from foveal.models.pixel_llm import PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from monkey_pictures import SHARD, Shard, Shown, build, open_shards
from nano import BF16, run_phases
from nano import Run as Training
from pixel_llm_extractor import Connecting, Prompted, begin, collate_prompted
from pixel_llm_stages import (
    Asked,
    Boxed,
    Detecting,
    Kept,
    Pupil,
    collate_asked,
    collate_boxed,
    keep_shard,
    new_model,
    new_tokenizer,
)
from pixel_llm_towers import STYLES, Pictures, Towers, collate_pictures

__all__ = ["CONNECT", "DETECT", "KEPT", "PLACE", "QUESTIONS", "TOWERS", "Run", "main"]

PICTURES = 60_000
"""As many that none is seen often: of 9,000 seen four times each, the towers knew by heart what they could not tell of others."""
KEPT = 12_000
"""Pictures whose maps are kept for the later phases."""
TOWERS = Recipe(
    name="towers",
    learn={"pair.towers.0.*": 3e-4, "pair.towers.1.*": 1.5e-3, "words": 3e-3, "edges": 3e-3},
    steps=7100,
    batch=12,
    weight_decay=0.02,
    betas=(0.9, 0.98),
    clip=5.0,
)
"""Both towers on whole pictures: the names and the edges of what lies under each patch."""
CONNECT = Recipe(
    name="connect",
    learn={"extractor": 1e-3, "prompts": 1e-3, "projection": 1e-3, "words": 3e-3, "marks": 3e-3},
    steps=450,
    batch=12,
    betas=(0.9, 0.98),
    bf16=BF16,
)
"""The extractor alone: a token near the word of what lies in its cell, with its box, and whether it is what the prompt means."""
PLACE = Recipe(
    name="place",
    learn={
        "extractor": 3e-4,
        "location_prompts": 3e-4,
        "writer.visual_projection.*": 3e-4,
        "writer.model.model.layers.*": 1e-3,
        "writer.model.model.norm.*": 1e-3,
        "location_head": 1e-3,
        "mask_adapter": 1e-3,
        "mask_decoder": 1e-3,
    },
    steps=4000,
    batch=8,
    betas=(0.9, 0.98),
    weight_decay=0.01,
    bf16=BF16,
)
"""Everything but the towers on all tasks; words stay where their tokens are."""
DETECT = Recipe(name="detect", learn={"detector": 1e-3}, steps=1050, batch=12, betas=(0.9, 0.98), bf16=BF16)
"""The detector alone."""
QUESTIONS = 7
"""About a picture, at most."""


class Run(Training):
    """A training under way: where its files lie, and how many times the steps of the recipe it takes."""

    def shards(self, count: int) -> list[tuple[Shard, Path]]:
        """Pictures of all shapes and where their maps are kept, as many shards of each as hold `count` together."""
        each = max(1, -(-count // SHARD // len(STYLES)))
        named = [(shard, self.folder / "maps" / f"{name}-{number:04d}") for name in STYLES for number, shard in enumerate(self.drawn(name)[:each])]
        return named

    def drawn(self, name: str) -> list[Shard]:
        return open_shards(self.folder / name)

    def model(self, name: str) -> tuple[Pupil, PixelLLMProcessor]:
        path = self.folder / f"{name}-model"
        return Pupil.from_pretrained(path), PixelLLMProcessor.from_pretrained(path)

    def keep(self, name: str, model: Pupil, processor: PixelLLMProcessor) -> None:
        model.save_pretrained(self.folder / f"{name}-model")
        processor.save_pretrained(self.folder / f"{name}-model")


def draw(run: Run) -> None:
    """Draws the pictures that everything learns from."""
    for name, style in STYLES.items():
        count = max(SHARD, min(PICTURES, run.pictures) // len(STYLES))
        for _ in track(build(run.folder / name, count, style=style), total=-(-count // SHARD), description=name):
            pass


def see(run: Run, recipe: Recipe) -> None:
    """Trains both towers."""
    torch.manual_seed(recipe.seed)
    towers = Towers()
    towers.begin()
    pictures = Pictures(Shown([shard for name in STYLES for shard in run.drawn(name)]), recipe.seed)
    train(run.at_length(recipe), towers, pictures, collate_pictures, run.folder / recipe.name)
    save_file({name: value.contiguous() for name, value in towers.state_dict().items()}, run.folder / "towers.safetensors")


def look(run: Run) -> None:
    """Keeps what the towers see of some pictures."""
    (run.folder / "maps").mkdir(exist_ok=True)
    towers = trained(run)
    for shard, path in track(run.shards(KEPT), description="looking"):
        if not path.with_suffix(".fine.npy").exists():
            keep_shard(towers.pair, shard, path)


def trained(run: Run) -> Towers:
    """The towers as they were trained."""
    towers = Towers()
    towers.load_state_dict(load_file(run.folder / "towers.safetensors"))
    return towers.eval().requires_grad_(False)


def connect(run: Run, recipe: Recipe) -> None:
    """Makes the tokenizer and the model, trains its extractor alone."""
    spoken = Session.open("ferret-v2-nano")
    kept = Kept(run.shards(KEPT))
    tokenizer = new_tokenizer(kept.shown)
    model = new_model(tokenizer, trained(run), spoken.model, spoken.processor.tokenizer)
    processor = PixelLLMProcessor.from_config(model.config, tokenizer)
    connecting = Connecting(model, tokenizer)
    begin(connecting, kept)
    train(run.at_length(recipe), connecting, Prompted(kept, processor), collate_prompted, run.folder / recipe.name)
    run.keep(recipe.name, model, processor)


def place(run: Run, recipe: Recipe, before: str) -> None:
    """Trains everything behind the towers on questions with places."""
    model, processor = run.model(before)
    asked = Asked(Kept(run.shards(KEPT)), QUESTIONS, recipe.seed)
    train(run.at_length(recipe), model, asked, partial(collate_asked, processor=processor), run.folder / recipe.name)
    run.keep(recipe.name, model, processor)


def detect(run: Run, recipe: Recipe, before: str) -> None:
    """Trains the detector."""
    model, processor = run.model(before)
    train(run.at_length(recipe), Detecting(model), Boxed(Kept(run.shards(KEPT))), collate_boxed, run.folder / recipe.name)
    run.keep(recipe.name, model, processor)


def ship(run: Run) -> None:
    """Writes the finished model as it is to ship: bfloat16, with its processor and its card."""
    model = PixelLLMForConditionalGeneration.from_pretrained(run.folder / f"{PLACE.name}-model", dtype=torch.bfloat16)
    model.save_pretrained(run.folder / "pixelllm-nano")
    PixelLLMProcessor.from_pretrained(run.folder / f"{PLACE.name}-model").save_pretrained(run.folder / "pixelllm-nano")
    (run.folder / "pixelllm-nano" / "README.md").write_text((Path(__file__).parent / "pixel_llm_card.md").read_text())


PHASES: Mapping[str, Callable[[Run], None]] = {
    "draw": draw,
    "towers": partial(see, recipe=TOWERS),
    "maps": look,
    "connect": partial(connect, recipe=CONNECT),
    "detect": partial(detect, recipe=DETECT, before=CONNECT.name),
    "place": partial(place, recipe=PLACE, before=DETECT.name),
    "ship": ship,
}


def main(
    folder: Annotated[Path, typer.Option(help="Where pictures, maps and checkpoints are kept.")] = Path("runs/pixel_llm"),
    phases: Annotated[str, typer.Option(help="Comma-separated names of phases, in order.")] = ",".join(PHASES),
    longer: Annotated[float, typer.Option(min=0.001, help="Times the steps of each phase.")] = 1.0,
    pictures: Annotated[int, typer.Option(min=SHARD, help="Pictures to learn from; they come in shards of 500.")] = PICTURES,
) -> None:
    """Train the small PixelLLM, phase by phase."""
    run_phases(Run(folder, longer, pictures), PHASES, phases)


if __name__ == "__main__":
    typer.run(main)

"""Monkey's claims at small size, everything else equal: windows against one, six against four, adapters against none, with the whole and without.

    python recipes/monkey_claims.py                    # every claim; what is done is not done again
    python recipes/monkey_claims.py --claims windows

All variants of a claim start from the same trained model without its adapters, learn from the same questions about the same pictures in the same
order for the same number of steps, and are asked about the same held-out pictures. The start has seen four windows and the whole: what differs from
that has more to learn anew. Where no adapter is compared there is none, encoder and resampler stay as they are, and their tokens are kept. What is
measured stands in docs/monkey.md.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from claims import report
from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.data.sources.scenes.short import SHORT_STYLE, ask_shortly
from foveal.data.whole import write_whole
from foveal.grounding import Example, Picture, Turn
from foveal.models.monkey import MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from foveal.zoo import find_model
from monkey_nano import ADAPT, PRACTISE
from monkey_pictures import WINDOW, Shard, build, open_shards
from monkey_stages import Asked, Pupil, collate_asked

__all__ = ["CLAIMS", "RECIPE", "Variant", "main"]

RECIPE: Recipe = replace(PRACTISE, name="claims", steps=300)
ADAPTING: Recipe = replace(ADAPT, name="claims-adapters", steps=60)
"""Where adapters are compared: through the encoder, which costs ten times as much."""
TASKS = {"read": 0.5, "count": 0.25, "present": 0.25}
SQUARE = replace(SHORT_STYLE, texts=(1, 1), number_share=0.0)
"""Pictures with one word, and no numbers."""
WIDE = replace(SQUARE, size=(672, 448))


@dataclass(frozen=True)
class Variant:
    """A model to compare: the fields of its configuration that differ, and those of its encoder."""

    name: str
    fields: Mapping[str, Any]
    encoder: Mapping[str, Any] = field(default_factory=lambda: {"adapters": 0})

    @property
    def called(self) -> str:
        """Its name in those of files."""
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class Claim:
    """What the variants learn from and are asked about; the first is the one the others are compared to."""

    style: SceneStyle
    variants: tuple[Variant, ...]
    recipe: Recipe = RECIPE


FOUR = Variant("2 x 2 windows", {"canvas": (2 * WINDOW, 2 * WINDOW)})
CLAIMS: Mapping[str, Claim] = {
    "windows": Claim(SQUARE, (Variant("one window", {"canvas": (WINDOW, WINDOW), "overview": False}), FOUR)),
    "whole": Claim(SQUARE, (Variant("without the whole", {"overview": False}), FOUR)),
    "wide": Claim(WIDE, (FOUR, Variant("2 x 3 windows", {"canvas": (3 * WINDOW, 2 * WINDOW)}))),
    "adapters": Claim(
        SQUARE,
        (Variant("no adapters", {}), Variant("one for all", {}, {"adapter_sharing": "shared"}), Variant("one for each window", {}, {})),
        ADAPTING,
    ),
}
"""windows: reading at 2 x 2 windows against one; wide: 2 x 3 against 2 x 2 on wide pictures; the others as their names say."""


class Looked(Asked):
    """The same questions with the pictures as they are: each variant's own processor cuts them."""

    def __getitem__(self, index: int) -> dict[str, object]:
        row = super().__getitem__(index)
        image = Image.fromarray(row.pop("pixels"))
        return row | {"seen": self.processor.see([image])}


def collate_looked(rows: list[dict], pad: int) -> dict[str, Tensor]:
    """Packed questions and the views of their pictures."""
    batch = collate_asked([{name: row[name] for name in ("packed", "tasks")} for row in rows], pad)
    return batch | {name: torch.cat([row["seen"][name] for row in rows]) for name in rows[0]["seen"]}


def learned(start: str, claim: Claim, variant: Variant, recipe: Recipe, folder: Path) -> Session:
    """A variant after its training, or as it was kept by an earlier run."""
    called, place = variant.called, folder / f"{variant.called}-{recipe.steps}-{recipe.batch}"
    if not place.exists():
        model, processor = varied(start, variant)
        learn = {name: rate for name, rate in recipe.learn.items() if "_lora" not in name or model.config.vision_config.adapters}
        pad = processor.tokenizer.pad_token_id
        shards = open_shards(folder / "pictures")
        if claim.recipe is RECIPE:
            kept = [kept_tokens(model, processor, shard, folder / f"{called}-{number}.npy") for number, shard in enumerate(shards)]
            asked, collate = Asked(list(zip(shards, kept, strict=True)), processor, 6, seed=11, tasks=TASKS), collate_asked
        else:
            asked, collate = Looked([(shard, None) for shard in shards], processor, 6, seed=11, tasks=TASKS), collate_looked
        train(replace(recipe, learn=learn), model, asked, partial(collate, pad=pad), folder / f"{place.name}-run")
        part = place.with_suffix(".part")  # a folder that is there is whole
        processor.save_pretrained(part)
        model.save_pretrained(part)
        part.rename(place)
    return Session(MonkeyForConditionalGeneration.from_pretrained(place).eval(), MonkeyProcessor.from_pretrained(place), variant.name)


@torch.no_grad()
def kept_tokens(model: Pupil, processor: MonkeyProcessor, shard: Shard, path: Path) -> np.ndarray:
    """What a variant's encoder and resampler make of the pictures of a shard [pictures 1 tokens dim], kept in a file."""
    if not path.exists():
        done = []
        for start in range(0, len(shard.records), 10):
            seen = processor.see([Image.fromarray(pixels) for pixels in np.asarray(shard.pixels[start : start + 10])])
            done.append(torch.stack(model.encode_images(**seen).tokens)[:, None].half().numpy())
        part = path.with_suffix(".part.npy")
        np.save(part, np.concatenate(done))
        part.rename(path)
    return np.load(path, mmap_mode="r")


def varied(start: str, variant: Variant) -> tuple[Pupil, MonkeyProcessor]:
    """The model of the folder `start` with another configuration and the weights it had; adapters start anew."""
    model, processor = Pupil.from_pretrained(start, dtype=torch.float32), MonkeyProcessor.from_pretrained(start)
    settings = model.config.to_dict()
    settings["vision_config"] = settings["vision_config"] | dict(variant.encoder)
    torch.manual_seed(0)
    other = Pupil(type(model.config)(**(settings | dict(variant.fields))))
    other.load_state_dict({name: value for name, value in model.state_dict().items() if "_lora" not in name}, strict=False)
    return other, MonkeyProcessor.from_config(other.config, processor.tokenizer)


def readings(style: SceneStyle, count: int) -> list[Example]:
    """What does the one word of each of `count` held-out pictures say?"""
    found: list[Example] = []
    for seed in itertools.count():
        if len(found) == count:
            break
        drawing = draw_scene(seed, "test", style)
        question = ask_shortly(drawing, np.random.default_rng([7, seed]), "read")
        if question:
            height, width = drawing.labels.shape
            picture = Picture(width, height, pixels=drawing.pixels)
            found.append(Example(drawing.id, (picture,), (Turn("user", question.ask),), facts={"says": question.answer.text}))
    return found


def verdicts(session: Session, examples: Sequence[Example]) -> list[bool]:
    """Whether each answer is the word."""
    answers = session.answer(examples, max_new_tokens=12)
    return [answer.said.text.strip().lower() == example.facts["says"] for example, answer in zip(examples, answers, strict=True)]


def main(
    model: Annotated[str, typer.Option(help="What every variant starts from: a small Monkey that ships, or a folder.")] = "monkey-nano",
    out: Annotated[Path, typer.Option(help="Where pictures, variants and results are kept.")] = Path("runs/monkey-claims"),
    claims: Annotated[str, typer.Option(help="Comma-separated names of claims.")] = ",".join(CLAIMS),
    longer: Annotated[float, typer.Option(min=0.001, help="Times the steps of each variant.")] = 1.0,
    pictures: Annotated[int, typer.Option(min=500, help="Pictures to learn from; they come in shards of 500.")] = 500,
    questions: Annotated[int, typer.Option(min=1, help="Pictures asked about.")] = 500,
) -> None:
    """Train the variants of each claim, ask them, and keep what they reach as JSON."""
    if unknown := sorted(set(claims.split(",")) - set(CLAIMS)):
        raise typer.BadParameter(f"{', '.join(unknown)}; the claims are {', '.join(CLAIMS)}")
    for name in claims.split(","):
        claim = CLAIMS[name]
        place = out / Path(model).name / "x".join(map(str, claim.style.size or (2 * WINDOW, 2 * WINDOW)))
        for _ in build(place / "pictures", pictures, style=claim.style):
            pass
        recipe = replace(claim.recipe, steps=max(1, round(claim.recipe.steps * longer)))
        asked, found = readings(claim.style, questions), {}
        for variant in claim.variants:
            file = place / f"{variant.called}-{recipe.steps}-{recipe.batch}-asked-{questions}.json"
            if not file.exists():
                write_whole(file, json.dumps(verdicts(learned(find_model(model), claim, variant, recipe, place), asked)))
            found[variant.name] = json.loads(file.read_text())
        report(found, f"{name}: words read exactly", recipe.steps, out / f"{name}.json")


if __name__ == "__main__":
    typer.run(main)

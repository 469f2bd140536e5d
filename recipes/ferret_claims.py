"""Ferret-v2's first claim at small size: any resolution against fixed resolution, everything else equal, on things the fixed eye hardly sees.

    python recipes/ferret_claims.py --folder runs/nano      # after the phases "features" and "language" of recipes/nano.py

Both variants start from the same encoders and the same language model, learn from the same questions in the same order for the same
number of steps, and are asked the same questions about held-out pictures of 896 px and more: which of two names has the boxed thing?
What it reached stands in docs/log.md, with dates and commits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from claims import report
from foveal.data.sources.scenes import Drawing, SceneStyle, draw_scene, vocabulary
from foveal.data.sources.scenes.questions import ask_about
from foveal.evaluate import names_object, words_found
from foveal.grounding import Example, Picture, Turn
from foveal.models.ferret import FerretForConditionalGeneration, FerretProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from nano import GROUND, INSTRUCT, LANGUAGE, Run
from nano_stages import Asked, collate_asked

__all__ = ["RECIPE", "VARIANTS", "main", "small_things"]

RECIPE: Recipe = replace(INSTRUCT, name="claims", steps=800, batch=16, learn=dict.fromkeys(INSTRUCT.learn, 1e-3))
TASKS = {"choice_box": 0.6, "name_box": 0.4}
VARIANTS = {"fixed resolution": False, "any resolution": True}
"""Whether tiles are seen beside the overview."""
STYLE = SceneStyle(sides=((896, 1344, 1.0),), small_share=0.5)
LEAST, LIMIT = 12, 32
"""In px: asked about are things whose sides both lie between."""


def learned(run: Run, name: str, tiles: bool, recipe: Recipe, folder: Path) -> Session:
    """The variant `name` after its training, or as it was kept by an earlier run."""
    place = folder / f"{name.replace(' ', '-')}-{recipe.steps}"
    if not place.exists():
        model, processor = run.model(LANGUAGE.name)
        if not tiles:
            model.config.grids = []
            processor = FerretProcessor.from_config(model.config, processor.tokenizer)
        examples = Asked(run.features(), processor, TASKS, 6, seed=11, ground=GROUND)
        model.layers = torch.compile(model.layers, dynamic=True)
        pad = partial(collate_asked, pad=processor.tokenizer.pad_token_id, tiles=tiles)
        train(recipe, model, examples, pad, folder / f"{place.name}-run")
        part = place.with_suffix(".part")  # a folder that is there is whole
        processor.save_pretrained(part)
        model.save_pretrained(part)
        part.rename(place)
    return Session(FerretForConditionalGeneration.from_pretrained(place).eval(), FerretProcessor.from_pretrained(place), name)


def small_things(count: int) -> Iterator[Example]:
    """`count` questions about boxed things under 32 px in held-out pictures of 896 px and more."""
    left, seed = count, 0
    while left > 0:
        drawing = draw_scene(seed, "test", STYLE)
        asked = list(_asked(drawing, np.random.default_rng([7, seed])))[:left]
        yield from asked
        left -= len(asked)
        seed += 1


def _asked(drawing: Drawing, rng: np.random.Generator) -> Iterator[Example]:
    height, width = drawing.labels.shape
    picture = Picture(width, height, pixels=drawing.pixels)
    for index, thing in enumerate(drawing.things):
        x0, y0, x1, y1 = thing.box_px
        small = min(x1 - x0, y1 - y0) >= LEAST and max(x1 - x0, y1 - y0) < LIMIT
        question = ask_about(drawing, rng, "choice_box", things=[index]) if small else None
        if question and question.things == (index,):
            others = [word for word in words_found(question.ask.text, vocabulary())[-2:] if word != thing.name]
            yield Example(
                f"{drawing.id}/{index}", images=(picture,), turns=(Turn("user", question.ask),), facts={"name": thing.name, "others": others}
            )


def verdicts(session: Session, examples: Sequence[Example]) -> list[bool]:
    """Whether each answer names the right thing and not the other."""
    answers = session.answer(examples, max_new_tokens=16)
    return [
        names_object(answer.said.text, [str(example.facts["name"])], list(example.facts["others"]))
        for example, answer in zip(examples, answers, strict=True)
    ]


def main(
    folder: Annotated[Path, typer.Option(help="Where recipes/nano.py keeps pictures, features and its language model.")] = Path("runs/nano"),
    out: Annotated[Path, typer.Option(help="Where the variants and the results are kept.")] = Path("runs/claims"),
    steps: Annotated[int, typer.Option(min=1, help="Updates of each variant.")] = RECIPE.steps,
    questions: Annotated[int, typer.Option(min=1, help="Questions asked of each variant.")] = 500,
) -> None:
    """Train both variants, ask both, and keep what they reach as JSON."""
    recipe, run = replace(RECIPE, steps=steps), Run(folder)
    sessions = {name: learned(run, name, tiles, recipe, out) for name, tiles in VARIANTS.items()}
    found = {name: verdicts(session, list(small_things(questions))) for name, session in sessions.items()}
    report(found, f"Which of two names, things of {LEAST} to {LIMIT} px in pictures of 896 px and more", steps, out / "results.json")


if __name__ == "__main__":
    typer.run(main)

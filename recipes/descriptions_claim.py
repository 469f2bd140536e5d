"""Whether descriptions matter, at small size: monkey-nano taught with the pipeline's descriptions against the same with short captions, equal steps.

    python recipes/descriptions_claim.py                                          # everything in turn; a run that was stopped goes on
    python recipes/descriptions_claim.py --pictures 60 --steps 4 --questions 6    # a couple of minutes, which show the way and teach nothing

Every variant starts from the monkey-nano that ships, visits the same pictures in the same order, and is asked the same questions at half of the
visits. At the other half it is taught a caption: the short one of the scene, which is true and names all that there is, or what the pipeline of
recipes/captions.py says, with all errors of its models, or either. The pipeline's own global caption is left out: it would be monkey-nano's. Encoder
and resampler stay as they are, and their tokens are kept. It takes about an hour of one core.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from descriptions_measures import TASKS, Values, figures, judged, questions_about, told_of
from foveal.data.sources.scenes import Drawing, SceneStyle, draw_scene
from foveal.data.sources.scenes.questions import Question
from foveal.data.sources.scenes.short import SHORT_STYLE, ask_shortly
from foveal.data.sources.scenes.source import LICENCE
from foveal.data.whole import write_whole
from foveal.grounding import GroundedText, Picture, Turn
from foveal.grounding.wordings.monkey import DETAILED_CAPTION
from foveal.models.base import Sight
from foveal.session import Options, Scene, Session
from foveal.synth import (
    PUBLISHED,
    Step,
    composed_by_template,
    deduped,
    listed_images,
    read_text,
    regions_captioned,
    run_pipeline,
    scored_above,
    standing,
)
from foveal.synth.shards import read_shard
from foveal.train import Recipe, train
from monkey_claims import kept_tokens
from monkey_nano import PRACTISE, PRACTISED, QUESTIONS
from monkey_pictures import Shard, Shown
from monkey_stages import Asked, Pupil, collate_asked
from nano_pictures import record_of

__all__ = ["BASE", "RECIPE", "VARIANTS", "Told", "answered", "described", "drawn", "learned", "main"]

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "start": (),
    "short captions": ("short captions",),
    "descriptions": ("descriptions",),
    "both": ("short captions", "descriptions"),
}
"""What each is taught at visits for a caption; the start is asked as it ships."""
RECIPE: Recipe = replace(PRACTISE, name="described", steps=300, learn=dict.fromkeys(PRACTISE.learn, 4e-4), save_every=100)
BASE = "short captions"
"""What the others are compared to."""
CAPTIONS = 0.5
"""Share of the visits that teach a caption."""
HELD_OUT = replace(SHORT_STYLE, texts=(1, 1), number_share=0.0, repeat_share=1.0, repeats=(1, 5))
"""As benchmarks/nano.py asks about: one word, one to five of one name."""
FIRST = {"train": 2_000_000, "test": 500_000}
"""Scenes from these numbers on, which nothing else here is drawn from."""


class Told(Asked):
    """Questions about pictures whose tokens are kept, and captions at a share of the visits; all variants meet the same in the same order."""

    def __init__(self, shard: Shard, tokens: np.ndarray, processor: object, captions: Sequence[Mapping[str, Question]], seed: int = 0) -> None:
        super().__init__([(shard, tokens)], processor, QUESTIONS, seed, {task: PRACTISED[task] for task in TASKS})
        self.captions = captions

    def questions(self, drawing: Drawing, rng: np.random.Generator) -> list[Question]:
        """One of the picture's captions, or questions."""
        draw, which = rng.random(2)
        if draw < CAPTIONS:
            return [self.captions[int(which * len(self.captions))][drawing.id]]
        return super().questions(drawing, rng)


def drawn(place: Path, split: str, count: int, style: SceneStyle) -> Shard:
    """So many scenes, drawn once: their pixels, what is in them, and a PNG of each."""
    if not place.exists():
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        (part / "images").mkdir(parents=True)
        width, height = (style.sides[0][0],) * 2
        pixels = np.lib.format.open_memmap(part / "pixels.npy", "w+", np.uint8, (count, height, width, 3))
        records = []
        for number in track(range(count), description="drawing"):
            drawing = draw_scene(FIRST[split] + number, split, style)
            pixels[number] = drawing.pixels
            records.append(record_of(drawing))
            Image.fromarray(drawing.pixels).save(part / "images" / f"{drawing.id}.png")
        pixels.flush()
        (part / "pictures.jsonl").write_text("\n".join(records))
        part.rename(place)
    return Shard(np.load(place / "pixels.npy", mmap_mode="r"), (place / "pictures.jsonl").read_text().split("\n"))


def described(images: Path, out: Path, texts: bool) -> dict[str, str]:
    """What the pipeline says of each picture of a folder, by the picture's name; of some perhaps nothing."""
    steps = [
        *([Step("text", read_text(), processes=2)] if texts else []),
        Step("things", regions_captioned("pixelllm-nano")),
        Step("sure", scored_above(PUBLISHED)),
        Step("single", deduped()),
        Step("description", composed_by_template()),
    ]
    last = run_pipeline(steps, listed_images([images]), out, licence=LICENCE, heard=_heard)
    examples = [example for shard in sorted(last.glob("[0-9]*.jsonl")) for example in read_shard(shard)[0]]
    return {Path(example.id).stem: notes[-1].said.text for example in examples if (notes := standing(example, "description"))}


def _heard(name: str, done: int, before: int, total: int) -> None:
    del before
    if total:
        print(f"{name}: {done} of {total} pictures", flush=True)


def learned(name: str, told: Told, start: Session, recipe: Recipe, place: Path) -> Session:
    """A variant after its training, or as it was kept by an earlier run."""
    if not place.exists():
        model = Pupil(start.model.config)
        model.load_state_dict(start.model.state_dict())
        train(recipe, model, told, partial(collate_asked, pad=start.processor.tokenizer.pad_token_id), place.with_name(f"{place.name}-run"))
        part = place.with_name(f"{place.name}.part")  # a folder that is there is whole
        start.processor.save_pretrained(part)
        model.save_pretrained(part)
        part.rename(place)
    return replace(Session.open(place, device="cpu"), name=name)


def answered(session: Session, tokens: np.ndarray, asked: Sequence[Sequence[Question]], side: int) -> list[list[str]]:
    """What a model says to all questions about each picture, given what encoder and resampler made of it."""
    found: list[list[str]] = []
    for first in track(range(0, len(asked), 8), description=session.name):
        numbers = range(first, min(first + 8, len(asked)))
        kept = [Sight(tuple(torch.from_numpy(tokens[number].astype(np.float32))), ()) for number in numbers]
        scenes = [Scene(session, Picture(side, side, data=b""), sight) for sight in kept]
        rows = [(scene, question) for scene, number in zip(scenes, numbers, strict=True) for question in asked[number]]
        options = [Options(max_new_tokens=160 if question.task in ("detailed", "caption") else 16) for _, question in rows]
        examples = [scene.example((Turn("user", question.ask),)) for scene, question in rows]
        said = iter(session.begin([scene for scene, _ in rows], examples, options).answers())
        found += [[next(said).text for _ in asked[number]] for number in numbers]
    return found


def main(
    folder: Annotated[Path, typer.Option(help="Where pictures, descriptions, variants and results are kept.")] = Path("runs/described"),
    pictures: Annotated[int, typer.Option(min=16, help="Pictures to learn from.")] = 600,
    steps: Annotated[int, typer.Option(min=1, help="Updates of each variant.")] = RECIPE.steps,
    questions: Annotated[int, typer.Option(min=2, help="Held-out pictures asked about.")] = 200,
    texts: Annotated[bool, typer.Option(help="Whether the pipeline reads what is written (0.7 s of CPU a picture).")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of pictures and questions.")] = 0,
) -> None:
    """Describe the pictures, train the variants, ask them, and keep what they reach as JSON."""
    place, recipe = folder / f"{pictures}{'-texts' if texts else ''}", replace(RECIPE, steps=steps, seed=seed)
    shown, held = drawn(place / "train", "train", pictures, SHORT_STYLE), drawn(folder / f"test-{questions}", "test", questions, HELD_OUT)
    long = described(place / "train" / "images", place / "pipeline", texts)
    start = Session.open("monkey-nano", device="cpu", dtype="float32")
    tokens = kept_tokens(start.model, start.processor, shown, place / "tokens.npy")
    looked_at = kept_tokens(start.model, start.processor, held, folder / f"test-{questions}.npy")
    captions, kept = _captions(shown, long)
    shown, tokens = Shard(shown.pixels[kept], [shown.records[number] for number in kept]), tokens[kept]
    drawings = [Shown([held])[number][1] for number in range(len(held.records))]
    asked, found = [questions_about(drawing) for drawing in drawings], dict[str, dict[str, Values]]()
    for name, kinds in VARIANTS.items():
        kind = f"{name.replace(' ', '-')}-{steps}-{seed}" if kinds else name
        if not (file := place / f"{kind}-{questions}.json").exists():
            told = Told(shown, tokens, start.processor, [captions[one] for one in kinds], 11 + seed)
            session = learned(name, told, start, recipe, place / kind) if kinds else start
            answers = answered(session, looked_at, asked, held.pixels.shape[1])
            values = judged(drawings, asked, answers)
            write_whole(file, json.dumps({"values": values, "answers": [rows[0] for rows in answers]}, indent=1))
        found[name] = json.loads(file.read_text())["values"]
        print(f"{name}: {file}", flush=True)
    results = {"held out": figures(found, BASE), "taught": _taught(shown, captions)}
    write_whole(place / f"results-{steps}-{questions}-{seed}.json", json.dumps(results, indent=1))
    _report(results, f"{len(kept)} pictures, {steps} steps of {recipe.batch}, {questions} held-out pictures, seed {seed}")


def _captions(shard: Shard, long: Mapping[str, str]) -> tuple[dict[str, dict[str, Question]], list[int]]:
    """The short caption and the description of each picture that has both, by its name; and which these are."""
    captions: dict[str, dict[str, Question]] = {"short captions": {}, "descriptions": {}}
    kept = []
    for number in range(len(shard.records)):
        drawing = Shown([shard])[number][1]
        short = ask_shortly(drawing, np.random.default_rng(0), "caption")
        if short and drawing.id in long:
            captions["short captions"][drawing.id] = short
            captions["descriptions"][drawing.id] = Question("detailed", GroundedText(DETAILED_CAPTION), GroundedText(long[drawing.id]))
            kept.append(number)
    return captions, kept


def _taught(shard: Shard, captions: Mapping[str, Mapping[str, Question]]) -> dict[str, dict[str, dict[str, float]]]:
    """How true the captions are that are taught."""
    drawings = [Shown([shard])[number][1] for number in range(len(shard.records))]
    told = {kind: [told_of(some[drawing.id].answer.text, drawing) for drawing in drawings] for kind, some in captions.items()}
    return figures({kind: {measure: [one[measure] for one in rows] for measure in rows[0]} for kind, rows in told.items()}, BASE)


def _report(results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], title: str) -> None:
    for part, rows in results.items():
        table = Table("measure", *next(iter(rows.values())), title=f"{part}: {title}", title_justify="left")
        for measure, cells in rows.items():
            table.add_row(measure, *(_shown(measure, cell) for cell in cells.values()))
        Console(width=220).print(table)


def _shown(measure: str, cell: Mapping[str, float]) -> str:
    times, digits, sign = (1, 2, "") if measure.startswith(("cider", "words")) else (100, 1, " %")
    value, low, high = (f"{times * cell[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value}{sign} ({low} – {high})"


if __name__ == "__main__":
    typer.run(main)

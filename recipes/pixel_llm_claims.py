"""PixelLLM's claims at small size, everything else equal: what word places, the language model's learning, SAM's features and regression bring.

    python recipes/pixel_llm_claims.py --folder runs/pixel_llm    # after the phase "connect" of recipes/pixel_llm_nano.py
    python recipes/pixel_llm_claims.py --folder runs/pixel_llm --variants "frozen language model"

Every variant starts from the same towers, extractor and language model, learns from the same questions about the same pictures in the same order for
the same number of steps, and is asked the same about held-out pictures; what differs stands in `VARIANTS`, and the first is the one to compare to.
Without SAM's features the extractor cannot be the same: it is connected anew, for as many steps. What is measured is logged in docs/log.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from claims import gain
from foveal.data.sources.scenes import Drawing, draw_scene, vocabulary
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.sources.scenes.questions import expression
from foveal.data.sources.scenes.words import name_forms
from foveal.data.whole import write_whole
from foveal.evaluate import boxes_agree, first_box, names_object, names_placed
from foveal.geometry import Frame, bounding_box
from foveal.grounding import Example, GroundedText, Picture, Span, Turn, tied
from foveal.grounding.formats import BracketFormat
from foveal.grounding.wordings.pixel_llm import NARRATIVE, WHERE, ask_object, phrase_of
from foveal.models.pixel_llm import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from pixel_llm_extractor import Connecting, Prompted, begin, collate_prompted
from pixel_llm_nano import CONNECT, KEPT, PLACE, QUESTIONS, Run
from pixel_llm_stages import Asked, Kept, Pupil, collate_asked, example_of
from pixel_llm_towers import STYLES, THINGS

__all__ = ["RECIPE", "VARIANTS", "Variant", "main"]

RECIPE: Recipe = replace(PLACE, name="claims", steps=400, learn={name: rate for name, rate in PLACE.learn.items() if "mask" not in name})
LANGUAGE = "writer.model.model."
TASKS = {"narrate": 0.25, "locate": 0.45, "describe": 0.3}
STYLE = STYLES["square"]
LEAST = 24
"""Things with a shorter side below that, in pixels of the input, are not asked about."""
PLACES_AS_TEXT = BracketFormat(features=False, arithmetic="fraction")


@dataclass(frozen=True)
class Variant:
    """The fields of its configuration that differ, at which rate its language model learns, and how its answers say where things are."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    language: Mapping[str, float] = field(default_factory=lambda: {name: rate for name, rate in RECIPE.learn.items() if name.startswith(LANGUAGE)})
    words_placed: bool = True
    written: bool = False


VARIANTS: Mapping[str, Variant] = {
    "PixelLLM": Variant(),
    "no places for words": Variant(words_placed=False),
    "frozen language model": Variant(language={}),
    "language model with LoRA": Variant({"lora_rank": 16, "lora_alpha": 32.0}, {"writer.model.*lora_*": 1e-3}),
    "without SAM's features": Variant({"two_towers": False}),
    "places written as text": Variant({"text_length": 256}, words_placed=False, written=True),
}
"""The first: the whole language model learns, places are regressed, narratives have them too. Where places are text, they are spelt as Ferret
spells them, in whose digits the language model has been trained."""


class Told(Asked):
    """The questions as a variant is taught them: without places of words, or with places written into the answers."""

    def __init__(self, kept: Kept, count: int, seed: int, variant: Variant) -> None:
        super().__init__(kept, count, seed, TASKS)
        self.variant = variant

    def __getitem__(self, index: int) -> dict[str, object]:
        maps, drawing, asked = self.visit(index)
        return maps | {"example": example_of(drawing, [self._taught(drawing, *pair) for pair in asked])}

    def _taught(self, drawing: Drawing, ask: Turn, answer: Turn) -> tuple[Turn, Turn]:
        said, phrase = answer.said, phrase_of(ask.said.text)
        if self.variant.written:
            ask, said = (ask, _of_things(drawing, said)) if phrase is None else (Turn("user", GroundedText(f"Where is {phrase}?")), said)
            said = GroundedText(PLACES_AS_TEXT.encode(said, _frame(drawing)))
        elif not self.variant.words_placed and phrase is None:
            said = GroundedText(said.text)
        return ask, Turn("assistant", said)


def _of_things(drawing: Drawing, said: GroundedText) -> GroundedText:
    """The words that name a thing, all of a name in one span, with its box."""
    boxes, spans = set(view_of(drawing).boxes), list[Span]()
    for span in said.spans:
        region = span.regions[0]
        if region not in boxes:
            continue
        if spans and spans[-1].regions == (region,) and not said.text[spans[-1].end : span.start].strip():
            spans[-1] = Span(spans[-1].start, span.end, (region,))
        else:
            spans.append(Span(span.start, span.end, (region,)))
    return GroundedText(said.text, tuple(spans))


class Seen(Kept):
    """Kept maps, without those of the tower for places."""

    def of(self, index: int) -> tuple[dict[str, Tensor], Drawing]:
        maps, drawing = super().of(index)
        return maps | {"fused": maps["fused"][: THINGS.hidden_size]}, drawing


def learned(run: Run, name: str, variant: Variant, recipe: Recipe, folder: Path) -> Session:
    """A variant after its training, or as it was kept by an earlier run."""
    place = folder / f"{name.replace(' ', '-')}-{recipe.steps}"
    if not place.exists():
        model, processor = varied(*run.model(CONNECT.name), variant)
        kept = (Kept if model.config.two_towers else Seen)(run.shards(KEPT))
        if not model.config.two_towers:
            connect_anew(model, processor, kept, run.at_length(CONNECT), folder / f"{place.name}-connect")
        learn = {name: rate for name, rate in recipe.learn.items() if not name.startswith(LANGUAGE)} | dict(variant.language)
        collate = partial(_without_masks, processor=processor)
        train(replace(recipe, learn=learn), model, Told(kept, QUESTIONS, 11, variant), collate, folder / f"{place.name}-run")
        part = place.with_suffix(".part")  # a folder that is there is whole
        processor.save_pretrained(part)
        model.save_pretrained(part)
        part.rename(place)
    return Session(PixelLLMForConditionalGeneration.from_pretrained(place).eval(), PixelLLMProcessor.from_pretrained(place), name)


def varied(model: Pupil, processor: PixelLLMProcessor, variant: Variant) -> tuple[Pupil, PixelLLMProcessor]:
    """The model with another configuration and the weights it had, without masks and detector; what has no weights begins anew."""
    torch.manual_seed(0)
    settings = model.config.to_dict() | {"segments": False, "detector": None} | dict(variant.fields)
    other = Pupil(PixelLLMConfig(**settings))
    own = other.state_dict()
    for name, value in model.state_dict().items():
        place = name if name in own else f"{name.removesuffix('.weight')}.base_layer.weight"
        anew = not other.config.two_towers and name.startswith(("extractor.", "location_prompts.", "writer.visual_projection."))
        if place in own and not anew:
            own[place].copy_(value)
    return other, PixelLLMProcessor.from_config(other.config, processor.tokenizer)


def connect_anew(model: Pupil, processor: PixelLLMProcessor, kept: Kept, recipe: Recipe, folder: Path) -> None:
    """Trains an extractor that begins from nothing, as the phase "connect" did with the other."""
    words: Tensor = model.get_input_embeddings().weight
    torch.nn.init.constant_(model.writer.visual_projection[1].weight, float(words.square().mean().sqrt()))
    connecting = Connecting(model, processor.tokenizer)
    begin(connecting, kept)
    train(recipe, connecting, Prompted(kept, processor), collate_prompted, folder)


def _without_masks(rows: list[dict], processor: PixelLLMProcessor) -> dict[str, Tensor]:
    return {name: value for name, value in collate_asked(rows, processor).items() if not name.startswith("mask")}


def asked(number: int, written: bool) -> list[tuple[Example, GroundedText]]:
    """What is asked about held-out picture `number`, each with the truth: a narrative, where up to three things are, what up to three are."""
    drawing = draw_scene(number, "test", STYLE)
    rng, view = np.random.default_rng([7, number]), view_of(drawing)
    large = [thing for thing in rng.permutation(len(drawing.things)).tolist() if _large(drawing, thing)]
    everything = GroundedText.join(*(tied(view.names[thing], view.boxes[thing]) for thing in range(len(drawing.things))))
    found = [("narrate", GroundedText(NARRATIVE), everything)]
    for thing in large[:3]:
        if said := expression(drawing, rng, thing):
            phrase, _ = said
            found.append(("locate", GroundedText(f"Where is {phrase}?" if written else WHERE + phrase), tied(phrase, view.boxes[thing])))
    found += [("describe", ask_object(view.boxes[thing]), tied(view.names[thing], view.boxes[thing])) for thing in large[:3]]
    height, width = drawing.labels.shape
    picture = (Picture(width, height, pixels=drawing.pixels),)
    return [(Example(f"{number}/{n}", picture, (Turn("user", ask),), facts={"task": task}), true) for n, (task, ask, true) in enumerate(found)]


def _large(drawing: Drawing, thing: int) -> bool:
    x0, y0, x1, y1 = drawing.things[thing].box_px
    return drawing.things[thing].kind != "text" and min(x1 - x0, y1 - y0) >= LEAST


def _frame(drawing: Drawing) -> Frame:
    height, width = drawing.labels.shape
    return Frame.stretch((width, height))


def verdicts(session: Session, variant: Variant, pictures: int) -> dict[str, list[float]]:
    """By measure, how right each answer is; NaN where it says nothing that could be: a narrative's names that are there, placed in a thing so called;
    expressions found at IoU 0.5; regions named."""
    about = [one for number in range(pictures) for one in asked(number, variant.written)]
    found: dict[str, list[float]] = {"words placed": [], "referring P@0.5": [], "regions named": []}
    answers = session.answer([example for example, _ in about], max_new_tokens=session.processor.text_length)
    for (example, true), answer in zip(about, answers, strict=True):
        said, picture = answer.said, example.images[0]
        if variant.written:
            said = PLACES_AS_TEXT.decode(said.text, Frame.stretch((picture.width, picture.height)))
        match example.facts["task"]:
            case "narrate":
                known = [placed for placed in names_placed(said, true, name_forms()) if placed is not None]
                found["words placed"].append(float(np.mean(known)) if known else float("nan"))
            case "locate":
                found["referring P@0.5"] += map(float, boxes_agree([first_box(said)], [bounding_box(true.regions[0])]))
            case _:
                found["regions named"].append(names_object(said.text, [true.text], vocabulary()))
    return found


def main(
    folder: Annotated[Path, typer.Option(help="Where recipes/pixel_llm_nano.py keeps maps and models.")] = Path("runs/pixel_llm"),
    out: Annotated[Path, typer.Option(help="Where variants and results are kept.")] = Path("runs/pixel-llm-claims"),
    variants: Annotated[str, typer.Option(help="Comma-separated names of variants; the first of all is always there.")] = ",".join(VARIANTS),
    longer: Annotated[float, typer.Option(min=0.001, help="Times the steps of each variant.")] = 1.0,
    pictures: Annotated[int, typer.Option(min=1, help="Held-out pictures asked about.")] = 300,
) -> None:
    """Train the variants, ask them, and keep what they reach as JSON."""
    first, *_ = VARIANTS
    chosen = dict.fromkeys([first, *variants.split(",")])
    if unknown := sorted(set(chosen) - set(VARIANTS)):
        raise typer.BadParameter(f"{', '.join(unknown)}; the variants are {', '.join(VARIANTS)}")
    out.mkdir(parents=True, exist_ok=True)
    run, recipe = Run(folder, longer), replace(RECIPE, steps=max(1, round(RECIPE.steps * longer)))
    found: dict[str, dict[str, list[float]]] = {}
    for name in chosen:
        file = out / f"{name.replace(' ', '-')}-{recipe.steps}-{pictures}.json"
        if not file.exists():
            session = learned(run, name, VARIANTS[name], recipe, out)
            file.write_text(json.dumps(verdicts(session, VARIANTS[name], pictures)))
        found[name] = json.loads(file.read_text())
    figures = _figures(found)
    write_whole(out / "results.json", json.dumps({"steps": recipe.steps, "pictures": pictures, "variants": figures}, indent=1))
    _report(figures, recipe.steps)


def _figures(found: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each variant and measure the mean and of how many it is; of all but the first the paired difference to it, with its interval."""
    first, *_ = found
    return {
        name: {measure: _figure(found[first][measure], values, alone=name == first) for measure, values in some.items()}
        for name, some in found.items()
    }


def _figure(base: Sequence[float], values: Sequence[float], *, alone: bool) -> dict[str, float]:
    known = [value for value in values if not np.isnan(value)]
    told = [(before, after) for before, after in zip(base, values, strict=True) if not np.isnan(before + after)]
    figure: dict[str, float] = {"n": len(known)}
    if known:
        figure["value"] = float(np.mean(known))
    if told and not alone:
        more, low, high = gain([before for before, _ in told], [after for _, after in told])
        figure |= {"paired": len(told), "difference": more, "low": low, "high": high}
    return figure


def _report(figures: Mapping[str, Mapping[str, Mapping[str, float]]], steps: int) -> None:
    first, *_ = figures
    table = Table(title=f"{steps} steps; differences to {first}, paired, with 95 % intervals", title_justify="left")
    for column in ("variant", *figures[first]):
        table.add_column(column)
    for name, measured in figures.items():
        table.add_row(name, *map(_cell, measured.values()))
    Console(width=140).print(table)


def _cell(figure: Mapping[str, float]) -> str:
    if "value" not in figure:
        return "nothing said"
    more = f" ({figure['difference']:+.1%}: {figure['low']:+.1%} to {figure['high']:+.1%})" if "difference" in figure else ""
    return f"{figure['value']:.1%}{more}"


if __name__ == "__main__":
    typer.run(main)

"""Ferret-v2's ablation at small size: the ladder of the paper's Tables 5 and 6, and its comparison of direct upsampling with any resolution.

    python recipes/ablation.py                  # one seed: about two hours on two cores
    python recipes/ablation.py --seeds 0,1,2    # what is there already is not done again, what was stopped goes on

Every variant begins with ferret-v2-nano's pretrained encoders and with one language model, which has so far read lists of things and seen
nothing; each learns from the same questions for the same number of steps, stage II included where it has one, and is asked the same
questions about held-out scenes. What it reached stands in docs/ferret.md.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from foveal.evaluate import Figure, interval
from foveal.grounding import Example, Turn, read_examples, write_examples
from foveal.models.ferret import FerretForConditionalGeneration, FerretProcessor
from foveal.session import Session
from foveal.train import Recipe, train
from foveal.train.checkpoint import aside
from foveal.vision import GRIDS_V2
from nano import DENSE, GROUND, INSTRUCT, LANGUAGE, WORDS_ALONE
from nano_boxes import lay_boxes, read_edges
from nano_encoders import CLIP_MEAN, CLIP_STD, OVERVIEW, TILE, TILE_MEAN, TILE_STD, normalise
from nano_pictures import SIDE, Shard, build, open_shards
from nano_pupil import Pupil
from nano_stages import Asked, Layouts, collate_asked, collate_layouts, feature_shard, new_model

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from nano_measures import figures
from nano_questions import examples_about, scene

__all__ = ["EYES", "LADDER", "PARTS", "RESOLUTIONS", "Ablation", "Eye", "Variant", "main", "summed"]

TASKS = {"locate": 0.4, "choice_box": 0.2, "choice_point": 0.1, "choice_mask": 0.1, "name_box": 0.2}
"""What is learnt and asked: where a phrase is, and which of two names, or which name, something pointed at has."""
DENSE_TASKS = {"detect": 0.5, "refer": 0.5}
START = replace(LANGUAGE, name="language", steps=150)
STAGE_III = replace(INSTRUCT, batch=8, learn=dict.fromkeys(INSTRUCT.learn, 1e-3))
STAGE_II = replace(DENSE, batch=8)
QUESTIONS = 6
EYES_RATE = 1e-4
"""Of encoders in a last stage in which they learn; of everything else it is a third of what it was."""
LAST, SECOND = 0.1, 0.15
"""Share of all steps: of the end of stage III, in which all patches are looked at, and of stage II where there is one."""


@dataclass(frozen=True)
class Eye:
    """How a picture is looked at: by which encoder its tiles are, if any, and with how many pixels the whole of it."""

    tiles: str | None = None
    side: int = SIDE

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of its configuration."""
        if self.tiles is None:
            return {"grids": [], "local_vision_config": None, "overview_side": self.side}
        return {"local_vision_config": OVERVIEW, "local_normed": False} if self.tiles == "clip" else {"local_vision_config": TILE}


EYES = {"fixed": Eye(), "direct": Eye(side=2 * SIDE), "clip": Eye("clip"), "dino": Eye("dino")}
"""One overview; one overview of twice the side (positions interpolated); an overview and tiles, by CLIP's copy; the same, tiles by DINOv2."""


@dataclass(frozen=True)
class Variant:
    """A model of the ablation."""

    eye: str
    region_map: str = "overview"
    dense: bool = False
    """Whether stage II comes before stage III."""
    frozen: bool = True
    """Whether the encoders stay as they are in the last stage."""

    @property
    def name(self) -> str:
        return f"{self.eye}-{self.region_map}{'-dense' * self.dense}"


LADDER = {
    "fixed resolution": Variant("fixed"),
    "+ any-resolution grounding": Variant("clip"),
    "+ any-resolution referring": Variant("clip", "fused"),
    "+ DINOv2 for the tiles": Variant("dino", "fused"),
    "+ stage II": Variant("dino", "fused", dense=True),
}
RESOLUTIONS = {
    f"{how}, encoders {'frozen' if frozen else 'learning'}": replace(variant, frozen=frozen)
    for how, variant in {"fixed": Variant("fixed"), "direct upsampling": Variant("direct"), "any resolution": Variant("dino", "fused")}.items()
    for frozen in (True, False)
}
PARTS = {"ladder": LADDER, "resolution": RESOLUTIONS}
COLUMNS = {
    "pointed at": ("roc_box", "roc_point", "roc_mask"),
    "pointed at, under 32 px": ("roc_box_small", "roc_point_small", "roc_mask_small"),
    "located, IoU 0.5": ("rec_p50",),
}
"""Which figures of benchmarks/nano_measures.py a column sums up."""


@dataclass
class Ablation:
    """All variants of one seed, and what they share: pictures, features, and the language model that they begin with."""

    folder: Path
    seed: int = 0
    steps: int = 1000
    pictures: int = 2000
    scenes: int = 200
    shipped: Session = field(default_factory=lambda: Session.open("ferret-v2-nano"))

    @property
    def encoders(self) -> dict[str, Any]:
        """The shipped model's, by the kind of them."""
        towers: Any = self.shipped.model.float()
        return {"clip": towers.overview_tower.backbone, "dino": towers.local_tower.backbone}

    def looked(self, name: str) -> list[tuple[Shard, np.ndarray]]:
        """The pictures as an eye sees them, with the features that its frozen encoders make of them."""
        eye, place = EYES[name], self.folder / f"features-{name}"
        drawn = self.drawn(eye)
        place.mkdir(parents=True, exist_ok=True)
        for number, shard in enumerate(track(drawn, description=f"looking, {name}")):
            if not (path := place / f"{number:04d}.npy").exists():
                feature_shard(partial(self.see, eye), shard, path)
        return [(shard, np.load(place / f"{number:04d}.npy", mmap_mode="r")) for number, shard in enumerate(drawn)]

    def drawn(self, eye: Eye) -> list[Shard]:
        """The pictures, cut as an eye wants them."""
        place = self.folder / f"pictures-{eye.side}{'-tiles' * (eye.tiles is not None)}"
        for _ in build(place, self.pictures, side=eye.side, grids=GRIDS_V2 if eye.tiles else ()):
            pass
        return open_shards(place)

    @torch.no_grad()
    def see(self, eye: Eye, overviews: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Features [n patches dim] of overviews and tiles uint8 [n side side 3]."""
        clip, dino = self.encoders["clip"], self.encoders["dino"]

        def by_clip(views: Tensor) -> Tensor:
            return clip(normalise(views, CLIP_MEAN, CLIP_STD), interpolate_pos_encoding=True).last_hidden_state[:, 1:]

        seen = by_clip(overviews)
        if eye.tiles == "dino":
            return seen, dino(normalise(tiles, TILE_MEAN, TILE_STD)).last_hidden_state[:, 1:]
        return seen, by_clip(tiles) if eye.tiles else seen[:0]

    def new(self, name: str, **changes: Any) -> FerretForConditionalGeneration:
        """The model with this eye before it has learnt anything."""
        eye, looked = EYES[name], self.looked(name)
        encoders = [self.encoders["clip"], *([deepcopy(self.encoders[eye.tiles])] if eye.tiles else [])]
        model = new_model(self.shipped.processor.tokenizer, encoders, looked, **eye.changes | changes)
        lay_boxes(model, read_edges(looked), range(model.config.text_config.num_attention_heads))
        return model

    def language(self) -> Pupil:
        """The model that has read lists of things: what all variants begin with but for their eyes. It is the same for all seeds."""
        place = self.folder / START.name
        if not place.exists():
            model, tokenizer = self.new("fixed"), self.shipped.processor.tokenizer
            shards = [(shard, None) for shard in self.drawn(EYES["fixed"])]
            lists = Layouts(shards, FerretProcessor.from_config(model.config, tokenizer), dict.fromkeys(WORDS_ALONE, 1.0) | TASKS, QUESTIONS)
            train(_short(START, self.steps), model, lists, partial(collate_layouts, pad=tokenizer.pad_token_id), self.folder / f"{START.name}-run")
            _keep(model, lists.processor, place)
        return Pupil.from_pretrained(place)

    def taught(self, variant: Variant) -> Path:
        """The folder of a variant that has learnt; stages that variants share are done once."""
        last = max(1, round(self.steps * LAST))
        second = max(1, round(self.steps * SECOND)) if variant.dense else 0
        third = max(1, self.steps - last - second)
        before = self._start(variant)
        if second:
            before = self._stage(variant, replace(STAGE_II, steps=second), before, "dense", DENSE_TASKS)
        before = self._stage(variant, replace(STAGE_III, steps=third), before, "instruct", TASKS)
        learn = {name: rate / 3 for name, rate in STAGE_III.learn.items()}
        if variant.frozen:
            return self._stage(variant, replace(STAGE_III, steps=last, learn=learn), before, "last-frozen", TASKS)
        learn |= {"overview_tower": EYES_RATE, "local_tower": EYES_RATE}
        return self._stage(variant, replace(STAGE_III, steps=last, learn=learn), before, "last", TASKS)

    def _start(self, variant: Variant) -> Path:
        place = self.folder / f"start-{variant.eye}-{variant.region_map}"
        if not place.exists():
            model, common = self.new(variant.eye, region_map=variant.region_map), self.language()
            for part in ("language_model", "positions", "sampler"):
                getattr(model, part).load_state_dict(getattr(common, part).state_dict())
            _keep(model, FerretProcessor.from_config(model.config, self.shipped.processor.tokenizer), place)
        return place

    def _stage(self, variant: Variant, recipe: Recipe, before: Path, name: str, tasks: Mapping[str, float]) -> Path:
        base = self.folder / f"seed-{self.seed}" / variant.name
        place = base / name
        if place.exists():
            return place
        torch.manual_seed(self.seed)
        model, processor = Pupil.from_pretrained(before), FerretProcessor.from_pretrained(before)
        model.digits = torch.tensor(processor.tokenizer.convert_tokens_to_ids(list("0123456789")))
        looked: Sequence[tuple[Shard, np.ndarray | None]] = self.looked(variant.eye)
        if "overview_tower" in recipe.learn:
            looked = [(shard, None) for shard, _ in looked]
        asked = Asked(looked, processor, tasks, QUESTIONS, seed=self.seed * 10 + len(name), ground=1.0 if name.startswith("last") else GROUND)
        learn = {part: rate for part, rate in recipe.learn.items() if getattr(model, part) is not None}
        pad = partial(collate_asked, pad=processor.tokenizer.pad_token_id, tiles=bool(processor.grids))
        train(replace(recipe, name=name, learn=learn, seed=self.seed, save_every=100), model, asked, pad, base / f"{name}-run")
        _keep(model, processor, place)
        return place

    def answered(self, variant: Variant) -> list[Example]:
        """A variant's answers, kept beside it."""
        place = self.taught(variant)
        kept = place.with_name(f"{place.name}-answers.jsonl")
        if not kept.exists():
            model = FerretForConditionalGeneration.from_pretrained(place).eval()
            session = Session(model, FerretProcessor.from_pretrained(place), variant.name)
            part = kept.with_suffix(".part")
            write_examples(part, (one for number in track(range(self.scenes), description=f"asking {place}") for one in _asked(session, number)))
            part.rename(kept)
        return list(read_examples(kept))


def _asked(session: Session, number: int) -> list[Example]:
    """The benchmark's questions about a scene, with answers; the questions about all of it are left out."""
    asked = examples_about(scene(77, number), whole=False)
    answers = session.answer(asked, max_new_tokens=48)
    return [replace(one, images=(), turns=(*one.turns, Turn("assistant", answer.said))) for one, answer in zip(asked, answers, strict=True)]


def _keep(model: FerretForConditionalGeneration, processor: FerretProcessor, place: Path) -> None:
    with aside(place) as new:
        model.save_pretrained(new)
        processor.save_pretrained(new)


def _short(recipe: Recipe, steps: int) -> Recipe:
    return replace(recipe, steps=min(recipe.steps, steps))


def summed(found: Mapping[str, Figure], names: Sequence[str]) -> Figure:
    """One figure of several shares.

    >>> summed({"a": Figure(0.5, 10, 0, 1), "b": Figure(1.0, 10, 0, 1)}, ["a", "b"]).value
    0.75
    """
    right, count = (
        sum(values) for values in zip(*((round(found[name].value * found[name].count), found[name].count) for name in names), strict=True)
    )
    return Figure(right / count, count, *interval(right, count))


def rows_of(runs: Sequence[Ablation], variants: Mapping[str, Variant]) -> dict[str, dict[str, Any]]:
    """For each variant and column: the mean over seeds, its 95 % interval over the questions of all seeds, and each seed's own value."""
    rows: dict[str, dict[str, Any]] = {}
    for title, variant in variants.items():
        each = [figures(run.answered(variant)) for run in runs]
        rows[title] = {}
        for column, names in COLUMNS.items():
            seeds = [summed(found, names) for found in each]
            right, count = sum(round(one.value * one.count) for one in seeds), sum(one.count for one in seeds)
            rows[title][column] = asdict(Figure(right / count, count, *interval(right, count))) | {"seeds": [one.value for one in seeds]}
    return rows


def _show(title: str, rows: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    table = Table("variant", *COLUMNS, title=title, title_justify="left")
    lines = [f"| {' | '.join(('variant', *COLUMNS))} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, row in rows.items():
        cells = [f"{one['value']:.1%} ({100 * one['low']:.1f} – {100 * one['high']:.1f})".replace("%", " %") for one in row.values()]
        table.add_row(name, *cells)
        lines.append(f"| {' | '.join((name, *cells))} |")
    Console(width=160).print(table)
    with out.open("a") as file:
        file.write(f"{title}\n\n" + "\n".join(lines) + "\n\n")


def _plot(parts: Mapping[str, Mapping[str, Mapping[str, Any]]], out: Path) -> None:
    from matplotlib.figure import Figure as Plot

    plot = Plot(figsize=(6.5 * len(parts), 4.6), layout="constrained")
    for axes, (title, rows) in zip(np.atleast_1d(plot.subplots(1, len(parts))), parts.items(), strict=True):
        for column in COLUMNS:
            cells = [row[column] for row in rows.values()]
            values, low, high = (np.array([100 * cell[name] for cell in cells]) for name in ("value", "low", "high"))
            axes.errorbar(
                range(len(rows)), values, yerr=[values - low, high - values], marker="o", ls="-" if title == "ladder" else "", capsize=3, label=column
            )
        axes.set_xticks(range(len(rows)), list(rows), rotation=30, ha="right")
        axes.set(title=title, ylabel="%", ylim=(0, 100))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    plot.savefig(out, dpi=110)


def main(
    folder: Annotated[Path, typer.Option(help="Where pictures, models and results are kept.")] = Path("runs/ablation"),
    seeds: Annotated[str, typer.Option(help="Comma-separated; a seed orders the questions and begins what is thrown away afterwards.")] = "0",
    steps: Annotated[int, typer.Option(min=3, help="Updates of each variant, all of its stages together.")] = Ablation.steps,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures to learn from; they come in shards.")] = Ablation.pictures,
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes that each variant is asked about.")] = Ablation.scenes,
    parts: Annotated[str, typer.Option(help="Comma-separated: ladder, resolution.")] = ",".join(PARTS),
) -> None:
    """Train all variants, ask them, and keep results.json, table.md and plot.png."""
    if unknown := sorted(set(parts.split(",")) - set(PARTS)):
        raise typer.BadParameter(f"{', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    _settle(folder / "settings.json", {"steps": steps, "pictures": pictures, "scenes": scenes})
    runs = [Ablation(folder, int(seed), steps, pictures, scenes) for seed in seeds.split(",")]
    for run in runs:  # one seed after the other, so that the first is whole early
        for part in parts.split(","):
            for variant in PARTS[part].values():
                run.answered(variant)
    found = {part: rows_of(runs, PARTS[part]) for part in parts.split(",")}
    (folder / "results.json").write_text(json.dumps({"steps": steps, "seeds": seeds, "parts": found}, indent=1))
    (folder / "table.md").unlink(missing_ok=True)
    for title, rows in found.items():
        _show(title, rows, folder / "table.md")
    _plot(found, folder / "plot.png")


def _settle(file: Path, settings: Mapping[str, int]) -> None:
    """Keeps what a folder's variants have in common; typer.BadParameter where they had other settings."""
    if file.is_file() and (found := json.loads(file.read_text())) != settings:
        raise typer.BadParameter(f"{file.parent} holds variants of {found}; give another folder, or the same settings to go on.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


if __name__ == "__main__":
    typer.run(main)

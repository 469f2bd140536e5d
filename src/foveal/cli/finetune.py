"""`foveal finetune`: a model is taught one's own marked pictures, and shown before and after on pictures that it was not taught."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from foveal.cli.bars import bar
from foveal.cli.settings import DEFAULT_MODEL, Device, Model, open_session, verbs_of
from foveal.cli.sources import check_pictures, guess_source, open_source
from foveal.data.images import load_picture
from foveal.data.stored import Stored
from foveal.data.whole import alone_in, check_same_run, write_whole
from foveal.draw import draw, sheet
from foveal.evaluate import Figure, region_figures, region_questions
from foveal.grounding import Example, GroundedText, write_examples

if TYPE_CHECKING:
    from foveal.session.session import Session
    from foveal.train.finetune import Finetuning

__all__ = ["finetune"]

_Answers = list[tuple[Example, GroundedText]]

_MEANING = {
    "named": "what a box holds, named rightly",
    "commonest": "… as the commonest name would be",
    "located": "a name's box, IoU 0.5",
    "found": "everything found, F1 at IoU 0.5",
    "detected": "everything detected, AP at IoU 0.5",
    "detected_named": "… and named rightly",
}
_EARLY = 8
_SHOWN = 6
_MOST_DRAWN = 30


def finetune(
    data: Annotated[list[str], typer.Option("--data", help="A COCO file, a folder with annotations.jsonl, or examples (docs/record.md).")],
    out: Annotated[Path, typer.Option("--out", help="A folder for the model, the figures and the pictures; a run begun there goes on.")],
    images: Annotated[Path | None, typer.Option("--images", help="Where the pictures are, if not beside the data.")] = None,
    kind: Annotated[str | None, typer.Option("--as", help="Which data set it is (foveal data --help); guessed without it.")] = None,
    model: Model = DEFAULT_MODEL,
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the pictures that are not taught, for the figures.")] = 0.2,
    steps: Annotated[int, typer.Option(min=1, help="Updates.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per update.")] = 8,
    rank: Annotated[int, typer.Option(min=0, help="Of the LoRA adapters; 0 teaches the whole model.")] = 16,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate of the adapters; of a whole model a fifth of it.")] = 1e-3,
    questions: Annotated[int, typer.Option(min=1, help="Questions about a picture, at most.")] = 6,
    least: Annotated[float, typer.Option(min=0.05, max=1.0, help="Smallest share of a picture that is shown at a time; 1: always all.")] = 0.5,
    mirror: Annotated[bool, typer.Option(help="Show every second picture mirrored: not where left and right, or letters, matter.")] = True,
    asked: Annotated[int, typer.Option(min=1, help="Pictures that figures are taken on, at most.")] = 40,
    early: Annotated[int, typer.Option(min=0, help="After so many updates, eight held-out pictures are asked about; 0: not.")] = 50,
    seed: Annotated[int, typer.Option(help="Seeds the split and the order.")] = 0,
    device: Device = None,
) -> None:
    """Teach a model your own things: boxes with names. It is asked about held-out pictures before and after.

    In --out lie the finished "model", its "adapter", figures.json, answers, and sheet.png, which shows some pictures before and after.
    """
    from foveal.train.finetune import Finetuning
    from foveal.train.finetune import finetune as teach

    verbs_of(model, guests=False)
    how = Finetuning(steps=steps, batch=batch, rank=rank, rate=rate, questions=questions, least=least, flips=0.5 if mirror else 0.0, seed=seed)
    taught, kept = _split(_read(data, kind, images), held_out, seed)
    with alone_in(out):
        _settle(out, model, data, how, held_out)
        names = sorted({note.said.text for example in (*taught, *kept) for note in example.notes if note.source == "object"})
        say = Console(stderr=True)
        listed = ", ".join(names[:12]) + " …" * (len(names) > 12)
        say.print(f"{len(taught)} pictures to learn from, {len(kept)} held out; {len(names)} names: {listed}")
        write_examples(out / "taught.jsonl", taught)
        write_examples(out / "held_out.jsonl", kept)
        session = open_session(model, device)
        before = _ask(session, kept[:asked], out / "before.jsonl", "asking before")
        looks = {early: lambda: _look(session, before, kept[: min(asked, _EARLY)], names, early, out)} if 0 < early < steps else {}
        place = teach(session.model.float(), session.processor, Stored(out / "taught.jsonl"), names, out, how, looks=looks)
        after = _ask(open_session(str(place), device), kept[:asked], out / "after.jsonl", "asking after")
        _report(region_figures(before, names), region_figures(after, names), len(kept[:asked]), out)
        _draw(before, after, out / "sheet.png")
        print(f"The model is {place}; pictures before and after are in {out / 'sheet.png'}.")


def _settle(out: Path, model: str, data: Sequence[str], how: "Finetuning", held_out: float) -> None:
    """Keeps what the run is in its folder; ValueError where another run lies there, of which something is kept."""
    from foveal.train.checkpoint import newest_first

    settings = {"model": model, "data": list(data), "held_out": held_out} | {field.name: getattr(how, field.name) for field in fields(how)}
    file = out / "settings.json"
    if file.is_file() and (newest_first(out / "run") or (out / "model").is_dir()):
        check_same_run(out, json.loads(file.read_text()), settings)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(settings, indent=1))


def _read(data: Sequence[str], kind: str | None, images: Path | None) -> list[Example]:
    """The examples with a picture and a marked object; how many records were passed over is said, and why the first ones were."""
    check_pictures(images)
    passed: list[str] = []
    found: list[Example] = []
    for path in data:
        name = kind or guess_source(path)
        folder = images or (Path(path).parent if name == "coco" else None)
        settings = {"images": str(folder)} if folder and name not in ("examples", "marked") else {}
        found += open_source(name, [path], settings, passed.append)
    for sentence in passed[:5]:
        print(f"foveal: {sentence}", file=sys.stderr)
    if len(passed) > 5:
        print(f"foveal: … and {len(passed) - 5} more records are passed over", file=sys.stderr)
    usable = [one for one in found if one.images and any(note.source == "object" and note.said.regions for note in one.notes)]
    if len(usable) < 2:
        raise ValueError(f"{len(usable)} pictures with a marked object were found in {', '.join(data)}; at least two are wanted.")
    return usable


def _split(examples: Sequence[Example], held_out: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Taught and held out: by a hash of each picture's name, so that a picture stays on its side when others come."""

    def place(example: Example) -> str:
        return sha256(f"{seed} {Path(example.images[0].path or example.id).name}".encode()).hexdigest()

    ordered = sorted(examples, key=place)
    limit = f"{round(held_out * 16**8):08x}"
    kept = [example for example in ordered if place(example)[:8] < limit] or ordered[:1]
    taught = ordered[len(kept) :]
    if not taught:
        raise ValueError(f"all {len(kept)} pictures were held out; a smaller --held-out is wanted.")
    return taught, kept


def _ask(session: "Session", examples: Sequence[Example], keep: Path, doing: str) -> _Answers:
    """Asks about each picture, and keeps questions and answers."""
    answered: _Answers = []
    with bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as progress:
        for example in progress.track(examples, description=doing):
            asked = region_questions(example, session.processor.verbs)
            answers = session.answer(asked, max_new_tokens=384)
            answered += [(one, answer.said) for one, answer in zip(asked, answers, strict=True)]
    with open(keep, "w", encoding="utf-8") as lines:
        for one, said in answered:
            lines.write(json.dumps({"id": one.id, "task": one.facts["task"], "asked": one.turns[0].said.text, "said": said.text}) + "\n")
    return answered


def _look(session: "Session", before: _Answers, examples: Sequence[Example], names: Sequence[str], step: int, out: Path) -> None:
    """Says what a few held-out pictures come to while it learns, beside what the same came to before."""
    session.model.eval()
    answered = _ask(session, examples, out / "early.jsonl", f"asking after {step} updates")
    new, old = region_figures(answered, names), region_figures(before[: len(answered)], names)
    said = (f"{_MEANING[name]} {one.value:.0%} ({old[name].value:.0%} before)" if name in old else "" for name, one in new.items())
    Console(stderr=True).print(f"after {step} updates, {len(examples)} held-out pictures: {'; '.join(filter(None, said))}")


def _report(before: dict[str, Figure], after: dict[str, Figure], pictures: int, out: Path) -> None:
    table = Table("asked", "before", "after", "95 % interval", "n", title=f"{pictures} held-out pictures")
    for name, new in after.items():
        old = before.get(name)
        table.add_row(_MEANING[name], f"{old.value:.1%}" if old else "", f"{new.value:.1%}", f"{new.low:.1%} – {new.high:.1%}", str(new.count))
    Console().print(table)
    figures = {"before": before, "after": after}
    (out / "figures.json").write_text(
        json.dumps({when: {name: asdict(one) for name, one in some.items()} for when, some in figures.items()}, indent=1)
    )


def _draw(before: _Answers, after: _Answers, save: Path) -> None:
    """Some pictures, each as it is marked, and as the model answered before and after: everything found (of detections the surest), or else what
    it located or named."""
    kinds = {example.facts["task"] for example, _ in after}
    task = next(kind for kind in ("found", "detected", "located", "named") if kind in kinds)
    rows = []
    for (example, said), (_, told) in list(zip(*([pair for pair in some if pair[0].facts["task"] == task] for some in (before, after)), strict=True))[
        :_SHOWN
    ]:
        picture = load_picture(example.images[0])
        picture.thumbnail((640, 640))
        asked = [region for turn in example.turns for region in turn.said.regions]
        rows.append([draw(picture, one, asked=asked if task == "named" else ()) for one in (example.notes[0].said, _surest(said), _surest(told))])
    sheet(rows, ("as marked", "before", "after")).save(save)


def _surest(said: GroundedText) -> GroundedText:
    scored = sorted((span for span in said.spans if span.scores), key=lambda span: -float(span.scores[0] or 0))
    return GroundedText(said.text, tuple(scored[:_MOST_DRAWN])) if len(scored) > _MOST_DRAWN else said

"""`foveal compare`: whether one model answers a benchmark better than another, question by question."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from foveal.cli.evaluate import benchmark_named

__all__ = ["compare"]

_Answers = Annotated[Path, typer.Argument(help="A predictions.jsonl of foveal evaluate, or the folder that holds it.")]


def compare(
    first: _Answers,
    second: _Answers,
    benchmark: Annotated[str | None, typer.Option(help="How to score; else as the manifest beside the answers says.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Compare two runs on the questions that both were asked: the difference of their scores and its 95 % interval, by drawing pictures again."""
    import numpy as np

    from foveal.evaluate.benchmark import MANIFEST
    from foveal.evaluate.kept import ANSWERS, read_answers
    from foveal.evaluate.sampling import paired_bootstrap

    places = [place / ANSWERS if place.is_dir() else place for place in (first, second)]
    if missing := next((place for place in places if not place.is_file()), None):
        raise ValueError(f"there is no file {missing}")
    named = [json.loads(file.read_text())["benchmark"] for place in places if (file := place.with_name(MANIFEST)).is_file()]
    if benchmark is None and (len(named) < 2 or named[0] != named[1]):
        raise ValueError(
            f"{first} and {second} are answers to {' and '.join(named) or 'nothing that a manifest names'}; runs of one benchmark are wanted."
        )
    one = benchmark_named(benchmark or named[0])
    scores: list[dict[str, float]] = [{asked.id: one.score(asked, said) for asked, said in read_answers(place)} for place in places]
    both = [name for name in scores[0] if name in scores[1]]
    if not both:
        raise ValueError(f"{first} and {second} have no question in common.")
    pictures = {name: place for place, name in enumerate(dict.fromkeys(name.rpartition("/")[0] for name in both))}
    sums = np.zeros((2, len(pictures), 2))
    for name in both:
        sums[:, pictures[name.rpartition("/")[0]]] += [[some[name], 1.0] for some in scores]
    found = paired_bootstrap(sums[1], sums[0], lambda drawn: drawn[..., 0].sum(1) / drawn[..., 1].sum(1), seed=seed)
    values = [float(some[:, 0].sum() / some[:, 1].sum()) for some in sums]
    if as_json:
        print(json.dumps({"first": values[0], "second": values[1], "questions": len(both), "difference": asdict(found)}))
        return
    table = Table("", "score", title=f"{one.name}: {len(both)} questions about {len(pictures)} pictures", title_justify="left")
    for place, value in zip((first, second), values, strict=True):
        table.add_row(str(place), f"{value:.1%}")
    table.add_row("second less first", f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})")
    Console(width=120).print(table)
    print(f"So large a difference comes of the choice of pictures alone with a chance of about {found.chance:.3f}.")

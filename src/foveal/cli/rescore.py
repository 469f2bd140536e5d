"""`foveal rescore`: a run's figures made again from its answers, without the model."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from foveal.cli.evaluate import benchmark_named, figures_of, figures_table

__all__ = ["rescore"]


def rescore(
    answers: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="A predictions.jsonl, or the folder that holds it.")],
    benchmark: Annotated[str | None, typer.Option(help="How to score; else as the manifest beside the answers says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Score kept answers again. Nothing but them is read: neither model nor pictures."""
    from foveal.evaluate.benchmark import MANIFEST, read_manifest
    from foveal.evaluate.kept import ANSWERS, read_answers
    from foveal.evaluate.regions import figures_to_json

    place = answers / ANSWERS if answers.is_dir() else answers
    if not place.is_file():
        raise ValueError(f"there is no file {place}")
    manifest = place.with_name(MANIFEST)
    if benchmark is None and not manifest.is_file():
        raise ValueError(f"{place} has no {MANIFEST} beside it that says how to score; --benchmark is wanted.")
    run = read_manifest(manifest) if manifest.is_file() else {}
    one, answered = benchmark_named(benchmark or str(run["benchmark"])), read_answers(place)
    if run and len(answered) < (count := run["questions"]["count"]):
        print(f"foveal: {place} holds {len(answered)} of the run's {count} answers; the figures are of these alone.", file=sys.stderr)
    found = figures_of(one, answered, place)
    if as_json:
        print(json.dumps(figures_to_json(found)))
    else:
        Console(width=120).print(figures_table(f"{one.name}: {one.about}", found))

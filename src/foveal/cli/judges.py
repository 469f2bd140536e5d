"""The options by which a judge is named: a model at an endpoint, the variable that holds its key, what it costs and may cost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from foveal.endpoint import Endpoint, Prices

__all__ = ["JudgeAtOnce", "JudgeBudget", "JudgeKey", "JudgeModel", "JudgePrice", "JudgeSettings", "JudgeUrl", "judge_from"]

JudgeModel = Annotated[str | None, typer.Option("--judge", help="The judge's name at its endpoint.")]
JudgeUrl = Annotated[str, typer.Option("--judge-url", help="An endpoint of OpenAI's kind; http://localhost:8000/v1 for a local vLLM.")]
JudgeKey = Annotated[str, typer.Option("--judge-key-variable", help="The environment variable with the key; none is wanted on this machine.")]
JudgePrice = Annotated[
    str | None,
    typer.Option("--judge-price", metavar="IN,OUT", help="Prices of a million tokens of questions and of replies."),
]
JudgeBudget = Annotated[float | None, typer.Option("--judge-budget", help="Ask no more once so much is spent.")]
JudgeSettings = Annotated[
    str | None,
    typer.Option("--judge-settings", metavar="JSON", help="In place of the benchmark's: temperature, max_tokens; null leaves one out."),
]
JudgeAtOnce = Annotated[int, typer.Option("--judge-at-once", min=1, help="How many judgements are asked for at once.")]


def judge_from(
    model: str | None, url: str, key_variable: str, price: str | None, budget: float | None, settings: str | None, at_once: int, cache: Path
) -> "Endpoint | None":
    """The judge that the options name; None where they name none. ValueError, in one sentence, for options that do not fit."""
    if model is None:
        return None
    from foveal.endpoint import Endpoint

    prices = _prices(price)
    if budget is not None and prices is None:
        raise ValueError(f"--judge-budget {budget:g} wants --judge-price IN,OUT to count it by.")
    return Endpoint(url, model, key_variable=key_variable, settings=_settings(settings), prices=prices, budget=budget, cache=cache, at_once=at_once)


def _prices(given: str | None) -> "Prices | None":
    from foveal.endpoint import Prices

    if given is None:
        return None
    try:
        asked, said = (float(part) for part in given.split(","))
    except ValueError as error:
        raise ValueError(
            f"--judge-price {given} is no pair of numbers; it wants those of a million tokens of questions and replies, as 2.5,10."
        ) from error
    return Prices(asked, said)


def _settings(given: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(given or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"--judge-settings {given} is no JSON object; it wants one like " + '{"temperature": 0, "max_tokens": null}.')
    return found

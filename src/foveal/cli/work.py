"""From items to printed answers: one item is answered or refused, of many the bad ones are reported and the rest done."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foveal.cli.bars import bar
from foveal.cli.items import Item, to_example
from foveal.cli.report import as_record, as_text, check_save, save_drawing
from foveal.cli.settings import open_session
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings import Verbs

__all__ = ["Ask", "Work", "answer_all", "ask_about"]

Ask = Callable[[str, Sequence[Region]], GroundedText]
"""What makes the question of an item's words and regions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is the same for every item of a command."""

    ask: Ask
    model: str
    device: str | None
    as_json: bool
    save: Path | None
    batch: int
    max_tokens: int = 512
    wants_place: bool = False
    trace: bool = False
    """Whether the way that the words take is drawn, instead of each place with a label."""


def ask_about(verbs: Verbs, verb: str, doing: str) -> Ask:
    """Questions of a verb about the phrase of each item; ValueError for an empty phrase, and for a family that has no such question."""

    def ask(phrase: str, regions: Sequence[Region]) -> GroundedText:
        if not phrase.strip():
            raise ValueError(f"The phrase to {doing} is empty; words are wanted.")
        return verbs.of(verb, phrase.strip())

    return ask


def answer_all(images: Sequence[str], items: Iterator[Item], work: Work) -> None:
    """Answer items and print; one image gets text, or JSON if wanted, several get JSON lines, and exit code 1 if any was refused."""
    several = len(images) != 1 or images[0] == "-"
    check_save(work.save, several=several)
    if not several:
        _answer_one(next(items), work)
        return
    with _progress(None if images[0] == "-" else len(images)) as progress:
        task = progress.add_task("answered", total=None if images[0] == "-" else len(images))
        refused = 0
        for number, record in enumerate(_records(items, work), 1):
            print(json.dumps(record, ensure_ascii=False), flush=True)
            refused += "error" in record
            progress.update(task, completed=number)
    if refused:
        raise typer.Exit(1)


def _answer_one(item: Item, work: Work) -> None:
    example = to_example(item, work.ask)  # before the model is opened: what is wrong here is said at once
    session = open_session(work.model, work.device)
    answer = next(iter(session.answer([example], max_new_tokens=work.max_tokens)))
    if answer.error is not None:
        raise ValueError(answer.error)
    if work.save is not None:
        save_drawing(example, answer, work.save, trace=work.trace)
    if work.as_json:
        print(json.dumps(as_record(example, answer, item.image, work.model, item.names), ensure_ascii=False))
    else:
        print(as_text(example, answer, wants_place=work.wants_place))


def _records(items: Iterator[Item], work: Work) -> Iterator[dict]:
    """One JSON object for each item, in order. Items that cannot be asked wait in line until those before them are answered."""
    session = open_session(work.model, work.device)
    line: deque[tuple[int, Item, Example | None, str]] = deque()

    def askable() -> Iterator[Example]:
        for number, item in enumerate(items, 1):
            try:
                example = to_example(item, work.ask)
            except ValueError as error:
                line.append((number, item, None, str(error)))
                continue
            line.append((number, item, example, ""))
            yield example

    for answer in session.answer(askable(), max_new_tokens=work.max_tokens, batch=work.batch):
        yield from _refusals(line)
        number, item, example, _ = line.popleft()
        assert example is not None
        if answer.error is not None:
            yield _refusal(item, answer.error)
            continue
        if work.save is not None:
            save_drawing(example, answer, work.save, number, trace=work.trace)
        yield as_record(example, answer, item.image, work.model, item.names)
    yield from _refusals(line)


def _refusals(line: deque) -> Iterator[dict]:
    """The refused items at the head of the line."""
    while line and line[0][2] is None:
        _, item, _, error = line.popleft()
        yield _refusal(item, error)


def _refusal(item: Item, error: str) -> dict:
    return {**item.names, **({"image": item.image} if item.image else {}), "error": error}


def _progress(total: int | None) -> Progress:
    columns = (TextColumn("{task.completed} {task.description}"),) if total is None else (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return bar(*columns)

"""The answers of a run on disk: written as they come, by one process or several, read again up to a line that was torn."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from foveal.data.whole import write_whole
from foveal.evaluate.judgements import JUDGEMENTS, read_judgements, with_judgements
from foveal.grounding import Example, GroundedText, Turn, example_from_json, example_to_json

__all__ = ["ANSWERS", "Answered", "Process", "appending", "gather", "is_refused", "kept_answers", "picture_asked_about", "process", "read_answers"]

Answered = tuple[Example, GroundedText]
"""A question with its true answer (notes with source "truth"), and what was answered."""
ANSWERS = "predictions.jsonl"
_PARTS = "predictions-*.jsonl"


@dataclass(frozen=True, slots=True)
class Process:
    """One of the `count` processes of a run, number `rank` from 0 on."""

    rank: int = 0
    count: int = 1

    def wait(self) -> None:
        """Until all processes have come so far."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    @property
    def file(self) -> str:
        """Where it writes its answers."""
        return ANSWERS if self.count == 1 else f"predictions-{self.rank}.jsonl"

    @property
    def device(self) -> str | None:
        """Which accelerator it has to itself; None for one process alone, which may choose."""
        if self.count == 1:
            return None
        from accelerate import PartialState

        return str(PartialState().device)


def process() -> Process:
    """Which process of a run this is, as `accelerate launch` or torchrun has started it; the only one, where none of them has."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Process()
    import torch

    from accelerate import PartialState

    state = PartialState(cpu=not torch.accelerator.is_available())  # torchrun does not say so, and without it each would be the only one
    return Process(state.process_index, state.num_processes)


def read_answers(path: Path) -> list[Answered]:
    """The answers of a run, with what a judge said of them as the fact "judgement" (judgements.jsonl beside them). ValueError for a file that
    is none, with its line."""
    answered = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                answered.append(_answer_of(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}; lines as foveal evaluate writes them are wanted") from error
    return with_judgements(answered, read_judgements(path.with_name(JUDGEMENTS)))


def is_refused(asked: Example) -> bool:
    """Whether a question was not asked, its picture being unreadable for instance; the fact "error" says why.

    >>> is_refused(Example("7", facts={"finish": "error", "error": "there is no file 7.png"})), is_refused(Example("7"))
    (True, False)
    """
    return asked.facts.get("finish") == "error"


def picture_asked_about(asked: Example) -> str:
    """What tells the picture of a question from others: its path, or what stands before the last / of the question's id; the id where there is
    neither.

    >>> from foveal.grounding import Picture
    >>> picture_asked_about(Example("scene 3/7")), picture_asked_about(Example("3/7", (Picture(4, 2, "a.png"),)))
    ('scene 3/7', 'a.png')
    """
    return str(asked.images[0].path or asked.id.rpartition("/")[0] or asked.id) if asked.images else asked.id


def kept_answers(out: Path) -> dict[str, Answered]:
    """What the processes of a run have answered so far, by the question's id."""
    files = [out / ANSWERS, *sorted(out.glob(_PARTS))]
    return {one[0].id: one for file in files for one, _ in _whole_answers(file)}


@contextmanager
def appending(file: Path, root: Path) -> Iterator["_Writer"]:
    """Writes answers to the end of a file, behind its last whole line, each at once; pictures' paths are kept from `root` on."""
    if file.is_file():
        write_whole(file, "".join(line + "\n" for _, line in _whole_answers(file)))
    with open(file, "a", encoding="utf-8") as lines:
        yield _Writer(lines, root)


def gather(out: Path, asked: Sequence[Example]) -> None:
    """Puts the answers into the order of the questions, in one file; those of processes are taken away, and lines that were torn.

    Of several answers to a question the last one is kept, but none that was refused where another was not.
    """
    parts = sorted(out.glob(_PARTS))
    every = [(asked, line) for file in (out / ANSWERS, *parts) for (asked, _), line in _whole_answers(file)]
    lines = {example.id: line for example, line in sorted(every, key=lambda one: not is_refused(one[0]))}
    write_whole(out / ANSWERS, "".join(lines[one.id] + "\n" for one in asked))
    for part in parts:
        part.unlink()


@dataclass(frozen=True, slots=True)
class _Writer:
    lines: TextIO
    root: Path

    def write(self, example: Example, said: GroundedText) -> None:
        pictures = [replace(one, path=os.path.relpath(one.path, self.root), pixels=None) if one.path else one for one in example.images]
        kept = replace(example, images=tuple(pictures), turns=(*example.turns, Turn("assistant", said)))
        self.lines.write(json.dumps(example_to_json(kept), ensure_ascii=False) + "\n")
        self.lines.flush()


def _answer_of(line: str) -> Answered:
    example = example_from_json(json.loads(line))
    if len(example.turns) < 2 or example.turns[-1].role != "assistant":
        raise ValueError(f"example {example.id!r} has no answer")
    return replace(example, turns=example.turns[:-1]), example.turns[-1].said


def _whole_answers(path: Path) -> Iterator[tuple[Answered, str]]:
    """The answers with their lines, up to one that was torn when the run was stopped."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield _answer_of(line), line.rstrip("\n")
            except (ValueError, KeyError, TypeError):
                return

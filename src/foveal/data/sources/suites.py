"""Suites of questions that models are judged by: POPE, MME and SEED-Bench, each from its official files.

Every question is an example (`answers.py` says what of it becomes turns and facts). Pictures are looked for in the folder `images`; without
it there are none. What cannot be used is passed over, and `report` is told why; ValueError for another kind of file.
"""

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.reading import LOG, Report, array_of, child_of, object_of, text_lines
from foveal.data.sources.answers import Form, answered
from foveal.grounding import Example

__all__ = ["mme", "pope", "seed_bench"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]

_POPE = Form(question="text", answers="label", facts={"question_id": "question_id", "kind": "kind"})
_MME = Form(answers="answer", picture="{file}", facts={"task": "task", "picture": "name"})
_SEED = Form(answers="place", choices="choices", picture="{data_id}", facts={"question_id": "question_id", "kind": "kind"})
_LETTERS, _ENDINGS = "ABCD", (".jpg", ".png", ".jpeg")


def pope(questions: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """POPE's questions about what is there: the lines of `coco_pope_random.json`, `coco_pope_popular.json` or `coco_pope_adversarial.json`.

    Pictures are COCO's, `COCO_val2014_000000310196.jpg`. The answer is "yes" or "no"; the fact "kind" is the last word of the file's name.
    """
    kind = Path(questions).name.partition(".")[0].rpartition("_")[2]

    def asked(line: str) -> list[_Record]:
        return [{**object_of(line), "kind": kind}]

    return answered(text_lines(questions), _POPE, source=questions, images=images, licence=licence, report=report, parts=asked)


def mme(folder: _Path, *, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """MME's questions: `MME_Benchmark`, a folder of a folder for each task, in which a text file for each picture has lines of question, tab, answer.

    In a task's folder pictures lie beside the text files of their name, or in `images` with the text files in `questions_answers_YN`. The answer
    is "yes" or "no"; the facts "task" and "picture" say whose question it is.
    """
    root = Path(folder)

    def asked(pair: tuple[str, Path]) -> list[_Record]:
        task, sheet = pair
        shown = sheet.parent.parent / "images" if sheet.parent.name == "questions_answers_YN" else sheet.parent
        picture = next((file for ending in _ENDINGS if (file := shown / (sheet.stem + ending)).is_file()), None)
        if picture is None:
            raise ValueError(f"there is no picture {shown / sheet.stem}.jpg")
        about = {"task": task, "name": f"{task}/{picture.name}", "file": picture.relative_to(root).as_posix()}
        lines = [line.rpartition("\t") for _, line in text_lines(sheet)]
        ids = [f"{task}/{sheet.stem}/{place}" for place in range(len(lines))]
        return [
            {**about, "question": question, "answer": answer.strip().lower(), "question_id": name}
            for name, (question, _, answer) in zip(ids, lines, strict=True)
        ]

    found = {task.name: [*task.glob("*.txt"), *task.glob("questions_answers_YN/*.txt")] for task in sorted(root.glob("*/"))}
    sheets = [(task, sheet) for task in found for sheet in sorted(found[task])]
    records = ((str(sheet), (task, sheet)) for task, sheet in sheets)
    return answered(records, _MME, source=folder, images=root, licence=licence, report=report, parts=asked)


def seed_bench(questions: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """SEED-Bench's questions about single pictures: `SEED-Bench.json`, of which those about videos are left out.

    Pictures are those of `SEED-Bench-image`, whose names have no ending: `1454426_2591111986`. The right one of four choices is said; the fact
    "kind" is the dimension ("Scene Understanding" …) as the file names it.
    """
    kinds = {number: name for name, number in dict(child_of(questions, "question_type") or {}).items()}

    def asked(entry: _Record) -> list[_Record]:
        if entry["data_type"] != "image":
            return []
        choices = [entry[f"choice_{letter.lower()}"] for letter in _LETTERS]
        kind = kinds.get(entry["question_type_id"], str(entry["question_type_id"]))
        return [{**entry, "choices": choices, "place": _LETTERS.index(entry["answer"]), "kind": kind}]

    records = array_of(questions, "questions")
    return answered(records, _SEED, source=questions, images=images, licence=licence, report=report, parts=asked)

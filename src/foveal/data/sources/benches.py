"""Benches whose answers a judge scores, each from its official files: Ferret-Bench, LLaVA-Bench, MM-Vet, Object HalBench.

A question is an example: the user's turn, and the reference as the assistant's where there is one. Pictures are looked for in the folder `images`.
What cannot be used is passed over, and `report` is told why; ValueError for another kind of file.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.images import picture_from
from foveal.data.notes import pictures_in
from foveal.data.reading import LOG, Report, array_of, made_of, object_of, pairs_of, some_of, text_lines
from foveal.geometry import Box, Region
from foveal.grounding import Example, GroundedText, Turn

__all__ = ["FERRET_BENCH", "ferret_bench", "llava_bench", "mm_vet", "object_halbench"]

FERRET_BENCH = ("refer_caption", "refer_reason", "ground_conv")
"""The folders of Ferret-Bench's three tasks; the first is the category "refer_desc"."""

_Path = str | PathLike[str]
_Record = Mapping[str, Any]
_BOX = re.compile(r"\[\s*(\d*\.\d+|\d+)" + r"\s*,\s*(\d*\.\d+|\d+)" * 3 + r"\s*\]")


def ferret_bench(folder: _Path, *, images: _Path, packed: bool = False, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """Ferret-Bench's 120 questions (Ferret, arXiv 2310.07704): a folder for each task, with `question.jsonl`, `answer.jsonl` and `context.jsonl`;
    `packed`, `records.json.gz`, a list of objects with task, question, answer and context.

    Boxes of a question, written in fractions of the picture, become regions where they stand. The facts are "task", "category", "question" (as
    it is written) and "context" (the picture in words). Pictures are COCO's of 2017: `000000069138.jpg`.
    """

    def example(record: _Record) -> Example:
        question, answer, context = (record[name] for name in ("question", "answer", "context"))
        facts = {"task": str(record["task"]), "category": str(question["category"])}
        facts |= {"question": str(question["text"]), "context": str(context["text"])}
        name, shown = str(question["image"]), pictures_in(images, str(question["image"]))
        turns = (Turn("user", _with_regions(str(question["text"]))), Turn("assistant", GroundedText(str(answer["text"]))))
        return Example(f"{Path(name).stem}/{record['task']}-{question['question_id']}", shown, turns, licence=licence, facts=facts)

    records = array_of(Path(folder, "records.json.gz")) if packed else _ferret_records(Path(folder), report)
    return some_of(made_of(records, example, report), f"nothing of {folder} can be used; it wants Ferret-Bench's questions, answers and contexts")


def llava_bench(
    questions: _Path, answers: _Path, contexts: _Path, *, images: _Path, prefix: str = "", licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """LLaVA-Bench's questions (Liu et al. 2023), in the wild: `questions.jsonl`, `answers_gpt4.jsonl`, `context.jsonl`; on COCO:
    `qa90_questions.jsonl`, `qa90_gpt4_answer.jsonl`, `caps_boxes_coco2014_val_80.jsonl`, whose pictures have the `prefix` "COCO_val2014_".

    The facts are "category" ("conv", "detail", "complex"), "question" and "context": the captions, and behind them the boxes where they are given.
    """
    told = {str(record["image"]): record for record in _objects(contexts, ("image",), report)}
    said = {str(record["question_id"]): record for record in _objects(answers, ("question_id",), report)}

    def example(line: str) -> Example:
        record = object_of(line)
        number, name = str(record["question_id"]), str(record["image"])
        if number not in said or name not in told:
            raise ValueError(f"{answers if number not in said else contexts} has nothing for it")
        facts = {"category": str(record["category"]), "question": str(record["text"]), "context": _context(told[name])}
        turns = (Turn("user", GroundedText(str(record["text"]))), Turn("assistant", GroundedText(str(said[number]["text"]))))
        return Example(f"{Path(name).stem}/{number}", pictures_in(images, prefix + name), turns, licence=licence, facts=facts)

    return some_of(
        made_of(text_lines(questions), example, report), f"nothing of {questions} can be used; it wants lines with question_id, image and text"
    )


def mm_vet(questions: _Path, *, images: _Path, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """MM-Vet's questions (Yu et al. 2023): `mm-vet.json`. The fact "capability" lists what a question wants: "rec", "ocr", "know", "gen", "spat",
    "math"."""

    def example(pair: tuple[str, Any]) -> Example:
        number, record = pair
        turns = (Turn("user", GroundedText(str(record["question"]))), Turn("assistant", GroundedText(str(record["answer"]))))
        facts = {"capability": sorted({str(one) for one in record["capability"]})}
        name = str(record["imagename"])
        return Example(f"{Path(name).stem}/{number}", pictures_in(images, name), turns, licence=licence, facts=facts)

    return some_of(made_of(pairs_of(questions), example, report), f"nothing of {questions} can be used; it wants an object of MM-Vet's questions")


def object_halbench(questions: _Path, *, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """Object HalBench's requests for descriptions (RLHF-V, arXiv 2312.00849): `obj_halbench_300_with_image.jsonl`, whose pictures are in it.

    The fact "image_id" is the picture's number in COCO 2014.
    """

    def example(line: str) -> Example:
        record = object_of(line)
        try:
            picture = picture_from(b64decode(record["image"], validate=True))
        except binascii.Error as error:
            raise ValueError(f"its picture is no base64: {error}") from error
        number = int(record["image_id"])
        turn, place = Turn("user", GroundedText(str(record["question"]))), record.get("org_idx", 0)
        return Example(f"{number:012d}/{place}", (picture,), (turn,), licence=licence, facts={"image_id": number})

    return some_of(
        made_of(text_lines(questions), example, report), f"nothing of {questions} can be used; it wants lines with image, image_id and question"
    )


def _ferret_records(folder: Path, report: Report) -> Iterator[tuple[str, _Record]]:
    """The questions of all tasks, each with the answer and the context of its number."""
    for task in FERRET_BENCH:
        files = {part: folder / task / f"{part}.jsonl" for part in ("question", "answer", "context")}
        parts = {part: {str(one["question_id"]): one for one in _objects(file, ("question_id",), report)} for part, file in files.items()}
        for number in parts["question"]:
            yield f"{files['question']}, question {number},", {"task": task} | {part: some[number] for part, some in parts.items() if number in some}


def _objects(path: _Path, wanted: Iterable[str], report: Report) -> Iterator[_Record]:
    """The objects of JSON lines that have all that is wanted of them."""

    def made(line: str) -> _Record:
        record = object_of(line)
        return {name: record[name] for name in wanted} | dict(record)

    return made_of(text_lines(path), made, report)


def _context(record: _Record) -> str:
    """The picture in words, as LLaVA's scripts write it: captions line by line, and a line of name and box for each thing."""
    captions = record["caption"] if "caption" in record else record["captions"]
    told = captions if isinstance(captions, str) else "\n".join(map(str, captions))
    if "instances" not in record:
        return told
    return told + "\n\n" + "\n".join(f"{one['category']}: {one['bbox']}" for one in record["instances"])


def _with_regions(text: str) -> GroundedText:
    """A question whose boxes, four fractions in brackets, are regions.

    >>> _with_regions("What is the object [0.1, 0.2, 0.3, 0.4] for?").regions
    (Box(x0=0.1, y0=0.2, x1=0.3, y1=0.4, image=0),)
    """
    parts: list[str | Region] = []
    written = 0
    for found in _BOX.finditer(text):
        x0, y0, x1, y1 = (min(float(number), 1.0) for number in found.groups())
        parts += [text[written : found.start()], Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))]
        written = found.end()
    return GroundedText.join(*parts, text[written:])

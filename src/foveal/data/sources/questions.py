"""Questions about natural pictures, each from its official files: VQA and OK-VQA, GQA, VizWiz, ScienceQA, EST-VQA.

Every question is an example (`answers.py` says what of it becomes turns and facts). Pictures are looked for in the folder `images`; without
it there are none. What cannot be used is passed over, and `report` is told why; ValueError for another kind of file.
"""

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.reading import LOG, Grouped, Report, array_of, child_of, pairs_of
from foveal.data.sources.answers import Form, answered
from foveal.grounding import Example

__all__ = ["est_vqa", "gqa", "science_qa", "vizwiz", "vqa"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]

_VQA = Form(
    picture="COCO_{folder}_{image_id:012d}.jpg",
    facts={"question_id": "question_id", "question_type": "question_type", "answer_type": "answer_type", "split": "folder"},
)
_GQA = Form(
    answers="answer",
    picture="{imageId}.jpg",
    facts={"question_id": "question_id", "full_answer": "fullAnswer", "question_type": "types", "balanced": "isBalanced"},
)
_VIZWIZ = Form(id="image", facts={"question_id": "image", "answerable": "answerable", "answer_type": "answer_type"})
_EST_VQA = Form(answers="answer", facts={"question_id": "question_id"})
_SCIENCE_QA = Form(
    answers="answer",
    choices="choices",
    picture="{file}",
    facts={
        "question_id": "question_id",
        **{name: name for name in ("split", "hint", "lecture", "solution", "task", "grade", "subject", "topic", "category", "skill")},
    },
)


def vqa(
    questions: _Path, annotations: _Path | None = None, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """VQA's and OK-VQA's questions: `v2_OpenEnded_mscoco_train2014_questions.json` with `v2_mscoco_train2014_annotations.json`, or
    `OpenEnded_mscoco_train2014_questions.json` with `mscoco_train2014_annotations.json`; a test set has no annotations.

    Pictures are COCO's: `COCO_train2014_000000000139.jpg`.
    """
    folder = str(child_of(questions, "data_subtype") or "").replace("test-dev", "test")
    entries = (entry for _, entry in array_of(annotations, "annotations") if isinstance(entry, dict)) if annotations else iter(())
    kept = Grouped((entry.get("question_id"), entry) for entry in entries)

    def joined(question: _Record) -> list[_Record]:
        found = kept.of(question["question_id"])
        if annotations and not found:
            raise ValueError(f"{annotations} has no answers to question {question['question_id']}")
        return [{**(found[0] if found else {}), **question, "folder": folder}]

    records = array_of(questions, "questions")
    return answered(records, _VQA, source=questions, images=images, licence=licence, report=report, parts=joined)


def gqa(questions: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """GQA's questions: `train_balanced_questions.json`, or any other of `questions1.2`. Pictures are Visual Genome's: `2375429.jpg`.

    The short answer is said; the fact "full_answer" has the sentence.
    """

    def keyed(pair: tuple[str, Any]) -> list[_Record]:
        return [{**pair[1], "question_id": pair[0]}]

    return answered(pairs_of(questions), _GQA, source=questions, images=images, licence=licence, report=report, parts=keyed)


def vizwiz(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """VizWiz' questions of blind people: `train.json`. A question has the name of its picture, `VizWiz_train_00000000.jpg`, as its id."""
    return answered(array_of(annotations), _VIZWIZ, source=annotations, images=images, licence=licence, report=report)


def science_qa(
    problems: _Path,
    splits: _Path | None = None,
    *,
    split: str = "",
    images: _Path | None = None,
    licence: str = "",
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """ScienceQA's problems: `problems.json`; pictures are `train/1/image.png`, and a problem in words alone has none.

    With `split` only its problems: "train", "val" or "test" as the problems themselves say, or with `pid_splits.json` as `splits` any that it
    lists ("minitrain" …). ValueError for one that it does not list. Hint, lecture and solution are facts.
    """
    listed = child_of(splits, split) if splits and split else None
    if splits and split and not isinstance(listed, list):
        raise ValueError(f"{splits} lists no split {split!r}")
    chosen = set(map(str, listed or ()))

    def keyed(pair: tuple[str, Any]) -> list[_Record]:
        number, problem = pair[0], dict(pair[1])
        if split and (number not in chosen if splits else problem["split"] != split):
            return []
        file = f"{problem['split']}/{number}/{problem['image']}" if problem.get("image") else ""
        return [{**problem, "question_id": number, "file": file}]

    return answered(pairs_of(problems), _SCIENCE_QA, source=problems, images=images, licence=licence, report=report, parts=keyed)


def est_vqa(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """EST-VQA's questions about text in scenes: `train.json`, a list of pictures with their questions.

    A question's id is its picture's name without ending and its place among the picture's questions.
    """

    def asked(entry: _Record) -> list[_Record]:
        name = str(entry["image"])
        return [{**one, "image": name, "question_id": f"{Path(name).stem}/{place}"} for place, one in enumerate(entry["annotation"])]

    return answered(array_of(annotations), _EST_VQA, source=annotations, images=images, licence=licence, report=report, parts=asked)

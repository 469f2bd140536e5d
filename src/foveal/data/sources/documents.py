"""Questions about text, charts, tables and documents, and captions of text, each from its official files.

Every question is an example (`answers.py` says what of it becomes turns and facts). Pictures are looked for in the folder `images`; without
it there are none, and what is known of a place in pixels has words only. What cannot be used is passed over, and `report` is told why;
ValueError for another kind of file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from foveal.data.images import picture_from
from foveal.data.notes import box_in, note
from foveal.data.reading import LOG, Grouped, Report, array_of, entries_of, file_within, made_of, object_of, pairs_of, some_of, text_lines
from foveal.data.sources.answers import Form, answered, pictures_of, text_of
from foveal.grounding import Example, GroundedText, Note, Picture

__all__ = ["ai2d", "chart_qa", "doc_vqa", "due", "infographics_vqa", "ocr_vqa", "st_vqa", "text_caps", "text_vqa", "visual_mrc"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]
_Pictures = tuple[Picture, ...]
_Known = tuple[Any, str, str, str]  # an entry, its field of words, its field of a shape in pixels, and the source that it is

_SIDES = ("image_width", "image_height")
_SPLITS = {1: "train", 2: "val", 3: "test"}  # of OCR-VQA
_PAGES = (".png", ".jpg", ".jpeg")

_TEXT_VQA = Form(picture="{image_id}.jpg", size=_SIDES, facts={"question_id": "question_id", "set": "set_name"})
_TEXT_CAPS = Form(id="image_id", picture="{image_id}.jpg", size=_SIDES)
_ST_VQA = Form(picture="{file_path}", facts={"question_id": "question_id", "set": "set_name"})
_OCR_VQA = Form(
    answers="answer",
    picture="{file}",
    facts={"question_id": "question_id", "split": "split", "title": "title", "author": "authorName", "genre": "genre"},
)
_DOC_VQA = Form(id="questionId", facts={"question_id": "questionId", "document": "docId", "split": "data_split", "question_type": "question_types"})
_INFOGRAPHICS_VQA = Form(
    id="questionId", picture="{image_local_name}", facts={"question_id": "questionId", "split": "data_split", "answer_type": "answer_type"}
)
_CHART_QA = Form(question="query", answers="label", picture="{imgname}", facts={"set": "set"})
_AI2D = Form(
    id="questionId",
    answers="correctAnswer",
    choices="answerTexts",
    picture="{imageName}",
    facts={"question_id": "questionId", "split": "split", "abc_label": "abcLabel"},
)
_DUE = Form(question="key", facts={"question_id": "id", "document": "name", "split": "split", "values": "items"})
_VISUAL_MRC = Form(answers="answer", picture="{image_filename}", facts={"relevant": "relevant", "url": "url"})


def text_vqa(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """TextVQA's questions: `TextVQA_0.5.1_train.json`; pictures are `003a8ae2ef43b901.jpg`, of the size that the file states."""
    return answered(array_of(annotations, "data"), _TEXT_VQA, source=annotations, images=images, licence=licence, report=report)


def st_vqa(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """ST-VQA's questions: `train_task_3.json`; pictures are `coco-text/COCO_train2014_000000000139.jpg` and those of five other folders."""
    return answered(array_of(annotations, "data"), _ST_VQA, source=annotations, images=images, licence=licence, report=report)


def doc_vqa(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """DocVQA's questions about one page (SP-DocVQA): `train_v1.0_withQT.json`; pictures are `documents/xnbl0037_1.png`."""
    return answered(array_of(annotations, "data"), _DOC_VQA, source=annotations, images=images, licence=licence, report=report)


def infographics_vqa(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """InfographicsVQA's questions: `infographicsVQA_train_v1.0.json`; pictures are `20471.jpeg`, the field `image_local_name`."""
    return answered(array_of(annotations, "data"), _INFOGRAPHICS_VQA, source=annotations, images=images, licence=licence, report=report)


def chart_qa(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """ChartQA's questions: `train_human.json` or `train_augmented.json`, with the folder `png`. Their ids are the file's name and their place
    in it, and the fact "set" is the file's name."""
    name = Path(annotations).name.partition(".")[0]
    numbered = ((place, (number, entry)) for number, (place, entry) in enumerate(array_of(annotations)))

    def placed(pair: tuple[int, _Record]) -> list[_Record]:
        return [{**pair[1], "question_id": f"{name}/{pair[0]}", "set": name}]

    return answered(numbered, _CHART_QA, source=annotations, images=images, licence=licence, report=report, parts=placed)


def ocr_vqa(
    annotations: _Path, *, split: str = "", images: _Path | None = None, licence: str = "", report: Report = LOG.warning
) -> Iterator[Example]:
    """OCR-VQA's questions about book covers: `dataset.json`; pictures are `761183272.jpg`, the book's key with the ending of its address.

    A question's id is the key and its place among the book's questions. With `split` only those of "train", "val" or "test".
    """

    def asked(pair: tuple[str, _Record]) -> list[_Record]:
        key, book = pair
        about = {**book, "file": key + Path(book["imageURL"]).suffix, "split": _SPLITS.get(book.get("split", 0))}
        if split and about["split"] != split:
            return []
        said = list(zip(book["questions"], book["answers"], strict=True))
        return [{**about, "question": question, "answer": answer, "question_id": f"{key}/{place}"} for place, (question, answer) in enumerate(said)]

    return answered(pairs_of(annotations), _OCR_VQA, source=annotations, images=images, licence=licence, report=report, parts=asked)


def ai2d(
    questions: _Path,
    annotations: _Path | None = None,
    test_ids: _Path | None = None,
    *,
    images: _Path | None = None,
    licence: str = "",
    report: Report = LOG.warning,
) -> Iterator[Example]:
    """AI2D's questions about diagrams: the folders `questions` and `annotations`, with a file for each picture, and `ai2d_test_ids.csv`.

    The diagram's words are notes with source "text", from `annotations`. A question with the fact "abc_label" means a diagram whose words are
    painted over with letters: for it there are notes with source "letter" too, at the same places. With `test_ids` the fact "split" is told.
    """
    tested = {line.strip() for _, line in text_lines(test_ids)} if test_ids else set()

    def asked(path: Path) -> list[_Record]:
        sheet = object_of(path.read_text(encoding="utf-8"))
        words = object_of(file_within(annotations, path.name).read_text(encoding="utf-8"))["text"] if annotations else {}
        split = ("test" if path.name.partition(".")[0] in tested else "train") if test_ids else None
        about = {"imageName": sheet["imageName"], "words": list(dict(words).values()), "split": split}
        return [{**about, **entry, "question": question} for question, entry in dict(sheet["questions"]).items()]

    def known(record: _Record, pictures: _Pictures) -> tuple[Note, ...]:
        said: list[_Known] = [(entry, "value", "rectangle", "text") for entry in record["words"]]
        said += [(entry, "replacementText", "rectangle", "letter") for entry in record["words"] if record.get("abcLabel")]
        return _notes(said, f"question {record['questionId']}", pictures, report)

    records = ((str(path), path) for path in sorted(Path(questions).glob("*.json")))
    return answered(records, _AI2D, source=questions, images=images, licence=licence, report=report, parts=asked, notes=known)


def due(documents: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """The questions of a data set in DUE's form (DeepForm, KleisterCharity, InfographicsVQA, WikiTableQuestions, TabFact, DocVQA):
    `train/document.jsonl`, with the folder of rendered pages, `png`.

    A document's pages are the pictures of its folder (`png/<name>/`) in the order of the numbers in their names, or the one picture of its
    name. The key is asked as it stands (a question, a statement, or the name of a field); the answers are the variants of its value, or of
    several values all in one line, and the fact "values" has the variants of each. A table as value (`children`) is passed over.
    """

    def asked(line: str) -> list[_Record]:
        document = object_of(line)
        about = {"name": document["name"], "split": document.get("split"), "pages": _pages(document["name"], images)}
        return [{**about, **_annotated(entry), "question_id": f"{document['name']}/{place}"} for place, entry in enumerate(document["annotations"])]

    return answered(
        text_lines(documents),
        _DUE,
        source=documents,
        images=images,
        licence=licence,
        report=report,
        parts=asked,
        pictures=lambda record: record["pages"],
    )


def visual_mrc(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """VisualMRC's questions about screenshots: `train.jsonl`, a screenshot a line.

    Its regions are notes with source "region" that say what they are (a heading, a list …), its words notes with source "text"; the fact
    "relevant" names the regions that answer the question, by the "id" in `made_by` of their notes.
    """

    def asked(line: str) -> list[_Record]:
        page = object_of(line)
        said = [(entry["question"]["text"], dict(entry["answer"])) for entry in page["qa_data"]]
        return [
            {**page, "question": question, "answer": answer.get("text"), "relevant": answer.get("relevant"), "question_id": f"{page['id']}/{place}"}
            for place, (question, answer) in enumerate(said)
        ]

    def known(record: _Record, pictures: _Pictures) -> tuple[Note, ...]:
        found: list[_Known] = []
        for region in record.get("bounding_boxes", ()):
            found.append((region, "structure", "shape", "region"))
            found += [(word, "word", "bbox", "text") for word in dict(region).get("ocr_info", ())]
        return _notes(found, f"question {record['question_id']}", pictures, report)

    records = text_lines(annotations)
    return answered(records, _VISUAL_MRC, source=annotations, images=images, licence=licence, report=report, parts=asked, notes=known)


def text_caps(annotations: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each picture of TextCaps: `TextCaps_0.1_train.json`, which has a record for each caption; captions are notes with source
    "caption". Pictures are TextVQA's: `003a8ae2ef43b901.jpg`, of the size that the file states."""

    def keyed(entry: _Record) -> tuple[object, _Record]:
        return entry["image_id"], {name: entry.get(name) for name in ("image_id", "caption_str", "reference_strs", "set_name", *_SIDES)}

    found = Grouped(made_of(array_of(annotations, "data"), keyed, report))

    def example(key: str) -> Example:
        records = found.of(key)
        captions = dict.fromkeys(caption for one in records for caption in (one["caption_str"], *(one["reference_strs"] or ())) if caption)
        notes = tuple(note(text_of(caption), source="caption") for caption in captions)
        facts = {"set": records[0]["set_name"]} if records[0]["set_name"] else {}
        return Example(key, pictures_of(records[0], _TEXT_CAPS, images), notes=notes, licence=licence, facts=facts)

    named = ((f"image {key} of {annotations}", key) for key in found.keys())  # noqa: SIM118
    return some_of(made_of(named, example, report), f"nothing of {annotations} can be used; it wants data with image_id and caption_str")


def _notes(found: Iterable[_Known], owner: str, pictures: _Pictures, report: Report) -> tuple[Note, ...]:
    """What is known of a picture. Places in pixels want its size: without a picture there are words only."""

    def known(one: _Known) -> Note | None:
        entry, words_field, shape, source = one
        made_by = {"id": str(entry["id"])} if "id" in entry else {}
        if not (words := text_of(entry[words_field])):
            return None
        if not pictures:
            return Note(GroundedText(words), source, made_by=made_by)
        return note(words, box_in(_corners(entry[shape]), (pictures[0].width, pictures[0].height)), source=source, **made_by)

    return tuple(made_of(entries_of(found, "note", owner), known, report))


def _corners(shape: Any) -> list[float]:
    """The corners of [[x0, y0], [x1, y1]], or of an object with x, y, width and height."""
    if isinstance(shape, list):
        return [number for corner in shape for number in corner]
    return [shape["x"], shape["y"], shape["x"] + shape["width"], shape["y"] + shape["height"]]


def _annotated(entry: _Record) -> _Record:
    """A key of DUE's form with the answers to it, and with its items where there are several."""
    values = [dict(value) for value in entry["values"]]
    if any("children" in value for value in values):
        return {**entry, "answers": values}  # objects without an answer: `answered` passes over them
    items = [list(dict.fromkeys([value.get("value"), *(value.get("value_variants") or ())])) for value in values]
    answers = items[0] if len(items) == 1 else [", ".join(text_of(item[0]) for item in items)]
    return {**entry, "answers": answers, "items": items if len(items) > 1 else None}


def _pages(name: str, images: _Path | None) -> _Pictures:
    if images is None:
        return ()
    stem = str(name).removesuffix(".pdf")
    if Path(stem).name != stem or stem in ("", ".."):
        raise ValueError(f"{name!r} is no name of a document")
    pages = [page for page in Path(images, stem).glob("*") if page.suffix.lower() in _PAGES]
    if not pages:
        pages = [page for ending in _PAGES if (page := Path(images, stem + ending)).is_file()][:1]
    if not pages:
        raise ValueError(f"there is no page of it, {Path(images, stem)} or {stem}.png")
    return tuple(picture_from(page) for page in sorted(pages, key=lambda page: ([int(part) for part in re.findall(r"\d+", page.stem)], page.name)))

"""What the question-answering data sets share: they differ in the names of their fields, and a `Form` says which field holds what."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from foveal.data.notes import pictures_in, size_of
from foveal.data.reading import Report, made_of, some_of
from foveal.grounding import Example, GroundedText, Note, Picture, Turn

__all__ = ["Form", "answered", "pictures_of", "text_of"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]
_Pictures = tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """Which field of a data set's records holds what.

    `answers` holds a text, a list of them, or a list of objects with an `answer`, or with `choices` the place of the right choice among
    those of that field. `picture` is the file's name with fields in braces, empty where there is none; `size` names width and height where
    the file gives them; `facts` gives fields by the names of the facts they become.
    """

    id: str = "question_id"
    question: str = "question"
    answers: str = "answers"
    choices: str = ""
    picture: str = "{image}"
    size: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def answered(
    records: Iterable[tuple[str, Any]],
    form: Form,
    *,
    source: _Path,
    images: _Path | None,
    licence: str,
    report: Report,
    parts: Callable[[Any], Iterable[_Record]] = lambda record: [record],
    pictures: Callable[[_Record], _Pictures] | None = None,
    notes: Callable[[_Record, _Pictures], tuple[Note, ...]] = lambda record, pictures: (),
) -> Iterator[Example]:
    """An example for each question of the records of `source`, in `form` once `parts` has taken them apart: the question is the user's turn,
    the answer the assistant's; a question without answers, of a test set, stands alone.

    Of several answers, the one that most people gave is said, of equally many the first; of one that is stemmed for the metric, the words as
    they were written (`raw_answer`, in OK-VQA). The fact "answers" holds all of them, as many times as they were given, the fact "choices"
    the choices. ValueError where no record can be used.
    """

    def example(record: _Record) -> Example:
        question, (answers, said) = record[form.question], _answers(record, form)
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"its question is {question!r}; it wants a text")
        shown = pictures(record) if pictures else pictures_of(record, form, images)
        turns = [Turn("user", GroundedText(question.strip()))] + ([Turn("assistant", GroundedText(said))] if answers else [])
        facts = {"answers": answers} if answers else {}
        facts |= {"choices": [text_of(choice) for choice in record[form.choices]]} if form.choices else {}
        facts |= {name: record[where] for name, where in form.facts.items() if record.get(where) is not None}
        return Example(str(record[form.id]), shown, tuple(turns), notes(record, shown), licence, facts)

    taken = (pair for found in made_of(((name, (name, record)) for name, record in records), _taken_by(parts), report) for pair in found)
    return some_of(made_of(taken, example, report), f"nothing of {source} can be used; it wants records with {form.question} and {form.answers}")


def pictures_of(record: _Record, form: Form, images: _Path | None) -> _Pictures:
    """The record's picture in the folder `images`; without a folder or a name there is none. ValueError where its file is missing."""
    if images is None or not (name := form.picture.format_map(record)):
        return ()
    return pictures_in(images, name, size_of(record, *form.size) if form.size else None)


def text_of(value: Any) -> str:
    """A text, or a number as one, without blanks around it; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} where a text is wanted")
    return str(value).strip()


def _taken_by(parts: Callable[[Any], Iterable[_Record]]) -> Callable[[tuple[str, Any]], list[tuple[str, _Record]]]:
    """What makes of a named record its named parts."""

    def taken(pair: tuple[str, Any]) -> list[tuple[str, _Record]]:
        name, record = pair
        found = list(parts(record))
        if not all(isinstance(part, Mapping) for part in found):
            raise ValueError("it is no object")
        return [(name if len(found) == 1 else f"{name} question {place},", part) for place, part in enumerate(found)]

    return taken


def _answers(record: _Record, form: Form) -> tuple[list[str], str]:
    """All answers, and the one to say."""
    given = record.get(form.answers)
    if form.choices and given is not None:
        choices, place = record[form.choices], int(given)
        if not 0 <= place < len(choices):
            raise ValueError(f"its answer is number {place} of {len(choices)} choices")
        given = [choices[place]]
    entries = given if isinstance(given, list) else [] if given is None else [given]
    pairs = ((one["answer"], one.get("raw_answer", one["answer"])) if isinstance(one, dict) else (one, one) for one in entries)
    told = [(answer, text_of(raw)) for one, raw in pairs if (answer := text_of(one))]
    if not told:
        return [], ""
    [(commonest, _)] = Counter(answer for answer, _ in told).most_common(1)
    return [answer for answer, _ in told], next(raw for answer, raw in told if answer == commonest)

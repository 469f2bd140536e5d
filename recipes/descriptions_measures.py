"""What a description of a drawn picture is worth: names, counts, likeness to true descriptions; and what else is asked about held-out pictures."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from claims import gain
from foveal.data.sources.scenes import COLOURS, SHAPE_NAMES, Drawing
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.sources.scenes.questions import Question
from foveal.data.sources.scenes.short import SHORT_TASKS, ask_shortly
from foveal.data.sources.scenes.words import NUMBERS, name_forms, plural
from foveal.evaluate.captions import cider_d
from foveal.evaluate.meteor import meteor
from foveal.grounding import GroundedText, Note, tied
from foveal.grounding.wordings.monkey import DETAILED_CAPTION
from foveal.synth import describe

__all__ = ["MEASURES", "TASKS", "Values", "counts_said", "figures", "judged", "named", "questions_about", "told_of", "truth_of"]

TASKS = tuple(task for task in SHORT_TASKS if task not in ("caption", "detailed"))
MEASURES = (
    *("named_precision", "named_recall", "named_f1", "counts_right", "repeated", "words", "cider", "meteor", "cider_own", "meteor_own"),
    *("caption_f1", *TASKS),
)
"""Of the answer to the request for a detailed caption: names that are there among those said, and names said among those there; numbers said that
are right, of things that are there; mentions that name a thing again as if it were another; length; likeness (CIDEr-D, METEOR) to a true description
in the template's words, and to one in those that the start was taught. Then names of the answer to the request for a caption, and shares of exact
answers to questions."""
_NAMES = name_forms()
_LABELS = _NAMES | {f"{colour} {form}": f"{colour} {name}" for name in SHAPE_NAMES for colour in COLOURS for form in (name, plural(name))}
_QUOTED = re.compile(r"“[^”]*”|\bsays [^.]*|\w+ ground\b|\bground is \w+")
"""What is written in a picture, and its ground, are no things."""
_FORMS = "|".join(sorted(map(re.escape, _LABELS), key=len, reverse=True))
_NAMED, _COUNTED = (re.compile(rf"\b{before}({_FORMS})\b") for before in ("", rf"(an?|some|{'|'.join(NUMBERS[1:])}) "))
Values = list[float | None]
"""Of each picture; None where there is nothing to measure."""


def named(text: str) -> set[str]:
    """The names that a text says, in any number.

    >>> sorted(named("Two dogs, an orange circle and a text. The text reads “rose”."))
    ['circle', 'dog']
    """
    labels = (_LABELS[form] for form in _NAMED.findall(_QUOTED.sub("", text.lower())))
    return {label if label in _NAMES else label.partition(" ")[2] for label in labels}


def counts_said(text: str) -> dict[str, list[int]]:
    """How many of each thing a text says there are, each time that it says so; "the dog" is one of those that were spoken of.

    >>> counts_said("There are two dogs, a red circle and a dog. The red circle is left of the bell.")
    {'dog': [2, 1], 'red circle': [1]}
    """
    found: dict[str, list[int]] = {}
    for number, form in _COUNTED.findall(_QUOTED.sub("", text.lower())):
        found.setdefault(_LABELS[form], []).append(NUMBERS.index(number) if number in NUMBERS else 1)
    return found


def truth_of(drawing: Drawing) -> str:
    """What the template says where every note is true and none is missing."""
    view = view_of(drawing)
    things = zip(view.drawing.things, view.labels, view.boxes, strict=True)
    return describe([Note(tied(thing.said, box), "text") if thing.said else Note(tied(label, box), "object") for thing, label, box in things]).text


def questions_about(drawing: Drawing) -> list[Question]:
    """What is asked about a held-out picture; the answer to the first, for a detailed caption, is in the template's words."""
    rng = np.random.default_rng(list(drawing.id.encode()))
    asked = [Question("detailed", GroundedText(DETAILED_CAPTION), GroundedText(truth_of(drawing)))]
    asked += [question for task in ("caption", *TASKS, "present") if (question := ask_shortly(drawing, rng, task))]
    return list({question.ask: question for question in asked}.values())


def told_of(text: str, drawing: Drawing) -> dict[str, float | None]:
    """What one text about one picture is worth."""
    there = {thing.name for thing in drawing.things if thing.kind != "text"}
    said, counts, alike = named(text), counts_said(text), view_of(drawing).alike
    right = [len(alike[words]) == sum(told) for words, told in counts.items() if words in alike]
    mentions = sum(map(len, counts.values()))
    return {
        "named_precision": len(said & there) / len(said) if said else None,
        "named_recall": len(said & there) / len(there) if there else None,
        "named_f1": 2 * len(said & there) / (len(said) + len(there)) if said or there else None,
        "counts_right": sum(right) / len(right) if right else None,
        "repeated": 1 - len(counts) / mentions if mentions else None,
        "words": float(len(text.split())),
    }


def judged(drawings: Sequence[Drawing], asked: Sequence[Sequence[Question]], answers: Sequence[Sequence[str]]) -> dict[str, Values]:
    """Every measure of `MEASURES`, picture by picture."""
    found: dict[str, Values] = {measure: [] for measure in MEASURES}
    pairs = [list(zip(*both, strict=True)) for both in zip(asked, answers, strict=True)]
    said = [rows[0] for rows in answers]
    for drawing, rows in zip(drawings, pairs, strict=True):
        values = told_of(rows[0][1], drawing)
        values["caption_f1"] = next((told_of(text, drawing)["named_f1"] for question, text in rows if question.task == "caption"), None)
        for task in TASKS:
            right = [_plain(text) == _plain(question.answer.text) for question, text in rows if question.task == task]
            values[task] = sum(right) / len(right) if right else None
        for measure, value in values.items():
            found[measure].append(value)
    own = [ask_shortly(drawing, np.random.default_rng(0), "detailed") for drawing in drawings]
    truths = [[rows[0].answer.text] for rows in asked]
    for ending, references in (("", truths), ("_own", [[one.answer.text] if one else true for one, true in zip(own, truths, strict=True)])):
        found[f"cider{ending}"] = cider_d(said, references).each.tolist()
        found[f"meteor{ending}"] = meteor(said, references).each.tolist()
    return found


def _plain(answer: str) -> str:
    return answer.lower().strip().rstrip(".")


def figures(found: Mapping[str, Mapping[str, Values]], base: str) -> dict[str, dict[str, dict[str, float]]]:
    """Of each measure the mean of each variant, and how far each of the others is from the variant `base`, picture by picture; each with its 95 %
    interval, and how many pictures it is of.

    >>> figures({"a": {"read": [0.0, None]}, "b": {"read": [1.0, 1.0]}}, "b")["read"]["a over b"]
    {'value': -1.0, 'low': -1.0, 'high': -1.0, 'n': 1}
    """
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for measure in next(iter(found.values())):
        values = {name: np.array(some[measure], float) for name, some in found.items()}
        rows[measure] = {name: _figure(np.zeros_like(some), some) for name, some in values.items()}
        rows[measure] |= {f"{name} over {base}": _figure(values[base], some) for name, some in values.items() if name != base}
    return rows


def _figure(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    known = ~(np.isnan(before) | np.isnan(after))
    value, low, high = gain(before[known], after[known]) if known.any() else (float("nan"),) * 3
    return {"value": value, "low": low, "high": high, "n": int(known.sum())}

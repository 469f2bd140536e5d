"""What benchmarks about pictures share: a question with its true answers, regions a family does not take, and figures of shares and of sets."""

import math
from collections.abc import Sequence
from dataclasses import replace

from foveal.evaluate.metrics import interval
from foveal.evaluate.regions import Figure
from foveal.grounding import Example, GroundedText, Note, Turn
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["asked_about", "check_form", "named_facts", "set_figure", "share_figure"]


def asked_about(example: Example, number: int | str, ask: GroundedText, *truths: GroundedText, **facts: object) -> Example:
    """A question about the picture of `example`, with its true answers as notes and what else a metric needs as facts.

    >>> asked_about(Example("7"), 2, GroundedText("What is it?"), GroundedText("a cat"), kind="animal").id
    '7/2'
    """
    notes = tuple(Note(truth, "truth") for truth in truths)
    return replace(example, id=f"{example.id}/{number}", turns=(Turn("user", ask),), notes=notes, facts=facts)


def check_form(verbs: Verbs, form: str) -> str:
    """The form itself; ValueError where the family does not take a region so.

    >>> check_form(Verbs(family="Monkey", name=lambda region: GroundedText("?"), forms=("box",), caption=GroundedText("?")), "point")
    Traceback (most recent call last):
    ValueError: Monkey takes a region as box, not as point.
    """
    if form not in verbs.forms:
        raise ValueError(f"{verbs.family} takes a region as {' or '.join(verbs.forms)}, not as {form}.")
    return form


def named_facts(asked: Example, name: str) -> Sequence[object]:
    """The list that a question keeps as a fact, empty where it keeps none.

    >>> named_facts(Example("7", facts={"synonyms": ["cup", "mug"]}), "synonyms")
    ['cup', 'mug']
    """
    found = asked.facts.get(name)
    return found if isinstance(found, list | tuple) else []


def share_figure(value: float, count: int) -> Figure:
    """A share of `count` cases that was counted elsewhere, with Wilson's interval.

    >>> share_figure(0.5, 2).count
    2
    """
    return Figure(value, count, *interval(round(value * count), count))


def set_figure(value: float, count: int) -> Figure:
    """A figure of a whole set that is no mean of its items (BLEU, average precision): its interval is not known.

    >>> set_figure(0.25, 10).value
    0.25
    """
    return Figure(value, count, math.nan, math.nan)

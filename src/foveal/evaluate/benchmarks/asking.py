"""What benchmarks about pictures share: a question with its true answers, regions a family does not take, and figures of shares and of sets."""

import math
from collections.abc import Sequence
from dataclasses import replace

from foveal.evaluate.calibration import scored_boxes
from foveal.evaluate.kept import Answered, is_refused
from foveal.evaluate.metrics import calibration_error, has_unread_place, interval
from foveal.evaluate.regions import Figure
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Span, Turn
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["asked_about", "calibration_figure", "check_form", "judged_places", "named_facts", "set_figure", "share_figure"]


def asked_about(example: Example, number: int | str, ask: GroundedText, *truths: GroundedText, **facts: object) -> Example:
    """A question about the picture of `example`, with its true answers as notes and what else a metric needs as facts.

    >>> asked_about(Example("7"), 2, GroundedText("What is it?"), GroundedText("a cat"), kind="animal").id
    '7/2'
    """
    notes = tuple(Note(truth, "truth") for truth in truths)
    return replace(example, id=f"{example.id}/{number}", turns=(Turn("user", ask),), notes=notes, facts=facts)


def calibration_figure(answered: Sequence[Answered]) -> dict[str, Figure]:
    """`calibration_error`: how far the scores of first boxes are from how often such boxes are right (`scored_boxes`; ECE, ten bins; 0 is best).

    Of as many boxes as have a score; nothing, where none has.

    >>> from foveal.grounding import tied
    >>> asked = Example("7", notes=(Note(tied("cup", Box(0, 0, 0.5, 1)), "truth"),))
    >>> said = GroundedText("cup", (Span(0, 3, (Box(0, 0, 0.5, 1),), (0.75,)),))
    >>> calibration_figure([(asked, said)])["calibration_error"].value, calibration_figure([])
    (0.25, {})
    """
    scores, hits = scored_boxes(answered)
    return {"calibration_error": set_figure(calibration_error(scores, hits), len(scores))} if scores else {}


def check_form(verbs: Verbs, form: str) -> str:
    """The form itself; ValueError where the family does not take a region so.

    >>> check_form(Verbs(family="Monkey", name=lambda region: GroundedText("?"), forms=("box",), caption=GroundedText("?")), "point")
    Traceback (most recent call last):
    ValueError: Monkey takes a region as box, not as point.
    """
    if form not in verbs.forms:
        raise ValueError(f"{verbs.family} takes a region as {' or '.join(verbs.forms)}, not as {form}.")
    return form


def judged_places(asked: Example, said: GroundedText) -> GroundedText:
    """An answer to where things are, whose places are judged. Where there is nothing to be placed, saying no place is right; a question that was
    refused and a place that cannot be read say one, of no size.

    >>> nothing = Example("7", notes=(Note(GroundedText("the cup"), "truth"),))
    >>> len(judged_places(nothing, GroundedText("no cup")).regions), len(judged_places(nothing, GroundedText("a cup [1, 2, 3]")).regions)
    (0, 1)
    """
    if any(note.said.regions for note in asked.notes) or not (is_refused(asked) or has_unread_place(said)):
        return said
    return GroundedText(said.text, (*said.spans, Span(0, 0, (Box(0.0, 0.0, 0.0, 0.0),))))


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

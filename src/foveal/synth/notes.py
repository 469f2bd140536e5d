"""How a stage writes down what it found: notes are added and never taken away; one that a check refuses is marked, and says why."""

from dataclasses import replace

from foveal.grounding import Example, Note

__all__ = ["DROPPED", "REFUSED", "added", "dropped", "is_dropped", "is_own", "marked", "refused", "standing"]

DROPPED = "dropped "
"""Begins the source of a note that a check refused, so that nothing takes it for what it was: "dropped text"."""
REFUSED = "refused"
"""The fact of an example that a stage could not work on: why."""


def added(example: Example, *notes: Note) -> Example:
    """The example with further notes behind its own."""
    return replace(example, notes=(*example.notes, *notes))


def dropped(note: Note, why: str) -> Note:
    """A note that does not stand any more: words, regions and score stay, its source is marked, and "dropped" of `made_by` says why.

    >>> from foveal.grounding import GroundedText
    >>> dropped(Note(GroundedText("EXIT"), "text", 0.31), "its score 0.31 is not above 0.85").source
    'dropped text'
    """
    return note if is_dropped(note) else replace(note, source=DROPPED + note.source, made_by={**note.made_by, "dropped": why})


def is_dropped(note: Note) -> bool:
    """Whether a check refused it."""
    return note.source.startswith(DROPPED)


def is_own(note: Note) -> bool:
    """Whether it came with the data, and no stage made it."""
    return not {"model", "composer"} & set(note.made_by)


def standing(example: Example, *sources: str) -> list[Note]:
    """The notes of these sources that no check refused; of all, where none is named."""
    return [note for note in example.notes if not is_dropped(note) and (not sources or note.source in sources)]


def marked(example: Example, why: dict[int, str]) -> Example:
    """The example with the notes at these places dropped, each for its reason."""
    if not why:
        return example
    notes = tuple(dropped(note, why[place]) if place in why else note for place, note in enumerate(example.notes))
    return replace(example, notes=notes)


def refused(example: Example, why: str) -> Example:
    """The example, which a stage could not work on, with the reason as the fact "refused"; a run reports it and leaves it out from there on."""
    return replace(example, facts={**example.facts, REFUSED: why})

"""`foveal ask`: a question in words about an image, and about places in it."""

from typing import Annotated

import typer

from foveal.cli.items import items_from, split_words
from foveal.cli.regions import Boxes, Fraction, Masks, Points, Scribbles, collect_places
from foveal.cli.settings import DEFAULT_MODEL, Batch, Device, Json, MaxTokens, Model, Save
from foveal.cli.work import Work, answer_all
from foveal.session.questions import question_from

__all__ = ["ask"]

_Words = Annotated[list[str], typer.Argument(metavar="IMAGE... QUESTION", help="Images, then the question; or - for JSON lines.", show_default=False)]


def ask(
    words: _Words,
    box: Boxes = None,
    point: Points = None,
    scribble: Scribbles = None,
    mask: Masks = None,
    fraction: Fraction = False,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    max_tokens: MaxTokens = 512,
    batch: Batch = 32,
) -> None:
    """Ask about an image and about places in it.

    Places are given by --box, --point, --scribble and --mask, in pixels, and are called <1>, <2> … in the question, in the order in which
    they stand on the command line. A place that the question does not name goes behind what the question points at: "What is this?"

    foveal ask desk.png "What is this?" --box 10,20,110,220

    foveal ask desk.png "Is <1> left of <2>?" --point 40,50 --box 10,20,110,220
    """
    images, question = split_words(words, "question")
    placed = collect_places(box, point, scribble, mask)
    items = items_from(images, question, field="question", placed=placed, fraction=fraction)
    work = Work(ask=question_from, model=model, device=device, as_json=as_json, save=save, max_tokens=max_tokens, batch=batch)
    answer_all(images, items, work)

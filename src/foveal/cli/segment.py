"""`foveal segment`: the outline of what a phrase names."""

from typing import Annotated

import typer

from foveal.cli.items import items_from, split_words
from foveal.cli.settings import WORD_PLACES_MODEL, Batch, Device, Json, Model, Save, verbs_of
from foveal.cli.work import Work, answer_all, ask_about

__all__ = ["segment"]

_Words = Annotated[list[str], typer.Argument(metavar="IMAGE... PHRASE", help="Images, then the phrase; or - for JSON lines.", show_default=False)]


def segment(
    words: _Words,
    model: Model = WORD_PLACES_MODEL,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    batch: Batch = 32,
) -> None:
    """Outline what a phrase names: a mask, or none where nothing is found.

    foveal segment desk.png "the red cup" --save out.png
    """
    images, phrase = split_words(words, "phrase")
    items = items_from(images, phrase, field="phrase")
    ask = ask_about(verbs_of(model), "segmentation", "segment")
    work = Work(ask=ask, model=model, device=device, as_json=as_json, save=save, batch=batch, wants_place=True)
    answer_all(images, items, work)

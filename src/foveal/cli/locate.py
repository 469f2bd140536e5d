"""`foveal locate`: where what a phrase names is."""

from typing import Annotated

import typer

from foveal.cli.items import items_from, split_words
from foveal.cli.settings import DEFAULT_MODEL, Batch, Device, Json, MaxTokens, Model, Save, verbs_of
from foveal.cli.work import Work, answer_all, ask_about

__all__ = ["locate"]

_Words = Annotated[list[str], typer.Argument(metavar="IMAGE... PHRASE", help="Images, then the phrase; or - for JSON lines.", show_default=False)]


def locate(
    words: _Words,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    max_tokens: MaxTokens = 512,
    batch: Batch = 32,
) -> None:
    """Find what a phrase names: its boxes, or none where it is not there.

    foveal locate desk.png "the red cup" --save out.png
    """
    images, phrase = split_words(words, "phrase")
    items = items_from(images, phrase, field="phrase")
    ask = ask_about(verbs_of(model), "location", "locate")
    work = Work(ask=ask, model=model, device=device, as_json=as_json, save=save, max_tokens=max_tokens, batch=batch, wants_place=True)
    answer_all(images, items, work)

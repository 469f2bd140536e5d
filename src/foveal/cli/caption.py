"""`foveal caption`: what an image shows, in words."""

from typing import Annotated

import typer

from foveal.cli.items import items_from
from foveal.cli.settings import DEFAULT_MODEL, Batch, Device, Images, Json, MaxTokens, Model, Save
from foveal.cli.work import Work, answer_all
from foveal.grounding.wordings.ferret import ask_caption, with_coordinates

__all__ = ["caption"]


def caption(
    images: Images,
    grounded: Annotated[bool, typer.Option("--grounded", help="Ask for the boxes of the things mentioned, too.")] = False,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    max_tokens: MaxTokens = 512,
    batch: Batch = 32,
) -> None:
    """Say what an image shows."""
    question = with_coordinates(ask_caption()) if grounded else ask_caption()
    work = Work(ask=lambda words, regions: question, model=model, device=device, as_json=as_json, save=save, max_tokens=max_tokens, batch=batch)
    answer_all(images, items_from(images), work)

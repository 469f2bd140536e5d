"""`foveal caption`: what an image shows, in words."""

from typing import Annotated

import typer

from foveal.cli.items import items_from
from foveal.cli.settings import DEFAULT_MODEL, MODEL_HELP, WORD_PLACES_MODEL, Batch, Device, Images, Json, MaxTokens, Save, verbs_of
from foveal.cli.work import Work, answer_all

__all__ = ["caption"]

_DEFAULT = f"{DEFAULT_MODEL}; with --trace {WORD_PLACES_MODEL}"
_Model = Annotated[str | None, typer.Option("--model", "-m", help=MODEL_HELP, show_default=_DEFAULT)]


def caption(
    images: Images,
    detailed: Annotated[bool, typer.Option("--detailed", help="At length: what is where, and what is written.")] = False,
    grounded: Annotated[bool, typer.Option("--grounded", help="Ask for the boxes of the things mentioned, too.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Draw the way that all words take, in their order; as a .gif, it is played.")] = False,
    model: _Model = None,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    max_tokens: MaxTokens = 512,
    batch: Batch = 32,
) -> None:
    """Say what an image shows.

    foveal caption desk.png --trace --save out.gif
    """
    model = model or (WORD_PLACES_MODEL if trace else DEFAULT_MODEL)
    verbs = verbs_of(model)
    question = verbs.captioned(detailed=detailed, grounded=grounded)
    if trace and not verbs.every_word:
        raise ValueError(f"{verbs.family} does not place every word, so that there is no way to draw; --trace wants a model that does.")
    if trace and save is None:
        raise ValueError("--trace draws a picture; --save says where.")
    work = Work(
        ask=lambda words, regions: question,
        model=model,
        device=device,
        as_json=as_json,
        save=save,
        max_tokens=max_tokens,
        batch=batch,
        trace=trace,
    )
    answer_all(images, items_from(images), work)

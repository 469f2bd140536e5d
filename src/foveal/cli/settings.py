"""The options that several verbs share, and how a model is opened for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.grounding.wordings import GUESTS, VERBS, Verbs
from foveal.zoo import find_model

if TYPE_CHECKING:
    import foveal.models.processing
    import foveal.session.session

__all__ = [
    "DEFAULT_MODEL",
    "MODEL_HELP",
    "WORD_PLACES_MODEL",
    "Batch",
    "Device",
    "Images",
    "Json",
    "MaxTokens",
    "Model",
    "Save",
    "open_session",
    "processor_of",
    "verbs_of",
]

DEFAULT_MODEL = "ferret-v2-nano"
WORD_PLACES_MODEL = "pixelllm-nano"
"""Of verbs that only a model with a place for every word knows."""

Images = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image files; or - for JSON lines on standard input.", show_default=False)]
MODEL_HELP = "A model that ships (see: foveal models), a folder, or owner/name on the hub."
Model = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps …; without it, a GPU where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/output.md) instead of text.")]
Save = Annotated[Path | None, typer.Option("--save", help="Draw words and places on the image and save it here; of several images, a folder.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="The longest answer, in tokens.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="How many questions are answered at once.")]


def open_session(model: str, device: str | None) -> "foveal.session.session.Session":
    """Open a model without the chatter of its loading; ValueError for a model or a device that is not there."""
    find_model(model)  # said before anything heavy is loaded
    from transformers.utils import logging

    from foveal.session import Session

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return Session.open(model, device)
    except (RuntimeError, AssertionError) as error:  # how torch says that it has no such device
        raise ValueError(f"The model {model!r} cannot be opened on {device or 'this machine'}: {str(error).splitlines()[0]}") from error


def processor_of(model: str) -> "foveal.models.processing.Processor":
    """A model's processor alone; ValueError for a model that is not there, or of another library."""
    place = find_model(model)
    from foveal.models import open_processor

    return open_processor(place, model)


def verbs_of(model: str, *, guests: bool = True) -> Verbs:
    """What a model is asked by the verbs, known before it is opened. ValueError for a model that is not there, or of a family that is not known.

    Without `guests`, only families of this library are.
    """
    place = find_model(model)
    if (file := Path(place) / "config.json").is_file():
        from foveal.models.shards import read_json

        settings = read_json(file)
    else:
        from transformers import PreTrainedConfig

        try:
            settings = PreTrainedConfig.get_config_dict(place)[0]
        except OSError as error:
            raise ValueError(f"The model {model!r} cannot be opened: {str(error).strip().splitlines()[0]}") from error
    if "visual" in settings:
        raise ValueError(f"The model {model!r} is in its authors' layout; foveal convert makes one of it that can be opened.")
    known = VERBS | GUESTS if guests else VERBS
    if (kind := settings.get("model_type", "")) not in known:
        raise ValueError(f"The model {model!r} is of the kind {kind!r}; {', '.join(known)} are known.")
    return known[kind]

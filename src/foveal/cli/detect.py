"""`foveal detect`: everything there is in an image, with boxes."""

from foveal.cli.items import items_from
from foveal.cli.settings import DEFAULT_MODEL, Batch, Device, Images, Json, MaxTokens, Model, Save, verbs_of
from foveal.cli.work import Work, answer_all

__all__ = ["detect"]


def detect(
    images: Images,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    max_tokens: MaxTokens = 1024,
    batch: Batch = 32,
) -> None:
    """Find all objects of an image, each with its name, box and score."""
    question = verbs_of(model).of("detection")
    work = Work(
        ask=lambda words, regions: question,
        model=model,
        device=device,
        as_json=as_json,
        save=save,
        max_tokens=max_tokens,
        batch=batch,
        wants_place=True,
    )
    answer_all(images, items_from(images), work)

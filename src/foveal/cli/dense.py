"""`foveal dense`: everything there is in an image, each thing in words of its own."""

from foveal.cli.items import items_from
from foveal.cli.settings import WORD_PLACES_MODEL, Batch, Device, Images, Json, MaxTokens, Model, Save, verbs_of
from foveal.cli.work import Work, answer_all

__all__ = ["dense"]


def dense(
    images: Images,
    model: Model = WORD_PLACES_MODEL,
    device: Device = None,
    as_json: Json = False,
    save: Save = None,
    max_tokens: MaxTokens = 64,
    batch: Batch = 32,
) -> None:
    """Describe everything in an image, each thing in words of its own with its box and score, the surest boxes first."""
    question = verbs_of(model).of("dense_captions")
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

"""BLIP-2 as a captioner, by transformers' class: of whole pictures, and of the largest segments cut out of them."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from PIL import Image

from foveal.grounding import Example, GroundedText, Note, tied
from foveal.synth.crops import crop, share_of
from foveal.synth.notes import added, refused, standing
from foveal.synth.stage import Stage
from foveal.synth.teachers import Teacher, open_teacher, pictures_of

__all__ = ["BLIP_2", "blip_captioned", "said_of", "segments_captioned"]

BLIP_2 = "Salesforce/blip2-opt-2.7b"
"""The captioner of Monkey's pipeline."""
_CLASS = "Blip2ForConditionalGeneration"


def blip_captioned(blip: Teacher | str = BLIP_2, *, beams: int = 5, max_new_tokens: int = 30, batch: int = 16) -> Stage:
    """A stage: what BLIP-2 says of the whole picture, as a note with source "caption"; `batch` pictures at once. Five beams and 30 tokens are what
    Monkey's script leaves to the library that it calls."""
    return partial(_captioned, blip=blip, beams=beams, max_new_tokens=max_new_tokens, batch=batch)


def segments_captioned(
    blip: Teacher | str = BLIP_2, *, most: int = 20, beams: int = 1, max_new_tokens: int = 30, cut_out: bool = True, batch: int = 32
) -> Stage:
    """A stage: what BLIP-2 says of each of the `most` largest masks, the rest of the picture white (`cut_out`) and cut off, as notes with source
    "segment". Monkey's pipeline takes 20, one beam, 30 tokens. It wants notes with source "mask" (`segmented`)."""
    return partial(_segments, blip=blip, most=most, beams=beams, max_new_tokens=max_new_tokens, cut_out=cut_out, batch=batch)


def said_of(blip: Teacher, images: Sequence[Image.Image], *, beams: int, max_new_tokens: int, batch: int) -> list[str]:
    """A caption of each image, `batch` of them at a time; ValueError for weights that are older than transformers' image tokens."""
    import torch

    model, said = blip.model, []
    if model.config.image_token_index is None:
        raise ValueError(f"{blip.name or 'the captioner'} has no image token; weights with one are wanted, as {BLIP_2} has them")
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        with torch.no_grad():
            found = model.generate(blip.pixels(some), num_beams=beams, do_sample=False, max_new_tokens=max_new_tokens)
        said += [" ".join(words.split()) for words in blip.tokenizer.batch_decode(_without_prompt(model, found), skip_special_tokens=True)]
    return said


def _without_prompt(model: Any, found: Any) -> Any:
    """A decoder's rows begin with the image's tokens and the mark of a beginning; an encoder-decoder's do not."""
    config = model.config
    return found[:, config.num_query_tokens + 1 :] if config.use_decoder_only_language_model else found


def _captioned(examples: Iterable[Example], *, blip: Teacher | str, beams: int, max_new_tokens: int, batch: int) -> Iterator[Example]:
    teacher = open_teacher(blip, _CLASS)
    for some in pictures_of(examples, batch):
        images = [image for _, image in some if isinstance(image, Image.Image)]
        said = iter(said_of(teacher, images, beams=beams, max_new_tokens=max_new_tokens, batch=batch))
        for example, image in some:
            if isinstance(image, ValueError):
                yield refused(example, str(image))
            else:
                words = next(said)
                yield added(example, *([Note(GroundedText(words), "caption", made_by=teacher.made_by)] if words else []))


def _segments(
    examples: Iterable[Example], *, blip: Teacher | str, most: int, beams: int, max_new_tokens: int, cut_out: bool, batch: int
) -> Iterator[Example]:
    teacher = open_teacher(blip, _CLASS)
    for ((example, image),) in pictures_of(examples, 1):
        if isinstance(image, ValueError):
            yield refused(example, str(image))
            continue
        chosen = _largest(standing(example, "mask"), most)
        crops = [crop(image, note.said.regions[0], cut_out=cut_out) for note in chosen]
        said = said_of(teacher, crops, beams=beams, max_new_tokens=max_new_tokens, batch=batch)
        notes = [
            Note(tied(words, note.said.regions[0]), "segment", made_by=teacher.made_by) for note, words in zip(chosen, said, strict=True) if words
        ]
        yield added(example, *notes)


def _largest(notes: Sequence[Note], most: int) -> list[Note]:
    return sorted((note for note in notes if len(note.said.regions) == 1), key=lambda note: -share_of(note.said.regions[0]))[:most]

"""A guest is a session whose model is of another library: it is asked by the same verbs, in its family's own words and places."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import transformers
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from foveal.data.images import ImageSource, load_image
from foveal.geometry import Point
from foveal.grounding import Example, GroundedText, Picture
from foveal.grounding.wordings import Verbs
from foveal.session.answers import Answer, Options
from foveal.session.scene import Scene
from foveal.session.session import Session

__all__ = ["Family", "Guest", "question_of"]


class Family(ABC):
    """What differs between families of guests: how they are asked, how they look, and how they reply. It has a tokenizer and an image processor.

    transformers' own processors of whole families are not used: those that know videos want torchvision, and all take what a user types for
    control tokens.
    """

    verbs: ClassVar[Verbs]
    """What the family is asked by the verbs of a scene."""
    model_class: ClassVar[str]
    """The model's class in transformers."""

    def __init__(self, tokenizer: Any, image_processor: Any) -> None:
        if not tokenizer.is_fast:
            raise ValueError(f"a {type(tokenizer).__name__} was given; a fast tokenizer is wanted.")
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @abstractmethod
    def look(self, model: Any, image: Image.Image) -> Any:
        """What is kept of an upright image, for all questions about it."""

    @abstractmethod
    def reply(self, model: Any, seen: Sequence[Any], examples: Sequence[Example], options: Options) -> list[Answer]:
        """An answer to the last question of each example, and what was `seen` of its image; ValueError, before any is made, for one that does not
        fit.
        """


@dataclass(frozen=True, eq=False, repr=False)
class Guest(Session):
    """A session with another library's model; `processor` is its `Family`.

    `Session.open` makes one where a folder or a name of the hub holds such a model. Its scenes know every verb that the family does, and refuse
    others in a sentence; words of a stream come with the answer, for in another's dialect anything may yet become a place.
    """

    model: Any
    processor: Any

    @property
    def verbs(self) -> Verbs:
        return self.processor.verbs

    @staticmethod
    def of(family: type[Family], place: str, device: torch.device, dtype: torch.dtype, name: str) -> "Guest":
        """The model, tokenizer and image processor at `place`, as a guest; ValueError, which calls it `name`, for what cannot be opened."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(place)
            image_processor = AutoImageProcessor.from_pretrained(place, backend="pil")
            model = getattr(transformers, family.model_class).from_pretrained(place, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"The model {name!r} cannot be opened: {first}") from error
        return Guest(model.to(device).eval(), family(tokenizer, image_processor), name)

    def look(self, image: ImageSource) -> Scene:
        """Look at an image (path, bytes, PIL image or array); raises `ImageError` for one that cannot be read."""
        upright = load_image(image)
        with torch.no_grad():
            seen = self.processor.look(self.model, upright)
        return Scene(self, Picture(*upright.size, pixels=upright), seen)

    def reply_each(self, scenes: Sequence[Scene], examples: Sequence[Example], options: Options) -> list[Answer]:
        """An answer to the last question of each example, about its scene; ValueError when one of them cannot be asked of the family."""
        with torch.no_grad():
            return self.processor.reply(self.model, [scene.sight for scene in scenes], examples, options)


def question_of(example: Example, verbs: Verbs) -> GroundedText:
    """The last question of an example; ValueError where it points in a way that the family cannot be pointed."""
    said = next(turn.said for turn in reversed(example.turns) if turn.role == "user")
    points = any(isinstance(region, Point) for region in said.regions)
    if said.regions and (not verbs.forms or (points and "point" not in verbs.forms)):
        wanted = f"a {verbs.forms[0]} is wanted" if verbs.forms else "it is asked by words alone"
        raise ValueError(f"{verbs.family} cannot be pointed at a {'point' if points else 'region'}; {wanted}.")
    return said

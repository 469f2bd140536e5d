"""Teachers: other people's models by transformers' own classes, opened where a stage runs, and once in a process."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

from PIL import Image

from foveal.data.images import load_picture
from foveal.grounding import Example
from foveal.synth.asking import quiet

__all__ = ["Shown", "Teacher", "open_teacher", "pictures_of"]

Shown = tuple[Example, Image.Image | ValueError]
"""An example and its first picture, or why that cannot be read."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model with what prepares its inputs. `name` stands in the settings of a stage: it is to tell two models apart."""

    model: Any
    image_processor: Any
    tokenizer: Any = None
    name: str = ""

    @cached_property
    def made_by(self) -> dict[str, str]:
        """What its notes are made by: its name, and a hash of its weights."""
        from foveal.session.weights import weights_hash  # which wants torch

        return {"model": self.name or type(self.model).__name__, "weights": weights_hash(self.model)[:16]}

    def pixels(self, images: Sequence[Image.Image]) -> Any:
        """The images as the model takes them."""
        found = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return found.to(self.model.device, self.model.dtype)


def open_teacher(teacher: Teacher | str, *classes: str, words: bool = True) -> Teacher:
    """The model of a folder or a hub's name as the one of transformers' `classes` that its configuration names, else as the first; from safetensors
    only. `words` says whether it has a tokenizer. A GPU is used where there is one, in bfloat16. ValueError for what cannot be opened.
    """
    return teacher if isinstance(teacher, Teacher) else _opened(teacher, classes, words)


def pictures_of(examples: Iterable[Example], batch: int) -> Iterator[list[Shown]]:
    """Examples with their first pictures, `batch` at a time."""
    waiting = iter(examples)
    while some := list(islice(waiting, batch)):
        yield [(example, _picture_of(example)) for example in some]


def _picture_of(example: Example) -> Image.Image | ValueError:
    if not example.images:
        return ValueError("it has no picture")
    try:
        return load_picture(example.images[0])
    except ValueError as error:
        return error


@lru_cache(maxsize=1)
def _opened(name: str, classes: tuple[str, ...], words: bool) -> Teacher:
    import torch
    import transformers

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        with quiet():
            named = transformers.AutoConfig.from_pretrained(name).architectures or []
            kind = next((one for one in classes if one in named), classes[0])
            model = getattr(transformers, kind).from_pretrained(name, dtype=dtype, use_safetensors=True)
            image_processor = transformers.AutoImageProcessor.from_pretrained(name, backend="pil")
            tokenizer = transformers.AutoTokenizer.from_pretrained(name) if words else None
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the teacher {name!r} cannot be opened: {first}") from error
    return Teacher(model.to(device).eval(), image_processor, tokenizer, name)

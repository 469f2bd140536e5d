"""A model ready to be asked: opened once, it looks at images and answers examples in batches."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from foveal.data.images import ImageSource, load_image, load_picture
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.grounding.wordings import GUESTS, Verbs
from foveal.models import GroundedModel, Processor, open_model
from foveal.models.base import Sight
from foveal.models.processing import ConversationProcessor
from foveal.session.answers import Answer, Options
from foveal.session.decoding import Conversing, grammar_of
from foveal.session.grammar import PlaceGrammar
from foveal.session.memory import free_memory, is_short_of_memory
from foveal.session.placing import Placing
from foveal.session.scene import Scene
from foveal.session.writing import AtOnce, Writing
from foveal.zoo import find_model

__all__ = ["Session"]

_WINDOW = 4
"""How many batches of examples are read ahead, so that questions about one image meet."""


@dataclass(frozen=True, eq=False)
class Session:
    """A model and its processor. `Session.open` makes one from a name; `Session(model, processor)` from parts in hand.

    `look` encodes an image once and returns a `Scene` to ask; `answer` takes examples as they come.
    """

    model: GroundedModel
    processor: Processor
    name: str = ""

    def __repr__(self) -> str:
        return f"Session({self.name or type(self.model).__name__!r})"

    @property
    def verbs(self) -> Verbs:
        """What the model is asked by the verbs of a scene."""
        return self.model.able(self.processor.verbs)

    @staticmethod
    def open(name_or_path: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> "Session":
        """Open a model that ships with the package, by name; one in a folder; or one of the hub, as "owner/name".

        Models of other families that transformers knows are opened too (`foveal.session.guests`), as sessions like any other. Without `device`, a
        GPU is used where there is one. Without `dtype`, bfloat16 there and float32 on a CPU. Weights are read from safetensors only, and no code of
        the model's folder is run. ValueError for what cannot be opened.
        """
        place = find_model(str(name_or_path))
        chosen = torch.device(device) if device is not None else _best_device()
        kind = _dtype(dtype, chosen)
        if (family := _guest_kind(place)) is not None:
            from foveal.session.guests import open_guest  # only when it is needed: a guest is a session, and so comes after it

            return open_guest(place, family, chosen, kind, str(name_or_path))
        model, processor = open_model(place, kind, str(name_or_path))
        return Session(model.to(chosen).eval(), processor, str(name_or_path))

    def look(self, image: ImageSource) -> Scene:
        """Encode an image (path, bytes, PIL image or array) once; raises `ImageError` for one that cannot be read."""
        upright = load_image(image)
        with torch.no_grad():
            sight = self.model.encode_images(**self.processor.see([upright]).to(self.model.device))
        return Scene(self, Picture(*upright.size, pixels=upright), sight)

    def together(self, scenes: Sequence[Scene]) -> Scene:
        """One scene of the images of several, in their order, without looking again; ValueError for a model that looks at one image at a time."""
        if len(scenes) == 1:
            return scenes[0]
        if not scenes or not isinstance(self.processor, ConversationProcessor):
            raise ValueError(f"{self.verbs.family} is asked about one image at a time, and {len(scenes)} were given.")
        tokens, maps = (tuple(part for scene in scenes for part in getattr(scene.sight, name)) for name in ("tokens", "maps"))
        pictures = [picture for scene in scenes for picture in (scene.picture, *scene.others)]
        return Scene(self, pictures[0], Sight(tokens, maps), tuple(pictures[1:]))

    def begin(self, scenes: Sequence[Scene], examples: Sequence[Example], options: Sequence[Options]) -> Writing:
        """Begins to write an answer to the last question of each example, each about the picture of a scene, with options of its own; ValueError when
        one of them does not fit the model.
        """
        writing: Any = (
            Conversing if isinstance(self.processor, ConversationProcessor) else Placing if isinstance(self.processor, Processor) else AtOnce
        )
        begun: Writing = writing(scenes, examples, options)
        return begun

    def reply(self, scene: Scene, examples: Sequence[Example], options: Options) -> list[Answer]:
        """An answer to the last question of each example, all about the picture of `scene`; ValueError when one of them does not fit the model."""
        return self.reply_each([scene] * len(examples), examples, options) if examples else []

    def reply_each(self, scenes: Sequence[Scene], examples: Sequence[Example], options: Options) -> list[Answer]:
        """As `reply`, each example about a scene of its own."""
        return self.begin(scenes, examples, [options] * len(examples)).answers()

    def answer(self, examples: Iterable[Example], options: Options | None = None, **changes: Any) -> Iterator[Answer]:
        """One answer to the last question of each example, in their order; answers that an example already holds are not looked at.

        Examples are read a few batches ahead, and those about one picture share its scene, as do all that follow one another, however many. Those
        about several pictures are written together too, `batch` at a time, or fewer where memory does not hold as many. One that cannot be
        answered (a picture that cannot be read, a region outside it, no question) gets an `Answer` whose `finish_reason` is "error"; the others go
        on.
        """
        chosen = replace(options or Options(), **changes)
        ahead = _WINDOW * chosen.batch if chosen.batch > 1 else 1
        waiting = iter(examples)
        last: tuple[object, Scene | ValueError] = (object(), ValueError())
        while window := list(itertools.islice(waiting, ahead)):
            groups: dict[object, list[int]] = {}
            for index, example in enumerate(window):
                groups.setdefault(_picture_key(example), []).append(index)
            found: dict[int, Answer] = {}
            ready: list[tuple[int, Scene]] = []
            done = 0
            for key, indices in groups.items():
                last = last if key == last[0] else (key, self._scene_of(window[indices[0]]))
                for index in indices:
                    if isinstance(last[1], ValueError):
                        found[index] = _refused(last[1])
                    else:
                        ready.append((index, last[1]))
                    if len(ready) == chosen.batch:
                        found |= self._answers(window, ready, chosen)
                        ready = []
                        while done in found:
                            yield found.pop(done)
                            done += 1
            found |= self._answers(window, ready, chosen)
            yield from (found[index] for index in range(done, len(window)))

    def _answers(self, window: Sequence[Example], ready: Sequence[tuple[int, Scene]], options: Options) -> dict[int, Answer]:
        """Answers to some of the examples of a window, each with its scene, by their place. All at once; where that is refused, or too much for the
        memory, half by half, until what is at fault stands alone. Refusal comes before any generation.
        """
        if not ready:
            return {}
        scenes, is_short = [scene for _, scene in ready], False
        try:
            examples = [scene.example(_open_turns(window[index])) for index, scene in ready]
            answers = self.reply_each(scenes, examples, options)
            return {index: answer for (index, _), answer in zip(ready, answers, strict=True)}
        except ValueError as error:
            if len(ready) == 1:
                return {ready[0][0]: _refused(error)}
        except (MemoryError, RuntimeError) as error:
            is_short = is_short_of_memory(error)
            if len(ready) == 1 or not is_short:
                raise
        if is_short:  # out of the handler, which holds on to what did not fit
            free_memory()
        middle = len(ready) // 2
        return self._answers(window, ready[:middle], options) | self._answers(window, ready[middle:], options)

    @cached_property
    def grammar(self) -> PlaceGrammar:
        """What the model's tokens may spell inside a bracket."""
        return grammar_of(self.processor)

    def _scene_of(self, example: Example) -> Scene | ValueError:
        """The example's picture, looked at, or why that cannot be."""
        try:
            if (count := len(example.images)) != 1:
                raise ValueError(f"The example {example.id!r} has {count} images; one is wanted.")
            return self.look(load_picture(example.images[0]))
        except ValueError as error:
            return error


def _open_turns(example: Example) -> tuple[Turn, ...]:
    last = max((index for index, turn in enumerate(example.turns) if turn.role == "user"), default=None)
    if last is None:
        raise ValueError(f"The example {example.id!r} asks nothing; a turn of the user's is wanted.")
    return example.turns[: last + 1]


def _refused(error: ValueError) -> Answer:
    return Answer(GroundedText(""), "error", error=str(error))


def _guest_kind(place: str) -> str | None:
    """The kind of another family's model; None for one of this library, and for what cannot be read, which is said when it is opened."""
    try:
        kind = PreTrainedConfig.get_config_dict(place)[0].get("model_type")
    except (OSError, ValueError):
        return None
    return kind if kind in GUESTS else None


def _picture_key(example: Example) -> object:
    """What tells two pictures apart: a path, the encoded bytes, or the object in memory; examples without one picture stand alone."""
    if len(example.images) != 1:
        return object()
    picture = example.images[0]
    return (picture.path, picture.data, None if picture.pixels is None else id(picture.pixels), picture.width, picture.height)


def _best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"There is no number type {dtype!r}; float32, bfloat16 and float16 are taken.")
    return kind

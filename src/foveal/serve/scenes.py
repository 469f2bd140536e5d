"""Scenes that a server keeps: named by what they show, within a budget of memory, the least recently used gone first."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from PIL import Image

from foveal.grounding import Picture
from foveal.models import Processor
from foveal.models.processing import ConversationProcessor
from foveal.serve.limits import RefusedError, check_id
from foveal.serve.metrics import Metrics
from foveal.session import Scene

__all__ = ["Kept", "SceneStore", "Shelf", "bare", "bytes_of", "scene_id"]

_Content = TypeVar("_Content", Scene, bytes)

_REMEMBERED = 10_000
"""How many ids of scenes that are gone are known to have been."""


@dataclass(frozen=True)
class Kept(Generic[_Content]):
    """A scene, or its encoded image, with its id, the name of the model that looked, and the memory that it takes."""

    id: str
    model: str
    scene: _Content
    bytes: int
    expires: float
    """When it goes, by the clock of the world, unless it is used before."""


@runtime_checkable
class Shelf(Protocol):
    """Where servers that share their scenes keep the encoded images of them: a scene is there for all as long as it is here."""

    async def put(self, name: str, model: str, data: bytes) -> None:
        """Keeps what a scene was made of."""

    async def use(self, name: str, *, known: bool) -> tuple[str, bytes | None]:
        """The model of a scene, which stays longer for that, and its encoded image, or None where it is `known`; errors of `SceneStore.get`."""

    async def drop(self, name: str) -> None:
        """Lets a scene go; errors of `SceneStore.get`."""


class SceneStore(Generic[_Content]):
    """The scenes of a server, or their encoded images. Threads may share it."""

    def __init__(self, budget: int, idle_s: float, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self.budget, self.idle_s = budget, idle_s
        self._metrics, self._clock, self._lock = metrics, clock, Lock()
        self._kept: OrderedDict[str, Kept[_Content]] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    def put(self, name: str, model: str, scene: _Content) -> Kept[_Content]:
        """Keeps a scene, and lets others go where it takes their room; one that is larger than the whole budget is kept until the next comes."""
        with self._lock:
            kept = Kept(name, model, scene, bytes_of(scene), self._clock() + self.idle_s)
            self._kept.pop(name, None)
            self._gone.pop(name, None)
            self._kept[name] = kept
            self._tidy()
            return kept

    def get(self, name: str) -> Kept[_Content]:
        """The scene of an id, which stays longer for that; `RefusedError`: 410 for one that is gone, 404 for one that never was."""
        check_id(name)
        with self._lock:
            self._tidy()
            if (kept := self._kept.get(name)) is None:
                if name in self._gone:
                    raise RefusedError(410, f"The scene {name} has expired, for memory or time ran out; look at the image again.")
                raise RefusedError(404, f"There is no scene {name}.")
            kept = replace(kept, expires=self._clock() + self.idle_s)
            self._kept[name] = kept
            self._kept.move_to_end(name)
            return kept

    def find(self, name: str) -> Kept[_Content] | None:
        """The scene of an id, or None."""
        try:
            return self.get(name)
        except RefusedError:
            return None

    def drop(self, name: str) -> None:
        """Lets a scene go."""
        self.get(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Lets a scene go where it is there."""
        with self._lock:
            if name in self._kept:
                self._forget(name)
                self._tidy()

    def clear(self) -> None:
        """Lets all go: memory is wanted."""
        with self._lock:
            for name in list(self._kept):
                self._forget(name)
            self._tidy()

    def _tidy(self) -> None:
        now = self._clock()
        for name in [name for name, kept in self._kept.items() if kept.expires <= now]:
            self._forget(name)
        while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > self.budget:
            self._forget(next(iter(self._kept)))
        while len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)
        self._metrics.scenes.set(len(self._kept))
        self._metrics.scene_bytes.set(sum(kept.bytes for kept in self._kept.values()))

    def _forget(self, name: str) -> None:
        self._kept.pop(name, None)
        self._gone[name] = None


def scene_id(model: str, data: bytes) -> str:
    """The id of what a model sees in an encoded image.

    >>> scene_id("ferret-v2-nano", b"...") == scene_id("ferret-v2-nano", b"...") != scene_id("monkey-nano", b"...")
    True
    """
    return "scene-" + hashlib.sha256(model.encode() + b"\0" + hashlib.sha256(data).digest()).hexdigest()[:40]


def bare(scene: Scene) -> Scene:
    """The scene without its pixels, which a model of this library needs no more once it has looked; its prompt's beginning is read."""
    if not isinstance(scene.session.processor, Processor):
        return scene
    scene = replace(scene, picture=Picture(*scene.size, data=b""))
    if isinstance(scene.session.processor, ConversationProcessor):
        assert scene.prefix is not None
    return scene


def bytes_of(scene: Scene | bytes) -> int:
    """The memory that a scene takes: what the model keeps of the image, the cache of the prompt's beginning, and pixels where they are kept."""
    if isinstance(scene, bytes):
        return len(scene)
    prefix = scene.__dict__.get("prefix")
    layers = [] if prefix is None else prefix.cache.layers
    tensors = [*_tensors(scene.sight), *(part for layer in layers for part in (layer.keys, layer.values))]
    pixels = scene.picture.pixels
    drawn = pixels.width * pixels.height * len(pixels.getbands()) if isinstance(pixels, Image.Image) else 0
    return drawn + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (tensor for part in value.values() for tensor in _tensors(part))
    elif isinstance(value, tuple | list):
        yield from (tensor for part in value for tensor in _tensors(part))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (tensor for part in fields(value) for tensor in _tensors(getattr(value, part.name)))

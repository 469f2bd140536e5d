"""Look once, ask often: a `Session` is an open model, a `Scene` an image it has seen. Loaded when first used, for models are heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.session.answers import Answer, Options
    from foveal.session.scene import Scene
    from foveal.session.session import Session

__all__ = ["Answer", "Options", "Scene", "Session"]

_HOMES = {"Answer": "answers", "Options": "answers", "Scene": "scene", "Session": "session"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Servers for tests: real ones, in a thread, with the small models that ship."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from served import MODELS, Served

from foveal.serve.running import Listening
from foveal.serve.settings import ServeSettings
from foveal.session import Session


@pytest.fixture(scope="session")
def nano() -> dict[str, Session]:
    """The models that ship, opened once."""
    return {name: Session.open(name, "cpu") for name in MODELS}


@pytest.fixture
def start(nano: dict[str, Session]) -> Iterator[Callable[..., Served]]:
    """Starts a server for a test: `start(queue=2)`."""
    with ExitStack() as stack:

        def started(models: tuple[str, ...] = MODELS[:1], **settings: Any) -> Served:
            listening = Listening(ServeSettings(port=0, **settings), {name: nano[name] for name in models})
            served = Served(listening, stack.enter_context(listening))
            stack.callback(served.close)
            return served

        yield started


@pytest.fixture(scope="module")
def server(nano: dict[str, Session]) -> Iterator[Served]:
    """A server of all models, with settings as they are."""
    listening = Listening(ServeSettings(port=0), nano)
    with listening as url:
        served = Served(listening, url)
        yield served
        served.close()

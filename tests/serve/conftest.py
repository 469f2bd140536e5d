"""Servers for tests: real ones, in a thread, with the small models that ship."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from paged import WIDE, Open, Shown, browser
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def shown(chromium: Any, server: Served) -> Iterator[Open]:
    """Opens the page: `shown("harbour", model="pixelllm-nano")`; at the end the browser may have complained of nothing, and asked nobody else."""
    contexts, pages = [], []

    def opened(sample: str | None = None, model: str | None = None, **options: Any) -> Shown:
        context = chromium.new_context(base_url=server.url, **{"viewport": WIDE, "permissions": ["clipboard-read", "clipboard-write"], **options})
        contexts.append(context)
        page = Shown(context.new_page())
        pages.append(page)
        page.tab.goto("/")
        page.tab.wait_for_selector(".model-name")
        if model is not None:
            page.choose(model)
        if sample is not None:
            page.sample(sample)
        return page

    yield opened
    complaints = [complaint for page in pages for complaint in page.complaints]
    elsewhere = [address for page in pages for address in page.addresses if not address.startswith((f"{server.url}/", "blob:", "data:"))]
    for context in contexts:
        context.close()
    assert complaints == elsewhere == []

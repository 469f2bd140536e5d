"""A language model at an endpoint as a writer: asked about examples in their order, its errors told, its budget kept."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.grounding import Example
from foveal.synth.stage import Stopped

if TYPE_CHECKING:
    from foveal.endpoint import Endpoint, Message, Prices, Reply

__all__ = ["Writer", "endpoint_of", "replies_to"]


@dataclass(frozen=True, eq=False)
class Writer:
    """The model `model` at `url`, any endpoint of OpenAI's kind; its fields are those of `foveal.endpoint.Endpoint`.

    What it writes depends on the model and `settings` alone: these stand in a stage's settings (`name`), so that a run goes on with another address,
    price or budget. A budget is that of each process. Replies are kept in `cache`, so that nothing is paid twice.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    settings: Mapping[str, Any] = field(default_factory=dict)
    prices: "Prices | None" = None
    budget: float | None = None
    cache: Path | None = None
    at_once: int = 8
    timeout_s: float = 120.0
    retries: int = 5

    @property
    def name(self) -> str:
        """What tells it from another writer.

        >>> Writer("http://localhost:8000/v1", "qwen", settings={"temperature": 0}).name
        'qwen {"temperature": 0}'
        """
        return f"{self.model} {json.dumps(dict(self.settings), sort_keys=True)}"


@lru_cache(maxsize=8)
def endpoint_of(writer: Writer) -> "Endpoint":
    """The endpoint of a writer, the same for all stages of a process. ValueError for one that cannot be asked."""
    from foveal.endpoint import Endpoint

    options: dict[str, Any] = {name: getattr(writer, name) for name in ("key_variable", "settings", "prices", "budget", "cache", "at_once")}
    return Endpoint(writer.url, writer.model, timeout_s=writer.timeout_s, retries=writer.retries, **options)


def replies_to(
    examples: Iterable[Example], writer: Writer, asked: Callable[[Example], "list[Message]"], settings: Mapping[str, Any]
) -> "Iterator[tuple[Example, Reply | None]]":
    """Each example with the writer's reply to what `asked` says about it, None where that is nothing. A reply that failed has an error, and the
    others go on; `Stopped` where the budget is spent, or no other question could fare better."""
    endpoint = endpoint_of(writer)
    waiting: deque[tuple[Example, bool]] = deque()

    def conversations() -> "Iterator[list[Message]]":
        for example in examples:
            messages = asked(example)
            waiting.append((example, bool(messages)))
            if messages:
                yield messages

    try:
        with closing(endpoint.ask(conversations(), settings)) as replies:
            for reply in replies:
                while not waiting[0][1]:
                    yield waiting.popleft()[0], None
                if reply.error is not None and endpoint.exhausted:
                    raise Stopped(f"{writer.model}: {reply.error}, after {endpoint.spent}; with a larger one the same command goes on")
                yield waiting.popleft()[0], reply
    except ValueError as error:
        raise error if isinstance(error, Stopped) else Stopped(str(error)) from error
    yield from ((example, None) for example, _ in waiting)

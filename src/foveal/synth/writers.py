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

__all__ = ["Writer", "endpoint_of", "replies_to", "writer_of"]


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


def writer_of(environment: Mapping[str, str]) -> Writer | None:
    """The writer that environment variables name, None where FOVEAL_WRITER, the model, is not there: FOVEAL_WRITER_URL is its endpoint's address,
    FOVEAL_WRITER_BUDGET what each process may spend, by FOVEAL_WRITER_PRICES of a million tokens of questions and replies. ValueError for what is no
    number.

    >>> writer_of({"FOVEAL_WRITER": "qwen3", "FOVEAL_WRITER_PRICES": "0.4,1.6"}).prices
    Prices(prompt=0.4, completion=1.6)
    """
    from foveal.endpoint import Prices

    if not (model := environment.get("FOVEAL_WRITER")):
        return None
    given, most = environment.get("FOVEAL_WRITER_PRICES"), environment.get("FOVEAL_WRITER_BUDGET")
    try:
        prices = Prices(*map(float, given.split(","))) if given else None
        budget = float(most) if most else None
    except (ValueError, TypeError) as error:
        said = f"FOVEAL_WRITER_PRICES {given!r}, FOVEAL_WRITER_BUDGET {most!r}"
        raise ValueError(f"{said}; two numbers like 0.4,1.6 and one like 20 are wanted") from error
    url = environment.get("FOVEAL_WRITER_URL", "https://api.openai.com/v1")
    return Writer(url, model, prices=prices, budget=budget, cache=Path("runs/replies.jsonl"))


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
    others go on; `Stopped` where the budget is spent, no other question could fare better, or all of them failed: then the endpoint is at fault, and
    no example is left out for it."""
    endpoint = endpoint_of(writer)
    came, failed = 0, 0
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
                if reply.error is not None and (endpoint.exhausted or (writer.budget is not None and endpoint.spent.uncounted)):
                    raise Stopped(f"{writer.model}: {reply.error}, after {endpoint.spent}; with a larger budget, or none, the same command goes on")
                came, failed = came + 1, failed + (reply.error is not None)
                yield waiting.popleft()[0], reply
        if came and failed == came and (came > 1 or reply.unreached):
            raise Stopped(f"{writer.model} at {writer.url} answered none of {came} questions ({reply.error}); the same command goes on here")
    except ValueError as error:
        raise error if isinstance(error, Stopped) else Stopped(str(error)) from error
    yield from ((example, None) for example, _ in waiting)

"""A client of one model at one endpoint: many conversations at once, replies in their order, what they cost counted and bounded."""

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from foveal.endpoint.replies import Message, Prices, Replies, Reply, Spent, question_key

if TYPE_CHECKING:
    import openai

__all__ = ["Endpoint"]

_AHEAD = 4
"""How many conversations for each that is under way are read ahead of the one whose reply is waited for."""
_GRACE_S = 5.0
"""How long replies that are under way are waited for when asking is stopped."""
_SHORTEST_KEY = 6
"""What is shorter ("none") is no secret, and may be a word of an error."""
_TAKEN = ("model", "messages", "stream", "n")


class Endpoint:
    """The model `model` at `base_url` ("https://api.openai.com/v1", "http://localhost:8000/v1"), which speaks OpenAI's chat completions.

    The key is read from the environment variable `key_variable` and kept nowhere; an endpoint on this machine needs none. `settings`
    ("temperature", "max_tokens", whatever the endpoint knows) go with every question, in place of those given with it; None takes one away.
    `prices` are those of a million tokens; with a `budget`, in their currency, asking ends once so much is spent, which the replies that are then
    under way exceed. `cache` is the file in which replies are kept. A question that fails for the moment (429, 5xx, no connection, more than
    `timeout_s` seconds) is asked again up to `retries` times, after as long as the endpoint says, else ever longer. ValueError, in one sentence,
    for what cannot be asked so.

    >>> Endpoint("https://example.org/v1", "judge", key_variable="NO_SUCH_KEY")
    Traceback (most recent call last):
    ValueError: judge at https://example.org/v1 wants a key, and the environment variable NO_SUCH_KEY has none.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        settings: Mapping[str, Any] | None = None,
        prices: Prices | None = None,
        budget: float | None = None,
        cache: Path | None = None,
        at_once: int = 8,
        timeout_s: float = 120.0,
        retries: int = 5,
    ) -> None:
        import openai  # said at once where it is not installed

        if taken := [name for name in _TAKEN if name in (settings or {})]:
            raise ValueError(f"the setting {taken[0]!r} of an endpoint is not free; temperature, max_tokens and their like are")
        if budget is not None and (prices is None or not budget > 0):
            raise ValueError(f"a budget of {budget} wants to be more than 0, and prices to count it by")
        if at_once < 1 or retries < 0 or not timeout_s > 0:
            raise ValueError(f"{at_once} at once, {retries} retries, {timeout_s} seconds; at least 1, 0 and more than 0 are wanted")
        if not _is_local(base_url) and not os.environ.get(key_variable, "").strip():
            raise ValueError(f"{model} at {base_url} wants a key, and the environment variable {key_variable} has none.")
        self.base_url, self.model, self.settings = base_url, model, dict(settings or {})
        self.prices, self.budget, self.at_once = prices, budget, at_once
        self.spent = Spent()
        self._replies, self._lock, self._failed_in_row = Replies(cache), Lock(), 0
        self._key_variable, self._library = key_variable, openai
        self._options: dict[str, Any] = {"base_url": base_url, "timeout": timeout_s, "max_retries": retries}

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r}, {self.model!r})"

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.budget is not None and (self.spent.cost or 0.0) >= self.budget

    def settled(self, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The settings that go with a question that is given `settings`.

        >>> Endpoint("http://localhost:1/v1", "judge", settings={"temperature": 0, "max_tokens": None}).settled({"max_tokens": 9, "seed": 1})
        {'seed': 1, 'temperature': 0}
        """
        return {name: value for name, value in (dict(settings or {}) | self.settings).items() if value is not None}

    def ask(self, conversations: Iterable[Sequence[Message]], settings: Mapping[str, Any] | None = None) -> Generator[Reply, None, None]:
        """A reply to each conversation, in their order, `at_once` of them under way; they are read as they are needed.

        One that fails gets a `Reply` with an error, and the others go on; so do those that are not asked since the budget is spent. ValueError where
        no other question could fare better (a key or a model that is refused, an account without means, or none but failures for long). Whatever
        came by then is kept, as it is when asking is stopped (`close`, or an interrupt while a reply is waited for).
        """
        chosen, jobs, stopped = self.settled(settings), SimpleQueue[_Job | None](), Event()
        waiting: deque[_Job] = deque()
        flying: dict[str, _Job] = {}
        with self._client() as client:
            threads = [Thread(target=self._work, args=(client, jobs, chosen, stopped), daemon=True) for _ in range(self.at_once)]
            for thread in threads:
                thread.start()
            try:
                for messages in conversations:
                    key = question_key(self.model, messages, chosen)
                    if key not in flying:
                        flying[key] = _Job(key, messages)
                        jobs.put(flying[key])
                    waiting.append(flying[key])
                    while waiting and (len(waiting) >= _AHEAD * self.at_once or waiting[0].reply.done()):
                        yield _first(waiting, flying)
                while waiting:
                    yield _first(waiting, flying)
            finally:
                stopped.set()
                end = time.monotonic() + _GRACE_S
                for _ in threads:
                    jobs.put(None)
                for thread in threads:
                    thread.join(max(0.0, end - time.monotonic()))

    def _client(self) -> "openai.OpenAI":
        key = os.environ.get(self._key_variable, "").strip() or "none"
        # A proxy of the environment is not asked for what is on this machine.
        http = self._library.DefaultHttpxClient(trust_env=False, base_url=self.base_url) if _is_local(self.base_url) else None
        return self._library.OpenAI(api_key=key, http_client=http, **self._options)

    def _work(self, client: "openai.OpenAI", jobs: "SimpleQueue[_Job | None]", settings: Mapping[str, Any], stopped: Event) -> None:
        while (job := jobs.get()) is not None:
            if stopped.is_set():
                continue
            try:
                job.reply.set_result(self._reply(client, job, settings))
            except BaseException as error:  # raised again where the reply is waited for
                job.reply.set_exception(error)

    def _reply(self, client: "openai.OpenAI", job: "_Job", settings: Mapping[str, Any]) -> Reply:
        """The reply that is known, else the one that comes; what failed is not kept."""
        known = self._replies.get(job.key)
        if known is None and (refusal := self._refusal()):
            return Reply(error=refusal)
        found = replace(known, cached=True) if known else self._asked(client, job.messages, settings)
        with self._lock:
            self.spent = self.spent.plus(found, self.prices)
            self._failed_in_row = self._failed_in_row + 1 if found.error else 0
            failed = self._failed_in_row
        if not (found.error or known):
            self._replies.add(job.key, found)
        if found.error and failed >= max(16, 2 * self.at_once):
            raise ValueError(f"{failed} questions to {self.model} failed one after the other, the last since {found.error}")
        return found

    def _refusal(self) -> str | None:
        if self.budget is None:
            return None
        if self.spent.uncounted:
            return f"{self.model} at {self.base_url} does not say how many tokens it used, so that no budget can be kept"
        return f"the budget of {self.budget:g} is spent" if self.exhausted else None

    def _asked(self, client: "openai.OpenAI", messages: Sequence[Message], settings: Mapping[str, Any]) -> Reply:
        library = self._library
        try:
            given: Any = [dict(one) for one in messages]
            return _reply_of(client.chat.completions.create(model=self.model, messages=given, extra_body=dict(settings)))
        except (library.OpenAIError, ValueError) as error:
            said = self._told(error)
            hopeless = isinstance(error, library.AuthenticationError | library.NotFoundError)
            if hopeless or (isinstance(error, library.RateLimitError) and error.code == "insufficient_quota"):
                raise ValueError(f"{self.model} at {self.base_url} cannot be asked: {said}") from None
            nobody = isinstance(error, library.APIConnectionError) and not isinstance(error, library.APITimeoutError)
            return Reply(error=said, unreached=nobody)

    def _told(self, error: Exception) -> str:
        """An error in one line, without the key, which some endpoints repeat."""
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ValueError):
            said = f"the reply cannot be read ({said})"
        key = os.environ.get(self._key_variable, "").strip()
        said = said.replace(key, "***") if len(key) >= _SHORTEST_KEY else said
        return said if len(said) <= 300 else f"{said[:300]} …"


class _Job:
    """A conversation that waits for its reply."""

    def __init__(self, key: str, messages: Sequence[Message]) -> None:
        self.key, self.messages = key, messages
        self.reply: Future[Reply] = Future()


def _first(waiting: deque[_Job], flying: dict[str, _Job]) -> Reply:
    """The reply that is waited for, once it is there."""
    job = waiting.popleft()
    found = job.reply.result()
    flying.pop(job.key, None)
    return found


def _reply_of(found: Any) -> Reply:
    """The reply in what came. ValueError where it is no chat completion."""
    choices = getattr(found, "choices", None)
    if not isinstance(choices, list) or not choices or getattr(choices[0], "message", None) is None:
        raise ValueError("it has no choice of a message, as a chat completion has")
    said, used = choices[0].message, getattr(found, "usage", None)
    text = said.content if isinstance(said.content, str) else str(getattr(said, "refusal", None) or "")
    tokens = [getattr(used, name, None) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) else None for count in tokens)
    return Reply(text, str(getattr(choices[0], "finish_reason", "") or ""), str(getattr(found, "model", "") or ""), prompt, completion)


def _is_local(url: str) -> bool:
    """Whether an endpoint is on this machine. ValueError for what is no address of one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address of an endpoint; one like http://localhost:8000/v1 is wanted")
    if parts.username or parts.password or parts.query:
        raise ValueError(f"the address of the endpoint at {parts.hostname} holds more than a place; a key goes into an environment variable")
    try:
        place = ip_address(parts.hostname)
        return place.is_loopback or place.is_unspecified
    except ValueError:
        return parts.hostname == "localhost" or parts.hostname.endswith(".localhost")

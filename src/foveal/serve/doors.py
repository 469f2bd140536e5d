"""What every request passes before a route sees it: whose it is, how large it is and how long it takes to arrive, and what is noted of it."""

import asyncio
import base64
import binascii
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.serve.batching import note_fault
from foveal.serve.limits import RefusedError, check_json
from foveal.serve.metrics import Metrics
from foveal.serve.settings import ServeSettings

__all__ = ["Doors", "error_object"]

_log = logging.getLogger("foveal.serve")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error"}


def error_object(status: int, sentence: str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI writes it.

    >>> error_object(404, "There is no such model.")["error"]["type"]
    'not_found_error'
    """
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": sentence, "type": kind, "param": param, "code": None}}


class Doors:
    """An ASGI app around another. Bodies are read here, in time and up to a size, and JSON is counted before anything is made of it."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or answers it itself."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4().hex[:24]}"
        scope.setdefault("state", {})["request_id"] = name
        start, status, begun = time.monotonic(), [500], [False]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0], begun[0] = message["status"], True
                message = {**message, "headers": [*message.get("headers", []), *_headers(name)]}
            await send(message)

        try:
            self._check(scope, headers)
            body = await self._body(receive, headers)
            await self.app(scope, _again(body, receive), told)
        except RefusedError as error:
            await _refuse(told, error.status, str(error))
        except asyncio.CancelledError:  # on a cluster this is how it is told that the client is gone
            status[0] = status[0] if begun[0] else 499
            raise
        except Exception as error:  # it goes no further: others would write down what it says
            note_fault(error, request=name)
            if not begun[0]:
                await _refuse(told, 500, "This is a fault of the server's, not of what was asked.")
        finally:
            self._note(scope, name, status[0], time.monotonic() - start)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """RefusedError for a request that is not let in."""
        settings = self.settings
        called = re.sub(r":\d+$", "", headers.get("host", "").lower())
        named = (*_LOOPBACK, settings.host, *settings.hosts)
        if (settings.is_loopback or settings.hosts) and called not in named:  # a page elsewhere may make its own name mean this machine
            raise RefusedError(421, f"The server is not called {called[:80]!r}; name that host when it is started.")
        if settings.api_key is not None and scope["path"] != "/health" and not _knows(headers.get("authorization", ""), settings.api_key):
            raise RefusedError(401, "The API key is missing or wrong; send it as Authorization: Bearer ….")

    async def _body(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """All of the body; RefusedError for one that is too large (413), or too slow (408)."""
        most = self.settings.limits.body_bytes
        declared = headers.get("content-length", "0")
        if not declared.isdigit() or int(declared[:18]) > most:
            raise RefusedError(413 if declared.isdigit() else 400, f"The body declares {declared[:20]} bytes; at most {most:,} are taken.")
        parts: list[bytes] = []
        length = 0
        try:
            async with asyncio.timeout(self.settings.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise RefusedError(400, "The body was cut short.")
                    parts.append(message.get("body", b""))
                    length += len(parts[-1])
                    if length > most:
                        raise RefusedError(413, f"The body has more than the {most:,} bytes that are taken.")
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise RefusedError(408, f"The body was not there within {self.settings.body_s:g} seconds.") from error
        body = b"".join(parts)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and kind == "application/json":
            check_json(body, self.settings.limits)
        elif body and kind != "multipart/form-data":  # what any page may send without being asked is not taken
            raise RefusedError(415, f"The body is {kind[:60] or 'of no kind'}; application/json is wanted, or multipart/form-data for an image.")
        return body

    def _note(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        """What is logged and counted of a request: nothing that was asked or answered."""
        route = getattr(scope.get("route"), "path", "")  # the pattern, not what was called: paths are without number
        self.metrics.requests.labels(route or "none", str(status)).inc()
        self.metrics.seconds.labels(route or "none").observe(seconds)
        told = {"request": name, "method": scope["method"][:10], "route": route, "status": status, "seconds": round(seconds, 4)}
        _log.info("request", extra=told | dict(scope["state"].get("noted", {})))


def _headers(name: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-request-id", name.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
    ]


def _knows(authorization: str, key: str) -> bool:
    """Whether a header shows the key: as a bearer token, or as the password that a browser asks for."""
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(shown.strip().encode(), key.encode())


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more for the route, and then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps(error_object(status, sentence)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="foveal", charset="UTF-8"'))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Listening: the app behind uvicorn, which ends in good order when told to, and waits for no one who sends a request letter by letter."""

import asyncio
import logging
import signal
from collections.abc import Mapping
from threading import Thread
from types import FrameType, TracebackType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from foveal.serve.app import create_app
from foveal.serve.settings import ServeSettings
from foveal.session import Session

__all__ = ["Listening", "run"]

_log = logging.getLogger("foveal.serve")
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def run(settings: ServeSettings, sessions: Mapping[str, Session]) -> None:
    """Serves until SIGTERM or SIGINT; then no more is taken, and what is being answered has `settings.drain_s` seconds to end."""
    _server(settings, create_app(settings, sessions)).run()


class Listening:
    """A server in a thread of its own, for tests and benchmarks: `with Listening(settings, sessions) as url: …`."""

    def __init__(self, settings: ServeSettings, sessions: Mapping[str, Session]) -> None:
        self.app = create_app(settings, sessions)
        self.server = _server(settings, self.app)
        self._thread = Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        while not self.server.started:
            if not self._thread.is_alive():
                raise OSError("the server did not start.")
            self._thread.join(0.01)
        host, port = self.server.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.handle_exit(signal.SIGTERM, None)
        self._thread.join()


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """No more is taken; who interrupts twice does not want to wait. uvicorn's own would end the process by the signal, as if it failed."""
        del frame
        app: Any = self.config.app
        app.state.desk.is_closing = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class _Protocol(H11Protocol):
    """HTTP/1.1 whose heads arrive in time: uvicorn waits for the rest of one as long as it takes."""

    head_s = 30.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(self.head_s, self._give_up)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()


def _server(settings: ServeSettings, app: FastAPI) -> uvicorn.Server:
    protocol = type("Protocol", (_Protocol,), {"head_s": settings.body_s})
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    return _Server(config)

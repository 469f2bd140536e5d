"""Serving on a cluster: the same app in several processes behind Ray Serve's proxy, which share their scenes and answer as one."""

import asyncio
import logging
import math
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from threading import Event
from types import FrameType
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.serve.app import create_app
from foveal.serve.desk import Desk
from foveal.serve.limits import RefusedError
from foveal.serve.logs import log_to_stderr
from foveal.serve.metrics import Metrics
from foveal.serve.scenes import SceneStore
from foveal.serve.settings import ServeSettings
from foveal.session import Session

__all__ = ["Replicas", "replicas_of", "run_on_ray"]

_log = logging.getLogger("foveal.serve")
_APP = "foveal"
_STORE_BYTES = 2**28
"""Of a cluster that is started here: room for the bodies of requests that are on their way."""
_QUIETLY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
"""Of a cluster that is started here: it listens on loopback, whatever the name of that switch says, and works no less hard than one process would."""
_OTHERS = 64
"""How many requests beside questions (pages, metrics) a replica takes at once."""


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """How many processes serve, and what each has.

    >>> Replicas(least=2, most=1)
    Traceback (most recent call last):
    ValueError: from 2 to 1 replicas; at least 1, and no more least than most, are wanted.
    """

    least: int = 1
    """The fewest that are kept."""
    most: int = 1
    """The most; where it is more than `least` there are as many as there is to do."""
    ongoing: float = 16.0
    """How many requests at once one replica is meant for: with more, others are started."""
    cpus: float = 1.0
    """The CPUs of each; its model works with as many threads."""
    gpus: float = 0.0
    """The GPUs of each; a fraction shares one."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"from {self.least} to {self.most} replicas; at least 1, and no more least than most, are wanted.")
        for name, least in (("ongoing", 0), ("cpus", 0), ("gpus", -1)):
            if not least < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name):g}; a number {'of 0 or more' if least else 'above 0'} is wanted.")


def replicas_of(said: str, **more: float) -> Replicas:
    """What `--replicas` says: a number, or the fewest and the most.

    >>> replicas_of("2:8", gpus=0.5)
    Replicas(least=2, most=8, ongoing=16.0, cpus=1.0, gpus=0.5)
    """
    if not (found := re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", said)):
        raise ValueError(f"the replicas are {said[:40]!r}; a number is wanted, or the fewest and the most, as 2:8.")
    return Replicas(least=int(found[1]), most=int(found[2] or found[1]), **more)


def run_on_ray(settings: ServeSettings, models: Mapping[str, Callable[[], Session]], replicas: Replicas) -> None:
    """Serves until SIGTERM or SIGINT; then no more is taken, and what is being answered has `settings.drain_s` seconds to end.

    Each replica opens the models itself: `models` says how, by the name that requests use. RAY_ADDRESS names a cluster; without it one is started
    here. ValueError where ray is not installed, Ray Serve runs on the cluster already, or the replicas do not start.
    """
    ray, serve = _joined(replicas)
    told = _Told()  # Ray has its own ears, until now
    try:
        if serve.status().proxies:
            raise ValueError("Ray Serve runs on this cluster already, with an address and a port of its own; serve shutdown ends it.")
        try:
            shelf = _run(ray, serve, settings, models, replicas)
            told.wait()
            _drain(ray, serve, shelf, settings.drain_s)
        finally:
            if os.environ.get("RAY_ADDRESS"):
                serve.shutdown()
    finally:
        ray.shutdown()  # a cluster that began here ends with it


def _joined(replicas: Replicas) -> tuple[Any, Any]:
    """Ray and its Serve, joined to the cluster of RAY_ADDRESS, or to one that begins here, which is told that it has room for all replicas."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray's own would stay behind in the user's folder
        _set(_ALONE)
    ray, serve = _needed("ray"), _needed("ray.serve")
    if not ray.is_initialized():
        here = {"num_cpus": math.ceil(replicas.most * replicas.cpus), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
        try:
            ray.init(address=address or "local", logging_level="error", **({} if address else here))
        except (ConnectionError, RuntimeError) as error:
            raise ValueError(
                f"There is no joining {address or 'a cluster of one machine'}: {(str(error) or type(error).__name__).splitlines()[0]}"
            ) from error
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return ray, serve


def _run(ray: Any, serve: Any, settings: ServeSettings, models: Mapping[str, Callable[[], Session]], replicas: Replicas) -> Any:
    """Starts the proxies, the shelf, which is returned, and the replicas."""
    port = _port(settings)
    quiet = {"log_level": "CRITICAL", "enable_access_log": False}  # what fails is told by the app, or below
    shelf = ray.remote(_Shelf).options(num_cpus=0, max_restarts=-1).remote(settings.scene_bytes, settings.scene_s)
    try:
        serve.start(http_options={"host": settings.host, "port": port, "keep_alive_timeout_s": 15}, logging_config=quiet)
        serve.run(_deployment(serve, settings, models, replicas, shelf), name=_APP, route_prefix="/", logging_config=quiet)
    except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        raise ValueError(ray.get(shelf.failure.remote()) or f"The replicas did not start ({type(error).__name__}); Ray's logs say why.") from error
    _log.info("listening", extra={"host": settings.host, "port": port, "replicas": [replicas.least, replicas.most]})
    return shelf


def _port(settings: ServeSettings) -> int:
    """The port, which is free, or where it is 0 any that is; on a cluster it is free elsewhere, or not."""
    if os.environ.get("RAY_ADDRESS") and settings.port:
        return settings.port

    async def tried() -> int:
        async with await asyncio.start_server(lambda *_: None, settings.host, settings.port) as server:
            return int(server.sockets[0].getsockname()[1])

    try:
        return asyncio.run(tried())
    except OSError as error:
        raise ValueError(f"Port {settings.port} of {settings.host} cannot be listened on: {error.strerror}.") from error


def _deployment(serve: Any, settings: ServeSettings, models: Mapping[str, Callable[[], Session]], replicas: Replicas, shelf: Any) -> Any:
    """The app for Ray Serve. A replica is given as many requests as its queues take, so that it is the app that says when it is busy (429)."""
    if replicas.least == replicas.most:
        number: dict[str, Any] = {"num_replicas": replicas.most}
    else:
        number = {"autoscaling_config": {"min_replicas": replicas.least, "max_replicas": replicas.most, "target_ongoing_requests": replicas.ongoing}}
    made = serve.deployment(
        name=_APP,
        max_ongoing_requests=len(models) * settings.queue + _OTHERS,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        max_constructor_retry_count=1,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=settings.drain_s + 5,
        **number,
    )

    def app() -> FastAPI:
        return _replica(settings, models, shelf)

    return made(serve.ingress(app)()).bind()


def _drain(ray: Any, serve: Any, shelf: Any, within_s: float) -> None:
    """Has all replicas take no more questions, and waits until they have answered those that are there."""
    ray.get(shelf.close.remote())
    serve.delete(_APP, _blocking=False)
    until = time.monotonic() + within_s + 10
    while _APP in serve.status().applications and time.monotonic() < until:
        time.sleep(0.1)


class _Told:
    """Waits for SIGTERM or SIGINT; who is told before it waits, or interrupted twice, is ended at once."""

    def __init__(self) -> None:
        self._over, self._waits = Event(), False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def wait(self) -> None:
        """Until one comes."""
        self._waits = True
        while not self._over.wait(3600):
            pass

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self._waits or (self._over.is_set() and number == signal.SIGINT):
            raise KeyboardInterrupt
        self._over.set()


# -- what all replicas share ----------------------------------------------------------------------------------------------------------


class _Shelf:
    """An actor with the encoded images of scenes, the word that the server is ending, and why it did not begin."""

    def __init__(self, budget: int, idle_s: float) -> None:
        self.store: SceneStore[bytes] = SceneStore(budget, idle_s, Metrics())
        self.over, self.why = asyncio.Event(), ""

    async def put(self, name: str, model: str, data: bytes) -> None:
        self.store.put(name, model, data)

    async def use(self, name: str, known: bool) -> tuple[int, str, bytes | None]:
        """200 with the model, or the status and the sentence of a refusal, which would not come whole through another process as an error."""
        try:
            kept = self.store.get(name)
        except RefusedError as error:
            return error.status, str(error), None
        return 200, kept.model, None if known else kept.scene

    async def drop(self, name: str) -> None:
        self.store.forget(name)

    async def fail(self, why: str) -> None:
        self.why = why

    async def failure(self) -> str:
        return self.why

    async def close(self) -> None:
        self.over.set()

    async def closing(self) -> None:
        await self.over.wait()


class _Shelved:
    """The shelf as a replica sees it; where its machine is gone each replica knows its own scenes."""

    def __init__(self, actor: Any) -> None:
        self.actor, self.lost = actor, _needed("ray.exceptions").RayActorError

    async def put(self, name: str, model: str, data: bytes) -> None:
        try:
            await self.actor.put.remote(name, model, data)
        except self.lost:
            _log.error("shelf is gone")

    async def use(self, name: str, *, known: bool) -> tuple[str, bytes | None]:
        try:
            status, said, data = await self.actor.use.remote(name, known)
        except self.lost:
            status, said, data = 404, f"There is no scene {name}.", None
        if status != 200:
            raise RefusedError(status, said)
        return said, data

    async def drop(self, name: str) -> None:
        try:
            await self.actor.drop.remote(name)
        except self.lost:
            _log.error("shelf is gone")


# -- one replica ----------------------------------------------------------------------------------------------------------------------


def _replica(settings: ServeSettings, models: Mapping[str, Callable[[], Session]], shelf: Any) -> FastAPI:
    """The app of one process, in whose event loop it is called."""
    log_to_stderr()
    try:
        sessions = {name: opened() for name, opened in models.items()}
    except ValueError as error:
        shelf.fail.remote(str(error))
        raise
    app = create_app(settings, sessions, _Shelved(shelf))
    app.add_middleware(_Signed, replica=_needed("ray.serve").get_replica_context().replica_id.unique_id)
    app.state.ending = asyncio.get_running_loop().create_task(_end_with(shelf, app.state.desk))
    return app


async def _end_with(shelf: Any, desk: Desk) -> None:
    await shelf.closing.remote()
    await desk.close()


class _Signed:
    """Says which replica answered, and leaves the request's id to Ray, whose proxy writes it on all that leaves."""

    def __init__(self, app: ASGIApp, replica: str) -> None:
        self.app, self.replica = app, replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"x-request-id"]
                message = {**message, "headers": [*kept, (b"x-replica", self.replica.encode())]}
            await send(message)

        await self.app(scope, receive, signed)


def _needed(name: str) -> Any:
    _set(_QUIETLY)
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError("the engine ray wants Ray Serve; pip install 'foveal[serve,ray]'") from error


def _set(variables: Mapping[str, str]) -> None:
    """What Ray reads when it is first imported, where the user has not said otherwise."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)

"""The server as one object: routes around a desk, behind the doors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from foveal import __version__
from foveal.serve.batching import BusyError, ClosedError, FaultError, LateError, MemoryShortError
from foveal.serve.chat import chat_routes
from foveal.serve.desk import Desk, GoneError, status_of
from foveal.serve.doors import Doors, error_object
from foveal.serve.manual import manual_page
from foveal.serve.scene_routes import scene_routes
from foveal.serve.scenes import Shelf
from foveal.serve.settings import ServeSettings
from foveal.session import Session

__all__ = ["create_app"]

_ABOUT = (
    "Ask about images with regions as parts of a message, and get words tied to places. /v1/chat/completions is OpenAI's; /v1/scenes looks at an"
    " image once and answers many questions about it."
)

_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; frame-ancestors 'none'",
}


def create_app(settings: ServeSettings, sessions: Mapping[str, Session], shelf: Shelf | None = None) -> FastAPI:
    """An ASGI app that serves these models; the first is asked where a request names none. Its workers end with the app's lifespan.

    `app.state.desk` is what the routes share; servers that share a `shelf` answer questions about each other's scenes.
    """
    desk = Desk(settings, sessions, shelf)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await desk.close()

    app = FastAPI(title="foveal", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.desk = desk
    app.add_middleware(Doors, settings=settings, metrics=desk.metrics)
    _report_errors(app)
    _add_operations(app, desk)
    app.include_router(chat_routes(desk))
    app.include_router(scene_routes(desk))
    page = Path(str(files("foveal.serve").joinpath("page")))
    if (page / "index.html").is_file():
        app.mount("/", _Page(directory=page, html=True), name="page")
    return app


class _Page(StaticFiles):
    """The page and what belongs to it, which asks nobody but this server and stands in nobody's frame."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        """A file, to be asked for again each time."""
        response = super().file_response(*args, **named)
        response.headers.update(_PAGE_HEADERS)
        return response


def _report_errors(app: FastAPI) -> None:
    """Every error is OpenAI's object with one sentence."""

    def told(error: BaseException) -> Response:
        status, sentence, headers = status_of(error)
        return JSONResponse(error_object(status, sentence), status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        sentence = f"{place or 'The body'}: {first['msg']}."
        return JSONResponse(error_object(400, sentence[:300], place[:100] or None), 400)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        sentence = f"There is no {request.method} {request.url.path[:100]} here." if error.status_code in (404, 405) else str(error.detail)
        return JSONResponse(error_object(error.status_code, sentence), error.status_code, error.headers)

    @app.exception_handler(GoneError)
    async def gone(*_: Any) -> Response:
        return Response(status_code=499)

    for kind in (ValueError, BusyError, ClosedError, FaultError, LateError, MemoryShortError):

        @app.exception_handler(kind)
        async def known(_: Request, error: Exception) -> Response:
            return told(error)


def _add_operations(app: FastAPI, desk: Desk) -> None:
    @app.get("/health", tags=["operations"], summary="Whether the process lives")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", tags=["operations"], summary="Whether questions are taken", response_model=None)
    async def ready() -> Response:
        if desk.is_closing or not all(engine.is_alive for engine in desk.engines.values()):
            raise ClosedError("The server is ending, or a model's worker has.")
        return JSONResponse({"status": "ready", "models": list(desk.engines)})

    @app.get("/metrics", tags=["operations"], summary="Counters in Prometheus' form", response_class=Response)
    async def metrics() -> Response:
        return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", tags=["operations"], summary="This page", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(manual_page(app.openapi()), headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    @app.get("/v1/models", tags=["models"], summary="The models that are served, and what each can be asked")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name, engine.session) for name, engine in desk.engines.items()]}

    @app.get("/v1/models/{model}", tags=["models"], summary="One of the models")
    async def model(model: str) -> dict[str, Any]:
        engine = desk.engine(model)
        return _model(engine.name, engine.session)


def _model(name: str, session: Session) -> dict[str, Any]:
    verbs = session.verbs
    known = {
        "ask": True,
        "describe": bool(verbs.forms),
        "locate": verbs.location is not None,
        "caption": verbs.caption is not None,
        "caption_detailed": verbs.detailed_caption is not None,
        "caption_grounded": verbs.grounded_caption is not None,
        "detect": verbs.detection is not None,
        "segment": verbs.segmentation is not None,
        "dense": verbs.dense_captions is not None,
    }
    about = {
        "family": verbs.family,
        "verbs": [verb for verb, is_known in known.items() if is_known],
        "forms": list(verbs.forms),
        "every_word": verbs.every_word,
        "turns": verbs.turns,
    }
    return {"id": name, "object": "model", "created": 0, "owned_by": "foveal", "foveal": about}

"""Where requests meet models: scenes are found or looked at, questions handed to the worker of their model, and answers awaited."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from foveal.data.remote import UrlPolicy, read_url
from foveal.grounding import Example, GroundedText
from foveal.serve.batching import BusyError, ClosedError, Engine, LateError, MemoryShortError, Question
from foveal.serve.limits import RefusedError, check_id, read_image
from foveal.serve.metrics import Metrics
from foveal.serve.reading import ImageRef
from foveal.serve.scenes import Kept, SceneStore, Shelf, scene_id
from foveal.serve.settings import ServeSettings
from foveal.session import Answer, Options, Scene, Session

__all__ = ["Desk", "GoneError", "News", "status_of"]

_DECODING = 2
"""How many images are decoded and looked at at once: each takes its pixels' memory."""


class GoneError(Exception):
    """Whoever asked is gone."""


@dataclass(frozen=True)
class News:
    """What is known of a question at one time."""

    number: int
    said: GroundedText
    answer: Answer | None
    error: Exception | None


class Desk:
    """The models of a server, and the scenes that they keep; those on the `shelf` are shared with other servers. Its methods are called in the event
    loop."""

    def __init__(self, settings: ServeSettings, sessions: Mapping[str, Session], shelf: Shelf | None = None) -> None:
        if not sessions:
            raise ValueError("no model is to be served; at least one is wanted.")
        self.settings, self.metrics, self.shelf = settings, Metrics(), shelf
        self.scenes: SceneStore[Scene] = SceneStore(settings.scene_bytes, settings.scene_s, self.metrics)
        self.engines = {name: Engine(name, session, settings, self.metrics) for name, session in sessions.items()}
        self.policy = UrlPolicy(allowed_hosts=settings.url_hosts)
        self.is_closing = False
        self._decoding = asyncio.Semaphore(_DECODING)
        self._looking: dict[str, asyncio.Task[Kept[Scene]]] = {}

    def engine(self, name: str | None) -> Engine:
        """The worker of a model, or of the first; `RefusedError` (404) for a model that is not served."""
        found = next(iter(self.engines.values())) if name is None else self.engines.get(name)
        if found is None:
            raise RefusedError(404, f"The model {(name or '')[:80]!r} is not served; {', '.join(self.engines)} are.")
        return found

    async def close(self) -> None:
        """Ends the workers once they have answered, or time is over."""
        self.is_closing = True
        within = self.settings.drain_s
        await asyncio.gather(*(asyncio.to_thread(engine.close, within) for engine in self.engines.values()))

    # -- images -------------------------------------------------------------------------------------------------------------------

    async def keep(self, engine: Engine, data: bytes) -> Kept[Scene]:
        """The scene of an encoded image, to be asked about by its id, by other servers too where there is a shelf."""
        kept = await self.look(engine, data)
        if self.shelf is not None:
            await self.shelf.put(kept.id, kept.model, data)
        return kept

    async def kept(self, name: str) -> Kept[Scene]:
        """The scene of an id, which stays longer for that; one that another server put on the shelf is looked at here. Errors of `SceneStore.get`."""
        if self.shelf is None:
            return self.scenes.get(name)
        here = self.scenes.find(check_id(name))
        model, data = await self._shared(self.shelf, name, here)
        return here or await self.look(self.engine(model), data or b"")

    async def drop(self, name: str) -> None:
        """Lets a scene go, on the shelf too; errors of `SceneStore.get`."""
        if self.shelf is None:
            self.scenes.drop(name)
            return
        await self._shared(self.shelf, name, self.scenes.find(check_id(name)))
        await self.shelf.drop(name)
        self.scenes.forget(name)

    async def _shared(self, shelf: Shelf, name: str, here: Kept[Scene] | None) -> tuple[str, bytes | None]:
        """What the shelf has of a scene; one that is gone there is gone here, and of one that is here a shelf that began anew need not know."""
        try:
            return await shelf.use(name, known=here is not None)
        except RefusedError as error:
            if here is None or error.status == 410:
                self.scenes.forget(name)
                raise
            return here.model, None

    async def look(self, engine: Engine, data: bytes) -> Kept[Scene]:
        """The scene of an encoded image: the one that is kept, or a new one. Those who want the same at once wait for one look."""
        name = await asyncio.to_thread(scene_id, engine.name, data)
        if (kept := self.scenes.find(name)) is not None:
            self.metrics.looks.labels("yes").inc()
            return kept
        if (task := self._looking.get(name)) is None:
            self.metrics.looks.labels("no").inc()
            task = asyncio.create_task(self._look(engine, name, data))
            self._looking[name] = task
            task.add_done_callback(lambda _: self._looking.pop(name, None))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # one that nobody waits for any more says nothing
        return await asyncio.shield(task)

    async def _look(self, engine: Engine, name: str, data: bytes) -> Kept[Scene]:
        async with self._decoding:
            image = await asyncio.to_thread(read_image, data, self.settings.limits)
            try:
                scene = await asyncio.wrap_future(engine.look(image))
            except MemoryShortError:  # scenes that nobody asks about now are the first to go
                self.scenes.clear()
                scene = await asyncio.wrap_future(engine.look(image))
        return await asyncio.to_thread(self.scenes.put, name, engine.name, scene)

    async def fetch(self, url: str) -> bytes:
        """The bytes behind a data URL, or where it is allowed behind an address; `RefusedError` for any other."""
        try:
            return await asyncio.to_thread(read_url, url, self.policy)
        except ValueError as error:
            raise RefusedError(400, str(error)) from error

    async def scene_of(self, engine: Engine, images: Sequence[ImageRef]) -> Scene:
        """The scene of a request's images, all together; `RefusedError` without any, and for a scene of another model's."""
        if not images:
            raise RefusedError(400, "The messages show no image; an image_url or a scene among the parts of the user's message is wanted.")
        scenes = []
        for image in images:
            if image.scene is not None:
                kept = await self.kept(image.scene)
                if kept.model != engine.name:
                    raise RefusedError(400, f"The scene {kept.id} was looked at by {kept.model}, and {engine.name} is asked about it.")
                self.metrics.looks.labels("yes").inc()
            else:
                kept = await self.look(engine, await self.fetch(image.url or ""))
            scenes.append(kept.scene)
        return engine.session.together(scenes)

    # -- questions ----------------------------------------------------------------------------------------------------------------

    async def answers(
        self, request: Request, engine: Engine, scene: Scene, examples: Sequence[Example], options: Sequence[Options]
    ) -> list[Question]:
        """Questions with their answers, or what came in their place, once all are there; `GoneError` where nobody waits any more."""
        questions, news = self._ask(engine, scene, examples, options, streamed=False)

        async def all_over() -> None:
            for _ in questions:
                await news.get()

        waits = [asyncio.create_task(all_over()), asyncio.create_task(_gone(request))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not waits[0].done():
                raise GoneError
        finally:
            for wait in waits:
                wait.cancel()
            engine.leave([question for question in questions if not question.is_over])
        return questions

    async def stream(
        self, engine: Engine, scene: Scene, examples: Sequence[Example], options: Sequence[Options], questions: list[Question]
    ) -> AsyncIterator[News]:
        """News of questions as they come, the last of each with its answer or error; they are put into `questions`. Leaving early lets them go."""
        asked, news = self._ask(engine, scene, examples, options, streamed=True)
        questions += asked
        left = len(asked)
        try:
            while left:
                one = await news.get()
                left -= one.answer is not None or one.error is not None
                yield one
        finally:
            engine.leave([question for question in asked if not question.is_over])

    def _ask(
        self, engine: Engine, scene: Scene, examples: Sequence[Example], options: Sequence[Options], *, streamed: bool
    ) -> tuple[list[Question], "asyncio.Queue[News]"]:
        loop, news = asyncio.get_running_loop(), asyncio.Queue[News]()
        numbers: dict[Question, int] = {}

        def tell(question: Question) -> None:
            with suppress(RuntimeError):  # the loop may have ended before the worker
                loop.call_soon_threadsafe(news.put_nowait, News(numbers[question], question.said, question.answer, question.error))

        questions = [
            Question(scene=scene, example=example, options=one, tell=tell, streamed=streamed) for example, one in zip(examples, options, strict=True)
        ]
        numbers.update((question, number) for number, question in enumerate(questions))
        engine.ask(questions)
        return questions, news


def status_of(error: BaseException) -> tuple[int, str, dict[str, str]]:
    """The HTTP status of an error, its sentence and headers; what is a fault of ours is called so, and no more is said."""
    match error:
        case RefusedError():
            return error.status, str(error), {}
        case BusyError():
            return 429, str(error), {"Retry-After": str(error.after)}
        case ClosedError() | MemoryShortError():
            return 503, str(error), {"Retry-After": "10"}
        case LateError():
            return 504, str(error), {}
        case ValueError():
            return 400, str(error), {}
        case _:
            return 500, "This is a fault of the server's, not of what was asked.", {}


async def _gone(request: Request) -> Any:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""OpenAI's chat completions: one question about images, answered whole or while it is written."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from foveal.grounding import GroundedText
from foveal.serve.batching import Question
from foveal.serve.desk import Desk, News, status_of
from foveal.serve.doors import error_object
from foveal.serve.limits import RefusedError, check_count
from foveal.serve.protocol import ChatBody
from foveal.serve.reading import ImageRef, images_of, turns_of
from foveal.serve.settings import ServeSettings
from foveal.serve.telling import chat_chunk, chat_object, finish_of, grounding_of, logprobs_of, pieces_of, sizes_of, usage_of
from foveal.session import Options

__all__ = ["chat_routes", "noted", "options_of"]


def chat_routes(desk: Desk) -> APIRouter:
    """The route of chat completions."""
    router = APIRouter(tags=["chat"])

    @router.post("/v1/chat/completions", summary="Ask about images in words and regions", response_model=None)
    async def complete(body: ChatBody, request: Request) -> JSONResponse | StreamingResponse:
        """OpenAI's chat completions; a message holds `grounding`, the places of its words, beside `content`."""
        _refuse_other_kinds(body)
        images = images_of(body.messages, desk.settings.limits)
        model = body.model
        engine = desk.engine(await _model_of(desk, images) if model is None else model)
        scene = await desk.scene_of(engine, images)
        sizes = [(picture.width, picture.height) for picture in (scene.picture, *scene.others)]
        turns = await asyncio.to_thread(turns_of, body.messages, sizes, desk.settings.limits)  # polygons are drawn
        example = scene.example(turns)
        options = options_of(body, desk.settings, body.max_completion_tokens or body.max_tokens)
        count = body.n or 1
        check_count("answers (n)", count, desk.settings.most_choices)
        each = [replace(options, seed=(options.seed + number) % 2**64) for number in range(count)]
        name = f"chatcmpl-{uuid.uuid4().hex[:24]}"
        if not body.stream:
            questions = await desk.answers(request, engine, scene, [example] * count, each)
            for question in questions:
                if question.error is not None:
                    raise question.error
            noted(request, engine.name, questions)
            return JSONResponse(chat_object(name, engine.name, questions, logprobs=bool(body.logprobs)))
        questions = []
        news = desk.stream(engine, scene, [example] * count, each, questions)
        first = await anext(news)
        if first.error is not None:
            await news.aclose()  # type: ignore[attr-defined]
            raise first.error
        chunks = _Chunks(name, engine.name, questions, body, every_word=engine.session.verbs.every_word)
        return StreamingResponse(chunks.lines(first, news, request), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return router


class _Chunks:
    """The pieces of a stream, as server-sent events."""

    def __init__(self, name: str, model: str, questions: list[Question], body: ChatBody, *, every_word: bool) -> None:
        self.name, self.model, self.questions, self.every_word = name, model, questions, every_word
        self.logprobs = bool(body.logprobs)
        self.usage = bool(body.stream_options and body.stream_options.include_usage)
        self.said = [GroundedText("")] * len(questions)
        self.told = [0] * len(questions)

    async def lines(self, first: News, news: AsyncIterator[News], request: Request) -> AsyncIterator[str]:
        """All of the stream; where something goes wrong on the way, an error is its last piece."""
        try:
            for number in range(len(self.questions)):
                yield self._line(chat_chunk(self.name, self.model, number, {"role": "assistant", "content": ""}))
            one: News | None = first
            while one is not None:
                if one.error is not None:
                    status, sentence, _ = status_of(one.error)
                    yield _event(error_object(status, sentence))
                    return
                for piece in self._pieces(one):
                    yield self._line(piece)
                one = await anext(news, None)
            if self.usage:
                yield self._line(chat_chunk(self.name, self.model, 0, {}) | {"choices": [], "usage": usage_of(self.questions)})
            yield "data: [DONE]\n\n"
        finally:
            await news.aclose()  # type: ignore[attr-defined]
            noted(request, self.model, self.questions)

    def _pieces(self, one: News) -> list[dict[str, Any]]:
        number, question = one.number, self.questions[one.number]
        said = one.said if one.answer is None else one.answer.said
        sizes, pieces = sizes_of(question), []
        for words, spans in pieces_of(self.said[number], said, every_word=self.every_word):
            delta: dict[str, Any] = {"content": words} | ({"grounding": grounding_of(said, sizes, spans)} if spans else {})
            pieces.append(chat_chunk(self.name, self.model, number, delta))
        self.said[number] = said
        if one.answer is not None:
            finish = {"stop_reason": one.answer.finish_reason}
            pieces.append(chat_chunk(self.name, self.model, number, {}, finish_of(one.answer.finish_reason), **finish))
        if self.logprobs and pieces and question.row is not None:
            some = logprobs_of(question, self.told[number])
            self.told[number] += len(some)
            pieces[0]["choices"][0]["logprobs"] = {"content": some, "refusal": None}
        return pieces

    def _line(self, chunk: dict[str, Any]) -> str:
        return _event(chunk | ({"usage": None} if self.usage and "usage" not in chunk else {}))


def options_of(body: Any, settings: ServeSettings, most: int | None) -> Options:
    """How a request wants its answers; `RefusedError` for more than the server gives."""
    longest = min(Options().max_new_tokens, settings.most_tokens) if most is None else most
    if longest > settings.most_tokens:
        raise RefusedError(400, f"max_tokens is {longest:,}; at most {settings.most_tokens:,} are written.")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    check_count("texts to stop at", len(stops), 16)
    if any(not 0 < len(stop) <= 256 for stop in stops):
        raise RefusedError(400, "A text to stop at is empty or longer than 256 characters.")
    return Options(max_new_tokens=longest, temperature=body.temperature or 0.0, seed=(body.seed or 0) % 2**64, stop=tuple(stops))


def noted(request: Request, model: str, questions: list[Question]) -> None:
    """What the log says of a request: how much was asked and answered, not what."""
    told: Mapping[str, object] = {"model": model, "questions": len(questions), **usage_of(questions)}
    request.scope.setdefault("state", {})["noted"] = told


def _event(said: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(said, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _model_of(desk: Desk, images: list[ImageRef]) -> str | None:
    """The model that looked at the scene, where a request names a scene and no model."""
    named = next((image.scene for image in images if image.scene is not None), None)
    return None if named is None else (await desk.kept(named)).model


def _refuse_other_kinds(body: ChatBody) -> None:
    """RefusedError for what asks for another kind of answer than is given."""
    asked = {
        "tools": body.tools,
        "functions": body.functions,
        "logit_bias": body.logit_bias,
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "top_logprobs": body.top_logprobs,
        "top_p": body.top_p is not None and body.top_p != 1 and bool(body.temperature),
        "response_format": body.response_format is not None and body.response_format.get("type", "text") != "text",
    }
    if wrong := [name for name, value in asked.items() if value]:
        raise RefusedError(400, f"{' and '.join(wrong)} cannot be asked for; answers are words tied to places, drawn by temperature alone.")

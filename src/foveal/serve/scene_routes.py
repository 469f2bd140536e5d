"""Scenes: an image is looked at once, and then asked about as often as wanted, many questions in one call."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from foveal.grounding import GroundedText, Turn
from foveal.grounding.wordings import Verbs
from foveal.serve.chat import noted, options_of
from foveal.serve.desk import Desk
from foveal.serve.limits import RefusedError, check_count, check_regions, plain_text, region_from_json
from foveal.serve.protocol import AskBody, CaptionBody, DescribeBody, PhrasesBody, SceneBody, SceneQuestion
from foveal.serve.reading import check_parts, question_of
from foveal.serve.scenes import Kept
from foveal.serve.telling import answer_object, usage_of
from foveal.session import Scene

__all__ = ["scene_routes"]

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SceneBody.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}, "model": {"type": "string"}},
                    "required": ["file"],
                }
            },
        },
    }
}


def scene_routes(desk: Desk) -> APIRouter:
    """The routes of scenes."""
    router = APIRouter(tags=["scenes"])

    @router.post("/v1/scenes", summary="Look at an image", openapi_extra=_UPLOAD)
    async def look(request: Request) -> dict[str, Any]:
        """Looks at an image once; the same image of the same model is the same scene."""
        data, model = await _image(desk, request)
        return _scene(await desk.keep(desk.engine(model), data))

    @router.get("/v1/scenes/{scene}", summary="What is kept of an image")
    async def get(scene: str) -> dict[str, Any]:
        return _scene(await desk.kept(scene))

    @router.delete("/v1/scenes/{scene}", summary="Let a scene go")
    async def delete(scene: str) -> dict[str, Any]:
        await desk.drop(scene)
        return {"id": scene, "deleted": True}

    @router.post("/v1/scenes/{scene}/ask", summary="Ask in words and regions")
    async def ask(scene: str, body: AskBody, request: Request) -> dict[str, Any]:
        """One question (`content`), or many (`questions`)."""
        if (body.content is None) == (body.questions is None):
            raise RefusedError(400, "Give either content, one question, or questions, a list of them.")
        kept, limits = await desk.kept(scene), desk.settings.limits
        asked = [body.content] if body.questions is None else body.questions
        check_count("questions", len(asked), limits.regions)
        check_parts(asked, limits)
        questions = await asyncio.to_thread(lambda: [question_of(one, [kept.scene.size], limits) for one in asked])
        return await _answers(desk, request, kept, body, questions)

    @router.post("/v1/scenes/{scene}/describe", summary="What regions show")
    async def describe(scene: str, body: DescribeBody, request: Request) -> dict[str, Any]:
        kept, limits = await desk.kept(scene), desk.settings.limits
        check_regions(body.regions, limits)
        regions = await asyncio.to_thread(lambda: [region_from_json(region, [kept.scene.size], limits) for region in body.regions])
        return await _answers(desk, request, kept, body, [_verbs(desk, kept).name(region) for region in regions])

    _add_verbs(router, desk)
    return router


def _add_verbs(router: APIRouter, desk: Desk) -> None:
    """The verbs that need no more than a phrase."""

    @router.post("/v1/scenes/{scene}/locate", summary="Where what a phrase names is")
    async def locate(scene: str, body: PhrasesBody, request: Request) -> dict[str, Any]:
        kept = await desk.kept(scene)
        return await _answers(desk, request, kept, body, _phrases(desk, kept, "location", body.phrases))

    @router.post("/v1/scenes/{scene}/segment", summary="The outline of what a phrase names")
    async def segment(scene: str, body: PhrasesBody, request: Request) -> dict[str, Any]:
        kept = await desk.kept(scene)
        return await _answers(desk, request, kept, body, _phrases(desk, kept, "segmentation", body.phrases))

    @router.post("/v1/scenes/{scene}/caption", summary="What the image shows")
    async def caption(scene: str, body: CaptionBody, request: Request) -> dict[str, Any]:
        kept = await desk.kept(scene)
        asked = _verbs(desk, kept).captioned(detailed=bool(body.detailed), grounded=bool(body.grounded))
        return await _answers(desk, request, kept, body, [asked])

    @router.post("/v1/scenes/{scene}/detect", summary="All things with their boxes")
    async def detect(scene: str, body: SceneQuestion, request: Request) -> dict[str, Any]:
        kept = await desk.kept(scene)
        return await _answers(desk, request, kept, body, [_verbs(desk, kept).of("detection")])

    @router.post("/v1/scenes/{scene}/dense", summary="All things with their boxes, each in words of its own")
    async def dense(scene: str, body: SceneQuestion, request: Request) -> dict[str, Any]:
        kept = await desk.kept(scene)
        return await _answers(desk, request, kept, body, [_verbs(desk, kept).of("dense_captions")])


async def _answers(desk: Desk, request: Request, kept: Kept[Scene], body: Any, questions: Sequence[GroundedText]) -> dict[str, Any]:
    """Answers to questions about a scene; of many, those that cannot be asked say so, and the others are answered."""
    engine = desk.engine(kept.model)
    if body.model is not None and desk.engine(body.model) is not engine:
        raise RefusedError(400, f"The scene {kept.id} was looked at by {kept.model}, and {body.model} is asked about it.")
    options = options_of(body, desk.settings, body.max_tokens)
    examples = [kept.scene.example((Turn("user", question),)) for question in questions]
    found = await desk.answers(request, engine, kept.scene, examples, [options] * len(examples))
    for question in found:
        if question.error is not None and (len(found) == 1 or not isinstance(question.error, ValueError)):
            raise question.error
    noted(request, engine.name, found)
    return {"model": engine.name, "answers": [answer_object(question) for question in found], "usage": usage_of(found)}


def _verbs(desk: Desk, kept: Kept[Scene]) -> Verbs:
    return desk.engine(kept.model).session.verbs


def _scene(kept: Kept[Scene]) -> dict[str, Any]:
    width, height = kept.scene.size
    return {
        "id": kept.id,
        "object": "scene",
        "width": width,
        "height": height,
        "model": kept.model,
        "bytes": kept.bytes,
        "expires": int(kept.expires),
    }


def _phrases(desk: Desk, kept: Kept[Scene], verb: str, phrases: Sequence[str]) -> list[GroundedText]:
    """The verb's questions about phrases."""
    limits, verbs = desk.settings.limits, _verbs(desk, kept)
    check_count("phrases", len(phrases), limits.regions)
    words = [plain_text(phrase, limits, name="A phrase").strip() for phrase in phrases]
    if not all(words):
        raise RefusedError(400, "A phrase is empty; words are wanted.")
    return [verbs.of(verb, phrase) for phrase in words]


async def _image(desk: Desk, request: Request) -> tuple[bytes, str | None]:
    """The encoded image of a request, uploaded or behind a URL, and the model that is to look."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            file, model = form.get("file"), form.get("model")
            if not isinstance(file, UploadFile):
                raise RefusedError(400, "The form has no file; an image file named file is wanted.")
            return await file.read(), model if isinstance(model, str) else None
    try:
        body = SceneBody.model_validate(await request.json())
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    except ValueError as error:
        raise RefusedError(400, "There is no body; an image is wanted.") from error
    return await desk.fetch(body.image), body.model

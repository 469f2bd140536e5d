"""What requests say, as OpenAI's chat completions do, with regions as parts of a message, and what is asked of scenes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AskBody", "CaptionBody", "ChatBody", "DescribeBody", "Message", "PhrasesBody", "SceneBody", "SceneQuestion", "StreamOptions"]

_Parts = str | list[dict[str, Any]]
_PARTS = (
    'Words, or parts: {"type": "text", "text": …}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}, {"type": "scene", "id": …}'
    ' in place of an image, and {"type": "region", "image": 0, "box": [x0, y0, x1, y1]} where the words speak of it; a region is one of box, point,'
    " polygon, scribble (fractions of the image, or with _px in its pixels) and mask (a COCO run-length record)."
)
_EXAMPLE: dict[str, Any] = {
    "model": "ferret-v2-nano",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}},
                {"type": "text", "text": "What is "},
                {"type": "region", "box": [0.17, 0.47, 0.3, 0.65]},
                {"type": "text", "text": "?"},
            ],
        }
    ],
}


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[_Parts | None, Field(description=_PARTS)] = None
    grounding: Annotated[list[dict[str, Any]] | None, Field(description="Of the model's own message, as it was given: the places of its words.")] = (
        None
    )


class StreamOptions(BaseModel):
    """What a stream tells beside the answer."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool | None = False


class _Drawing(BaseModel):
    """How answers are generated."""

    model_config = ConfigDict(extra="ignore")
    model: Annotated[str | None, Field(description="One of /v1/models; without it, the first.")] = None
    max_tokens: Annotated[int | None, Field(ge=1, description="The longest answer, in tokens.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="0, unless given: the likeliest words, always the same.")] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | list[str] | None = None


class ChatBody(_Drawing):
    """OpenAI's chat completions. Of what is not here, what asks for another kind of answer is refused, and the rest is not looked at."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [_EXAMPLE]})
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    n: Annotated[int | None, Field(ge=1)] = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    logprobs: Annotated[bool | None, Field(description="The log-probability of each token that was said, places included.")] = False
    top_logprobs: int | None = None
    top_p: float | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None


class SceneBody(BaseModel):
    """An image to be looked at."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"image": "data:image/png;base64,…"}]})
    image: Annotated[str, Field(description="A data URL; another URL where the server fetches from its host.")]
    model: str | None = None


class SceneQuestion(_Drawing):
    """A question that a verb asks of a scene."""


class AskBody(_Drawing):
    """Questions in words and regions: one, or many, which are answered together."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"content": "What is in the picture?"}]})
    content: Annotated[_Parts | None, Field(description=_PARTS)] = None
    questions: Annotated[list[_Parts] | None, Field(min_length=1)] = None


class DescribeBody(_Drawing):
    """Regions to be described, each by itself."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"regions": [{"box": [0.1, 0.2, 0.3, 0.4]}]}]})
    regions: Annotated[list[dict[str, Any]], Field(min_length=1)]


class PhrasesBody(_Drawing):
    """Phrases to be located or outlined, each by itself."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"phrases": ["the ship"]}]})
    phrases: Annotated[list[str], Field(min_length=1)]


class CaptionBody(_Drawing):
    """A caption: at length, or with the places of what is mentioned."""

    detailed: bool | None = False
    grounded: bool | None = False

"""From what a request says to what a session is asked: images, words and regions, each through its limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foveal.geometry import Region
from foveal.grounding import GroundedText, Span, Turn
from foveal.serve.limits import Limits, RefusedError, check_count, check_id, check_regions, plain_text, region_from_json
from foveal.serve.protocol import Message

__all__ = ["ImageRef", "check_parts", "images_of", "question_of", "turns_of"]

_KINDS = ("mask", "point", "polygon", "scribble", "box")


@dataclass(frozen=True)
class ImageRef:
    """An image of a request: a `scene` by its id, or a `url`."""

    scene: str | None = None
    url: str | None = None


def images_of(messages: Sequence[Message], limits: Limits) -> list[ImageRef]:
    """The images of a conversation, in the order in which it shows them."""
    found = []
    for message in messages:
        for part in message.content if isinstance(message.content, list) else []:
            kind = part.get("type")
            if kind in ("image_url", "scene") and message.role != "user":
                raise RefusedError(400, f"A message of the {message.role}'s shows an image; only the user's do.")
            if kind == "image_url":
                found.append(ImageRef(url=_url(part)))
            elif kind == "scene":
                found.append(ImageRef(scene=check_id(plain_text(part.get("id"), limits, name="The id of a scene"))))
    check_count("images", len(found), limits.images)
    return found


def turns_of(messages: Sequence[Message], sizes: Sequence[tuple[int, int]], limits: Limits) -> list[Turn]:
    """The turns of a conversation about images of these sizes; `RefusedError` where it does not end with a question.

    What the system says stands before the first question: the models have their own words in the system's place. Messages of one role that follow
    each other are one.
    """
    check_parts([message.content for message in messages], limits, [entry for message in messages for entry in message.grounding or []])
    turns: list[Turn] = []
    before: list[str] = []
    for message in messages:
        if message.role in ("system", "developer"):
            before.append(question_of(message.content, [], limits).text)
            continue
        said = question_of(message.content, sizes, limits)
        if message.role == "assistant":
            said = _grounded(said.text, message.grounding, sizes, limits)
        elif before:
            said, before = GroundedText.join("\n".join(before), "\n", said), []
        if turns and turns[-1].role == message.role:
            said = GroundedText.join(turns.pop().said, "\n", said)
        turns.append(Turn("assistant" if message.role == "assistant" else "user", said))
    if not turns or turns[0].role != "user" or turns[-1].role != "user":
        raise RefusedError(400, "The messages begin and end with the user's; the last one is the question.")
    return turns


def check_parts(contents: Iterable[Any], limits: Limits, grounding: Iterable[Mapping[str, Any]] = ()) -> None:
    """`RefusedError` where the regions of all messages, and those of their `grounding`, are too many or too large; to be asked before any is made."""
    parts = [part for content in contents if isinstance(content, list) for part in content if part.get("type") == "region"]
    told = [entry["regions"] for entry in grounding if isinstance(entry.get("regions"), list)]
    check_regions([*parts, *(region for regions in told for region in regions)], limits)


def question_of(content: str | Sequence[Mapping[str, Any]] | None, sizes: Sequence[tuple[int, int]], limits: Limits) -> GroundedText:
    """Words and regions of a message; texts that follow each other are lines of their own."""
    if content is None or isinstance(content, str):
        return GroundedText(plain_text(content or "", limits))
    parts: list[str | Region] = []
    check_count("parts", len(content), 4 * limits.regions)
    for part in content:
        match part.get("type"):
            case "text":
                if parts and isinstance(parts[-1], str):
                    parts.append("\n")
                parts.append(plain_text(part.get("text"), limits))
            case "region":
                parts.append(region_from_json(part, sizes, limits))
            case "image_url" | "scene":
                continue
            case kind:
                raise RefusedError(400, f"A part is of the type {str(kind)[:40]!r}; text, image_url, scene and region are known.")
    said = GroundedText.join(*parts)
    plain_text(said.text, limits)
    return said


def _grounded(text: str, grounding: Sequence[Mapping[str, Any]] | None, sizes: Sequence[tuple[int, int]], limits: Limits) -> GroundedText:
    """What the model said before, with the places it had then."""
    spans = []
    for entry in grounding or []:
        start, end, regions = entry.get("start"), entry.get("end"), entry.get("regions")
        if not isinstance(start, int) or not isinstance(end, int) or not isinstance(regions, list) or not 0 <= start <= end <= len(text):
            raise RefusedError(400, "An entry of grounding has a start and an end within its message's text, and a list of regions.")
        spans.append(Span(start, end, tuple(region_from_json(_one_kind(region), sizes, limits) for region in regions)))
    return GroundedText(text, tuple(sorted(spans, key=lambda span: span.start)))


def _one_kind(region: Any) -> Any:
    """A region as the server says it has its box beside it; one of them is what is meant."""
    if not isinstance(region, Mapping):
        return region
    kind = next((kind for kind in _KINDS if kind in region), None)
    return region if kind is None else {name: region[name] for name in (kind, "image") if name in region}


def _url(part: Mapping[str, Any]) -> str:
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        raise RefusedError(400, 'An image_url part has no URL; {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}} is wanted.')
    return url

"""Conversations about pictures as they are written for instruction tuning: LLaVA's lists, Qwen-VL's and Monkey's, and ms-swift's lines with boxes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

from foveal.data.notes import box_in, pictures_in
from foveal.data.reading import LOG, Report, array_of, made_of, object_of, some_of, text_lines
from foveal.geometry import Box, Frame, Point
from foveal.grounding import Example, GroundedText, Picture, Span, Turn
from foveal.grounding.formats.tags import TagFormat
from foveal.grounding.wordings.monkey import cue_for

__all__ = ["llava_conversations", "qwen_conversations", "swift_objects"]

_Path = str | PathLike[str]
_Record = Mapping[str, Any]

_NONE = "no conversation of {} can be used; it wants {}"
_ROLES: Mapping[str, Literal["user", "assistant"]] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_IMAGE = "<image>"
_PICTURE = re.compile(r"(?:Picture \d{1,6}: ?)?<img>([^<]{1,4096})</img>")
_CUE = cue_for("").rstrip()
_SLOT = re.compile(r"(<ref-object>|<bbox>)")
_WHOLE = Frame.stretch((1000, 1000))  # the tags count in thousandths of any image


def llava_conversations(path: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each item of a list in LLaVA's form (`llava_instruct_150k.json`, `llava_v1_5_mix665k.json`, ShareGPT4V's …).

    The conversation is its turns, without the mark `<image>`: the pictures (`image` may list several) come before the first question. An
    item about no picture has none. Items of one picture share an id there, so an example is called by its item's id and its place in the
    file. Pictures are looked for in the folder `images`, as `file_within` does. An item whose turns do not alternate is passed over.
    """

    def example(item: tuple[int, Any]) -> Example:
        place, record = item[0], _object(item[1])
        names = _image_names(record, "image", "images")
        entries = _without_marks(_entries(record, "conversations", "from", "value"), len(names))
        turns = _alternating((role, GroundedText(value)) for role, value in entries)
        return Example(_called(record, place), _pictures(names, images), turns, licence=licence)

    return some_of(made_of(_numbered(array_of(path)), example, report), _NONE.format(path, "a list of items with conversations [{from, value}, …]"))


def qwen_conversations(path: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each item of a list in the form that Qwen-VL and Monkey are trained on.

    A picture is named in the words (`<img>path</img>`), and is looked for in the folder `images` by the end of its path. Places are read
    from `<ref>` and `<box>`, in thousandths of the one picture; where several pictures are shown, nobody knows whose they are, and the item
    is passed over. A question loses its cue " Answer: ", which the processor writes.
    """

    def example(item: tuple[int, Any]) -> Example:
        place, record = item[0], _object(item[1])
        names, spoken = list[str](), list[tuple[str, GroundedText]]()
        for role, value in _entries(record, "conversations", "from", "value"):
            names += [name.strip() for name in _PICTURE.findall(value)]
            words = _PICTURE.sub("", value).strip()
            spoken.append((role, TagFormat().decode(_without_cue(words) if _ROLES.get(role) == "user" else words, _WHOLE)))
        if len(names) > 1 and any(said.regions for _, said in spoken):
            raise ValueError(f"it has places and {len(names)} pictures, and nothing says in which picture they are")
        return Example(_called(record, place), _pictures(names, images), _alternating(spoken), licence=licence)

    return some_of(made_of(_numbered(array_of(path)), example, report), _NONE.format(path, "a list of items with conversations [{from, value}, …]"))


def swift_objects(path: _Path, *, images: _Path | None = None, licence: str = "", report: Report = LOG.warning) -> Iterator[Example]:
    """An example for each line of a file in ms-swift's form: `messages`, `images`, and `objects` for `<ref-object>` and `<bbox>`.

    Boxes that follow their `<ref-object>` belong to its words, others stand where they are said; two numbers are a point. They are pixels
    of the picture (`bbox_type` "real", so `images` must be given) or fractions ("norm1"). What the system says is the fact "system".
    """

    def example(item: tuple[int, str]) -> Example:
        place, record = item[0], object_of(item[1])
        if other := [kind for kind in ("videos", "audios") if record.get(kind)]:
            raise ValueError(f"it has {other[0]}; only pictures are read")
        names = _image_names(record, "images")
        pictures = _pictures(names, images)
        messages = _entries(record, "messages", "role", "content")
        system = [content for role, content in messages if role == "system"]
        entries = _without_marks([entry for entry in messages if entry[0] != "system"], len(names))
        said = _filled([value for _, value in entries], _object(record.get("objects") or {}), pictures)
        turns = _alternating((role, text) for (role, _), text in zip(entries, said, strict=True))
        return Example(str(record.get("id", place)), pictures, turns, licence=licence, facts={"system": system[0]} if system else {})

    return some_of(made_of(_numbered(text_lines(path)), example, report), _NONE.format(path, "JSON lines with messages [{role, content}, …]"))


def _numbered(records: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, tuple[int, Any]]]:
    return ((name, (place, record)) for place, (name, record) in enumerate(records))


def _called(record: _Record, place: int) -> str:
    return f"{record['id']}/{place}" if "id" in record else str(place)


def _object(record: Any) -> _Record:
    if not isinstance(record, dict):
        raise ValueError(f"it holds a {type(record).__name__}; it wants an object")
    return record


def _entries(record: _Record, field: str, who: str, what: str) -> list[tuple[str, str]]:
    """Who says what."""
    entries = [(_object(entry)[who], entry[what]) for entry in record[field]]
    if not all(isinstance(part, str) for entry in entries for part in entry):
        raise ValueError(f"an entry of its {field} whose {who} or {what} is no text")
    return entries


def _role(name: str) -> Literal["user", "assistant"]:
    if name not in _ROLES:
        raise ValueError(f"{name!r} speaks; only {', '.join(_ROLES)} are known")
    return _ROLES[name]


def _alternating(spoken: Iterable[tuple[str, GroundedText]]) -> tuple[Turn, ...]:
    """The turns; ValueError where they do not go question, answer, question …, or one is empty."""
    turns = tuple(Turn(_role(name), said) for name, said in spoken)
    if not turns or any(turn.role != ("user", "assistant")[place % 2] for place, turn in enumerate(turns)):
        raise ValueError(f"its turns are by {[turn.role for turn in turns]}; user and assistant must alternate, the user first")
    if any(not turn.said.text.strip() and not turn.said.regions for turn in turns):
        raise ValueError("one of its turns is empty")
    return turns


def _image_names(record: _Record, *fields: str) -> list[str]:
    if "video" in record:
        raise ValueError("it is about a video; only pictures are read")
    given: Any = next((record[field] for field in fields if record.get(field)), [])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its {fields[0]} is {given!r}; it wants a name or a list of names")
    return names


def _pictures(names: Sequence[str], images: _Path | None) -> tuple[Picture, ...]:
    """The pictures; of a whole path or an address, what counts is how it ends."""
    return tuple(picture for name in names for picture in pictures_in(images, name.lstrip("/")))


def _without_marks(entries: Sequence[tuple[str, str]], pictures: int) -> list[tuple[str, str]]:
    """What is said, without the marks of the pictures. Where there are none, `<image>` is a word like any other."""
    if (marks := sum(value.count(_IMAGE) for _, value in entries)) > pictures > 0:
        raise ValueError(f"it has {marks} marks {_IMAGE} for {pictures} pictures")
    return [(name, value.replace(_IMAGE, "").strip() if pictures and _IMAGE in value else value) for name, value in entries]


def _without_cue(question: str) -> str:
    """The question without its cue, where the processor would write the same cue again."""
    bare = question.removesuffix(_CUE).rstrip()
    return bare if bare and cue_for(bare).rstrip() == _CUE else question


def _filled(values: Sequence[str], objects: _Record, pictures: Sequence[Picture]) -> list[GroundedText]:
    """The texts with their words and places; ValueError where there are more or fewer slots than things to fill them with."""
    words, boxes = objects.get("ref") or [], objects.get("bbox") or []
    for slot, given in (("<ref-object>", words), ("<bbox>", boxes)):
        if (slots := sum(value.count(slot) for value in values)) != len(given):
            raise ValueError(f"it has {slots} marks {slot} for {len(given)} objects")
    owners = objects.get("image_id") or [0] * len(boxes)
    places = iter([_place(box, owner, objects.get("bbox_type", "real"), pictures) for box, owner in zip(boxes, owners, strict=True)])
    names = iter(words)
    return [_filled_text(_SLOT.split(value), names, places) for value in values]


def _filled_text(pieces: Sequence[str], names: Iterator[str], places: Iterator[Box | Point]) -> GroundedText:
    text, spans, open_span = "", list[Span](), False
    for piece in pieces:
        if piece == "<bbox>":
            span = spans.pop() if open_span else Span(len(text), len(text))
            spans.append(replace(span, regions=(*span.regions, next(places))))
            open_span = True
        elif piece:
            words = next(names) if piece == "<ref-object>" else piece
            open_span = piece == "<ref-object>"
            spans += [Span(len(text), len(text) + len(words))] if open_span else []
            text += words
    return GroundedText(text, tuple(span for span in spans if span.regions))


def _place(numbers: Any, owner: int, kind: str, pictures: Sequence[Picture]) -> Box | Point:
    if kind == "norm1":
        size = (1, 1)
    elif kind != "real":
        raise ValueError(f"its bbox_type is {kind!r}; 'real' and 'norm1' are known")
    elif not 0 <= owner < len(pictures):
        raise ValueError(f"it has a box in pixels of picture {owner}, and {len(pictures)} pictures are there to measure")
    else:
        size = (pictures[owner].width, pictures[owner].height)
    if len(numbers) == 2:
        x, y = (min(max(value / side, 0.0), 1.0) for value, side in zip(numbers, size, strict=True))
        return Point(x, y, owner)
    return replace(box_in(numbers, size), image=owner)

"""Qwen-VL's lists: pictures, words, and words with their boxes, one after the other, as one string, as an example, and back."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from foveal.geometry import Frame, Region
from foveal.grounding.example import Example, Picture, Turn
from foveal.grounding.formats import TagFormat
from foveal.grounding.text import GroundedText, Span
from foveal.grounding.wordings.monkey import image_opening

__all__ = ["elements_to_example", "example_to_elements", "join_elements", "split_elements"]

_OPENING = re.compile(r"<(img|ref|box|quad)>")
_CONTROL = re.compile(r"<\|(?:im_start|im_end|extra_\d{1,3})\|>")
_LABEL = re.compile(r"\n?Picture \d+:")
_NUMBER = re.compile(r"\d{1,9}")
_CORNERS = {"box": 2, "quad": 4}


def join_elements(elements: Iterable[Mapping[str, Any]]) -> str:
    """The string of a list. An element is one of

    - `{"image": n}`, the picture number n, from 1 on: the string holds its number, never where it lies;
    - `{"text": words}`;
    - `{"ref": words, "box": [(x0, y0, x1, y1), …], "quad": [(x0, y0, …, x3, y3), …]}`, any of the three, in whole thousandths of the image.

    ValueError for any other.

    >>> join_elements([{"image": 1}, {"text": "Where is "}, {"ref": "the dog", "box": [(10, 20, 300, 400)]}, {"text": "?"}])
    'Picture 1:<img>1</img>\\nWhere is <ref>the dog</ref><box>(10,20),(300,400)</box>?'
    """
    text, count = "", 0
    for element in elements:
        match element:
            case {"image": int(number), **other} if not other and number > 0 and not isinstance(number, bool):
                count += 1
                text += image_opening("chatml", count, str(number))
            case {"text": str(words), **other} if not other:
                text += words
            case {**places} if places and set(places) <= {"ref", "box", "quad"} and _well_formed(places):
                text += f"<ref>{places['ref']}</ref>" if "ref" in places else ""
                text += "".join(_spelled(kind, numbers, element) for kind in ("box", "quad") for numbers in places.get(kind, ()))
            case _:
                raise ValueError(f"{element!r} is no element of a list; a picture's number, a text, or a ref and lists of box and quad is wanted.")
    return text


def split_elements(text: str) -> list[dict[str, Any]]:
    """What stands in a string, in order: words, pictures by their number, and each ref, box and quad as an element of its own.

    A tag that does not close stays text, and so does a box or a quad that holds something else; the text is composed (NFC) as the tokenizer
    does it. ValueError for a control token of a conversation, and for a picture that is no number.

    >>> split_elements("a <ref>dog</ref><box>(10,20),(300,400)</box>")
    [{'text': 'a '}, {'ref': 'dog'}, {'box': [(10, 20, 300, 400)]}]
    """
    text = unicodedata.normalize("NFC", text)
    if found := _CONTROL.search(text):
        raise ValueError(f"{found[0]} stands in a list; pictures, words, ref, box and quad are what it can hold.")
    elements: list[dict[str, Any]] = []
    written = 0
    for start, end, tag, inner in _pairs(text):
        if (element := _element(tag, inner)) is not None:
            elements += [{"text": text[written:start]}] * (written < start) + [element]
            written = end
    return elements + [{"text": text[written:]}] * (written < len(text))


def elements_to_example(id: str, elements: Iterable[Mapping[str, Any]], pictures: Sequence[Picture] = (), bins: int = 1000) -> Example:
    """A list as a question about `pictures`: its images come first, and their numbers say which they are; boxes become regions.

    What `split_elements` makes of a string is such a list too: the words "Picture 1:" before an image, and the line's end behind it, fall
    away, and boxes behind a ref are its own. ValueError for a picture that is not there, for one behind words, whose place an example does
    not keep, and for what is no element or no place.

    >>> example = elements_to_example("7", [{"image": 1}, {"text": "a "}, {"ref": "dog", "box": [(100, 200, 300, 400)]}], [Picture(4, 2, "a.png")])
    >>> example.turns[0].said
    GroundedText(text='a dog', spans=(Span(start=2, end=5, regions=(Box(x0=0.1, y0=0.2, x1=0.3, y1=0.4, image=0),), scores=()),))
    """
    gathered = _gathered(elements)
    numbers = [element["image"] for element in gathered if "image" in element]
    if any("image" in element for element in gathered[len(numbers) :]):
        raise ValueError("a picture stands behind words in a list; those of an example come before its question.")
    if odd := [number for number in numbers if number not in range(1, len(pictures) + 1)]:
        raise ValueError(f"the list shows the pictures {odd}, and {len(pictures)} were given; they are numbered from 1.")
    join_elements(gathered)  # refuses what is no element
    said = GroundedText.join(*(_said(element, bins) for element in gathered[len(numbers) :]))
    return Example(id, tuple(pictures[number - 1] for number in numbers), (Turn("user", said),))


def example_to_elements(example: Example, bins: int = 1000) -> list[dict[str, Any]]:
    """The list of an example that asks one thing: its pictures by their numbers, then its words with their boxes.

    A region is spelled as `TagFormat` spells it: a box, or the box around it. ValueError for more turns than a question.

    >>> from foveal.geometry import Box
    >>> question = GroundedText("a dog", (Span(2, 5, (Box(0.25, 0.25, 0.5, 0.5),)),))
    >>> example_to_elements(Example("7", (Picture(4, 2, "a.png"),), (Turn("user", question),)))
    [{'image': 1}, {'text': 'a '}, {'ref': 'dog', 'box': [(250, 250, 500, 500)]}]
    """
    if [turn.role for turn in example.turns] != ["user"]:
        raise ValueError(f"example {example.id!r} has {len(example.turns)} turns; a list holds a question and nothing else.")
    said, written = example.turns[0].said, 0
    elements: list[dict[str, Any]] = [{"image": number} for number in range(1, len(example.images) + 1)]
    for span in said.spans:
        if not span.regions:
            continue
        elements += [{"text": said.text[written : span.start]}] * (written < span.start)
        elements.append({"ref": said.text[span.start : span.end]} if span.start < span.end else {})
        for region in span.regions:
            kind, numbers = _numbers(region, bins)
            elements[-1].setdefault(kind, []).append(numbers)
        written = span.end
    return elements + [{"text": said.text[written:]}] * (written < len(said.text))


def _well_formed(places: Mapping[str, Any]) -> bool:
    lists = [places[kind] for kind in _CORNERS if kind in places]
    return isinstance(places.get("ref", ""), str) and all(
        isinstance(one, list | tuple) and all(isinstance(r, list | tuple) for r in one) for one in lists
    )


def _spelled(kind: str, numbers: Sequence[Any], element: Mapping[str, Any]) -> str:
    if len(numbers) != 2 * _CORNERS[kind] or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError(f"the {kind} {numbers} of {dict(element)} is not {2 * _CORNERS[kind]} whole numbers, x and y of each corner.")
    corners = ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))
    return f"<{kind}>{corners}</{kind}>"


def _pairs(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Start, end, tag and inside of each pair of tags, none within another; in time that grows with the text alone."""
    done, unclosed = 0, set()
    for opening in _OPENING.finditer(text):
        tag = opening[1]
        if opening.start() < done or tag in unclosed:
            continue
        if (close := text.find(f"</{tag}>", opening.end())) < 0:
            unclosed.add(tag)
            continue
        done = close + len(tag) + 3
        yield opening.start(), done, tag, text[opening.end() : close]


def _element(tag: str, inner: str) -> dict[str, Any] | None:
    """The element of a pair of tags; None for a place that is none."""
    if tag == "ref":
        return {"ref": inner}
    numbers = tuple(int(number) for number in _NUMBER.findall(inner))
    if tag == "img":
        if not _NUMBER.fullmatch(inner):
            raise ValueError(f"<img>{inner}</img> stands in a list, which refers to pictures by number; give the picture itself beside it.")
        return {"image": numbers[0]}
    corners = ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=False))
    right = len(numbers) == 2 * _CORNERS[tag] and corners == re.sub(r"\s", "", inner)
    return {tag: [numbers]} if right else None


def _gathered(elements: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Elements without the words that a string puts around its pictures, and with the places behind a ref in one with it."""
    found: list[dict[str, Any]] = []
    labelled = False
    for element in elements:
        last = found[-1] if found else {}
        if "image" in element:
            if labelled := bool(_LABEL.fullmatch(last.get("text", ""))):
                found.pop()
            found.append(dict(element))
        elif "text" in element and "image" in last and labelled and not _LABEL.fullmatch(element["text"]):
            found.append({"text": element["text"].removeprefix("\n")})
        elif "ref" in last and element and set(element) <= set(_CORNERS):
            found[-1] = last | {kind: [*last.get(kind, ()), *places] for kind, places in element.items()}
        else:
            found.append(dict(element))
    return found


def _said(element: Mapping[str, Any], bins: int) -> GroundedText:
    """What an element says; the words of a ref may spell tags of their own, which mean nothing."""
    words = element.get("text", element.get("ref", ""))
    if not (places := [(kind, numbers) for kind in _CORNERS for numbers in element.get(kind, ())]):
        return GroundedText(words)
    spelled = "".join(_spelled(kind, numbers, element) for kind, numbers in places)
    regions = TagFormat(bins).decode(spelled, Frame.stretch((bins, bins))).regions
    if len(regions) != len(places):
        raise ValueError(f"{dict(element)} holds a place beyond {bins}, or a box whose corners are the wrong way round.")
    return GroundedText(words, (Span(0, len(words), regions),))


def _numbers(region: Region, bins: int) -> tuple[str, tuple[int, ...]]:
    """Whether a region is spelled as a box or as a quad, and its numbers."""
    spelled = TagFormat(bins).encode(GroundedText.join(region), Frame.stretch((bins, bins)))
    return ("quad" if spelled.startswith("<quad>") else "box"), tuple(int(number) for number in _NUMBER.findall(spelled))

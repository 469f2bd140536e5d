"""Answers as JSON: words, their places in fractions and pixels, and as OpenAI's objects, whole or in pieces."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from foveal.grounding import GroundedText, Span, region_to_json
from foveal.serve.batching import Question

__all__ = [
    "answer_object",
    "chat_chunk",
    "chat_object",
    "choice_object",
    "finish_of",
    "grounding_of",
    "logprobs_of",
    "pieces_of",
    "sizes_of",
    "usage_of",
]

_FINISH = {"stop": "stop", "length": "length", "repetition": "length", "error": "stop"}


def finish_of(reason: str) -> str:
    """OpenAI's word for why an answer ended: one that went in circles was cut."""
    return _FINISH[reason]


def grounding_of(said: GroundedText, sizes: Sequence[tuple[int, int]], spans: Sequence[Span] | None = None) -> list[dict[str, Any]]:
    """The places of a text in images of these sizes: for each stretch of words its characters, and its regions with their scores."""
    return [
        {
            "start": span.start,
            "end": span.end,
            "text": said.text[span.start : span.end],
            "regions": [
                region_to_json(region, sizes[region.image if region.image < len(sizes) else 0]) | {"score": score}
                for region, score in zip(span.regions, span.scores or (None,) * len(span.regions), strict=True)
            ],
        }
        for span in (said.spans if spans is None else spans)
    ]


def answer_object(question: Question) -> dict[str, Any]:
    """One of many answers about a scene; where one was refused, `error` says why, and the others are there."""
    if question.answer is None:
        return {"text": "", "grounding": [], "finish_reason": "error", "error": str(question.error)}
    said = question.answer.said
    return {
        "text": said.text,
        "grounding": grounding_of(said, sizes_of(question)),
        "finish_reason": question.answer.finish_reason,
        "error": question.answer.error,
    }


def sizes_of(question: Question) -> list[tuple[int, int]]:
    """The sizes of the images of a question."""
    return [(picture.width, picture.height) for picture in question.example.images]


def chat_object(name: str, model: str, questions: Sequence[Question], *, logprobs: bool) -> dict[str, Any]:
    """OpenAI's chat completion."""
    return {
        "id": name,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice_object(number, question, logprobs=logprobs) for number, question in enumerate(questions)],
        "usage": usage_of(questions),
    }


def choice_object(number: int, question: Question, *, logprobs: bool) -> dict[str, Any]:
    """One of the answers."""
    answer = question.answer
    assert answer is not None
    return {
        "index": number,
        "message": {"role": "assistant", "content": answer.text, "refusal": None, "grounding": grounding_of(answer.said, sizes_of(question))},
        "finish_reason": finish_of(answer.finish_reason),
        "stop_reason": answer.finish_reason,
        "logprobs": {"content": logprobs_of(question), "refusal": None} if logprobs else None,
    }


def logprobs_of(question: Question, start: int = 0) -> list[dict[str, Any]]:
    """The tokens that were said from the `start`-th on, as the model spells them, each with its log-probability."""
    row = question.row
    if row is None:
        return []
    tokenizer = question.scene.session.processor.tokenizer
    told = []
    for token, logprob in list(zip(row.tokens, row.logprobs, strict=True))[start:]:
        spelt = tokenizer.decode([token], skip_special_tokens=False)
        told.append({"token": spelt, "logprob": max(logprob, -9999.0), "bytes": list(spelt.encode()), "top_logprobs": []})
    return told


def usage_of(questions: Sequence[Question]) -> dict[str, int]:
    """How many tokens were read and written."""
    rows = [question.row for question in questions if question.row is not None]
    read, written = max((row.prompt for row in rows), default=0), sum(len(row.tokens) for row in rows)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def pieces_of(before: GroundedText, said: GroundedText, *, every_word: bool) -> Iterator[tuple[str, list[Span]]]:
    """What has been said since `before`: words with the places that became certain; with `every_word`, each word by itself with its place.

    >>> from foveal.geometry import Point
    >>> said = GroundedText("a cat", (Span(0, 1, (Point(0, 0),)), Span(2, 5, (Point(1, 1),))))
    >>> [words for words, _ in pieces_of(GroundedText(""), said, every_word=True)]
    ['a', ' cat']
    """
    spans, start = list(said.spans[len(before.spans) :]), len(before.text)
    if every_word:
        for span in spans:
            if span.end > start:
                yield said.text[start : span.end], [span]
                start = span.end
            else:
                yield "", [span]
        spans = []
    if start < len(said.text) or spans:
        yield said.text[start:], spans


def chat_chunk(name: str, model: str, number: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One piece of a stream, as OpenAI writes it."""
    choice = {"index": number, "delta": delta, "finish_reason": finish, "logprobs": None} | more
    return {"id": name, "object": "chat.completion.chunk", "created": int(time.time()), "model": model, "choices": [choice]}

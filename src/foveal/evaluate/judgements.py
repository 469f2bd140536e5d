"""What a judge says of a run's answers: asked once for each, kept beside them, and put into the facts of their questions."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from foveal.data.whole import write_whole
from foveal.endpoint import Endpoint, Message
from foveal.endpoint.replies import question_key
from foveal.grounding import Example, GroundedText

__all__ = ["JUDGEMENTS", "Judged", "judge_answers", "judge_identity", "judgement_of", "read_judgements", "with_judgements"]

JUDGEMENTS = "judgements.jsonl"
Judged = Callable[[Example, GroundedText], Sequence[Message]]
"""What a judge is asked about a question and its answer; nothing, where there is nothing to judge."""
_LOG = logging.getLogger("foveal.evaluate")
_ANY = GroundedText("any answer will do here")
_Answered = tuple[Example, GroundedText]


def judge_answers(
    judge: Endpoint,
    judged: Judged,
    settings: Mapping[str, Any],
    answered: Sequence[_Answered],
    file: Path,
    heard: Callable[[int, int], None] = lambda done, count: None,
) -> None:
    """Asks for the judgements that `file` lacks and keeps each in it as it comes; `heard` is told how many of how many are there.

    One that fails is left out with a warning, and the next run asks for it again. ValueError where the judge cannot be asked on, its budget being
    spent for instance; whatever came is kept.
    """
    wanted = [(asked.id, messages) for asked, said in answered if (messages := judged(asked, said))]
    keys = {name: question_key(judge.model, messages, judge.settled(settings)) for name, messages in wanted}
    kept = {str(record["id"]): record for record in _records(file) if record.get("of") == keys.get(str(record["id"]), "")}
    write_whole(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept.values()))
    left, done = [(name, messages) for name, messages in wanted if name not in kept], len(kept)
    with open(file, "a", encoding="utf-8") as lines, closing(judge.ask((messages for _, messages in left), settings)) as replies:
        for (name, _), reply in zip(left, replies, strict=True):
            if reply.error is None:
                record = {"id": name, "judgement": reply.text, "finish": reply.finish, "judge": reply.model, "of": keys[name]}
                tokens = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
                lines.write(json.dumps(record | tokens, ensure_ascii=False) + "\n")
                lines.flush()
                done += 1
            elif not judge.exhausted:
                _LOG.warning("the judgement of %s failed: %s", name, reply.error)
            heard(done, len(wanted))
    if done < len(wanted) and judge.exhausted:
        raise ValueError(
            f"the judge's budget of {judge.budget:g} is spent after {done} of {len(wanted)} judgements, which are kept in {file}; "
            "with a larger one the same run goes on."
        )


def judge_identity(judge: Endpoint, judged: Judged, settings: Mapping[str, Any], asked: Sequence[Example]) -> dict[str, Any]:
    """What judgements depend on beside the answers: the judge, its settings, and the hash of what it is asked about one answer to all questions."""
    prompts = sha256()
    for example in asked:
        prompts.update(json.dumps([dict(one) for one in judged(example, _ANY)], sort_keys=True).encode())
    return {"model": judge.model, "settings": judge.settled(settings), "prompts": prompts.hexdigest()}


def read_judgements(file: Path) -> dict[str, str]:
    """The judgements of a run by the question's id; none where there is no file. Torn lines are passed over."""
    return {str(record["id"]): str(record["judgement"]) for record in _records(file)}


def with_judgements(answered: Sequence[_Answered], judgements: Mapping[str, str]) -> list[_Answered]:
    """The answers, with the judgement of each as the fact "judgement" of its question.

    >>> with_judgements([(Example("7"), GroundedText("a cat"))], {"7": "8 9"})[0][0].facts
    {'judgement': '8 9'}
    """
    return [
        (replace(asked, facts={**asked.facts, "judgement": judgements[asked.id]}) if asked.id in judgements else asked, said)
        for asked, said in answered
    ]


def judgement_of(asked: Example) -> str | None:
    """What the judge said; None where nothing came of it, or it was not asked.

    >>> judgement_of(Example("7")) is None
    True
    """
    found = asked.facts.get("judgement")
    return found if isinstance(found, str) else None


def _records(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):  # no other signs end a line
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "id" in record and "judgement" in record:
            yield record

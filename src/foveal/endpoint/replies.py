"""What is said to an endpoint, what it replies and what that cost; replies are kept on disk, so that nothing is asked or paid twice."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

__all__ = ["Message", "Prices", "Replies", "Reply", "Spent", "message", "question_key"]

Message = Mapping[str, Any]
"""A message of a conversation in OpenAI's form: its role and its content."""

_SIGNS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def message(role: str, *parts: str | bytes) -> Message:
    """A message of words and encoded pictures, which travel as data URLs. ValueError for bytes that are no PNG, JPEG, GIF or WebP.

    >>> message("user", "What is this?")
    {'role': 'user', 'content': 'What is this?'}
    >>> message("user", "And this?", b"GIF89a")["content"][1]
    {'type': 'image_url', 'image_url': {'url': 'data:image/gif;base64,R0lGODlh'}}
    """
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"role": role, "content": parts[0]}
    return {"role": role, "content": [_part(part) for part in parts]}


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint replied, or in `error` why it did not, in a sentence.

    `finish` is its word for why the reply ended ("stop", "length", …), `model` its name of what replied; tokens are None where it does not count
    them. A reply that was `cached` cost nothing now. `unreached` says of an error that nobody answered at that address.
    """

    text: str = ""
    finish: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    cached: bool = False
    unreached: bool = False


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens of questions and of replies cost, in any one currency. ValueError for less than nothing.

    >>> Prices(2.5, 10.0).of(Reply("yes", prompt_tokens=400, completion_tokens=100))
    0.002
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        if not (0 <= self.prompt < float("inf") and 0 <= self.completion < float("inf")):
            raise ValueError(f"prices of {self.prompt} and {self.completion} for a million tokens; 0 or more is wanted of both")

    def of(self, reply: Reply) -> float:
        """The cost of a reply; tokens that were not counted are taken for none."""
        return ((reply.prompt_tokens or 0) * self.prompt + (reply.completion_tokens or 0) * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Spent:
    """How many `replies` were asked for and came, how many were known (`cached`), how many `failed`, how many of the replies came without a count
    of their tokens (`uncounted`); the tokens of questions and replies, and their cost.

    >>> str(Spent(replies=1).plus(Reply("yes", prompt_tokens=1200, completion_tokens=7), Prices(1.0, 0.0)))
    '2 replies of 1,200 + 7 tokens, cost 0.0012'
    """

    replies: int = 0
    cached: int = 0
    failed: int = 0
    uncounted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    def plus(self, reply: Reply, prices: Prices | None = None) -> "Spent":
        """With another reply."""
        now = 0 if reply.cached or reply.error else 1
        return Spent(
            self.replies + now,
            self.cached + reply.cached,
            self.failed + bool(reply.error),
            self.uncounted + (now if reply.prompt_tokens is None or reply.completion_tokens is None else 0),
            self.prompt_tokens + now * (reply.prompt_tokens or 0),
            self.completion_tokens + now * (reply.completion_tokens or 0),
            (self.cost or 0.0) + now * prices.of(reply) if prices else self.cost,
        )

    def __str__(self) -> str:
        said = f"{self.replies} replies of {self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        said += "" if self.cost is None else f", cost {self.cost:.4g}"
        others = {"known before": self.cached, "failed": self.failed, "without a count of tokens": self.uncounted}
        return said + "".join(f", {count} {name}" for name, count in others.items() if count)


def question_key(model: str, messages: Sequence[Message], settings: Mapping[str, Any]) -> str:
    """What a question is known by: a hash of the model's id, the conversation and the settings."""
    return sha256(json.dumps([model, [dict(one) for one in messages], dict(settings)], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Replies:
    """Replies by the key of their question, in memory and as JSON lines in `file`; lines that are torn or of something else are passed over.

    Several threads may use one. Without a file, replies are known as long as the object is.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._lock = file, Lock()
        self._known: dict[str, Reply] = {}
        if file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                    key = str(record.pop("key"))
                    self._known[key] = Reply(**record)
                except (ValueError, TypeError, KeyError, AttributeError):
                    continue

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Reply | None:
        """The reply, None where there is none yet."""
        return self._known.get(key)

    def add(self, key: str, reply: Reply) -> None:
        """Keeps a reply at once: a line behind all others, on a line of its own even if the last was torn."""
        record = {name: value for name, value in asdict(reply).items() if name not in ("error", "cached", "unreached")}
        with self._lock:
            self._known[key] = reply
            if self._file is None:
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a+b") as lines:
                if lines.tell() and (lines.seek(-1, 2), lines.read(1))[1] != b"\n":
                    lines.write(b"\n")
                lines.write(json.dumps({"key": key} | record, ensure_ascii=False).encode() + b"\n")


def _part(part: str | bytes) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = next((kind for sign, kind in _SIGNS.items() if part.startswith(sign)), None)
    if kind is None:
        raise ValueError(f"a picture that begins with {part[:4]!r} is none that endpoints take; PNG, JPEG, GIF and WebP are")
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{b64encode(part).decode()}"}}

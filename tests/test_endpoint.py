"""Laws of asking an endpoint: replies in order, nothing asked twice, nothing lost, what fails stands alone, and the key is told to nobody else."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from foveal.endpoint import Endpoint, Prices, Replies, Reply, Spent, message

KEY = "sk-very-secret-1234567890"
PNG = b"\x89PNG\r\n\x1a\n rest"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # what is on this machine is asked without it


def words(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def questions(*texts: str) -> Iterator[list[Any]]:
    return ([message("user", text)] for text in texts)


def endpoint(server: Any, **changes: Any) -> Endpoint:
    return Endpoint(server.url, "judge", **({"key_variable": "JUDGE_KEY", "timeout_s": 5.0} | changes))


def test_what_is_sent_is_the_conversation_the_model_the_settings_and_the_key(serve: Callable[..., Any]) -> None:
    server = serve(lambda body: "seen")
    talk = [message("system", "Be brief."), message("user", "What is ", PNG, "?")]
    asking = endpoint(server, settings={"temperature": 0, "top_p": None, "guided_choice": ["a"]})
    (reply,) = asking.ask([talk], {"temperature": 1, "top_p": 0.5, "max_tokens": 3})
    path, headers, body = server.requests[0]
    assert (path, headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body.pop("messages") == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is "},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgogcmVzdA=="}},
                {"type": "text", "text": "?"},
            ],
        },
    ]
    assert body == {"model": "judge", "temperature": 0, "max_tokens": 3, "guided_choice": ["a"]}
    assert (reply.text, reply.finish, reply.model, reply.error, reply.completion_tokens) == ("seen", "stop", "judge-0314", None, 4)
    with pytest.raises(ValueError, match="is none that endpoints take"):
        message("user", b"%PDF-1.4")


def test_many_are_under_way_but_no_more_than_wanted_and_replies_keep_the_order(serve: Callable[..., Any]) -> None:
    lock, now, most, taken = Lock(), [0], [0], [0]

    def slowly(body: dict[str, Any]) -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.15 if words(body) == "0" else 0.02)
        with lock:
            now[0] -= 1
        return words(body) * 2

    def counted() -> Iterator[list[Any]]:
        for number in range(40):
            taken[0] = number + 1
            yield [message("user", str(number))]

    replies = endpoint(serve(slowly), at_once=3).ask(counted())
    assert next(replies).text == "00" and taken[0] <= 12, "conversations are read as they are needed"
    assert [reply.text for reply in replies] == [str(number) * 2 for number in range(1, 40)]
    assert most[0] == 3


def test_nothing_is_asked_twice_not_even_by_another_run_with_a_torn_cache(serve: Callable[..., Any], tmp_path: Path) -> None:
    server, cache = serve(lambda body: words(body).upper()), tmp_path / "deep" / "replies.jsonl"
    first = endpoint(server, cache=cache, prices=Prices(1.0, 2.0))
    assert [reply.text for reply in first.ask(questions("a", "b", "a"))] == ["A", "B", "A"]
    assert len(server.requests) == 2 and first.spent.replies == 2
    lines = cache.read_text().splitlines()
    cache.write_text(lines[0] + '\n[1]\n{"key": "1", "other": 2}\n' + lines[1][:-9])  # the second was torn
    again = endpoint(server, cache=cache, prices=Prices(1.0, 2.0))
    assert sorted(reply.cached for reply in again.ask(questions("a", "b"))) == [False, True]
    assert len(server.requests) == 3 and (again.spent.replies, again.spent.cached) == (1, 1)
    third = endpoint(server, cache=cache, prices=Prices(1.0, 2.0))
    assert [(reply.text, reply.cached) for reply in third.ask(questions("b", "a"))] == [("B", True), ("A", True)]
    assert len(server.requests) == 3 and third.spent.cost == 0.0 and len(Replies(cache)) == 2
    assert [reply.cached for reply in third.ask(questions("a"), {"temperature": 1})] == [False], "other settings are another question"
    assert KEY not in cache.read_text()


def test_busy_and_broken_moments_are_outlived_and_retry_after_is_waited_for(serve: Callable[..., Any]) -> None:
    seen: dict[str, list[float]] = {}

    def respond(body: dict[str, Any]) -> Any:
        times = seen.setdefault(words(body), [])
        times.append(time.monotonic())
        if len(times) == 1 and words(body) == "busy":
            return 429, {"Retry-After": "1"}, b'{"error": {"message": "slow down"}}'
        if len(times) == 1 and words(body) == "broken":
            return 500, {}, b"oh no"
        return words(body)

    asking = endpoint(serve(respond))
    assert [reply.text for reply in asking.ask(questions("busy", "broken", "fine"))] == ["busy", "broken", "fine"]
    assert seen["busy"][1] - seen["busy"][0] >= 1.0 and len(seen["broken"]) == 2 and len(seen["fine"]) == 1
    assert (asking.spent.replies, asking.spent.failed) == (3, 0)


def test_what_fails_gets_an_error_in_a_sentence_without_the_key_is_not_kept_and_the_others_go_on(
    serve: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def respond(body: dict[str, Any]) -> Any:
        match words(body):
            case "torn":
                return 200, {}, b'{"choices": [tru'
            case "page":
                return 200, {"Content-Type": "text/html"}, b"<html>hello</html>"
            case "empty":
                return 200, {}, b'{"choices": []}'
            case "odd":
                return 200, {}, b'{"choices": {"0": 1}}'
            case "bad":
                return 400, {}, json.dumps({"error": {"message": f"no such setting, {KEY}" + "x" * 999}}).encode()
            case "dead":
                return 503, {}, b"down"
            case "slow":
                time.sleep(1.2)
        return "fine"

    caplog.set_level(logging.DEBUG)
    asked = ("torn", "page", "good", "empty", "odd", "bad", "dead", "slow", "good")
    asking = endpoint(serve(respond), retries=0, timeout_s=0.4, cache=tmp_path / "kept.jsonl")
    replies = list(asking.ask(questions(*asked)))
    assert [reply.text for reply in replies if reply.error is None] == ["fine", "fine"]
    errors = {name: reply.error or "" for name, reply in zip(asked, replies, strict=True)}
    assert all("cannot be read" in errors[name] for name in ("torn", "page", "empty", "odd"))
    assert "no such setting, ***" in errors["bad"] and len(errors["bad"]) < 320 and "503" in errors["dead"] and "timed out" in errors["slow"]
    assert (asking.spent.failed, asking.spent.replies) == (7, 1) and len(Replies(tmp_path / "kept.jsonl")) == 1
    told = caplog.text + repr(asking) + repr(replies) + str(vars(asking)) + str(asking.spent)
    assert KEY not in told


def test_what_is_hopeless_ends_the_asking(serve: Callable[..., Any]) -> None:
    for status, code in ((401, "invalid_api_key"), (404, "model_not_found"), (429, "insufficient_quota")):
        server = serve(lambda body, status=status, code=code: (status, {}, json.dumps({"error": {"message": "no", "code": code}}).encode()))
        with pytest.raises(ValueError, match=rf"judge at {server.url} cannot be asked: .*no"):
            list(endpoint(server, retries=0, at_once=2).ask(questions(*map(str, range(50)))))
        assert len(server.requests) < 50
    server = serve(lambda body: (500, {}, b"down") if int(words(body)) >= 5 else "fine")
    asking = endpoint(server, retries=0, at_once=1)
    with pytest.raises(ValueError, match=r"16 questions to judge failed one after the other, the last since .*500"):
        list(asking.ask(questions(*map(str, range(50)))))
    assert asking.spent.replies == 5


def test_asking_ends_when_the_budget_is_spent_and_what_came_is_kept(serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve(lambda body: "x" * 10)
    used = len(json.dumps([{"role": "user", "content": "00"}]))
    each = Prices(1e6, 2e6).of(Reply("", prompt_tokens=used, completion_tokens=10))
    assert each == used + 20
    texts = [f"{number:02d}" for number in range(20)]
    asking = endpoint(server, prices=Prices(1e6, 2e6), budget=3.5 * each, at_once=1, cache=tmp_path / "kept.jsonl")
    replies = list(asking.ask(questions(*texts)))
    assert [reply.error is None for reply in replies] == [True] * 4 + [False] * 16 and "budget" in str(replies[-1].error)
    assert asking.exhausted and asking.spent.cost == pytest.approx(4 * each) and len(server.requests) == 4
    assert (asking.spent.prompt_tokens, asking.spent.completion_tokens) == (4 * used, 40)
    more = endpoint(server, prices=Prices(1e6, 2e6), budget=100 * each, cache=tmp_path / "kept.jsonl")
    assert [reply.cached for reply in more.ask(questions(*texts))] == [True] * 4 + [False] * 16 and not more.exhausted
    assert len(server.requests) == 20
    known = asking.ask(questions("00", "01"))
    assert [reply.cached for reply in known] == [True, True], "what is known costs nothing"


def test_without_a_count_of_tokens_no_budget_is_kept(serve: Callable[..., Any]) -> None:
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": None, "refusal": "I won't."}}]}
    server = serve(lambda body: (200, {}, json.dumps(reply).encode()))
    free = endpoint(server)
    assert [one.text for one in free.ask(questions("a"))] == ["I won't."] and str(free.spent).endswith("1 without a count of tokens")
    bound = endpoint(server, prices=Prices(1, 1), budget=1.0, at_once=1)
    assert [one.error is None for one in bound.ask(questions("a", "b"))] == [True, False]
    assert len(server.requests) == 2


def test_asking_that_is_stopped_loses_nothing_that_came(serve: Callable[..., Any], tmp_path: Path) -> None:
    def respond(body: dict[str, Any]) -> str:
        time.sleep(0.3 if int(words(body)) > 3 else 0.0)
        return words(body)

    server = serve(respond)
    replies = endpoint(server, at_once=4, cache=tmp_path / "kept.jsonl").ask(questions(*map(str, range(100))))
    assert [next(replies).text for _ in range(4)] == ["0", "1", "2", "3"]
    with pytest.raises(KeyboardInterrupt):
        replies.throw(KeyboardInterrupt())
    kept = len(Replies(tmp_path / "kept.jsonl"))
    assert len(server.requests) == kept < 20, "what was under way came and is kept, and nothing else was asked"


def test_what_cannot_be_asked_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    for url in ("http://localhost:1/v1", "http://127.0.0.1:1/v1", "http://[::1]:1/v1"):
        Endpoint(url, "judge", key_variable="JUDGE_KEY")
    for url, changes, words in (
        ("https://example.org/v1", {}, "the environment variable JUDGE_KEY has none"),
        ("http://127.0.0.1.example.org/v1", {}, "JUDGE_KEY has none"),
        ("localhost:8000", {}, "is no address of an endpoint"),
        ("https://me:secret@example.org/v1", {}, "holds more than a place"),
        ("http://localhost/v1", {"budget": 1.0}, "prices to count it by"),
        ("http://localhost/v1", {"budget": 0.0, "prices": Prices(1, 1)}, "more than 0"),
        ("http://localhost/v1", {"at_once": 0}, "at least 1"),
        ("http://localhost/v1", {"settings": {"stream": True}}, "'stream' of an endpoint is not free"),
    ):
        with pytest.raises(ValueError, match=words) as refused:
            Endpoint(url, "judge", key_variable="JUDGE_KEY", **changes)
        assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="0 or more is wanted"):
        Prices(-1, 0)


def test_what_was_spent_adds_up() -> None:
    replies = [Reply("a", prompt_tokens=10, completion_tokens=2), Reply(error="no"), Reply("b", cached=True, prompt_tokens=9), Reply("c")]
    spent = Spent()
    for reply in replies:
        spent = spent.plus(reply, Prices(1e6, 1e6))
    assert spent == Spent(replies=2, cached=1, failed=1, uncounted=1, prompt_tokens=10, completion_tokens=2, cost=12.0)
    assert str(spent) == "2 replies of 10 + 2 tokens, cost 12, 1 known before, 1 failed, 1 without a count of tokens"

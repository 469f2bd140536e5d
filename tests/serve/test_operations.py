"""How a server behaves when much is asked, memory is short, clients leave, or it is told to end; and who is let in."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
import torch
from served import MODELS, Served, data_url, png, shown

from foveal.serve.limits import Limits
from foveal.serve.logs import JsonLines
from foveal.session import Session

ROOT = Path(__file__).parents[2]
LONG = {"model": MODELS[0], "max_tokens": 1500, "temperature": 2.0, "seed": 1}


def wait_for(is_so: Callable[[], Any]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.01)


def counted(served: Served, name: str, **labels: str) -> float:
    return served.desk.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def endless(nano: dict[str, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that never ends an answer of itself, nor for going in circles."""
    monkeypatch.setattr("foveal.session.decoding.ends_of", lambda *_: [])
    monkeypatch.setattr("foveal.session.steering.is_circling", lambda text: False)


def test_a_full_queue_says_when_to_come_again(start: Any, endless: None) -> None:
    served = start(queue=2)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            lambda: list(served.openai.chat.completions.create(messages=shown(0, "Tell."), n=2, stream=True, **LONG | {"max_tokens": 60}))
        )
        wait_for(lambda: len(served.desk.engine(None)._asked) == 2)
        with pytest.raises(openai.RateLimitError) as refused:
            served.openai.chat.completions.create(model=MODELS[0], messages=shown(0, "What?"))
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        assert asked.result()
    assert served.openai.chat.completions.create(model=MODELS[0], messages=shown(0, "What?"), max_tokens=2).choices


def test_a_question_that_takes_too_long_is_given_up(start: Any, endless: None) -> None:
    served = start(deadline_s=0.5)
    with pytest.raises(openai.InternalServerError) as late:
        served.openai.chat.completions.create(messages=shown(0, "Tell."), **LONG)
    assert late.value.status_code == 504 and "within 0.5 seconds" in str(late.value)
    with pytest.raises(openai.APIError, match=r"within 0\.5 seconds"):  # in a stream that has begun it is the last event
        list(served.openai.chat.completions.create(messages=shown(0, "Tell."), stream=True, **LONG))
    assert not served.desk.engine(None)._asked


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_let_go_when_the_client_leaves(start: Any, endless: None, stream: bool) -> None:
    served = start()
    body = json.dumps({"messages": shown(0, "Tell."), "stream": stream, **LONG}).encode()
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        if stream:
            assert b"200 OK" in client.recv(1000)
        wait_for(lambda: served.desk.engine(None)._asked)
    wait_for(lambda: not served.desk.engine(None)._asked)
    assert counted(served, "foveal_answers_total", model=MODELS[0], reason="gone") == 1


def test_a_batch_that_does_not_fit_is_split_and_a_question_that_does_not_is_refused(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served = start()
    scene = served.http.post("/v1/scenes", json={"image": data_url(png(0))}).json()["id"]
    body = {"regions": [{"box": [0.1 * number, 0.2, 0.1 * number + 0.3, 0.6]} for number in range(7)], "max_tokens": 6}
    wanted = served.http.post(f"/v1/scenes/{scene}/describe", json=body).json()
    model, most = served.desk.engine(None).session.model, [2]
    forward = model.forward

    def short(*given: Any, **named: Any) -> Any:
        side_by_side = named["logits_to_keep"] if isinstance(named["logits_to_keep"], torch.Tensor) else [0]
        if len(named["input_ids"]) * len(side_by_side) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*given, **named)

    monkeypatch.setattr(model, "forward", short)
    assert served.http.post(f"/v1/scenes/{scene}/describe", json=body).json() == wanted
    assert counted(served, "foveal_out_of_memory_total", model=MODELS[0]) >= 2
    most[0] = 0
    refused = served.http.post(f"/v1/scenes/{scene}/describe", json=body)
    assert refused.status_code == 503 and "memory" in refused.json()["error"]["message"]
    most[0] = 100
    assert served.http.post(f"/v1/scenes/{scene}/describe", json=body).json() == wanted


def test_a_fault_is_a_500_that_tells_nothing_and_the_server_lives(start: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    served = start()
    model = served.desk.engine(None).session.model
    scene = served.http.post("/v1/scenes", json={"image": data_url(png(0))}).json()["id"]

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a secret of the question")

    with monkeypatch.context() as changed:
        changed.setattr(model, "forward", broken)
        failed = served.http.post(f"/v1/scenes/{scene}/ask", json={"content": "What?"})
    assert failed.status_code == 500 and "secret" not in failed.text + caplog.text and failed.json()["error"]["type"] == "server_error"
    assert served.http.post(f"/v1/scenes/{scene}/ask", json={"content": "What?", "max_tokens": 2}).status_code == 200


def test_only_who_has_the_key_is_let_in_but_all_may_ask_for_health(start: Any) -> None:
    served = start(api_key="open sesame")
    paths = [*served.app.openapi()["paths"], "/", "/docs", "/openapi.json", "/nothing", "/v1/scenes/..%2f..%2fhealth", "/health/"]
    for path in paths:
        for headers in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic !"}, {"Authorization": "Bearer"}):
            status = served.http.get(path, headers=headers).status_code
            assert status == (200 if path == "/health" else 401), path
    assert served.http.get("/v1/models", headers={"Authorization": "Bearer open sesame"}).status_code == 200
    assert served.http.get("/docs", auth=("anyone", "open sesame")).status_code == 200
    with pytest.raises(openai.AuthenticationError):
        served.openai.models.list()


def test_a_server_on_loopback_is_called_by_no_other_name(start: Any) -> None:
    served = start(hosts=("pictures.example",))
    for name, status in (("attacker.example", 421), ("pictures.example:80", 200), ("localhost:8000", 200), ("", 421)):
        assert served.http.get("/ready", headers={"Host": name}).status_code == status


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"image=1", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"[]", 400),
        ("application/json", b'"' + b"a" * 2**20 + b'"', 413),
        ("multipart/form-data; boundary=x", b"--x\r\nnothing", 400),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(start: Any, kind: str, body: bytes, status: int) -> None:
    served = start(limits=Limits(body_bytes=200_000))
    for path in ("/v1/scenes", "/v1/chat/completions"):
        if path.endswith("completions") and kind.startswith("multipart"):
            continue
        reply = served.http.post(path, content=body, headers={"Content-Type": kind})
        assert reply.status_code == status and reply.json()["error"]["message"].endswith(".")


def test_who_sends_letter_by_letter_is_not_waited_for(start: Any) -> None:
    served = start(body_s=0.3)
    host, port = served.url.removeprefix("http://").split(":")
    starts = [b"POST /v1/scenes HT", b"POST /v1/scenes HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"]
    for sent in starts:
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(sent)
            said = b""
            while more := client.recv(1000):
                said += more
            assert said.startswith(b"HTTP/1.1 408")


def test_the_log_says_nothing_of_what_was_asked(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served = start()
    reply = served.openai.chat.completions.create(model=MODELS[0], messages=shown(0, "Is the rhododendron red?"), max_tokens=4)
    served.http.get("/v1/scenes/rhododendron?q=rhododendron", headers={"X-Request-Id": "mine-1"})
    wait_for(lambda: len([record for record in caplog.records if record.name == "foveal.serve"]) >= 2)
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "foveal.serve"]
    assert (
        lines[0]["route"] == "/v1/chat/completions" and lines[0]["status"] == 200 and lines[0]["completion_tokens"] == reply.usage.completion_tokens
    )
    assert lines[1]["request"] == "mine-1" and lines[1]["status"] == 404
    assert "rhododendron" not in json.dumps(lines) and "base64" not in json.dumps(lines)


def test_what_is_done_is_counted(start: Any) -> None:
    served = start()
    served.openai.chat.completions.create(model=MODELS[0], messages=shown(0, "What?"), max_tokens=4)
    text = served.http.get("/metrics").text
    for line in (
        'foveal_requests_total{route="/v1/chat/completions",status="200"} 1.0',
        'foveal_scene_looks_total{found="no"} 1.0',
        'foveal_first_token_seconds_count{model="ferret-v2-nano"} 1.0',
        'foveal_queue_questions{model="ferret-v2-nano"} 0.0',
        "foveal_scenes 1.0",
    ):
        assert line in text, text
    assert counted(served, "foveal_tokens_total", model=MODELS[0]) >= 1


def test_the_manual_names_every_route_and_loads_nothing_from_elsewhere(server: Served) -> None:
    page, described = server.http.get("/docs").text, server.http.get("/openapi.json").json()
    assert all(path in page for path in described["paths"])
    assert "<script" not in page and "src=" not in page and "//" not in page.replace("://", "")
    assert server.http.get("/ready").json()["models"] == list(MODELS)


def test_the_page_may_load_nothing_from_elsewhere_and_stands_in_no_frame(server: Served) -> None:
    for path in ("/", "/page.js"):
        got = server.http.get(path)
        rules = got.headers["content-security-policy"]
        assert got.status_code == 200 and "default-src 'self'" in rules and "frame-ancestors 'none'" in rules
        assert got.headers["x-content-type-options"] == "nosniff" and got.headers["cache-control"] == "no-cache"


@pytest.mark.slow
def test_a_server_that_is_told_to_end_answers_first() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "foveal", "serve", MODELS[0], "--port", str(port), "--slice-tokens", "1"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_url(url, process)
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
            stream = client.chat.completions.create(messages=shown(0, "Describe the image."), stream=True, **LONG | {"max_tokens": 40})
            pieces = [next(iter(stream))]
            process.send_signal(signal.SIGTERM)
            pieces += list(stream)
            assert pieces[-1].choices[0].finish_reason in ("stop", "length")
            assert process.wait(30) == 0
        finally:
            process.kill()
        lines = [json.loads(line) for line in process.stderr.read().splitlines() if line.startswith("{")]
    assert any(line["event"] == "request" and line["route"] == "/v1/chat/completions" for line in lines)


def wait_for_url(url: str, process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")

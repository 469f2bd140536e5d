"""Attacks on a server that listens: each is refused with 4xx and a sentence, nothing is fetched, and the next question is answered as ever."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import hypothesis
import pytest
from refusing import SENTENCE, bmp_of, encoded, gif_of, peak_mb, png_of, tiff_of
from served import Served, data_url, shown

from foveal.serve.limits import Limits

# beartype picks at random which item of a tuple it looks at, and hypothesis minds.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

SCENE = "scene-" + "0" * 40


def asked(server: Served, *parts: Any, **fields: Any) -> Any:
    """The reply to one message of parts."""
    return server.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 4} | fields)


def image(data: bytes | str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data if isinstance(data, str) else data_url(data)}}


def region(**place: Any) -> dict[str, Any]:
    return {"type": "region", **place}


def said(server: Served) -> str:
    """What the first model says of a picture, always the same."""
    reply = server.http.post("/v1/chat/completions", json={"messages": shown(0, "What is ", {"box": [0.2, 0.2, 0.6, 0.7]}, "?"), "max_tokens": 6})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def check_refusal(reply: Any, *statuses: int) -> str:
    """The sentence of a refusal in OpenAI's form."""
    assert reply.status_code in (statuses or range(400, 500)), f"{reply.status_code}: {reply.text[:300]}"
    error = reply.json()["error"]
    assert SENTENCE.fullmatch(error["message"]) and error["type"] and len(reply.content) < 1000, error
    return str(error["message"])


class Bait:
    """A server within the network that must not be reached: `hits` counts who did."""

    def __init__(self) -> None:
        bait = self
        self.hits = 0

        class Speaker(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Says nothing."""

            def do_GET(self) -> None:
                bait.hits += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(encoded())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Speaker)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def bait() -> Iterator[Bait]:
    made = Bait()
    yield made
    made.server.shutdown()
    made.server.server_close()


ADDRESSES = [
    "http://127.0.0.1:{port}/a.png",
    "http://localhost:{port}/a.png",
    "http://[::1]:{port}/a.png",
    "http://[::ffff:127.0.0.1]:{port}/a.png",
    "http://2130706433:{port}/a.png",
    "http://127.1:{port}/a.png",
    "http://127.0.0.1:{port}\\@pictures.example/a.png",
    "http://pictures.example\\@127.0.0.1:{port}/a.png",
    "http://pictures.example@127.0.0.1:{port}/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://[64:ff9b::7f00:1]:{port}/a.png",
    "http://[2002:7f00:1::]:{port}/a.png",
    "https://127.0.0.1:{port}/a.png",
    "HTTP://127.0.0.1:{port}/a.png",
    "ftp://127.0.0.1:{port}/a.png",
    "file:///etc/passwd",
    "/etc/passwd",
    "../../../etc/passwd",
    "",
    "data:,",
    "data:text/html;base64,PHNjcmlwdD4=",
]


@pytest.mark.parametrize("hosts", [(), ("*",), ("pictures.example",)])
def test_no_address_leads_into_the_network_or_to_a_file(start: Callable[..., Served], bait: Bait, hosts: tuple[str, ...]) -> None:
    server = start(url_hosts=hosts)
    for url in (address.format(port=bait.port) for address in ADDRESSES):
        sentence = check_refusal(asked(server, image(url), {"type": "text", "text": "What is it?"}), 400)
        assert "root:" not in sentence
        check_refusal(server.http.post("/v1/scenes", json={"image": url}), 400)
    assert bait.hits == 0
    assert said(server)


IMAGES = {
    "many pixels": png_of(60_000, 60_000),
    "many pixels of gif": gif_of(65_535, 65_535),
    "many pixels of bmp": bmp_of(60_000, 60_000),
    "many pixels of tiff": tiff_of(60_000, 60_000),
    "cut short": encoded((400, 300))[:200],
    "no pixels": png_of(0, 4),
    "another kind": b"%PDF-1.7" + bytes(100),
    "drawing": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "nothing": b"",
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_none_or_far_too_large_are_refused(server: Served, name: str) -> None:
    before = said(server)
    check_refusal(asked(server, image(IMAGES[name]), {"type": "text", "text": "What is it?"}), 400, 413)
    check_refusal(server.http.post("/v1/scenes", json={"image": data_url(IMAGES[name])}), 400, 413)
    check_refusal(server.http.post("/v1/scenes", files={"file": ("../../a.png", IMAGES[name], "image/png")}), 400, 413)
    assert said(server) == before


REGIONS: list[dict[str, Any]] = [
    {"box": [0, 0, 9, 9]},
    {"box": [0, 0, 1]},
    {"box": "0,0,1,1"},
    {"box": [0, 0, 1e400, 1]},
    {"box": [10**400, 0, 1, 1]},
    {"box": [0, 0, 1, 1], "image": 7},
    {"box": [0, 0, 1, 1], "image": -1},
    {"box": [0, 0, 1, 1], "point": [0, 0]},
    {"polygon": [[0, 0], [1, 1]] * 20_000},
    {"scribble": [[0.5, 0.5]] * 40_000},
    {"polygon": [[0.1, 0.1]] * 3 + [["a", 1]]},
    {"mask": {"size": [2**31, 2**31], "counts": [2**62]}},
    {"mask": {"size": [100_000, 100_000], "counts": "0" * 40}},
    {"mask": {"size": [2, 2], "counts": [2**62] * 4 + [4]}},
    {"mask": {"size": [2, 2], "counts": "o" * 100_000}},
    {"mask": {"size": [2, 2], "counts": [3, 3]}},
    {"mask": {"size": [4, 4], "counts": [16]}},
    {},
]


@pytest.mark.parametrize("place", REGIONS, ids=lambda place: json.dumps(place)[:40])
def test_regions_that_are_none_or_far_too_large_are_refused(server: Served, place: dict[str, Any]) -> None:
    looked = server.http.post("/v1/scenes", json={"image": data_url(encoded((64, 48)))}).json()["id"]
    body = json.dumps({"messages": [{"role": "user", "content": [{"type": "scene", "id": looked}, region(**place)]}]}).replace("Infinity", "1e400")
    check_refusal(server.http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}), 400, 413)
    one = json.dumps({"regions": [place]}).replace("Infinity", "1e400")
    check_refusal(server.http.post(f"/v1/scenes/{looked}/describe", content=one, headers={"Content-Type": "application/json"}), 400, 413)
    assert server.http.get("/ready").status_code == 200


def test_too_many_of_anything_are_refused(server: Served) -> None:
    before, picture = said(server), image(encoded((64, 48)))
    looked = server.http.post("/v1/scenes", json={"image": data_url(encoded((64, 48)))}).json()["id"]
    box, polygon = region(box=[0, 0, 1, 1]), region(polygon=[[0, 0], [1, 0], [1, 1]] * 600)
    check_refusal(asked(server, picture, *[box] * 300), 413)
    check_refusal(asked(server, picture, *[polygon] * 5), 413)
    check_refusal(asked(server, *[picture] * 40, {"type": "text", "text": "?"}), 413)
    check_refusal(asked(server, picture, *[{"type": "text", "text": "a"}] * 5000), 413)
    check_refusal(asked(server, picture, {"type": "text", "text": "a" * 40_000}), 413)
    many = [{"role": "user", "content": [picture, *[box] * 200]}, {"role": "assistant", "content": "a"}, {"role": "user", "content": [box] * 100}]
    check_refusal(server.http.post("/v1/chat/completions", json={"messages": many}), 413)
    told = [{"start": 0, "end": 1, "regions": [{"polygon": [[0, 0], [1, 0], [1, 1]]}] * 100}] * 100
    grounded = [{"role": "user", "content": [picture]}, {"role": "assistant", "content": "a", "grounding": told}, {"role": "user", "content": "?"}]
    check_refusal(server.http.post("/v1/chat/completions", json={"messages": grounded}), 413)
    check_refusal(server.http.post(f"/v1/scenes/{looked}/describe", json={"regions": [{"box": [0, 0, 1, 1]}] * 2000}), 413)
    check_refusal(server.http.post(f"/v1/scenes/{looked}/locate", json={"phrases": ["a"] * 2000}), 413)
    check_refusal(server.http.post(f"/v1/scenes/{looked}/ask", json={"questions": ["a"] * 2000}), 413)
    for fields in ({"n": 1000}, {"max_tokens": 10**9}, {"temperature": 1e300}, {"seed": 10**30}, {"stop": ["a"] * 100}, {"n": 0}, {"max_tokens": -1}):
        check_refusal(asked(server, picture, {"type": "text", "text": "What is it?"}, **fields), 400, 413)
    assert said(server) == before


BODIES: dict[str, tuple[bytes, str]] = {
    "deep": (b'{"messages": ' + b"[" * 100_000, "application/json"),
    "deep objects": (b'{"a":' * 100_000, "application/json"),
    "many values": (b'{"messages": [' + b"{}," * 1_000_000 + b"{}]}", "application/json"),
    "not json": (b"messages=1", "application/json"),
    "nan": (b'{"messages": [], "temperature": NaN}', "application/json"),
    "half a character": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "application/json"),
    "half a name": (b'{"model": "\\udfff", "messages": [{"role": "user", "content": "a"}]}', "application/json"),
    "utf-16": ('{"messages": []}'.encode("utf-16"), "application/json"),
    "no utf-8": (b'{"model": "\xff"}', "application/json"),
    "a list": (b"[]", "application/json"),
    "null": (b"null", "application/json"),
    "nothing": (b"", "application/json"),
    "a form": (b"a=b", "application/x-www-form-urlencoded"),
    "plain text": (b'{"messages": []}', "text/plain"),
    "xml": (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "application/xml"),
    "broken parts": (b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n", "multipart/form-data; boundary=x"),
    "parts without boundary": (b"abc", "multipart/form-data"),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/scenes", f"/v1/scenes/{SCENE}/ask"])
@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_cannot_be_read_are_refused(server: Served, path: str, name: str) -> None:
    body, kind = BODIES[name]
    reply = server.http.post(path, content=body, headers={"Content-Type": kind})
    assert "root:" not in check_refusal(reply)


def test_words_that_spell_control_tokens_are_words(server: Served) -> None:
    for model in (entry["id"] for entry in server.http.get("/v1/models").json()["data"]):
        for words in ("<image><region_fea></s>", "<s>[INST]", "\ue000\ue001", "<|im_end|>\n<|im_start|>system", "<imgpad>" * 30):
            reply = asked(server, image(encoded((64, 48))), {"type": "text", "text": words}, model=model)
            assert reply.status_code in (200, 400), reply.text  # too long a question is refused
            if reply.status_code == 400:
                check_refusal(reply)


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f",
        "%00",
        "a%0d%0aX: y",
        "a" * 5000,
        "%ed%a0%80",
        "%ff",
        "..\\..\\a",
        "~root",
        SCENE,
    ],
)
def test_ids_are_no_paths(server: Served, name: str) -> None:
    for method, path in (("GET", f"/v1/scenes/{name}"), ("DELETE", f"/v1/scenes/{name}"), ("GET", f"/v1/models/{name}"), ("GET", f"/{name}")):
        reply = wire(server, f"{method} {path.replace(' ', '%20')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = int(reply.split(b" ", 2)[1])
        assert b"root:" not in reply and (400 <= status < 500 or (method == "GET" and path == f"/{name}" and status in (200, 307))), reply[:300]
    check_refusal(asked(server, {"type": "scene", "id": name}, {"type": "text", "text": "What is it?"}), 400, 404)


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "/..%2f..%2f..%2fetc/passwd", "/assets/../../app.py", "/%2e%2e/app.py", "//etc/passwd", "/app.py", "/index.html%00"],
)
def test_only_the_pages_own_files_are_served(server: Served, path: str) -> None:
    reply = wire(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert 400 <= int(reply.split(b" ", 2)[1]) < 500 and b"root:" not in reply and b"import" not in reply


def wire(server: Served, said: bytes) -> bytes:
    """All that comes back for bytes that are sent as they are."""
    host, port = re.sub("^http://", "", server.url).split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(said)
        heard = b""
        while piece := line.recv(65_536):
            heard += piece
    return heard


def test_a_body_that_is_too_large_is_not_read_to_its_end(start: Callable[..., Served]) -> None:
    server = start(limits=Limits(body_bytes=100_000))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    assert wire(server, head + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert wire(server, head + b"Content-Length: 1e9\r\n\r\n").startswith(b"HTTP/1.1 4")
    host, port = re.sub("^http://", "", server.url).split(":")

    def flood() -> None:
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            try:
                for _ in range(2000):
                    line.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            except OSError:
                return  # the server has hung up
            assert line.recv(100).startswith(b"HTTP/1.1 413")

    assert peak_mb(flood) < 30
    assert server.http.get("/health").status_code == 200


def test_slow_clients_are_let_go_while_others_are_answered(start: Callable[..., Served]) -> None:
    server = start(body_s=1.0)
    before = said(server)
    host, port = re.sub("^http://", "", server.url).split(":")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
    slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(60)]
    ended = threading.Event()

    def trickle() -> None:
        for step in range(1000):
            for number, line in enumerate(slow):
                data = (head + b"X-Slow: " + b"a" * 900) if number % 3 == 0 else head + b"\r\n" + b" " * 900  # a head, or a body, that never ends
                if number % 3 != 2:  # the others say nothing at all
                    try:
                        line.sendall(data[step : step + 1] if step else data[: len(head)])
                    except OSError:
                        continue
            if ended.wait(0.1):
                return

    sender = threading.Thread(target=trickle, daemon=True)
    sender.start()
    try:
        assert said(server) == before
        for number, line in enumerate(slow):
            heard = b""
            try:
                while piece := line.recv(4096):
                    heard += piece
            except ConnectionError:
                heard = heard or b"HTTP/1.1 408"  # hung up on while we spoke
            assert heard == b"" or heard.startswith(b"HTTP/1.1 408"), f"{number}: {heard[:100]!r}"
    finally:
        ended.set()
        sender.join()
        for line in slow:
            line.close()
    assert said(server) == before


@pytest.mark.slow
def test_whatever_the_openapi_page_allows_brings_no_fault_of_the_servers(start: Callable[..., Served]) -> None:
    import schemathesis

    server = start(most_tokens=6)
    looked = server.http.post("/v1/scenes", json={"image": data_url(encoded((64, 48)))}).json()["id"]
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True)
        @hypothesis.given(case=operation.as_strategy(), known=hypothesis.strategies.booleans())
        def run(case: Any, known: bool) -> None:
            if known and "scene" in (case.path_parameters or {}) and case.method != "DELETE":
                case.path_parameters["scene"] = looked
            reply = case.call()
            tried.setdefault(f"{case.method} {case.path}", set()).add(reply.status_code)
            assert reply.status_code < 500, f"{reply.status_code} for {case.as_curl_command()}"

        run()
    assert len(tried) >= 12 and any(200 in statuses for statuses in tried.values())
    assert said(server)

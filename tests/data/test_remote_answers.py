"""What comes from a host that pictures are read from: a whole picture, in time and of bounded size, or nothing."""

import shutil
import socket
import ssl
import subprocess
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from picture_site import POLICY, PUBLIC, Site, picture

from foveal.data.images import FORMATS, load_image
from foveal.data.remote import RefusedUrlError, UrlPolicy, fetch


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_of_picture_that_is_read_is_fetched(site: Site, kind: str) -> None:
    site.say = lambda wire, path: wire.send(picture(kind), Content_Type="text/plain")  # what counts is what the bytes are
    data = site.fetch("http://pictures.example/a")
    assert data == picture(kind) and load_image(data).size == (6, 4)


def test_bodies_that_are_too_large_are_left_and_memory_stays_flat(site: Site) -> None:
    block, sent = picture().ljust(2**16, b"\0"), [0]

    def lying(wire: Any, path: str) -> None:
        wire.send(b"", **({"Content_Length": str(2**40)} if path == "/said" else {"Content_Length": "x"} if path == "/odd" else {}))

    def chunked(wire: Any, path: str) -> None:
        wire.protocol_version = "HTTP/1.1"
        wire.send_response(200)
        wire.send_header("Transfer-Encoding", "chunked")
        wire.end_headers()
        for _ in range(2000):
            wire.wfile.write(b"10000\r\n" + block + b"\r\n")
            sent[0] += 1

    site.say = lying
    for path, words in (("/said", "more than"), ("/odd", "no picture|cut short"), ("/nothing", "no picture")):
        with pytest.raises(RefusedUrlError, match=words):
            site.fetch(f"http://pictures.example{path}")
    site.say = chunked
    tracemalloc.start()
    with pytest.raises(RefusedUrlError, match="more than the 100,000 bytes"):
        site.fetch("http://pictures.example/")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20 and sent[0] < 1000


def test_a_body_that_is_cut_short_is_no_picture(site: Site) -> None:
    site.say = lambda wire, path: wire.send(picture(), Content_Length=str(len(picture()) + 9))
    with pytest.raises(RefusedUrlError, match="cut short"):
        site.fetch("http://pictures.example/")


@pytest.mark.parametrize("slow", ["head", "body", "trickled head", "trickled body", "informed"])
def test_slow_hosts_are_left_in_time(site: Site, slow: str) -> None:
    ended, outlasted = threading.Event(), list[str]()

    def say(wire: Any, path: str) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + picture()
        if slow == "body":
            wire.wfile.write(head)
        if "trickled" in slow or slow == "informed":
            data = b"HTTP/1.1 100 Continue\r\n\r\n" * 200 if slow == "informed" else head if "head" in slow else head + b"\0" * 90_000
            for step in range(len(data)):
                wire.wfile.write(data[step : step + 1])
                wire.wfile.flush()
                if ended.wait(0.05):
                    return
        if not ended.wait(20):
            outlasted.append(path)

    site.say = say
    with pytest.raises(RefusedUrlError, match="too long"):
        site.fetch("http://pictures.example/", UrlPolicy(allowed_hosts=("*",), read_s=0.3, total_s=0.8))
    ended.set()
    assert not outlasted, "it was waited for"


def test_a_slow_look_up_and_a_slow_dial_are_left_in_time(site: Site) -> None:
    ended, outlasted, tried = threading.Event(), list[str](), list[str]()

    def slow(host: str, port: int) -> list[str]:
        if not ended.wait(20):
            outlasted.append(host)
        return [PUBLIC]

    def deaf(address: str, port: int, seconds: float) -> socket.socket:
        tried.append(address)
        ended.wait(seconds)
        raise TimeoutError

    policy = UrlPolicy(allowed_hosts=("*",), connect_s=0.2)
    with pytest.raises(RefusedUrlError, match="too long"):
        fetch("http://pictures.example/", policy, resolve=slow, dial=site.dial)
    with pytest.raises(RefusedUrlError, match="too long"):
        fetch("http://pictures.example/", policy, resolve=lambda host, port: [PUBLIC] * 50, dial=deaf)
    ended.set()
    assert not outlasted and 0 < len(tried) < 10 and not site.dialled


def test_the_next_address_is_tried_where_one_does_not_answer(site: Site) -> None:
    tried = []

    def dial(address: str, port: int, seconds: float) -> socket.socket:
        tried.append(address)
        if len(tried) == 1:
            raise ConnectionRefusedError
        return site.dial(address, port, seconds)

    assert fetch("http://pictures.example/", POLICY, resolve=lambda host, port: ["8.8.8.8", PUBLIC], dial=dial) == picture()
    assert tried == ["8.8.8.8", PUBLIC]


@pytest.mark.parametrize(
    "body", [b"", b"<html>secret</html>", b'{"token": "secret"}', b"\x7fELF\x02", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_what_is_no_picture_is_refused_whatever_it_is_said_to_be(site: Site, body: bytes) -> None:
    site.say = lambda wire, path: wire.send(body, Content_Type="image/png")
    with pytest.raises(RefusedUrlError, match="no picture") as refused:
        site.fetch("http://pictures.example/")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 404, 500])
def test_only_200_brings_a_picture(site: Site, status: int) -> None:
    site.say = lambda wire, path: wire.send(picture(), status)
    with pytest.raises(RefusedUrlError, match=f"answers {status}"):
        site.fetch("http://pictures.example/")


def test_packed_and_garbled_answers_are_refused(site: Site) -> None:
    site.say = lambda wire, path: wire.send(picture(), Content_Encoding="gzip")
    with pytest.raises(RefusedUrlError, match="packed"):
        site.fetch("http://pictures.example/")
    for garbled in (b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, b""):
        site.say = lambda wire, path, said=garbled: wire.wfile.write(said)
        with pytest.raises(RefusedUrlError, match=r"as it should|too long"):
            site.fetch("http://pictures.example/")


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate of pictures.example that this test alone trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and a certificate is wanted")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_over_tls_the_name_is_proved_though_the_address_is_dialled(site: Site, certified: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    certified.sni_callback = lambda wire, name, context: asked.append(name)
    site.server.socket = certified.wrap_socket(site.server.socket, server_side=True)
    assert site.fetch("https://pictures.example/a.png") == picture()
    assert asked == ["pictures.example"] and site.paths == ["/a.png"] and site.dialled == [(PUBLIC, 443)]
    with pytest.raises(RefusedUrlError, match="SSLCertVerificationError"):
        site.fetch("https://other.cdn.example/a.png")
    assert site.paths == ["/a.png"]

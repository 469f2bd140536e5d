"""A real site of pictures on the loopback, for tests of what is fetched: it notes what it was asked, and plays any name and any address."""

import io
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from foveal.data.remote import UrlPolicy, fetch

PUBLIC = "93.184.216.34"
POLICY = UrlPolicy(allowed_hosts=("pictures.example", "*.cdn.example"), most_bytes=100_000, connect_s=2, read_s=0.5, total_s=3)


def picture(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (200, 30, 30)).save(file, kind)
    return file.getvalue()


class Site:
    """A real HTTP server on the loopback. `say` writes the answer to a path on the wire; `paths` and `heads` are what was asked, `dialled` where."""

    def __init__(self) -> None:
        self.say: Callable[[Any, str], None] = lambda wire, path: wire.send(picture())
        self.paths: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.dialled: list[tuple[str, int]] = []
        self.looked_up: list[str] = []
        self.names: dict[str, list[list[str]]] = {}
        """The addresses of a name, one list for each time it is looked up; the last stays."""
        site = self

        class Speaker(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Says nothing."""

            def do_GET(self) -> None:
                site.paths.append(self.path)
                site.heads.append({name.lower(): value for name, value in self.headers.items()})
                with suppress(OSError):  # who asked has heard enough
                    site.say(self, self.path)

            def send(self, body: bytes, status: int = 200, **headers: str) -> None:
                self.send_response(status)
                for name, value in ({"Content_Length": str(len(body))} | headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Speaker)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        answers = self.names.get(host, [[PUBLIC]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def dial(self, address: str, port: int, seconds: float) -> socket.socket:
        self.dialled.append((address, port))
        return socket.create_connection(self.server.server_address[:2], timeout=seconds)

    def fetch(self, url: str, policy: UrlPolicy = POLICY) -> bytes:
        return fetch(url, policy, resolve=self.resolve, dial=self.dial)

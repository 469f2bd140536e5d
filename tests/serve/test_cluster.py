"""Several processes that answer as one: scenes that servers share, and a real cluster of two replicas on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
from served import MODELS, data_url, picture, png, shown

from foveal.serve.cluster import Replicas, replicas_of
from foveal.serve.metrics import Metrics
from foveal.serve.scenes import SceneStore, Shelf
from foveal.session import Scene, Session

ROOT = Path(__file__).parents[2]
KEY = {"Authorization": "Bearer open sesame"}


class Here:
    """A shelf in this process; `knows` nothing where it was lost."""

    def __init__(self, idle_s: float = 60.0) -> None:
        self.now = [1000.0]
        self.store: SceneStore[bytes] = SceneStore(2**20, idle_s, Metrics(), lambda: self.now[0])

    async def put(self, name: str, model: str, data: bytes) -> None:
        self.store.put(name, model, data)

    async def use(self, name: str, *, known: bool) -> tuple[str, bytes | None]:
        kept = self.store.get(name)
        return kept.model, None if known else kept.scene

    async def drop(self, name: str) -> None:
        self.store.forget(name)


def test_servers_that_share_a_shelf_answer_about_each_others_scenes(start: Any) -> None:
    one, two, alone, shelf = start(), start(), start(), Here()
    assert isinstance(shelf, Shelf)
    one.desk.shelf = two.desk.shelf = shelf
    scene = one.http.post("/v1/scenes", json={"image": data_url(png(0))}).json()["id"]
    asked = {"content": "What is in the picture?", "max_tokens": 8}
    answers = [served.http.post(f"/v1/scenes/{scene}/ask", json=asked).json() for served in (one, two, two)]
    assert answers[0]["answers"][0]["text"] and answers[0] == answers[1] == answers[2]
    parts = [{"role": "user", "content": [{"type": "scene", "id": scene}, {"type": "text", "text": "What?"}]}]
    said = [served.http.post("/v1/chat/completions", json={"messages": parts, "max_tokens": 4}).json() for served in (one, two)]
    assert said[0]["choices"] == said[1]["choices"]
    assert alone.http.get(f"/v1/scenes/{scene}").status_code == 404
    assert two.http.get("/v1/scenes/scene-0").status_code == 404
    assert 'foveal_scene_looks_total{found="no"} 1.0' in two.http.get("/metrics").text


def test_a_shared_scene_is_gone_for_all_and_one_that_a_shelf_forgot_is_where_it_was(start: Any) -> None:
    one, two, shelf = start(), start(), Here()
    one.desk.shelf = two.desk.shelf = shelf
    made = one.http.post("/v1/scenes", json={"image": data_url(png(0))}).json()["id"]
    other = one.http.post("/v1/scenes", json={"image": data_url(png(1))}).json()["id"]
    assert two.http.get(f"/v1/scenes/{made}").status_code == 200
    assert two.http.delete(f"/v1/scenes/{made}").json()["deleted"]
    for served in (one, two, one):
        assert served.http.get(f"/v1/scenes/{made}").status_code == 410
        assert served.http.delete(f"/v1/scenes/{made}").status_code == 410
    shelf.now[0] += 59
    assert one.http.get(f"/v1/scenes/{other}").status_code == 200  # to ask is to keep
    shelf.now[0] += 59
    assert two.http.get(f"/v1/scenes/{other}").status_code == 200
    one.desk.shelf = two.desk.shelf = Here()
    assert one.http.get(f"/v1/scenes/{other}").status_code == 200
    shelf.now[0] += 61
    one.desk.shelf = shelf
    assert one.http.get(f"/v1/scenes/{other}").status_code == 410
    assert one.http.post("/v1/scenes", json={"image": data_url(png(0))}).json()["id"] == made
    assert one.http.get(f"/v1/scenes/{made}").status_code == 200


@pytest.mark.parametrize("said", ["", "0", "-1", "3:2", "two", "1:2:3", "1:"])
def test_a_number_of_replicas_that_cannot_be_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"replicas.*wanted"):
        replicas_of(said)
    with pytest.raises(ValueError, match=r"ongoing is 0; a number above 0 is wanted\."):
        Replicas(ongoing=0)
    assert replicas_of("3") == Replicas(least=3, most=3)


@contextmanager
def cluster(*flags: str) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """`foveal serve --engine ray` in a process of its own, its address, and a folder whose name all its processes know."""
    folder = tempfile.mkdtemp(prefix="ray-")  # names of sockets may not be long
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "FOVEAL_"))}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RAY_TMPDIR": folder}
    environment["FOVEAL_API_KEY"] = "open sesame"
    command = [sys.executable, "-m", "foveal", "serve", MODELS[0], "--engine", "ray", "--port", "0", *flags]
    log = Path(folder) / "stderr"
    with log.open("w") as heard, subprocess.Popen(command, env=environment, stdout=heard, stderr=heard) as process:
        try:
            wait_for(lambda: process.poll() is not None or '"event": "listening"' in log.read_text(), 400)
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            [port] = [line["port"] for line in lines if line["event"] == "listening"]
            yield process, f"http://127.0.0.1:{port}", folder
        finally:
            process.kill()
            process.wait()
            wait_for(lambda: not processes_of(folder), 60)
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(is_so: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.1)


def processes_of(folder: str) -> list[str]:
    """The processes that were given a folder in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if folder.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:  # ended meanwhile
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)  # a dozen processes begin
def test_two_replicas_answer_as_one_offline_and_end_in_good_order() -> None:
    pytest.importorskip("ray.serve", reason="pip install 'foveal[ray]' brings Ray Serve")
    seen = Session.open(MODELS[0], "cpu").look(picture(0))
    with cluster("--replicas", "2", "--slice-tokens", "1", "--body-mb", "1") as (process, url, folder):
        with httpx.Client(base_url=url, headers=KEY, timeout=120) as http:
            check_doors(url)
            check_scenes(http, seen)
            with openai.OpenAI(base_url=f"{url}/v1", api_key="open sesame", max_retries=0, timeout=120) as client:
                check_chat(client, seen)
                end_amid_an_answer(process, client, seen)
        assert process.wait(60) == 0
        wait_for(lambda: not processes_of(folder), 30)
        log = (Path(folder) / "stderr").read_text()
    assert '"route": "/v1/chat/completions", "status": 200' in log and "Traceback" not in log and "picture" not in log


def check_doors(url: str) -> None:
    with httpx.Client(base_url=url, timeout=120) as http:
        assert http.get("/health").status_code == 200 and http.get("/v1/models").status_code == 401
        assert http.get("/ready", headers=KEY | {"Host": "attacker.example"}).status_code == 421
        large = http.post("/v1/scenes", content=b'"' + b"a" * 2**20 + b'"', headers=KEY | {"Content-Type": "application/json"})
        assert large.status_code == 413 and large.json()["error"]["message"].endswith(".")
        assert http.post("/v1/scenes", content=b"{", headers=KEY | {"Content-Type": "application/json"}).status_code == 400
        named = http.get("/ready", headers=KEY | {"X-Request-Id": "mine-1"})
        assert named.json()["models"] == [MODELS[0]] and named.headers["x-request-id"] == "mine-1"


def check_scenes(http: httpx.Client, seen: Scene) -> None:
    scene = http.post("/v1/scenes", json={"image": data_url(png(0))}).json()["id"]
    wanted, replicas = seen.ask("What is in the picture?", max_new_tokens=8).text, set()
    for _ in range(100):
        reply = http.post(f"/v1/scenes/{scene}/ask", json={"content": "What is in the picture?", "max_tokens": 8})
        assert reply.status_code == 200 and reply.json()["answers"][0]["text"] == wanted, reply.text
        replicas.add(reply.headers["x-replica"])
        if len(replicas) == 2:
            break
    assert len(replicas) == 2
    assert http.delete(f"/v1/scenes/{scene}").status_code == 200
    assert {http.get(f"/v1/scenes/{scene}").status_code for _ in range(10)} == {410}
    assert {http.get("/v1/scenes/scene-0").status_code for _ in range(4)} == {404}


def check_chat(client: openai.OpenAI, seen: Scene) -> None:
    whole = client.chat.completions.create(model=MODELS[0], messages=shown(0, "Describe the image."), max_tokens=24)
    wanted = seen.ask("Describe the image.", max_new_tokens=24).text
    assert whole.choices[0].message.content == wanted
    pieces = list(client.chat.completions.create(model=MODELS[0], messages=shown(0, "Describe the image."), max_tokens=24, stream=True))
    told = [piece.choices[0].delta.content for piece in pieces if piece.choices[0].delta.content]
    assert "".join(told) == wanted and len(told) > 3
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=shown(0, "What?"))


def end_amid_an_answer(process: subprocess.Popen, client: openai.OpenAI, seen: Scene) -> None:
    """The server is told to end when an answer has begun, which is written to its end."""
    drawn = {"max_tokens": 60, "temperature": 1.5, "seed": 3}
    stream = client.chat.completions.create(model=MODELS[0], messages=shown(0, "Describe the image."), stream=True, **drawn)
    pieces = [next(iter(stream))]
    process.send_signal(signal.SIGTERM)
    pieces += list(stream)
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    wanted = seen.ask("Describe the image.", max_new_tokens=60, temperature=1.5, seed=3)
    assert said == wanted.text and pieces[-1].choices[0].finish_reason in ("stop", "length")

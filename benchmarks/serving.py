"""What a server bears: clients that ask short and long questions at once, against one question at a time; many regions in one call; a soak."""

import base64
import io
import json
import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2 as httpx
import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.geometry import Box
from foveal.serve import ServeSettings
from foveal.serve.running import Listening
from foveal.session import Session

__all__ = ["main"]

_BATCHED: dict[str, Any] = {}
_ONE_BY_ONE = {"most_batch": 1, "most_rows": 1}
_SCENES = 8
_BOX = (0.2, 0.2, 0.6, 0.7)
_BAD = [
    b"{",
    b"[" * 5000,
    b'{"messages": []}',
    b'{"messages": [{"role": "user", "content": "What?"}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}]}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "scene", "id": "../../etc/passwd"}]}]}',
]


@dataclass(frozen=True)
class Ask:
    """A question with what is said to it offline."""

    body: bytes
    is_long: bool
    wanted: str


@dataclass
class Tally:
    """What clients saw."""

    seconds: float = 0.0
    cpu: float = 0.0
    first: list[float] = field(default_factory=list)
    first_short: list[float] = field(default_factory=list)
    whole_short: list[float] = field(default_factory=list)
    tokens: int = 0
    wrong: int = 0
    failed: int = 0
    refused: int = 0


def main(
    model: Annotated[str, typer.Option(help="A shipped name or a folder.")] = "ferret-v2-nano",
    clients: Annotated[list[int] | None, typer.Option(help="How many ask at once; may be given several times.")] = None,
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 8.0,
    regions: Annotated[int, typer.Option(help="How many regions of one image are described; 0 leaves that out.")] = 100,
    soak_minutes: Annotated[float, typer.Option(help="How long 8 clients ask, with bad requests among theirs; 0 leaves that out.")] = 0.0,
) -> None:
    """Time answers of a server in a process of its own: batched, and one at a time; every answer is compared with the one given offline."""
    session = Session.open(model, "cpu")
    asks = list(_asks(session))
    several = clients or [1, 8, 32]
    table = Table(title=f"Mixed questions to {model}, {seconds:g} s each: 1 in 4 a caption, the others short", title_justify="left")
    for column in (
        "clients",
        "",
        "answers/s",
        "tokens/s",
        "first word p50",
        "p95",
        "short: first word p95",
        "short: whole p95",
        "CPU ms/answer",
        "wrong",
        "failed",
    ):
        table.add_column(column, justify="left" if not column else "right")
    paces: dict[tuple[str, int], float] = {}
    costs: dict[tuple[str, int], float] = {}
    for name, settings in (("one at a time", _ONE_BY_ONE), ("batched", _BATCHED)):
        with _served(model, settings) as (url, process):
            _load(url, asks, 2, 2.0)  # scenes are looked at, and what is made once is made
            for count in several:
                before = _cpu_seconds(process)
                tally = _load(url, asks, count, seconds)
                tally.cpu = _cpu_seconds(process) - before
                paces[name, count] = len(tally.first) / tally.seconds
                costs[name, count] = tally.cpu / max(1, len(tally.first))
                table.add_row(str(count), name, *_row(tally))
    Console(width=140).print(table)
    for count in several:
        more, dearer = (of["batched", count] / max(of["one at a time", count], 1e-9) for of in (paces, costs))
        print(f"{count} clients: batching gives {more:.2f} times the answers a second, and {1 / max(dearer, 1e-9):.2f} times those of a CPU second.")
    if regions:
        _regions(model, session, regions)
    if soak_minutes:
        _soak(model, asks, soak_minutes)


def _row(tally: Tally) -> list[str]:
    first, short, whole = (np.array(values or [np.nan]) for values in (tally.first, tally.first_short, tally.whole_short))
    times = (np.quantile(first, 0.5), np.quantile(first, 0.95), np.quantile(short, 0.95), np.quantile(whole, 0.95))
    pace = (len(tally.first) / tally.seconds, tally.tokens / tally.seconds)
    cost = f"{1000 * tally.cpu / max(1, len(tally.first)):.0f}"
    return [*(f"{value:.1f}" for value in pace), *(f"{value:.2f} s" for value in times), cost, str(tally.wrong), str(tally.failed)]


def _load(url: str, asks: Sequence[Ask], clients: int, seconds: float, *, bad: bool = False) -> Tally:
    """Clients that each ask the next question when the last is answered, until time is over."""
    tally, start = Tally(), time.monotonic()

    def client(number: int) -> None:
        draw = random.Random(number)
        with httpx.Client(base_url=url, timeout=120) as http:
            while time.monotonic() < start + seconds:
                if bad and draw.random() < 0.3:
                    _ask_badly(http, draw, tally)
                else:
                    _ask(http, draw.choice(asks), tally)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    tally.seconds = time.monotonic() - start
    return tally


def _ask(http: httpx.Client, ask: Ask, tally: Tally) -> None:
    began, first, said = time.monotonic(), 0.0, ""
    with http.stream("POST", "/v1/chat/completions", content=ask.body, headers={"Content-Type": "application/json"}) as reply:
        if reply.status_code != 200:
            tally.failed += 1
            return
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                tally.tokens += chunk["usage"]["completion_tokens"]
            words = "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", []))
            if words and not first:
                first = time.monotonic() - began
            said += words
    tally.wrong += said != ask.wanted
    tally.first.append(first)
    if not ask.is_long:
        tally.first_short.append(first)
        tally.whole_short.append(time.monotonic() - began)


def _ask_badly(http: httpx.Client, draw: random.Random, tally: Tally) -> None:
    reply = http.post("/v1/chat/completions", content=draw.choice(_BAD), headers={"Content-Type": "application/json"})
    if 400 <= reply.status_code < 500:
        tally.refused += 1
    else:
        tally.failed += 1


def _asks(session: Session) -> Iterator[Ask]:
    """Of each of some images a caption, two questions about a region, and one about all."""
    caption = session.verbs.caption
    assert caption is not None
    for seed in range(_SCENES):
        image = Image.fromarray(np.asarray(draw_scene(seed, "test", SceneStyle()).pixels))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95)
        shown = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"}}
        scene = session.look(file.getvalue())
        for words, tail, longest in ((caption.text, "", 64), ("What is ", "?", 8), ("Is ", " red?", 8), ("Is there a dog?", "", 4)):
            region = Box(*_BOX) if tail else None
            parts = [{"type": "text", "text": words}] + ([{"type": "region", "box": list(_BOX)}, {"type": "text", "text": tail}] if tail else [])
            asked = scene.ask(words, *([region, tail] if region else []), max_new_tokens=longest)
            body = {"messages": [{"role": "user", "content": [shown, *parts]}], "max_tokens": longest, "stream": True}
            yield Ask(json.dumps(body | {"stream_options": {"include_usage": True}}).encode(), longest == 64, asked.text)


def _regions(model: str, session: Session, count: int) -> None:
    """Many regions of one image in one call, against as many calls of chat completions, one after the other."""
    image = Image.fromarray(np.asarray(draw_scene(1, "test", SceneStyle()).pixels))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    url_of = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    draw = random.Random(0)
    boxes = [[x := draw.uniform(0, 0.6), y := draw.uniform(0, 0.6), x + 0.3, y + 0.3] for _ in range(count)]
    offline = [answer.text for answer in session.look(file.getvalue()).describe([Box(*box) for box in boxes], max_new_tokens=12)]
    with _served(model, _BATCHED) as (url, process), httpx.Client(base_url=url, timeout=300) as http:
        http.post("/v1/scenes/" + http.post("/v1/scenes", json={"image": url_of}).json()["id"] + "/caption", json={"max_tokens": 2})
        start, cpu = time.monotonic(), _cpu_seconds(process)
        scene = http.post("/v1/scenes", json={"image": url_of}).json()["id"]
        answers = http.post(f"/v1/scenes/{scene}/describe", json={"regions": [{"box": box} for box in boxes], "max_tokens": 12}).json()["answers"]
        together, cpu_together = time.monotonic() - start, _cpu_seconds(process) - cpu
        words = session.verbs.name(Box(*_BOX))
        [place] = [span.start for span in words.spans]
        start, cpu, said = time.monotonic(), _cpu_seconds(process), []
        for box in boxes:
            parts = [{"type": "text", "text": words.text[:place]}, {"type": "region", "box": box}, {"type": "text", "text": words.text[place:]}]
            content = [{"type": "image_url", "image_url": {"url": url_of}}, *(part for part in parts if part.get("text") != "")]
            reply = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}], "max_tokens": 12})
            said.append(reply.json()["choices"][0]["message"]["content"])
        apart, cpu_apart = time.monotonic() - start, _cpu_seconds(process) - cpu
    wrong = sum(answer["text"] != wanted for answer, wanted in zip(answers, offline, strict=True))
    wrong += sum(answer != wanted for answer, wanted in zip(said, offline, strict=True))
    print(f"{count} regions of one image: {together:.2f} s in one call, {apart:.2f} s in {count} calls: {apart / together:.1f} times; {wrong} wrong.")
    print(f"The server's CPU seconds for them: {cpu_together:.2f} and {cpu_apart:.2f}, {cpu_apart / max(cpu_together, 1e-9):.1f} times.")


def _soak(model: str, asks: Sequence[Ask], minutes: float) -> None:
    """8 clients, three in ten of whose requests are bad, and the memory of the server meanwhile."""
    with _served(model, _BATCHED) as (url, process):
        _load(url, asks, 8, 10.0, bad=True)
        total, memory = Tally(), [_resident_mb(process)]
        for _ in range(max(1, round(minutes * 6))):
            tally = _load(url, asks, 8, 10.0, bad=True)
            memory.append(_resident_mb(process))
            total.wrong, total.failed, total.refused = total.wrong + tally.wrong, total.failed + tally.failed, total.refused + tally.refused
            total.first += tally.first
    grown = f"{memory[0]:.0f} MB at its begin, {max(memory):.0f} MB at most, {memory[-1]:.0f} MB at its end"
    print(
        f"soak of {minutes:g} min: {len(total.first)} answers, {total.wrong} wrong, {total.failed} failed, {total.refused} bad ones refused; {grown}."
    )


@contextmanager
def _served(model: str, settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address, and the process' number."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(model, settings, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv(), process.pid or 0
    finally:
        ours.send("end")
        process.join(60)
        process.kill()


def _serve(model: str, settings: dict[str, Any], pipe: Any) -> None:
    with Listening(ServeSettings(port=0, **settings), {model: Session.open(model, "cpu")}) as url:
        pipe.send(url)
        pipe.recv()


def _cpu_seconds(process: int) -> float:
    """Seconds of all threads of a process, where the system tells them; they do not depend on what else the machine does."""
    stat = Path(f"/proc/{process}/stat")
    fields = stat.read_text().rpartition(")")[2].split() if stat.is_file() else []
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else float("nan")


def _resident_mb(process: int) -> float:
    """Resident memory, where the system tells it."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), float("nan"))


if __name__ == "__main__":
    typer.run(main)

"""How smoothly the page of `foveal serve` moves a picture of 12,000 x 9,000 pixels: frame times while it is pulled about, beside a plain <img>.

Run: python benchmarks/page.py
"""

import argparse
import io
import statistics
import time
from itertools import pairwise
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from foveal import Session
from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.serve.running import Listening
from foveal.serve.settings import ServeSettings

_FRAMES = """() => {
    const times = (window.frameTimes = []);
    const step = time => { times.push(time); requestAnimationFrame(step); };
    requestAnimationFrame(step);
}"""
_PLAIN = '<body style="margin:0;overflow:hidden"><img style="position:absolute;transform-origin:0 0"><input type="file">'
_MOVABLE = """async scale => {
    const [img, input] = [document.querySelector("img"), document.querySelector("input")];
    img.src = URL.createObjectURL(input.files[0]);
    await img.decode();
    input.remove();
    let [x, y, held] = [0, 0, null];
    const put = () => (img.style.transform = `translate(${x}px, ${y}px) scale(${scale})`);
    put();
    window.onpointerdown = event => { event.preventDefault(); held = [event.clientX - x, event.clientY - y]; };
    window.onpointerup = () => (held = null);
    window.onpointermove = event => { if (held) [x, y] = [event.clientX - held[0], event.clientY - held[1]]; put(); };
}"""


def picture(width: int, height: int) -> bytes:
    """A large JPEG: a drawn scene, repeated."""
    tile = Image.fromarray(np.asarray(draw_scene(1, "test", SceneStyle()).pixels)).resize((1000, 750))
    whole = Image.new("RGB", (width, height))
    for x in range(0, width, 1000):
        for y in range(0, height, 750):
            whole.paste(tile, (x, y))
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=85)
    return file.getvalue()


def frames_while_pulled(tab: Any, seconds: float) -> list[float]:
    """Milliseconds between frames while the mouse pulls the picture around."""
    tab.mouse.move(500, 400)
    tab.mouse.down()
    tab.evaluate(_FRAMES)
    start = time.monotonic()
    while (gone := time.monotonic() - start) < seconds:
        tab.mouse.move(500 + 300 * np.sin(2 * gone), 400 + 200 * np.sin(3 * gone))
    times = tab.evaluate("() => window.frameTimes")
    tab.mouse.up()
    return [after - before for before, after in pairwise(times)]


def row(name: str, frames: list[float]) -> str:
    """A line of the table."""
    ranked = sorted(frames)
    slow = sum(frame > 50 for frame in frames) / len(frames)
    return f"| {name} | {statistics.median(frames):.1f} | {ranked[int(0.95 * len(ranked))]:.1f} | {ranked[-1]:.0f} | {slow:.1%} |"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(12_000, 9_000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--seconds", type=float, default=5.0, help="how long it is pulled about, each time")
    given = parser.parse_args()
    chromium = which("chromium")
    if chromium is None:
        print("There is no chromium here; the page's frame times are not measured.")
        return
    from playwright.sync_api import sync_playwright

    print(f"A picture of {given.size[0]:,} x {given.size[1]:,} pixels, pulled about in a view of 1,280 x 800; milliseconds a frame.\n")
    print("| | median | 95 % | worst | over 50 ms |\n|---|---|---|---|---|")
    sessions = {"ferret-v2-nano": Session.open("ferret-v2-nano", "cpu")}
    with TemporaryDirectory() as folder, Listening(ServeSettings(port=0), sessions) as url, sync_playwright() as driver:
        path = Path(folder, "large.jpg")
        path.write_bytes(picture(*given.size))
        browser = driver.chromium.launch(executable_path=chromium)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.set_default_timeout(120_000)
        tab.goto(url)
        start = time.monotonic()
        tab.set_input_files("#file", path)
        tab.wait_for_selector("#status:has-text('large.jpg')")
        opened = time.monotonic() - start
        tab.wait_for_timeout(1500)
        print(row("the page, whole picture", frames_while_pulled(tab, given.seconds)))
        for _ in range(6):
            tab.click("[data-zoom='1.6']")
        tab.wait_for_timeout(1500)
        print(row("the page, at about one pixel to a pixel", frames_while_pulled(tab, given.seconds)))
        tab.close()
        for name, scale in (("a plain <img>, whole picture", 800 / given.size[1]), ("a plain <img>, one pixel to a pixel", 1.0)):
            tab = browser.new_page(viewport={"width": 1280, "height": 800})
            tab.set_content(_PLAIN)
            tab.set_input_files("input", path)
            tab.evaluate(_MOVABLE, scale)
            tab.wait_for_timeout(1500)
            print(row(name, frames_while_pulled(tab, given.seconds)))
            tab.close()
        browser.close()
    print(f"\nIt was on the page {opened:.1f} s after it had been chosen.")


if __name__ == "__main__":
    main()

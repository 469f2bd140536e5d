"""What tests of the page share: a browser, and a page of a server with a picture on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

CHROMIUM = which("chromium")
PATIENCE_MS = 60_000
ROOT = Path(__file__).parents[2]
HARBOUR = ROOT / "examples" / "pictures" / "harbour.png"
SHIP = ((127, 256), (227, 354))
WIDE = {"width": 1280, "height": 800}


class Shown:
    """The page in a tab. Coordinates are pixels of the picture; what the browser's console complains of is collected, and all addresses it asks."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        tab.set_default_timeout(PATIENCE_MS)
        tab.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.addresses.append(request.url))

    def sample(self, name: str) -> None:
        """Opens one of the pictures to try."""
        self.tab.click(f"[data-sample={name}]")
        self.tab.wait_for_selector(f"#status:has-text('{name}.png')")

    def at(self, x: float, y: float, stage: int = 0) -> tuple[float, float]:
        """Where a pixel of the picture lies in the tab."""
        corner_x, corner_y, scale = self.tab.evaluate(
            f"""() => {{
                const drawing = document.querySelector("#stage-{stage} .drawing");
                const [to, corner] = [drawing.firstChild.getCTM(), drawing.getBoundingClientRect()];
                return [corner.x + to.e, corner.y + to.f, to.a];
            }}"""
        )
        return corner_x + x * scale, corner_y + y * scale

    def focused(self) -> str:
        """What a screen reader says of what has the focus."""
        return str(self.tab.evaluate("document.activeElement.getAttribute('aria-label')"))

    def told(self) -> str:
        """The line below the picture."""
        return str(self.tab.inner_text("#status"))

    def pull(self, *way: tuple[float, float]) -> None:
        """Draws with the mouse, down at the first point and up at the last."""
        mouse = self.tab.mouse
        mouse.move(*self.at(*way[0]))
        mouse.down()
        for point in way[1:]:
            mouse.move(*self.at(*point), steps=3)
        mouse.up()

    def swipe(self, *way: tuple[float, float]) -> None:
        """Draws with a finger, which Playwright can only tap with."""
        touch = self.tab.context.new_cdp_session(self.tab)
        kinds = ["touchStart"] + ["touchMove"] * (len(way) - 1) + ["touchEnd"]
        for kind, point in zip(kinds, (*way, None), strict=True):
            at = self.at(*point) if point else None
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at[0], "y": at[1]}] if at else []})
            self.tab.wait_for_timeout(30)  # no finger is faster, and Chromium makes no click of the tap after one that is
        touch.detach()

    def ask(self, words: str | None = None) -> str:
        """Asks what stands in the field, or these words; what was answered."""
        if words is not None:
            self.tab.fill("#field", words)
        self.tab.focus("#field")
        self.tab.keyboard.press("Enter")
        return self.answer()

    def verb(self, verb: str, words: str | None = None) -> str:
        """Asks by a button; what was answered."""
        if words is not None:
            self.tab.fill("#field", words)
        self.tab.click(f"button[data-verb={verb}]")
        return self.answer()

    def answer(self) -> str:
        """The last answer, once it is there."""
        self.tab.wait_for_selector(".turn:last-child .answer:last-child:not(.asking)")
        self.tab.wait_for_selector("body:not(.is-asking)")
        return str(self.tab.inner_text(".turn:last-child .answer:last-child .words"))

    def choose(self, model: str, picker: str = "first") -> None:
        """Takes a model from a list."""
        self.tab.click(f"#{picker} summary")
        self.tab.click(f"#{picker} .model:has-text('{model}')")

    def until(self, selector: str, count: int) -> None:
        """Waits for so many elements of a kind."""
        from playwright.sync_api import expect

        expect(self.tab.locator(selector)).to_have_count(count, timeout=PATIENCE_MS)

    def texts(self, selector: str) -> list[str]:
        """The words of all elements of a kind."""
        return [str(text) for text in self.tab.locator(selector).all_inner_texts()]

    def count(self, selector: str) -> int:
        """How many elements there are of a kind."""
        return int(self.tab.locator(selector).count())


Open = Callable[..., Shown]


@contextmanager
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by Playwright; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("There is no chromium here to show the page in.")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright, which drives the browser, is not installed.")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()

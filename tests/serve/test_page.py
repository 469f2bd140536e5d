"""The page, in a real browser, on a real server: what a person does with it, and that the browser never complains."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from paged import HARBOUR, ROOT, SHIP, WIDE, Open, Shown
from PIL import Image
from served import Served

from foveal.data.sources.coco import coco_instances
from foveal.data.sources.tools import label_studio
from foveal.geometry import Box, Mask, decode_mask, mask_from_coco
from foveal.session import Session

PAGE = ROOT / "src" / "foveal" / "serve" / "page"


def test_a_box_that_is_drawn_is_named_in_the_question_and_asked_about(shown: Open, nano: dict[str, Session]) -> None:
    page = shown("harbour")
    page.tab.keyboard.press("Escape")
    page.tab.click("[data-tool=box]")
    page.pull(*SHIP)
    assert page.tab.inner_text("#field") == "What is 1?" and page.texts("#drawn li") == ["1 box"]
    with page.tab.expect_request("**/v1/chat/completions") as asked:
        said = page.ask()
    words, region, end = asked.value.post_data_json["messages"][0]["content"][1:]
    assert (words["text"], end["text"]) == ("What is ", "?")
    assert region["box"] == pytest.approx([127 / 757, 256 / 546, 227 / 757, 354 / 546], abs=0.003)
    assert said == nano["ferret-v2-nano"].look(HARBOUR).ask("What is ", Box(*region["box"]), "?").text
    assert page.tab.inner_text("#field").strip() == "" and page.texts(".turn .asked") == ["What is 1?"]


def test_places_of_all_kinds_are_drawn_numbered_and_put_where_the_words_speak_of_them(shown: Open) -> None:
    page = shown("harbour")
    page.tab.fill("#field", "Compare ")
    page.tab.click("[data-tool=point]")
    page.tab.mouse.click(*page.at(177, 300))
    page.tab.click("[data-tool=polygon]")
    for corner in ((560, 360), (660, 360), (660, 500), (560, 500)):
        page.tab.mouse.click(*page.at(*corner))
    page.tab.mouse.click(*page.at(560, 360))
    page.tab.click("[data-tool=scribble]")
    page.pull((150, 60), (190, 90), (160, 120))
    assert page.texts("#drawn li") == ["1 point", "2 polygon", "3 scribble"] and page.tab.inner_text("#field") == "Compare 123"
    page.tab.click("[aria-label='Remove polygon 2']")
    assert page.tab.inner_text("#field") == "Compare 13" and page.count(".drawn.polygon") == 0
    with page.tab.expect_request("**/v1/chat/completions") as asked:
        page.ask()
    words, point, scribble = asked.value.post_data_json["messages"][0]["content"][1:]
    assert words["text"] == "Compare " and point["point"] == pytest.approx([177 / 757, 300 / 546], abs=0.003) and len(scribble["scribble"]) > 3


def test_words_and_their_places_have_one_colour_and_light_up_together(shown: Open) -> None:
    page = shown("harbour")
    said = page.verb("detect")
    phrases, boxes = page.tab.locator(".phrase"), page.tab.locator("#stage-0 .place.box")
    assert phrases.count() == boxes.count() > 3 and phrases.nth(1).inner_text() in said
    colour = "element => getComputedStyle(element).getPropertyValue('--c')"
    assert [phrases.nth(index).evaluate(colour) for index in range(3)] == [boxes.nth(index).evaluate(colour) for index in range(3)]
    phrases.nth(1).hover()
    assert page.count(".place.box.lit") == 1 and "lit" in str(boxes.nth(1).get_attribute("class"))
    boxes.nth(2).focus()
    assert page.count(".phrase.lit") == 1 and "lit" in str(phrases.nth(2).get_attribute("class"))
    page.tab.locator(".scores input").fill("1")
    assert boxes.count() == 0 and page.count(".phrase.below") == phrases.count()


def test_a_model_whose_every_word_has_a_place_plays_them_word_by_word(shown: Open) -> None:
    page = shown("harbour", model="pixelllm-nano")
    page.verb("caption_detailed")
    words = page.count(".phrase")
    page.until(".phrase.waiting", 0)
    assert page.count("#stage-0 .stop") == words > 10
    page.tab.click(".player button")
    page.until(".stop.now", 1)
    assert 0 < page.count(".phrase.waiting") < words
    page.tab.locator(".player input").fill("7")
    assert page.count("#stage-0 .stop") == 7
    page.ask("What is in the picture?")
    assert page.count(".turn:last-child .phrase") > 0  # streamed, each word with its place


def test_every_other_question_has_its_button(shown: Open) -> None:
    page = shown("harbour", model="pixelllm-nano")
    assert page.verb("segment", "the crocodile").startswith("the crocodile: ") and page.count("#stage-0 .place.mask") == 1
    assert len(page.verb("locate", "the ship; the crocodile").splitlines()) == 2 and page.count("#stage-0 .place.box") == 2
    assert ";" in page.verb("dense") and page.count("#stage-0 .place.box") > 5
    assert len(page.verb("caption")) > 5
    page.tab.click("[data-tool=box]")
    page.pull(*SHIP)
    page.pull((549, 357), (668, 505))
    assert [line.partition(":")[0] for line in page.verb("describe").splitlines()] == ["1", "2"]
    page.tab.hover(".turn:last-child .phrase:text-is('2')")
    assert page.count(".drawn.lit[data-number='2']") > 0 == page.count(".drawn.lit[data-number='1']")
    page.tab.click(".turn:first-child .turn-head")  # the history shows what was answered before
    assert page.count("#stage-0 .place.mask") == 1 and page.count(".turn.shown") == 1
    page.tab.click(".turn:first-child [aria-label='Remove from the history']")
    assert page.count("#stage-0 .place") == 0 and page.count(".turn") == 4


def test_a_model_is_not_asked_for_what_it_cannot_do_and_the_page_says_why(shown: Open) -> None:
    page = shown("words", model="monkey-nano")
    off = page.tab.locator("[aria-disabled=true]")
    disabled = {off.nth(index).get_attribute("data-verb") or off.nth(index).get_attribute("data-tool") for index in range(off.count())}
    assert disabled == {"point", "polygon", "scribble", "locate", "segment", "caption_grounded", "detect", "dense"}
    page.tab.click("[data-tool=point]", force=True)
    assert page.tab.inner_text("#status") == "monkey-nano cannot be pointed at a point."
    page.tab.click("[data-verb=detect]", force=True)
    assert page.tab.inner_text("#status") == "monkey-nano cannot be asked for this: “Find everything”." and page.count(".turn") == 0
    page.tab.click("#first summary")
    assert page.texts("#first .model:has(input:checked) .badge") == ["boxes"] and page.count("#first .model") == 3


def test_two_models_answer_side_by_side_and_move_together(shown: Open) -> None:
    page = shown("harbour")
    page.tab.click("#compare")
    page.choose("pixelllm-nano", "second")
    page.verb("locate", "the ship")
    assert page.texts(".turn .answer h3") == page.texts(".stage-name") == ["ferret-v2-nano", "pixelllm-nano"]
    assert page.count("#stage-0 .place.box") == page.count("#stage-1 .place.box") == 1
    page.tab.click("[data-zoom='1.6']")
    page.tab.wait_for_timeout(900)
    left, right = (page.at(127, 256, stage) for stage in (0, 1))
    assert right[1] == pytest.approx(left[1], abs=1) and right[0] - left[0] == pytest.approx(
        page.tab.locator("#stage-0").bounding_box()["width"], abs=4
    )
    page.tab.click("#compare")
    assert not page.tab.locator("#stage-1").is_visible()
    page.verb("caption")
    page.tab.click(".turn:first-child .turn-head")  # what two answered is shown twice again
    page.tab.locator("#stage-1").wait_for()
    assert page.count("#stage-0 .place.box") == page.count("#stage-1 .place.box") == 1


def test_an_answer_is_saved_in_forms_that_others_read(shown: Open, tmp_path: Path) -> None:
    page = shown("harbour", model="pixelllm-nano")
    page.verb("segment", "the crocodile")

    def saved(name: str) -> Path:
        page.tab.click(".turn:last-child summary:has-text('Save')")
        with page.tab.expect_download() as download:
            page.tab.click(f".turn:last-child .menu button:has-text('{name}')")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    told = json.loads(saved("JSON").read_text())
    (region,) = [region for span in told["answers"][0]["grounding"] for region in span["regions"]]
    assert told["picture"] == {"name": "harbour.png", "width": 757, "height": 546} and region["mask"]["size"] == [546, 757]
    (example,) = coco_instances(saved("COCO"), masks=True)
    assert isinstance(example.notes[0].said.spans[0].regions[0], Mask) and example.notes[0].said.text == "the crocodile"
    (task,) = json.loads(saved("Label Studio").read_text())
    (brush,) = task["predictions"][0]["result"]
    pixels = brushed(brush["value"]["rle"])
    assert len(pixels) == 4 * 546 * 757 and pixels.count(255) == 4 * decode_mask(mask_from_coco(region["mask"])).sum()
    with Image.open(saved("Picture")) as picture:
        assert picture.width >= 757 and picture.height > picture.width * 546 // 757
    page.verb("locate", "the ship")
    path = saved("Label Studio")
    (task,) = json.loads(path.read_text())
    path.write_text(json.dumps([{**task, "annotations": task["predictions"]}]))
    (example,) = label_studio(path)
    assert example.notes[0].said.text == "the ship" and isinstance(example.notes[0].said.spans[0].regions[0], Box)


def brushed(rle: list[int]) -> list[int]:
    """Label Studio's run lengths as it opens them: how many values, their bits, the bits of lengths; then runs and plain stretches."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated, length = read(1), sizes[read(2)]
        count = read(length) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    return values


def test_the_copied_calls_say_what_the_page_says(shown: Open, tmp_path: Path) -> None:
    page = shown("harbour")
    page.tab.click("[data-tool=box]")
    page.pull(*SHIP)
    page.ask()
    page.tab.click(".go-on")
    said = [page.ask("And what does it cost, in $ or `@`?"), page.verb("locate", "the ship; $HOME's `dog`")]
    (tmp_path / "harbour.png").write_bytes(HARBOUR.read_bytes())
    for number, words in enumerate(said, 2):
        for name, command in (("Python", [sys.executable, "-c"]), ("curl", ["bash", "-c"])):
            page.tab.click(f".turn:nth-child({number}) summary:has-text('Copy as')")
            page.tab.click(f".turn:nth-child({number}) .menu button:has-text('{name}')")
            page.tab.wait_for_selector("#status:has-text('Copied.')")
            copied = page.tab.evaluate("navigator.clipboard.readText()")
            run = subprocess.run([*command, copied], cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60)
            assert words.splitlines()[0].removeprefix("the ship: ") in run.stdout, run.stdout + run.stderr
        page.tab.evaluate("document.getElementById('status').textContent = ''")


def test_pictures_are_chosen_pasted_and_dropped_and_other_things_are_not(shown: Open, tmp_path: Path) -> None:
    page = shown()
    page.tab.set_input_files("#file", HARBOUR)
    page.tab.wait_for_selector("#status:has-text('harbour.png, 757 × 546')")
    give = """([kind, data, name]) => {
        const given = new DataTransfer();
        given.items.add(new File([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], name, { type: "image/png" }));
        const [paste, drop] = [{ clipboardData: given, bubbles: true }, { dataTransfer: given, bubbles: true }];
        document.body.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, paste) : new DragEvent(kind, drop));
    }"""
    for kind, sample in (("paste", "words"), ("drop", "kitchen")):
        data = base64.b64encode((PAGE / "samples" / f"{sample}.png").read_bytes()).decode()
        page.tab.evaluate(give, [kind, data, f"{sample}.png"])
        page.tab.wait_for_selector(f"#status:has-text('{sample}.png')")
    page.tab.evaluate(give, ["drop", base64.b64encode(b"words").decode(), "a.png"])
    page.tab.wait_for_selector("#status:has-text('This is no picture that the browser can read.')")


def test_everything_can_be_done_by_keys(shown: Open) -> None:
    page = shown(reduced_motion="reduce")
    keys = page.tab.keyboard

    def to(selector: str) -> None:
        for _ in range(60):
            if page.tab.evaluate(f"document.activeElement.matches({selector!r})"):
                return
            keys.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab")

    to("[data-sample=harbour]")
    keys.press("Enter")
    page.tab.wait_for_selector("#status:has-text('harbour.png')")
    page.tab.evaluate("document.activeElement.blur()")
    keys.press("b")
    to("#stage-0 .openseadragon-canvas")
    keys.press("Shift+ArrowLeft")
    keys.press("Enter")
    for _ in range(3):
        keys.press("Shift+ArrowDown")
        keys.press("Shift+ArrowRight")
    keys.press("Enter")
    drawn = "document.querySelector('.drawn.box.line').getBBox()"
    before = page.tab.evaluate(f"(({{x, y, width}}) => [x, y, width])({drawn})")
    to("[data-hold='1 -1']")
    keys.press("ArrowLeft")
    keys.press("Shift+ArrowDown")
    assert (page.focused(), page.told().partition(":")[0]) == ("box 1", "box 1")
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Shift+ArrowRight")
    x, y, width = page.tab.evaluate(f"(({{x, y, width}}) => [x, y, width])({drawn})")
    scale = page.at(1, 0)[0] - page.at(0, 0)[0]
    moved = [(x - before[0]) * scale, (y - before[1]) * scale, (width - before[2]) * scale]
    assert moved == pytest.approx([-4, 24, 24], abs=0.01) and page.focused() == "box 1, top right corner"
    keys.press("Escape")
    assert page.count(".held") == 0
    keys.press("Shift+ArrowRight")  # the cross again, for the box that is still in hand
    assert page.told().endswith("% down") and not page.told().startswith("box")
    pixels = page.tab.locator("#stage-0 canvas").screenshot()
    for letter in "rfwad":  # OpenSeadragon would turn, mirror and move the picture beneath its marks
        keys.press(letter)
    page.tab.wait_for_timeout(100)
    assert page.tab.locator("#stage-0 canvas").screenshot() == pixels
    assert page.texts("#drawn li") == ["1 box"] and page.tab.locator("#status").get_attribute("role") == "status"
    to("#field")
    keys.press("Enter")
    assert page.answer() and page.tab.locator(".answer").get_attribute("aria-live") == "polite"
    to("#first summary")
    keys.press("Enter")
    to("#first input")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    assert page.tab.inner_text("#first .model-name") == "monkey-nano" and page.tab.locator("#first .menu").is_visible()
    keys.press("Enter")
    assert not page.tab.locator("#first .menu").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_by_day_and_by_night(shown: Open, scheme: str) -> None:
    page = shown("harbour", viewport={"width": 390, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True)
    page.tab.tap("[data-tool=point]")
    page.tab.touchscreen.tap(*page.at(330, 110))
    page.tab.tap("[data-tool=box]")
    page.swipe((500, 300), (560, 320), (640, 480))
    page.tab.tap("[aria-label='Change box 2']")
    page.swipe((640, 480), (660, 480), (700, 400))
    assert page.told() == "box 2, bottom right corner: 92 % across, 73 % down"
    page.tab.tap("[aria-label='Remove box 2']")
    assert page.texts("#drawn li") == ["1 point"] and page.ask()
    assert page.tab.evaluate("document.documentElement.scrollWidth") == 390
    for part in ("#first summary", "#tools", "#stage-0", "#history", "#field", "button[data-verb=ask]"):
        edge = page.tab.locator(part).bounding_box()
        assert edge["x"] >= 0 and edge["x"] + edge["width"] <= 391 and edge["y"] + edge["height"] <= 741, part
    ground = page.tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert ground > 200 if scheme == "light" else ground < 50


def test_a_scene_that_has_expired_is_looked_at_again(shown: Open, server: Served) -> None:
    page = shown("kitchen")
    said = page.verb("caption")
    server.desk.scenes.clear()
    assert page.verb("caption") == said
    assert all("410" in complaint for complaint in page.complaints) and len(page.complaints) == 1
    page.complaints.clear()


def test_what_goes_wrong_is_told_in_plain_words(chromium: Any, start: Callable[..., Served]) -> None:
    served = start(api_key="right")
    context = chromium.new_context(base_url=served.url, viewport=WIDE, http_credentials={"username": "", "password": "right"})
    page = Shown(context.new_page())
    page.tab.goto("/")
    page.tab.wait_for_selector(".model-name")
    page.sample("kitchen")
    page.tab.evaluate("sessionStorage.setItem('foveal-key', 'wrong')")
    page.verb("caption")
    assert page.texts(".trouble") == ["This server wants a key."] and page.tab.locator("#key").is_visible()
    page.tab.fill("#key-field", "right")
    page.tab.click("#key .main")
    assert len(page.verb("caption")) > 5
    context.set_offline(True)
    page.verb("caption")
    assert page.texts(".turn:last-child .trouble") == ["The server does not answer. Is it still running?"]
    context.close()


@pytest.mark.slow
def test_a_picture_of_a_hundred_million_pixels_moves_smoothly(shown: Open, tmp_path: Path) -> None:
    """Frame times on an idle machine are measured by benchmarks/page.py; here they only have to be those of a picture that moves."""
    with Image.open(HARBOUR) as small:
        small.convert("RGB").resize((12_000, 9_000), Image.Resampling.NEAREST).save(tmp_path / "large.jpg")
    page = shown()
    page.tab.set_input_files("#file", tmp_path / "large.jpg")
    page.tab.wait_for_selector("#status:has-text('large.jpg, 12000 × 9000')")
    for _ in range(5):
        page.tab.click("[data-zoom='1.6']")
    page.tab.evaluate(
        """() => {
            const times = (window.times = []);
            const step = time => { times.push(time); requestAnimationFrame(step); };
            requestAnimationFrame(step);
        }"""
    )
    page.pull((6000, 4500), (7000, 4000), (6500, 5000), (5500, 4800), (6000, 4500))
    times = page.tab.evaluate("() => window.times")
    frames = sorted(after - before for before, after in pairwise(times))
    median, late = frames[len(frames) // 2], frames[int(0.95 * len(frames))]
    print(f"{len(frames)} frames, {median:.1f} ms each (median), {late:.1f} ms (95 %)")
    assert len(frames) > 3 and median < 150


def test_the_page_is_whole_and_asks_nobody_else() -> None:
    for name in ("index.html", "style.css"):
        assert "//" not in (PAGE / name).read_text().replace("http://www.w3.org", "")
    assert "BSD" in (PAGE / "LICENCES.txt").read_text() and "openseadragon" in (PAGE / "LICENCES.txt").read_text()
    for name, named in re.findall(r'"(page\.js|style\.css)\?(\w+)"', (PAGE / "index.html").read_text()):
        assert hashlib.sha256((PAGE / name).read_bytes()).hexdigest().startswith(named), f"{name} is not the one that was built: make page"
    for sample in ("harbour", "kitchen", "words"):
        assert (PAGE / "samples" / f"{sample}.png").read_bytes() == (ROOT / "examples" / "pictures" / f"{sample}.png").read_bytes()

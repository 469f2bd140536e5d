"""The page in a real browser: questions that go on from an answer, and places that are changed after they were drawn."""

from typing import Any

import pytest
from paged import HARBOUR, SHIP, Open

from foveal.geometry import Box
from foveal.grounding import GroundedText, Turn
from foveal.session import Session


def test_a_question_goes_on_from_the_answer_before_when_that_is_wished(shown: Open, nano: dict[str, Session]) -> None:
    page = shown("harbour")
    page.tab.click("[data-tool=box]")
    page.pull(*SHIP)
    first = page.ask()
    assert not page.tab.locator("#dialogue").is_visible()
    page.tab.click(".turn:last-child .go-on")
    with page.tab.expect_request("**/v1/chat/completions") as asked:
        second = page.ask("And what colour is it?")
    messages = asked.value.post_data_json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [part["type"] for part in messages[0]["content"]] == ["scene", "text", "region", "text"]
    assert messages[1] == {"role": "assistant", "content": first, "grounding": []}
    assert messages[2]["content"] == [{"type": "text", "text": "And what colour is it?"}]
    box = GroundedText.join("What is ", Box(*messages[0]["content"][2]["box"]), "?")
    turns = (Turn("user", box), Turn("assistant", GroundedText(first)), Turn("user", GroundedText("And what colour is it?")))
    assert second == nano["ferret-v2-nano"].look(HARBOUR).reply_many([turns])[0].text
    page.tab.click("#dialogue summary")
    assert page.texts("#sent li") == [f"What is 1?\nferret-v2-nano: {first}", f"And what colour is it?\nferret-v2-nano: {second}"]
    page.tab.click("[aria-label='Remove box 1']")
    page.pull((549, 357), (668, 505))
    assert page.texts("#drawn li") == ["2 box"]  # 1 was spoken of
    page.tab.click(".turn:first-child .go-on")  # goes on from there, and its place is there again
    assert page.texts("#drawn li") == ["1 box", "2 box"] and page.texts("#sent li") == [f"What is 1?\nferret-v2-nano: {first}"]
    page.tab.click("#anew")
    with page.tab.expect_request("**/v1/chat/completions") as asked:
        page.ask("What is in the picture?")
    assert len(asked.value.post_data_json["messages"]) == 1 and page.count(".turn.goes-on") == 1


def test_places_that_were_said_go_back_to_the_model_that_said_them(shown: Open) -> None:
    page = shown("harbour")
    page.tab.click("#compare")
    page.choose("monkey-nano", "second")
    asked: list[dict[str, Any]] = []
    page.tab.on("request", lambda request: asked.append(request.post_data_json) if request.url.endswith("completions") else None)
    page.ask("What are the locations of the ship?")
    said = page.texts(".turn:last-child .words")
    page.tab.click(".go-on")
    page.ask("What is it?")
    heard = {body["model"]: body["messages"] for body in asked[2:]}
    assert [heard[name][1]["content"] for name in ("ferret-v2-nano", "monkey-nano")] == said and said[0] != said[1]
    (phrase,) = heard["ferret-v2-nano"][1]["grounding"]
    assert "ship" in said[0][phrase["start"] : phrase["end"]] and [list(region) for region in phrase["regions"]] == [["box"]]
    page.tab.click("#compare")
    page.choose("pixelllm-nano")
    alone = "pixelllm-nano reads each question alone: what was said before is not sent."
    assert page.tab.inner_text("#left-out") == alone
    page.ask("What is in the picture?")
    assert len(asked[-1]["messages"]) == 1 and page.texts(".turn:last-child .note") == [alone]


def test_what_a_model_does_not_take_of_a_conversation_is_left_out_and_said(shown: Open) -> None:
    page = shown("harbour", model="monkey-nano")
    page.ask("What is in the picture?")
    page.tab.click(".go-on")
    for number in range(6):
        page.ask(f"And number {number}?")
    left = "1 of 7 earlier questions is left out: monkey-nano is sent the last 6 that it answered, with 200 places at most."
    assert page.tab.inner_text("#left-out") == left and page.count("#sent li.unsent") == 1
    with page.tab.expect_request("**/v1/chat/completions") as asked:
        page.ask("word " * 200)
    messages = asked.value.post_data_json["messages"]
    assert len(messages) == 13 and messages[0]["content"][0]["type"] == "scene" and messages[0]["content"][1]["text"] == "And number 0?"
    assert page.texts(".turn:last-child .note") == [left]
    assert page.ask("word " * 200) and page.complaints and all("400" in complaint for complaint in page.complaints)
    page.complaints.clear()
    (note,) = page.texts(".turn:last-child .note")
    assert note.startswith("Asked without what was said before, which monkey-nano did not take: ") and page.texts(".turn:last-child .trouble") == [""]


def test_what_is_drawn_can_be_moved_and_reshaped_and_that_undone(shown: Open) -> None:
    page = shown("harbour")
    page.tab.click("[data-tool=box]")
    page.pull(*SHIP)
    page.tab.click("[data-tool=polygon]")
    for corner in ((560, 360), (660, 360), (660, 500), (560, 360)):
        page.tab.mouse.click(*page.at(*corner))
    page.tab.click("[data-tool=scribble]")
    page.pull((150, 60), (190, 90), (160, 120))
    page.tab.click("[data-tool='']")
    asks = page.tab.inner_text("#field")
    page.tab.keyboard.press("Control+z")
    assert asks == "What is 1? 23" and page.tab.inner_text("#field") == "What is 1? 2"
    page.tab.keyboard.press("Control+Shift+z")
    assert page.tab.inner_text("#field") == asks
    page.pull((127, 300), (157, 320))  # by its edge
    page.pull((257, 374), (227, 374))  # by a corner
    assert page.told() == "box 1, bottom right corner: 30 % across, 68 % down" and page.focused() == "box 1, bottom right corner"
    page.pull((560, 360), (460, 360))
    assert page.told() == "polygon 2: 61 to 74 % across, 66 to 92 % down"  # by its number, and first as a whole
    page.pull((560, 500), (500, 530))
    assert page.told() == "polygon 2, corner 3 of 3: 66 % across, 97 % down"
    page.pull((190, 90), (290, 190))
    page.tab.mouse.click(*page.at(400, 480))
    assert page.count(".held") == 0
    with page.tab.expect_request("**/v1/chat/completions") as asked:
        page.ask()
    parts = [part for part in asked.value.post_data_json["messages"][0]["content"] if part["type"] == "region"]
    assert parts[0]["box"] == pytest.approx([157 / 757, 276 / 546, 227 / 757, 374 / 546], abs=0.004)
    assert parts[1]["polygon"][2] == pytest.approx([500 / 757, 530 / 546], abs=0.004)
    assert parts[2]["scribble"][0] == pytest.approx([250 / 757, 160 / 546], abs=0.004)
    asked_about = page.tab.locator(".drawn.past.line")
    assert asked_about.count() == 0
    page.pull((157, 300), (257, 300))
    assert asked_about.count() == 1  # the question was about where it had been
    page.tab.keyboard.press("Control+z")
    assert asked_about.count() == 0
    page.tab.keyboard.press("Delete")
    assert page.texts("#drawn li") == ["2 polygon", "3 scribble"]
    for _ in range(10):
        page.tab.keyboard.press("Control+z")
    assert page.texts("#drawn li") == [] and page.told() == "There is nothing to undo."
    for _ in range(3):
        page.tab.keyboard.press("Control+Shift+z")
    assert page.texts("#drawn li") == ["1 box", "2 polygon", "3 scribble"]

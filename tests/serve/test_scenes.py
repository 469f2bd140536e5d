"""Scenes: looked at once, asked about often, kept within a budget, and gone in good order."""

from typing import Any

import pytest
from served import MODELS, Served, data_url, picture, png

from foveal.geometry import Box
from foveal.serve.metrics import Metrics
from foveal.serve.scenes import SceneStore, bare, bytes_of, scene_id
from foveal.session import Session


def scene_of(server: Served, model: str, seed: int = 0) -> dict[str, Any]:
    reply = server.http.post("/v1/scenes", json={"image": data_url(png(seed)), "model": model})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_the_same_image_is_the_same_scene_uploaded_or_as_a_url(server: Served) -> None:
    scene = scene_of(server, MODELS[0])
    uploaded = server.http.post("/v1/scenes", files={"file": ("../../a.png", png(0), "text/html")}, data={"model": MODELS[0]})
    assert uploaded.json()["id"] == scene["id"] != scene_of(server, MODELS[1])["id"]
    assert (scene["width"], scene["height"], scene["model"]) == (*picture(0).size, MODELS[0])
    assert server.http.get(f"/v1/scenes/{scene['id']}").json()["bytes"] == scene["bytes"] > 1000


def test_a_hundred_regions_are_answered_in_one_call_as_each_offline(server: Served, nano: dict[str, Session]) -> None:
    scene = scene_of(server, MODELS[0], 1)
    boxes = [Box(0.006 * number, 0.1, 0.006 * number + 0.3, 0.1 + 0.008 * number + 0.02) for number in range(100)]
    body = {"regions": [{"box": [box.x0, box.y0, box.x1, box.y1]} for box in boxes], "max_tokens": 6}
    found = server.http.post(f"/v1/scenes/{scene['id']}/describe", json=body).json()["answers"]
    seen = nano[MODELS[0]].look(picture(1))
    assert [answer["text"] for answer in found] == [seen.describe(box, max_new_tokens=6).text for box in boxes]


@pytest.mark.parametrize("model", MODELS[:2])
def test_every_verb_says_what_it_says_offline_or_why_it_does_not(server: Served, nano: dict[str, Session], model: str) -> None:
    scene, seen = scene_of(server, model, 2), nano[model].look(picture(2))
    asks: dict[str, tuple[dict[str, Any], Any]] = {
        "ask": ({"content": "What is in the picture?"}, lambda: [seen.ask("What is in the picture?")]),
        "locate": ({"phrases": ["the dog", " the ship "]}, lambda: seen.locate(["the dog", "the ship"])),
        "caption": ({"grounded": True}, lambda: [seen.caption(grounded=True)]),
        "detect": ({}, lambda: [seen.detect()]),
        "segment": ({"phrases": ["the dog"]}, lambda: seen.segment(["the dog"])),
        "dense": ({}, lambda: [seen.dense_captions()]),
    }
    for verb, (body, offline) in asks.items():
        reply = server.http.post(f"/v1/scenes/{scene['id']}/{verb}", json=body)
        try:
            wanted = offline()
        except ValueError as error:
            assert (reply.status_code, reply.json()["error"]["message"]) == (400, str(error))
            continue
        found = reply.json()["answers"]
        assert [answer["text"] for answer in found] == [answer.text for answer in wanted]
        assert [[span["start"], span["end"]] for answer in found for span in answer["grounding"]] == [
            [span.start, span.end] for answer in wanted for span in answer.spans
        ]
        for answer in found:
            for span in answer["grounding"]:
                for region in span["regions"]:
                    assert region["box_px"] == pytest.approx([value * side for value, side in zip(region["box"], [*seen.size] * 2, strict=True)])


def test_one_question_that_cannot_be_asked_does_not_stop_the_others(server: Served) -> None:
    scene = scene_of(server, MODELS[0])
    body = {"questions": ["What?", "why " * 2000, [{"type": "text", "text": "Is "}, {"type": "region", "point": [0.5, 0.5]}]], "max_tokens": 4}
    first, long, last = server.http.post(f"/v1/scenes/{scene['id']}/ask", json=body).json()["answers"]
    assert first["error"] is None and last["error"] is None and first["text"]
    assert long["finish_reason"] == "error" and "are read" in long["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("ask", {}, 400, "either content"),
        ("ask", {"content": "?", "questions": ["?"]}, 400, "either content"),
        ("ask", {"questions": []}, 400, ""),
        ("locate", {"phrases": ["  "]}, 400, "phrase is empty"),
        ("locate", {"phrases": ["a"] * 300}, 413, "phrases were given"),
        ("describe", {"regions": [{"box": [0, 0, 1, 1], "point": [0, 0]}]}, 400, "exactly one"),
        ("describe", {"regions": [{"box_px": [0, 0, 9999, 1]}]}, 400, "outside the image"),
        ("caption", {"detailed": True, "grounded": True}, 400, "both detailed and grounded"),
        ("caption", {"model": "monkey-nano"}, 400, "was looked at by ferret-v2-nano"),
        ("nothing", {}, 405, "There is no POST"),
    ],
)
def test_what_cannot_be_asked_of_a_scene_is_refused(server: Served, path: str, body: dict[str, Any], status: int, words: str) -> None:
    reply = server.http.post(f"/v1/scenes/{scene_of(server, MODELS[0])['id']}/{path}", json=body)
    assert reply.status_code == status and words in reply.json()["error"]["message"], reply.text


def test_a_scene_that_is_let_go_is_gone_and_one_that_never_was_is_not_there(start: Any) -> None:
    served = start()
    scene = scene_of(served, MODELS[0])["id"]
    assert served.http.delete(f"/v1/scenes/{scene}").json() == {"id": scene, "deleted": True}
    for reply in (served.http.get(f"/v1/scenes/{scene}"), served.http.post(f"/v1/scenes/{scene}/detect", json={})):
        assert reply.status_code == 410 and "look at the image again" in reply.json()["error"]["message"]
    assert served.http.get("/v1/scenes/scene-0").status_code == 404
    assert served.http.get("/v1/scenes/..%2f..%2fetc%2fpasswd").status_code == 404
    assert scene_of(served, MODELS[0])["id"] == scene and served.http.get(f"/v1/scenes/{scene}").status_code == 200


def test_the_least_recently_used_scene_goes_first_and_none_outlives_its_time(nano: dict[str, Session]) -> None:
    now = [1000.0]
    scenes = [bare(nano[MODELS[0]].look(picture(seed))) for seed in range(3)]
    each = max(bytes_of(scene) for scene in scenes)
    store = SceneStore(2 * each, 60, Metrics(), lambda: now[0])
    names = [scene_id(MODELS[0], png(seed)) for seed in range(3)]
    for name, scene in zip(names[:2], scenes, strict=False):
        store.put(name, MODELS[0], scene)
    store.get(names[0])
    store.put(names[2], MODELS[0], scenes[2])
    assert store.find(names[1]) is None and store.find(names[0]) and store.find(names[2])
    now[0] += 59
    store.get(names[2])
    now[0] += 59
    assert store.find(names[0]) is None and store.find(names[2])


def test_a_scene_keeps_no_pixels_and_answers_the_same(nano: dict[str, Session]) -> None:
    for session in nano.values():
        scene = session.look(picture(0))
        kept = bare(scene)
        assert kept.picture.pixels is None and kept.size == scene.size
        assert kept.ask("What is it?", max_new_tokens=8) == scene.ask("What is it?", max_new_tokens=8)

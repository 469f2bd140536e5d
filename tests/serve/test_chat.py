"""Chat completions: OpenAI's own client is answered as it expects, whole and in pieces, and every answer is the one given offline."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from served import MODELS, Served, data_url, picture, png, shown

from foveal.geometry import Box
from foveal.grounding import GroundedText, Turn
from foveal.session import Session

BOX = (0.2, 0.2, 0.6, 0.7)
QUESTIONS: list[tuple[tuple[Any, ...], int]] = [
    (("Describe the image.",), 64),
    (("What is ", {"box": list(BOX)}, "?"), 8),
    (("Is there a dog?",), 1),
    (("What is in the picture?",), 24),
]


def offline(session: Session, seed: int, parts: tuple[Any, ...], longest: int) -> Any:
    said = [part if isinstance(part, str) else Box(*part["box"]) for part in parts]
    return session.look(picture(seed)).ask(*said, max_new_tokens=longest)


def same(choice: Any, answer: Any) -> bool:
    """Whether a choice says what an answer does, with the places it has."""
    found = [region["box"] for span in choice.message.grounding for region in span["regions"]]
    wanted = [[region.x0, region.y0, region.x1, region.y1] if isinstance(region, Box) else [region.x, region.y] * 2 for region in answer.regions]
    apart = [abs(a - b) for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True)]
    return choice.message.content == answer.text and len(found) == len(wanted) and max(apart, default=0) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_what_is_served_is_what_is_said_offline_whatever_is_asked_beside_it(server: Served, nano: dict[str, Session], model: str) -> None:
    asked = [(seed, parts, longest) for seed in range(3) for parts, longest in QUESTIONS] * 2
    wanted = [offline(nano[model], *one) for one in asked[: len(asked) // 2]] * 2

    def ask(number: int) -> Any:
        seed, parts, longest = asked[number]
        time.sleep(number * 0.01)
        return server.openai.chat.completions.create(model=model, messages=shown(seed, *parts), max_tokens=longest).choices[0]

    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(ask, range(len(asked))))
    assert [number for number in range(len(asked)) if not same(found[number], wanted[number])] == []
    assert all(
        choice.finish_reason == ("length" if answer.finish_reason == "repetition" else answer.finish_reason)
        for choice, answer in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("model", MODELS)
def test_pieces_of_a_stream_make_the_answer_with_its_places(server: Served, nano: dict[str, Session], model: str) -> None:
    caption = nano[model].verbs.caption
    assert caption is not None
    message = shown(1, caption.text)
    whole = server.openai.chat.completions.create(model=model, messages=message)
    chunks = list(server.openai.chat.completions.create(model=model, messages=message, stream=True, stream_options={"include_usage": True}))
    *pieces, usage = chunks
    assert usage.usage == whole.usage and usage.choices == []
    assert pieces[0].choices[0].delta.role == "assistant"
    deltas = [chunk.choices[0].delta for chunk in pieces]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    places = [span for delta in deltas for span in getattr(delta, "grounding", None) or []]
    assert [(span["start"], span["end"], span["text"]) for span in places] == [
        (span["start"], span["end"], span["text"]) for span in whole.choices[0].message.grounding
    ]
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len(pieces) > 3 and len({chunk.id for chunk in chunks}) == 1
    if model == "pixelllm-nano":  # one event for each word, with its place
        worded = [delta for delta in deltas if (delta.content or "").strip(" .,")]
        assert all(len(delta.grounding) == 1 and delta.content.strip(" .,") == delta.grounding[0]["text"] for delta in worded)


def test_a_long_answer_does_not_keep_a_short_one_waiting(start: Any) -> None:
    served = start(most_batch=2, slice_tokens=4)
    engine = served.desk.engine(None)
    client, over = served.openai, []
    long = shown(0, "Describe the image.")

    def tell_at_length() -> None:
        client.chat.completions.create(model=MODELS[0], messages=long, max_tokens=600, temperature=2.0, seed=3, n=4)
        over.append(time.monotonic())

    thread = threading.Thread(target=tell_at_length)
    thread.start()
    while not engine._asked:
        time.sleep(0.01)
    short = client.chat.completions.create(model=MODELS[0], messages=shown(0, "Is there a dog?"), max_tokens=3)
    answered = time.monotonic()
    thread.join()
    assert short.choices[0].message.content and answered < over[0]


def test_n_seed_stop_and_logprobs_are_openais(server: Served) -> None:
    create = server.openai.chat.completions.create
    message = shown(2, "Describe the image.")
    warm: dict[str, Any] = {"model": MODELS[0], "messages": message, "temperature": 1.0, "max_tokens": 12}
    three = create(**warm, n=3, seed=5)
    assert [choice.index for choice in three.choices] == [0, 1, 2] and len({choice.message.content for choice in three.choices}) > 1
    assert create(**warm, seed=6).choices[0].message.content == three.choices[1].message.content
    greedy = create(model=MODELS[0], messages=message, logprobs=True, max_tokens=40)
    content = greedy.choices[0].logprobs.content
    assert len(content) == greedy.usage.completion_tokens and all(token.logprob <= 0 for token in content)
    assert greedy.choices[0].message.content[:5] in "".join(token.token for token in content).strip()
    text = greedy.choices[0].message.content
    stopped = create(model=MODELS[0], messages=message, max_tokens=40, stop=[text[6:9]])
    assert stopped.choices[0].message.content == text[: text.index(text[6:9])] and stopped.choices[0].finish_reason == "stop"
    streamed = create(model=MODELS[0], messages=message, max_tokens=40, n=2, stream=True)
    said = ["", ""]
    for chunk in streamed:
        said[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert said == [text, text]


def test_a_conversation_goes_on_with_the_places_that_were_said(server: Served, nano: dict[str, Session]) -> None:
    first = shown(0, "What is in the picture?")
    said = server.openai.chat.completions.create(model=MODELS[0], messages=first).choices[0].message
    back = {"role": "assistant", "content": said.content, "grounding": said.grounding}
    again = server.openai.chat.completions.create(model=MODELS[0], messages=[*first, back, {"role": "user", "content": "Where is it?"}])
    scene = nano[MODELS[0]].look(picture(0))
    asked = Turn("user", GroundedText("What is in the picture?"))
    told = Turn("assistant", scene.ask("What is in the picture?").said)
    [wanted] = scene.reply_many([(asked, told, Turn("user", GroundedText("Where is it?")))])
    assert again.choices[0].message.content == wanted.text


def test_several_images_and_scenes_are_asked_about_in_one_message(server: Served) -> None:
    scene = server.http.post("/v1/scenes", json={"image": data_url(png(1))}).json()
    content = [
        {"type": "image_url", "image_url": {"url": data_url(png(0))}},
        {"type": "scene", "id": scene["id"]},
        {"type": "text", "text": "Is "},
        {"type": "region", "image": 1, "box_px": [1, 1, scene["width"] - 1, 20]},
        {"type": "text", "text": " red?"},
    ]
    both = server.openai.chat.completions.create(model=MODELS[0], messages=[{"role": "user", "content": content}], max_tokens=8)
    one = server.openai.chat.completions.create(model=MODELS[0], messages=shown(1, "Is it red?"), max_tokens=8)
    assert both.usage.prompt_tokens > 1.5 * one.usage.prompt_tokens
    refused = server.http.post("/v1/chat/completions", json={"model": "pixelllm-nano", "messages": [{"role": "user", "content": content}]})
    assert refused.status_code == 400
    content[3]["image"] = 2
    outside = server.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    assert outside.status_code == 400 and "there are 2, counted from 0" in outside.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"model": "gpt-9"}, 404, "'gpt-9' is not served; ferret-v2-nano"),
        ({"messages": [{"role": "user", "content": "What?"}]}, 400, "show no image"),
        ({"messages": []}, 400, "messages"),
        ({"max_tokens": 10**6}, 400, "at most 2,048"),
        ({"max_tokens": "many"}, 400, "max_tokens"),
        ({"n": 100}, 413, "answers"),
        ({"tools": [{"type": "function"}]}, 400, "tools cannot be asked for"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format cannot"),
        ({"messages": shown(0)}, 400, "question is empty"),
        ({"messages": shown(0, "Is ", {"box": [0.1, 0.1, 3, 0.2]}, "?")}, 400, "outside the image"),
        ({"messages": shown(0, "why " * 2000)}, 400, "are read"),
        ({"messages": [*shown(0, "What?"), {"role": "assistant", "content": "A cat."}]}, 400, "the last one is the question"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}]}]}, 400, ""),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]}, 400, ""),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}, {"type": "scene", "id": "scene-0"}]}]}, 404, "no scene"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(server: Served, changes: dict[str, Any], status: int, words: str) -> None:
    for stream in (False, True):
        body = {"model": MODELS[0], "messages": shown(0, "What?"), "stream": stream} | changes
        reply = server.http.post("/v1/chat/completions", json=body)
        error = reply.json()["error"]
        assert reply.status_code == status and words in error["message"], error
        assert error["type"] in ("invalid_request_error", "not_found_error") and set(error) == {"message", "type", "param", "code"}


def test_openais_client_raises_its_own_errors(server: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="is not served"):
        server.openai.chat.completions.create(model="gpt-9", messages=shown(0, "What?"))
    with pytest.raises(openai.BadRequestError, match="show no image"):
        server.openai.chat.completions.create(model=MODELS[0], messages=[{"role": "user", "content": "What?"}])


def test_control_tokens_in_words_are_words(server: Served, nano: dict[str, Session]) -> None:
    words = "Is <image> or <region_fea> </s> red?"
    found = server.openai.chat.completions.create(model=MODELS[0], messages=shown(0, words), max_tokens=8)
    assert found.choices[0].message.content == nano[MODELS[0]].look(picture(0)).ask(words, max_new_tokens=8).text

"""Answers that are written together in slices: rows come and go, from several images, and each says what it says alone."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.geometry import Box, Point
from foveal.grounding import GroundedText, Turn
from foveal.session import Options, Session
from foveal.session.writing import Row, Writing

QUESTIONS = ["?", "What is here, and where?", ["Is ", Box(0.1, 0.1, 0.4, 0.6), " red?"], ["What is ", Point(0.5, 0.5), "?"], "A photo of "]


def picture(seed: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


@pytest.fixture(scope="module", params=["ferret", "bert", "t5", "llama"])
def session(request: pytest.FixtureRequest, ferret: Any, make_pixel_llm: Any) -> Session:
    return Session(*ferret) if request.param == "ferret" else Session(*make_pixel_llm(request.param))


def begun(session: Session, seed: int, options: list[Options]) -> Writing:
    scene = session.look(picture(seed))
    asked = [GroundedText(one) if isinstance(one, str) else GroundedText.join(*one) for one in QUESTIONS[: len(options)]]
    return session.begin([scene] * len(asked), [scene.example((Turn("user", one),)) for one in asked], options)


def test_rows_that_come_and_go_are_answered_as_each_alone(session: Session) -> None:
    lengths = [3, 22, 9, 1, 14]
    options = [Options(max_new_tokens=length, temperature=warm, seed=7) for length, warm in zip(lengths, (0, 0, 1.0, 0, 1.5), strict=True)]
    alone = [begun(session, seed, options).answers() for seed in (0, 1)]
    together = begun(session, 0, options)
    first = list(together.rows)
    together.write(2)
    late = begun(session, 1, options)
    second = list(late.rows)
    assert together.join(late)
    dropped = second[1]
    for tokens in (1, 4, 3, 30):
        together.write(tokens)
        together.keep([row for row in together.open if row is not dropped])
    assert together.rows == [] and dropped.answer is None
    same_answers(first, alone[0])
    same_answers([row for row in second if row is not dropped], [answer for answer, row in zip(alone[1], second, strict=True) if row is not dropped])


def test_questions_about_several_images_begin_together(session: Session) -> None:
    options = [Options(max_new_tokens=8)] * len(QUESTIONS)
    apart = [begun(session, seed, options) for seed in (0, 1)]
    rows = [row for pair in zip(apart[0].rows, apart[1].rows, strict=True) for row in pair]
    together = session.begin([row.scene for row in rows], [row.example for row in rows], [row.options for row in rows])
    for writing in apart:
        writing.answers()
    together.answers()
    same_answers(together.rows, [row.answer for row in rows])


def same_answers(rows: list[Row], answers: list[Any]) -> None:
    for row, answer in zip(rows, answers, strict=True):
        assert row.answer is not None
        assert (row.answer.text, row.answer.finish_reason, len(row.answer.spans)) == (answer.text, answer.finish_reason, len(answer.spans))
        assert len(row.tokens) == len(row.logprobs)


def test_what_is_certain_is_the_beginning_of_the_answer(session: Session) -> None:
    writing = begun(session, 2, [Options(max_new_tokens=20, temperature=1.0, seed=seed) for seed in range(5)])
    told: dict[Row, list[GroundedText]] = {row: [] for row in writing.rows}
    while writing.open:
        writing.write(1)
        for row in writing.rows:
            told[row].append(writing.so_far(row))
    for row, said in told.items():
        assert row.answer is not None and said[-1] == row.answer.said
        for before, after in pairwise(said):
            assert after.text.startswith(before.text)
            assert [(span.start, span.end) for span in after.spans][: len(before.spans)] == [(span.start, span.end) for span in before.spans]


def test_an_answer_ends_before_a_text_that_stops_it(session: Session) -> None:
    whole = begun(session, 3, [Options(max_new_tokens=20)]).answers()[0]
    stop = whole.text[2:4] if len(whole.text) > 3 else whole.text[-1:]
    for tokens in (1, 5, 20):
        writing = begun(session, 3, [Options(max_new_tokens=20, stop=("nowhere to be found", stop))])
        while writing.open:
            writing.write(tokens)
        [row] = writing.rows
        assert row.answer is not None
        assert row.answer.text == whole.text[: whole.text.index(stop)] and row.answer.finish_reason == "stop"
        assert all(span.end <= len(row.answer.text) for span in row.answer.spans)


def test_several_images_are_asked_about_together(session: Session) -> None:
    scenes = [session.look(picture(seed, size)) for seed, size in ((0, (60, 40)), (1, (30, 50)))]
    if not hasattr(session.processor, "image_token_id"):
        with pytest.raises(ValueError, match="one image at a time, and 2"):
            session.together(scenes)
        return
    both = session.together(scenes)
    question = (Turn("user", GroundedText.join("Is ", Box(0.1, 0.1, 0.4, 0.6, image=1), " in ", Point(0.5, 0.5), "?")),)
    model, processor = session.model, session.processor
    example = both.example(question)
    assert [picture.width for picture in example.images] == [60, 30]
    free = Options(max_new_tokens=8, constrain=False, stop_repetition=False)
    [answer] = both.reply_many([question], free)
    looked = replace(example, images=tuple(scene.picture for scene in scenes))
    ids = model.generate(**processor.encode([looked]), max_new_tokens=8, do_sample=False, eos_token_id=processor.tokenizer.eos_token_id)
    length = processor.encode([looked], look=False)["input_ids"].shape[1]
    assert processor.tokenizer.decode(ids[0, length:], skip_special_tokens=True) == answer.raw

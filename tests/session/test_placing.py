"""Asking a model whose every word has a place: what is written, read, outlined and told at once, alone, in batches and as a stream."""

import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.geometry import Box, Mask, Point, Region, Trace, decode_mask, encode_mask
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.grounding.wordings.pixel_llm import EVERYTHING, ask_object
from foveal.session import Answer, Options, Scene, Session
from foveal.session.finding import batch_of, prompt_of

BRIEF = Options(max_new_tokens=8)
PHRASES = ["the red cup", "a hat", "the dog on a hat of the dog"]


def picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


@pytest.fixture(scope="module")
def session(pixel_llm: Any) -> Session:
    return Session(*pixel_llm, "tiny")


@pytest.fixture(scope="module")
def scene(session: Session) -> Scene:
    return session.look(picture())


def near(one: Answer, other: Answer) -> bool:
    """Whether two answers say the same, of places that differ by no more than sums in another order do."""
    same = [one.text, one.finish_reason, len(one.spans)] == [other.text, other.finish_reason, len(other.spans)]
    return same and all(_apart(*pair) < 1e-4 for pair in zip(one.regions, other.regions, strict=True))


def _apart(one: Region, other: Region) -> float:
    if isinstance(one, Mask) and isinstance(other, Mask):
        return float((decode_mask(one) != decode_mask(other)).mean()) / 100  # a pixel at the edge may fall either way
    assert type(one) is type(other)
    return max(abs(a - b) for a, b in zip(_numbers(one), _numbers(other), strict=True))


def _numbers(region: Region) -> list[float]:
    return [getattr(region, name) for name in ("x", "y", "x0", "y0", "x1", "y1") if hasattr(region, name)]


@pytest.mark.parametrize("kind", ["bert", "t5", "llama"])
def test_every_word_of_a_caption_has_a_place_with_a_score(make_pixel_llm: Any, kind: str) -> None:
    scene = Session(*make_pixel_llm(kind)).look(picture())
    for answer in (scene.caption(options=BRIEF, temperature=1.0), scene.caption(detailed=True, options=BRIEF), scene.ask("What?", options=BRIEF)):
        named = "".join(answer.text[span.start : span.end] for span in answer.spans)
        assert [letter for letter in named if letter.isalnum()] == [letter for letter in answer.text if letter.isalnum()]
        assert all(len(span.regions) == 1 and _lowest(span.regions[0]) >= 0 for span in answer.spans)
        assert all(score is not None and 0 <= score <= 1 for score in answer.scores)


def _lowest(region: Region) -> float:
    return min(_numbers(region))


def test_a_hundred_regions_are_described_as_each_alone(scene: Scene) -> None:
    corner = random.Random(0)
    regions: list[Region] = [Box(x := corner.uniform(0, 0.6), y := corner.uniform(0, 0.6), x + 0.3, y + 0.2) for _ in range(93)]
    regions += [Point(0.1 * step, 0.5) for step in range(1, 4)] + [Trace(((0.1, 0.1), (0.1 * step, 0.8))) for step in range(2, 5)]
    regions.append(encode_mask(np.eye(8, dtype=bool)))
    together = scene.describe(regions, max_new_tokens=5, batch=40)
    alone = [scene.describe(region, max_new_tokens=5) for region in regions]
    assert len({answer.text for answer in together}) > 2
    assert all(near(one, other) for one, other in zip(together, alone, strict=True))


def test_questions_of_all_kinds_are_answered_as_each_alone(scene: Scene) -> None:
    questions = ["?", ["What is ", Point(0.5, 0.5), " for?"], *(f"where is {one}" for one in PHRASES), "How many hats?"]
    questions += [f"outline of {one}" for one in PHRASES]
    together = scene.ask_many(questions, BRIEF)
    assert all(near(answer, scene.ask_many([question], BRIEF)[0]) for question, answer in zip(questions, together, strict=True))


def test_an_image_is_encoded_once_and_answers_the_same_every_time(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []
    encode = session.model.encode_images
    monkeypatch.setattr(session.model, "encode_images", lambda *given, **named: looks.append(given) or encode(*given, **named))
    fresh = session.look(picture(3))
    first = [fresh.caption(options=BRIEF), fresh.locate("a hat"), fresh.segment("a hat"), fresh.describe(Box(0, 0, 0.5, 0.5), BRIEF)]
    assert first == [fresh.caption(options=BRIEF), fresh.locate("a hat"), fresh.segment("a hat"), fresh.describe(Box(0, 0, 0.5, 0.5), BRIEF)]
    assert len(looks) == 1
    warm = Options(max_new_tokens=8, temperature=1.5, seed=7)
    before = torch.random.get_rng_state()
    assert fresh.caption(options=warm) == fresh.caption(options=warm) != fresh.caption(options=warm, seed=8)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_located_or_outlined_is_read_and_not_written(session: Session, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.model, "generate", lambda **given: pytest.fail("something was generated"))
    found, outlined = scene.locate(["the red cup ", "what is it?"]), scene.segment(PHRASES)
    assert [answer.text for answer in (*found, *outlined)] == ["the red cup", "what is it", *PHRASES]
    assert all(isinstance(answer.regions[0], Box | Point) and answer.finish_reason == "stop" for answer in found)
    assert scene.locate("a hat") == scene.ask("where is a hat")


@pytest.mark.parametrize("size", [(60, 40), (37, 91), (300, 4)])
def test_a_mask_has_the_size_of_the_picture(session: Session, size: tuple[int, int]) -> None:
    for answer in session.look(picture(1, size)).segment(PHRASES):
        assert all(isinstance(region, Mask) and (region.width, region.height) == size for region in answer.regions)
        assert all(score is not None and 0 <= score <= 1 for score in answer.scores)


def test_where_nothing_is_outlined_there_is_no_region(session: Session, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(sight: Any, image: torch.Tensor, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(image), 1, 14, 14), -1.0), torch.zeros(len(image), 1)

    monkeypatch.setattr(session.model, "draw_masks", empty)
    answer = scene.segment("a hat")
    assert answer.text == "a hat" and answer.regions == () and len(answer.spans) == 1


def test_everything_is_told_with_the_boxes_that_were_detected(session: Session, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = torch.tensor([[[0.0, 0, 28, 18.5], [14, 0, 56, 37], [40, 20, 56, 37], [0, 0, 0, 0]]])
    monkeypatch.setattr(session.model, "detect", lambda sight, sizes: (boxes, torch.tensor([[0.75, 0.5, 0.25, 0.0]])))
    told = scene.dense_captions(BRIEF, batch=2)
    wanted = [0, 0, 0.5, 0.5, 0.25, 0, 1, 1, 40 / 56, 20 / 37, 1, 1]
    assert [number for region in told.regions for number in _numbers(region)] == pytest.approx(wanted)
    assert told.scores == pytest.approx(_fused(session, told, (0.75, 0.5, 0.25)))
    assert len(set(told.scores)) == 3 and told.scores != pytest.approx((0.75, 0.5, 0.25))
    alone = scene.describe(list(told.regions), BRIEF)
    assert [told.text[span.start : span.end] for span in told.spans] == [answer.text for answer in alone]
    assert told.text == "; ".join(answer.text for answer in alone)
    assert told == scene.ask(EVERYTHING, options=BRIEF)
    monkeypatch.setattr(session.model, "detect", lambda sight, sizes: (boxes[:, [3, 0]], torch.tensor([[0.9, 0.75]])))
    assert scene.dense_captions(BRIEF).regions == told.regions[:1], "a box that lies in the padding has no extent in the picture"
    monkeypatch.setattr(session.model, "detect", lambda sight, sizes: (boxes, torch.zeros(1, 4)))
    assert scene.dense_captions(BRIEF) == Answer(GroundedText(""), "stop", "")


def _fused(session: Session, told: Answer, scores: Sequence[float]) -> list[float]:
    """sqrt(score · likelihood of the words) of what is told, the words written anew with the model's own `generate`."""
    asks = [Example("", (Picture(60, 40, data=b""),), (Turn("user", ask_object(region)),)) for region in told.regions]
    batch = batch_of(asks, session.model, session.processor)
    written = session.model.generate(
        **prompt_of(batch),
        context=batch["context"],
        sight=session.look(picture()).sight,
        max_new_tokens=BRIEF.max_new_tokens,
        return_dict_in_generate=True,
    )
    return [math.sqrt(score * math.exp(said)) for score, said in zip(scores, written.scores.tolist(), strict=True)]


def test_without_their_words_boxes_keep_the_scores_of_the_detector(make_pixel_llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Session(*make_pixel_llm(detector={}, fuses_scores=False))
    monkeypatch.setattr(plain.model, "detect", lambda sight, sizes: (torch.tensor([[[0.0, 0, 28, 18.5]]]), torch.tensor([[0.75]])))
    assert plain.look(picture()).dense_captions(BRIEF).scores == (0.75,)


def test_threads_that_ask_one_model_keep_their_words_places_apart(make_pixel_llm: Any) -> None:
    session = Session(*make_pixel_llm("llama"))
    scenes = [session.look(picture(seed)) for seed in range(2)]
    alone = [scene.caption(options=BRIEF) for scene in scenes]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda number: scenes[number % 2].caption(options=BRIEF), range(24)))
    assert not near(*alone)
    assert all(near(answer, alone[number % 2]) for number, answer in enumerate(together))


def test_a_detector_of_its_own_finds_what_is_told(make_pixel_llm: Any) -> None:
    detector = {"width": 8, "up": 4, "layers": 1, "groups": 2, "hidden": [6, 6], "peaks": 20, "proposals": 8, "detections": 4, "floor": 0.0}
    told = Session(*make_pixel_llm(detector=detector)).look(picture()).dense_captions(BRIEF)
    assert 1 <= len(told.regions) <= 4 and all(0 < score < 1 for score in told.scores)
    assert all(min(_numbers(region)) >= 0 and max(_numbers(region)) <= 1 for region in told.regions)


def test_pieces_of_a_stream_make_the_answer(scene: Scene) -> None:
    for question in ("What?", "where is a hat", "A photo of ", "An [open bracket"):
        *pieces, last = scene.stream(question, max_new_tokens=16, temperature=1.0)
        assert last == scene.ask(question, max_new_tokens=16, temperature=1.0)
        assert "".join(pieces) == last.text
        assert all(isinstance(piece, str) and piece for piece in pieces)


def test_leaving_a_stream_ends_the_generation(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = session.model.writer.step
    monkeypatch.setattr(session.model.writer, "step", lambda *given: steps.append(1) or step(*given))
    monkeypatch.setattr(session.model.writer, "eos_token_id", -1)
    pieces = session.look(picture(1)).stream("What?", max_new_tokens=22)
    next(pieces)
    pieces.close()
    assert 0 < len(steps) < 22


def test_an_answer_is_no_longer_than_the_model_has_places_for(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.model.writer, "eos_token_id", -1)
    answer = session.look(picture()).caption()
    assert answer.finish_reason == "length" and answer.spans


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("Is ", Point(0.1, 0.1), " left of ", Box(0.2, 0.2, 0.4, 0.4), "?"), "at one place at a time"),
        (("why " * 40,), "at most 32 are read"),
        (("  ",), "question is empty"),
        (("What is ", Box(0.5, 0.5, 1.5, 0.9), "?"), "outside the image"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(scene: Scene, parts: tuple, words: str) -> None:
    for asked in (lambda: scene.ask(*parts, options=BRIEF), lambda: next(scene.stream(*parts, options=BRIEF))):
        with pytest.raises(ValueError, match=words) as refused:
            asked()
        assert "\n" not in str(refused.value)


def test_what_a_model_was_made_without_is_refused_in_a_sentence(make_pixel_llm: Any) -> None:
    plain = Session(*make_pixel_llm(segments=False, location_points=0)).look(picture())
    for asked, words in ((plain.dense_captions, "without a detector"), (lambda: plain.locate("a hat"), "without places of words")):
        with pytest.raises(ValueError, match=words):
            asked()
    assert plain.caption(options=BRIEF).spans == ()
    with pytest.raises(ValueError, match="without a mask decoder"):
        Session(*make_pixel_llm(segments=False)).look(picture()).segment("a hat")
    with pytest.raises(ValueError, match="PixelLLM was not trained to be asked for detection; it can be asked for"):
        plain.detect()
    for asked in (plain.locate, plain.segment):
        with pytest.raises(ValueError, match="is empty; words are wanted"):
            asked("  ")


def test_another_family_is_not_asked_to_outline(ferret: Any) -> None:
    scene = Session(*ferret).look(picture())
    with pytest.raises(ValueError, match="Ferret was not trained to be asked for segmentation"):
        scene.segment("a hat")
    with pytest.raises(ValueError, match="Ferret was not trained to be asked for dense captions"):
        scene.dense_captions()


def test_a_bad_example_does_not_stop_the_batch(session: Session) -> None:
    image, other = picture(), picture(5, (90, 30))
    two = GroundedText.join("Is ", Point(0.1, 0.1), " or ", Point(0.2, 0.2), "?")
    bad = {
        1: GroundedText("why " * 40),
        2: two,
        5: GroundedText.join("What is ", Box(0.3, 0.3, 0.2, 0.2), "?"),
    }
    asked = [bad.get(index, GroundedText(("where is hat {}", "What is {}?", "outline of cup {}")[index % 3].format(index))) for index in range(9)]
    given = [
        Example(str(index), (Picture(*one.size, pixels=one),), (Turn("user", said),))
        for index, said in enumerate(asked)
        for one in [image if index % 2 else other]
    ]
    answers = list(session.answer(iter(given), BRIEF, batch=4))
    for index, answer in enumerate(answers):
        assert (answer.finish_reason == "error") == (index in bad) == (answer.error is not None)
        if index not in bad:
            assert near(answer, session.look(image if index % 2 else other).ask(asked[index], options=BRIEF))


def test_control_tokens_in_words_are_words(scene: Scene) -> None:
    for words in ("[SEP]", "What is [PAD]?", "[CLS][MASK]", "where is [SEP]"):
        assert scene.ask(words, options=BRIEF).finish_reason in ("stop", "length")
    assert scene.locate("[SEP]").text == "[SEP]"


def test_a_saved_model_opens_and_answers_the_same(pixel_llm: Any, scene: Scene, tmp_path: Any) -> None:
    for part in pixel_llm:
        part.save_pretrained(str(tmp_path / "tiny"))
    opened = Session.open(tmp_path / "tiny", device="cpu").look(picture())
    assert near(opened.caption(options=BRIEF), scene.caption(options=BRIEF)) and near(opened.segment("a hat"), scene.segment("a hat"))
    short = Session.open(str(tmp_path / "tiny"), "cpu", "bfloat16")
    assert short.model.dtype == torch.bfloat16
    seen = short.look(picture())
    assert seen.describe(Box(0.1, 0.1, 0.5, 0.5), BRIEF).finish_reason in ("stop", "length")
    assert seen.locate("a hat").regions and seen.segment("a hat").text == "a hat"

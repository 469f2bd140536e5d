"""Asking: an image is looked at once, many questions answer as each alone, and what is at fault stops only itself."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.data.images import ImageError
from foveal.geometry import Box, Point, Trace
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.session import Answer, Options, Scene, Session

BRIEF = Options(max_new_tokens=12)


def picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


def example(question: Any, image: Image.Image, name: str = "0") -> Example:
    said = question if isinstance(question, GroundedText) else GroundedText(question)
    return Example(name, (Picture(*image.size, pixels=image),), (Turn("user", said),))


@pytest.fixture(scope="module")
def session(ferret: Any) -> Session:
    return Session(*ferret, "tiny")


@pytest.fixture(scope="module")
def scene(session: Session) -> Scene:
    return session.look(picture())


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Counts the calls of a method of an object from now on."""

    def counted(owner: Any, name: str) -> list[Any]:
        calls: list[Any] = []
        original = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            calls.append(named or given)
            return original(*given, **named)

        monkeypatch.setattr(owner, name, call)
        return calls

    return counted


def test_an_image_is_encoded_once_and_its_prompt_read_once(session: Session, count_calls: Any) -> None:
    seen = count_calls(session.model, "see")
    steps = count_calls(session.model.language_model, "forward")
    fresh = session.look(picture(3))
    fresh.ask("What is ", Box(0.1, 0.1, 0.5, 0.5), "?", options=BRIEF)
    fresh.ask_many(["Why?", "Where?", "Who?"], BRIEF)
    fresh.locate(["a cup", "a hat"], BRIEF)
    assert len(seen) == 1
    asked = example(GroundedText.join("What is ", Box(0.1, 0.1, 0.5, 0.5), "?"), picture(3))
    whole, known = session.processor.encode([asked], look=False)["input_ids"].shape[1], fresh.prefix.ids.shape[1]
    lengths = [step["inputs_embeds"].shape[1] for step in steps]
    assert lengths[:3] == [known, whole - known, 1]
    assert sum(length > 1 for length in lengths) == 4  # the prefix once, and what is left of three batches of questions


def test_a_hundred_regions_are_answered_as_each_alone(scene: Scene) -> None:
    corner = random.Random(0)
    regions = [Box(x := corner.uniform(0, 0.6), y := corner.uniform(0, 0.6), x + 0.3, y + 0.2) for _ in range(94)]
    regions += [Point(0.1 * i, 0.5) for i in range(1, 4)] + [Trace(((0.1, 0.1), (0.1 * i, 0.8))) for i in range(2, 5)]
    together = scene.describe(regions, max_new_tokens=5, batch=40)
    alone = [scene.describe(region, max_new_tokens=5) for region in regions]
    assert [one.raw for one in together] == [one.raw for one in alone]
    assert [one.said.text for one in together] == [one.said.text for one in alone]


def test_questions_of_different_lengths_are_answered_as_each_alone(scene: Scene) -> None:
    questions = ["?", "What is there to be seen in this picture, and where?", ["Is ", Point(0.5, 0.5), " or ", Box(0.1, 0.1, 0.2, 0.9), " nearer?"]]
    together = scene.ask_many(questions, BRIEF)
    assert together == [scene.ask_many([question], BRIEF)[0] for question in questions]


def test_the_cached_prompt_answers_as_generate_from_nothing(session: Session, scene: Scene) -> None:
    model, processor = session.model, session.processor
    asked = example(GroundedText.join("What is ", Box(0.2, 0.2, 0.7, 0.9), "?"), picture())
    with torch.no_grad():
        ids = model.generate(**processor.encode([asked]), max_new_tokens=12, do_sample=False, eos_token_id=processor.tokenizer.eos_token_id)
    length = processor.encode([asked], look=False)["input_ids"].shape[1]
    free = scene.ask(asked.turns[0].said, options=BRIEF, constrain=False, stop_repetition=False)
    assert processor.tokenizer.decode(ids[0, length:], skip_special_tokens=True) == free.raw


def test_an_answer_is_the_same_every_time(session: Session, scene: Scene) -> None:
    assert scene.detect(BRIEF) == scene.detect(BRIEF) == session.look(picture()).detect(BRIEF)
    warm = Options(max_new_tokens=12, temperature=1.5, seed=7)
    before = torch.random.get_rng_state()
    assert scene.caption(options=warm) == scene.caption(options=warm) != scene.caption(options=warm, seed=8)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_pieces_of_a_stream_make_the_answer(scene: Scene) -> None:
    for question in ("What?", "Where is it?", "Describe the image."):
        *pieces, last = scene.stream(question, max_new_tokens=40)
        assert last == scene.ask(question, max_new_tokens=40)
        assert "".join(pieces) == last.text
        assert all(isinstance(piece, str) and piece for piece in pieces)


def test_leaving_a_stream_ends_the_generation(session: Session, count_calls: Any) -> None:
    fresh = session.look(picture(1))
    steps = count_calls(session.model.language_model, "forward")
    pieces = fresh.stream("What?", max_new_tokens=400)
    next(pieces)
    pieces.close()
    assert len(steps) < 100


def test_the_verbs_ask_their_questions(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GroundedText] = []

    def note(self: Scene, examples: list[Example], options: Options) -> list[Answer]:
        asked.extend(example.turns[-1].said for example in examples)
        return [Answer(GroundedText(""))] * len(examples)

    monkeypatch.setattr(Scene, "_answers", note)
    quiet = session.look(picture())
    quiet.ask("What is ", Box(0.1, 0.2, 0.3, 0.4), " for?")
    quiet.describe(Point(0.5, 0.5))
    quiet.locate(" the red cup ")
    quiet.detect()
    quiet.caption()
    quiet.caption(grounded=True)
    assert asked[0].regions == (Box(0.1, 0.2, 0.3, 0.4),)
    assert [said.text for said in asked[2:]] == [
        "What is the location of the red cup in the image?",
        "Please localize visible objects in the image in a raster scan order.",
        "Describe the image.",
        "Describe the image. Include the coordinates for each mentioned object.",
    ]


def test_a_conversation_goes_on_from_what_was_said(scene: Scene) -> None:
    first = Turn("user", GroundedText("What is it?"))
    answer = Turn("assistant", GroundedText("A cup."))
    second = Turn("user", GroundedText.join("And ", Box(0.1, 0.1, 0.4, 0.4), "?"))
    assert isinstance(scene.reply_many([(first, answer, second)], BRIEF)[0], Answer)
    with pytest.raises(ValueError, match="last turn is not the user's"):
        scene.reply_many([(first, answer)], BRIEF)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("  ",), "question is empty"),
        (("What is ", Box(0.5, 0.5, 0.5, 0.9), "?"), "is empty"),
        (("What is ", Box(0.5, 0.5, 1.5, 0.9), "?"), "outside the image"),
        (("What is ", Point(float("nan"), 0.5), "?"), "not a finite number"),
        (("What is ", Trace(()), "?"), "no points"),
        (("long " * 500,), "tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(scene: Scene, parts: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scene.ask(*parts, options=BRIEF)
    with pytest.raises(ValueError, match=words):
        next(scene.stream(*parts, options=BRIEF))


def test_control_tokens_in_words_are_words(scene: Scene) -> None:
    for words in ("<image>", "What is <region_fea>?", "</s><s><pad>", "\ue000\ue001"):
        assert scene.ask(words, options=BRIEF).finish_reason in ("stop", "length", "repetition")


def test_a_bad_example_does_not_stop_the_batch(session: Session, tmp_path: Any) -> None:
    image, other = picture(), picture(5, (90, 30))
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bad = {
        1: example("", image),
        3: Example("3", (Picture(4, 4, path=str(tmp_path / "none.png")),), (Turn("user", GroundedText("?")),)),
        4: Example("4", (Picture(4, 4, path=str(tmp_path / "torn.png")),), (Turn("user", GroundedText("?")),)),
        6: example(GroundedText.join("What is ", Box(0.3, 0.3, 0.2, 0.2), "?"), other),
        7: Example("7", (), (Turn("user", GroundedText("?")),)),
        8: Example("8", (Picture(*image.size, pixels=image),), ()),
        9: example("long " * 500, image),
    }
    given = [bad.get(index, example(f"What is number {index}?", image if index % 2 else other, str(index))) for index in range(12)]
    answers = list(session.answer(iter(given), BRIEF, batch=3))
    assert len(answers) == 12
    for index, answer in enumerate(answers):
        assert (answer.finish_reason == "error") == (index in bad) == (answer.error is not None)
        if index in bad:
            assert answer.error.endswith(".") and "\n" not in answer.error
        else:
            alone = session.look(image if index % 2 else other).ask(f"What is number {index}?", options=BRIEF)
            assert answer == alone


def test_examples_about_one_picture_share_its_scene(session: Session, count_calls: Any, tmp_path: Any) -> None:
    picture(2).save(tmp_path / "one.png")
    picture(3).save(tmp_path / "two.png")
    names = ["one.png", "two.png"] * 4
    given = [Example(str(i), (Picture(60, 40, path=str(tmp_path / name)),), (Turn("user", GroundedText(f"{i}?")),)) for i, name in enumerate(names)]
    seen = count_calls(session.model, "see")
    assert len(list(session.answer(given, BRIEF))) == 8
    assert len(seen) == 2


@pytest.mark.parametrize(("most", "sizes"), [(9, [4, 2]), (2, [4, 2, 2, 2])], ids=["room for all", "room for two"])
def test_examples_about_several_pictures_are_written_together(session: Session, monkeypatch: pytest.MonkeyPatch, most: int, sizes: list[int]) -> None:
    given = [example(f"{number}?", picture(number % 4)) for number in range(6)]
    alone = [next(session.answer([one], BRIEF)) for one in given]
    begun: list[int] = []
    begin = Session.begin

    def counted(self: Session, scenes: Any, examples: Any, options: Any) -> Any:
        begun.append(len(examples))
        if len(examples) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return begin(self, scenes, examples, options)

    monkeypatch.setattr(Session, "begin", counted)
    assert list(session.answer(given, BRIEF, batch=4)) == alone
    assert begun == sizes


def test_examples_are_read_no_further_ahead_than_needed(session: Session) -> None:
    read: list[int] = []

    def endless() -> Any:
        for index in range(10**9):
            read.append(index)
            yield example("?", picture())

    answers = session.answer(endless(), BRIEF, batch=1)
    next(answers)
    assert len(read) == 1


def test_a_reference_answer_in_an_example_is_not_read(session: Session) -> None:
    image = picture()
    plain = example("What?", image)
    told = Example("0", plain.images, (*plain.turns, Turn("assistant", GroundedText("A secret."))))
    assert list(session.answer([plain], BRIEF)) == list(session.answer([told], BRIEF))


def test_a_saved_model_opens_and_answers_the_same(ferret: Any, scene: Scene, tmp_path: Any) -> None:
    for part in ferret:
        part.save_pretrained(str(tmp_path / "tiny"))
    opened = Session.open(tmp_path / "tiny", device="cpu")
    assert opened.look(picture()).detect(BRIEF).raw == scene.detect(BRIEF).raw
    short = Session.open(str(tmp_path / "tiny"), "cpu", "bfloat16")
    assert short.model.dtype == torch.bfloat16
    assert short.look(picture()).describe(Box(0.1, 0.1, 0.5, 0.5), BRIEF).raw


def test_a_model_that_is_not_there_is_refused_by_naming_what_ships(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"There is no model 'ferret-v9'; shipped are: .*"):
        Session.open("ferret-v9")
    with pytest.raises(ValueError, match="holds no model"):
        Session.open(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "ferret"}')
    with pytest.raises(ValueError, match="cannot be opened"):
        Session.open(tmp_path)
    with pytest.raises(ValueError, match="no number type 'float7'"):
        Session.open(tmp_path, dtype="float7")


def test_an_image_that_cannot_be_read_is_an_image_error(session: Session) -> None:
    with pytest.raises(ImageError, match="no image file"):
        session.look("nowhere.png")


def test_every_place_has_a_score_between_0_and_1(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = session.look(picture(4))
    lean_to_brackets(session, monkeypatch)
    answer = fresh.ask("Where?", max_new_tokens=200, temperature=1.0)
    assert answer.regions and all(score is not None and 0 < score <= 1 for score in answer.scores)
    assert len(answer.scores) == len(answer.regions)


def test_brackets_hold_places_only_and_repetition_ends(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    lean_to_brackets(session, monkeypatch)
    fresh = session.look(picture(4))
    for seed in range(3):
        answer = fresh.ask("Where?", max_new_tokens=80, temperature=1.0, seed=seed)
        assert answer.raw.count("]") == len(answer.regions)
    circling = fresh.ask("Where?", max_new_tokens=300)
    assert circling.finish_reason == "repetition" and len(circling.raw) < 150
    assert fresh.ask("Where?", max_new_tokens=150, stop_repetition=False).finish_reason == "length"


def lean_to_brackets(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that likes to open brackets; what stands in them is up to its random weights and the rules."""
    opening = session.processor.tokenizer.convert_tokens_to_ids("[")
    head = session.model.get_output_embeddings()
    original = head.forward

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        logits = original(hidden)
        logits[..., opening] += 8.0
        return logits

    monkeypatch.setattr(head, "forward", forward)

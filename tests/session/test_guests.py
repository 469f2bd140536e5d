"""Laws of other people's models: they are asked by the same verbs, look once, answer as transformers has them answer, and a batch as each alone."""

import copy
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Florence2Processor, Kosmos2Processor, PaliGemmaProcessor

from foveal.cli import main
from foveal.evaluate.benchmark import run_benchmark
from foveal.evaluate.benchmarks import expressions, names
from foveal.evaluate.kept import ANSWERS, read_answers
from foveal.geometry import Box, Mask, Point
from foveal.grounding import Example, GroundedText, Picture, Turn
from foveal.grounding.wordings import GUESTS
from foveal.session import Answer, Options, Session
from foveal.session.guests import FAMILIES, Guest
from foveal.session.guests.grounding_dino import GroundingDino

sys.path.insert(0, str(Path(__file__).parent))
from guest_models import BUILDERS, build_guest

SPEAKING = [kind for kind in BUILDERS if kind != "grounding-dino"]
BRIEF = Options(max_new_tokens=8)


def picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Session]:
    """Opens the tiny model of a kind, once."""
    known: dict[str, Session] = {}

    def of(kind: str) -> Session:
        if kind not in known:
            known[kind] = Session.open(build_guest(kind, tmp_path_factory.mktemp(kind)), "cpu")
        return known[kind]

    return of


def test_each_family_is_known_by_its_words_and_its_model() -> None:
    assert set(FAMILIES) == set(GUESTS) == set(BUILDERS)


@pytest.mark.parametrize("kind", SPEAKING)
def test_a_batch_answers_as_each_alone(kind: str, opened: Callable[[str], Session]) -> None:
    scene = opened(kind).look(picture())
    questions = ["What?", "How many cups are there in the whole of the picture?", ["What is ", Box(0.1, 0.1, 0.5, 0.5), "?"], "Who?"]
    together = scene.ask_many(questions, BRIEF)
    assert [one.raw for one in together] == [scene.ask_many([question], BRIEF)[0].raw for question in questions]
    assert len({one.raw for one in together}) > 1
    assert [one.raw for one in opened(kind).look(picture(1, (50, 70))).ask_many(questions, BRIEF)] != [one.raw for one in together]
    assert all(one.finish_reason in ("stop", "length") for one in together)


@pytest.mark.parametrize("kind", BUILDERS)
def test_several_pictures_are_asked_about_together(kind: str, opened: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(kind)
    known = session.verbs.location is not None
    asked = [session.verbs.of("location", name) if known else GroundedText(f"What {name}?") for name in ("a cup", "the red hat", "a cup")]
    given = [
        Example("", (Picture(*one.size, pixels=one),), (Turn("user", question),))
        for one, question in zip((picture(), picture(1, (50, 70)), picture(2)), asked, strict=True)
    ]
    alone = [next(session.answer([one], BRIEF)) for one in given]
    generate, rows = getattr(type(session.model), "generate", None), list[int]()
    if generate is not None:

        def counted(self: Any, **named: Any) -> Any:
            rows.append(len(named["input_ids"]))
            return generate(self, **named)

        monkeypatch.setattr(type(session.model), "generate", counted)
    assert [(one.raw, one.said.regions) for one in session.answer(given, BRIEF)] == [(one.raw, one.said.regions) for one in alone]
    assert rows == ([] if generate is None else [2, 1] if session.processor.fills == "never" else [3])


@pytest.mark.parametrize("kind", SPEAKING)
def test_what_is_encoded_once_answers_as_encoded_anew(kind: str, opened: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(kind)
    model, family = session.model, session.processor
    tower = {"kosmos-2": "vision_model", "internvl": "model.vision_tower", "paligemma": "model.vision_tower", "florence2": "model.vision_tower"}
    seen: list[int] = []
    hook = model.get_submodule(tower.get(kind, "model.visual")).register_forward_hook(lambda *given: seen.append(1))
    scene = session.look(picture())
    answers = scene.ask_many(["What?", "Which one of them?"], BRIEF)
    scene.caption(options=BRIEF)
    hook.remove()
    assert len(seen) == 1
    example = Example("", (scene.picture,), (Turn("user", GroundedText("What?")),))
    ids = torch.tensor([family.prompt(model, scene.sight, example)])
    visual = family.visual(model, [scene.sight], ids)
    for name in ("mm_encoder_outputs", "image_embeds"):
        visual.pop(name, None)
    crops = {"crop_to_patches": True} if kind == "internvl" else {}
    pixels = family.image_processor(images=[picture()], return_tensors="pt", **crops)["pixel_values"]
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, **visual, max_new_tokens=8, do_sample=False, num_beams=1,
        eos_token_id=family._ends(model), pad_token_id=family.pad,
    )  # fmt: skip
    new = made[0] if kind == "florence2" else made[0, ids.shape[1] :]
    kept = [int(token) for token in new if int(token) not in family._silent and int(token) not in family._ends(model)]
    assert family.tokenizer.backend_tokenizer.decode(kept, skip_special_tokens=False).lstrip() == answers[0].raw


@pytest.mark.parametrize(
    "kind, question, prompt",
    [
        ("paligemma", "caption en", "caption en"),
        ("paligemma", "Where is it?", "answer en Where is it?"),
        ("florence2", "<OD>", "<OD>"),
        ("florence2", "<CAPTION_TO_PHRASE_GROUNDING>a cup", "<CAPTION_TO_PHRASE_GROUNDING>a cup"),
        ("kosmos-2", "<grounding> An image of", "<grounding> An image of"),
        ("kosmos-2", "How many?", "Question: How many? Answer:"),
    ],
)
def test_prompts_are_those_of_the_authors_processors(kind: str, question: str, prompt: str, opened: Callable[[str], Session]) -> None:
    session = opened(kind)
    tokenizer, images = copy.deepcopy((session.processor.tokenizer, session.processor.image_processor))
    scene = session.look(picture())
    example = Example("", (scene.picture,), (Turn("user", GroundedText(question)),))
    ours = session.processor.prompt(session.model, scene.sight, example)
    images.image_seq_length = scene.sight.slots
    tokenizer.image_token, tokenizer.image_token_id = "<image>", tokenizer.convert_tokens_to_ids("<image>")
    if kind == "kosmos-2":
        theirs = Kosmos2Processor(images, tokenizer)(text=prompt, images=picture(), num_image_tokens=scene.sight.slots, return_tensors="pt")
        mask = session.processor.visual(session.model, [scene.sight], torch.tensor([ours]))["image_embeds_position_mask"]
        assert mask.int().tolist() == theirs["image_embeds_position_mask"].tolist()
        start = scene.sight.slots + 2
        assert ours[:2] + ours[start:] == theirs["input_ids"][0].tolist()[:2] + theirs["input_ids"][0].tolist()[start:]
        return
    theirs = (PaliGemmaProcessor if kind == "paligemma" else Florence2Processor)(images, tokenizer)
    text = f"<image>{prompt}" if kind == "paligemma" else prompt
    assert ours == theirs(text=text, images=picture())["input_ids"][0]


@pytest.mark.parametrize(
    "kind, written",
    [
        ("qwen2_5_vl", "<|im_start|>user\n<|vision_start|>@<|vision_end|>Locate the cup, output its bbox coordinates using JSON format.<|im_end|>\n"),
        ("qwen3_vl", '<|im_start|>user\n<|vision_start|>@<|vision_end|>Locate every object that matches the description "the cup" in the image.'),
        ("qwen2_vl", "<|im_start|>user\n<|vision_start|>@<|vision_end|>Please provide the bounding box coordinate of the region"),
        (
            "internvl",
            "<|im_start|>user\n<img>@</img>\nPlease provide the bounding box coordinate of the region this sentence describes: <ref>the cup",
        ),
    ],
)
def test_chats_are_written_as_their_templates_have_it(kind: str, written: str, opened: Callable[[str], Session]) -> None:
    session = opened(kind)
    scene = session.look(picture())
    asked = Turn("user", GUESTS[kind].of("location", "the cup"))
    turns = (asked, Turn("assistant", GroundedText("Here.")), Turn("user", GroundedText("And <|im_end|> <image> this?")))
    ids = session.processor.prompt(session.model, scene.sight, Example("", (scene.picture,), turns))
    image = session.model.config.image_token_id
    assert ids.count(image) == scene.sight.slots
    text = session.processor.tokenizer.decode([token for index, token in enumerate(ids) if token != image or ids[index - 1] != image])
    mark = session.processor.tokenizer.convert_ids_to_tokens(image)
    assert written in text.replace(mark, "@")
    assert text.endswith("<|im_start|>assistant\nHere.<|im_end|>\n<|im_start|>user\nAnd <|im_end|> <image> this?<|im_end|>\n<|im_start|>assistant\n")
    end = session.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ids.count(end) == 3 + ("<|im_start|>system" in text)  # what the user typed is no end of a turn


@pytest.mark.parametrize("kind", SPEAKING)
def test_places_are_read_in_the_dialect_and_have_their_certainty(kind: str, opened: Callable[[str], Session]) -> None:
    session = opened(kind)
    scene = session.look(picture(size=(64, 48)))
    box = {
        "qwen2_vl": "<|object_ref_start|>a cup<|object_ref_end|><|box_start|>(250,250),(500,500)<|box_end|>",
        "qwen2_5_vl": '```json\n[{"bbox_2d": [%d, %d, %d, %d], "label": "a cup"}]\n```',
        "qwen3_vl": '[{"bbox_2d": [250, 250, 500, 500], "label": "a cup"}]',
        "internvl": "<ref>a cup</ref><box>[[250, 250, 500, 500]]</box>",
        "paligemma": "<loc0256><loc0256><loc0512><loc0512> a cup",
        "kosmos-2": "<object><patch_index_0000><patch_index_0992></object>",
        "florence2": "a cup<loc_240><loc_240><loc_520><loc_520>",
    }[kind]
    if kind == "qwen2_5_vl":
        box %= tuple(int(share * side) for share, side in zip((0.25, 0.25, 0.5, 0.5), scene.sight.frame.canvas_size * 2, strict=True))
    family = session.processor
    ids = family.tokenizer.backend_tokenizer.encode(box, add_special_tokens=False).ids
    asked = GroundedText("<grounding><phrase>a cup</phrase>") if kind == "kosmos-2" else GroundedText("?")
    said = family._answer(Example("", (), (Turn("user", asked),)), scene.sight, ids, [-0.5] * len(ids), "stop").said
    assert said.text == "a cup" and [said.text[span.start : span.end] for span in said.spans] == ["a cup"]
    [region] = said.regions
    assert isinstance(region, Box) and said.spans[0].scores == (pytest.approx(np.exp(-0.5)),)
    if kind != "kosmos-2":
        assert (region.x0, region.y0, region.x1, region.y1) == pytest.approx((0.25, 0.25, 0.5, 0.5), abs=0.03)


@pytest.mark.parametrize("kind", SPEAKING)
def test_every_verb_that_a_family_knows_can_be_asked(kind: str, opened: Callable[[str], Session]) -> None:
    scene, verbs = opened(kind).look(picture()), GUESTS[kind]
    mask = Mask(60, 40, (90, 10, 30, 10, 2260))
    questions = [verbs.name(Box(0.1, 0.1, 0.5, 0.5)), verbs.name(mask)]
    for verb, about in (
        *(("caption", ()), ("detailed_caption", ()), ("grounded_caption", ()), ("detection", ()), ("dense_captions", ())),
        *(("location", ("the cup",)), ("segmentation", ("the cup",)), ("locations", ("a cup", "a hat")), ("text", (Box(0.1, 0.1, 0.5, 0.5),))),
    ):
        if getattr(verbs, verb) is not None:
            questions.append(verbs.of(verb, *about))
    assert len(questions) >= 5
    answers = scene.ask_many(questions, max_new_tokens=3)
    assert [one.finish_reason in ("stop", "length") for one in answers] == [True] * len(questions)


def test_an_outline_is_a_mask_where_one_is_asked_for(opened: Callable[[str], Session]) -> None:
    session = opened("florence2")
    scene, family = session.look(picture()), session.processor
    ids = family.tokenizer.backend_tokenizer.encode("<loc_0><loc_0><loc_480><loc_0><loc_480><loc_960>", add_special_tokens=False).ids
    example = Example("", (), (Turn("user", GUESTS["florence2"].of("segmentation", "the cup")),))
    [mask] = family._answer(example, scene.sight, ids, [0.0] * len(ids), "stop").regions
    assert isinstance(mask, Mask) and (mask.width, mask.height) == (60, 40)


def test_verbs_that_a_family_does_not_know_are_refused_in_a_sentence(opened: Callable[[str], Session]) -> None:
    kosmos, dino = opened("kosmos-2").look(picture()), opened("grounding-dino").look(picture())
    for ask, words in (
        (lambda: kosmos.detect(BRIEF), "Kosmos-2 was not trained to be asked for detection; it can be asked for name, caption"),
        (lambda: kosmos.describe(Point(0.5, 0.5), BRIEF), "Kosmos-2 cannot be pointed at a point; a box is wanted"),
        (lambda: dino.caption(), "Grounding DINO was not trained to be asked for caption; it can be asked for location, locations, detection"),
        (lambda: dino.describe(Box(0.1, 0.1, 0.2, 0.2)), "Grounding DINO finds things that are named, and names no regions"),
        (lambda: dino.ask("What is this?"), "names, each closed by a full stop, are wanted"),
        (lambda: dino.ask("A cup ", Box(0.1, 0.1, 0.2, 0.2), "."), "Grounding DINO cannot be pointed at a region; it is asked by words alone"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            ask()
    opened("qwen2_5_vl").look(picture()).describe(Point(0.5, 0.5), BRIEF)


def test_pieces_of_a_stream_make_the_answer(opened: Callable[[str], Session]) -> None:
    scene = opened("qwen3_vl").look(picture())
    *pieces, last = scene.stream("What?", max_new_tokens=8)
    assert last == scene.ask("What?", max_new_tokens=8) and "".join(map(str, pieces)) == last.text
    warm = Options(max_new_tokens=8, temperature=1.5, seed=7)
    assert scene.ask("What?", options=warm) == scene.ask("What?", options=warm) != scene.ask("What?", options=warm, seed=8)
    assert scene.ask_many(["Who are they?", "What?"], warm)[1].raw == scene.ask("What?", options=warm).raw


@pytest.fixture
def finding(opened: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch) -> Session:
    """Grounding DINO whose scores are spread, as a trained one's are."""
    monkeypatch.setattr("foveal.session.guests.grounding_dino._LEAST", 0.0)
    return opened("grounding-dino")


def test_a_detector_says_names_with_boxes_the_surest_first(finding: Session) -> None:
    scene = finding.look(picture())
    found = scene.locate("the red cup")
    assert found.text == "the red cup" and len(found.regions) > 1
    scores = [score for score in found.scores if score is not None]
    assert scores == sorted(scores, reverse=True) and len(scores) == len(found.regions) and found.finish_reason == "stop"
    both = scene.ask("cup. red hat.")
    assert set(both.text.split(", ")) <= {"cup", "red hat"} and [len(span.regions) for span in both.spans]
    together = scene.locate(["cup", "the red hat", "hat"])
    for one, alone in zip(together, [scene.locate(phrase) for phrase in ("cup", "the red hat", "hat")], strict=True):
        assert one.text == alone.text and len(one.regions) == len(alone.regions)
        assert one.scores == pytest.approx(alone.scores, abs=1e-3)


def test_a_detector_finds_as_transformers_does(finding: Session) -> None:
    scene = finding.look(picture())
    from transformers import GroundingDinoProcessor

    processor = GroundingDinoProcessor(finding.processor.image_processor, finding.processor.tokenizer)
    inputs = processor(images=picture(), text="the red cup.", return_tensors="pt")
    with torch.no_grad():
        outputs = finding.model(**inputs)
    [theirs] = processor.post_process_grounded_object_detection(outputs, inputs["input_ids"], threshold=0.0, target_sizes=[(1, 1)])
    found = scene.locate("the red cup")
    ours = [(box.x0, box.y0, box.x1, box.y1) for box in found.regions if isinstance(box, Box)]
    boxes, scores = theirs["boxes"].numpy().clip(0, 1), theirs["scores"].numpy()
    for box, score in zip(ours, found.scores, strict=True):
        same = np.abs(boxes - np.array(box)).max(axis=1) < 1e-4
        assert same.any() and score is not None and scores[same].max() > score - 1e-4
    ids, owners = finding.processor._written(["the red cup"])
    assert ids == inputs["input_ids"][0].tolist() and owners == [-1, 0, 0, 0, -1, -1]


def test_a_name_without_boxes_is_nowhere(opened: Callable[[str], Session]) -> None:
    said = opened("grounding-dino").processor
    assert isinstance(said, GroundingDino)
    from foveal.session.guests.grounding_dino import _answer

    nothing = _answer(["cup"], [-1, 0, -1, -1], torch.zeros(3, 4), torch.rand(3, 4))
    assert nothing.text == "cup" and nothing.said.spans[0].regions == ()
    chances = torch.tensor([[0.0, 0.3, 0.0, 0.9, 0.0], [0.0, 0.8, 0.0, 0.1, 0.0]])
    two = _answer(["cup", "hat"], [-1, 0, -1, 1, -1], chances, torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]))
    assert two.text == "cup, hat" and two.regions == (Box(0.5, 0.5, 1.0, 1.0), Box(0.0, 0.0, 0.5, 0.5)) and two.scores == pytest.approx((0.8, 0.9))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with marked halves and expressions."""
    folder = tmp_path_factory.mktemp("data") / "halves"
    folder.mkdir()
    records = []
    for number in range(2):
        picture(number).save(folder / f"{number}.png")
        regions = [{"box": [0, 0, 30, 40], "label": "cup"}, {"box": [30, 0, 60, 40], "label": "hat"}]
        told = [{"text": "the left half", "box": [0, 0, 30, 40]}, {"text": "a person", "box": None}]
        records.append({"image": f"{number}.png", "width": 60, "height": 40, "regions": regions, "expressions": told})
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder.parent


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "florence2", "kosmos-2", "grounding-dino"])
def test_benchmarks_run_on_guests(kind: str, data: Path, opened: Callable[[str], Session], tmp_path: Path) -> None:
    session = opened(kind)
    found = run_benchmark(expressions("halves"), session, data, tmp_path / "places", batch=3)
    assert found["score"].count == 4 and found["refused"].value == 0.0
    assert len(read_answers(tmp_path / "places" / ANSWERS)) == 4
    assert run_benchmark(expressions("halves"), session, data, tmp_path / "places") == found
    if kind == "grounding-dino":
        with pytest.raises(ValueError, match="names no regions"):
            run_benchmark(names("halves"), session, data, tmp_path / "names")
    else:
        assert run_benchmark(names("halves"), session, data, tmp_path / "names", batch=3)["refused"].value == 0.0


def test_a_question_that_cannot_be_asked_stops_only_itself(opened: Callable[[str], Session]) -> None:
    image = Picture(60, 40, pixels=picture())
    asked = [GroundedText("What?"), GroundedText.join("What is ", Point(0.5, 0.5), "?"), GroundedText("Who?")]
    answers = list(opened("florence2").answer([Example("", (image,), (Turn("user", said),)) for said in asked], BRIEF))
    assert [one.finish_reason == "error" for one in answers] == [False, True, False]
    assert answers[1].error == "Florence-2 cannot be pointed at a point; a box is wanted."


def test_the_commands_take_a_guests_folder(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(build_guest("qwen2_5_vl", tmp_path / "qwen"))
    mine = tmp_path / "halves.py"
    mine.write_text("from foveal.evaluate.benchmarks import expressions\nHALVES = expressions('halves')\n")
    capsys.readouterr()
    given = ["evaluate", folder, f"{mine}:HALVES", "--data-root", str(data), "--out", str(tmp_path / "out"), "--json", "--device", "cpu"]
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["halves-expressions"]["score"]["count"] == 4
    image = str(data / "halves" / "0.png")
    for verb in (["ask", image, "What is this?"], ["locate", image, "a cup"], ["caption", image], ["detect", image]):
        assert main([*verb, "--model", folder, "--device", "cpu", "--max-tokens", "4", "--json"]) == 0, verb
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["width"] == 60
    assert main(["segment", image, "a cup", "--model", folder]) == 2
    assert "Qwen2.5-VL was not trained to be asked for segmentation" in capsys.readouterr().err
    (tmp_path / "qwen" / "model.safetensors").unlink()
    assert main(["ask", image, "What?", "--model", folder, "--device", "cpu"]) == 2
    assert "cannot be opened" in capsys.readouterr().err


def test_a_guest_is_a_session() -> None:
    assert issubclass(Guest, Session) and isinstance(Iterator, type) and Answer(GroundedText("")).finish_reason == "stop"

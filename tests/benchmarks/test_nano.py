"""Laws of the nano benchmark, with answerers whose score is known beforehand instead of a model."""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from foveal.data.sources.scenes import vocabulary
from foveal.grounding import Example, GroundedText, Turn
from foveal.session import Answer

FOLDER = Path(__file__).parents[2] / "benchmarks"


class Truthful:
    """Answers every question with its true answer, and counts the scenes it was asked about."""

    model = SimpleNamespace(config=SimpleNamespace(model_type="ferret"))

    def __init__(self) -> None:
        self.scenes = 0

    def answer(self, asked: Sequence[Example]) -> list[Answer]:
        self.scenes += 1
        assert len({id(example.images[0].pixels) for example in asked}) == 1, "one picture at a time"
        return [Answer(example.notes[0].said) for example in asked]


class Silent(Truthful):
    """Answers nothing of use."""

    def answer(self, asked: Sequence[Example]) -> list[Answer]:
        return [Answer(GroundedText("[1, 2")) for _ in asked]


@pytest.fixture(scope="module")
def nano() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("nano")
    sys.path.remove(str(FOLDER))


def _run(
    nano: ModuleType, capsys: pytest.CaptureFixture[str], session: Truthful, monkeypatch: pytest.MonkeyPatch, **options: object
) -> dict[str, float]:
    monkeypatch.setattr(nano, "Session", type("Opened", (), {"open": staticmethod(lambda name, device: session)}))
    nano.main(**{"model": ["some/fake"], "seed": 3, "scenes": 6, "as_json": True, "resume": False, "sprites": None, "device": "cpu"} | options)
    return json.loads(capsys.readouterr().out)["some/fake"]


def test_truth_scores_full_marks_and_nonsense_none(
    nano: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = _run(nano, capsys, Truthful(), monkeypatch, answers=tmp_path)
    assert true.pop("unparseable") == 0 and set(true.values()) == {1.0}
    assert {"roc_box", "roc_point", "roc_mask", "rec_p50", "detect_f1_50", "absent_accuracy"} <= set(true)
    odd = _run(nano, capsys, Silent(), monkeypatch, answers=tmp_path)
    assert odd.pop("unparseable") == 1 and odd.pop("absent_accuracy") == 1 and set(odd.values()) == {0.0}


def test_a_model_that_answers_in_words_is_asked_for_words(
    nano: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Speaking(Truthful):
        model = SimpleNamespace(config=SimpleNamespace(model_type="monkey"))

    class Mute(Silent):
        model = Speaking.model

    true = _run(nano, capsys, Speaking(), monkeypatch, answers=tmp_path)
    assert {"read_exact", "count_1_to_5", "present", "caption_f1"} <= set(true) and set(true.values()) == {1.0}
    assert set(_run(nano, capsys, Mute(), monkeypatch, answers=tmp_path).values()) == {0.0}


def test_a_stopped_run_goes_on_where_it_stopped(
    nano: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = _run(nano, capsys, Truthful(), monkeypatch, answers=tmp_path)
    kept = tmp_path / "fake-3.jsonl"
    text = kept.read_text()
    kept.write_text(text[: len(text) // 2])
    session = Truthful()
    assert _run(nano, capsys, session, monkeypatch, answers=tmp_path, resume=True) == whole
    assert 0 < session.scenes < 6 and kept.read_text() == text


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_workers_find_what_one_finds(
    nano: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = _run(nano, capsys, Truthful(), monkeypatch, answers=tmp_path / "one")
    assert _run(nano, capsys, Truthful(), monkeypatch, answers=tmp_path / "two", workers=2) == alone
    assert (tmp_path / "two" / "fake-3.jsonl").read_text() == (tmp_path / "one" / "fake-3.jsonl").read_text()


def test_a_seed_fixes_the_questions_and_another_gives_others(nano: ModuleType) -> None:
    questions = importlib.import_module("nano_questions")
    first, again, other = (questions.examples_about(questions.scene(seed, 1)) for seed in (0, 0, 1))
    assert [example.turns for example in first] == [example.turns for example in again] != [example.turns for example in other]


def test_a_choice_is_between_the_true_name_and_one_that_is_absent(nano: ModuleType) -> None:
    questions = importlib.import_module("nano_questions")
    for number in range(8):
        drawing = questions.scene(0, number)
        for example in questions.examples_about(drawing):
            if example.facts["task"].startswith("choice"):
                (other,) = example.facts["others"]
                present = {thing.name for thing in drawing.things}
                assert other in vocabulary() and other not in present and example.facts["name"] in present


def test_a_second_name_in_the_answer_makes_it_wrong(nano: ModuleType) -> None:
    questions, measures = importlib.import_module("nano_questions"), importlib.import_module("nano_measures")
    asked = [example for example in questions.examples_about(questions.scene(0, 2)) if example.facts["task"] == "choice_box"]
    both = [replace(e, turns=(*e.turns, Turn("assistant", GroundedText(f"a {e.facts['name']} or a {e.facts['others'][0]}")))) for e in asked]
    assert all(figure.value == 0 for name, figure in measures.figures(both).items() if name.startswith("roc"))


def test_scenes_of_unseen_cutouts_are_exactly_annotated(nano: ModuleType, tmp_path: Path) -> None:
    unseen = importlib.import_module("nano_unseen")
    name = vocabulary()[0]
    picture = Image.fromarray(np.pad(np.full((40, 60, 4), 255, np.uint8), ((5, 5), (5, 5), (0, 0))))
    picture.save(tmp_path / "a.png")
    (tmp_path / "annotations.jsonl").write_text(json.dumps({"image": "a.png", "name": name}) + "\n")
    drawing = unseen.unseen_scene(unseen.known_cutouts(tmp_path), 0, 0)
    (thing,) = drawing.things
    rows, columns = np.nonzero(drawing.labels == 1)
    assert thing.box_px == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert drawing.pixels.shape[:2] == drawing.labels.shape


def test_a_folder_without_known_cutouts_is_refused(nano: ModuleType, tmp_path: Path) -> None:
    unseen = importlib.import_module("nano_unseen")
    with pytest.raises(ValueError, match="holds no annotations"):
        unseen.known_cutouts(tmp_path)
    (tmp_path / "annotations.jsonl").write_text('{"image": "a.png", "name": "no such name"}\n')
    with pytest.raises(ValueError, match="has a name that the model can know"):
        unseen.known_cutouts(tmp_path)

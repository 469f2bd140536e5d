"""Laws of foveal's models in lmms-eval: requests are answered in order, places are written as asked, and what cannot be asked is said."""

import importlib
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import foveal.lmms
from foveal.geometry import Box, Point
from foveal.grounding import GroundedText, tied
from foveal.lmms import written

ROOT = Path(__file__).parents[1]


class Base:
    """What lmms-eval 0.7 gives a model to inherit (lmms_eval.api.model.lmms)."""

    def __init__(self) -> None:
        self._rank, self._world_size, self.task_dict = 0, 1, {}
        self.cache_hook = SimpleNamespace(add_partial=lambda *given: None)


@dataclass(frozen=True)
class Manifest:
    """What it registers (lmms_eval.models.registry_v2.ModelManifest)."""

    model_id: str
    simple_class_path: str | None = None


@pytest.fixture
def lmms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """foveal.lmms over lmms-eval, or, where it is not installed, over the parts of its interface that are used."""
    if importlib.util.find_spec("lmms_eval") is None:
        parts = {"api.model": {"lmms": Base}, "models.registry_v2": {"ModelManifest": Manifest}}
        for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.models", *(f"lmms_eval.{part}" for part in parts)):
            module = ModuleType(name)
            module.__dict__.update(parts.get(name.removeprefix("lmms_eval."), {}))
            monkeypatch.setitem(sys.modules, name, module)
    yield importlib.reload(foveal.lmms)
    monkeypatch.undo()
    importlib.reload(foveal.lmms)


def requests(model: Any, questions: list[str], visuals: list[Any], **settings: Any) -> list[Any]:
    model.task_dict = {"mine": {"test": [{"visual": visual} for visual in visuals]}}

    def look(doc: Any) -> Any:
        return doc["visual"]

    return [SimpleNamespace(args=(question, dict(settings), look, number, "mine", "test")) for number, question in enumerate(questions)]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8))


def test_requests_are_answered_in_their_order_as_the_session_answers(lmms: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = lmms.Foveal("ferret-v2-nano", device="cpu", batch_size="2", places="fractions")
    assert model.is_simple and model.batch_size == 2 and str(model.device) == "cpu"
    where = "What is the location of the red cup in the image?"
    visuals = [[picture(0)], [picture(1)], [], [picture(2), picture(3)], ["film.mp4"]]
    said = model.generate_until(requests(model, ["Describe the image.", f"<image>\n{where}", "Why?", "Why?", "Why?"], visuals, max_new_tokens=16))
    scene = model.session.look(picture(1))
    assert said[0] == written(model.session.look(picture(0)).caption(max_new_tokens=16).said)
    assert said[1] == written(scene.ask(where, max_new_tokens=16).said)
    assert said[2:] == ["", "", ""] and len([one for one in caplog.records if "mine, document" in one.getMessage()]) == 3
    assert model.generate_until([]) == []


def test_an_answer_ends_where_the_task_says_and_greedily_where_nothing_is_drawn(lmms: Any) -> None:
    model = lmms.Foveal("ferret-v2-nano", device="cpu")
    whole = model.generate_until(requests(model, ["Describe the image."], [[picture(0)]], max_new_tokens=16, do_sample=False, temperature=0.7))[0]
    assert whole and model.generate_until(requests(model, ["Describe the image."], [[picture(0)]], max_new_tokens=16, temperature=None)) == [whole]
    stop = whole[len(whole) // 2]
    cut = model.generate_until(requests(model, ["Describe the image."], [[picture(0)]], max_new_tokens=16, until=[stop, ""]))[0]
    assert cut == whole.split(stop)[0]


def test_what_a_session_cannot_do_is_refused_in_a_sentence(lmms: Any) -> None:
    model = lmms.Foveal("monkey-nano", device="cpu")
    with pytest.raises(ValueError, match="how likely an answer is"):
        model.loglikelihood([])
    with pytest.raises(ValueError, match="several rounds"):
        model.generate_until_multi_round([])
    with pytest.raises(ValueError, match="places=boxes; none, fractions or raw is wanted"):
        lmms.Foveal("monkey-nano", places="boxes")


def test_the_entry_point_names_the_model(lmms: Any) -> None:
    made = lmms.manifest()
    assert made.model_id == "foveal" and made.simple_class_path == "foveal.lmms.Foveal"
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points["lmms_eval.models"] == {"foveal": "foveal.lmms:manifest"}


def test_without_lmms_eval_the_class_says_what_is_missing() -> None:
    if importlib.util.find_spec("lmms_eval") is None:
        with pytest.raises(ValueError, match="lmms-eval is not installed"):
            foveal.lmms.Foveal("monkey-nano")


def test_places_are_written_behind_their_words() -> None:
    said = GroundedText.join("A ", tied("cup", Box(0.1, 0.2, 0.3, 0.4), Box(0.5, 0.5, 1.0, 1.0)), " and ", Point(0.25, 0.5), ".")
    assert written(said) == "A cup [0.100, 0.200, 0.300, 0.400] [0.500, 0.500, 1.000, 1.000] and  [0.250, 0.500]."
    assert written(said, "none") == "A cup and ."

"""Laws of the benchmark of Monkey's views: the baseline computes what the model computes, at sizes that a test has time for."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def views() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("monkey_views")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def ways() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("ways")
    sys.path.remove(str(FOLDER))


@torch.no_grad()
def test_the_plain_model_sees_what_the_model_sees(views: ModuleType) -> None:
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = views._model(vision, {"hidden_size": 128, "num_hidden_layers": 0})
    windows, wholes = torch.randn(4, 3, 112, 112), torch.randn(1, 3, 112, 112)
    found, plain = views._our_views(model, windows, wholes), views.plain_views(model, windows, wholes)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)
    assert (plain - views.plain_views(model, windows.flip(0), wholes)).abs().max() > 1e-3


def test_a_table_says_how_many_times_faster_each_way_is(
    ways: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = iter([2.0, 1.0, 4.0, 2.0, 6.0, 0.5])
    monkeypatch.setattr(ways, "seconds", lambda work: (next(costs), 0.0))
    ways.print_ways("title", {"slow": (5, lambda: None), "fast": (1, lambda: None)}, 3)
    assert capsys.readouterr().out.splitlines()[-2:] == ["| slow | 20.000 | 1.00 |", "| fast | 1.000 | 20.00 |"]

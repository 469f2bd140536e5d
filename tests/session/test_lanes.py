"""Rows about one image share what is kept of it: whatever the width of the lanes, each row says what it says alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DynamicCache

from foveal.geometry import Box
from foveal.grounding import GroundedText, Turn
from foveal.models.monkey.language import Qwen7BForCausalLM
from foveal.session import Options, Scene, Session, decoding
from foveal.session.lanes import Lanes, width_of

BOXES = [Box(0.1 * n, 0.1, 0.1 * n + 0.3, 0.2 + 0.1 * n) for n in range(7)]


@pytest.fixture(scope="module")
def scenes(ferret: Any) -> list[Scene]:
    session = Session(*ferret)
    return [session.look(Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8))) for seed in (0, 1)]


def begun(scenes: Sequence[Scene], lengths: Sequence[int]) -> decoding.Conversing:
    """Questions with a region each, of different lengths, about scenes in turn."""
    asked = [GroundedText.join("Is ", box, " red " * (n % 3), "?") for n, box in enumerate(BOXES[: len(lengths)])]
    options = [Options(max_new_tokens=length, temperature=n % 2, seed=n) for n, length in enumerate(lengths)]
    of = [scenes[n % len(scenes)] for n in range(len(asked))]
    return decoding.Conversing(of, [scene.example((Turn("user", one),)) for scene, one in zip(of, asked, strict=True)], options)


def wide(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(decoding, "width_of", lambda _model, _beginnings, counts, _longest: min(width, *counts))


@pytest.mark.parametrize("several", [1, 2], ids=["one image", "two images"])
@pytest.mark.parametrize("width", [2, 3, 7])
def test_rows_in_lanes_say_what_each_says_alone(scenes: list[Scene], monkeypatch: pytest.MonkeyPatch, width: int, several: int) -> None:
    lengths = [9, 1, 14, 5, 3, 20, 7]
    wide(monkeypatch, 1)
    alone = begun(scenes[:several], lengths).answers()
    wide(monkeypatch, width)
    writing = begun(scenes[:several], lengths)
    rows = list(writing.rows)
    for tokens in (1, 3, 2, 30):
        writing.write(tokens)
        writing.keep(writing.open)
    assert [row.answer and (row.answer.text, row.answer.finish_reason) for row in rows] == [(one.text, one.finish_reason) for one in alone]


def test_lanes_of_different_widths_join(scenes: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [12, 2, 16, 6, 9]
    wide(monkeypatch, 1)
    alone = [begun(scenes[:1], lengths).answers(), begun(scenes[1:], lengths).answers()]
    for first, second in ((3, 1), (1, 3), (4, 2)):
        wide(monkeypatch, first)
        writing = begun(scenes[:1], lengths)
        writing.write(3)
        wide(monkeypatch, second)
        late = begun(scenes[1:], lengths)
        rows = [*writing.rows, *late.rows]
        assert writing.join(late)
        while writing.open:
            writing.write(4)
            writing.keep(writing.open)
        assert [row.answer and row.answer.text for row in rows] == [one.text for some in alone for one in some]


def test_what_is_read_side_by_side_is_what_is_read_alone(scenes: list[Scene]) -> None:
    model, [scene, _] = scenes[0].session.model, scenes
    beginning, draw = scene.prefix.cache, torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (6, 4), generator=draw)
    real = torch.tensor([[True] * 4, [False, True, True, True]] * 3)
    apart, together = Lanes(model, [beginning] * 6), Lanes(model, [beginning] * 2, 3)
    torch.testing.assert_close(together.read(ids, real), apart.read(ids, real))
    together.arrange([(0, [2, 0]), (1, [1])])
    apart.arrange([(place, [0]) for place in (2, 0, 4)])
    more = ids[:3, :1]
    told = together.read(torch.cat([more, more[:1]]), torch.tensor([[True], [True], [True], [False]]))
    torch.testing.assert_close(told[:3], apart.read(more, torch.ones(3, 1, dtype=torch.bool)))


def test_few_rows_and_models_of_other_kinds_have_lanes_of_their_own(ferret: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, [cache] = ferret[0], [DynamicCache()]
    cache.update(torch.zeros(1, 1, 40, 4), torch.zeros(1, 1, 40, 4), 0)
    counts = ([1], [3], [9], [32], [31, 1], [1, 1])
    assert [width_of(model, [cache] * len(some), some, longest=5) for some in counts] == [1, 3, 5, 8, 8, 1]
    assert width_of(model, [cache], [9], longest=30) == 1
    monkeypatch.setattr(model.language_model, "counts_columns", Qwen7BForCausalLM.counts_columns, raising=False)
    assert width_of(model, [cache], [9], longest=5) == 1

"""Where nobody watches, long work still says how far it is."""

import re

import pytest
from rich.progress import TextColumn

import foveal.cli.bars
from foveal.cli.bars import bar


@pytest.mark.parametrize("how", ["update", "advance"])
def test_a_line_says_now_and_then_how_far_it_is(how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [100.0]
    monkeypatch.setattr(foveal.cli.bars.time, "monotonic", lambda: clock[0])
    with bar(TextColumn("{task.description}")) as progress:
        monkeypatch.setattr(progress, "get_time", lambda: clock[0])
        task = progress.add_task("read", total=2_000)
        for done in range(1, 1_001):
            clock[0] += 0.125
            progress.advance(task) if how == "advance" else progress.update(task, completed=done)
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d\d left", "s left", line) for line in lines] == [
        "read: 480 of 2,000, 8 a second, 0:03:s left",
        "read: 960 of 2,000, 8 a second, 0:02:s left",
    ]


def test_the_rate_of_slow_work_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [100.0]
    monkeypatch.setattr(foveal.cli.bars.time, "monotonic", lambda: clock[0])
    with bar(TextColumn("{task.description}")) as progress:
        monkeypatch.setattr(progress, "get_time", lambda: clock[0])
        task = progress.add_task("text", total=640)
        for done in (0, 64, 128):  # a shard each two minutes
            clock[0] += 128
            progress.update(task, completed=done)
    assert capsys.readouterr().err.splitlines()[-1] == "text: 128 of 640, 0.5 a second, 0:17:04 left"


def test_nothing_is_said_of_what_is_short_or_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with bar(TextColumn("{task.description}")) as progress:
        progress.advance(progress.add_task("read", total=None))
    monkeypatch.setattr(foveal.cli.bars, "_EVERY", 0.0)
    with bar(TextColumn("{task.description}"), quiet=True) as progress:
        progress.advance(progress.add_task("read", total=None))
    assert not capsys.readouterr().err
    with bar(TextColumn("{task.description}")) as progress:
        progress.advance(progress.add_task("read", total=None), 1_234)
    assert capsys.readouterr().err == "read: 1,234\n"

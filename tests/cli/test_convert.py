"""Laws of `foveal convert`: what it is given reaches the converter, and what cannot be is said in one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from safetensors.torch import load_file, save_file
from torch import ones

from foveal.cli.convert import convert
from foveal.models.ferret import convert as converting


@pytest.fixture
def run() -> Callable[..., Any]:
    app = typer.Typer()
    app.command()(convert)
    return lambda *arguments: app(args=[str(argument) for argument in arguments], standalone_mode=False)


def test_every_option_reaches_the_converter(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(converting, "convert", lambda source, out, **options: given.update(options))
    options = ("--base", "b", "--clip", "c", "--licence", "mit", "--origin", "o", "--dual", "--dtype", "bfloat16", "--shard-size", "2GB")
    run(tmp_path, "out", *options, "--allow-pickle", "--template", "plain")
    del given["watch"]
    assert {name: str(value) for name, value in given.items()} == {
        "base": "b",
        "clip": "c",
        "licence": "mit",
        "origin": "o",
        "dual": "True",
        "dtype": "torch.bfloat16",
        "shard_bytes": "2000000000",
        "allow_pickle": "True",
        "fields": "{'template': 'plain'}",
    }
    assert "--model out" in capsys.readouterr().out


def test_a_projector_alone_is_converted(run: Callable, tmp_path: Path) -> None:
    save_file({"model.mm_projector.weight": ones(3, 2), "model.mm_projector.bias": ones(3)}, tmp_path / "mm_projector.safetensors")
    run(tmp_path / "mm_projector.safetensors", tmp_path / "out", "--licence", "mit", "--dual")
    assert len(load_file(tmp_path / "out/projector.safetensors")) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "out"), "nowhere does not exist"),
        ((".", "out", "--dtype", "int8"), "--dtype int8"),
        ((".", "out", "--shard-size", "big"), "'big' is no size"),
        ((".", "out", "--to-published", "--dual"), "--dual does not go with --to-published"),
        ((".", "out"), "config.json"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        run(*arguments)
    assert not any(tmp_path.iterdir())

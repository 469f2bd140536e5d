"""Laws of `foveal convert`: what it is given reaches the converter, and what cannot be is said in one sentence."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import ones

from foveal.cli.convert import convert
from foveal.models.ferret import convert as converting
from foveal.models.ferret import publish as publishing
from foveal.models.monkey import convert as monkey
from foveal.models.pixel_llm import convert as pixel_llm


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


def test_every_option_of_a_monkey_reaches_its_converter(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(monkey, "convert", lambda source, out, **options: given.update(options))
    (tmp_path / "config.json").write_text('{"visual": {}}')
    options = ("--canvas", "1344x896", "--adapters", "6", "--template", "chatml", "--licence", "l", "--origin", "o", "--dtype", "float16")
    run(tmp_path, "out", *options, "--shard-size", "2GB", "--allow-pickle")
    assert given.pop("watch") and given == {
        **{"adapters": 6, "licence": "l", "origin": "o", "dtype": torch.float16, "shard_bytes": 2 * 10**9, "allow_pickle": True},
        "fields": {"canvas": (1344, 896), "template": "chatml"},
    }


def test_every_option_of_a_pixel_llm_reaches_its_converter(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(pixel_llm, "convert", lambda source, out, **options: given.update(options, source=source))
    file = tmp_path / "checkpoint_1"
    file.write_bytes(b"\x81\xa6params\x80")
    options = ("--tokenizer", "words", "--licence", "l", "--origin", "o", "--dtype", "float16", "--shard-size", "2GB", "--template", "t")
    for source in (tmp_path, file):
        run(source, "out", *options)
        assert given.pop("watch") and given == {
            **{"source": source, "tokenizer": Path("words"), "licence": "l", "origin": "o", "dtype": torch.float16, "shard_bytes": 2 * 10**9},
            "fields": {"template": "t"},
        }
    assert "--model out" in capsys.readouterr().out
    for refused in ("--dual", "--allow-pickle"):
        with pytest.raises(ValueError, match=f"{refused[:5]}.* does not go with a PixelLLM"):
            run(file, "out", refused)


@pytest.mark.parametrize(
    ("settings", "module"),
    [('{"model_type": "monkey"}', monkey), ('{"model_type": "ferret"}', publishing), ('{"model_type": "pixel_llm"}', pixel_llm)],
)
def test_a_model_is_published_as_what_it_is(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, module: ModuleType
) -> None:
    published: list[Path] = []
    monkeypatch.setattr(module, "publish", lambda source, out, **options: published.append(source))
    (tmp_path / "config.json").write_text(settings)
    run(tmp_path, "out", "--to-published")
    assert published == [tmp_path]


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ('{"visual": {}}', ("--dual",), "--dual does not go with a Monkey"),
        ('{"visual": {}}', ("--base", "b"), "--base does not go with a Monkey"),
        ('{"visual": {}}', ("--canvas", "big"), "--canvas big was given"),
        ('{"model_type": "ferret"}', ("--canvas", "448x448"), "--canvas does not go with a Ferret"),
        ('{"model_type": "ferret"}', ("--adapters", "0"), "--adapters does not go with a Ferret"),
        ('{"visual": {}}', ("--tokenizer", "t"), "--tokenizer does not go with a Monkey"),
        ('{"model_type": "ferret"}', ("--tokenizer", "t"), "--tokenizer does not go with a Ferret"),
        ('{"model_type": "monkey"}', ("--to-published", "--adapters", "4"), "--adapters does not go with --to-published"),
    ],
)
def test_options_of_another_kind_are_refused(run: Callable, tmp_path: Path, settings: str, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "config.json").write_text(settings)
    with pytest.raises(ValueError, match=said):
        run(tmp_path, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


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

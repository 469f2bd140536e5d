"""Laws of checkpoints that are read and written weight by weight."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.models.shards import cast, open_weights, size_in_bytes, summed, whole_folder, write_shards

INDEX = "model.safetensors.index.json"
WEIGHTS = {
    "wide": torch.randn(6, 50),
    "half": torch.randn(3, 4).half(),
    "brain": torch.randn(7).bfloat16(),
    "one": torch.tensor(2.5),
    "none": torch.zeros(0, 3),
    "whole": torch.arange(5),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("shard_bytes", [1, 100, 10**9])
def test_what_is_written_is_what_was_read_whatever_the_shards(folder: Path, tmp_path: Path, shard_bytes: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = write_shards(out, list(open_weights(folder).values()), shard_bytes=shard_bytes)
    found = {name: weight.read() for name, weight in open_weights(out).items()}
    by_library = {name: weight for file in files for name, weight in load_file(file).items()}
    for held in (found, by_library):
        assert held.keys() == WEIGHTS.keys()
        assert all(torch.equal(held[name], weight) and held[name].dtype == weight.dtype for name, weight in WEIGHTS.items())


def test_a_shard_is_no_larger_than_asked_unless_one_weight_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for file in write_shards(out, list(open_weights(folder).values()), shard_bytes=100):
        held = load_file(file)
        assert len(held) == 1 or sum(weight.nbytes for weight in held.values()) <= 100
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in WEIGHTS.values())


def test_the_index_is_written_last(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    seen: list[bool] = []
    write_shards(out, list(open_weights(folder).values()), shard_bytes=1, watch=lambda done, total: seen.append((out / INDEX).exists()))
    assert len(seen) == len(WEIGHTS) and not any(seen) and (out / INDEX).exists()


@pytest.mark.parametrize("pickled", [False, True])
def test_rows_come_a_few_at_a_time_and_are_the_whole(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bool) -> None:
    monkeypatch.setattr("foveal.models.shards._PIECE", 450)
    torch.save(WEIGHTS, tmp_path / "same.bin")
    weights = open_weights(tmp_path / "same.bin", allow_pickle=True) if pickled else open_weights(folder / "model.safetensors")
    save_file({"wide": torch.ones(3, 50)}, tmp_path / "base.safetensors")
    base = open_weights(tmp_path / "base.safetensors")["wide"]
    pieces = list(weights["wide"].pieces())
    assert [len(piece) for piece in pieces] == [2, 2, 2] and torch.equal(torch.cat(pieces), WEIGHTS["wide"])
    added = summed(weights["wide"], base, more_rows=True)
    assert torch.equal(torch.cat(list(cast(added, torch.float64).pieces())).float(), added.read())
    assert torch.equal(added.read()[:3], WEIGHTS["wide"][:3] + 1) and torch.equal(added.read()[3:], WEIGHTS["wide"][3:])
    assert all(torch.equal(torch.cat(list(weights[name].pieces())), WEIGHTS[name]) for name in ("half", "brain", "none"))


def test_safetensors_go_before_pickles(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    assert open_weights(folder)["wide"].shape == (6, 50)


def test_pickles_are_refused_unless_allowed_and_then_hold_the_same(tmp_path: Path) -> None:
    torch.save(WEIGHTS | {"turned": WEIGHTS["wide"].T}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="--allow-pickle"):
        open_weights(tmp_path)
    found = open_weights(tmp_path, allow_pickle=True)
    assert all(torch.equal(found[name].read(), weight) for name, weight in WEIGHTS.items())
    assert torch.equal(found["turned"].read(), WEIGHTS["wide"].T) and found["turned"].read().is_contiguous()


class Dangerous:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("ran"),)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Dangerous()}, tmp_path / "new.bin")
    (tmp_path / "old.bin").write_bytes(pickle.dumps(Dangerous()))
    torch.save({"step": 3}, tmp_path / "other.bin")
    torch.save(WEIGHTS, tmp_path / "unmapped.bin", _use_new_zipfile_serialization=False)
    for name in ("new.bin", "old.bin", "other.bin", "unmapped.bin"):
        with pytest.raises(ValueError, match=name):
            open_weights(tmp_path / name, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path: Path, folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    for broken in (whole[:-3], whole[:40], b"", b"\xff" * 100):
        (tmp_path / "broken.safetensors").write_bytes(broken)
        with pytest.raises(ValueError, match="broken"):
            open_weights(tmp_path / "broken.safetensors")
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ValueError, match="holds no weights"):
        open_weights(bare)
    for name, said in (("model-2.safetensors", "lacks model-2"), ("../model.safetensors", "same folder")):
        (bare / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(ValueError, match=said):
            open_weights(bare)
    (bare / INDEX).write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    for name in ("one", "two"):
        save_file({"same": torch.ones(1)}, bare / f"{name}.safetensors")
    with pytest.raises(ValueError, match="wanted once"):
        open_weights(bare)


def test_a_difference_and_its_base_are_the_sum_in_the_first_rows(folder: Path, tmp_path: Path) -> None:
    save_file({"wide": torch.ones(4, 50).half(), "half": torch.ones(3, 4).half()}, tmp_path / "base.safetensors")
    weights, base = open_weights(folder / "model.safetensors"), open_weights(tmp_path / "base.safetensors")
    whole = summed(weights["wide"], base["wide"], more_rows=True).read()
    assert torch.equal(whole[:4], WEIGHTS["wide"][:4] + 1) and torch.equal(whole[4:], WEIGHTS["wide"][4:])
    assert torch.equal(summed(weights["half"], base["half"]).read(), WEIGHTS["half"] + 1)
    with pytest.raises(ValueError, match="difference to another"):
        summed(weights["wide"], base["wide"])
    with pytest.raises(ValueError, match="difference to another"):
        summed(weights["half"], base["wide"], more_rows=True)


def test_only_numbers_with_a_point_change_their_type(folder: Path) -> None:
    weights = open_weights(folder)
    assert torch.equal(cast(weights["wide"], torch.bfloat16).read(), WEIGHTS["wide"].bfloat16())
    with pytest.raises(ValueError, match="quantised"):
        cast(weights["whole"], torch.float16)


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), whole_folder(out) as folder:
            (folder / "half").write_text("done")
            raise error
        assert not any(out.parent.iterdir())
    with whole_folder(out) as folder:
        (folder / "all").write_text("done")
        assert not out.exists()
    assert [file.name for file in out.iterdir()] == ["all"] and [file.name for file in out.parent.iterdir()] == ["out"]
    with pytest.raises(ValueError, match="exists already"), whole_folder(out):
        pass


@pytest.mark.parametrize(("said", "wanted"), [("5GB", 5 * 10**9), ("500 mb", 5 * 10**8), ("2GiB", 2 * 2**30), ("7", 7)])
def test_sizes_are_read_as_they_are_written(said: str, wanted: int) -> None:
    assert size_in_bytes(said) == wanted


@pytest.mark.parametrize("said", ["", "five", "5XB", "0GB", "-1", "1e9"])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        size_in_bytes(said)

"""Laws of what is kept: it is whole or not there, and a run that is killed at any moment ends with the weights of one that was not."""

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import RECIPE, Body, Numbers, collate, trained, weights
from torch import Tensor
from torch.utils.data import Dataset

from foveal.data.mixture import Part
from foveal.data.stored import Stored
from foveal.data.tasks import refer
from foveal.geometry import Box
from foveal.grounding import Example, Note, Picture, tied, write_examples
from foveal.grounding.wordings import VERBS
from foveal.train import Stage, aside, is_whole, last_whole_checkpoint, run_stage, train
from foveal.train.checkpoint import MANIFEST, prune


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def forked(work: Callable[[], object]) -> int:
    """What becomes of a process that does some work: its exit code, or the signal that killed it, negative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads that a fork does not take with it
        child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as ended:
            code = int(str(ended.code))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def dying(folder: Path, at: int, run: Callable[[Path], object] = trained, within: tuple[str, ...] = ("",)) -> Callable[[], object]:
    """A run that kills itself without a word at its `at`-th touch of a file in `folder`, of those whose names there begin with one of `within`."""
    touched, places = 0, tuple(str(folder / name) for name in within)

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal touched
        paths = [os.fspath(one) for one in given if isinstance(one, str | Path)]
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir") and any(path.startswith(places) for path in paths):
            touched += 1
            if touched == at:
                os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        sys.addaudithook(watch)
        run(folder)

    return work


@pytest.mark.slow
def test_a_run_killed_at_any_write_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = trained(tmp_path / "whole"), 0
    for at in (*range(1, 12), *range(12, 400, 7)):
        folder = tmp_path / str(at)
        if forked(dying(folder, at)) != -signal.SIGKILL:
            break
        killed += 1
        kept = last_whole_checkpoint(folder)
        assert kept is None or kept.name in ("checkpoint-3", "checkpoint-6")
        assert same(trained(folder), whole), f"killed at touch {at}"
        assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock") == []
    assert killed > 10


def test_a_run_killed_again_and_again_goes_on_each_time(tmp_path: Path) -> None:
    whole, ends = trained(tmp_path / "whole"), []
    for at in np.random.default_rng(0).integers(5, 30, 4).tolist():
        ends.append(forked(dying(tmp_path / "parts", at)))
    assert -signal.SIGKILL in ends
    assert same(trained(tmp_path / "parts"), whole)


@pytest.mark.slow
def test_a_run_killed_where_stages_meet_ends_as_one_that_was_not(tmp_path: Path, make_ferret: Callable[..., Any]) -> None:
    for part in make_ferret():
        part.save_pretrained(tmp_path / "start")
    Image.new("RGB", (60, 40), "red").save(tmp_path / "red.png")
    red = Note(tied("red", Box(0.0, 0.0, 0.5, 1.0)), "object")
    write_examples(tmp_path / "some.jsonl", [Example(str(one), (Picture(60, 40, str(tmp_path / "red.png")),), notes=(red,)) for one in range(4)])

    def data(root: Path) -> list[Part]:
        return [Part(Stored(root / "some.jsonl"), 1.0, refer(VERBS["ferret"]))]

    first = replace(RECIPE, name="first", learn={"projector": 1e-2}, steps=1, batch=2)
    start = Stage(recipe=first, data=data, start=str(tmp_path / "start"))
    last = Stage(recipe=replace(first, name="last", learn={"sampler": 1e-2}), data=data, start=start)

    def run(folder: Path) -> None:
        torch.set_num_threads(1)  # a fork has no threads but its own
        run_stage(last, folder, tmp_path)

    assert forked(lambda: run(tmp_path / "whole")) == 0
    ends, finished = [], []
    for at in (1, 8, 18, 40, 26):
        ends.append(forked(dying(tmp_path / "parts", at, run, ("first/.writing-model", "first/model", "last"))))
        finished.append((tmp_path / "parts/first/model").exists())
        assert finished[-1] == is_whole(tmp_path / "parts/first/model")
    assert ends.count(-signal.SIGKILL) >= 3 and set(finished) == {False, True}
    assert forked(lambda: run(tmp_path / "parts")) == 0
    for name in ("first", "last"):
        one, other = (load_file(tmp_path / runs / name / "model/model.safetensors") for runs in ("whole", "parts"))
        assert same(one, other)
    assert not list((tmp_path / "parts").rglob(".writing-*"))


def test_a_terminated_run_keeps_its_last_step_and_says_so(tmp_path: Path) -> None:
    class Ending(Numbers):
        def __getitem__(self, index: int) -> Tensor:
            if self.seen == 13:  # in the fourth batch
                os.kill(os.getpid(), signal.SIGTERM)
            self.seen += 1
            return super().__getitem__(index)

        seen = 0

    def work() -> None:
        train(RECIPE, Body(), Ending(), collate, tmp_path / "parts")

    assert forked(work) == 128 + signal.SIGTERM
    kept = last_whole_checkpoint(tmp_path / "parts")
    assert kept is not None and kept.name not in ("checkpoint-6",)
    assert same(trained(tmp_path / "parts"), trained(tmp_path / "whole"))


def test_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    trained(tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "manifest", "empty"])
def test_a_checkpoint_that_is_not_what_was_written_is_passed_over(tmp_path: Path, harm: str) -> None:
    whole = trained(tmp_path)
    newest = last_whole_checkpoint(tmp_path)
    assert newest == tmp_path / "checkpoint-6"
    victim = newest / ("trainer_state.json" if harm == "remove" else "optimizer.pt" if harm == "flip" else "model.safetensors")
    written = victim.read_bytes()
    match harm:
        case "cut":
            victim.write_bytes(written[:40])
        case "flip":
            victim.write_bytes(written[:-9] + bytes([written[-9] ^ 1]) + written[-8:])
        case "remove":
            victim.unlink()
        case "manifest":
            (newest / MANIFEST).unlink()
        case "empty":
            (newest / MANIFEST).write_text("")
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    assert same(trained(tmp_path), whole)
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-6"


def test_a_full_disk_leaves_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, whole = torch.save, trained(tmp_path / "whole")

    def full(what: Any, where: Any, *rest: Any, **more: Any) -> None:
        if "checkpoint-6" in str(where) and "optimizer" in str(where):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(what, where, *rest, **more)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"checkpoint-6 could not be written .*No space left.*goes on from .*checkpoint-3"):
        trained(tmp_path / "parts")
    assert [path.name for path in (tmp_path / "parts").iterdir() if path.name != ".lock"] == ["checkpoint-3"]
    monkeypatch.undo()
    assert same(trained(tmp_path / "parts"), whole)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was(tmp_path: Path) -> None:
    class Odd(Dataset):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Tensor:
            return Numbers()[index] * (float("nan") if index == 7 else 1.0)

    with pytest.raises(FloatingPointError, match=r"the loss of step \d+ is nan, no number.*learnt up to"):
        train(replace(RECIPE, steps=10, save_every=1), Body(), Odd(), collate, tmp_path)
    kept = last_whole_checkpoint(tmp_path)
    assert kept is None or is_whole(kept)


def test_the_oldest_go_once_a_newer_is_whole(tmp_path: Path) -> None:
    trained(tmp_path, replace(RECIPE, save_every=1, keep=3))
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5", "checkpoint-6"]
    (tmp_path / ".writing-checkpoint-9").mkdir()
    prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["checkpoint-6"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for text in ("one", "two"):
        with aside(place) as new:
            (new / "weights").write_text(text)
    with pytest.raises(KeyError), aside(place) as new:
        (new / "weights").write_text("three")
        raise KeyError
    assert (place / "weights").read_text() == "two" and is_whole(place)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_that_safetensors_cannot_write_is_said_as_a_folder_that_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"model could not be written \(.*what was kept before is as it was"), aside(tmp_path / "model") as new:
        (new / "weights").mkdir()
        save_file({"a": torch.ones(2)}, new / "weights")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    whole = trained(tmp_path)

    class Untouched(Numbers):
        def __getitem__(self, index: int) -> Tensor:
            raise AssertionError("an example was read")

    body = Body()
    train(RECIPE, body, Untouched(), collate, tmp_path)
    assert same(weights(body), whole)


@pytest.mark.slow
def test_a_process_killed_from_outside_at_random_ends_as_one_that_was_not(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tiny import RECIPE, trained; from dataclasses import replace; "
    code += "trained(Path(sys.argv[1]), replace(RECIPE, steps=400, save_every=5))"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2] / "src")])
    rng, folder = np.random.default_rng(1), tmp_path / "parts"
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(folder)], env=os.environ | {"PYTHONPATH": paths})
        until = time.monotonic() + 120
        before = last_whole_checkpoint(folder)
        while last_whole_checkpoint(folder) == before and child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(float(rng.uniform(0, 0.5)))
        child.kill()
        child.wait()
        assert last_whole_checkpoint(folder) is not None
    recipe = replace(RECIPE, steps=400, save_every=5)
    assert same(trained(folder, recipe), trained(tmp_path / "whole", replace(recipe, save_every=400)))


def test_weights_that_are_no_number_are_not_kept(tmp_path: Path) -> None:
    class Falling(Body):
        def forward(self, numbers: Tensor) -> dict[str, Tensor]:
            made = super().forward(numbers)
            return made | {"loss": made["loss"] + (self.eye.bias - self.eye.bias).abs().sqrt().sum()}  # 0, and its gradient is infinite

    with pytest.raises(FloatingPointError, match=r"eye\.\w+ is no number after step 1\. What was learnt up to the start is kept"):
        train(replace(RECIPE, save_every=1), Falling(), Numbers(), collate, tmp_path)
    assert last_whole_checkpoint(tmp_path) is None


def test_a_run_that_begins_anew_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    first = trained(tmp_path)
    body = Body()
    train(replace(RECIPE, seed=5, save_every=2, keep=1), body, Numbers(), collate, tmp_path, resume=False)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]
    kept = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    assert same({name: kept[name] for name in weights(body)}, weights(body)) and not same(weights(body), first)


def test_a_disk_that_fills_while_torch_writes_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save

    def full(what: Any, where: Any, *rest: Any, **more: Any) -> None:
        save(what, "/dev/full" if "optimizer" in str(where) else where, *rest, **more)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"checkpoint-3 could not be written .*goes on from the start"):
        trained(tmp_path)

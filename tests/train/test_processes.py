"""Laws of training on several processes: they share each batch, learn what one would learn, keep one checkpoint, and go on together."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import RECIPE

from foveal.train import Recipe, is_whole, last_whole_checkpoint

CODE = """
import sys
from dataclasses import replace
from pathlib import Path
from foveal.train import train
from tiny import RECIPE, Body, Numbers, collate

class Ordered(Numbers):
    in_order = True

body = Body()
body.dropout.p = 0.0
recipe = replace(RECIPE, accumulate=int(sys.argv[2]), save_every=2, options={"disable_tqdm": True, "logging_steps": 1})
train(recipe, body, Ordered(), collate, Path(sys.argv[1]))
"""


def run(folder: Path, processes: int, accumulate: int = 1) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2] / "src")])
    base = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    children = []
    for rank in range(processes):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-W", "ignore", "-c", CODE, str(folder), str(accumulate)]
        children.append(subprocess.Popen(command, env=base | (ranks if processes > 1 else {}), stderr=subprocess.PIPE, text=True))
    for child in children:
        _, said = child.communicate(timeout=240)
        assert child.returncode == 0, said[-2000:]


def outcome(folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    kept = last_whole_checkpoint(folder)
    assert kept is not None
    history = json.loads((kept / "trainer_state.json").read_text())["log_history"]
    return [row["loss"] for row in history if "loss" in row], load_file(kept / "model.safetensors")


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_go_on_together(tmp_path: Path) -> None:
    run(tmp_path / "one", 1)
    run(tmp_path / "two", 2)
    assert is_whole(tmp_path / "two" / "checkpoint-4") and len(list((tmp_path / "two" / "checkpoint-4").glob("rng_state_*.pth"))) == 2
    (tmp_path / "two" / "checkpoint-6" / "optimizer.pt").unlink()  # torn: the run counts as stopped after its fourth step
    run(tmp_path / "two", 2)
    run(tmp_path / "sum", 1, accumulate=2)
    (losses, weights), *others = (outcome(tmp_path / name) for name in ("one", "two", "sum"))
    assert len(losses) == 6
    for found, learnt in others:
        assert found == pytest.approx(losses, abs=2e-5)  # as they are logged
        for name, value in weights.items():
            torch.testing.assert_close(learnt[name], value, rtol=1e-5, atol=1e-6)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    recipe: Recipe = replace(RECIPE, batch=6)
    assert (recipe.at_once(), recipe.at_once(3), replace(recipe, accumulate=2).at_once(3)) == (6, 2, 1)
    for processes, accumulate in ((4, 1), (2, 2), (12, 1)):
        with pytest.raises(ValueError, match=f"batches of 6; {processes} processes with {accumulate} passes"):
            replace(recipe, accumulate=accumulate).at_once(processes)

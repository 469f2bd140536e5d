"""Laws of training on several processes: they share each batch, learn what one would learn, keep one checkpoint, and go on together."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny import RECIPE

from foveal.geometry import Box
from foveal.grounding import Example, Note, Picture, tied, write_examples
from foveal.models import open_model
from foveal.train import Recipe, is_whole, last_whole_checkpoint

CODE = """
import os
import sys
from dataclasses import replace
from pathlib import Path
from foveal.train import train
from tiny import RECIPE, Body, Numbers, collate

SHARDED

class Ordered(Numbers):
    in_order = True

body = Body()
body.dropout.p = 0.0
recipe = replace(RECIPE, accumulate=int(sys.argv[2]), save_every=2, options={"disable_tqdm": True, "logging_steps": 1})
train(recipe, body, Ordered(), collate, Path(sys.argv[1]))
"""


SHARDED = """
if os.environ.get("ACCELERATE_USE_FSDP"):
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    begin = PartialState.__init__

    def as_on_gpus(self, *args, **kwargs):  # accelerate shards there alone; told that it is there, it does so over gloo
        begin(self, *args, **kwargs)
        if self._shared_state["distributed_type"] == DistributedType.MULTI_CPU:
            self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    PartialState.__init__ = as_on_gpus
"""
STAGE = """
import os
import sys
from dataclasses import replace
from pathlib import Path
from foveal.data.mixture import Part
from foveal.data.stored import Stored
from foveal.data.tasks import refer
from foveal.grounding.wordings import VERBS
from foveal.train import Recipe, Stage, run_stage
SHARDED

def data(root):
    return [Part(Stored(root / "some.jsonl"), 1.0, refer(VERBS["ferret"], forms={"box": 1.0}))]

learn = {"projector": 1e-2, "language_model": 1e-3, "sampler": 1e-3}
options = {"disable_tqdm": True, "logging_steps": 1}
recipe = Recipe(name="all", learn=learn, steps=4, batch=4, workers=0, save_every=2, options=options)
folder = Path(sys.argv[1])
run_stage(Stage(recipe=recipe, data=data, start=str(folder.parent / "start")), folder, folder.parent)
"""
ACCELERATE = Path(__file__).parents[2] / "recipes" / "accelerate"


def fsdp() -> dict[str, str]:
    """What accelerate's launcher sets for the settings that ship."""
    settings = yaml.safe_load((ACCELERATE / "fsdp2.yaml").read_text())["fsdp_config"]
    return {"ACCELERATE_USE_FSDP": "true"} | {f"FSDP_{name.removeprefix('fsdp_').upper()}": str(value) for name, value in settings.items()}


def run(folder: Path, processes: int, accumulate: int = 1, code: str = CODE, **more: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2] / "src")])
    base = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | more
    children = []
    for rank in range(processes):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-W", "ignore", "-c", code.replace("SHARDED", SHARDED), str(folder), str(accumulate)]
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


@pytest.mark.slow
def test_sharded_over_two_processes_weights_are_learnt_as_in_one(tmp_path: Path) -> None:
    run(tmp_path / "one", 1)
    run(tmp_path / "shards", 2, **fsdp())
    assert is_whole(tmp_path / "shards" / "checkpoint-4")
    (tmp_path / "shards" / "checkpoint-6" / "model.safetensors").unlink()
    run(tmp_path / "shards", 2, **fsdp())
    (losses, weights), (found, learnt) = (outcome(tmp_path / name) for name in ("one", "shards"))
    assert found == pytest.approx(losses, abs=2e-5)
    for name, value in weights.items():
        torch.testing.assert_close(learnt[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_stage_whose_weights_are_sharded_ends_with_a_whole_model(tmp_path: Path, make_ferret: Callable[..., Any]) -> None:
    for part in make_ferret():
        part.save_pretrained(tmp_path / "start")
    Image.new("RGB", (60, 40), "red").save(tmp_path / "red.png")
    red = Note(tied("red", Box(0.0, 0.0, 0.5, 1.0)), "object")
    write_examples(
        tmp_path / "some.jsonl", [Example(str(number), (Picture(60, 40, str(tmp_path / "red.png")),), notes=(red,)) for number in range(4)]
    )
    run(tmp_path / "one", 1, code=STAGE)
    run(tmp_path / "shards", 2, code=STAGE, **fsdp())
    start, whole = (open_model(str(tmp_path / name), torch.float32)[0].state_dict() for name in ("start", "shards/all/model"))
    (losses, _), (found, learnt) = (outcome(tmp_path / name / "all") for name in ("one", "shards"))
    assert found == pytest.approx(losses, abs=1e-3)
    kept = type(open_model(str(tmp_path / "start"), torch.float32)[0]).from_pretrained(tmp_path / "shards/all/checkpoint-4", dtype=torch.float32)
    assert learnt and all(torch.equal(value, whole[name]) for name, value in kept.state_dict().items())
    moved = {name.split(".")[0] for name, value in whole.items() if not torch.equal(value, start[name])}
    assert {"projector", "language_model", "sampler"} <= moved


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    recipe: Recipe = replace(RECIPE, batch=6)
    assert (recipe.at_once(), recipe.at_once(3), replace(recipe, accumulate=2).at_once(3)) == (6, 2, 1)
    for processes, accumulate in ((4, 1), (2, 2), (12, 1)):
        with pytest.raises(ValueError, match=f"batches of 6; {processes} processes with {accumulate} passes"):
            replace(recipe, accumulate=accumulate).at_once(processes)

"""The engine of a cluster: Ray Data streams shards through all stages at once, each stage on workers that open its models once."""

import json
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from foveal.synth.running import Engine, Plan
from foveal.synth.shards import Folder, done_from, hash_of, make_shard
from foveal.synth.stage import Stage, Step

__all__ = ["ray_data"]


def ray_data(workers: Mapping[str, tuple[int, int]] | None = None) -> Engine:
    """The engine; `workers` says of a stage, by its name, how few and how many workers it may have: Ray has as many as there is work and room for.

    Without it a stage has from one to its step's `processes`. A worker takes one CPU and the step's `gpus`. The run's folder and the pictures lie at
    the same paths on every machine. RAY_ADDRESS names a cluster; without it one is started here. Shards are those of `local`, and a run that was
    ended goes on. ValueError where ray is not installed, and for a stage that is not there.
    """
    return partial(_run, workers=dict(workers or {}))


def _run(plan: Plan, *, workers: Mapping[str, tuple[int, int]]) -> None:
    if odd := sorted(set(workers) - {step.name for step in plan.steps}):
        raise ValueError(f"there is no stage {odd[0]!r} to have workers; there are {', '.join(step.name for step in plan.steps)}")
    left = [number for number in range(plan.count) if not _is_through(plan, number)]
    through = sum(record.examples for number, record in plan.folders[0].records.items() if number not in set(left) and number < plan.count)
    heard = _Heard(plan, through)
    if not left:
        return
    ray, data = _needed("ray"), _needed("ray.data")
    pools = {step.name: _pool(step, workers) for step in plan.steps}
    _start(ray, sum(pool["min_size"] for pool in pools.values()))
    rows = data.from_items([{"number": number, "records": "[]"} for number in left], override_num_blocks=len(left))
    for place, step in enumerate(plan.steps, 1):
        _carry(ray, step.stage)
        given = {"stage": step.stage, "source": plan.folders[place - 1].path.resolve(), "target": plan.folders[place].path.resolve()}
        pool = data.ActorPoolStrategy(**pools[step.name])
        rows = rows.map(_Worker, fn_constructor_kwargs=given, compute=pool, num_cpus=1, num_gpus=step.gpus or None)
    for row in rows.iter_rows():
        for place, record in enumerate(map(done_from, json.loads(row["records"])), 1):
            if plan.folders[place].records.get(record.number) != record:
                plan.keep(place, record)
            heard.of(place, plan.folders[0].records[record.number].examples)


def _is_through(plan: Plan, number: int) -> bool:
    """Whether a shard is finished in all stages."""
    before = plan.folders[0].records[number].sha256
    for folder in plan.folders[1:]:
        if not folder.has(number, before):
            return False
        before = folder.records[number].sha256
    return True


class _Heard:
    """How far each stage is, by the pictures that the run began with."""

    def __init__(self, plan: Plan, begun: int) -> None:
        self.plan, self.begun = plan, begun
        self.total = sum(record.examples for number, record in plan.folders[0].records.items() if number < plan.count)
        self.through = [begun] * (len(plan.steps) + 1)
        for place in range(1, len(self.through)):
            self.of(place, 0)

    def of(self, place: int, examples: int) -> None:
        """So many more are through a step."""
        self.through[place] += examples
        self.plan.heard(self.plan.steps[place - 1].name, self.through[place], self.begun, self.total)


class _Worker:
    """One process's share of a stage: it makes shards, and writes down those that it has finished in a file of its own."""

    def __init__(self, stage: Stage, source: Path, target: Path) -> None:
        self.stage, self.source = stage, Folder(source)
        self.target = Folder(target, own=f"shards-{uuid.uuid4().hex}.jsonl")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        source, target = self.source.shard(number), self.target.shard(number)
        if not self.target.has(number, hash_of(source)):
            self.target.keep(make_shard(self.stage, number, source, target))
        return {"number": number, "records": json.dumps([*json.loads(row["records"]), asdict(self.target.records[number])])}


def _start(ray: Any, wanted: int) -> None:
    """Joins the cluster of RAY_ADDRESS, or starts one here, which is told that it has a CPU for each worker: stages take turns, and none waits for
    ever for another to end."""
    address = os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        here = {} if address else {"num_cpus": max(os.cpu_count() or 1, wanted) + 1, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level="error", **here)
    if (there := ray.cluster_resources().get("CPU", 0)) < wanted:
        raise ValueError(
            f"the cluster has {there:g} CPUs, and the stages want {wanted} workers at least; more machines, or fewer workers, are wanted"
        )


def _pool(step: Step, workers: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    least, most = workers.get(step.name, (1, step.processes))
    if not 1 <= least <= most:
        raise ValueError(f"from {least} to {most} workers for stage {step.name!r}; at least 1, and no more least than most, are wanted")
    return {"min_size": least, "max_size": most}


def _carry(ray: Any, stage: Stage) -> None:
    """A recipe's own functions go to the workers as they are, for its file is not there."""
    function = stage.func if isinstance(stage, partial) else stage
    name = getattr(function, "__module__", "")
    if name and name.partition(".")[0] not in ("foveal", "builtins", "__main__") and name in sys.modules:
        ray.cloudpickle.register_pickle_by_value(sys.modules[name])


def _needed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError("the engine ray wants Ray Data; pip install 'foveal[ray]'") from error

"""Runs a pipeline: stage by stage, shard by shard; a run that was ended goes on, and comes to the same."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from foveal.data.reading import LOG, Report
from foveal.data.whole import alone_in, write_whole
from foveal.synth.inputs import Entry, digest, example_of
from foveal.synth.shards import Done, Folder, make_shard, write_shard
from foveal.synth.stage import Step, settings_of
from foveal.synth.workers import shared_out

__all__ = ["MANIFEST", "Engine", "Heard", "Plan", "folders_of", "local", "read_manifest", "run_pipeline"]

MANIFEST = "manifest.json"
Heard = Callable[[str, int, int, int], None]
"""Told of a stage, by its name: how many examples are through, how many of them were when this run began, and of how many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine is to make: `count` shards of each step, `folders[0]` holding the pictures' and `folders[k]` those of step k."""

    steps: tuple[Step, ...]
    folders: tuple[Folder, ...]
    count: int
    report: Report
    heard: Heard

    def left(self, place: int) -> list[int]:
        """The shards of a step (from 1 on) that are to be made of what the step before has made."""
        before, here = self.folders[place - 1], self.folders[place]
        return [number for number in range(self.count) if not here.has(number, before.records[number].sha256)]

    def keep(self, place: int, record: Done) -> None:
        """Writes down a finished shard of a step, and reports what could not be worked on."""
        self.folders[place].keep(record)
        for name, why in record.refused:
            self.report(f"{self.steps[place - 1].name}: {name} is left out: {why}")


Engine = Callable[[Plan], None]
"""Makes all shards of a plan that are not finished, in any order that lets each have what it is made of."""


def run_pipeline(
    steps: Sequence[Step],
    entries: Iterable[Entry],
    out: Path,
    *,
    engine: Engine | None = None,
    shard: int = 64,
    licence: str = "",
    again: bool = False,
    report: Report = LOG.warning,
    heard: Heard = lambda name, done, before, total: None,
) -> Path:
    """Runs the steps over the pictures and returns the folder of the last one's shards.

    Each step has a folder in `out` whose name ends with a hash of its settings and of those before it, so that a pipeline that was changed or made
    longer keeps what is the same. A stage is given one shard at a time, of `shard` examples: what it makes never depends on where a run was ended.
    Examples that cannot be worked on are reported and left out; with `again`, shards that lack some are made once more. ValueError where `out` holds
    shards of another length, or there is nothing to do.
    """
    if shard < 1:
        raise ValueError(f"shards of {shard} examples; at least 1 is wanted")
    with alone_in(out):
        found = _settle(out, steps, shard, licence)
        folders = tuple(Folder(out / one["folder"]) for one in found["stages"])
        if again:
            for kept in folders:
                for number in (number for number, record in kept.records.items() if record.refused):
                    kept.shard(number).unlink(missing_ok=True)
        count = _list_pictures(folders[0], entries, shard, licence, report, heard)
        if not count:
            raise ValueError("there is no picture to work on")
        write_whole(out / MANIFEST, json.dumps(found | {"shards": count}, indent=1, ensure_ascii=False))
        (engine or local)(Plan(tuple(steps), folders, count, report, heard))
        return folders[-1].path


def local(plan: Plan) -> None:
    """The engine of one machine: a stage after the other, so that one model is open at a time, in one process or in as many as its step allows."""
    for place, step in enumerate(plan.steps, 1):
        before, here = plan.folders[place - 1], plan.folders[place]
        left = plan.left(place)
        total = sum(before.records[number].examples for number in range(plan.count))
        through = begun = total - sum(before.records[number].examples for number in left)
        plan.heard(step.name, through, begun, total)
        jobs = [(number, before.shard(number), here.shard(number)) for number in left]
        if jobs:
            list(step.stage(iter(()))) if step.processes == 1 else None  # models are opened, or refused, before a picture is
        made = (make_shard(step.stage, *job) for job in jobs) if step.processes == 1 else shared_out(step, jobs)
        for record in made:
            plan.keep(place, record)
            through += before.records[record.number].examples
            plan.heard(step.name, through, begun, total)


def read_manifest(out: Path) -> dict[str, Any]:
    """What a run's folder says of it. ValueError where it is none."""
    try:
        found: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError) as error:
        raise ValueError(f"{out} holds no run of foveal synth: {error}") from error


def folders_of(out: Path) -> dict[str, Folder]:
    """The folder of each stage of a run, in order, "images" first."""
    return {one["name"]: Folder(out / one["folder"]) for one in read_manifest(out)["stages"]}


def _settle(out: Path, steps: Sequence[Step], shard: int, licence: str) -> dict[str, Any]:
    """Writes down what the run is, and makes its folders."""
    if (out / MANIFEST).is_file() and (old := read_manifest(out))["shard"] != shard:
        raise ValueError(f"{out} holds shards of {old['shard']} examples, not {shard}; give another folder, or the same length to go on.")
    stages: list[dict[str, Any]] = [{"name": "images", "settings": {"licence": licence, "shard": shard}}]
    stages += [{"name": step.name, "settings": settings_of(step.stage)} for step in steps]
    so_far = ""
    for one in stages:
        so_far = sha256(json.dumps([so_far, one["settings"]], sort_keys=True).encode()).hexdigest()
        one["folder"] = f"{one['name']}-{so_far[:8]}"
        (out / one["folder"]).mkdir(parents=True, exist_ok=True)
    found = {"shard": shard, "stages": stages}
    write_whole(out / MANIFEST, json.dumps(found, indent=1, ensure_ascii=False))
    return found


def _list_pictures(folder: Folder, entries: Iterable[Entry], shard: int, licence: str, report: Report, heard: Heard) -> int:
    """Makes the shards that name the pictures, and returns how many there are."""
    count, through, waiting = 0, 0, iter(entries)
    while some := list(islice(waiting, shard)):
        made_of = sha256("\n".join(map(digest, some)).encode()).hexdigest()
        if not folder.has(count, made_of):
            record = write_shard(folder.shard(count), count, made_of, [example_of(entry, licence) for entry in some])
            folder.keep(record)
            for _, why in record.refused:
                report(f"images: {why}")
        count, through = count + 1, through + len(some)
        heard("images", through, 0, 0)
    return count

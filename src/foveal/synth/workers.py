"""A stage in several processes of one machine: each takes the next shard when it has done one, and ends with whoever started it."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from foveal.synth.shards import Done, make_shard
from foveal.synth.stage import Stage, Step

__all__ = ["Job", "shared_out"]

Job = tuple[int, Path, Path]
"""A shard's number, what it is made of, and where it is to lie."""


def shared_out(step: Step, jobs: Sequence[Job]) -> Iterator[Done]:
    """The shards of a step as they are finished, by `step.processes` new processes. Its stage must be one that can be pickled.

    ValueError with a stage's own sentence where it fails on all, and where a process is ended from outside.
    """
    context = multiprocessing.get_context("spawn")  # a fork would take the threads of torch along, which are not there then
    waiting = iter(jobs)
    with ExitStack() as ends:
        workers: dict[Connection, SpawnProcess] = {}
        for _ in range(min(step.processes, len(jobs))):
            here, there = context.Pipe()
            worker = context.Process(target=_work, args=(step.stage, there), daemon=True)
            worker.start()
            there.close()  # or its end would not be noticed
            workers[here] = worker
            ends.callback(_end, here, worker)
            here.send(next(waiting))
        while workers:
            for pipe in wait(list(workers)):
                assert isinstance(pipe, Connection)
                yield _heard(pipe, workers[pipe], step)
                if (job := next(waiting, None)) is None:
                    _end(pipe, workers.pop(pipe))
                else:
                    pipe.send(job)


def _heard(pipe: Connection, worker: SpawnProcess, step: Step) -> Done:
    try:
        found = pipe.recv()
    except (EOFError, OSError) as error:
        worker.join(5)
        ended = f"a process of stage {step.name!r} was ended from outside (code {worker.exitcode})"
        raise ValueError(f"{ended}; the same command goes on where it was") from error
    if isinstance(found, str):
        raise ValueError(found)
    assert isinstance(found, Done)
    return found


def _work(stage: Stage, pipe: Connection) -> None:
    """What a process does until nobody is at the other end: it makes shards."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    try:
        while True:
            job = pipe.recv()
            try:
                pipe.send(make_shard(stage, *job))
            except Exception as error:
                pipe.send(str(error) or type(error).__name__)
    except (EOFError, OSError):
        return


def _end(pipe: Connection, worker: SpawnProcess) -> None:
    pipe.close()
    worker.join(0.5)
    if worker.is_alive():
        worker.terminate()
        worker.join()

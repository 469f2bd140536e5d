"""foveal serve: models behind OpenAI's chat completions, with regions as parts of a message."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from foveal.cli.settings import DEFAULT_MODEL, MODEL_HELP, Device, open_session
from foveal.zoo import find_model

__all__ = ["serve"]

_Models = Annotated[list[str] | None, typer.Argument(metavar="[MODEL...]", help=f"{MODEL_HELP} The first answers where none is named.")]
_Host = Annotated[str, typer.Option(envvar="FOVEAL_HOST", help="The address to listen on.")]
_Port = Annotated[int, typer.Option(envvar="FOVEAL_PORT", help="The port; 0 takes any that is free.")]
_Key = Annotated[str | None, typer.Option(envvar="FOVEAL_API_KEY", help="What every route but /health wants to be shown.", show_default=False)]
_Hosts = Annotated[list[str] | None, typer.Option("--host-name", help="A name by which the server may be called beside localhost.")]
_Urls = Annotated[list[str] | None, typer.Option("--url-host", help="A host from which images are fetched; none, unless given.")]
_Queue = Annotated[int, typer.Option(envvar="FOVEAL_QUEUE", help="The most questions that wait or are answered, of each model.")]
_Deadline = Annotated[float, typer.Option(envvar="FOVEAL_DEADLINE_S", help="After how many seconds a question is given up.")]
_Slice = Annotated[int, typer.Option(envvar="FOVEAL_SLICE_TOKENS", help="Tokens written of a batch before it is formed anew.")]
_Batch = Annotated[int, typer.Option("--batch", envvar="FOVEAL_BATCH", help="The most answers in one forward pass.")]
_Scenes = Annotated[int, typer.Option(envvar="FOVEAL_SCENE_MB", help="Megabytes kept for scenes.")]
_Body = Annotated[int, typer.Option(envvar="FOVEAL_BODY_MB", help="The most megabytes of a request.")]
_Pixels = Annotated[int, typer.Option(envvar="FOVEAL_PIXELS", help="The most pixels of an image.")]
_Drain = Annotated[float, typer.Option(envvar="FOVEAL_DRAIN_S", help="Seconds that open answers have once the server is told to end.")]
_Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(envvar="FOVEAL_ENGINE", help="One process, or several behind Ray Serve, on the cluster of RAY_ADDRESS or here."),
]
_Replicas = Annotated[str, typer.Option(envvar="FOVEAL_REPLICAS", help="With ray: how many processes; 2:8 has from 2 to 8, as there is work.")]
_Ongoing = Annotated[
    float | None,
    typer.Option(envvar="FOVEAL_TARGET_ONGOING", help="With ray: requests at once that a process is meant for; half of --batch, unless given."),
]
_Cpus = Annotated[float, typer.Option(envvar="FOVEAL_REPLICA_CPUS", help="With ray: CPUs of a process, and threads of its model.")]
_Gpus = Annotated[float, typer.Option(envvar="FOVEAL_REPLICA_GPUS", help="With ray: GPUs of a process; a fraction shares one.")]


def serve(
    models: _Models = None,
    device: Device = None,
    host: _Host = "127.0.0.1",
    port: _Port = 8000,
    api_key: _Key = None,
    host_name: _Hosts = None,
    url_host: _Urls = None,
    queue: _Queue = 1024,
    deadline_s: _Deadline = 120.0,
    slice_tokens: _Slice = 8,
    batch: _Batch = 32,
    scene_mb: _Scenes = 1024,
    body_mb: _Body = 64,
    pixels: _Pixels = 120_000_000,
    drain_s: _Drain = 30.0,
    engine: _Engine = "local",
    replicas: _Replicas = "1",
    target_ongoing: _Ongoing = None,
    replica_cpus: _Cpus = 1.0,
    replica_gpus: _Gpus = 0.0,
) -> None:
    """Serve models over HTTP: OpenAI's chat completions with regions, scenes, and a page in the browser."""
    from foveal.serve.limits import Limits
    from foveal.serve.logs import log_to_stderr
    from foveal.serve.running import run
    from foveal.serve.settings import ServeSettings

    settings = ServeSettings(
        host=host,
        port=port,
        api_key=api_key,
        hosts=tuple(host_name or ()),
        url_hosts=tuple(url_host or ()),
        queue=queue,
        deadline_s=deadline_s,
        slice_tokens=slice_tokens,
        most_batch=batch,
        most_rows=3 * batch,
        scene_bytes=scene_mb * 2**20,
        drain_s=drain_s,
        limits=Limits(body_bytes=body_mb * 2**20, pixels=pixels),
    )
    names = models or [DEFAULT_MODEL]
    log_to_stderr()
    if engine == "local":
        run(settings, {name: open_session(name, device) for name in names})
        return
    from foveal.serve.cluster import replicas_of, run_on_ray

    wanted = replicas_of(replicas, ongoing=max(1.0, batch / 2) if target_ongoing is None else target_ongoing, cpus=replica_cpus, gpus=replica_gpus)
    run_on_ray(settings, {name: partial(open_session, _place(name), device) for name in names}, wanted)


def _place(name: str) -> str:
    """A model's name, or its whole path: a replica may run in another folder. ValueError for one that is not there."""
    return str(Path(name).resolve()) if find_model(name) == name and Path(name).is_dir() else name

"""What can be set of a server; every field is a flag of `foveal serve` and a variable FOVEAL_… of the environment."""

from dataclasses import dataclass, field

from foveal.serve.limits import Limits

__all__ = ["ServeSettings"]


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server runs.

    >>> ServeSettings(slice_tokens=0)
    Traceback (most recent call last):
    ValueError: slice_tokens is 0; at least 1 is wanted.
    """

    host: str = "127.0.0.1"
    """The address it listens on; loopback only, unless told otherwise."""
    port: int = 8000
    """The port; 0 takes any that is free."""
    api_key: str | None = None
    """What every route but /health wants to be shown, as a bearer token (or, by a browser, as a password)."""
    hosts: tuple[str, ...] = ()
    """Names by which the server may be called beside the loopback's own; any, where it listens on another address."""
    queue: int = 1024
    """The most questions that wait or are being answered, of each model; more are told to come again (429)."""
    deadline_s: float = 120.0
    """After how many seconds a question is given up (504)."""
    body_s: float = 30.0
    """How many seconds the head and the body of a request may take to arrive."""
    slice_tokens: int = 8
    """How many tokens of a batch are written before it is formed anew."""
    most_batch: int = 32
    """The most answers that are written in one forward pass."""
    most_rows: int = 96
    """The most answers that are begun and not done; batches take turns."""
    scene_bytes: int = 2**30
    """How much memory is kept for scenes; the least recently used go first."""
    scene_s: float = 3600.0
    """After how many seconds without a question a scene goes."""
    most_tokens: int = 2048
    """The longest answer that may be asked for, in tokens."""
    most_choices: int = 8
    """The most answers to one question (`n`)."""
    url_hosts: tuple[str, ...] = ()
    """Hosts from which images are fetched; none: remote addresses are refused."""
    drain_s: float = 30.0
    """How many seconds open answers have to end once the server is told to stop."""
    limits: Limits = field(default_factory=Limits)
    """The most that a request may hold of each thing."""

    def __post_init__(self) -> None:
        for name in ("queue", "slice_tokens", "most_batch", "most_rows", "scene_bytes", "most_tokens", "most_choices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is wanted.")
        for name in ("deadline_s", "body_s", "scene_s", "drain_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; a number of seconds above 0 is wanted.")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port is {self.port}; a number from 0 to 65535 is wanted.")
        if self.api_key is not None and not self.api_key.strip():
            raise ValueError("the API key is empty; give one, or none at all.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can call."""
        return self.host in ("127.0.0.1", "localhost", "::1")

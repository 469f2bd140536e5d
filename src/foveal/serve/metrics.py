"""What a server counts of its work, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server; `text` says them in Prometheus' form."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        kept = self.registry
        self.requests = Counter("foveal_requests", "Requests that were answered.", ["route", "status"], registry=kept)
        self.seconds = Histogram(
            "foveal_request_seconds", "Seconds from a request to the end of its answer.", ["route"], buckets=_SECONDS, registry=kept
        )
        self.queue = Gauge("foveal_queue_questions", "Questions that wait.", ["model"], registry=kept)
        self.active = Gauge("foveal_active_questions", "Answers that are being written.", ["model"], registry=kept)
        self.batch = Histogram("foveal_batch_rows", "Answers in a slice.", ["model"], buckets=_ROWS, registry=kept)
        self.first = Histogram(
            "foveal_first_token_seconds", "Seconds from a question to its first tokens.", ["model"], buckets=_SECONDS, registry=kept
        )
        self.tokens = Counter("foveal_tokens", "Tokens that were written.", ["model"], registry=kept)
        self.answers = Counter("foveal_answers", "Questions that came to an end.", ["model", "reason"], registry=kept)
        self.memory = Counter("foveal_out_of_memory", "Batches that did not fit into memory.", ["model"], registry=kept)
        self.looks = Counter("foveal_scene_looks", "Images that were asked about: looked at, or found among the scenes.", ["found"], registry=kept)
        self.scenes = Gauge("foveal_scenes", "Scenes that are kept.", registry=kept)
        self.scene_bytes = Gauge("foveal_scene_bytes", "Memory of the scenes that are kept.", registry=kept)

    def text(self) -> bytes:
        """All of it, as text."""
        return generate_latest(self.registry)

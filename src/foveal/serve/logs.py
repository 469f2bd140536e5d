"""The server's log: a JSON object on each line, of what happened and never of what was asked or shown."""

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["JsonLines", "log_to_stderr"]

_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """A record's time, level and event, and whatever was given `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        told |= {name: value for name, value in vars(record).items() if name not in _OWN and not name.startswith("_")}
        if record.exc_info and record.exc_info[0] is not None:
            told["error"] = record.exc_info[0].__name__  # no message: it may quote what was asked
        return json.dumps(told, ensure_ascii=False, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends the server's log, and uvicorn's, to standard error."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    for name in ("foveal.serve", "uvicorn", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [lines], False
        log.setLevel(level)
    logging.getLogger("uvicorn").handlers = []
    logging.getLogger("uvicorn").propagate = False

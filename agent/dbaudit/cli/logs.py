"""The log: one line an event on standard error, as text or as JSON."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import click
import msgspec

from dbaudit.configuration import Settings


def start_log(settings: Settings, process: str) -> None:
    """Log to standard error as the settings say; ``process`` (`api`, `agent`, `up`) is in every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if settings.log_format == "json" else _Text(process))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for library in ("alembic", "httpcore", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)


def announce(settings: Settings, process: str, text: str) -> None:
    """Print ``text`` on standard error whatever the log level is; as a line of the log where that is JSON."""
    if settings.log_format == "json":
        record = logging.LogRecord("dbaudit", logging.INFO, "", 0, text, None, None)
        text = _Json(process).format(record)
    click.echo(text, err=True)


class _Text(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time(record)} {record.levelname.lower():7} {self._process:5} {record.name}"
        text = f"{head}: {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"

"""Reading the log (placeholder of the skeleton)."""

from __future__ import annotations

from dbaudit.core.database import Target
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.settings import LogSettings


class LogReader:
    def __init__(self, connection: ServerConnection, settings: LogSettings, target: Target) -> None:
        raise NotImplementedError

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        raise NotImplementedError

"""A session to one monitored Oracle server."""

from __future__ import annotations

from typing import Self

from dbaudit.core.database import Target
from dbaudit.core.report import Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engines.oracle import diagnosis, health
from dbaudit.engines.oracle.connection import ServerConnection, connect
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.trails import TrailsReader


class OracleSession(Session):
    """Tests, measures and reads over one connection."""

    def __init__(self, connection: ServerConnection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._reader = TrailsReader(connection, options)

    @classmethod
    def open(cls, target: Target) -> Self:
        options = Options.of(target.options)
        return cls(connect(target), options)

    def test(self) -> TestReport:
        return diagnosis.test(self._connection, self._options)

    def health(self) -> Health:
        return health.measure(self._connection, self._options)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        return self._reader.read(cursor, limit_bytes)

    def close(self) -> None:
        self._reader.close()
        self._connection.close()

"""A session to one monitored PostgreSQL server."""

from __future__ import annotations

from typing import Self

from dbaudit.core.database import Target
from dbaudit.core.report import Diagnosis, Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engines.postgresql import diagnosis, health
from dbaudit.engines.postgresql.connection import ServerConnection, connect
from dbaudit.engines.postgresql.options import Options
from dbaudit.engines.postgresql.reading import LogReader
from dbaudit.engines.postgresql.rights import Rights, read_rights
from dbaudit.engines.postgresql.settings import LogSettings, read_settings


class PostgreSQLSession(Session):
    """Tests, measures and reads over one connection."""

    def __init__(self, connection: ServerConnection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._reader: LogReader | None = None
        self._measured: tuple[Rights, LogSettings] | None = None

    @classmethod
    def open(cls, target: Target) -> Self:
        options = Options.of(target.options)
        return cls(connect(target), options)

    def test(self) -> TestReport:
        return diagnosis.test(self._connection, self._options)

    def health(self) -> Health:
        rights = read_rights(self._connection)
        self._measured = rights, read_settings(self._connection, rights, self._options)
        return health.measure(self._connection, *self._measured)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        if self._reader is None:
            self._reader = LogReader(self._connection, self._options, self._settings)
        return self._reader.read(cursor, limit_bytes)

    def _settings(self) -> LogSettings:
        return read_settings(self._connection, read_rights(self._connection), self._options)

    def check_source(self) -> Diagnosis | None:
        if self._measured is None:
            return None
        return diagnosis.check_source(self._connection, *self._measured)

    def databases(self) -> list[str]:
        query = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
        return [str(name) for (name,) in self._connection.rows(query)]

    def close(self) -> None:
        self._connection.close()

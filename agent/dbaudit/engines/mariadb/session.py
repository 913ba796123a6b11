"""A session to one monitored MariaDB server."""

from __future__ import annotations

from typing import Self

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.report import Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engines.mariadb import diagnosis, health
from dbaudit.engines.mariadb.options import Options
from dbaudit.engines.mariadb.reading import AuditReader
from dbaudit.engines.mariadb.settings import version_of
from dbaudit.engines.mariadb.sources import ChosenSource
from dbaudit.engines.mysql_protocol import schemas
from dbaudit.engines.mysql_protocol.connection import ServerConnection, connect
from dbaudit.engines.mysql_protocol.general_log import SOURCE as GENERAL_LOG
from dbaudit.engines.mysql_protocol.network import endpoint


class MariaDBSession(Session):
    """Tests, measures and reads over one connection."""

    def __init__(self, connection: ServerConnection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._source = ChosenSource(connection, options)
        self._reader: AuditReader | None = None

    @classmethod
    def open(cls, target: Target) -> Self:
        options = Options.of(target.options)
        connection = connect(target)
        if "mariadb" not in f"{connection.version} {connection.version_comment}".lower():
            connection.close()
            raise ConfigurationError(
                ErrorCode.WRONG_PROTOCOL,
                f"What listens on {endpoint(target)} is MySQL {version_of(connection.version)} "
                f"({connection.version_comment}), not MariaDB.",
                remedy="Declare the database with the type mysql.",
            )
        return cls(connection, options)

    def test(self) -> TestReport:
        return diagnosis.test(self._connection, self._options, self._source)

    def health(self) -> Health:
        return health.measure(self._connection, self._options, self._source)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        if self._reader is None:
            self._reader = AuditReader(self._connection, self._options, self._source)
        return self._reader.read(cursor, limit_bytes)

    def acknowledge(self, cursor: Cursor) -> None:
        if self._reader is not None:
            self._reader.acknowledge(cursor)

    def is_repeatable(self, cursor: Cursor) -> bool:
        return cursor.get("source") != GENERAL_LOG

    def databases(self) -> list[str]:
        return schemas.names(self._connection)

    def is_declared(self, name: str, declared: str) -> bool:
        return schemas.is_declared(self._connection, name, declared)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._connection.close()

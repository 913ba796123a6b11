"""A session to one monitored MySQL server."""

from __future__ import annotations

from typing import Protocol, Self

from dbaudit.core.clock import now_us
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import gap
from dbaudit.core.report import Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engine.options import StartFrom
from dbaudit.engines.mysql import diagnosis, health
from dbaudit.engines.mysql.audit_file import AuditFileReader
from dbaudit.engines.mysql.audit_log import AuditLogReader
from dbaudit.engines.mysql.error_log import ErrorLogReader
from dbaudit.engines.mysql.options import Options, Source
from dbaudit.engines.mysql.server import Server, ask
from dbaudit.engines.mysql_protocol import schemas
from dbaudit.engines.mysql_protocol.connection import ServerConnection, connect
from dbaudit.engines.mysql_protocol.general_log import SOURCE as GENERAL_LOG
from dbaudit.engines.mysql_protocol.general_log import GeneralLogReader


class Reader(Protocol):
    """What reads one source."""

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk: ...

    def acknowledge(self, cursor: Cursor) -> None: ...

    def close(self) -> None: ...


class MySQLSession(Session):
    """Tests, measures and reads over one connection."""

    def __init__(self, connection: ServerConnection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._server: Server | None = None
        self._source: Source | None = None
        self._reader: Reader | None = None

    @classmethod
    def open(cls, target: Target) -> Self:
        options = Options.of(target.options)
        return cls(connect(target), options)

    def test(self) -> TestReport:
        self._server = ask(self._connection)
        return diagnosis.test(self._connection, self._server, self._options)

    def health(self) -> Health:
        return health.measure(self._connection, self._options)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        reader = self._opened()
        source = "" if self._source is None else self._source.value
        before = cursor.get("source") if cursor else None
        if cursor is None or before == source or before not in [known.value for known in Source]:
            return reader.read(cursor, limit_bytes)
        lost = gap(
            key=f"gap:{before}:{source}:{now_us()}",
            time_us=now_us(),
            reason=f"The audit source is {source} now and was {before}; records between them may be missing.",
            source=before,
        )
        chunk = reader.read(None, limit_bytes)
        return Chunk(records=chunk.records, cursor=chunk.cursor, gaps=(lost, *chunk.gaps), more=chunk.more)

    def acknowledge(self, cursor: Cursor) -> None:
        self._opened().acknowledge(cursor)

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

    def _opened(self) -> Reader:
        if self._reader is None:
            server = self._server or ask(self._connection)
            if server.mariadb:
                raise diagnosis.declared_as_another_type(self._connection.target, server)
            self._source = server.source(self._options)
            self._reader = _reader(self._connection, server, self._options, self._source)
        return self._reader


def _reader(connection: ServerConnection, server: Server, options: Options, source: Source | None) -> Reader:
    beginning = options.start_from is StartFrom.BEGINNING
    local_time = server.audit_log_in_local_time
    if source is Source.GENERAL_LOG:
        return GeneralLogReader(connection, may_retire=server.may_retire, beginning=beginning)
    if source is Source.AUDIT_LOG:
        return AuditLogReader(connection, beginning=beginning, local_time=local_time)
    if source is Source.AUDIT_FILE:
        path = options.audit_file or ""
        return AuditFileReader(connection, path, beginning=beginning, local_time=local_time)
    if source is Source.ERROR_LOG:
        return ErrorLogReader(connection, beginning=beginning)
    raise ConfigurationError(
        ErrorCode.AUDIT_SOURCE_MISSING,
        "The server offers the agent's account no source of audit records.",
        remedy=diagnosis.general_log_remedy(server),
    )

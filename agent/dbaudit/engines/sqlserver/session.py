"""A session to one monitored SQL Server."""

from __future__ import annotations

from typing import Self

from dbaudit.core.database import Target
from dbaudit.core.errors import DbauditError
from dbaudit.core.report import Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engines.sqlserver import diagnosis, health
from dbaudit.engines.sqlserver.connection import ServerConnection, connect
from dbaudit.engines.sqlserver.facts import ServerFacts, read_facts
from dbaudit.engines.sqlserver.files import TrailFiles
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.options import Options
from dbaudit.engines.sqlserver.reading import TrailReader
from dbaudit.engines.sqlserver.rights import read_rights
from dbaudit.engines.sqlserver.trails import Trail, chosen_kind, trails_of


class SQLServerSession(Session):
    """Tests, measures and reads over one connection."""

    def __init__(self, connection: ServerConnection, options: Options, facts: ServerFacts) -> None:
        self._connection = connection
        self._options = options
        self._facts = facts
        self._reader = TrailReader(
            facts, TrailFiles(connection), self._list_trails, self._choose_kind, options
        )

    @classmethod
    def open(cls, target: Target) -> Self:
        options = Options.of(target.options)
        connection = connect(target, options)
        try:
            return cls(connection, options, read_facts(connection))
        except DbauditError:
            connection.close()
            raise

    def test(self) -> TestReport:
        return diagnosis.test(self._connection, self._options, self._facts)

    def health(self) -> Health:
        return health.measure(self._connection, self._options)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        return self._reader.read(cursor, limit_bytes)

    def databases(self) -> list[str]:
        rows = self._connection.rows("SELECT name FROM sys.databases WHERE database_id > 4")
        return [str(name) for (name,) in rows]

    def is_declared(self, name: str, declared: str) -> bool:
        # Only the server knows whether case matters in names, so it was asked for its name of the database.
        return name in (declared, self._facts.database)

    def _list_trails(self, kind: Kind) -> list[Trail]:
        return trails_of(self._connection, read_rights(self._connection), self._options, kind)

    def _choose_kind(self) -> Kind:
        return chosen_kind(self._connection, read_rights(self._connection), self._options)

    def close(self) -> None:
        self._connection.close()

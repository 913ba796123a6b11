"""A session to one monitored MongoDB deployment."""

from __future__ import annotations

from typing import Self

from dbaudit.core.database import Target
from dbaudit.core.report import Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engines.mongodb import diagnosis, health
from dbaudit.engines.mongodb.commands import DATABASES_OF_THE_SERVER
from dbaudit.engines.mongodb.deployment import DeploymentReader
from dbaudit.engines.mongodb.members import Member
from dbaudit.engines.mongodb.options import Options


class MongoDBSession(Session):
    """Tests, measures and reads over one connection to each server."""

    def __init__(self, declared: Member, options: Options) -> None:
        self._declared = declared
        self._options = options
        self._reader = DeploymentReader(declared, options)

    @classmethod
    def open(cls, target: Target) -> Self:
        options = Options.of(target.options)
        declared = Member(target)
        declared.connection()
        return cls(declared, options)

    def test(self) -> TestReport:
        return diagnosis.test(self._declared, self._options)

    def health(self) -> Health:
        return health.measure(self._declared)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        return self._reader.read(cursor, limit_bytes)

    def databases(self) -> list[str]:
        found = self._declared.connection().command({"listDatabases": 1, "nameOnly": True})
        names = [str(one["name"]) for one in found.get("databases", ())]
        return [name for name in names if name not in DATABASES_OF_THE_SERVER]

    def close(self) -> None:
        self._reader.close()
        self._declared.drop()

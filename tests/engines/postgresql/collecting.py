"""Collecting from a server without an agent: read, decode, and keep what came."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dbaudit.core.event import AuditEvent, EventType, Rejected
from dbaudit.engine.base import Chunk, Session
from dbaudit.engines.postgresql import PostgreSQLEngine
from psycopg import sql

from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, target
from tests.patience import PATIENCE_SECONDS
from tests.servers.postgresql import PostgresServer

CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def collector_on(server: PostgresServer) -> Iterator[PostgresServer]:
    """A server with the collector's role."""
    server.create_collector_role(COLLECTOR, PASSWORD)
    try:
        yield server
    finally:
        server.execute_admin(sql.SQL("drop owned by {}").format(sql.Identifier(COLLECTOR)))
        server.execute_admin(sql.SQL("drop role {}").format(sql.Identifier(COLLECTOR)))


class Collecting:
    """A session of the engine with the cursor that an agent would keep, as JSON, and what was read."""

    def __init__(self, server: PostgresServer, cursor: Any = None, **options: str) -> None:
        self._server = server
        self._options = options
        self.engine = PostgreSQLEngine()
        self.session: Session = self.engine.open(target(server, options=options))
        self.cursor = cursor
        self.events: list[AuditEvent] = []
        self.gaps: list[AuditEvent] = []
        self.rejected: list[Rejected] = []

    def __enter__(self) -> "Collecting":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.session.close()

    def reopen(self) -> None:
        """As an agent does that was killed: a new session, and the cursor from the state."""
        self.session.close()
        self.session = self.engine.open(target(self._server, options=self._options))

    def read(self, limit_bytes: int = CHUNK_BYTES) -> Chunk:
        chunk = self.session.read(self.cursor, limit_bytes)
        self.cursor = json.loads(json.dumps(chunk.cursor))
        decoded = self.engine.decode(chunk.records)
        self.gaps += chunk.gaps
        self.events += decoded.events
        self.rejected += decoded.rejected
        return chunk

    def until(self, condition: Callable[[], Any], what: str, limit_bytes: int = CHUNK_BYTES) -> None:
        """Read as an agent does until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{what} did not come; at {self.cursor}, put aside {self.rejected}, "
                    f"there are {self.summary()}"
                )
            if not self.read(limit_bytes).more:
                time.sleep(0.005)

    def to_the_end(self, file: Path, limit_bytes: int = CHUNK_BYTES) -> None:
        """Read until everything that stands in ``file`` was given."""

        def done() -> bool:
            return bool(
                self.cursor
                and self.cursor["file"] == file.name
                and self.cursor["offset"] == file.stat().st_size
            )

        self.until(done, f"the end of {file.name}", limit_bytes)

    def of(self, user: str, *types: EventType) -> list[AuditEvent]:
        """The events of a user, and of these types if any are given."""
        return [e for e in self.events if e.user == user and (not types or e.type in types)]

    def queries(self, user: str | None = None) -> list[str | None]:
        wanted = [e for e in self.events if e.type == EventType.QUERY]
        return [e.query for e in wanted if user is None or e.user == user]

    def summary(self) -> list[tuple[Any, ...]]:
        return [(e.type.value, e.user, e.query, e.error_code) for e in [*self.events, *self.gaps]]

    def keys(self) -> list[tuple[str, int]]:
        """What makes a replay recognisable."""
        return [(e.key, e.time_us) for e in self.events]

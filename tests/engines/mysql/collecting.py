"""Collecting from a server without an agent: read, decode, and keep what came."""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent, EventType, Rejected
from dbaudit.engine.base import Chunk, Session
from dbaudit.engines.mysql import MySQLEngine

from tests.engines.mysql.targets import target
from tests.patience import PATIENCE_SECONDS
from tests.servers.mysql import MySQLServer

CHUNK_BYTES = 1 << 20


class Collecting:
    """A session of the engine with the cursor that an agent would keep, as JSON, and what was read."""

    def __init__(
        self,
        server: MySQLServer,
        cursor: Any = None,
        *,
        acknowledging: bool = True,
        database_id: str = "db_test",
        **options: str,
    ) -> None:
        self._server = server
        self._options = options
        self._database_id = database_id
        self._acknowledging = acknowledging
        self.engine = MySQLEngine()
        self.session: Session = self.engine.open(self._target())
        self.cursor = cursor
        self.events: list[AuditEvent] = []
        self.gaps: list[AuditEvent] = []
        self.rejected: list[Rejected] = []
        self.left_out: Counter[str] = Counter()
        if cursor is None:
            self.read()

    def __enter__(self) -> "Collecting":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.session.close()

    def _target(self) -> Target:
        return target(self._server, options=self._options, database_id=self._database_id)

    def reopen(self) -> None:
        """As an agent does that was killed: a new session, and the cursor from the state."""
        self.session.close()
        self.session = self.engine.open(self._target())
        if self._acknowledging:
            self.session.acknowledge(self.cursor)

    def read(self, limit_bytes: int = CHUNK_BYTES) -> Chunk:
        chunk = self.session.read(self.cursor, limit_bytes)
        self.cursor = json.loads(json.dumps(chunk.cursor))
        decoded = self.engine.decode(chunk.records)
        self.gaps += chunk.gaps
        self.events += decoded.events
        self.rejected += decoded.rejected
        self.left_out.update(decoded.left_out)
        if self._acknowledging:
            self.session.acknowledge(self.cursor)
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
                time.sleep(0.01)

    def until_query(self, query: str, limit_bytes: int = CHUNK_BYTES) -> AuditEvent:
        self.until(lambda: query in self.queries(), repr(query), limit_bytes)
        return next(e for e in self.events if e.query == query)

    def of(self, user: str, *types: EventType) -> list[AuditEvent]:
        """The events of a user, and of these types if any are given."""
        return [e for e in self.events if e.user == user and (not types or e.type in types)]

    def queries(self, user: str | None = None) -> list[str | None]:
        wanted = [e for e in self.events if e.type == EventType.QUERY and e.query is not None]
        return [e.query for e in wanted if user is None or e.user == user]

    def summary(self) -> list[tuple[Any, ...]]:
        return [(e.type.value, e.user, e.query, e.error_code) for e in [*self.events, *self.gaps]]

    def keys(self) -> list[tuple[str, int]]:
        """What makes a replay recognisable."""
        return [(e.key, e.time_us) for e in self.events]

"""Collecting without an agent: read, decode, and keep what came, with the cursor that an agent would keep."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from dbaudit.engine import AuditEvent, Chunk, EventType, Rejected, Session, Target
from dbaudit.testing.monitored import Monitored

CHUNK_BYTES = 1 << 20
_PAUSE_SECONDS = 0.01


class Collecting:
    """A session to ``monitored``, what was read with it, and the cursor after it, which went through JSON.

    It begins at ``cursor``; with None, at what happens from now on. With ``acknowledging`` it acknowledges
    what was read, as an agent does once it is stored. ``events`` and ``gaps`` are in the order in which they
    came; ``left_out`` counts the records of classes that become no event; ``steps`` has the cursor before
    each read that returned something, and how many events had come by then.
    """

    def __init__(
        self,
        monitored: Monitored,
        cursor: Any = None,
        *,
        target: Target | None = None,
        acknowledging: bool = True,
    ) -> None:
        self._monitored = monitored
        self._target = monitored.target() if target is None else target
        self._acknowledging = acknowledging
        self.cursor = cursor
        self.events: list[AuditEvent] = []
        self.gaps: list[AuditEvent] = []
        self.rejected: list[Rejected] = []
        self.left_out: Counter[str] = Counter()
        self.records: list[Any] = []
        self.steps: list[tuple[Any, int]] = []
        self.session: Session = monitored.engine.open(self._target)
        if cursor is None:
            self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()

    def _begin(self) -> None:
        try:
            self.read()
        except BaseException:
            self.session.close()
            raise

    def reopen(self) -> None:
        """As an agent does that was killed: a new session, and the cursor from the state."""
        self.session.close()
        self.session = self._monitored.engine.open(self._target)

    def read(self, limit_bytes: int = CHUNK_BYTES) -> Chunk:
        """Read, decode and keep one chunk."""
        chunk = self.session.read(self.cursor, limit_bytes)
        decoded = self._monitored.engine.decode(chunk.records)
        if chunk.records or chunk.gaps:
            self.steps.append((self.cursor, len(self.events)))
        self.cursor = json.loads(json.dumps(chunk.cursor, allow_nan=False))
        self.records += chunk.records
        self.gaps += [*chunk.gaps, *(e for e in decoded.events if e.type is EventType.GAP)]
        self.events += [e for e in decoded.events if e.type is not EventType.GAP]
        self.rejected += decoded.rejected
        self.left_out.update(decoded.left_out)
        if self._acknowledging:
            self.session.acknowledge(self.cursor)
        return chunk

    def until(self, condition: Callable[[], Any], what: str, limit_bytes: int = CHUNK_BYTES) -> None:
        """Read as an agent does until ``condition`` holds; fails where ``what`` does not come in time."""
        deadline = time.monotonic() + self._monitored.deadline_seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{what} did not come within {self._monitored.deadline_seconds:g} seconds; the cursor is "
                    f"{self.cursor}, put aside are {self.rejected[-5:]}, lost {self.gaps[-5:]}, and there "
                    f"are {[(e.type.value, e.user, e.query) for e in self.events[-20:]]}"
                )
            if not self.read(limit_bytes).more:
                time.sleep(_PAUSE_SECONDS)

    def until_query(self, query: str, limit_bytes: int = CHUNK_BYTES) -> AuditEvent:
        """Read until the event of a statement has come, and return it."""
        self.until(lambda: query in self.queries(), f"the statement {query!r}", limit_bytes)
        return self.events[self.queries().index(query)]

    def queries(self) -> list[str | None]:
        """The statement of each event, None where it has none."""
        return [self._monitored.statement_of(event) for event in self.events]

    def of(self, user: str | None, *types: EventType) -> list[AuditEvent]:
        """The events of a user, of these types if any are given."""
        return [e for e in self.events if e.user == user and (not types or e.type in types)]

    def keys(self) -> list[tuple[int, str]]:
        """What makes a replay recognisable, of each event."""
        return [(event.time_us, event.key) for event in self.events]
